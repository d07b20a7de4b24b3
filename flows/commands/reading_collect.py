"""``aspects reading collect``: readers' files into ``readings.tsv``, progress, and consensus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.table import Table

from cohorts.folder.problems import CohortError, Problem
from cohorts.folder.readings import FILE, READER, Reading
from cohorts.reading.collecting import (
    Collected,
    ConsensusSettings,
    Group,
    Place,
    collect,
    progress,
    read_collected,
    readings_of,
    write_collected,
)
from cohorts.reading.exported import ReadingFile, read_reading_file
from cohorts.reading.readings_file import Update, updated_readings
from cohorts.reading.round import Round, all_rounds, rounds_folder
from cohorts.store.records import write_bytes
from cohorts.tables.storage import tsv_text
from flows.commands.failures import EXIT_PREFLIGHT
from flows.run.request import PreflightError, UsageError
from flows.sources.registry import read_cohort
from tasks.consensus import Consensus, ConsensusRule

OPEN_FILE = "open_consensus.tsv"


@dataclass(frozen=True)
class RoundState:
    """One round: where it lies, its key, what was collected before and what is known now."""

    folder: Path
    plan: Round
    before: Collected
    now: Collected


def collect_readings(cohort: Path, files: Sequence[Path], consensus: ConsensusSettings | None, console: Console) -> int:
    """Check readers' files, add them to ``readings.tsv``, and say how far everybody is.

    Nothing is written where any file has a problem. Collected again, the same files change nothing.

    Parameters
    ----------
    cohort : cohort folder
    files : files that pages saved, or folders of them; none only shows the progress
    consensus : rule and name, kept for later collections; None keeps those of before
    console : where plain lines go

    Returns
    -------
    0, or 3 where something must be fixed first.

    Raises
    ------
    PreflightError
        There is no round, or a file of ours is damaged.
    """
    if not rounds_folder(cohort).is_dir():
        raise PreflightError(
            f"COHORT must have a round of reading, got none in {cohort}. Make one: aspects reading make"
        )
    with FileLock(rounds_folder(cohort) / ".lock"):
        try:
            rounds = [(folder, plan, read_collected(folder, plan)) for folder, plan in all_rounds(cohort)]
        except ValueError as error:
            raise PreflightError(str(error)) from None
        problems: list[Problem] = []
        given = dict(_read_all(_expanded(files), problems))
        states = list(_states(rounds, given, consensus, problems))
        update = Update(None)
        agreed: dict[str, dict[str, Consensus[Place]]] = {}
        if not problems:
            update, agreed = _merged(cohort, states, problems)
        if problems:
            _show(problems, console)
            return EXIT_PREFLIGHT
        if update.text is not None:
            write_bytes(cohort / FILE, update.text.encode())
        for state in states:
            if state.now != state.before:
                write_collected(state.folder, state.now)
            _write_open(state, agreed.get(state.plan.round_id, {}))
    _say(cohort, states, update, agreed, console)
    return 0


def consensus_settings(rule: ConsensusRule | None, name: str) -> ConsensusSettings | None:
    """Rule and name of the consensus.

    Raises
    ------
    UsageError
        The name cannot be that of a reader.
    """
    if not READER.fullmatch(name):
        raise UsageError(f"--consensus-reader must be letters, digits and . _ -, got {name}. Write a word.")
    return None if rule is None else ConsensusSettings(rule=rule, reader=name)


def _expanded(files: Sequence[Path]) -> Iterator[Path]:
    """Files, and the reading files of folders."""
    for path in files:
        if path.is_dir():
            found = sorted(path.glob("*.json"))
            if not found:
                raise UsageError(f"FILES must be files that pages saved, got a folder without any: {path}. Give files.")
            yield from found
        else:
            yield path


def _read_all(files: Iterator[Path], problems: list[Problem]) -> Iterator[tuple[str, ReadingFile]]:
    """Files that can be read; two of one name are told apart by their folders."""
    seen: dict[str, Path] = {}
    for path in files:
        if path.resolve() in seen.values():
            continue
        name = path.name if path.name not in seen else str(path)
        seen[name] = path.resolve()
        try:
            yield name, read_reading_file(path)
        except CohortError as error:
            problems += error.problems


def _states(
    rounds: Sequence[tuple[Path, Round, Collected]],
    given: Mapping[str, ReadingFile],
    consensus: ConsensusSettings | None,
    problems: list[Problem],
) -> Iterator[RoundState]:
    """Every round with the files that belong to it."""
    known = {plan.round_id for _, plan, _ in rounds}
    names = ", ".join(plan.settings.name for _, plan, _ in rounds) or "none"
    for name, file in given.items():
        if file.round_id not in known:
            rule, remedy = f"must be of a round of this cohort ({names})", "Give the cohort whose round it is."
            problems.append(Problem(name, None, "round_id", file.round_id, rule, remedy, "unknown_round"))
    for folder, plan, before in rounds:
        if consensus is not None:
            if consensus.reader.casefold() in {reader.casefold() for reader in plan.lists}:
                rule = f"must be none of the readers of round {plan.settings.name}"
                remedy = "Give another --consensus-reader."
                problems.append(
                    Problem("--consensus-reader", None, None, consensus.reader, rule, remedy, "consensus_is_reader")
                )
            if len(plan.lists) < 2 and len(rounds) == 1:
                rule = f"must be of at least two readers; round {plan.settings.name} has one"
                remedy = "Add a reader: aspects reading make with the same settings and --readers."
                problems.append(Problem("--consensus", None, None, None, rule, remedy, "consensus_of_one"))
        mine = [(name, file) for name, file in given.items() if file.round_id == plan.round_id]
        now, found = collect(plan, before, mine)
        problems += found
        if consensus is not None and len(plan.lists) > 1:
            now = now.model_copy(update={"consensus": consensus})
        yield RoundState(folder, plan, before, now)


def _merged(
    cohort: Path, states: Sequence[RoundState], problems: list[Problem]
) -> tuple[Update, dict[str, dict[str, Consensus[Place]]]]:
    """The update of readings.tsv, and the consensus of every round."""
    before: dict[Group, tuple[Reading, ...]] = {}
    now: dict[Group, tuple[Reading, ...]] = {}
    agreed = {}
    for state in states:
        before |= readings_of(state.plan, state.before)[0]
        rows, agreed[state.plan.round_id] = readings_of(state.plan, state.now)
        now |= rows
    update, found = updated_readings(cohort, before, now)
    problems += found
    return update, agreed


def _write_open(state: RoundState, agreed: Mapping[str, Consensus[Place]]) -> None:
    """Write who must be settled by a further reader; no file where nobody must."""
    path = state.folder / OPEN_FILE
    rows = [
        {"participant_id": participant_id, "side": side, "region": region}
        for participant_id, found in agreed.items()
        for side, region in found.open
    ]
    if rows:
        write_bytes(path, tsv_text(rows).encode())
    else:
        path.unlink(missing_ok=True)


def _show(problems: Sequence[Problem], console: Console) -> None:
    """Every problem at once."""
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True, emoji=False)
    say(f"Nothing was collected. Fix this, then collect again: ({len(problems)})", style="bold")
    for problem in problems:
        say(f"  {problem.text}")


def _say(
    cohort: Path,
    states: Sequence[RoundState],
    update: Update,
    agreed: Mapping[str, Mapping[str, Consensus[Place]]],
    console: Console,
) -> None:
    """What was merged, how far the readers are, and what to do next."""
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True, emoji=False)
    if update.text is None:
        say(f"{FILE} is up to date.")
    else:
        parts = ((update.n_added, "added"), (update.n_changed, "changed"), (update.n_removed, "taken out"))
        say(f"{FILE}: readings " + ", ".join(f"{n} {what}" for n, what in parts if n) + ".")
    for state in states:
        console.print(_progress_table(state), markup=False, emoji=False)
        found = agreed.get(state.plan.round_id, {})
        if state.now.consensus is not None:
            n_open = sum(bool(one.open) for one in found.values())
            settings, n_all = state.now.consensus, len(state.plan.scans) - len(state.plan.settings.training)
            more = f"; {n_open} are open, {state.folder / OPEN_FILE} names their regions" if n_open else ""
            say(
                f"Consensus by {settings.rule}, as reader {settings.reader}: {len(found) - n_open} of "
                f"{n_all} participants, those whom all have read{more}."
            )
    if read_cohort(cohort).config.readings_source is None:
        say('cohort.toml does not use readings yet: add a [[source]] with kind = "readings".')


def _progress_table(state: RoundState) -> Table:
    """How far every reader of a round is."""
    table = Table(title=f"Round {state.plan.settings.name}", title_justify="left", box=None, pad_edge=False)
    for name in ("reader", "read", "unreadable", "repeats", "training", "open", "median", "last"):
        table.add_column(name, justify="left" if name in ("reader", "last") else "right", no_wrap=True)
    for one in progress(state.plan, state.now):
        table.add_row(
            one.reader,
            f"{one.n_read} of {one.n_cases}",
            str(one.n_not_readable),
            f"{one.n_repeats_read} of {one.n_repeats}",
            f"{one.n_training_read} of {one.n_training}",
            str(one.n_open),
            "-" if one.median_time_s is None else f"{one.median_time_s:.0f} s",
            "-" if one.last_at is None else one.last_at[:10],
        )
    return table
