"""Many problems are shown by column and rule, the first three rows of each; a table has them all."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from cohorts.folder.problems import Problem
from cohorts.folder.scans import Scan
from cohorts.images.same_content import same_content
from flows.commands.screens import KEEPS_THEM, problems_tsv, show_problems


def _problems():
    rule, remedy = "must be <= 42", "Check the chart."
    place = ("participants.tsv",)
    return [
        *(Problem(*place, row, "nihss", "60", rule, remedy, "value_out_of_range", f"sub-{row}") for row in range(2, 9)),
        Problem(*place, 3, "age", "x", "must be a number", "Correct it.", "not_a_number", "sub-3"),
        Problem(*place, 4, "nihss", "70", rule, remedy, "value_out_of_range", "sub-4"),
        Problem(*place, 1, "note", None, "must be declared", "Declare it.", "unknown_column", is_warning=True),
    ]


def test_problems_are_grouped_by_column_and_rule():
    words = io.StringIO()
    show_problems(_problems(), Console(file=words, width=200), is_whole=False)
    assert words.getvalue().splitlines() == [
        "These problems exclude participants: (9)",
        *(f"  participants.tsv, row {n}, column nihss: value 60 must be <= 42. Check the chart." for n in (2, 3, 4)),
        "    ... and 5 more of this kind (value_out_of_range, 7 participants)",
        KEEPS_THEM,
        "  participants.tsv, row 3, column age: value x must be a number. Correct it.",
        KEEPS_THEM,
        "Warnings, which exclude nobody: (1)",
        "  participants.tsv, row 1, column note: must be declared. Declare it.",
    ]
    table = [line.split("\t") for line in problems_tsv(_problems()).splitlines()]
    assert len(table) == 11
    assert table[9][:7] == ["excludes", "sub-4", "participants.tsv", "4", "nihss", "70", "value_out_of_range"]


def test_one_image_under_two_names_is_named_however_it_is_compressed(tmp_path, monkeypatch):  # case 25
    values = np.zeros((4, 5, 3), np.uint8)
    values[1, 2, 1] = 1
    for name, content in (("a.nii.gz", values), ("b.nii.gz", values), ("c.nii.gz", values.T.reshape(4, 5, 3))):
        nib.save(nib.Nifti1Image(content, np.eye(4)), tmp_path / name)
    for name in ("empty1.nii", "empty2.nii"):  # two masks that say "no lesion" are alike by right
        nib.save(nib.Nifti1Image(values * 0, np.eye(4)), tmp_path / name)
    import gzip

    # saved again by another program: another type of number, other words in the header, voxels in another order
    again = nib.Nifti1Image(values[::-1].astype(np.float32), np.diag([-1.0, 1, 1, 1]))
    again.affine[0, 3] = 3
    again.header["descrip"] = b"another program"
    nib.save(again, tmp_path / "d.nii.gz")
    packed = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(gzip.decompress(packed), 1, mtime=7))
    names = ("a.nii.gz", "b.nii.gz", "c.nii.gz", "empty1.nii", "empty2.nii", "d.nii.gz")
    scans = [Scan(f"sub-{name[0]}{at}", "lesion", None, name) for at, name in enumerate(names)]
    (problem,) = same_content(scans, tmp_path)
    assert problem.is_warning
    assert problem.text == (
        "scans.tsv, column path: value a.nii.gz must be of one participant; sub-b1, sub-d5 have the same voxels "
        "under another name. Look which of them it shows, and give the others their own file."
    )
    # a copy of a large image is known by what gzip keeps, and no image is read that has its size for itself alone
    monkeypatch.setattr("cohorts.images.same_content.LARGEST_BYTES", 1)
    (problem,) = same_content([scan for scan in scans if "empty" not in scan.path], tmp_path)
    assert "; sub-b1 has the same voxels" in problem.text
    monkeypatch.setattr("cohorts.images.same_content._digest", lambda path: pytest.fail(f"{path} was read"))
    nib.save(nib.Nifti1Image(values[:3], np.eye(4)), tmp_path / "other.nii")
    assert same_content([scans[0], Scan("sub-x", "lesion", None, "other.nii")], tmp_path) == []


@pytest.mark.parametrize(
    "kind", [np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), np.complex64, np.float32, np.int16], ids=str
)
def test_images_of_every_type_are_looked_at_and_none_stops_the_others(tmp_path, kind):
    values = np.zeros((4, 5, 3), kind)
    for name in ("a.nii.gz", "b.nii.gz"):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name)
    alike = np.zeros((4, 5, 3), np.uint8)
    alike[1, 2, 1] = 1
    for name in ("c.nii", "d.nii.gz"):
        nib.save(nib.Nifti1Image(alike, np.eye(4)), tmp_path / name)
    names = ("a.nii.gz", "b.nii.gz", "c.nii", "d.nii.gz")
    scans = [Scan(f"sub-{name[0]}", "lesion", "MNI152", name) for name in names]
    found = [problem.value for problem in same_content(scans, tmp_path)]
    assert [value for value in found if value in ("c.nii", "d.nii.gz")]
    assert not [value for value in found if value in ("a.nii.gz", "b.nii.gz")]
