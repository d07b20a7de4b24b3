"""Infarcts of up to a hemisphere on diffusion images: found, with their own brightness, with and without ADC."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from tasks.brain import extract_mr_brain, mr_working_scan
from tasks.diffusion.threshold import segment_dwi
from tasks.space.working_grid import to_native_grid
from tests.tasks.head_phantom import head_scan, overlap
from tests.tasks.painted_infarct import lesion_share, paint_dwi, place

DWI = (
    "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_dwi.nii.gz",
    "dwi/isles22-case0001/dwi.nii.gz",
    "dwi/jhu-subject02/Subject02_DWI.nii.gz",
)


def _found(values, affine, pose, side, volume_ml, factor):
    """The lesion by b-high alone, and the painted one inside the brain."""
    share = lesion_share(values.shape, affine, pose, side, volume_ml)
    scan, brain, registration = place(paint_dwi(values, share, factor), affine, "dwi")
    mask = to_native_grid(brain.mask, scan)
    lesion = segment_dwi(paint_dwi(values, share, factor), None, mask, affine, registration.matrix)
    return lesion, (share > 0.5) & mask


@pytest.mark.parametrize(("side", "volume_ml", "factor"), [("left", 50, 3.0), ("right", 165, 2.2), ("left", 300, 3.0)])
def test_without_adc_a_large_infarct_is_not_taken_for_shading(side, volume_ml, factor):
    values, affine, _, truth = head_scan("dwi", (8, -5, 6))
    lesion, painted = _found(values, affine, truth, side, volume_ml, factor)
    assert lesion.reason == ""
    assert overlap(lesion.mask, painted) > 0.8
    assert lesion.noise < 0.2


@pytest.mark.parametrize("factor", [2.2, 3.0, 4.0])
@pytest.mark.parametrize("volume_ml", [300, 400])
def test_the_brain_is_found_beside_a_bright_hemisphere(factor, volume_ml):
    """The threshold that parts bright from dark parts the infarct from the brain where the infarct is large."""
    values, affine, mask, truth = head_scan("dwi", (8, -5, 6))
    share = lesion_share(values.shape, affine, truth, "right", volume_ml)
    scan = mr_working_scan(paint_dwi(values, share, factor), affine)
    brain = extract_mr_brain(scan)
    assert brain.reason == ""
    assert overlap(to_native_grid(brain.mask, scan), mask) > 0.93


@pytest.mark.real_data
@pytest.mark.parametrize("path", DWI)
def test_on_real_scans_too(real_data, path):
    image = nib.load(real_data / path)
    values = np.asarray(image.dataobj, dtype=np.float32)
    _, _, plain = place(values, image.affine, "dwi")
    for volume_ml, factor in ((100, 2.2), (300, 3.0)):
        lesion, painted = _found(values, image.affine, plain.matrix, "left", volume_ml, factor)
        assert lesion.reason == ""
        assert overlap(lesion.mask, painted) > 0.8
