"""Masks of a scan that are listed in a template's space."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from cohorts.folder.scans import Scan
from cohorts.images.template_grid import unlike_templates

SPACE = "MNI152NLin2009aSym"


def _found(folder, affine, space=SPACE):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), affine), folder / "a.nii.gz")
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
