"""One night: a run that a timer can start, with a summary, a comparison with the night before, and hooks.

It needs no state of its own: it does whatever is due by content, however many nights were missed. A second start while
one is at work leaves at once with exit code 75.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cohorts.folder.manifest import CohortError
from cohorts.store.records import write_bytes
from flows.commands import screens
from flows.commands.compare import Comparison, compare_runs
from flows.engine.environment import user_environment
from flows.engine.lock import LockedError
from flows.run.publishing import LATEST, RESULTS, SUMMARY
from flows.run.running import RunRequest, run_cohort

NIGHT = "summary.json"
CHANGES = "changes.json"
HOOK_LIMIT_S = 300
EXIT_BUSY = 75


def run_nightly(request: RunRequest, *, on_failure: str | None, on_change: str | None, console: Console) -> int:
    """Run one night.

    Parameters
    ----------
    request : what to run
    on_failure, on_change : commands, started with the path of the night's summary as their last argument
    console : where plain lines go

    Returns
    -------
    Exit code: that of the run; 75 where another run is at work.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    previous = _latest_folder(request.out)
    night: dict[str, Any] = {"started_at": started_at, "command": request.command}
    try:
        outcome = run_cohort(request, console)
        comparison = None
        if previous is not None and not outcome.is_unchanged:
            comparison = compare_runs(previous, outcome.run_folder)
            write_bytes(outcome.run_folder / CHANGES, json.dumps(comparison.as_json(), indent=1).encode())
        night |= _outcome_facts(outcome, comparison)
        screens.show_outcome(outcome, request, console)
        if comparison is not None:
            console.print(comparison.headline, highlight=False, markup=False, soft_wrap=True)
        code = outcome.exit_code
    except LockedError as error:
        console.print(f"Busy: {error}", markup=False, highlight=False, soft_wrap=True)
        return EXIT_BUSY
    except CohortError as error:
        screens.show_problems(error.problems, console)
        night |= {"status": "study must be mended", "error": str(error)}
        code = 3
    except Exception as error:
        night |= {"status": "failed", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        _finish(request.out, night, 70)
        _hook(on_failure, request.out / NIGHT, console)
        raise
    night["exit_code"] = code
    _finish(request.out, night, code)
    if code:
        _hook(on_failure, request.out / NIGHT, console)
    elif night.get("status") == "changed":
        _hook(on_change, request.out / NIGHT, console)
    return code


def _outcome_facts(outcome: Any, comparison: Comparison | None) -> dict[str, Any]:
    """What the night's summary holds of a run that ended."""
    if outcome.is_unchanged or (comparison is not None and comparison.is_unchanged):
        status = "unchanged"
    else:
        status = "first run" if comparison is None else "changed"
    return {
        "status": "changed" if status == "first run" else status,
        "run_id": outcome.summary["run_id"],
        "run_folder": str(outcome.run_folder),
        "summary": str(outcome.run_folder / SUMMARY),
        "counts": outcome.summary["counts"],
        "exclusions": outcome.summary["exclusions"],
        "n_computed": outcome.n_computed,
        "n_reused": outcome.n_reused,
        "due": outcome.causes,
        "changes": None if comparison is None else {"headline": comparison.headline, "causes": comparison.causes},
        "seconds": outcome.seconds,
    }


def _finish(out: Path, night: dict[str, Any], code: int) -> None:
    """Write the night's summary."""
    night["exit_code"] = code
    night["finished_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_bytes(out / NIGHT, json.dumps(night, indent=1).encode())


def _latest_folder(out: Path) -> Path | None:
    """Folder of the latest results before this night."""
    latest = out / RESULTS / LATEST
    return latest.resolve() if latest.exists() else None


def _hook(command: str | None, summary: Path, console: Console) -> None:
    """Start a site's command with the summary's path; its failure is told, and changes nothing."""
    if command is None:
        return
    try:
        done = subprocess.run(
            [*shlex.split(command), str(summary)],
            timeout=HOOK_LIMIT_S,
            check=False,
            capture_output=True,
            text=True,
            env={**user_environment(), "ASPECTS_SUMMARY": str(summary)},
        )
        if done.returncode:
            console.print(
                f"The hook must end with 0, got {done.returncode}: {command}\n{done.stderr[-500:]}",
                markup=False,
                highlight=False,
            )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        console.print(f"The hook could not be run: {command} ({error})", markup=False, highlight=False)
