"""What is published, when it counts as current, and when it is kept back; steps run here without Prefect and Dask."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cohorts.store.findings import Findings
from cohorts.store.records import Record, commit, load, record_path
from flows.cases.case import step_key
from flows.commands import screens
from flows.commands.verify import verify_output
from flows.run import publishing
from flows.run.latest import latest_folder
from flows.run.plan import Plan, make_plan, why_stale, with_records
from flows.run.publishing import RunFacts, is_current, publish_results
from flows.run.request import RunRequest
from flows.run.steps import run_case
from flows.run.withholding import NothingMeasuredError
from flows.sources.code import CodeVersion, earlier_parts, keep_manifest
from tests.flows.conftest import TinyCohort


def due_of(plan: Plan) -> frozenset[tuple[str, str]]:
    return frozenset(key for key in plan.cases if key not in plan.records)


def publish(plan: Plan, out: Path, run_id: str) -> Path:
    """Publish what is committed now of a plan made before measuring."""
    facts = RunFacts(run_id, "2026-01-01T02:00:00+00:00", "aspects run", computed=due_of(plan))
    return publish_results(with_records(plan, out, with_failed=True), out, facts)[0]


def fail(plan: Plan, out: Path, reason: str) -> None:
    """End every pending case by a technical failure."""
    for measurement, case in plan.pending:
        key = step_key(case, plan.settings[measurement])
        commit(out, Record(case.participant_id, key, "failed", reason, f"{reason}.", payload=Findings()))


def verified(out: Path) -> tuple[int, str]:
    """Exit code and words of verify."""
    words = io.StringIO()
    return verify_output(out, Console(file=words, width=400)), words.getvalue()


@pytest.fixture(scope="module")
def measured(tiny: TinyCohort) -> TinyCohort:
    """The tiny cohort, measured and published once."""
    plan = make_plan(tiny.folder, tiny.out)
    for measurement, case in plan.pending:
        run_case(case, plan.settings[measurement], tiny.out)
    publish(plan, tiny.out, "20260101-020000_aaaaaaaa")
    return tiny


@pytest.fixture
def out(measured: TinyCohort, tmp_path: Path) -> Path:
    """A copy of the published output folder."""
    shutil.copytree(measured.out, tmp_path / "out", symlinks=True)
    return tmp_path / "out"


def test_a_whole_run_is_current_and_verified(measured: TinyCohort, out: Path) -> None:
    assert is_current(make_plan(measured.folder, out), out)
    code, words = verified(out)
    assert (code, words.strip()) == (0, "8 records, 16 outputs, 1 runs checked: all whole.")


DAMAGES = {
    "one byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("name", ["tables/scores.parquet", "report.html", "tables/scores.tsv", "summary.json"])
def test_a_damaged_published_file_is_named_and_made_again(
    measured: TinyCohort, out: Path, name: str, damage: str
) -> None:
    is_current(make_plan(measured.folder, out), out)  # digests are remembered
    run = latest_folder(out)
    assert run is not None
    DAMAGES[damage](run / name)
    plan = make_plan(measured.folder, out)
    assert not is_current(plan, out)
    code, words = verified(out)
    assert code == 1
    assert f"{run / name} must be " in words
    assert "The next run makes the results again." in words
    if (name, damage) == ("summary.json", "a folder"):  # takes a while: the worst case stands for all
        publish(plan, out, "20260102-020000_bbbbbbbb")
        assert is_current(plan, out)


def test_damage_that_no_stamp_shows_is_found_by_verify_and_then_by_the_run(
    measured: TinyCohort, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns
    monkeypatch.setattr("cohorts.store.hashing.time.time_ns", lambda: now() + 3600 * 10**9)  # the files are old
    plan = make_plan(measured.folder, out)
    assert is_current(plan, out)
    cache = out / "work" / "published.json"
    known = json.loads(cache.read_bytes())
    path = next(name for name in known if name.endswith("scores.parquet"))
    DAMAGES["one byte"](Path(path))
    stat = Path(path).stat()
    known[path][0] = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
    cache.write_text(json.dumps(known))
    assert is_current(plan, out)  # as a disk that lost bits would have it
    assert verified(out)[0] == 1
    assert not is_current(plan, out)


def test_an_earlier_damaged_run_is_told_with_another_remedy(measured: TinyCohort, out: Path) -> None:
    earlier = latest_folder(out)
    assert earlier is not None
    publish(make_plan(measured.folder, out), out, "20260102-020000_bbbbbbbb")
    (earlier / "report.html").write_text("x")
    code, words = verified(out)
    assert code == 1
    assert f"{earlier / 'report.html'} must be as it was published, got another content. It is an earlier run" in words
    assert words.strip().endswith(
        "2 runs checked: 1 damaged: restore 1 of earlier runs from a copy, or delete these runs' folders."
    )
    assert "aspects run" not in words
    assert is_current(make_plan(measured.folder, out), out)


def test_what_is_made_again_and_what_is_not_are_told_apart(measured: TinyCohort, out: Path) -> None:
    earlier = latest_folder(out)
    assert earlier is not None
    latest = publish(make_plan(measured.folder, out), out, "20260102-020000_bbbbbbbb")
    (earlier / "report.html").write_text("x")
    (latest / "report.html").write_text("x")
    (latest / "tables" / "scores.tsv").unlink()
    code, words = verified(out)
    assert code == 1
    assert words.strip().endswith(
        "2 runs checked: 3 damaged: for 2 run 'aspects run' or the nightly command again; "
        "restore 1 of earlier runs from a copy, or delete these runs' folders."
    )
    publish(make_plan(measured.folder, out), out, "20260103-020000_cccccccc")
    shutil.rmtree(latest)
    shutil.rmtree(earlier)
    assert verified(out)[0] == 0


def test_status_and_a_dry_run_leave_a_damaged_record_to_verify(measured: TinyCohort, out: Path) -> None:
    path = next((out / "records" / "sub-03").glob("[!.]*.json"))
    path.write_bytes(path.read_bytes()[:-9])
    before = sorted(one.name for one in path.parent.iterdir())
    request = RunRequest(measured.folder, out)
    for show in (lambda to: screens.show_status(request, None, to), lambda to: screens.show_plan(request, to)):
        words = io.StringIO()
        show(Console(file=words, width=200))
        assert "To measure              1 (1 damaged)" in words.getvalue()
        assert sorted(one.name for one in path.parent.iterdir()) == before
    code, told = verified(out)
    assert code == 1
    assert f"records/sub-03/{path.name} must be a whole record of its own address, got another content" in told


def test_another_ones_record_is_damage_and_no_earlier_result(measured: TinyCohort, out: Path) -> None:
    path = next((out / "records" / "sub-03").glob("[!.]*.json"))
    shutil.copy(next((out / "records" / "sub-04").glob("[!.]*.json")), path)
    plan = make_plan(measured.folder, out)
    ((measurement, case),) = plan.pending
    assert why_stale(plan, out, case.participant_id, measurement) == ("damaged",)
    run_case(case, plan.settings[measurement], out)
    assert path.with_name(f".damaged-{path.name}").is_file()
    assert make_plan(measured.folder, out).pending == []


def test_a_damaged_record_is_computed_again(measured: TinyCohort, out: Path) -> None:
    path = next((out / "records" / "sub-03").glob("[!.]*.json"))
    shutil.copy(next((out / "records" / "sub-04").glob("[!.]*.json")), path)  # another one's, whole in itself
    code, words = verified(out)
    assert code == 1
    assert f"records/sub-03/{path.name} must be a whole record of its own address" in words
    assert [case.participant_id for _, case in make_plan(measured.folder, out).pending] == ["sub-03"]


def test_verify_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="OUT must be an output folder of a run, got"):
        verify_output(tmp_path / "none", Console())


REASONS = ["worker_died", "timed_out", "unexpected_error", "unreadable_file", "input_changed"]


@pytest.mark.parametrize("reason", REASONS)
def test_a_first_run_in_which_all_failed_is_not_published(tiny: TinyCohort, tmp_path: Path, reason: str) -> None:
    plan = make_plan(tiny.folder, tmp_path)
    for night in ("a", "b"):
        fail(plan, tmp_path, reason)
        with pytest.raises(NothingMeasuredError, match=rf"of the 8 measurements .* got none \(8 {reason}\)\. sub-01: "):
            publish(plan, tmp_path, f"20260101-020000_{night}")
    assert latest_folder(tmp_path) is None
    assert not (tmp_path / "results").exists()


def replaced(measured: TinyCohort, tmp_path: Path, numbers: tuple[int, ...]) -> TinyCohort:
    """The cohort with other masks of some participants."""
    other = TinyCohort(tmp_path / "cohort", tmp_path / "out")
    shutil.copytree(measured.folder, other.folder)
    for number in numbers:
        other.write_mask(number, (-50, -4, 34), 20)
    return other


def test_results_stay_where_all_that_is_new_fails(measured: TinyCohort, out: Path, tmp_path: Path) -> None:
    other = replaced(measured, tmp_path, (2, 3))
    before = latest_folder(out)
    for night in ("b", "c"):
        plan = make_plan(other.folder, out)
        assert len(plan.pending) == 2
        fail(plan, out, "worker_died")
        with pytest.raises(NothingMeasuredError, match=r"The latest results stay as they were \(20260101-020000_a"):
            publish(plan, out, f"20260102-020000_{night}")
        assert latest_folder(out) == before
    assert len(list((out / "results").iterdir())) == 2


def test_one_measured_scan_publishes_the_others_failures(measured: TinyCohort, out: Path, tmp_path: Path) -> None:
    other = replaced(measured, tmp_path, (2, 3))
    plan = make_plan(other.folder, out)
    measurement, case = plan.pending[0]
    run_case(case, plan.settings[measurement], out)
    fail(make_plan(other.folder, out), out, "timed_out")
    run = publish(plan, out, "20260102-020000_bbbbbbbb")
    assert latest_folder(out) == run
    assert json.loads((run / "summary.json").read_text())["counts"]["failed"] == 1
    # the one that failed fails again, and the clinical table has changed: nothing is lost by telling it
    other.write_tables(8, nihss={1: 41})
    again = make_plan(other.folder, out)
    assert len(again.pending) == 1
    fail(again, out, "timed_out")
    assert latest_folder(out) == run
    publish(again, out, "20260103-020000_cccccccc")
    assert latest_folder(out) == out / "results" / "20260103-020000_cccccccc"


def test_results_stay_where_the_images_are_not_mounted(measured: TinyCohort, out: Path, tmp_path: Path) -> None:
    other = replaced(measured, tmp_path, ())
    (other.folder / "masks").rename(other.folder / "unmounted")
    (other.folder / "masks").mkdir()
    before = latest_folder(out)
    with pytest.raises(NothingMeasuredError, match="at least one of 8 scans must be readable, got none"):
        publish(make_plan(other.folder, out), out, "20260102-020000_bbbbbbbb")
    assert latest_folder(out) == before


def test_a_failure_never_takes_a_results_place(measured: TinyCohort, out: Path) -> None:
    plan = make_plan(measured.folder, out)
    fail(replace(plan, records={}), out, "worker_died")
    for (participant_id, measurement), case in plan.cases.items():
        record = load(record_path(out, participant_id, step_key(case, plan.settings[measurement])))
        assert record is not None
        assert record.status == "ok"


def test_two_settings_of_one_kind_are_published_side_by_side(measured: TinyCohort, tmp_path: Path) -> None:
    """Rows of timings and provenance are told apart, though the step is the same."""
    cohort = TinyCohort(tmp_path / "cohort", tmp_path / "out")
    shutil.copytree(measured.folder, cohort.folder)
    study = (cohort.folder / "cohort.toml").read_text()
    second = '[[source]]\nname = "second"\nkind = "mask"\nmodality = "lesion"\n'
    (cohort.folder / "cohort.toml").write_text(study + second)
    plan = make_plan(cohort.folder, cohort.out)
    (name,) = plan.cohort.config.measurements
    key = next(iter(plan.cases))
    record = replace(run_case(plan.cases[key], plan.settings[name], cohort.out), seconds=1.0)
    names = {
        "lesion": "measure-lesion",
        "lesion:first": "measure-lesion:first",
        "lesion:second": "measure-lesion:second",
    }
    config = plan.cohort.config.model_copy()
    sources = plan.cohort.config.measurements[name]
    config.__dict__["measurements"] = dict.fromkeys(names, sources)
    varied = replace(plan, cohort=replace(plan.cohort, config=config))
    assert publishing._steps(varied, {(key[0], variant): record for variant in names}) == list(names.values())


def test_what_the_code_stood_for_is_no_record(measured: TinyCohort, out: Path) -> None:
    """It lies beside the records, and verify called it damaged and set it aside."""
    keep_manifest(out, CodeVersion({"tasks/lesion.py": "1"}))
    assert verified(out)[0] == 0
    assert [path.name[0] for path in (out / "records" / ".code").iterdir()] != ["."]
    assert earlier_parts(out, CodeVersion({"tasks/lesion.py": "1"}).digest) == {"tasks/lesion.py": "1"}
