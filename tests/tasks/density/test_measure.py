"""Region densities and differences against values worked by hand, and the way from a scan to the affected side."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import nibabel as nib
import numpy as np
import pytest

from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map, mca_territory
from tasks.anatomy import ASPECTS_REGIONS, Label, LabelTable
from tasks.brain import ct_working_scan, extract_ct_brain
from tasks.density.measure import (
    CTA_DENSITY,
    MIRROR,
    NCCT_DENSITY,
    RegionDensity,
    ScanRegions,
    measure_density,
    mirrored_difference,
    place_regions,
    tissue_mask,
)
from tasks.density.rule import (
    BUILT_IN_DENSITY_RULES,
    CTA_RATIO,
    NCCT_RATIO,
    DensityRule,
)
from tasks.registration.affine import register
from tasks.scoring import RegionEvidence, affected_side
from tasks.space.working_grid import WorkingScan
from tests.tasks.head_phantom import head_scan

SHAPE = (30, 20, 9)
#: LAS, 2 x 2 x 5 mm; world x of voxel i is 29 - 2 i, so that voxels i and 29 - i are mirror images.
AFFINE = np.array([[-2.0, 0, 0, 29], [0, 2, 0, -19], [0, 0, 5, -20], [0, 0, 0, 1]])
TABLE = LabelTable(
    (
        Label(1, "right_m2", "right", "m2", "cortical"),
        Label(2, "left_m2", "left", "m2", "cortical"),
        Label(3, "stem", "midline", "brainstem", "other"),
    )
)
RIGHT_BOX, LEFT_BOX = np.s_[2:8, 4:12, 3:6], np.s_[22:28, 4:12, 3:6]  # 6 x 8 x 3 = 144 voxels
NO_TILT = replace(NCCT_DENSITY, corrects_tilt=False)


def _scene(values):
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[RIGHT_BOX], labels[LEFT_BOX], labels[13:17, 14:18, 3:6] = 1, 2, 3
    scan = WorkingScan(np.asarray(values, dtype=np.float32), AFFINE, (1, 1, 1), SHAPE)
    return scan, np.ones(SHAPE, dtype=bool), ScanRegions(labels, TABLE, labels == 0)


def _x_mm():
    return np.broadcast_to((AFFINE[0, 0] * np.arange(30) + AFFINE[0, 3])[:, None, None], SHAPE)


def test_the_denser_side_is_the_other_one():
    values = np.full(SHAPE, 30.0)
    values[LEFT_BOX] = 27.0
    measured = measure_density(*_scene(values), np.eye(4))
    left, right = measured[2], measured[1]
    assert left.density_hu == 27.0
    assert right.density_hu == 30.0
    assert left.difference_hu == pytest.approx(-3.0, abs=1e-5)
    assert left.relative_difference == pytest.approx(-0.1, abs=1e-6)  # -3 / 30
    assert left.ratio == pytest.approx(0.9, abs=1e-6)
    assert right.relative_difference == pytest.approx(3 / 27, abs=1e-6)
    assert right.bias_hu == pytest.approx(0.0, abs=1e-6)


def test_fluid_and_calcium_and_what_touches_them_in_the_slice_are_left_out():
    values = np.full(SHAPE, 30.0)
    values[24, 8, 4] = 8.0  # takes its four neighbours in the slice with it
    values[4, 8, 4] = 200.0
    values[2, 4, 3] = 8.0  # a corner: two of the four lie in the region
    measured = measure_density(*_scene(values), np.eye(4))
    assert (measured[2].n_voxels, measured[2].n_voxels_used) == (144, 139)
    assert (measured[1].n_voxels, measured[1].n_voxels_used) == (144, 136)
    assert measured[2].low_density_share == pytest.approx(1 / 144)
    assert measured[2].high_density_share == 0.0
    assert measured[1].low_density_share == pytest.approx(1 / 144)
    assert measured[1].high_density_share == pytest.approx(1 / 144)
    assert measured[2].relative_difference == pytest.approx(0.0, abs=1e-6)


def test_an_old_infarct_is_no_early_one():
    values = np.full(SHAPE, 30.0)
    values[22:26, 4:12, 3:6] = 10.0  # two thirds of the left region are fluid
    measured = measure_density(*_scene(values), np.eye(4))
    assert measured[2].low_density_share == pytest.approx(2 / 3)
    assert measured[2].n_voxels_used == 24  # one of the six columns is left beside the margin
    assert measured[2].relative_difference == pytest.approx(0.0, abs=1e-6)


def test_spread_is_the_scaled_median_absolute_deviation():
    values = np.full(SHAPE, 30.0)
    values[LEFT_BOX] = np.resize([28.0, 29.0, 31.0, 36.0], 144).reshape(6, 8, 3)
    left = measure_density(*_scene(values), np.eye(4), NO_TILT)[2]
    assert left.density_hu == 30.0
    assert left.spread_hu == pytest.approx(1.4826 * 1.5)  # deviations 2, 1, 1, 6: median 1.5


def test_a_tilt_across_the_head_is_taken_off():
    values = 30.0 + 0.04 * _x_mm()
    plain = measure_density(*_scene(values), np.eye(4), NO_TILT)
    # The right region spans x = 25 to 15 mm, mean 20: 0.8 HU denser; the left one as much less.
    assert plain[2].difference_hu == pytest.approx(-1.6, abs=1e-4)
    corrected = measure_density(*_scene(values), np.eye(4))
    assert corrected[2].bias_hu == pytest.approx(-1.6, abs=1e-3)
    assert corrected[2].difference_hu == pytest.approx(0.0, abs=1e-3)
    values[LEFT_BOX] -= 3.0
    assert measure_density(*_scene(values), np.eye(4))[2].difference_hu == pytest.approx(-3.0, abs=0.1)


def test_a_tilt_on_which_the_head_does_not_agree_is_taken_off_in_part():
    slopes = np.full(SHAPE, 0.04)
    slopes[:, :7], slopes[:, 13:] = 0.02, 0.06  # the thirds of the tissue, rows 1 to 18, from back to front
    scan, brain, regions = _scene(30.0 + slopes * _x_mm())
    everywhere = replace(regions, reference=brain)
    # against the mirror-image the slopes are twice these: nine equal parts have a squared standard error of
    # 6 (.04 / 9)^2 9 / 8 = 1.33e-4, so the share is 6.94e-5 / (6.94e-5 + 1.33e-4); smoothing blurs the borders of parts
    assert measure_density(scan, brain, everywhere, np.eye(4))[2].bias_hu == pytest.approx(-1.6 * 0.342, abs=0.04)


def test_a_tilt_that_three_parts_cannot_tell_is_left():
    scan, brain, regions = _scene(30.0 + 0.04 * _x_mm())
    reference = np.zeros(SHAPE, dtype=bool)
    reference[:, :10, :3] = True  # 702 voxels beside the midplane, 78 in each of nine parts
    measured = measure_density(scan, brain, replace(regions, reference=reference), np.eye(4))
    assert measured[2].bias_hu == 0.0


def test_the_mirrored_difference_has_the_opposite_sign_on_the_other_side():
    values = np.full(SHAPE, 30.0)
    values[18:30] = 26.0
    scan, brain, _ = _scene(values)
    difference = mirrored_difference(scan, tissue_mask(scan, brain), np.eye(4))
    assert difference[25, 10, 4] == pytest.approx(-4.0, abs=0.01)
    assert difference[4, 10, 4] == pytest.approx(4.0, abs=0.01)
    inner = difference[1:-1, 1:-1]
    np.testing.assert_allclose(inner, -inner[::-1], atol=1e-3)
    assert np.isnan(difference[0, 0, 0])  # the margin at the brain's edge


def test_the_mirror_lies_where_the_registration_puts_the_midplane():
    values = np.full(SHAPE, 30.0)
    scan, brain, regions = _scene(values)
    shift = np.eye(4)
    shift[0, 3] = 6.0
    values[18:30] = 26.0
    moved = WorkingScan(scan.values, shift @ AFFINE, (1, 1, 1), SHAPE)
    here = mirrored_difference(scan, tissue_mask(scan, brain), np.eye(4))
    there = mirrored_difference(moved, tissue_mask(moved, brain), shift)
    np.testing.assert_allclose(here, there, atol=1e-4)
    assert measure_density(moved, brain, regions, shift)[2].ratio == pytest.approx(1.0, abs=1e-5)


def test_cta_takes_the_mean_of_all_voxels_of_1_to_250_hu():
    values = np.full(SHAPE, 50.0)
    values[22, 4, 3] = 194.0  # a vessel counts: 50 + 144 / 144
    values[23, 4, 3] = 300.0  # bone does not
    left = measure_density(*_scene(values), np.eye(4), CTA_DENSITY)[2]
    assert left.n_voxels_used == 143
    assert left.density_hu == pytest.approx(50 + 144 / 143)
    assert left.bias_hu == 0.0


def test_what_cannot_be_measured_is_null():
    values = np.full(SHAPE, 30.0)
    scan, brain, regions = _scene(values)
    midline = measure_density(scan, brain, regions, np.eye(4))[3]
    assert midline.density_hu == 30.0
    assert midline.ratio is None
    brain[RIGHT_BOX] = False
    measured = measure_density(scan, brain, regions, np.eye(4))
    assert measured[1] == RegionDensity(1, 0, 0, None, None, None, None)
    assert measured[2].density_hu == 30.0
    assert measured[2].ratio is None
    values[LEFT_BOX] = 5.0
    fluid = measure_density(*_scene(values), np.eye(4))
    assert fluid[2].density_hu is None
    assert fluid[2].low_density_share == 1.0
    assert fluid[1].ratio is None


def test_the_numbers_survive_a_json_record():
    values = np.full(SHAPE, 30.0)
    values[LEFT_BOX] = 27.0
    measured = measure_density(*_scene(values), np.eye(4))
    stored = json.loads(json.dumps([asdict(one) for one in measured.values()]))
    assert {row["index"]: RegionDensity(**row) for row in stored} == measured


def test_arrays_of_another_grid_are_refused():
    scan, brain, regions = _scene(np.full(SHAPE, 30.0))
    with pytest.raises(ValueError, match=r"brain must have the scan's working grid \(30, 20, 9\), got \(29, 20, 9\)"):
        measure_density(scan, brain[1:], regions, np.eye(4))
    with pytest.raises(ValueError, match="labels must have the scan's working grid"):
        measure_density(scan, brain, replace(regions, labels=regions.labels[1:]), np.eye(4))


def _calls(densities, table, rule):
    """(side, region) -> whether the rule calls it affected."""
    found = {}
    for label in table.labels:
        value = densities[label.index].relative_difference
        found[label.side, label.region] = rule.judge(
            RegionEvidence(label.side, label.region, "relative_difference", value)
        )
    return found


def test_a_rule_is_applied_to_stored_numbers():
    rule = DensityRule("site", {"m2": 0.9}, "by hand")
    judge = {
        value: rule.judge(RegionEvidence("left", "m2", "relative_difference", value))
        for value in (-0.11, -0.09, 0.12, None)
    }
    assert judge == {-0.11: True, -0.09: False, 0.12: False, None: None}
    assert rule.judge(RegionEvidence("left", "m3", "relative_difference", -0.5)) is None  # no cut
    assert rule.judge(RegionEvidence("midline", "m2", "relative_difference", -0.5)) is None


def test_built_in_cuts_are_the_published_ones():
    assert set(BUILT_IN_DENSITY_RULES) == {"ncct-ratio", "cta-ratio"}
    assert set(NCCT_RATIO.cuts) == set(CTA_RATIO.cuts) == set(ASPECTS_REGIONS)
    assert NCCT_RATIO.is_affected("m5", 0.939)
    assert not NCCT_RATIO.is_affected("m5", 0.941)
    # github.com/AnotherMak/aspects-on-cta, code/cutpoints.csv: C .91592, IC (insular cortex) .87060, InCa .94891
    assert [round(CTA_RATIO.cuts[region], 3) for region in ("caudate", "insula", "internal_capsule")] == [
        0.916,
        0.871,
        0.949,
    ]


@pytest.mark.parametrize(("cuts", "message"), [({}, "at least one region"), ({"m1": 1.2}, "cut of m1 must be > 0")])
def test_a_rule_that_cannot_be_meant_is_refused(cuts, message):
    with pytest.raises(ValueError, match=message):
        DensityRule("bad", cuts, "by hand")


def _measure(values, affine, swap=None):
    """From a scan to its densities by the whole path; ``swap`` mirrors the world of scan and registration alike."""
    scan = ct_working_scan(values, affine)
    brain = extract_ct_brain(scan)
    registration = register(scan, brain, template_target("ct"))
    assert registration.is_usable
    matrix = registration.matrix
    if swap is not None:
        scan, matrix = replace(scan, affine=swap @ scan.affine), swap @ matrix @ swap
    label_map = load_label_map("classic")
    own = (label_map.labels, label_map.table, label_map.affine)
    regions = place_regions(scan, own, mca_territory(), np.linalg.inv(matrix))
    return measure_density(scan, brain.mask, regions, matrix), regions


@pytest.mark.parametrize("side", ["left", "right"])
def test_lowered_regions_of_a_head_are_found_on_their_side(side):
    values, affine, _, _ = head_scan(degrees=(6, -4, 8), shift_mm=(5, -7, 3))
    table = load_label_map("classic").table
    before, regions = _measure(values, affine)
    assert affected_side(_calls(before, table, NCCT_RATIO)) == "none"
    lesion = {label.index for label in table.labels if label.side == side and label.region in ("lentiform", "m5")}
    values[np.isin(regions.labels, list(lesion))] -= 4.0  # blocks are voxels here: 1.8 mm
    after, _ = _measure(values, affine)
    calls = _calls(after, table, NCCT_RATIO)
    assert {key for key, is_affected in calls.items() if is_affected} == {(side, "lentiform"), (side, "m5")}
    assert affected_side(calls) == side
    for index in lesion:
        assert after[index].difference_hu == pytest.approx(-4.0, abs=0.8)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["sub001", "sub002", "sub003"])
def test_a_real_scan_with_swapped_sides_gives_swapped_numbers(real_data, name):
    image = nib.load(real_data / "ncct-aspects" / name / "im.nii.gz")
    values, affine = np.asarray(image.dataobj, dtype=np.float32), image.affine
    as_scanned, _ = _measure(values, affine)
    swapped, _ = _measure(values, affine, swap=MIRROR)
    for right in range(1, 11):
        assert 20 < as_scanned[right].density_hu < 45
        assert as_scanned[right].ratio == pytest.approx(swapped[right + 10].ratio, abs=2e-3)
        assert as_scanned[right].n_voxels == pytest.approx(swapped[right + 10].n_voxels, rel=0.01)


def test_regions_that_are_drawn_take_the_place_of_the_map_which_is_not_resampled():
    values = np.zeros((7, 8, 9), np.float32)
    affine = np.diag([20.0, 20.0, 20.0, 1.0])
    affine[:3, 3] = -70
    scan = WorkingScan(values, affine, (1, 1, 1), values.shape)
    drawn = np.arange(values.size).reshape(values.shape) % 21
    label_map = load_label_map("classic")
    unusable = label_map.labels.astype(float)  # labels that cannot be resampled
    own = (unusable, label_map.table, label_map.affine)
    regions = place_regions(scan, own, mca_territory(), np.eye(4), drawn=drawn)
    assert regions.labels is drawn
    own = (label_map.labels, label_map.table, label_map.affine)
    expected = place_regions(scan, own, mca_territory(), np.eye(4))
    np.testing.assert_array_equal(regions.reference, expected.reference)
    with pytest.raises(TypeError, match="labels must be integers"):
        place_regions(scan, (unusable, label_map.table, label_map.affine), mca_territory(), np.eye(4))
