"""A night however it ends: one line in the log, a summary, each hook at most once, and every change told at least once.

The run itself is played by a function; ``tests/flows/run/test_running.py`` has nights with everything.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from cohorts.folder.manifest import CohortError
from cohorts.folder.problems import Problem
from flows.commands.compare import Comparison
from flows.engine.cluster import ClusterError, ClusterOptionError
from flows.engine.lock import LockedError, Owner
from flows.engine.prefect_server import ServerFailedError
from flows.engine.signals import SignalReceived
from flows.run.latest import switch_latest
from flows.run.request import PreflightError, RunRequest, UsageError
from flows.run.running import RunOutcome
from flows.run.steps import StorageFailedError
from flows.run.withholding import NothingMeasuredError
from flows.schedule import hooks as hooks_module
from flows.schedule import nightly
from flows.schedule.announcing import announced
from flows.schedule.hooks import Hooks
from flows.schedule.nightly import night

COUNTS = {"screened": 8, "included": 6, "excluded": 2, "failed": 0, "examined": 6, "measured": 6}


class Site:
    """An output folder, a run that tests play, and hooks that count their calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.out = folder, folder / "out"
        self.monkeypatch = monkeypatch
        self.screen = io.StringIO()
        self.compared: list[tuple[str, str]] = []
        monkeypatch.setattr("flows.schedule.announcing.compare_runs", self._compare)

    def _compare(self, earlier: Path, later: Path) -> Comparison:
        self.compared.append((earlier.name, later.name))
        changed = [{"participant_id": "sub-01", "cause": "input"}] if earlier.name[-1] != later.name[-1] else []
        return Comparison(earlier.name, later.name, [], changed, [], code_changed=False)

    def hook(self, name: str, body: str = "") -> str:
        """Write a hook that notes each call."""
        script = self.folder / f"{name}.sh"
        script.write_text(
            f'#!/bin/sh\necho "$1" >> {self.folder}/{name}.calls\ncp "$1" {self.folder}/{name}.json\n{body}\n'
        )
        script.chmod(0o755)
        return str(script)

    def calls(self, name: str) -> int:
        """How often a hook was started."""
        path = self.folder / f"{name}.calls"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def told(self, name: str) -> dict:
        """The summary that a hook was given last."""
        return json.loads((self.folder / f"{name}.json").read_text())

    def publishes(self, run_id: str, *, failed: int = 0) -> None:
        """The next runs publish this one, or find it unchanged."""

        def run(request: RunRequest, console: Console) -> RunOutcome:
            results = request.out / "results"
            is_there = (results / run_id).is_dir()
            (results / run_id).mkdir(parents=True, exist_ok=True)
            switch_latest(results, results / run_id)
            counts = COUNTS | {"failed": failed}
            summary = {"run_id": run_id, "study": "s", "counts": counts, "exclusions": {}, "is_subset": False}
            seconds = {"plan": 0.1, "total": 0.2}
            return RunOutcome(results / run_id, summary, is_there, 0 if is_there else 3, 5, {"new": 3}, seconds)

        self.monkeypatch.setattr(nightly, "run_cohort", run)

    def raises(self, error: BaseException) -> None:
        """The next runs end with an error."""

        def run(request: RunRequest, console: Console) -> RunOutcome:
            raise error

        self.monkeypatch.setattr(nightly, "run_cohort", run)

    def night(self, **hooks: object) -> nightly.NightOutcome:
        """Run one night."""
        console = Console(file=self.screen, force_terminal=False, width=200)
        return night(RunRequest(self.folder / "cohort", self.out, command="aspects nightly"), Hooks(**hooks), console)

    @property
    def lines(self) -> list[list[str]]:
        """Lines of the log, as cells."""
        return [line.split("\t") for line in (self.out / "nightly.log").read_text().splitlines()]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with an empty output folder."""
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # summaries for hooks, where the folder cannot be written
    return Site(tmp_path, monkeypatch)


def test_a_first_night_tells_its_results_once_and_an_unchanged_one_nothing(site: Site) -> None:
    hook = site.hook("change")
    site.publishes("run-a")
    first, second = site.night(on_change=hook), site.night(on_change=hook)
    assert (first.status, first.hooks, second.status, second.hooks) == ("changed", {"on_change": 0}, "unchanged", {})
    assert site.calls("change") == 1
    cells = [line[1:] for line in site.lines]
    counts = ["screened=8", "included=6", "excluded=2", "failed=0", "examined=6", "measured=6"]
    assert cells[0] == ["exit=0", "changed", "run=run-a", *counts, "computed=3", "reused=5", "on_change=0"]
    assert cells[1] == ["exit=0", "unchanged", "run=run-a", *counts, "computed=0", "reused=5"]
    assert all(datetime.fromisoformat(line[0]).tzinfo for line in site.lines)


@pytest.mark.parametrize("kill", ["before the hook", "in the hook"])
def test_a_change_whose_night_was_killed_is_told_by_the_next(site: Site, kill: str) -> None:
    hook = site.hook("change")
    site.publishes("run-a")
    site.night(on_change=hook)
    site.publishes("run-b")
    if kill == "before the hook":
        nightly.run_cohort(RunRequest(site.folder, site.out), Console())  # published, and then nothing more
    else:
        site.hook("change", "kill -9 $$")
        assert site.night(on_change=hook).hooks == {"on_change": -9}
        site.hook("change")
    before = site.calls("change")
    ended = site.night(on_change=hook)
    assert (ended.status, ended.hooks) == ("changed", {"on_change": 0})
    assert site.calls("change") == before + 1
    assert site.told("change")["changes"] == {
        "headline": "run-a and run-b: 0 settings changed; 1 participants changed (1 by input); 0 statistics changed.",
        "causes": {"input": 1},
    }
    assert json.loads((site.out / "results" / "run-b" / "changes.json").read_text())["earlier"] == "run-a"
    assert site.night(on_change=hook).hooks == {}


def test_a_first_night_that_was_killed_before_its_hook_is_told_by_the_next(site: Site) -> None:
    site.publishes("run-a")
    nightly.run_cohort(RunRequest(site.folder, site.out), Console())
    assert site.night(on_change=site.hook("change")).hooks == {"on_change": 0}


@pytest.mark.parametrize("body", ["exit 3", "kill -9 $$", "exec /none"])
def test_a_hook_that_fails_is_called_again_every_night_until_it_succeeds(site: Site, body: str) -> None:
    site.publishes("run-a")
    for _ in range(2):
        assert site.night(on_change=site.hook("change", body)).hooks["on_change"] != 0
    assert announced(site.out) is None
    assert site.night(on_change=site.hook("change")).hooks == {"on_change": 0}
    assert announced(site.out) == "run-a"
    assert site.calls("change") == 3


def test_several_untold_runs_are_told_as_one_change(site: Site) -> None:
    hook = site.hook("change")
    site.publishes("run-a")
    site.night(on_change=hook)
    for name in ("run-b", "run-c"):
        site.publishes(name)
        nightly.run_cohort(RunRequest(site.folder, site.out), Console())
    site.night(on_change=hook)
    assert site.compared == [("run-a", "run-c")]
    assert site.calls("change") == 2


def test_results_made_anew_that_are_the_same_are_no_news(site: Site) -> None:
    hook = site.hook("change")
    for name in ("run-1a", "run-2a"):
        site.publishes(name)
        site.night(on_change=hook)
    assert site.calls("change") == 1
    assert announced(site.out) == "run-2a"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"run_id": "../x"}', b'{"run_id": 3}', b"[" * 100_000])
def test_a_damaged_note_of_what_was_told_tells_again(site: Site, content: bytes) -> None:
    hook = site.hook("change")
    site.publishes("run-a")
    site.night(on_change=hook)
    (site.out / "announced.json").write_bytes(content)
    assert site.night(on_change=hook).hooks == {"on_change": 0}


def test_failed_cases_and_changed_results_call_each_hook_once(site: Site) -> None:
    site.publishes("run-a", failed=2)
    ended = site.night(on_change=site.hook("change"), on_failure=site.hook("failure"))
    assert (ended.exit_code, ended.hooks) == (1, {"on_failure": 0, "on_change": 0})
    assert site.told("failure")["counts"]["failed"] == 2
    assert json.loads((site.out / "summary.json").read_text())["hooks"] == {"on_failure": 0, "on_change": 0}


def problem() -> CohortError:
    return CohortError([Problem("cohort.toml", 3, "severty", None, "must be known", "Rename it.", "unknown_key")])


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (problem(), 3, "study must be fixed"),
        (UsageError("no"), 2, "wrong usage"),
        (PreflightError("no"), 3, "failed"),
        (ClusterOptionError("no"), 2, "wrong usage"),
        (ClusterError("no"), 3, "failed"),
        (NothingMeasuredError("none of 3"), 1, "nothing measured"),
        (StorageFailedError("full"), 74, "storage failed"),
        (OSError(28, "No space left on device"), 74, "storage failed"),
        (OSError(27, "File too large"), 74, "storage failed"),
        (ServerFailedError("dead"), 70, "failed"),
        (ZeroDivisionError("x"), 70, "failed"),
        (RecursionError("x"), 70, "failed"),
        (MemoryError(), 70, "failed"),
        (SignalReceived(signal.SIGTERM), 143, "stopped"),
        (SignalReceived(signal.SIGINT), 130, "stopped"),
        (PermissionError(13, "Permission denied", sys.executable), 70, "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_end_by_an_error_is_told_once_and_logged(site: Site, error: BaseException, code: int, word: str) -> None:
    site.raises(error)
    ended = site.night(on_failure=site.hook("failure"), on_change=site.hook("change"))
    assert (ended.exit_code, ended.status, ended.hooks) == (code, word, {"on_failure": 0})
    assert (site.calls("failure"), site.calls("change")) == (1, 0)
    assert (site.told("failure")["exit_code"], site.told("failure")["status"]) == (code, word)
    assert [line[1:] for line in site.lines] == [[f"exit={code}", word, "run=none", "on_failure=0"]]


@pytest.mark.parametrize(
    "kind", ["a file", "below a file", "a closed folder", "a link to nowhere", "a circle", "a name too long"]
)
def test_an_output_folder_that_cannot_be_made_is_told(site: Site, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    (site.folder / "file").touch()
    (site.folder / "nowhere").symlink_to(site.folder / "absent" / "too")
    (site.folder / "circle").symlink_to("circle")
    places = {
        "a file": site.folder / "file",
        "below a file": site.folder / "file" / "out",
        "a closed folder": Path("/proc/none/out"),
        "a link to nowhere": site.folder / "nowhere",
        "a circle": site.folder / "circle",
        "a name too long": site.folder / ("n" * 300),
    }
    site.out = places[kind]
    log = site.folder / "second.log"
    ended = site.night(on_failure=site.hook("failure"), log=log)
    assert (ended.exit_code, ended.status, ended.hooks) == (74, "storage failed", {"on_failure": 0})
    assert site.told("failure")["exit_code"] == 74
    assert log.read_text().split("\t")[1:] == ["exit=74", "storage failed", "run=none", "on_failure=0\n"]
    assert "exit=74\tstorage failed" in capfd.readouterr().err


def test_a_log_that_cannot_be_written_is_said_and_changes_nothing(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    site.publishes("run-a")
    assert site.night(log=site.folder).exit_code == 0
    assert f"--log must be a file that can be written, got {site.folder}." in capfd.readouterr().err
    assert len(site.lines) == 1


OWNER = Owner(12, "node7", "2026-01-01T02:00:00+00:00", "aspects nightly")


@pytest.mark.parametrize(
    ("hours", "limit_h", "is_told"), [(1, 12, False), (13, 12, True), (13, 0, False), (2, 1.5, True)]
)
def test_a_run_at_work_for_too_long_is_told_once_a_night(
    site: Site, hours: float, limit_h: float, is_told: bool
) -> None:
    begun = datetime.now(UTC) - timedelta(hours=hours)
    site.raises(LockedError("out must be free", Owner(12, "node7", begun.isoformat(), "aspects nightly")))
    (site.out / "summary.json").write_text("of the night before")
    ended = [site.night(on_failure=site.hook("failure"), busy_limit_h=limit_h) for _ in range(3)]
    assert {night.exit_code for night in ended} == {75}
    assert [night.status for night in ended] == ["busy for too long" if is_told else "busy", "busy", "busy"]
    assert site.calls("failure") == is_told
    assert [line[1] for line in site.lines] == ["exit=75"] * 3
    assert (site.out / "summary.json").read_text() == "of the night before"
    if is_told:
        told = site.told("failure")
        assert told["owner"] == f"process 12 on node7, started {begun.isoformat()} (aspects nightly)"
        assert told["hours"] == pytest.approx(hours, abs=0.02)


def test_the_next_night_tells_a_hanging_run_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.raises(LockedError("out must be free", OWNER))
    hook = site.hook("failure")
    site.night(on_failure=hook)
    note = json.loads((site.out / "busy.json").read_text())
    note["told_at"] = (datetime.now(UTC) - timedelta(hours=23)).isoformat()
    (site.out / "busy.json").write_text(json.dumps(note))
    site.night(on_failure=hook)
    assert site.calls("failure") == 2


@pytest.mark.parametrize("owner", [None, Owner(1, "x", "not a time", "y"), Owner(1, "x", "2999-01-01T00:00:00", "y")])
def test_an_owner_without_a_usable_time_counts_from_the_first_meeting(site: Site, owner: Owner | None) -> None:
    site.raises(LockedError("out must be free", owner))
    hook = site.hook("failure")
    assert site.night(on_failure=hook).status == "busy"
    note = json.loads((site.out / "busy.json").read_text())
    note["first_seen"] = (datetime.now(UTC) - timedelta(hours=15)).isoformat()
    (site.out / "busy.json").write_text(json.dumps(note))
    assert site.night(on_failure=hook).status == "busy for too long"


def test_what_a_hook_prints_is_shown_and_kept(site: Site) -> None:
    site.publishes("run-a")
    site.night(on_change=site.hook("change", r"echo sent; printf 'caf\351 \033[31m'; echo refused >&2; exit 4"))
    assert "Hook on_change must end with 0, got 4" in site.screen.getvalue()
    for words in ("sent", "refused"):
        assert words in site.screen.getvalue()
        assert words in (site.out / "hooks.log").read_text()


@pytest.mark.parametrize("command", ["'unfinished", "", "   "])
def test_a_hook_that_cannot_be_read_is_refused_before_the_night(site: Site, command: str) -> None:
    site.publishes("run-a")
    for option in ("on_failure", "on_change"):
        assert site.night(**{option: command}).exit_code == 2
        assert f"--{option.replace('_', '-')} must be a command, got {command!r}" in site.screen.getvalue()
    assert not (site.out / "results").exists()


def test_a_hook_that_is_not_there_is_warned_of_and_logged(site: Site) -> None:
    site.publishes("run-a")
    assert site.night(on_change="/none/such thing").hooks == {"on_change": 127}
    assert "Warning: --on-change must name a program that can be started, got /none/such." in site.screen.getvalue()


def test_a_hook_that_hangs_is_ended_with_all_that_it_started(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "HOOK_LIMIT_S", 1)
    site.publishes("run-a")
    begun = time.monotonic()
    ended = site.night(on_change=site.hook("change", f"sleep 60 & echo $! > {site.folder}/child; wait"))
    assert ended.hooks == {"on_change": 124}
    assert time.monotonic() - begun < 20
    child = int((site.folder / "child").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        one = psutil.Process(child)
        deadline = time.monotonic() + 10  # a signal that was sent may take a moment on a busy machine
        while (state := one.status()) != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.05)
        assert state == psutil.STATUS_ZOMBIE


def test_a_hook_that_leaves_a_child_behind_does_not_hold_the_night(site: Site) -> None:
    site.publishes("run-a")
    begun = time.monotonic()
    hook = site.hook("change", f"sleep 30 & echo $! > {site.folder}/child")
    assert site.night(on_change=hook).hooks == {"on_change": 0}
    assert time.monotonic() - begun < 20
    os.kill(int((site.folder / "child").read_text()), signal.SIGKILL)
