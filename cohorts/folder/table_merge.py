"""Rows of an import laid over a table of the cohort folder: what is added, changed, kept, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cohorts.folder.clinical import FILE as PARTICIPANTS_FILE
from cohorts.folder.clinical import read_value
from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.folder.foreign_table import ForeignTableError
from cohorts.folder.problems import Refusal
from cohorts.folder.readings import FILE as READINGS_FILE
from cohorts.folder.readings import HEADER as READINGS_HEADER
from cohorts.folder.table_mapping import TableMapping, column_of
from cohorts.folder.table_rows import ID, Change, NewRow, reading_key
from cohorts.folder.tsv import MISSING, as_participant_id

#: Clinical columns that say who a person is: another value is another person until somebody says otherwise.
_PERSON = re.compile(
    r"(^|_)(sex|gender|birth_?date|date_of_birth|dob|year_of_birth|geschlecht|geburtsdatum)($|_)", re.I
)
FILES = {"participants": PARTICIPANTS_FILE, "readings": READINGS_FILE}


@dataclass(frozen=True)
class FolderTable:
    """A table of the cohort folder as it is written."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    @property
    def text(self) -> str:
        """As a file."""
        lines = [
            self.columns,
            *(tuple(row.get(name, MISSING) or MISSING for name in self.columns) for row in self.rows),
        ]
        return "".join("\t".join(cells) + "\n" for cells in lines)


@dataclass(frozen=True)
class Merged:
    """The table with an import in it, and every change; ``left_out`` are rows that need a person to look at them."""

    table: FolderTable
    changes: tuple[Change, ...]
    left_out: tuple[Change, ...]
    n_untouched: int


def folder_table(text: str) -> FolderTable:
    """Read a table of the cohort folder letter by letter; an empty text is a table without rows.

    Raises
    ------
    ForeignTableError
        A row has more cells than the header: some would be lost.
    """
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
    if not lines:
        return FolderTable((ID,), ())
    columns = tuple(cell.strip() for cell in lines[0].split("\t"))
    cells = [[cell.strip() for cell in line.split("\t")] for line in lines[1:]]
    if any(len(row) > len(columns) for row in cells):
        raise ForeignTableError("the table of the cohort folder has rows with more cells than its header. Correct it.")
    return FolderTable(columns, tuple(dict(zip(columns, row, strict=False)) for row in cells))


def merge(
    table: FolderTable, rows: Sequence[NewRow], mapping: TableMapping, clinical: Mapping[str, ClinicalColumn]
) -> Merged:
    """Lay the rows of an import over a table.

    Parameters
    ----------
    table : as it is in the cohort folder
    rows : of the import, one per participant, or per reading
    mapping : how they were read; ``blanks`` decides what an empty cell does to a value
    clinical : the study's clinical columns by name
    """
    key_of = _key_of(mapping)
    columns = list(table.columns) or [ID]
    order = ("site", "split", *clinical) if mapping.into == "participants" else READINGS_HEADER.known
    given = {name for row in rows for name in row.cells}
    required = READINGS_HEADER.required if mapping.into == "readings" else ()
    columns += [name for name in dict.fromkeys((*required, *order)) if name in given and name not in columns]
    at = {key_of(row): place for place, row in reversed(list(enumerate(table.rows)))}
    result = [dict(row) for row in table.rows]
    changes: list[Change] = []
    left_out: list[Change] = []
    touched: set[int] = set()
    for row in rows:
        place = at.get(key_of(row.cells))
        if place is None:
            result.append(dict.fromkeys(columns, MISSING) | row.cells)
            told = ", ".join(f"{name} {value}" for name, value in row.cells.items() if name != ID and value != MISSING)
            changes.append(Change("added", row.participant_id, row.number, None, "", told, "is new"))
            continue
        touched.add(place)
        found = list(_cell_changes(result[place], row, mapping, clinical))
        other = [change for change in found if change.what == "changed" and _PERSON.search(change.column or "")]
        if mapping.into == "participants" and other:
            names = ", ".join(change.column or "" for change in other)
            rule = f"may be another person: {names} contradicts participants.tsv; correct the file, or write n/a there"
            left_out.append(Change("left out", row.participant_id, row.number, names, "", "", rule))
            continue
        changes += found
        result[place] |= {change.column: change.becomes for change in found if change.column and change.what != "kept"}
    merged = FolderTable(tuple(columns), tuple(result))
    return Merged(merged, tuple(changes), tuple(left_out), len(table.rows) - len(touched))


def _key_of(mapping: TableMapping) -> Callable[[Mapping[str, str]], tuple[str, ...]]:
    """What tells the rows of a table apart."""

    def key(row: Mapping[str, str]) -> tuple[str, ...]:
        whole = {name: value or MISSING for name, value in row.items()} | {ID: as_participant_id(row.get(ID, ""))}
        return reading_key(whole) if mapping.into == "readings" else (whole[ID],)

    return key


def _cell_changes(
    before: Mapping[str, str], row: NewRow, mapping: TableMapping, clinical: Mapping[str, ClinicalColumn]
) -> Iterable[Change]:
    """How the cells of one row change."""
    for name, value in row.cells.items():
        old = before.get(name, MISSING) or MISSING
        if name == ID or _same(old, value, name, mapping, clinical):
            continue
        where = (row.participant_id, row.number, name, old, value)
        if old == MISSING:
            yield Change("filled in", *where, "was missing")
        elif value != MISSING:
            yield Change("changed", *where, "has another value in the file")
        elif mapping.blanks == "erase":
            yield Change("emptied", *where, "is empty in the file")
        else:
            yield Change("kept", row.participant_id, row.number, name, "", old, "is empty in the file, and stays")


def _same(old: str, new: str, name: str, mapping: TableMapping, clinical: Mapping[str, ClinicalColumn]) -> bool:
    """Whether two texts are one value."""
    if old == new:
        return True
    if MISSING in (old, new) or name in ("reader", "session", "site", "split"):
        return False
    column = column_of(name, mapping.into, clinical)
    values = read_value(old, column), read_value(new, column)
    return values[0] == values[1] and not isinstance(values[0], Refusal)
