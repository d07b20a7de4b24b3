"""Masks of a scan that are listed in a template's space."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from cohorts.folder.scans import Scan
from cohorts.images.template_grid import unlike_templates

SPACE = "MNI152NLin2009aSym"


def _found(folder, affine, space=SPACE, shape=(4, 5, 6)):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), folder / "a.nii.gz")
    return [problem.rule for problem in unlike_templates([Scan("sub-1", "lesion", space, "a.nii.gz")], folder)]


def test_a_grid_of_the_scan_is_warned_of_and_one_of_a_template_is_not(tmp_path):
    scanner = np.diag([-0.45, 0.45, 5, 1.0])
    scanner[:3, 3] = 115, -115, -70
    (rule,) = _found(tmp_path, scanner)
    assert rule.endswith(f"as space {SPACE} says, got voxels of 0.45 x 0.45 x 5 mm")
    assert _found(tmp_path, scanner, "orig") == _found(tmp_path, scanner, None) == []
    for size in (0.5, 1.0, 2.0, 3.0):
        assert _found(tmp_path, np.diag([-size, size, size, 1.0])) == []
    assert _found(tmp_path, np.diag([1.5, 1.8, 1.5, 1.0])) == []


def test_a_scan_that_somebody_resampled_to_cubes_has_a_field_of_view_that_no_template_has(tmp_path):
    (rule,) = _found(tmp_path, np.diag([-4.0, 4, 4, 1]), shape=(64, 64, 45))
    assert rule.endswith("got a grid of 256 x 256 x 180 mm, as of a scanner's field of view")
    # published: ICBM152 2009a and c, MNI152 of FSL, SPM's, and that of FreeSurfer in its cube
    for size, shape in ((1, (197, 233, 189)), (1, (193, 229, 193)), (2, (91, 109, 91)), (2, (79, 95, 79))):
        assert _found(tmp_path, np.diag([-size, size, size, 1.0]), shape=shape) == []
    assert _found(tmp_path, np.diag([-4.0, 4, 4, 1]), "MNI305", (64, 64, 64)) == []


def test_a_turned_grid_is_no_templates(tmp_path):
    angle = np.radians(12)
    turned = np.eye(4)
    turned[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    (rule,) = _found(tmp_path, turned)
    assert rule.endswith("got axes turned by 12 degrees")


def test_what_cannot_be_read_is_said_elsewhere(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    scans = [Scan("sub-1", "lesion", SPACE, name) for name in ("a.nii.gz", "absent.nii.gz")]
    assert unlike_templates(scans, tmp_path) == []
