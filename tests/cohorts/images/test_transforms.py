"""Transform files against SimpleITK, which reads them as any other ITK program does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from cohorts.images.transforms import displacement_files, itk_text, transform_files

MATRIX = np.eye(4)
MATRIX[:3, :3] = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ np.diag([0.9, 1.1, 0.8])
MATRIX[:3, 3] = (12.5, -7.25, 300.1)


def test_both_files_say_where_points_go(tmp_path):
    files = transform_files("sub-017_ct", "MNI152NLin2009aSym", MATRIX, {"Profile": "as-paper"})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    forward = tmp_path / "sub-017_ct_from-orig_to-MNI152NLin2009aSym_mode-image_xfm.txt"
    inverse = tmp_path / "sub-017_ct_from-MNI152NLin2009aSym_to-orig_mode-image_xfm.txt"
    point_ras = np.array([30.0, -40.0, 15.0])
    moved_ras = MATRIX[:3, :3] @ point_ras + MATRIX[:3, 3]
    flip = np.array([-1, -1, 1])
    found = sitk.ReadTransform(str(forward)).TransformPoint((point_ras * flip).tolist())
    np.testing.assert_allclose(np.array(found) * flip, moved_ras, atol=1e-9)
    found = sitk.ReadTransform(str(inverse)).TransformPoint((moved_ras * flip).tolist())
    np.testing.assert_allclose(np.array(found) * flip, point_ras, atol=1e-9)
    sidecar = json.loads(forward.with_suffix(".json").read_text())
    assert sidecar["Profile"] == "as-paper"
    np.testing.assert_array_equal(sidecar["MatrixRAS"], MATRIX)


def test_the_text_keeps_every_digit(tmp_path):
    path = tmp_path / "affine.txt"
    path.write_text(itk_text(MATRIX))
    stored = np.array(sitk.ReadTransform(str(path)).GetParameters())
    flip = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_array_equal(stored[:9].reshape(3, 3), flip @ MATRIX[:3, :3] @ flip)
    np.testing.assert_array_equal(stored[9:], flip @ MATRIX[:3, 3])


def test_a_matrix_that_is_no_affine_is_refused():
    with pytest.raises(ValueError, match="finite"):
        itk_text(np.full((4, 4), np.nan))


def test_a_displacement_is_read_by_itk_and_comes_before_the_affine(tmp_path):
    """A template point goes to the scan by displacement and affine, and back by affine and inverse, in SimpleITK."""
    grid = np.diag([4.0, 5.0, 6.0, 1.0])
    grid[:3, 3] = (-20, -60, -10)
    field = np.zeros((12, 11, 10, 3), np.float32)
    field[2:-2, 2:-2, 2:-2] = (2.5, -1.25, 4.0)  # exact at the stored precision
    files = transform_files("sub-017_ct", "MNI152NLin2009aSym", MATRIX, {})
    added = displacement_files("sub-017_ct", "MNI152NLin2009aSym", (field, -field), grid, {"MeanDisplacement": 1.5})
    assert not set(files) & set(added)
    for name, content in (files | added).items():
        (tmp_path / name).write_bytes(content)

    point_ras, flip = np.array([2.0, -34.0, 15.0]), np.array([-1, -1, 1])
    moved_ras = MATRIX[:3, :3] @ (point_ras + np.array([2.5, -1.25, 4.0])) + MATRIX[:3, 3]
    forward, back = sitk.CompositeTransform(3), sitk.CompositeTransform(3)
    there = "sub-017_ct_from-orig_to-MNI152NLin2009aSym_mode-image"
    here = "sub-017_ct_from-MNI152NLin2009aSym_to-orig_mode-image"
    forward.AddTransform(sitk.ReadTransform(str(tmp_path / f"{there}_xfm.txt")))
    forward.AddTransform(_displacement(tmp_path / f"{there}_desc-refinement_xfm.nii.gz"))  # added last, used first
    back.AddTransform(_displacement(tmp_path / f"{here}_desc-refinement_xfm.nii.gz"))
    back.AddTransform(sitk.ReadTransform(str(tmp_path / f"{here}_xfm.txt")))
    found = np.array(forward.TransformPoint((point_ras * flip).tolist())) * flip
    np.testing.assert_allclose(found, moved_ras, atol=1e-5)
    found = np.array(back.TransformPoint((moved_ras * flip).tolist())) * flip
    np.testing.assert_allclose(found, point_ras, atol=1e-5)
    sidecar = json.loads((tmp_path / f"{there}_desc-refinement_xfm.json").read_text())
    assert sidecar["MeanDisplacement"] == 1.5
    assert sidecar["Affine"] == f"{there}_xfm.txt"
    assert "before the affine" in sidecar["FromTo"]


def _displacement(path):
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
