"""The template is the packaged one and symmetric; label maps are read whole or refused with every problem named."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts.folder.soop import write_label_table
from models.anatomy import template as template_module
from models.anatomy.template import LabelMap, labels_on_grid, load_label_map, load_template, mca_territory
from tasks.anatomy import Label, LabelTable

AFFINE = np.array([[2.0, 0, 0, -6], [0, 3, 0, -9], [0, 0, 4, 5], [0, 0, 0, 1]])
SITE_AFFINE = np.diag([-1.0, 1, 1, 1]) @ AFFINE  # its left label lies on the left
TABLE = LabelTable((Label(1, "right_a", "right", "a", "deep"), Label(2, "left_a", "left", "a", "deep")))
ROWS = "index\tname\tside\tregion\tgroup\n1\tright_a\tright\ta\tdeep\n2\tleft_a\tleft\ta\tdeep\n"


def _labels() -> np.ndarray:
    labels = np.zeros((7, 8, 9), dtype=np.int16)
    labels[1:3, 2:4, 3:5] = 1
    labels[4:7, 5:8, 6:9] = 2
    return labels


def _write(folder: Path, values: np.ndarray, rows: str | None = ROWS) -> Path:
    path = folder / "site_dseg.nii.gz"
    nib.save(nib.Nifti1Image(values, SITE_AFFINE), path)
    if rows is not None:
        (folder / "site_dseg.tsv").write_text(rows, encoding="utf-8")
    return path


def test_template_is_the_packaged_grid_and_exactly_symmetric():
    template = load_template()
    assert template.t1.shape == (197, 233, 189)
    np.testing.assert_array_equal(template.affine, [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
    for name in ("t1", "grey", "white", "csf", "brain"):
        array = getattr(template, name)
        np.testing.assert_array_equal(array, array[::-1], err_msg=name)
    assert int(template.brain.sum()) == 1_886_539
    assert template.white[98 + 25, 134 + 30, 72 + 20] > 0.99  # frontal white matter
    assert template.grey[98 + 13, 134 + 12, 72 + 8] > 0.85  # head of the caudate
    assert template.csf[98 + 6, 134 + 10, 72 + 12] > 0.9  # frontal horn


def test_other_template_files_are_refused(monkeypatch):
    files = {key: (name, "0" * 64) for key, (name, _) in template_module.TEMPLATE_FILES.items()}
    monkeypatch.setattr(template_module, "TEMPLATE_FILES", files)
    load_template.cache_clear()
    with pytest.raises(ValueError, match=r"t1_tal.*must have sha256 0{64}, got 421a.*gm_tal.*wm_tal"):
        load_template()
    monkeypatch.setattr(template_module, "TEMPLATE_FILES", {"t1": ("gone.nii.gz", "")})
    with pytest.raises(FileNotFoundError, match=r"gone\.nii\.gz"):
        load_template()
    monkeypatch.undo()
    load_template.cache_clear()


def test_a_sites_own_map_is_read_as_it_is(tmp_path):
    label_map = load_label_map(_write(tmp_path, _labels().astype(np.float32)))
    assert label_map.name == "site_dseg"
    assert label_map.table == TABLE
    np.testing.assert_array_equal(label_map.labels, _labels())
    np.testing.assert_array_equal(label_map.affine, SITE_AFFINE)
    assert label_map.labels.dtype == np.int16


def test_equality_follows_content_not_name():
    first = LabelMap("a", _labels(), AFFINE.copy(), TABLE)
    assert first == LabelMap("b", _labels(), AFFINE.copy(), TABLE)
    assert len({first, LabelMap("b", _labels(), AFFINE.copy(), TABLE)}) == 1
    moved, relabelled = _labels(), LabelTable((TABLE.labels[0], Label(2, "left_b", "left", "b", "deep")))
    moved[0, 0, 0] = 1
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    for other in (
        LabelMap("a", moved, AFFINE.copy(), TABLE),
        LabelMap("a", _labels(), shifted, TABLE),
        LabelMap("a", _labels(), AFFINE.copy(), relabelled),
    ):
        assert first != other
        assert first.sha256 != other.sha256
    assert first != "a"


def test_labels_cannot_be_changed_behind_the_digest():
    with pytest.raises(ValueError, match="read-only"):
        LabelMap("a", _labels(), AFFINE.copy(), TABLE).labels[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: np.stack([labels, labels], axis=-1), r"must be a volume \(X, Y, Z\), got shape \(7, 8, 9, 2\)"),
        (
            lambda labels: np.where(labels == 2, 5, labels).astype(np.int16),
            r"got \[5\] without a row.*got \[2\] without",
        ),
        (lambda labels: labels + np.float32(0.25), r"must hold whole numbers, got 0\.25 and 503 more"),
        (lambda labels: np.where(labels == 1, np.nan, labels).astype(np.float32), r"whole numbers, got nan and 7 more"),
        (lambda labels: (labels - 1).astype(np.int16), r"must hold labels 0\.\.32767, got -1\.\.1"),
        (lambda labels: labels.astype(np.int32) * 40_000, r"must hold labels 0\.\.32767, got 0\.\.80000"),
    ],
)
def test_unusable_images_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_label_map(_write(tmp_path, change(_labels())))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "index\tname\tside\n1\tx\tright\n",
            "must have the columns index name side region group, got no region, group",
        ),
        (ROWS.replace("2\t", "two\t"), "row 3: index must be a whole number, got 'two'"),
        (ROWS.replace("left\t", "links\t"), "side must be one of left, right, midline, got 'links'"),
        (ROWS.replace("2\t", "1\t"), "label index must be unique, got 1 2 times"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        load_label_map(_write(tmp_path, _labels(), rows))


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got no .*site_dseg\.tsv\. The table has the columns"):
        load_label_map(_write(tmp_path, _labels(), rows=None))
    with pytest.raises(FileNotFoundError, match=r"no .*other\.nii and no .*other\.tsv"):
        load_label_map(tmp_path / "other.nii")
    with pytest.raises(FileNotFoundError, match=r"one of classic, territory, vascular or the path.*got 'clasic'"):
        load_label_map("clasic")


def test_a_truncated_image_is_named(tmp_path):
    path = _write(tmp_path, _labels())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"site_dseg must be a readable NIfTI image, got .*site_dseg\.nii\.gz"):
        load_label_map(path)


def test_the_same_grid_gives_the_same_labels():
    label_map = LabelMap("a", _labels(), AFFINE.copy(), TABLE)
    on_grid = labels_on_grid(label_map, (7, 8, 9), AFFINE)
    np.testing.assert_array_equal(on_grid.labels, _labels())
    assert on_grid.coverage == {1: 1.0, 2: 1.0}


def test_a_flipped_cropped_grid_is_exact_and_reports_what_it_cuts():
    label_map = LabelMap("a", _labels(), AFFINE.copy(), TABLE)
    # x runs to the left from voxel 5 (so voxel 6 is cut), z starts at voxel 7 (so 6 is cut).
    affine = np.array([[-2.0, 0, 0, -6 + 10], [0, 3, 0, -9], [0, 0, 4, 5 + 28], [0, 0, 0, 1]])
    on_grid = labels_on_grid(label_map, (6, 8, 2), affine)
    np.testing.assert_array_equal(on_grid.labels, _labels()[5::-1, :, 7:9])
    assert on_grid.coverage == {1: 0.0, 2: pytest.approx(2 * 3 * 2 / 27)}  # 2 of 3 along x, 2 of 3 along z


def test_a_finer_grid_takes_the_nearest_label():
    label_map = LabelMap("a", _labels(), AFFINE.copy(), TABLE)
    fine = AFFINE @ np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])
    fine[:3, 3] = AFFINE[:3, 3] - np.diag(AFFINE)[:3] / 3  # three voxels in one, same outer edges
    on_grid = labels_on_grid(label_map, (21, 24, 27), fine)
    np.testing.assert_array_equal(on_grid.labels, np.kron(_labels(), np.ones((3, 3, 3), dtype=np.int16)))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((7, 8), AFFINE, r"shape must be three sizes > 0, got \(7, 8\)"),
        ((7, 8, 9), np.zeros((4, 4)), "affine must be invertible"),
        ((7, 8, 9), np.eye(3), r"affine must be a finite \(4, 4\) array, got shape \(3, 3\)"),
    ],
)
def test_unusable_grids_are_refused(shape, affine, message):
    with pytest.raises(ValueError, match=message):
        labels_on_grid(LabelMap("a", _labels(), AFFINE.copy(), TABLE), shape, affine)


def test_mca_territory_is_the_union_of_the_territory_map():
    territory, affine = mca_territory()
    np.testing.assert_array_equal(affine, load_template().affine)
    np.testing.assert_array_equal(territory, territory[::-1])
    assert territory[98 + 26, 134 + 2, 72 + 0]  # putamen
    assert territory[98 - 55, 134 - 5, 72 + 30]  # lateral precentral cortex
    assert not territory[98 + 6, 134 + 30, 72 + 30]  # medial frontal cortex
    assert not territory[98 + 8, 134 - 15, 72 + 6]  # thalamus


def _stored(folder, labels, affine, *, sform=2, qform=0):
    """A label map as a site stores it, with these codes."""
    image = nib.Nifti1Image(labels, affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    path = folder / "own.nii"
    nib.save(image, path)
    write_label_table(load_label_map("classic").table, folder / "own.tsv")
    return path


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (1, 0), (0, 1)])
def test_a_flat_label_map_is_refused_whatever_form_says_where_it_lies(tmp_path, sform, qform):
    path = _stored(tmp_path, np.ones((7, 8), np.int16), np.eye(4), sform=sform, qform=qform)
    with pytest.raises(ValueError, match=r"must be a volume \(X, Y, Z\), got shape \(7, 8\)"):
        load_label_map(str(path))


def test_a_label_map_that_does_not_say_where_it_lies_is_refused(tmp_path):
    classic = load_label_map("classic")
    path = _stored(tmp_path, np.asarray(classic.labels), classic.affine, sform=0, qform=0)
    with pytest.raises(ValueError, match="must say where it lies in space, got sform_code 0 and qform_code 0"):
        load_label_map(path)


def test_a_label_map_with_left_and_right_exchanged_is_refused(tmp_path):
    """The affine mirrored and the voxels not: every score of one side would be the other's."""
    classic = load_label_map("classic")
    mirrored = np.diag([-1.0, 1, 1, 1]) @ classic.affine
    with pytest.raises(
        ValueError, match=r"must have its left labels on the patient's left \(x < 0\), got them at a mean x of 4"
    ):
        load_label_map(_stored(tmp_path, np.asarray(classic.labels), mirrored))
    assert load_label_map(_stored(tmp_path, np.asarray(classic.labels), classic.affine)) == classic


def test_a_label_map_whose_forms_disagree_is_refused(tmp_path):
    classic = load_label_map("classic")
    shifted = classic.affine.copy()
    shifted[2, 3] += 8
    image = nib.Nifti1Image(np.asarray(classic.labels), classic.affine)
    image.set_sform(classic.affine, 2)
    image.set_qform(shifted, 1)
    nib.save(image, tmp_path / "own.nii")
    write_label_table(classic.table, tmp_path / "own.tsv")
    with pytest.raises(ValueError, match=r"a qform and an sform that agree within 0\.5 mm, got corners 8\.0 mm"):
        load_label_map(tmp_path / "own.nii")
