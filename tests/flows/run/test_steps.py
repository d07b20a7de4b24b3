"""The measure step: one mask in, one committed record out, whatever the mask or the storage does."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts.folder.soop import arterial_label_table, write_label_table
from cohorts.store import share
from cohorts.store.findings import Findings, RegionCounts, ScanFacts
from cohorts.store.records import Record, commit, earlier_keys, load, record_path
from flows.cases import label_maps
from flows.cases.case import Case, CaseFile, MapReference, StepSettings, step_key
from flows.cases.label_maps import VASCULAR_MAP
from flows.run import steps
from flows.run.steps import StorageFailedError, examine, run_case, run_chunk
from flows.sources import mask as measure_mask
from flows.sources.mask import MaskSource
from models.anatomy.template import load_label_map
from models.weights import WeightsMissingError
from tasks.anatomy import Label, LabelTable

#: 4 mm voxels from x = -20 to 20 mm (LAS), through the basal ganglia.
SHAPE = (11, 12, 9)
AFFINE = np.array([[-4.0, 0, 0, 20], [0, 4, 0, -20], [0, 0, 4, -4], [0, 0, 0, 1]])
LABELS = LabelTable((Label(1, "left_half", "left", "half", "other"), Label(2, "right_half", "right", "half", "other")))


def _save(path, array, affine=AFFINE):
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    return path


@pytest.fixture
def site_map(tmp_path):
    """A site's own label map on the masks' grid: the left and the right half of it, one slice short of the top."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[6:, :, :-1] = 1  # voxel 5 lies on x = 0; higher voxels have x < 0: left
    labels[:5, :, :-1] = 2
    path = _save(tmp_path / "halves_dseg.nii.gz", labels)
    write_label_table(LABELS, tmp_path / "halves_dseg.tsv")
    return path


@pytest.fixture
def settings(site_map):
    return _settings(
        tuple(MapReference(str(place), load_label_map(place).sha256) for place in (site_map, VASCULAR_MAP))
    )


@pytest.fixture
def case(tmp_path):
    """A lesion of four voxels: three left, one right of them in the top slice, outside the site's map."""
    mask = np.zeros(SHAPE, np.uint8)
    for voxel in ((8, 6, 2), (8, 7, 2), (9, 7, 2), (2, 6, 8)):
        mask[voxel] = 1
    return _case(_save(tmp_path / "sub-1_mask.nii.gz", mask))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def _settings(maps):
    source = MaskSource(name="lesion", kind="mask")
    return StepSettings("mask", tuple(maps), source.settings)


def _chunk(cases, settings, out):
    """Cases of one measurement, as a worker gets them."""
    return run_chunk([("lesion", one.to_json()) for one in cases], {"lesion": settings.to_json()}, str(out))


def _path(case):
    return Path(case.files[0].path)


def _case(path, participant_id="sub-1"):
    file = CaseFile("lesion", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    return Case(participant_id, "measure-lesion", (file,))


def test_a_mask_is_measured_and_committed(case, settings, out):
    record = run_case(case, settings, out)
    assert (record.status, record.reason, record.detail) == ("ok", None, None)
    assert load(record_path(out, "sub-1", step_key(case, settings))) == record
    assert record.payload.scans["lesion"] == ScanFacts(
        shape=(11, 12, 9), spacing_mm=(4.0, 4.0, 4.0), orientation="LAS", voxel_volume_mm3=64.0
    )
    assert vars(record.payload.lesion) == {
        "n_voxels": 4,
        "volume_ml": 0.256,
        "n_components": 2,
        "max_diameter_mm": pytest.approx(np.sqrt(8**2 + 8**2 + 4**2)),  # an L of three voxels
        "volume_left_ml": pytest.approx(0.192),
        "volume_right_ml": pytest.approx(0.064),
        "side": "left",
    }
    halves, vascular = (record.payload.counts[reference.sha256] for reference in settings.maps)
    n_half = 5 * 12 * 8
    assert halves == RegionCounts(labels=(1, 2), n_region=(n_half, n_half), n_lesion=(3, 0), coverage=(1.0, 1.0))
    assert len(vascular.labels) == 10
    assert sum(vascular.n_lesion) <= 4
    assert record.seconds >= record.cpu_seconds * 0.5 >= 0
    assert record.peak_mib > 10
    assert record.finished_at.endswith("+00:00")


def test_a_second_call_returns_the_record_without_the_image(case, settings, out):
    first = run_case(case, settings, out)
    _path(case).unlink()
    assert run_case(case, settings, out) == first


def test_a_second_call_measures_nothing(case, settings, out, monkeypatch):
    run_case(case, settings, out)
    monkeypatch.setattr(steps, "examine", lambda *_: pytest.fail("measured again"))
    assert _chunk([case], settings, out) == [("sub-1", "lesion", "ok")]


def test_each_case_of_a_chunk_has_its_own_outcome(case, settings, out, tmp_path):
    empty = _case(_save(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8)), "sub-2")
    gone = replace(case, participant_id="sub-3", files=(replace(case.files[0], path=str(tmp_path / "gone.nii.gz")),))
    found = _chunk([case, empty, gone], settings, out)
    assert found == [("sub-1", "lesion", "ok"), ("sub-2", "lesion", "excluded"), ("sub-3", "lesion", "failed")]
    detail = load(record_path(out, "sub-3", step_key(gone, settings))).detail
    assert (
        detail == "gone.nii.gz must be readable, got: No such file or directory. Put the file back or fix its "
        "permissions."
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated_file"),
        (b"no image", "unreadable_file"),
        (gzip.compress(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE).to_bytes())[:-9], "truncated_file"),
    ],
    ids=["empty", "no image", "cut"],
)
def test_a_bad_image_is_excluded_with_the_readers_reason(settings, out, tmp_path, content, reason):
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(content)
    record = run_case(_case(path), settings, out)
    assert (record.status, record.reason, record.payload) == ("excluded", reason, Findings())
    assert record.detail.startswith("bad.nii.gz must ")
    assert run_case(_case(path), settings, out) == record  # and it is not tried again


def test_a_file_that_changed_since_the_plan_fails(case, settings, out, tmp_path):
    _save(tmp_path / "sub-1_mask.nii.gz", np.ones(SHAPE, np.uint8))
    record = run_case(case, settings, out)
    assert (record.status, record.reason, record.payload) == ("failed", "input_changed", Findings())
    assert record.detail.startswith("sub-1_mask.nii.gz must not change during a run, got ")


def test_a_failed_record_is_computed_again(case, settings, out):
    key = step_key(case, settings)
    commit(out, Record("sub-1", key, "failed", "worker_died", "out of memory", Findings()))
    assert run_case(case, settings, out).status == "ok"
    assert load(record_path(out, "sub-1", key)).status == "ok"


def test_a_damaged_record_is_computed_again(case, settings, out):
    first = run_case(case, settings, out)
    path = record_path(out, "sub-1", first.key)
    path.write_bytes(path.read_bytes()[:-20])
    assert run_case(case, settings, out).payload == first.payload
    assert path.with_name(f".damaged-{path.name}").exists()


@pytest.mark.parametrize(
    ("shift_mm", "shape", "shown"),
    [((0, 0, 16), SHAPE, "11x12x9"), ((0, 0, 0), (11, 12, 4), "11x12x4"), ((-24, 0, 0), SHAPE, "11x12x9")],
    ids=["higher", "cut short", "sideways"],
)
def test_a_grid_that_cuts_a_region_off_is_refused(settings, out, tmp_path, shift_mm, shape, shown):
    affine = AFFINE.copy()
    affine[:3, 3] += shift_mm
    record = run_case(_case(_save(tmp_path / "a.nii.gz", np.ones(shape, np.uint8), affine)), settings, out)
    assert (record.status, record.reason) == ("excluded", "wrong_grid")
    assert f"on a grid of {shown} voxels. Warp the mask to the template" in record.detail
    assert "a.nii.gz must cover every region of the label map, got " in record.detail


def test_a_region_cut_by_a_slice_of_many_still_counts(settings, out, tmp_path):
    """Coverage is asked of every region at 95 %: a lost slice of eight is too much, a larger grid is none."""
    affine = AFFINE.copy()
    affine[2, 3] += 4
    record = run_case(_case(_save(tmp_path / "a.nii.gz", np.ones(SHAPE, np.uint8), affine)), settings, out)
    assert (record.reason, "got 88% of left_half" in record.detail) == ("wrong_grid", True)  # 7 of 8 slices
    larger = np.zeros((11, 12, 13), np.uint8)
    larger[8, 6, 2] = 1
    assert run_case(_case(_save(tmp_path / "b.nii.gz", larger)), settings, out).status == "ok"


def test_a_grid_too_coarse_to_hold_a_region_is_refused(settings, out, tmp_path):
    """Voxels of 20 mm whose centres all lie right of the left half: it is in the field of view, yet has no voxel."""
    affine = np.array([[-20.0, 0, 0, 34], [0, 20, 0, -14], [0, 0, 20, 2], [0, 0, 0, 1]])  # centres at x 34, 14, -6
    labels = np.zeros((21, 24, 18), np.uint8)
    labels[15, 0:4, 0:4], labels[5:10] = 1, 2  # x = -10 mm is left; on the 2 mm grid of the map
    fine = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -20], [0, 0, 2, -4], [0, 0, 0, 1]])
    path = _save(tmp_path / "fine_dseg.nii.gz", labels, fine)
    write_label_table(LABELS, tmp_path / "fine_dseg.tsv")
    maps = (MapReference(str(path), load_label_map(path).sha256), settings.maps[1])
    record = run_case(
        _case(_save(tmp_path / "coarse.nii.gz", np.ones((3, 3, 3), np.uint8), affine)), _settings(maps), out
    )
    assert (record.status, record.reason) == ("excluded", "wrong_grid")
    assert "got 0% of left_half on a grid of 3x3x3 voxels" in record.detail


def test_a_lesion_outside_the_brain_is_in_another_space(settings, out, tmp_path):
    mask = np.zeros((11, 12, 60), np.uint8)
    mask[5, 5, 45:60] = 1  # z = 176 to 232 mm, above any head
    mask[8, 6, 2] = 1
    record = run_case(_case(_save(tmp_path / "a.nii.gz", mask)), settings, out)
    assert (record.status, record.reason) == ("excluded", "lesion_outside_brain")
    assert "a.nii.gz must lie in the template's brain, got 6% of the lesion within 5 mm of it." in record.detail
    mask[5, 5, 47:60] = 0  # one of three: still less than half
    assert run_case(_case(_save(tmp_path / "b.nii.gz", mask)), settings, out).reason == "lesion_outside_brain"
    mask[5, 5, 46] = 0  # one of two: half
    assert run_case(_case(_save(tmp_path / "c.nii.gz", mask)), settings, out).status == "ok"


def test_the_address_depends_on_what_the_maps_hold_and_not_on_where_they_lie(settings, site_map, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for suffix in (".nii.gz", ".tsv"):
        (moved / f"m{suffix}").write_bytes(site_map.with_name(f"halves_dseg{suffix}").read_bytes())
    other = MapReference(str(moved / "m.nii.gz"), load_label_map(moved / "m.nii.gz").sha256)
    assert _settings((settings.maps[1], other)).sha256 == settings.sha256
    assert _settings(settings.maps[:1]).sha256 != settings.sha256


def test_a_label_map_that_changed_since_the_plan_stops_the_case(case, settings, out):
    label_maps.planned_map.cache_clear()
    measure_mask._grid.cache_clear()
    stale = _settings((replace(settings.maps[0], sha256="0" * 64), settings.maps[1]))
    with pytest.raises(ValueError, match=r"must not change during a run, got .* Run again") as caught:
        run_case(case, stale, out)
    assert caught.value.__notes__ == ["case sub-1, step measure-lesion"]
    assert not out.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("function", ["commit", "fsync", "load"])
def test_a_failure_of_the_output_folder_stops_the_run(case, settings, out, monkeypatch, code, function):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(*((share.os, "fsync") if function == "fsync" else (steps, function)), fail)
        with pytest.raises(StorageFailedError) as caught:
            run_case(case, settings, out)
    assert str(caught.value).startswith(f"the output folder {out} must be writable, got: {os.strerror(code)}. Free ")
    assert earlier_keys(out, "sub-1", "measure-lesion") == []
    assert run_case(case, settings, out).status == "ok"


def test_an_output_folder_that_is_a_file_stops_the_run(case, settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailedError, match=r"must be writable, got: Not a directory\."):
        run_case(case, settings, tmp_path / "file")


def test_a_disk_error_of_the_image_fails_the_case_and_not_the_run(case, settings, out, monkeypatch):
    read_bytes = Path.read_bytes

    def fail(path):
        if path.name == "sub-1_mask.nii.gz":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    record = run_case(case, settings, out)
    assert (record.status, record.reason) == ("failed", "unreadable_file")
    assert "sub-1_mask.nii.gz must be readable, got: Input/output error." in record.detail


# the public cohort, to the last digit


@pytest.fixture(scope="module")
def arteries(real_data, tmp_path_factory):
    """The public arterial atlas as a label map."""
    source, folder = real_data / "soop", tmp_path_factory.mktemp("atlas")
    path = folder / "ArterialAtlas136.nii.gz"
    path.write_bytes((source / path.name).read_bytes())
    table = arterial_label_table((source / "ArterialAtlas136.txt").read_text())
    write_label_table(table, folder / "ArterialAtlas136.tsv")
    return _settings(tuple(MapReference(str(place), load_label_map(place).sha256) for place in (path, VASCULAR_MAP)))


def _expected(real_data):
    with (real_data / "soop" / "artery_expected.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _differences(row, real_data, settings):
    """Differences of volume (mm3) and of every fraction from the published answer."""
    path = real_data / "soop" / "lesions" / f"{row['participant_id']}_space-MNI152_label-lesion_mask.nii.gz"
    outcome = examine(_case(path, row["participant_id"]), settings)
    assert outcome.status == "ok", (row["participant_id"], outcome.reason)
    payload = outcome.findings
    counts = payload.counts[settings.maps[0].sha256]
    fractions = {
        index: n_lesion / n_region
        for index, n_lesion, n_region in zip(counts.labels, counts.n_lesion, counts.n_region, strict=True)
    }
    published = {int(name.split("_")[0]): float(value) for name, value in row.items() if name[0].isdigit()}
    assert len(published) == 31
    volume = payload.lesion.n_voxels * payload.scans["lesion"].voxel_volume_mm3
    published_volume = float(row["lesion_volume"])
    return [volume - published_volume, *(fractions[index] - value for index, value in published.items())]


@pytest.mark.real_data
def test_volume_and_fractions_of_the_whole_public_cohort_are_the_published_ones(real_data, arteries):
    rows = _expected(real_data)
    assert len(rows) == 1022
    assert {row["participant_id"]: max(map(abs, _differences(row, real_data, arteries))) for row in rows} == {
        row["participant_id"]: 0.0 for row in rows
    }


def test_weights_that_cannot_be_used_are_no_fault_of_the_scan(case, settings, monkeypatch):
    def measure(*_):
        raise WeightsMissingError("weights net-1 must be finite numbers, got others. Copy them again.")

    monkeypatch.setattr(MaskSource, "measure", measure)
    outcome = examine(case, settings)
    assert (outcome.status, outcome.reason) == ("failed", "weights_unusable")
    assert outcome.detail == "weights net-1 must be finite numbers, got others. Copy them again."
