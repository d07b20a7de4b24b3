"""What every step on a scan begins with: the notes, the labels in native space and the files of a registration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cohorts.images.mask import ImageProblemError
from cohorts.images.scan import read_scan
from cohorts.phantom.native_scans import scan_bytes
from flows.sources.interface import CaseFile
from flows.sources.native_scan import facts, prepare, registration_files
from flows.sources.native_scan import refined as refined_scan
from models.anatomy.template import labels_on_grid, load_label_map
from tasks.anatomy import TEMPLATE_SPACE
from tasks.registration.refined_labels import labels_to_scan
from tasks.space.resample import Grid
from tests.flows.scan_phantom import CLASSIC, POSE, ct

FILE = CaseFile("ncct", "/somewhere/sub-1_ncct.nii.gz", "")


@pytest.fixture(scope="module")
def image():
    return read_scan(scan_bytes(*ct()), FILE.name, "ncct")


@pytest.fixture(scope="module")
def refined(image):
    return refined_scan(prepare(image, "ct"))


@pytest.fixture(scope="module")
def true_labels():
    """The classic map in the phantom's own pose."""
    hu, affine = ct()
    return labels_on_grid(load_label_map("classic"), hu.shape, np.linalg.inv(POSE) @ affine)


def _share_alike(one, other):
    either = (one > 0) | (other > 0)
    return (one == other)[either].mean()


def test_a_file_is_read_as_what_it_is_declared_to_be():
    content = scan_bytes(*ct())
    with pytest.raises(ImageProblemError, match=r"^sub-1_ncct\.nii\.gz must hold signal >= 0, got ") as caught:
        read_scan(content, FILE.name, "dwi")
    assert caught.value.reason == "signal_negative"


def test_labels_lie_where_the_pose_puts_them(image, refined, true_labels):
    for scan in (prepare(image, "ct"), refined):
        label_map, on_grid = scan.labels(CLASSIC)
        assert label_map.sha256 == CLASSIC.sha256
        assert _share_alike(on_grid.labels, true_labels.labels) > 0.8  # voxels at the border of 1.8 x 1.8 x 5 mm
        assert on_grid.coverage == dict.fromkeys(range(1, 21), 1.0)
        assert scan.labels(CLASSIC)[1] is on_grid


def test_refined_labels_are_those_of_the_refinement_alone(image, refined):
    label_map = load_label_map("classic")
    grid = Grid(refined.shape, image.affine)
    expected = labels_to_scan(label_map.labels, label_map.affine, grid, refined.refinement)
    assert np.array_equal(refined.labels(CLASSIC)[1].labels, expected)
    affine = prepare(image, "ct")
    assert affine.refinement is None
    assert affine.registration == refined.registration
    assert not np.array_equal(affine.labels(CLASSIC)[1].labels, expected)


def test_a_folded_refinement_is_noted_and_not_used(image, refined):
    folded = replace(refined, refinement=replace(refined.refinement, reason="refinement_folded"))
    assert folded.warp is None
    assert folded.notes == ("refinement_folded",)
    assert np.array_equal(folded.labels(CLASSIC)[1].labels, prepare(image, "ct").labels(CLASSIC)[1].labels)
    assert registration_files("sub-1_ncct", folded) == registration_files("sub-1_ncct", prepare(image, "ct"))
    assert refined.notes == ()


def test_coverage_is_the_share_of_a_region_in_view(image):
    """Slices from 18 on: of each region what the pose puts above the middle of slices 17 and 18."""
    first, label_map = 18, load_label_map("classic")
    hu, affine = ct()
    upper = affine.copy()
    upper[:3, 3] += first * affine[:3, 2]
    scan = prepare(read_scan(scan_bytes(hu[:, :, first:], upper), FILE.name, "ncct"), "ct")
    scan = replace(scan, registration=prepare(image, "ct").registration)  # the part of a head alone is refused
    coverage = scan.labels(CLASSIC)[1].coverage
    to_slice = (np.linalg.inv(affine) @ POSE @ label_map.affine)[2]
    for label in label_map.table.labels:
        heights = np.argwhere(label_map.labels == label.index) @ to_slice[:3] + to_slice[3]
        assert coverage[label.index] == pytest.approx((heights >= first - 0.5).mean(), abs=0.05)
    assert min(coverage.values()) < 0.3 < 0.9 < max(coverage.values())


def test_facts_are_those_of_the_file(image):
    clipped = read_scan(scan_bytes(ct()[0].clip(0), ct()[1]), FILE.name, "ncct")
    assert facts(image).spacing_mm == (1.8, 1.8, 5.0)
    assert facts(image).voxel_volume_mm3 == pytest.approx(16.2)
    assert facts(image).notes == ()
    assert facts(clipped).notes == ("hu_clipped_at_zero",)
    assert facts(clipped, ("other",)).notes == ("other",)


def test_files_are_there_as_far_as_there_is_a_registration(image, refined):
    name = f"sub-1_ncct_from-orig_to-{TEMPLATE_SPACE}_mode-image"
    affine = registration_files("sub-1_ncct", prepare(image, "ct"))
    assert f"{name}_xfm.txt" in affine
    assert len(affine) == 4
    both = registration_files("sub-1_ncct", refined)
    assert {key: both[key] for key in affine} == affine
    assert set(both) - set(affine) == {
        f"sub-1_ncct_from-{one}_mode-image_desc-refinement_xfm{suffix}"
        for one in (f"orig_to-{TEMPLATE_SPACE}", f"{TEMPLATE_SPACE}_to-orig")
        for suffix in (".nii.gz", ".json")
    }
    nothing = replace(refined, registration=replace(refined.registration, fixed_to_moving=None), refinement=None)
    assert registration_files("sub-1_ncct", nothing) == {}
