"""Putting collected readings into ``readings.tsv`` without touching what else stands there.

The readings of one source about one participant are a *group*. A group that reads as it was collected before is
replaced by what is collected now; one that reads otherwise was written by a person, and is a problem.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cohorts.folder.manifest import natural_key
from cohorts.folder.problems import Problem
from cohorts.folder.readings import FILE, HEADER, Reading, read_readings
from cohorts.folder.tsv import MISSING, TsvTable, read_text, read_tsv
from cohorts.reading.collecting import Group, Readings


@dataclass(frozen=True)
class Update:
    """A new text of ``readings.tsv``, None where nothing changes, and how many groups are added, changed, taken out."""

    text: str | None
    n_added: int = 0
    n_changed: int = 0
    n_removed: int = 0


def updated_readings(folder: Path, before: Readings, now: Readings) -> tuple[Update, list[Problem]]:
    """Replace the groups of an earlier collection by those of now.

    Parameters
    ----------
    folder : cohort folder
    before, now : group -> its readings, as collected earlier and as they are now

    Returns
    -------
    The update, and every problem of the file as it is.
    """
    if not (folder / FILE).exists():
        lines = ["\t".join(HEADER.known), *(_line(row, HEADER.known) for group in _sorted(now) for row in now[group])]
        return Update("\n".join(lines) + "\n" if now else None, n_added=len(now)), []
    table, problems = read_tsv(folder, FILE, HEADER)
    readings, found = read_readings(table)
    problems = [problem for problem in (*problems, *found) if not problem.is_warning]
    if table is None or problems:
        return Update(None), problems
    numbers = _line_numbers(table)
    written: dict[Group, list[Reading]] = defaultdict(list)
    for reading in readings:
        written[reading.participant_id, reading.reader, reading.session].append(reading)
    for group, rows in now.items():
        if group in numbers and not _same(written[group], rows) and not _same(written[group], before.get(group, ())):
            rule = (
                "must be as it was collected, or not be there: another reading of this participant comes from the files"
            )
            remedy = "Take the row out, and it is collected again; or give it a session of its own."
            place = (FILE, numbers[group][0], "reader", group[1])
            problems.append(Problem(*place, rule, remedy, "reading_changed_by_hand", group[0]))
    gone = [
        group for group, rows in before.items() if group not in now and group in numbers and _same(written[group], rows)
    ]
    changed = [group for group, rows in now.items() if group in numbers and not _same(written[group], rows)]
    added = [group for group in now if group not in numbers]
    if problems or not (gone or changed or added):
        return Update(None), problems
    dropped = {number for group in (*gone, *changed) for number in numbers[group]}
    new = [row for group in _sorted([*changed, *added]) for row in now[group]]
    return Update(_rewritten(folder, dropped, new), len(added), len(changed), len(gone)), []


def _sorted(groups: Iterable[Group]) -> list[Group]:
    """By participant, then reader and session: not in the order of reading."""
    return sorted(groups, key=lambda group: (natural_key(group[0]), group[1], group[2] or ""))


def _same(one: list[Reading], other: tuple[Reading, ...]) -> bool:
    """Whether two groups say the same, in any order."""

    def sides(reading: Reading) -> str:
        return reading.side or ""

    return sorted(one, key=sides) == sorted(other, key=sides)


def _line_numbers(table: TsvTable) -> Mapping[Group, list[int]]:
    """Group -> rows of the file, as an editor counts."""
    numbers: dict[Group, list[int]] = defaultdict(list)
    for row in table.rows:
        session = row.cells.get("session", MISSING)
        group = (row.participant_id, row.cells["reader"], None if session == MISSING else session)
        numbers[group].append(row.number)
    return numbers


def _rewritten(folder: Path, dropped: set[int], rows: list[Reading]) -> str:
    """The file's text without some lines and with rows behind it; a column that the rows need is added to all."""
    text = read_text(folder, FILE)[0] or ""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    columns = [name.strip() for name in lines[0].split("\t")]
    new = [name for name in HEADER.known if name not in columns and any(row.cells[name] != MISSING for row in rows)]
    kept = [lines[0] + "".join(f"\t{name}" for name in new)]
    kept += [
        line + f"\t{MISSING}" * len(new)
        for number, line in enumerate(lines[1:], start=2)
        if line.strip() and number not in dropped
    ]
    return end.join([*kept, *(_line(row, (*columns, *new)) for row in rows)]) + end


def _line(row: Reading, columns: Sequence[str]) -> str:
    """A reading as a line under these columns."""
    cells = row.cells
    return "\t".join(cells.get(name, MISSING) for name in columns)
