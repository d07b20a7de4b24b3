"""From the files of readers to rows of ``readings.tsv``; what was collected before is known from ``collected.json``.

A file is taken whole or not at all, and nothing is written while any file has a problem. Rows that a person wrote, or
changed after they were collected, are never replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from pydantic import Field, ValidationError

from cohorts.folder.problems import Problem
from cohorts.folder.readings import Reading
from cohorts.reading.exported import CaseRecord, ReadingFile, file_problems, put_together
from cohorts.reading.round import COLLECTED_FILE, Listed, Round, Stored
from cohorts.store.records import write_bytes
from cohorts.store.share import read_file
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.consensus import Consensus, ConsensusRule, consensus

Group = tuple[str, str, str | None]  # participant, reader, session: what one source says of a participant
Readings = Mapping[Group, tuple[Reading, ...]]
Place = tuple[str, str]  # side, region
PLACES: tuple[Place, ...] = tuple((side, region) for side in HEMISPHERES for region in ASPECTS_REGIONS)


class ConsensusSettings(Stored):
    """How readers are combined, and the name under which that stands among the readers."""

    rule: ConsensusRule
    reader: str


class Collected(Stored):
    """What came back of a round: reader -> its cases in the order of the work list."""

    format: Literal["aspects-reading-collected"] = "aspects-reading-collected"
    version: Literal[1] = 1
    round_id: str
    consensus: ConsensusSettings | None = None
    cases: dict[str, list[CaseRecord]] = Field(default_factory=dict)

    def records_of(self, reader: str) -> dict[str, CaseRecord]:
        """Code -> what the reader did with it."""
        return {record.code: record for record in self.cases.get(reader, ())}


@dataclass(frozen=True)
class Progress:
    """How far one reader is; ``median_time_s`` and ``last_at`` are None before the first case is finished."""

    reader: str
    n_cases: int
    n_read: int
    n_not_readable: int
    n_repeats: int
    n_repeats_read: int
    n_training: int
    n_training_read: int
    n_open: int
    median_time_s: float | None
    last_at: str | None


def read_collected(folder: Path, plan: Round) -> Collected:
    """What was collected before; nothing where that is so.

    Raises
    ------
    ValueError
        The file is damaged, or of another round.
    """
    path = folder / COLLECTED_FILE
    if not path.exists():
        return Collected(round_id=plan.round_id)
    try:
        found = Collected.model_validate_json(read_file(path))
    except ValidationError as error:
        raise ValueError(
            f"{path} must be whole, got {error.error_count()} faults. Delete it and collect all files again."
        ) from None
    if found.round_id != plan.round_id:
        raise ValueError(f"{path} must be of round {plan.round_id}, got {found.round_id}. Restore the right one.")
    return found


def write_collected(folder: Path, collected: Collected) -> None:
    """Keep what was collected."""
    write_bytes(folder / COLLECTED_FILE, (collected.model_dump_json(indent=1) + "\n").encode())


def collect(
    plan: Round, before: Collected, files: Iterable[tuple[str, ReadingFile]]
) -> tuple[Collected, list[Problem]]:
    """Add files, in any order, to what was collected before.

    Parameters
    ----------
    plan : Round
    before : what was collected
    files : name and content, of this round

    Returns
    -------
    What is known now, and every problem.
    """
    problems: list[Problem] = []
    records = {reader: before.records_of(reader) for reader in plan.lists}
    for name, file in files:
        found = list(file_problems(name, file, plan))
        problems += found
        for case in () if found else file.cases:
            joined = put_together(records[file.reader].get(case.code), case)
            if joined is None:
                rule = f"must follow the reading of case {case.code} that another file or an earlier collection has"
                remedy = (
                    f"Reader {file.reader} read it in two browsers. Where the right reading is, open the other file in "
                    "the page: it takes over all other cases. Save the file there, and collect that one alone."
                )
                problems.append(Problem(name, None, "code", case.code, rule, remedy, "read_in_two_places"))
            else:
                records[file.reader][case.code] = joined
    cases = {
        reader: [records[reader][one.code] for one in listed if one.code in records[reader]]
        for reader, listed in plan.lists.items()
    }
    return before.model_copy(update={"cases": cases}), problems


def readings_of(
    plan: Round, collected: Collected
) -> tuple[dict[Group, tuple[Reading, ...]], dict[str, Consensus[Place]]]:
    """Rows of ``readings.tsv``, and the consensus of every participant that all readers of the collection finished.

    Training cases have no rows, nor has a consensus that leaves a region open.
    """
    readings: dict[Group, tuple[Reading, ...]] = {}
    firsts: dict[str, list[CaseRecord]] = {}
    readers = [reader for reader in plan.lists if reader in collected.cases]
    for reader in readers:
        records = collected.records_of(reader)
        for one in plan.lists[reader]:
            if one.kind == "training" or not _is_finished(one, records):
                continue
            last, record = records[one.code].revisions[-1], records[one.code]
            group = (one.participant_id, reader, plan.settings.session_of(one.kind))
            readings[group] = _rows(group, _flags(record), last.not_readable, last.confidence, round(last.time_s, 1))
            if one.kind == "case":
                firsts.setdefault(one.participant_id, []).append(record)
    agreed: dict[str, Consensus[Place]] = {}
    declared = collected.consensus
    for participant_id in plan.scans if declared is not None else ():
        records_of_all = firsts.get(participant_id, [])
        if declared is None or len(records_of_all) < max(2, len(readers)):
            continue
        found = consensus([_flags(record) for record in records_of_all], declared.rule)
        agreed[participant_id] = found
        if not found.open:
            group = (participant_id, declared.reader, plan.settings.session)
            readings[group] = _rows(group, found.affected, _common_reason(records_of_all))
    return readings, agreed


def _common_reason(records: Sequence[CaseRecord]) -> str:
    """Why a scan is not readable, where all who say so name one reason; else another."""
    reasons = {record.revisions[-1].not_readable for record in records} - {None}
    return str(reasons.pop()) if len(reasons) == 1 else "other"


def _is_finished(one: Listed, records: Mapping[str, CaseRecord]) -> bool:
    return one.code in records and bool(records[one.code].revisions)


def _flags(record: CaseRecord) -> dict[tuple[str, str], bool] | None:
    """Region -> whether it is affected; None where the scan could not be read."""
    last = record.revisions[-1]
    if last.not_readable is not None:
        return None
    return {(side, region): f"{side}_{region}" in last.affected for side, region in PLACES}


def _rows(
    group: Group,
    flags: Mapping[Place, bool] | None,
    not_readable: str | None,
    confidence: int | None = None,
    time_s: float | None = None,
) -> tuple[Reading, ...]:
    """Rows of both sides, or the one of a scan that could not be read, whose flags are None."""
    reading = Reading(*group, template_assisted=False, side=None, confidence=confidence, time_s=time_s)
    if flags is None:
        return (replace(reading, not_readable=not_readable),)
    by_side = {side: {place: flag for place, flag in flags.items() if place[0] == side} for side in HEMISPHERES}
    return tuple(
        replace(reading, side=side, flags=found, score=MAXIMUM_SCORE - sum(found.values()))
        for side, found in by_side.items()
    )


def progress(plan: Round, collected: Collected) -> list[Progress]:
    """How far every reader is."""
    return [_progress_of(reader, listed, collected.records_of(reader)) for reader, listed in plan.lists.items()]


def _progress_of(reader: str, listed: Sequence[Listed], records: Mapping[str, CaseRecord]) -> Progress:
    counts = {kind: sum(one.kind == kind for one in listed) for kind in ("case", "repeat", "training")}
    done = [one for one in listed if _is_finished(one, records)]
    read = {kind: sum(one.kind == kind for one in done) for kind in counts}
    last = {one.code: records[one.code].revisions[-1] for one in done}
    times = [last[one.code].time_s for one in done if one.kind != "training"]
    return Progress(
        reader,
        counts["case"],
        read["case"],
        sum(last[one.code].not_readable is not None for one in done if one.kind == "case"),
        counts["repeat"],
        read["repeat"],
        counts["training"],
        read["training"],
        sum(record.is_open for record in records.values()),
        median(times) if times else None,
        max((one.finished_at for one in last.values()), default=None),
    )
