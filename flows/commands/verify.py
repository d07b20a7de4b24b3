"""``aspects verify OUT``: read every published file, record and output again, and compare with its sha256.

A damaged record, and the record of a damaged output, is set aside, so that the next run computes it again; of the
latest results, a damaged file makes the next run publish them again. An earlier run is made again by nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from cohorts.store.verifying import verify_records
from flows.engine.lock import run_lock
from flows.run.latest import LATEST, POINTER, RESULTS, SUMMARY, damaged_files, latest_folder, read_summary
from flows.run.request import PreflightError

SHOWN = 50


def verify_output(out: Path, console: Console) -> int:
    """Check an output folder.

    Parameters
    ----------
    out : output folder
    console : where plain lines go

    Returns
    -------
    Exit code: 0 where all is whole, 1 where something is damaged.

    Raises
    ------
    PreflightError
        There is no such folder.
    LockedError
        A run is at work there.
    """
    if not out.is_dir():
        raise PreflightError(f"OUT must be an output folder of a run, got {out}. Give a folder that exists.")
    with run_lock(out, f"aspects verify {out}"):
        records, outputs, damage = verify_records(out)
        runs = _runs(out)
        again = [f"{text} The next run computes it again." for text in damage]
        again += [text for run in runs if run == latest_folder(out) for text in _damage_of_run(out, run)]
        earlier = [text for run in runs if run != latest_folder(out) for text in _damage_of_run(out, run)]
        again += _damage_of_pointer(out, runs)
    told = [*again, *earlier]
    for text in told[:SHOWN]:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if len(told) > SHOWN:
        console.print(f"... and {len(told) - SHOWN} more", highlight=False)
    checked = f"{records} records, {outputs} outputs, {len(runs)} runs checked"
    console.print(f"{checked}: {_state(len(again), len(earlier))}.", highlight=False, soft_wrap=True)
    return 1 if told else 0


def _state(n_again: int, n_earlier: int) -> str:
    """How much is damaged, and what to do about each part of it."""
    if not n_again and not n_earlier:
        return "all whole"
    todo = []
    if n_again:
        todo.append(f"for {n_again} run 'aspects run' or the nightly command again")
    if n_earlier:
        todo.append(f"restore {n_earlier} of earlier runs from a copy, or delete these runs' folders")
    return f"{n_again + n_earlier} damaged: {'; '.join(todo)}"


def _runs(out: Path) -> list[Path]:
    """Folders of published runs."""
    results = out / RESULTS
    if not results.is_dir():
        return []
    return sorted(
        path.resolve()
        for path in results.iterdir()
        if path.is_dir() and not path.is_symlink() and path.name[0].isdigit()
    )


def _damage_of_run(out: Path, run: Path) -> Iterator[str]:
    """What is damaged in one run, and what to do."""
    is_latest = run == latest_folder(out)
    remedy = (
        "The next run makes the results again."
        if is_latest
        else "It is an earlier run and is not made again: restore the file from a copy, or delete the run's folder."
    )
    summary = read_summary(run)
    if summary is None:
        yield f"{run / SUMMARY} must be whole, got another content. {remedy}"
        return
    for name in damaged_files(out, run, summary, is_fresh=True, is_kept=is_latest):
        state = "got another content" if (run / name).is_file() else "but is missing"
        yield f"{run / name} must be as it was published, {state}. {remedy}"


def _damage_of_pointer(out: Path, runs: list[Path]) -> Iterator[str]:
    """What is wrong with the pointer to the latest run."""
    results = out / RESULTS
    if runs and latest_folder(out) is None:
        yield f"{results / LATEST} or {POINTER} must lead to a run, got none. The next run makes the results again."
