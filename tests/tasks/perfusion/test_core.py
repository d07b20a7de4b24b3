"""Core and hypoperfusion on small maps worked by hand, and the digital phantom against its truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import io

from tasks.anatomy import Label, LabelTable
from tasks.perfusion.core import CoreSettings, find_core
from tasks.perfusion.core_threshold import calibrate_threshold, sample_tissue
from tasks.perfusion.deconvolution import build_deconvolver
from tasks.perfusion.maps import PerfusionSettings, perfusion_maps
from tasks.perfusion.normal_flow import CoreAnatomy, mirrored_indices
from tasks.perfusion.vessels import find_arterial_input
from tests.tasks.perfusion.test_deconvolution import TIMES_S, gamma_variate, tissue
from tests.tasks.perfusion.test_maps import CORE_VOXELS, HEALTHY_LABELS, TRACER_UNITS

SHAPE = (8, 6, 2)
#: Two regions a side: 1 and 2 right, 3 and 4 left; the deep ones have twice the flow of the cortical.
TABLE = LabelTable(
    (
        Label(1, "right_insula", "right", "insula", "deep"),
        Label(2, "right_m1", "right", "m1", "cortical"),
        Label(3, "left_insula", "left", "insula", "deep"),
        Label(4, "left_m1", "left", "m1", "cortical"),
    )
)


def brain():
    """Left is x < 4; y < 3 is deep at 60, the rest cortex at 30 ml/100 g/min: 45 on average. Left cortex reads 12."""
    x, y, _ = np.indices(SHAPE)
    cbf = np.where(y < 3, 60.0, 30.0).astype(np.float32)
    labels = np.where(x < 4, 3, 1) + (y >= 3)
    cbf[labels == 4] = 12.0
    tmax = np.where(labels == 4, 8.0, 1.0).astype(np.float32)
    anatomy = CoreAnatomy(
        tissue=np.ones(SHAPE, dtype=bool),
        hemisphere=np.where(x < 4, -1, 1).astype(np.int8),
        voxel_ml=0.5,
        labels=labels,
        table=TABLE,
        mirrored=mirrored_indices(
            SHAPE, np.array([[1.0, 0, 0, -3.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), np.eye(4)
        ),
    )
    return cbf, tmax, anatomy


def counts(found):
    return {
        (one.side, one.region): (one.n_voxels, one.n_tissue, one.n_core, one.n_hypoperfused) for one in found.regions
    }


def test_core_and_hypoperfusion_against_the_other_hemisphere():
    found = find_core(*brain(), CoreSettings())
    assert (found.affected_side, found.side_source, found.reason) == ("left", "tmax", "")
    assert found.reference_cbf == 45
    assert found.core_ml == 24 * 0.5  # 12 < 0.3 x 45 = 13.5
    assert found.hypoperfused_ml == 24 * 0.5
    assert found.other_side_hypoperfused_ml == 0
    assert found.mismatch_ratio == 1
    assert counts(found) == {
        ("right", "insula"): (24, 24, 0, 0),
        ("right", "m1"): (24, 24, 0, 0),
        ("left", "insula"): (24, 24, 0, 0),
        ("left", "m1"): (24, 24, 24, 24),
    }


@pytest.mark.parametrize(
    ("reference", "relative_cbf", "n_core"),
    [
        ("contralateral_hemisphere", 0.30, 24),  # 12 against 45
        ("contralateral_hemisphere", 0.26, 0),
        ("mirrored_region", 0.30, 0),  # 12 against 30
        ("mirrored_region", 0.41, 24),
        ("mirrored_voxel", 0.30, 0),
        ("mirrored_voxel", 0.41, 24),
    ],
)
def test_every_reference_of_normal_flow(reference, relative_cbf, n_core):
    found = find_core(*brain(), CoreSettings(reference=reference, relative_cbf=relative_cbf))
    assert found.core.sum() == n_core


def test_mirrored_voxels_and_regions_differ_where_flow_varies_within_a_region():
    cbf, tmax, anatomy = brain()
    cbf[4, 3, 0] = 90.0  # across from (3, 3, 0); the region's mean becomes 32.5
    by_voxel = find_core(cbf, tmax, anatomy, CoreSettings(reference="mirrored_voxel"))
    np.testing.assert_array_equal(np.argwhere(by_voxel.core), [[3, 3, 0]])
    by_region = find_core(cbf, tmax, anatomy, CoreSettings(reference="mirrored_region", relative_cbf=0.38))
    assert by_region.core.sum() == 24  # 12 < 0.38 x 32.5


def test_voxels_outside_every_region_have_the_hemisphere_as_their_mirrored_region():
    cbf, tmax, anatomy = brain()
    labels = anatomy.labels.copy()
    labels[:, 3:] = 0
    found = find_core(cbf, tmax, replace(anatomy, labels=labels), CoreSettings(reference="mirrored_region"))
    assert found.core.sum() == 24


def test_what_is_no_tissue_counts_nowhere():
    cbf, tmax, anatomy = brain()
    tissue = anatomy.tissue.copy()
    tissue[0, 3, 0] = False  # in the core
    tissue[5, :3] = False  # deep voxels of the reference
    cbf[1, 3, 0] = np.nan
    found = find_core(cbf, tmax, replace(anatomy, tissue=tissue), CoreSettings())
    assert found.reference_cbf == pytest.approx((18 * 60 + 24 * 30) / 42)
    assert found.core_ml == 0.5 * 22
    assert counts(found)["left", "m1"] == (24, 22, 22, 22)
    assert counts(found)["right", "insula"] == (24, 18, 0, 0)


def test_the_tmax_condition_and_the_smallest_cluster():
    cbf, tmax, anatomy = brain()
    tmax[:3, 3:] = 5.0  # leaves one column of six voxels, 3 ml
    settings = CoreSettings(core_tmax_s=6.0)
    assert find_core(cbf, tmax, anatomy, settings).core_ml == 3.0
    assert find_core(cbf, tmax, anatomy, replace(settings, minimum_cluster_ml=3.0)).core_ml == 3.0
    assert find_core(cbf, tmax, anatomy, replace(settings, minimum_cluster_ml=3.5)).core_ml == 0.0
    assert find_core(cbf, tmax, anatomy, replace(settings, minimum_cluster_ml=3.5)).mismatch_ratio is None


def test_the_side_is_decided_by_tmax_then_by_flow_and_can_be_given():
    cbf, tmax, anatomy = brain()
    right = find_core(cbf[::-1], tmax[::-1], anatomy, CoreSettings())
    assert (right.affected_side, right.core_ml) == ("right", 12.0)
    by_flow = find_core(cbf, np.zeros_like(tmax), anatomy, CoreSettings())
    assert (by_flow.affected_side, by_flow.side_source, by_flow.core_ml) == ("left", "cbf", 12.0)
    given = find_core(cbf, tmax, anatomy, CoreSettings(), affected_side="right")
    assert (given.affected_side, given.side_source, given.core_ml) == ("right", "given", 0.0)
    assert given.other_side_hypoperfused_ml == 12.0


def test_a_healthy_brain_has_no_affected_side():
    cbf, tmax, anatomy = brain()
    found = find_core(np.full_like(cbf, 50), np.zeros_like(tmax), anatomy, CoreSettings())
    assert (found.affected_side, found.side_source, found.core_ml, found.mismatch_ratio) == (None, "none", 0, None)
    assert counts(found)["left", "m1"] == (24, 24, 0, 0)


def test_a_side_without_tissue_is_named():
    cbf, tmax, anatomy = brain()
    found = find_core(cbf, tmax, replace(anatomy, tissue=anatomy.hemisphere < 0), CoreSettings())
    assert found.reason == "no_reference_tissue"
    assert found.reference_cbf is None


def test_mirrored_voxels_follow_a_tilted_head():
    """A head turned by 90 degrees: its mid-plane lies across the second axis of the scan."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    template_to_scan = np.array([[0.0, -1, 0, 0], [1, 0, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]])  # x = 0 -> scan y = 5 mm
    indices = mirrored_indices((3, 6, 2), affine, template_to_scan)
    assert indices[1, 0, 1] == np.ravel_multi_index((1, 5, 1), (3, 6, 2))  # y: 0 mm <-> 10 mm
    assert indices[2, 4, 0] == np.ravel_multi_index((2, 1, 0), (3, 6, 2))
    shifted = mirrored_indices((3, 6, 2), affine, template_to_scan + np.outer([0, 1, 0, 0], [0, 0, 0, 2]))
    assert (shifted[:, 0] == -1).all()


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"reference": "mirrored_voxel"}, {"mirrored": None}, "mirrored must be given for reference mirrored_voxel"),
        ({"reference": "mirrored_region"}, {"table": None}, "labels and table must be given"),
        (
            {},
            {"tissue": np.ones((2, 2, 2), dtype=bool)},
            r"tissue must have the shape of cbf \(8, 6, 2\), got \(2, 2, 2\)",
        ),
    ],
)
def test_anatomy_that_does_not_fit_is_refused(settings, change, message):
    cbf, tmax, anatomy = brain()
    with pytest.raises(ValueError, match=message):
        find_core(cbf, tmax, replace(anatomy, **change), CoreSettings(**settings))


def test_settings_out_of_range_are_refused_together():
    with pytest.raises(ValueError, match=r"reference must be one of .*relative_cbf must be in \(0, 1\), got 30"):
        CoreSettings(reference="other", relative_cbf=30, minimum_cluster_ml=-1)


def _phantom_maps(phantom, noise_hu, aif=None):
    """Maps of the digital phantom with noise added; its own AIF unless another is given."""
    series = phantom["ctp"] + np.random.default_rng(2).normal(0, noise_hu, phantom["ctp"].shape)
    aif = phantom["aif"].ravel() - phantom["aif"][:8].mean() if aif is None else aif
    deconvolver = build_deconvolver(aif, np.arange(50.0), TRACER_UNITS.method, n_baseline_frames=8)
    mask = np.isin(phantom["brain"], (1, 2, 3, 4, 5, 6))
    return perfusion_maps(series, deconvolver, TRACER_UNITS, mask=mask), series, mask, aif


def _overlap(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.real_data
@pytest.mark.parametrize(("noise_hu", "nominal_dice", "dice"), [(0.0, 0.95, 0.97), (1.0, 0.85, 0.94)])
def test_a_calibrated_threshold_finds_the_digital_phantoms_core(real_data, noise_hu, nominal_dice, dice):
    phantom = io.loadmat(real_data / "ctp" / "phantom.mat")
    maps, series, mask, aif = _phantom_maps(phantom, noise_hu)
    healthy = np.isin(phantom["brain"], HEALTHY_LABELS)
    truth = mask & (phantom["cbf"] < 0.3 * phantom["cbf"][healthy].mean())
    assert truth.sum() == CORE_VOXELS
    sample = sample_tissue(maps, series, healthy, mask, 0.3)
    assert sample.noise_hu == pytest.approx(noise_hu, abs=0.1)
    normal = maps.cbf[healthy].mean()
    assert _overlap(mask & (maps.cbf < 0.3 * normal), truth) > nominal_dice
    for shape in (1.0, 4.0, np.inf):  # whatever the residue is taken to be
        found = calibrate_threshold(aif, np.arange(50.0), sample, TRACER_UNITS, residue_shape=shape)
        core = mask & (maps.cbf < found.on_maps * normal)
        assert _overlap(core, truth) > dice
        assert core.sum() == pytest.approx(CORE_VOXELS, rel=0.08)


@pytest.mark.real_data
def test_the_automatic_artery_gives_the_same_core_as_the_phantoms_own(real_data):
    phantom = io.loadmat(real_data / "ctp" / "phantom.mat")
    found = find_arterial_input(phantom["ctp"], np.arange(50.0), phantom["brain"] > 0, n_baseline_frames=8)
    maps, _, mask, _ = _phantom_maps(phantom, 0.0, found.scaled_aif)
    own, _, _, _ = _phantom_maps(phantom, 0.0)
    np.testing.assert_allclose(maps.cbf[mask], own.cbf[mask], rtol=1e-4)
    np.testing.assert_allclose(maps.cbv[mask], own.cbv[mask], rtol=1e-4)


def test_the_calibrated_threshold_is_that_of_the_simulated_tissue():
    """Tissue of known flow with the assumed residue: the calibration gives back both readings and the true flow."""
    settings, aif = PerfusionSettings(), gamma_variate(TIMES_S)
    deconvolver = build_deconvolver(aif, TIMES_S, settings.method)
    scale = settings.blood_per_gram
    normal, border = tissue(TIMES_S, 0.010, 4.0), tissue(TIMES_S, 0.003, 8.0)
    curves = np.stack([normal] * 20 + [border] * 20, axis=1)
    maps = perfusion_maps(curves, deconvolver, settings)
    is_normal = np.arange(40) < 20
    sample = sample_tissue(maps, curves, is_normal, ~is_normal, 0.30)
    found = calibrate_threshold(aif, TIMES_S, sample, settings, nominal=0.30, residue_shape=1.0)
    assert found.normal_cbf == pytest.approx(60 * scale, rel=0.06)  # frames round the peak of the bolus off
    assert found.on_maps == pytest.approx(maps.cbf[-1] / maps.cbf[0], rel=0.03)
    assert found.normal_recovery == pytest.approx(maps.cbf[0] / (60 * scale), rel=0.06)
    assert 0.30 < found.on_maps < 0.45
    alone = calibrate_threshold(aif, TIMES_S, replace(sample, border_cbv=None), settings)
    assert (alone.on_maps, alone.reason) == (0.30, "no_border_tissue")
    empty = calibrate_threshold(aif, TIMES_S, replace(sample, normal_cbv=-0.1), settings)
    assert (empty.on_maps, empty.reason) == (0.30, "no_normal_volume")
