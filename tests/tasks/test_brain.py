"""Brain masks of a phantom whose brain is known, in the states that scans come in."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.space.working_grid import to_native_grid
from tests.tasks.enhanced_phantom import add_contrast_agent
from tests.tasks.head_phantom import head_scan, overlap


def _ct(values, affine):
    scan = ct_working_scan(values, affine)
    return scan, extract_ct_brain(scan)


def test_ct_with_skull():
    values, affine, truth, _ = head_scan()
    scan, brain = _ct(values, affine)
    assert brain.reason == ""
    assert brain.has_skull
    assert overlap(to_native_grid(brain.mask, scan), truth) > 0.95
    assert brain.volume_ml == pytest.approx(truth.sum() * 16.2 / 1000, rel=0.08)  # voxels of 1.8 x 1.8 x 5 mm


def test_negatives_and_a_clip_at_zero_give_the_same_mask():
    values, affine, _, _ = head_scan()
    _, plain = _ct(values, affine)
    _, clipped = _ct(np.clip(values, 0, None).astype(np.int16), affine)
    _, whole = _ct(values.astype(np.int16), affine)
    assert np.array_equal(clipped.mask, whole.mask)
    assert overlap(plain.mask, whole.mask) > 0.99  # rounding to whole HU moves a few voxels


def test_ct_without_skull():
    values, affine, truth, _ = head_scan()
    scan, brain = _ct(np.where(truth, values, 0), affine)
    assert not brain.has_skull
    assert overlap(to_native_grid(brain.mask, scan), truth) > 0.97


@pytest.mark.parametrize("cut", [slice(12, None), slice(None, 24)], ids=["no base", "no vertex"])
def test_a_scan_that_is_cut_off(cut):
    values, affine, truth, _ = head_scan()
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 2] * (cut.start or 0)
    scan, brain = _ct(values[:, :, cut], moved)
    assert brain.reason == ""
    assert overlap(to_native_grid(brain.mask, scan), truth[:, :, cut]) > 0.95
    assert brain.open_share > 0.3
    assert brain.side_share == 0


def test_a_lesion_and_a_bleed_stay_in_the_mask():
    values, affine, _, _ = head_scan()
    scan, plain = _ct(values, affine)
    values[70:80, 60:72, 18:20] = 12  # infarct
    values[30:40, 60:70, 18:20] = 75  # blood
    _, brain = _ct(values, affine)
    assert overlap(brain.mask, plain.mask) > 0.995
    assert to_native_grid(brain.mask, scan)[32:38, 62:68, 18:20].all()


@pytest.mark.parametrize("is_stripped", [False, True])
def test_bright_vessels_neither_add_nor_remove_brain(is_stripped):
    values, affine, truth, matrix = head_scan()
    enhanced = add_contrast_agent(values, affine, matrix)
    if is_stripped:
        values, enhanced = np.where(truth, values, 0), np.where(truth, enhanced, 0)
    _, plain = _ct(values, affine)
    scan = ct_working_scan(enhanced, affine)
    brain = extract_ct_brain(scan, is_enhanced=True)
    assert brain.reason == ""
    assert brain.has_skull is not is_stripped
    assert overlap(brain.mask, plain.mask) > 0.99
    deep = ndimage.binary_erosion(truth, iterations=3) & (enhanced > 200)
    assert deep.sum() > 100
    assert brain.mask[deep].mean() > 0.98  # arteries inside the brain stay; without the setting fewer than half
    if not is_stripped:
        assert extract_ct_brain(scan).mask[deep].mean() < 0.5


def test_without_contrast_agent_the_enhanced_setting_changes_little():
    values, affine, _, _ = head_scan()
    scan, plain = _ct(values, affine)
    assert overlap(extract_ct_brain(scan, is_enhanced=True).mask, plain.mask) > 0.99


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((40, 40, 20), -1000.0), "no_brain_found"),
        (np.full((30, 30, 20), 30.0), "brain_too_small"),
        (np.full((120, 120, 60), 30.0), "brain_too_large"),
    ],
)
def test_what_is_no_brain_has_a_reason_with_its_volume(values, reason):
    _, brain = _ct(values, np.diag([1.8, 1.8, 5.0, 1.0]))
    assert brain.reason == reason
    assert f"got {brain.volume_ml:.0f} ml" in brain.detail


def test_a_brain_that_goes_on_outside_the_side_of_the_scan_has_a_reason():
    values, affine, _, _ = head_scan()
    _, brain = _ct(values[:56], affine)
    assert brain.reason == "brain_cut_at_side"
    assert brain.side_share > 0.5
    assert f"got {brain.side_share:.2f}" in brain.detail


@pytest.mark.parametrize("is_stripped", [True, False])
def test_mr(is_stripped):
    values, affine, truth, _ = head_scan("dwi")
    scan = mr_working_scan(np.where(truth, values, 0) if is_stripped else values, affine)
    brain = extract_mr_brain(scan)
    assert brain.reason == ""
    assert overlap(to_native_grid(brain.mask, scan), truth) > (0.97 if is_stripped else 0.93)


def test_an_empty_mr_scan_has_a_reason():
    assert extract_mr_brain(mr_working_scan(np.zeros((40, 40, 20)), np.eye(4))).reason == "no_brain_found"


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["im", "im_aligned"])
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_real_ct_holds_every_region_and_no_bone(real_data, subject, name):
    image = nib.load(real_data / "ncct-aspects" / subject / f"{name}.nii.gz")
    values = np.asarray(image.dataobj)
    scan, brain = _ct(values, image.affine)
    mask = to_native_grid(brain.mask, scan)
    assert 1150 < brain.volume_ml < 1500
    assert (values[mask] > 200).mean() < 0.01
    if name == "im_aligned":
        regions = nib.load(real_data / "ncct-aspects" / subject / "im_aligned_stripped_seg.nii.gz").get_fdata() > 0
        assert mask[regions].mean() > 0.98


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["DWI", "b0"])
def test_real_mr_agrees_with_the_given_mask(real_data, name):
    folder = real_data / "dwi" / "jhu-subject02"
    image = nib.load(folder / f"Subject02_{name}.nii.gz")
    scan = mr_working_scan(np.asarray(image.dataobj), image.affine)
    mask = to_native_grid(extract_mr_brain(scan).mask, scan)
    assert overlap(mask, np.asarray(nib.load(folder / "Subject02_Mask.nii.gz").dataobj) > 0) > 0.93
