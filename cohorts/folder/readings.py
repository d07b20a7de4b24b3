"""``readings.tsv``: what human readers saw, one row per participant, reader, session and side.

A row with a side holds that hemisphere's ten region flags, its score, or both; a row without a side holds the
participant's score. ``low`` marks a reading that only says whether the score is low. ``not_readable`` marks a scan that
the reader could not read, by a word for the reason, or 1; such a row says nothing of the brain. ``confidence`` and
``time_s`` are those of the whole case, and stand in the rows of both sides.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from cohorts.folder.problems import Problem, did_you_mean
from cohorts.folder.tsv import MISSING, Header, Row, TsvTable
from cohorts.tables.schemas import READING_FLAGS
from tasks.anatomy import HEMISPHERES, MAXIMUM_SCORE

FILE = "readings.tsv"
ANSWERS = ("not_readable", "confidence", "time_s")
HEADER = Header(
    ("participant_id", "reader"), ("session", "template_assisted", "side", "score", "low", *READING_FLAGS, *ANSWERS)
)
READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FLAGS = {"1": True, "0": False, "1.0": True, "0.0": False}

CONFIDENCE = range(1, 6)  # from 1, a guess, to 5, certain

_SCORE = re.compile(r"[0-9]{1,3}(\.0*)?")
_TIME_S = re.compile(r"[0-9]{1,6}(\.[0-9]+)?")
_WORD = re.compile(r"[a-z][a-z0-9_]*|1")


@dataclass(frozen=True)
class Reading:
    """One reading as given; ``flags`` holds all ten regions of ``side`` or none, ``score`` is that side's."""

    participant_id: str
    reader: str
    session: str | None
    template_assisted: bool | None
    side: str | None
    flags: dict[tuple[str, str], bool] = field(default_factory=dict)
    score: int | None = None
    low: bool | None = None
    not_readable: str | None = None
    confidence: int | None = None
    time_s: float | None = None

    @property
    def source(self) -> str:
        """Name of the source that this reading belongs to: ``reader:A``, or ``reader:A:2`` with a session."""
        return f"reader:{self.reader}" + (f":{self.session}" if self.session else "")

    @property
    def cells(self) -> dict[str, str]:
        """The row of ``readings.tsv`` that reads as this."""
        flags = {region: flag for (_, region), flag in self.flags.items()}
        values = {
            **{name: getattr(self, name) for name in HEADER.known if name not in READING_FLAGS},
            **{region: flags.get(region) for region in READING_FLAGS},
        }
        return {name: _written(values[name]) for name in HEADER.known}


def _written(value: str | float | None) -> str:
    """A cell."""
    if value is None:
        return MISSING
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(int(value))


class _RowReader:
    """Reads the cells of one row and collects their problems."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.problems: list[Problem] = []

    def given(self, column: str) -> str | None:
        """Return the cell, None where it is missing."""
        written = self.row.cells.get(column, MISSING)
        return None if written == MISSING else written

    def refuse(self, column: str, rule: str, remedy: str, reason: str) -> None:
        """Add a problem of one cell."""
        self.problems.append(
            Problem(FILE, self.row.number, column, self.given(column), rule, remedy, reason, self.row.participant_id)
        )

    def name(self, column: str) -> str | None:
        """Return a reader or session; it becomes part of a source's name."""
        written = self.given(column)
        if written is not None and not READER.fullmatch(written):
            remedy = "Use a short pseudonym such as A."
            self.refuse(
                column,
                "must be letters, digits and . _ -, beginning with a letter or digit",
                remedy,
                f"invalid_{column}",
            )
        return written

    def flag(self, column: str) -> bool | None:
        """Return a 0/1 cell."""
        written = self.given(column)
        if written is None or written in FLAGS:
            return None if written is None else FLAGS[written]
        reason = "invalid_flag" if column in READING_FLAGS else f"invalid_{column}"
        self.refuse(column, "must be 0, 1 or n/a", "Write 1 for yes, 0 for no.", reason)
        return None

    def read(self) -> Reading | None:
        """Read the row; None where it has a problem or says nothing."""
        reader, session = self.name("reader"), self.name("session")
        if reader is None:
            self.refuse("reader", "must be given", "Write the reader's pseudonym in the row.", "missing_reader")
        side, score = self.given("side"), self.given("score")
        if side is not None and side not in HEMISPHERES:
            remedy = did_you_mean({"l": "left", "r": "right"}.get(side.casefold(), side), HEMISPHERES)
            remedy += "Write n/a for a score of the whole participant."
            self.refuse("side", "must be left or right", remedy, "unknown_side")
        flags = {region: self.flag(region) for region in READING_FLAGS}
        assisted, low = self.flag("template_assisted"), self.flag("low")
        points: int | None = None
        if score is not None:
            if _SCORE.fullmatch(score) and float(score) <= MAXIMUM_SCORE:
                points = int(float(score))
            else:
                rule = f"must be a whole number from 0 to {MAXIMUM_SCORE}"
                self.refuse("score", rule, "Correct it, or write n/a.", "invalid_score")
        read = {region: flag for region, flag in flags.items() if flag is not None}
        self._check_flags(read, side, points)
        confidence, time_s, not_readable = self._answers()
        is_empty = not read and points is None and low is None
        if not_readable is not None and not (is_empty and side is None):
            rule, remedy = "must stand alone", "Write n/a for side, score, low and all regions, or here."
            self.refuse("not_readable", rule, remedy, "unreadable_but_read")
        if self.problems or reader is None or (is_empty and not_readable is None):
            return None
        named = {(side, region): flag for region, flag in read.items()} if side is not None else {}
        who = (self.row.participant_id, reader, session, assisted)
        return Reading(*who, side, named, points, low, not_readable, confidence, time_s)

    def _answers(self) -> tuple[int | None, float | None, str | None]:
        """Confidence, time and why the scan could not be read."""
        confidence, time_s, not_readable = (self.given(name) for name in ("confidence", "time_s", "not_readable"))
        if confidence is not None and confidence not in map(str, CONFIDENCE):
            rule = f"must be a whole number from {CONFIDENCE[0]} to {CONFIDENCE[-1]}"
            self.refuse("confidence", rule, "Correct it, or write n/a.", "invalid_confidence")
            confidence = None
        if time_s is not None and not _TIME_S.fullmatch(time_s):
            rule = "must be seconds as a number, such as 41.5"
            self.refuse("time_s", rule, "Correct it, or write n/a.", "invalid_time_s")
            time_s = None
        if not_readable == "0":
            not_readable = None
        elif not_readable is not None and not _WORD.fullmatch(not_readable):
            rule = "must be 0, 1, or a reason in lower-case letters, digits and _"
            self.refuse("not_readable", rule, "Write a word such as motion.", "invalid_not_readable")
            not_readable = None
        return (
            None if confidence is None else int(confidence),
            None if time_s is None else float(time_s),
            not_readable,
        )

    def _check_flags(self, flags: dict[str, bool], side: str | None, points: int | None) -> None:
        """Check that flags are complete, have a side and give the score."""
        if not flags or any(problem.reason == "invalid_flag" for problem in self.problems):
            return
        if side is None:
            rule, remedy = "must be left or right where region flags are given", "Write the side that they belong to."
            self.refuse("side", rule, remedy, "missing_side")
        absent = [region for region in READING_FLAGS if region not in flags]
        if absent:
            rule, remedy = "must be given like the other regions of the row", "Write 0 or 1, or n/a in all ten."
            self.refuse(absent[0], rule, remedy, "incomplete_flags")
        elif points is not None and points != MAXIMUM_SCORE - sum(flags.values()):
            expected = MAXIMUM_SCORE - sum(flags.values())
            rule = f"must be {MAXIMUM_SCORE} minus the regions flagged in the row, {expected}"
            self.refuse("score", rule, "Correct the score or the flags.", "score_contradicts_flags")


def read_readings(table: TsvTable | None) -> tuple[list[Reading], list[Problem]]:
    """Check every reading.

    Returns
    -------
    The readings that can be used, and the problems.
    """
    problems: list[Problem] = []
    readings: list[Reading] = []
    numbers: list[int] = []
    for row in table.rows if table else ():
        if row.is_damaged:
            continue
        reader = _RowReader(row)
        reading = reader.read()
        problems += reader.problems
        if reading is not None:
            readings.append(reading)
            numbers.append(row.number)
        elif not reader.problems:
            rule, remedy = "must hold flags, a score or low; it is not read", "Fill it in, or delete the row."
            problems.append(Problem(FILE, row.number, None, None, rule, remedy, "empty_reading", is_warning=True))
    kept, repeated = _once_each(readings, numbers)
    return kept, problems + repeated + _one_assistance(kept)


def _once_each(readings: list[Reading], numbers: list[int]) -> tuple[list[Reading], list[Problem]]:
    """Keep one of equal readings and none of conflicting ones."""
    by_key: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, reading in enumerate(readings):
        by_key[reading.participant_id, reading.source].append(place)
    dropped: set[int] = set()
    problems = []
    for places in by_key.values():
        first: dict[str | None, int] = {}
        for place in places:
            reading = readings[place]
            earlier = first.get(reading.side)
            if earlier is None and first and None in (*first, reading.side):
                earlier = next(iter(first.values()))
            if earlier is None:
                first[reading.side] = place
                continue
            same = reading == readings[earlier]
            if reading.side == readings[earlier].side:
                how = f"also in row {numbers[earlier]} with {'the same' if same else 'other'} values"
                rule = f"must read a participant and side once per session, and is {how}"
                remedy = "Delete one of the two rows." if same else "Keep the right row, or give the two a session."
            else:
                rule = f"must give sides or one score without a side, not both (row {numbers[earlier]})"
                remedy = "Keep the rows with a side, or the row without."
            reason = "duplicate_reading" if same else "conflicting_reading"
            where = (FILE, numbers[place], "reader", reading.reader)
            problems.append(Problem(*where, rule, remedy, reason, reading.participant_id, is_warning=same))
            dropped |= {place} if same else {place, earlier}
    return [reading for place, reading in enumerate(readings) if place not in dropped], problems


def _one_assistance(readings: list[Reading]) -> list[Problem]:
    """Check that no source mixes template-assisted with other readings (METHODS N16: they may not be pooled)."""
    states: dict[str, set[bool]] = defaultdict(set)
    for reading in readings:
        if reading.template_assisted is not None:
            states[reading.source].add(reading.template_assisted)
    rule = "must be the same in all readings of one reader and session"
    remedy = "Give the template-assisted readings a session of their own, such as template."
    return [
        Problem(FILE, None, "template_assisted", source, rule, remedy, "mixed_template_assistance")
        for source, found in states.items()
        if len(found) > 1
    ]
