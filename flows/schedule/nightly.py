"""One night: a run that a timer can start, with a summary, a comparison with what was told before, hooks and a log.

It does whatever is due by content, however many nights were missed. Every night, however it ends, writes one line to
``OUT/nightly.log`` and starts each hook at most once. A second start while one is at work leaves at once with exit code
75, quietly, until that run has been at work for too long.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cohorts.store.records import write_bytes
from flows.commands import screens
from flows.commands.failures import EXIT_LOCKED, EXIT_SOFTWARE, Failure, failure_of
from flows.engine.lock import LockedError
from flows.run.latest import SUMMARY, latest_folder
from flows.run.request import RunRequest
from flows.run.running import RunOutcome, run_cohort
from flows.schedule.announcing import Change, change_to_tell, set_announced
from flows.schedule.busy import keep, note_busy
from flows.schedule.hooks import Hooks, run_hook

NIGHT = "summary.json"
LOG = "nightly.log"


@dataclass
class NightOutcome:
    """How a night ended: its exit code, its status in words, its run and counts, and the exit codes of its hooks."""

    exit_code: int = 0
    status: str = "unchanged"
    run_id: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    hooks: dict[str, int] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """One line for a log, words separated by tabs."""
        cells = [
            datetime.now(UTC).isoformat(timespec="seconds"),
            f"exit={self.exit_code}",
            self.status,
            f"run={self.run_id or 'none'}",
            *(f"{name}={count}" for name, count in self.counts.items()),
            *(f"{name}={code}" for name, code in self.hooks.items()),
        ]
        return "\t".join(cells)


def night(request: RunRequest, hooks: Hooks, console: Console) -> NightOutcome:
    """Run one night; no error leaves it.

    Parameters
    ----------
    request : what to run
    hooks : what to start at the end, and when another run's work is too long
    console : where plain lines go

    Returns
    -------
    NightOutcome; its exit code is that of the run, 75 where another run is at work.
    """
    ended = NightOutcome()
    facts: dict[str, Any] = {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": request.command,
    }
    try:
        hooks.check(console)
        _night(request, hooks, console, ended, facts)
    except BaseException as error:  # a signal, too, ends in the log
        failure = failure_of(error)
        failure.show(console)
        if isinstance(error, LockedError):
            _busy(request, hooks, console, ended, error)
        else:
            _failed(request, hooks, console, ended, facts, failure, error)
    _write_line(request, hooks, ended.line)
    return ended


def _night(request: RunRequest, hooks: Hooks, console: Console, ended: NightOutcome, facts: dict[str, Any]) -> None:
    """Run the cohort, write the summary, and tell what is new."""
    before = latest_folder(request.out)
    outcome = run_cohort(request, console)
    run = outcome.run_folder.resolve()
    change = change_to_tell(request.out, run, before, is_announced=hooks.on_change is not None)
    screens.show_outcome(outcome, request, console)
    if change.comparison is not None:
        console.print(change.comparison.headline, highlight=False, markup=False, soft_wrap=True)
    ended.exit_code = outcome.exit_code
    ended.status = "changed" if change.is_news else "unchanged"
    ended.run_id, ended.counts = outcome.summary["run_id"], dict(outcome.summary["counts"])
    ended.counts |= {"computed": outcome.n_computed, "reused": outcome.n_reused}
    facts |= _outcome_facts(outcome, ended.status, change)
    summary = _write_summary(request.out, facts, ended)
    if ended.exit_code and hooks.on_failure:
        ended.hooks["on_failure"] = run_hook("on_failure", hooks.on_failure, summary, request.out, console)
    if hooks.on_change and change.is_news:
        ended.hooks["on_change"] = run_hook("on_change", hooks.on_change, summary, request.out, console)
    if hooks.on_change and ended.hooks.get("on_change", 0) == 0:
        set_announced(request.out, run.name)
    if ended.hooks:
        _write_summary(request.out, facts, ended)


def _failed(
    request: RunRequest,
    hooks: Hooks,
    console: Console,
    ended: NightOutcome,
    facts: dict[str, Any],
    failure: Failure,
    error: BaseException,
) -> None:
    """End a night that an error broke: its summary, and the failure hook unless it was called already."""
    ended.exit_code, ended.status = failure.exit_code, failure.word
    told = str(error) if failure.exit_code != EXIT_SOFTWARE else f"{type(error).__name__}: {error}"
    facts |= {"status": failure.word, "error": told or failure.text}
    if failure.exit_code == EXIT_SOFTWARE:
        facts["traceback"] = "".join(traceback.format_exception(error))
    summary = _write_summary(request.out, facts, ended)
    if hooks.on_failure and "on_failure" not in ended.hooks:
        with contextlib.suppress(Exception):  # a hook's fault changes nothing
            ended.hooks["on_failure"] = run_hook("on_failure", hooks.on_failure, summary, request.out, console)


def _busy(request: RunRequest, hooks: Hooks, console: Console, ended: NightOutcome, error: LockedError) -> None:
    """Leave another run alone; one at work for too long is told by the failure hook, once a night."""
    ended.exit_code, ended.status = EXIT_LOCKED, "busy"
    now = datetime.now(UTC)
    path, note, is_due = note_busy(request.out, error.owner, hooks.busy_limit_h, now)
    if is_due:
        ended.status = "busy for too long"
        text = f"The other run must end within {hooks.busy_limit_h:g} h, got {note['hours']:g} h: {note['owner']}."
        console.print(f"{text} Look whether it hangs, and end it.", markup=False, highlight=False, soft_wrap=True)
    keep(path, {**note, "status": ended.status, "exit_code": EXIT_LOCKED, "error": str(error)})
    if is_due and hooks.on_failure:
        ended.hooks["on_failure"] = run_hook("on_failure", hooks.on_failure, path, request.out, console)


def _outcome_facts(outcome: RunOutcome, status: str, change: Change) -> dict[str, Any]:
    """What the night's summary holds of a run that ended."""
    compared = change.comparison
    return {
        "status": status,
        "run_id": outcome.summary["run_id"],
        "run_folder": str(outcome.run_folder),
        "summary": str(outcome.run_folder / SUMMARY),
        "counts": outcome.summary["counts"],
        "exclusions": outcome.summary["exclusions"],
        "n_computed": outcome.n_computed,
        "n_reused": outcome.n_reused,
        "due": outcome.causes,
        "changes": None if compared is None else {"headline": compared.headline, "causes": compared.causes},
        "seconds": outcome.seconds,
    }


def _write_summary(out: Path, facts: dict[str, Any], ended: NightOutcome) -> Path:
    """Write the night's summary into the output folder, or where that cannot be, into a temporary one for the hooks."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    night_facts = facts | {"exit_code": ended.exit_code, "hooks": ended.hooks, "finished_at": finished}
    content = json.dumps(night_facts, indent=1).encode()
    try:
        write_bytes(out / NIGHT, content)
    except OSError:
        elsewhere = Path(tempfile.mkdtemp(prefix="aspects-night-")) / NIGHT
        elsewhere.write_bytes(content)
        return elsewhere
    return out / NIGHT


def _write_line(request: RunRequest, hooks: Hooks, line: str) -> None:
    """Append the night's line to its logs; where the output folder cannot be written, to the error output."""
    if not _appended(request.out / LOG, line):
        print(line, file=sys.stderr, flush=True)
    if hooks.log is not None and not _appended(hooks.log, line):
        print(f"--log must be a file that can be written, got {hooks.log}.", file=sys.stderr, flush=True)


def _appended(path: Path, line: str) -> bool:
    """Whether a line could be appended to a file."""
    try:
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
    except OSError:
        return False
    return True
