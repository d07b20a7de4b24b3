"""``aspects prune OUT``: list what no kept run needs, with sizes, and delete it only where that is said."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cohorts.store.pruning import ADDRESS, Prunable, remove, total_bytes, unused_records
from cohorts.tables.storage import read_table
from flows.commands.failures import EXIT_FAILED_CASES, EXIT_OK
from flows.engine.lock import current_owner, run_lock
from flows.run.latest import RESULTS, SUMMARY, latest_folder, read_summary
from flows.run.request import PreflightError

COMMAND = "aspects prune"
KEPT_RUNS = 7
SHOWN = 20
MB = 1e6


@dataclass(frozen=True)
class PrunePlan:
    """What would go and what stays."""

    runs: tuple[Prunable, ...]
    records: tuple[Prunable, ...]
    kept_runs: tuple[str, ...]
    n_records_used: int

    @property
    def all(self) -> tuple[Prunable, ...]:
        """Runs first: a record goes only once no run refers to it."""
        return (*self.runs, *self.records)


def prune(out: Path, n_kept: int, console: Console, *, is_agreed: bool) -> int:
    """List or delete what the last runs do not need.

    Parameters
    ----------
    out : output folder
    n_kept : runs that stay, the latest results always among them
    console : where plain lines go
    is_agreed : delete

    Returns
    -------
    0; 1 where something could not be deleted.

    Raises
    ------
    PreflightError
        There is no such folder, or a run that stays does not say what it refers to.
    LockedError
        A run is at work there; only listing goes on beside it.
    """
    if not (out / RESULTS).is_dir():
        raise PreflightError(f"OUT must be an output folder of a run, got {out}. Give a folder that has {RESULTS}/.")
    if not is_agreed:
        if (owner := current_owner(out)) is not None:
            _say(console, f"At work there now: {owner.text}. What is listed may change.")
        plan = plan_prune(out, n_kept)
        _show(plan, console)
        _say(console, "Nothing is deleted: give --yes to delete this." if plan.all else "There is nothing to delete.")
        return EXIT_OK
    with run_lock(out, COMMAND):
        plan = plan_prune(out, n_kept)
        _show(plan, console)
        before = total_bytes(plan.all)
        left = [(one, path) for one in plan.all for path in remove(one)]
        freed = before - total_bytes(plan.all)
    for one, path in left[:SHOWN]:
        _say(console, f"  left: {one.root / path}: it was changed since it was written, or cannot be deleted")
    if len(left) > SHOWN:
        _say(console, f"  ... and {len(left) - SHOWN} more files are left")
    _say(console, f"Deleted: {freed / MB:.1f} MB.")
    return EXIT_FAILED_CASES if left else EXIT_OK


def plan_prune(out: Path, n_kept: int) -> PrunePlan:
    """What would go; see ``prune``."""
    latest = latest_folder(out)
    runs = {run.name: run for run in _runs(out)}
    kept = set(sorted(runs)[-n_kept:]) | ({latest.name} if latest is not None else set())
    going = [one for name, one in sorted(runs.items()) if name not in kept]
    used, since = _used(out, {one.name for one in going}), _published_at(latest)
    records = [] if since is None else list(unused_records(out, used, since))
    return PrunePlan(tuple(going), tuple(records), tuple(sorted(set(runs) & kept)), len(used))


def _runs(out: Path) -> Iterator[Prunable]:
    """Every published run that says of itself what it holds."""
    for folder in sorted((out / RESULTS).iterdir()):
        if folder.is_symlink() or not folder.is_dir():
            continue
        summary = read_summary(folder)
        if summary is None or summary.get("run_id") != folder.name or not isinstance(summary.get("sha256"), dict):
            continue
        names = [name for name in summary["sha256"] if not Path(name).is_absolute() and ".." not in Path(name).parts]
        listed = {f"{folder.name}/{name}": summary["sha256"][name] for name in names}
        yield Prunable(folder.name, folder.parent, listed | {f"{folder.name}/{SUMMARY}": None})


def _used(out: Path, going: set[str]) -> set[tuple[str, str]]:
    """(participant, address) of every record that a run or folder which stays refers to."""
    used: set[tuple[str, str]] = set()
    for folder in sorted((out / RESULTS).iterdir()):
        path = folder / "tables" / "provenance.parquet"
        if folder.name in going or folder.is_symlink() or not os.path.lexists(path):
            continue
        try:
            table = read_table(path)
            pairs = zip(table["participant_id"].astype(str), table["digest"].astype(str), strict=True)
        except (OSError, ValueError, KeyError) as error:
            raise PreflightError(
                f"{path} must be readable to say which records its run refers to, got {type(error).__name__}. Delete "
                "that run yourself, or restore it."
            ) from None
        used |= {(participant_id, digest[:ADDRESS]) for participant_id, digest in pairs}
    return used


def _published_at(latest: Path | None) -> float | None:
    """When the latest results were begun to be written: what is committed later is of a run that goes on."""
    if latest is None:
        return None
    times = []
    for path in (latest / "tables" / "participants.parquet", latest / SUMMARY):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return min(times, default=None)


def _show(plan: PrunePlan, console: Console) -> None:
    """What would go, with sizes, and what stays."""
    _say(console, f"Runs that stay: {len(plan.kept_runs)} ({', '.join(plan.kept_runs[-3:]) or 'none'})")
    _say(console, f"Records in use by what stays: {plan.n_records_used}")
    for title, found in (("Runs", plan.runs), ("Records that no run refers to, with their files", plan.records)):
        _say(console, f"{title} to delete: {len(found)}, {total_bytes(found) / MB:.1f} MB")
        for one in found[:SHOWN]:
            _say(console, f"  {one.name}  {one.n_bytes / MB:.1f} MB")
        if len(found) > SHOWN:
            _say(console, f"  ... and {len(found) - SHOWN} more")
    if plan.records:
        _say(console, "Going back to the settings of these records will measure their patients again.")


def _say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
