"""Anatomies and masks as they are found: a damaged file becomes a fault that says why, whatever the damage."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flows.training.steps import examine
from models.training.anatomies import tissues_of
from models.training.items import examine_anatomy, examine_lesion, voxel_digests
from tests.models.training.tiny_anatomy import tiny_affine, tiny_labels, tiny_lesion, write_labels, write_lesion

WRITE = {"anatomy": write_labels, "lesion": write_lesion}
DIM, OFFSET, SLOPE, SFORM = 40, 108, 112, 280  # bytes at which fields of a NIfTI-1 header lie (nifti1.h)


def _with_field(at, kind, *values):
    """Change a field of the header."""

    def change(path: Path) -> None:
        raw = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into(kind, raw, at, *values)
        path.write_bytes(gzip.compress(bytes(raw)))

    return change


def _with_bytes(change):
    """Change the compressed bytes."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _with_values(change):
    """Change the voxels, and with them their type."""

    def write(path: Path) -> None:
        image = nib.load(path)
        nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), path)

    return write


def _with_nan(values):
    """One voxel that is not a number."""
    changed = values.astype(np.float32)
    changed[0, 0, 0] = np.nan
    return changed


DAMAGES = {
    "nothing": (_with_bytes(lambda _: b""), "it must hold an image, got 0 bytes"),
    "no image": (_with_bytes(lambda _: b"no image"), "it must be a whole gzip file, got 8 bytes"),
    "cut short": (_with_bytes(lambda content: content[:200]), "it must be a whole gzip file, got 200 bytes"),
    "flipped bytes": (
        _with_bytes(lambda content: content[:40] + bytes(one ^ 0xFF for one in content[40:80]) + content[80:]),
        "it must be a whole gzip file, got",
    ),
    "wrong checksum": (
        _with_bytes(lambda content: content[:-8] + b"12345678"),
        "it must be a whole gzip file, got .* CRC check failed",
    ),
    "no voxels": (
        _with_bytes(lambda content: gzip.compress(gzip.decompress(content)[:400])),
        r"it must hold 302808 voxels, got .* It is cut short",
    ),
    "colours": (
        _with_values(lambda values: values.astype([(name, "u1") for name in "RGB"])),
        "it must hold plain numbers, got",
    ),
    "complex": (_with_values(lambda values: values.astype("c8")), "it must hold plain numbers, got complex64"),
    "two volumes": (_with_values(lambda values: np.stack([values] * 2, axis=-1)), "must be a 3-D image .* 62x74x66x2"),
    "a fourth axis": (_with_values(lambda values: values[..., None]), "it must be a 3-D image, got 62x74x66x1"),
    "not a number": (_with_values(_with_nan), "got .*(nan|3 values)"),
    "zero affine": (_with_field(SFORM, "<12f", *[0.0] * 12), "it must have voxels of 0.1 to 20 mm, got 0 x 0 x 0 mm"),
    "no finite affine": (_with_field(SFORM, "<f", np.nan), "it must have a finite affine, got a row"),
    "no finite slope": (_with_field(SLOPE, "<f", np.nan), "its scl_slope must be a number, got nan. Convert it again"),
    "no finite offset": (_with_field(OFFSET, "<f", np.nan), "it must have a valid NIfTI header, got"),
    "negative size": (_with_field(DIM, "<4h", 3, -5, 74, 66), "of at least two slices, got -5x74x66"),
    "a size beyond memory": (
        _with_field(DIM, "<4h", 3, 32767, 32767, 32767),
        "it must hold 35181150961663 voxels, got",
    ),
    "unreadable": (lambda path: path.unlink(), "it must be readable, got: No such file or directory. Put it back"),
}


@pytest.mark.parametrize("kind", list(WRITE))
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_every_damage_is_a_fault_of_its_file_and_hides_no_other(tmp_path, kind, damage):
    harm, message = DAMAGES[damage]
    paths = [WRITE[kind](tmp_path / f"sub-{number}.nii.gz") for number in (1, 2)]
    harm(paths[0])
    bad, good = examine(kind, paths)
    assert (bad.path, bad.item) == (paths[0], None)
    with pytest.raises(ValueError, match=message):
        raise ValueError(bad.fault)
    assert bad.fault.endswith(".")
    assert "report this" not in bad.fault
    assert (good.fault, good.item.name) == ("", "sub-2")


def test_an_error_that_nobody_thought_of_is_a_fault_too(tmp_path, monkeypatch):
    def fail(_path):
        raise KeyError("x")

    monkeypatch.setattr("flows.training.steps.EXAMINE", {"lesion": fail})
    (found,) = examine("lesion", [tmp_path / "sub-1.nii.gz"])
    assert "must be an image that can be looked at, got KeyError: 'x'. Please report this." in found.fault


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([2, np.nan], "[nan]"),
        ([2, np.inf], "[inf]"),
        ([0, -98], "[-98]"),  # from the end of the table it would be a vessel
        ([2, 1e30], "[1e+30]"),
        ([2, 999], "[999]"),
        (range(600, 700), "[600, 601, 602, 603, 604, ...]"),
    ],
)
def test_labels_that_are_not_known_are_named(values, shown):
    with pytest.raises(ValueError, match="labels must be SynthSeg's") as error:
        tissues_of(np.asarray(list(values), dtype=np.float64))
    assert f"got {shown} as well" in str(error.value)


def test_scaled_values_and_turned_axes_are_read_as_they_are_meant(tmp_path):
    """Labels stored less 1 with a scl_inter of 1, axes in the order Z, X, Y and Z upside down."""
    labels = tiny_labels()
    turn = np.eye(4)[:, [2, 0, 1, 3]] @ np.diag([-1.0, 1, 1, 1])
    turn[2, 3] = labels.shape[2] - 1
    path = tmp_path / "head.nii.gz"
    nib.save(nib.Nifti1Image((labels - 1).transpose(2, 0, 1)[::-1], tiny_affine() @ turn), path)
    _with_field(SLOPE, "<2f", 1.0, 1.0)(path)
    np.testing.assert_array_equal(nib.as_closest_canonical(nib.load(path)).dataobj, labels)
    found = examine_anatomy(path)
    assert (found.pixels, found.mirrored) == voxel_digests(labels)


def test_a_mask_of_another_value_is_a_mask(tmp_path):
    mask, affine = tiny_lesion()
    nib.save(nib.Nifti1Image(mask * np.float32(0.25), affine), tmp_path / "sub-1.nii")
    found = examine_lesion(tmp_path / "sub-1.nii")
    assert found.volume_ml == pytest.approx(mask.sum() / 1000)
    assert found.pixels == voxel_digests(mask != 0)[0]


def _mask(path, shape, spacing_mm, first_mm, box):
    """A box as a mask on a grid of its own."""
    values = np.zeros(shape, np.uint8)
    values[box] = 1
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = first_mm
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


PART, ALL = np.s_[2:6, 2:6, 2:6], np.s_[:, :, :]


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "first_mm", "box", "message"),
    [
        ((12, 12, 12), 1.0, (9000, 0, 0), PART, "at least 50% of a lesion must lie in template space, got 0%"),
        ((12, 12, 12), 1.0, (-103, 0, 0), PART, "must lie in template space, got 25%. Register it"),  # from -98.5
        ((12, 12, 12), 0.001, (0, 0, 0), PART, "must have voxels of 0.1 to 20 mm, got 0.001 x 0.001 x 0.001 mm"),
        ((101, 100, 100), 1.0, (-50, -50, 0), ALL, "a lesion must be at most 1000 ml, got 1010 ml. Check its voxel"),
        ((12, 12, 12), 20.0, (-80, -80, 0), ALL, "a lesion must be at most 1000 ml, got 13824 ml"),
    ],
)
def test_a_mask_that_cannot_be_meant_says_why(tmp_path, shape, spacing_mm, first_mm, box, message):
    (found,) = examine("lesion", [_mask(tmp_path / "sub-1.nii.gz", shape, spacing_mm, first_mm, box)])
    assert found.item is None
    assert message in found.fault


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "first_mm", "box", "volume_ml"),
    [
        ((100, 100, 100), 1.0, (-50, -50, 0), ALL, 1000.0),
        ((12, 12, 12), 1.0, (-102, 0, 0), PART, 0.064),  # two of four layers lie on the grid
        ((12, 12, 12), 2.0, (0, 0, 0), PART, 0.512),
        ((12, 12, 12), 1.0, (9000, 0, 0), np.s_[:0], 0.0),
    ],
)
def test_a_mask_that_can_be_meant_is_taken(tmp_path, shape, spacing_mm, first_mm, box, volume_ml):
    found = examine_lesion(_mask(tmp_path / "sub-1.nii.gz", shape, spacing_mm, first_mm, box))
    assert found.volume_ml == pytest.approx(volume_ml)
