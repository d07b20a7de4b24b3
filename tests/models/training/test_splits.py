"""Splits are the same for ever, hold one of every stratum out, and whatever lies on two sides is named."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from models.training.items import Item, examine_anatomy, examine_lesion, image_digests, voxel_digests
from models.training.splits import (
    Placed,
    anatomy_splits,
    leaks_of,
    lesion_split,
    place,
    read_splits,
    write_splits,
)
from tests.models.training.tiny_anatomy import tiny_labels, write_labels, write_lesion


def item(kind="lesion", name="sub-1", volume_ml=1.0, **changed):
    digest = hashlib.sha256(f"{kind}{name}".encode()).hexdigest()
    return replace(Item(kind, name, name, digest, f"p{digest}", f"m{digest}", volume_ml), **changed)


@pytest.mark.parametrize(
    ("participant", "side"),
    # sha256 modulo 100, by: python -c "import hashlib; print(int(hashlib.sha256(b'sub-1000').hexdigest(), 16) % 100)"
    [("sub-1000", "train"), ("sub-2", "validation"), ("sub-12", "test"), ("sub-16", "train")],
)
def test_a_lesion_goes_where_the_digest_of_its_participant_says(participant, side):
    assert lesion_split(participant) == side


def test_about_seventy_twelve_and_eighteen_of_a_hundred():
    sides = [lesion_split(f"sub-{number}") for number in range(4000)]
    shares = [sides.count(side) / 4000 for side in ("train", "validation", "test")]
    assert shares == pytest.approx([0.70, 0.12, 0.18], abs=0.02)


SIXTEEN = {f"small_{n}": 6.0 + n for n in range(8)} | {f"middle_{n}": 15.0 + n for n in range(5)} | {
    "large_0": 45.1, "large_1": 60.0, "large_2": 80.0,
}  # fmt: skip


def test_validation_and_test_hold_one_anatomy_of_every_stratum():
    sides = anatomy_splits(SIXTEEN)
    for side in ("validation", "test"):
        held = sorted(name.split("_")[0] for name, where in sides.items() if where == side)
        assert held == ["large", "middle", "small"]
    assert sides == anatomy_splits(dict(reversed(SIXTEEN.items())))


def test_the_limits_of_the_strata_are_15_and_45_ml():
    """14.9 | 15 to 45 | 45.1: three of each kind hold one each out; two of a kind hold none out."""
    three = {"a": 14.9, "b": 14.9, "c": 14.9, "d": 15.0, "e": 45.0, "f": 30.0, "g": 45.1, "h": 46.0}
    sides = anatomy_splits(three)
    for names in ("abc", "def"):
        assert sorted(sides[name] for name in names) == ["test", "train", "validation"]
    assert [sides[name] for name in "gh"] == ["train", "train"]


def test_where_no_stratum_has_three_something_is_held_out_all_the_same():
    sides = anatomy_splits({"a": 5.0, "b": 20.0, "c": 60.0})
    assert sorted(sides.values()) == ["test", "train", "validation"]


def test_anatomies_can_be_held_out_by_name():
    sides = anatomy_splits(SIXTEEN, ("small_3", "large_1"))
    assert sorted(name for name, side in sides.items() if side == "test") == ["large_1", "small_3"]
    held = sorted(name.split("_")[0] for name, side in sides.items() if side == "validation")
    assert held == ["large", "middle", "small"]


@pytest.mark.parametrize(
    ("volumes", "hold_out", "message"),
    [
        ({"a": 1.0, "b": 2.0}, (), "at least 3, one each to train, validate and test, got 2 with 0 held out"),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, ("a", "b"), "got 3 with 2 held out"),
        (SIXTEEN, ("smal_3",), r"must be in the folder, got smal_3\. Did you mean small_3\?"),
    ],
)
def test_what_cannot_be_divided_is_refused(volumes, hold_out, message):
    with pytest.raises(ValueError, match=message):
        anatomy_splits(volumes, hold_out)


TRAIN, TEST = item(name="sub-1"), item(name="sub-2")


@pytest.mark.parametrize(
    ("second", "common"),
    [
        (replace(TEST, participant="sub-1"), "participant"),
        (replace(TEST, sha256=TRAIN.sha256), "file"),
        (replace(TEST, pixels=TRAIN.pixels, mirrored=TRAIN.mirrored), "voxels"),
        (replace(TEST, pixels=TRAIN.mirrored, mirrored=TRAIN.pixels), "mirrored voxels"),
        (replace(TEST, kind="anatomy", participant="sub-1"), "participant"),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_a_planted_leak_of_each_kind_is_found_once(second, common, is_turned):
    both = [Placed(TRAIN, "train"), Placed(second, "test"), Placed(item(name="sub-9"), "validation")]
    found = leaks_of(both[::-1] if is_turned else both)
    assert [leak.common for leak in found] == [common]
    assert {found[0].first.item.name, found[0].second.item.name} == {"sub-1", "sub-2"}
    assert leaks_of([Placed(TRAIN, "train"), Placed(second, "train")]) == ()


def test_all_leaks_are_found_at_once():
    planted = [Placed(TRAIN, "train"), Placed(replace(TEST, sha256=TRAIN.sha256), "test")]
    planted += [Placed(item(name="sub-3"), "train"), Placed(item(name="sub-4", participant="sub-3"), "validation")]
    found = [(leak.common, leak.first.item.name, leak.second.item.name) for leak in leaks_of(planted)]
    assert found == [("participant", "sub-3", "sub-4"), ("file", "sub-1", "sub-2")]
    assert leaks_of(planted[:1]) == ()


def test_empty_masks_are_no_leak():
    empty = [replace(one, pixels="", mirrored="") for one in (TRAIN, TEST)]
    assert leaks_of([Placed(empty[0], "train"), Placed(empty[1], "test")]) == ()


def test_voxels_have_one_digest_however_they_are_stored(tmp_path):
    mask = np.zeros((7, 8, 9), np.uint8)
    mask[1:3, 2:5, 4:6] = 1
    mask[1, 2, 4] = 0
    here, mirrored = voxel_digests(mask)
    assert voxel_digests(mask.astype(np.float32)) == (here, mirrored)
    assert voxel_digests(mask[::-1]) == (mirrored, here)
    moved = np.roll(mask, 1, axis=0)
    assert not set(voxel_digests(moved)) & {here, mirrored}
    larger = np.pad(mask, ((0, 1), (0, 0), (0, 0)))
    assert voxel_digests(larger)[0] != here
    assert voxel_digests(np.zeros((7, 8, 9))) == ("", "")


def test_an_anatomy_is_examined_in_ras_whatever_its_axes(tmp_path):
    found = examine_anatomy(write_labels(tmp_path / "head_01.nii.gz"))
    assert (found.kind, found.name, found.participant) == ("anatomy", "head_01", "head_01")
    assert found.volume_ml == pytest.approx(np.isin(tiny_labels(), (4, 43)).sum() / 1000)
    assert (found.pixels, found.mirrored) == voxel_digests(tiny_labels())


def test_a_mask_is_examined(tmp_path):
    path = write_lesion(tmp_path / "sub-5_space-MNI152_mask.nii.gz", radius_mm=9.0)
    found = examine_lesion(path)
    assert (found.name, found.participant) == ("sub-5_space-MNI152_mask", "sub-5")
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 9**3 / 1000, rel=0.02)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no image"), "it must be a NIfTI image, got"),
        (lambda path: _save(path, np.full((5, 6, 7), 300), 1), r"labels must be SynthSeg's, got \[300\]"),
        (lambda path: _save(path, np.full((5, 6, 7), 2), 2), "voxels must be 1 mm, got 2 x 2 x 2 mm"),
        (lambda path: _save(path, np.full((5, 6, 7), 2), 1), "the brain must be at least 50 ml, got 0 ml"),
        (
            lambda path: _save(path, np.full((5, 6, 7, 2), 2), 1),
            "it must be a 3-D image of at least two slices, got 5x6x7x2",
        ),
    ],
)
def test_a_bad_label_map_says_why(tmp_path, make, message):
    make(tmp_path / "head.nii")
    with pytest.raises(ValueError, match=message):
        examine_anatomy(tmp_path / "head.nii")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("patient7.nii", np.eye(5)[None], "a mask must be named sub-XXX"),
        ("sub-7.nii", np.arange(12).reshape(2, 2, 3), "must hold 0 and one other value, got 12 values"),
        ("sub-7.nii", np.full((2, 2, 2), np.nan), "must hold 0 and one other value"),
    ],
)
def test_a_bad_mask_says_why(tmp_path, name, values, message):
    _save(tmp_path / name, values.astype(np.float32), 1)
    with pytest.raises(ValueError, match=message):
        examine_lesion(tmp_path / name)


def _save(path, values, spacing_mm):
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    image = nib.Nifti1Image(values.astype(np.float32), affine)
    image.set_sform(affine, 1)
    nib.save(image, path)


def test_the_table_is_written_and_read(tmp_path):
    items = [item("anatomy", f"head_{n}", 10.0 * n) for n in range(4)] + [item(name="sub-1", volume_ml=3.25)]
    placed = place(items[::-1])
    write_splits(placed, tmp_path / "splits.tsv")
    lines = (tmp_path / "splits.tsv").read_text().splitlines()
    assert lines[0] == "kind\tname\tsplit\tsha256\tventricles_ml\tvolume_ml"
    assert lines[-1].split("\t") == ["lesion", "sub-1", lesion_split("sub-1"), items[-1].sha256, "n/a", "3.250"]
    assert [line.split("\t")[4] for line in lines[1:5]] == ["0.000", "10.000", "20.000", "30.000"]
    assert read_splits(tmp_path / "splits.tsv") == {(one.item.kind, one.item.name): one.split for one in placed}
    (tmp_path / "splits.tsv").write_text("kind\tname\nlesion\tsub-1\n")
    with pytest.raises(ValueError, match="must have the columns kind, name, split"):
        read_splits(tmp_path / "splits.tsv")


@pytest.mark.real_data
@pytest.mark.slow
def test_the_public_masks_and_heads_leak_nothing(real_data):
    masks = sorted((real_data / "soop/lesions").glob("*.nii.gz"))
    items = [examine_lesion(path) for path in masks[::4]]  # a minute for all of them
    items += [examine_anatomy(path) for path in sorted((real_data / "anatomy/synthseg").glob("*.nii.gz"))]
    placed = place(items)
    assert (len(masks), len(placed)) == (1022, 256 + 16)
    assert leaks_of(placed) == ()


def test_patients_go_by_their_name_or_where_the_study_puts_them_and_need_no_anatomies():
    patients = [item(kind, name) for name in ("sub-1", "sub-2", "sub-12") for kind in ("patient", "drawn")]
    sides = {(one.item.kind, one.item.name): one.split for one in place(patients, (), {"sub-1": "test"})}
    assert sides == {
        ("drawn", "sub-1"): "test",
        ("drawn", "sub-12"): "test",
        ("drawn", "sub-2"): "validation",
        ("patient", "sub-1"): "test",
        ("patient", "sub-12"): "test",
        ("patient", "sub-2"): "validation",
    }


def test_a_patient_given_another_side_than_the_mask_of_that_name_is_a_leak():
    items = [item("patient", "sub-1"), *(item("anatomy", f"head_{n}", 10.0) for n in range(3))]
    items.append(item("lesion", "sub-1_mask", participant="sub-1"))
    assert leaks_of(place(items)) == ()
    (leak,) = leaks_of(place(items, (), {"sub-1": "test"}))
    assert (leak.common, leak.first.item.kind, leak.second.item.kind) == ("participant", "lesion", "patient")


def test_images_are_the_same_whatever_order_their_file_has_and_mirrored_once_turned():
    values = np.random.default_rng(0).uniform(0, 0.01, (4, 5, 6)).astype(np.float32)
    affine = np.diag([1.5, 2, 3, 1.0])
    pixels, mirrored = image_digests(values, affine)
    turned = np.diag([-1.5, 2, 3, 1.0])
    assert image_digests(values[::-1], turned) == (pixels, mirrored)
    assert image_digests(values[::-1], affine) == (mirrored, pixels)
    assert image_digests(np.float32(64) * values, affine) == (pixels, mirrored)
    assert image_digests(values + np.float32(1e-5), affine)[0] != pixels
    assert image_digests(np.zeros((2, 2, 2)), affine) == ("", "")
