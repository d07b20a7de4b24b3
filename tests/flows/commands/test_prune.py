"""Pruning an output folder: what goes, what stays, and that nothing of anybody else is touched."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from cohorts.store.findings import Findings
from cohorts.store.hashing import file_sha256
from cohorts.store.records import Record, StepKey, commit, output_folder, record_path, write_outputs
from cohorts.tables.schemas import PROVENANCE
from cohorts.tables.storage import write_table
from flows.commands.prune import prune
from flows.engine.lock import LockedError, run_lock
from flows.run.latest import OWN_DIGEST, latest_folder, summary_digest, switch_latest
from flows.run.request import PreflightError

BYTES = 50_000


class Nights:
    """An output folder with one run a night, made by hand: the record of the one patient changes every night."""

    def __init__(self, out, n):
        self.out, self.keys = out, []
        for night in range(1, n + 1):
            key = StepKey("measure-lesion", "code", f"{night:064d}", "b" * 64)
            self.keys.append(key)
            files = {"sub-1_mask.nii.gz": bytes([night]) * BYTES}
            outputs = write_outputs(out, output_folder("sub-1", key), files)
            path = commit(out, Record("sub-1", key, "ok", None, None, Findings(), outputs))
            os.utime(path, (night * 1000, night * 1000))
            self.publish(f"202601{night:02d}-020000_aaaaaaaa", [key], night * 1000 + 500)

    def publish(self, name, keys, time_s):
        folder = self.out / "results" / name
        (folder / "tables").mkdir(parents=True)
        rows = {
            "participant_id": ["sub-1"] * len(keys),
            "step": [f"{key.step}-{place}" for place, key in enumerate(keys)],
            "digest": [key.digest for key in keys],
            "input_sha256": [key.input_sha256 for key in keys],
            "settings_sha256": [key.settings_sha256 for key in keys],
            "weights_sha256": [None] * len(keys),
            "code": ["code"] * len(keys),
            "software_version": [None] * len(keys),
            "software_run_on": [None] * len(keys),
            "status": ["ok"] * len(keys),
            "reason": [None] * len(keys),
            "detail": [None] * len(keys),
        }
        write_table(PROVENANCE, [rows], folder / "tables")
        (folder / "report.html").write_text("x" * BYTES)
        files = [path for path in folder.rglob("*") if path.is_file()]
        summary = {"run_id": name, "sha256": {str(path.relative_to(folder)): file_sha256(path) for path in files}}
        (folder / "summary.json").write_text(json.dumps(summary | {OWN_DIGEST: summary_digest(summary)}))
        for path in [*files, folder / "summary.json"]:
            os.utime(path, (time_s, time_s))
        switch_latest(self.out / "results", folder)

    def runs(self):
        return sorted(path.name[6:8] for path in (self.out / "results").iterdir() if path.name.startswith("2026"))

    def records(self):
        """Nights whose record is there."""
        return [night for night, key in enumerate(self.keys, start=1) if record_path(self.out, "sub-1", key).is_file()]

    def outputs(self):
        return [night for night, key in enumerate(self.keys, 1) if (self.out / output_folder("sub-1", key)).is_dir()]


def _prune(out, n=2, *, yes=False, expect=0):
    console = Console(file=io.StringIO(), width=200)
    assert prune(out, n, console, is_agreed=yes) == expect
    return console.file.getvalue()


def _everything(folder):
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def nights(tmp_path):
    return Nights(tmp_path / "out", 5)


def test_it_lists_with_sizes_and_deletes_nothing_unless_told(nights):
    before = _everything(nights.out)
    told = _prune(nights.out)
    assert "Runs to delete: 3, 0.2 MB" in told
    assert "Records that no run refers to, with their files to delete: 3, 0.2 MB" in told
    assert "20260101-020000_aaaaaaaa  0.1 MB" in told
    assert "Nothing is deleted" in told
    assert _everything(nights.out) == before


def test_the_last_runs_and_their_records_stay_and_the_second_time_there_is_nothing_to_do(nights):
    told = _prune(nights.out, yes=True)
    assert "Deleted: 0.3 MB" in told  # 3 reports and 3 masks of 50 kB, and small files
    assert (nights.runs(), nights.records(), nights.outputs()) == (["04", "05"], [4, 5], [4, 5])
    assert latest_folder(nights.out).name.startswith("20260105")
    assert "There is nothing to delete." in _prune(nights.out)
    before = _everything(nights.out / "records")
    _prune(nights.out, yes=True)
    assert _everything(nights.out / "records") == before


def test_the_latest_results_stay_wherever_they_stand(nights):
    """As after a copy of an earlier run, which was made the latest again."""
    switch_latest(nights.out / "results", nights.out / "results" / "20260102-020000_aaaaaaaa")
    _prune(nights.out, 1, yes=True)
    assert nights.runs() == ["02", "05"]
    assert nights.records() == [2, 3, 4, 5]  # 3 and 4 are younger than the latest results: a run may go on with them


def test_what_a_stopped_run_has_committed_stays(nights):
    key = StepKey("measure-lesion", "code", "c" * 64, "b" * 64)
    path = commit(nights.out, Record("sub-1", key, "ok", None, None, Findings()))
    _prune(nights.out, yes=True)
    assert path.is_file()


def test_what_somebody_else_added_or_changed_stays_and_is_named(nights):
    results = nights.out / "results"
    (results / "20260101-020000_aaaaaaaa" / "notes.txt").write_text("ours")
    (results / "20260102-020000_aaaaaaaa" / "report.html").write_text("edited")
    (results / "mine").mkdir()
    (results / "mine" / "a.txt").write_text("a")
    mask = nights.out / output_folder("sub-1", nights.keys[0]) / "sub-1_mask.nii.gz"
    mask.write_bytes(b"drawn better")
    told = _prune(nights.out, yes=True, expect=1)
    assert sorted(path.name for path in (results / "20260101-020000_aaaaaaaa").rglob("*")) == ["notes.txt"]
    assert (results / "20260102-020000_aaaaaaaa" / "report.html").read_text() == "edited"
    assert (results / "20260102-020000_aaaaaaaa" / "summary.json").is_file()
    assert (results / "mine" / "a.txt").is_file()
    assert mask.read_bytes() == b"drawn better"
    assert nights.records() == [1, 4, 5]
    assert "report.html" in told
    assert "sub-1_mask.nii.gz" in told


def test_links_are_not_followed(nights, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    folder = nights.out / output_folder("sub-1", nights.keys[0])
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    run = nights.out / "results" / "20260101-020000_aaaaaaaa"
    run.rename(tmp_path / "run")
    run.symlink_to(tmp_path / "run")
    _prune(nights.out, yes=True, expect=1)
    assert (elsewhere / "sub-1_mask.nii.gz").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_paths_in_a_record_or_summary_lead_nowhere_else(nights, tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    key = StepKey("measure-lesion", "code", "d" * 64, "b" * 64)
    stranger = {"path": "derivatives/sub-1/../../../precious.txt", "sha256": file_sha256(precious), "size_bytes": 1}
    path = commit(nights.out, Record("sub-1", key, "ok", None, None, Findings(), (stranger,)))
    os.utime(path, (1, 1))
    summary_path = nights.out / "results" / "20260101-020000_aaaaaaaa" / "summary.json"
    summary = json.loads(summary_path.read_text())
    summary["sha256"]["../../../precious.txt"] = file_sha256(precious)
    summary_path.write_text(json.dumps(summary | {OWN_DIGEST: summary_digest(summary)}))
    _prune(nights.out, yes=True)
    assert precious.is_file()
    assert not path.exists()


def test_beside_a_run_it_lists_and_does_not_delete(nights):
    with run_lock(nights.out, "aspects run"):
        assert "At work there now" in _prune(nights.out)
        with pytest.raises(LockedError, match="is at work there"):
            _prune(nights.out, yes=True)
    assert nights.runs() == ["01", "02", "03", "04", "05"]


def test_a_kept_run_that_does_not_say_what_it_needs_stops_it(nights):
    (nights.out / "results" / "20260105-020000_aaaaaaaa" / "tables" / "provenance.parquet").write_bytes(b"x")
    with pytest.raises(PreflightError, match="must be readable to say which records"):
        _prune(nights.out, yes=True)
    assert nights.records() == [1, 2, 3, 4, 5]


def test_killed_half_way_it_goes_on(nights):
    run = nights.out / "results" / "20260101-020000_aaaaaaaa"
    (run / "report.html").unlink()
    Path(nights.out / output_folder("sub-1", nights.keys[0]) / "sub-1_mask.nii.gz").unlink()
    _prune(nights.out, yes=True)
    assert not run.exists()
    assert nights.outputs() == [4, 5]


def test_a_folder_that_is_none_of_ours_is_refused(tmp_path):
    with pytest.raises(PreflightError, match="must be an output folder"):
        _prune(tmp_path, yes=True)
