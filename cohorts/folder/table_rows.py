"""The rows of somebody else's table as rows of the cohort folder: ids, values, rows of one participant.

A row that cannot be told to be of one person is left out by name; a cell that cannot be read stops the import.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.foreign_table import ForeignRow, ForeignTable
from cohorts.folder.foreign_values import Habits, decimal_of, read_foreign
from cohorts.folder.problems import Read, Refusal, printable
from cohorts.folder.readings import READER
from cohorts.folder.suspicions import plain
from cohorts.folder.table_mapping import READER_PREFIX, REGIONS, TableMapping, column_of, named_regions
from cohorts.folder.table_reading import TableReading
from cohorts.folder.true_dates import DateShifts, without_dates
from cohorts.folder.tsv import MISSING, PREFIX, as_participant_id, is_valid_participant_id
from cohorts.tables.schemas import READING_FLAGS

ID = "participant_id"
#: Words in a column's name that say who a person is. What stands below is compared, and never printed.
_WHO = re.compile(
    r"name|initial|birth|geburt|naissance|nacimiento|dob\b|sex\b|gender|geschlecht|sexe\b|mrn\b|\bnhs\b", re.I
)
_NAMED = re.compile(r"name|initial", re.I)
_BORN = re.compile(r"birth|geburt|naissance|nacimiento|dob\b", re.I)
CHANGES_FILE = "import_changes.tsv"
READING_KEY = (ID, "reader", "session", "side")
SHORTEST_NUMBER = 4  # characters of a hospital's number that does not occur in other cells by chance
NO_SHIFTS = DateShifts()
NAMES_PATIENT, STRANGER = "names_patient", "participant_not_in_folder"


@dataclass(frozen=True)
class Change:
    """One thing that an import does or leaves undone: what, whose, where, from what to what, by which rule."""

    what: str
    participant_id: str | None
    row: int | None
    column: str | None
    written: str
    becomes: str
    rule: str


@dataclass(frozen=True)
class Stop:
    """A cell, or a column, that cannot be read as it is: nothing is written before it is declared or corrected."""

    row: int | None
    column: str
    written: str
    refusal: Refusal


@dataclass(frozen=True)
class NewRow:
    """One row for the cohort folder, and the row of the file that it comes from."""

    number: int
    cells: dict[str, str]

    @property
    def participant_id(self) -> str:
        """Whose it is."""
        return self.cells[ID]


@dataclass
class Intake:
    """What a file says in the terms of the cohort folder; ``left_out`` are rows that need a person to look at them."""

    rows: list[NewRow] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    left_out: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_rows(
    table: ForeignTable,
    mapping: TableMapping,
    clinical: Mapping[str, ClinicalColumn],
    links: Mapping[str, str] | None = None,
    shifts: DateShifts = NO_SHIFTS,
) -> Intake:
    """Read every mapped cell.

    Parameters
    ----------
    table : the file
    mapping : how it is read; its columns are in the table
    clinical : the study's clinical columns by name
    links : id in the file -> participant, where the file has other ids than the cohort folder
    shifts : how the dates of the cohort folder's scans were moved
    """
    intake = Intake()
    habits = _habits(table, mapping, clinical, intake)
    personal = [name for name in mapping.columns if (_NAMED.search(name) or _BORN.search(name))]
    if personal:
        told = ", ".join(map(printable, personal))
        intake.notes.append(
            f"CAUTION: {told} may identify people, and the cohort folder must not: --ignore leaves it out"
        )
    found: dict[str, list[tuple[ForeignRow, dict[str, str]]]] = defaultdict(list)
    for row in table.rows:
        participant_id = participant_of(row, mapping, links, intake)
        if participant_id is not None:
            values = _values(row, participant_id, mapping, clinical, habits, intake, shifts)
            found[participant_id].append((row, values))
            intake.stops += _numbers_of_patients(row, mapping, values, links or {})
    _twins(table, found, mapping, intake)
    for participant_id, rows in found.items():
        if mapping.into == "readings":
            intake.rows += _readings(participant_id, rows, intake)
        elif (merged := _one_row(participant_id, rows, table.columns, intake)) is not None:
            intake.rows.append(merged)
    if mapping.into == "readings":
        intake.rows = _once_each(intake)
    return intake


def _habits(
    table: ForeignTable, mapping: TableMapping, clinical: Mapping[str, ClinicalColumn], intake: Intake
) -> Habits:
    """The declared habits, the sign of decimals completed where all numbers of the table tell one."""
    habits = mapping.habits
    numeric = [name for name, to in mapping.columns.items() if column_of(to, mapping.into, clinical).read_as in NUMERIC]
    texts = [row.cells[name] for row in table.rows for name in numeric]
    sign = decimal_of(texts)
    if habits.decimal is None and sign == "comma":
        intake.notes.append("decimals stand behind a comma in every number that tells; --decimal declares it")
        return Habits(sign, habits.dates, habits.missing, habits.values)
    return habits


def participant_of(
    row: ForeignRow, mapping: TableReading, links: Mapping[str, str] | None, intake: Intake
) -> str | None:
    """The participant that a row names; None where it names none, which is listed."""
    written = row.cells[mapping.id]
    label = mapping.values.get(ID, {}).get(written, written)
    if re.fullmatch(r"[0-9]+\.0+", label):  # a program took the ids for numbers
        label = label.partition(".")[0]
    if not label or label == MISSING:
        intake.left_out.append(Change("left out", None, row.number, mapping.id, "", "", "the row names no participant"))
        return None
    if links is not None:
        return _linked(row.number, label, mapping, links, intake)
    if mapping.id_digits and label.removeprefix("sub-").isdecimal():
        label = label.removeprefix("sub-").zfill(mapping.id_digits)
    participant_id = as_participant_id(label)
    if not is_valid_participant_id(participant_id) or re.fullmatch(r"[0-9][.,][0-9]+[eE]\+[0-9]+", label):
        rule = "must be letters, digits and . _ -, beginning with a letter or digit"
        if "+" in label:
            rule += "; a spreadsheet has cut this number"
        remedy = f'Correct the id, or give --value "{ID}:{written}=ID".'
        intake.stops.append(Stop(row.number, mapping.id, written, Refusal("invalid_participant_id", rule, remedy)))
        return None
    if label != written.removeprefix("sub-"):
        rule = "zeros are put in front" if label.endswith(written) else "the id is written as in the folder"
        intake.changes.append(Change("read", participant_id, row.number, mapping.id, written, label, rule))
    return participant_id


def _linked(number: int, label: str, mapping: TableReading, links: Mapping[str, str], intake: Intake) -> str | None:
    """The participant of a hospital's number, which is never shown; None where the link table has none."""
    padded = label.zfill(mapping.id_digits) if mapping.id_digits and label.isdecimal() else label
    if label in links or padded not in links:
        padded = label
    if padded in links:
        participant_id = as_participant_id(links[padded])
        if padded != label:
            intake.changes.append(Change("read", participant_id, number, mapping.id, "", "", "zeros are put in front"))
        return participant_id
    rule = "the id is not in the link table"
    digits = {len(one) for one in links if label.isdecimal() and one.lstrip("0") == label.lstrip("0")}
    if len(digits) == 1:
        rule += f"; with zeros in front it is: give --id-digits {digits.pop()}"
    intake.left_out.append(Change("left out", None, number, mapping.id, "", "", rule))
    return None


def _values(
    row: ForeignRow,
    participant_id: str,
    mapping: TableMapping,
    clinical: Mapping[str, ClinicalColumn],
    habits: Habits,
    intake: Intake,
    shifts: DateShifts,
) -> dict[str, str]:
    """The mapped cells of a row as the cohort folder reads them; no true date is told beside a shifted one."""
    values: dict[str, str] = {}
    is_shifted = participant_id in shifts.participants
    for name, to in mapping.columns.items():
        written, column = row.cells[name], column_of(to, mapping.into, clinical)
        read = _read(written, to, column, habits)
        is_kept = not is_shifted or name in mapping.keep_dates
        if not isinstance(read, Refusal) and not is_kept:
            read = shifts.applied(read, column, participant_id)
            written = "" if column.read_as == "date" or isinstance(read, Refusal) else without_dates(written)
        if isinstance(read, Refusal):
            intake.stops.append(Stop(row.number, name, written, read))
            continue
        values[to] = read.value
        if read.rule is not None:
            intake.changes.append(Change("read", participant_id, row.number, to, written, read.value, read.rule))
    return values


def _numbers_of_patients(
    row: ForeignRow, mapping: TableMapping, values: Mapping[str, str], links: Mapping[str, str]
) -> Iterable[Stop]:
    """Cells in which a hospital's number of the link table stands: the cohort folder must hold none."""
    own = row.cells[mapping.id]
    for name, to in mapping.columns.items():
        words = {word for word in re.findall(r"[\w-]+", values.get(to, "")) if len(word) >= SHORTEST_NUMBER}
        words = {word for word in words if not word.startswith(PREFIX)}
        is_number = values.get(to, "").isdecimal()  # one of another patient stands there by chance
        if any(word in links and (word == own or not is_number) for word in words):
            rule = "must hold no number of the link table, which leads to a patient"
            yield Stop(row.number, name, "", Refusal(NAMES_PATIENT, rule, "Correct it, or leave it out by --ignore."))


def _read(written: str, to: str, column: ClinicalColumn, habits: Habits) -> Read | Refusal:
    """One cell; readers must be pseudonyms, and regions be known."""
    read = read_foreign(written, column, habits)
    if isinstance(read, Refusal) or read.value == MISSING:
        return read
    if to in ("reader", "session") and not READER.fullmatch(read.value):
        rule = "must be a pseudonym of letters, digits and . _ -, never a name"
        return Refusal(f"invalid_{to}", rule, f'Give --value "{to}:{written}=A".')
    if to == REGIONS and named_regions(read.value) is None:
        rule = "must name regions such as M1, M2, IC, or none"
        return Refusal("unknown_region", rule, f'Give --value "{REGIONS}:{written}=M1, M2".')
    return read


def _one_row(
    participant_id: str,
    rows: Sequence[tuple[ForeignRow, dict[str, str]]],
    columns: Sequence[str],
    intake: Intake,
) -> NewRow | None:
    """One row of several that contradict each other nowhere; None where they do, which is listed by name."""
    first = rows[0][0]
    if len(rows) == 1:
        return NewRow(first.number, {ID: participant_id} | rows[0][1])
    numbers = " and ".join(str(row.number) for row, _ in rows)
    differing = [name for name in columns if len({row.cells[name] for row, _ in rows if row.cells[name]}) > 1]
    differing = [name for name in differing if len({plain(row.cells[name]) for row, _ in rows if row.cells[name]}) > 1]
    if differing:
        who = [name for name in differing if _WHO.search(name)]
        rule = f"rows {numbers} differ in {', '.join(map(printable, differing[:5]))}"
        if who:
            rule = f"two people have one id: {rule}"
        intake.left_out.append(Change("left out", participant_id, first.number, None, "", "", rule))
        return None
    merged = {ID: participant_id}
    for _, values in rows:
        merged |= {name: value for name, value in values.items() if value != MISSING or name not in merged}
    intake.changes.append(
        Change("read", participant_id, first.number, None, "", "", f"rows {numbers} are one: they contradict nowhere")
    )
    return NewRow(first.number, merged)


def _twins(
    table: ForeignTable,
    found: Mapping[str, Sequence[tuple[ForeignRow, dict[str, str]]]],
    mapping: TableMapping,
    intake: Intake,
) -> None:
    """Note ids with one name and birth date: one person with two ids. Neither is printed."""
    names = [name for name in table.columns if _NAMED.search(name) and name != mapping.id]
    births = [name for name in table.columns if _BORN.search(name)]
    people: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for participant_id, rows in found.items():
        for row, _ in rows:
            who = tuple(plain(row.cells[name]) for name in (*names, *births))
            if names and births and all(who):
                people[who].setdefault(participant_id, row.number)
    for ids in people.values():
        if len(ids) > 1:
            told = " and ".join(f"{printable(name)} (row {number})" for name, number in ids.items())
            intake.notes.append(f"{told} have one name and birth date: most likely one person with two ids")


def _readings(participant_id: str, rows: Iterable[tuple[ForeignRow, dict[str, str]]], intake: Intake) -> list[NewRow]:
    """Rows of readings.tsv: one per reader that a row names or has a column of."""
    made = []
    for row, values in rows:
        shared = {name: value for name, value in values.items() if not name.startswith(READER_PREFIX)}
        regions = shared.pop(REGIONS, MISSING)
        if regions != MISSING:
            affected = named_regions(regions) or []
            shared |= {region: str(int(region in affected)) for region in READING_FLAGS}
            intake.changes.append(
                Change("read", participant_id, row.number, REGIONS, regions, "ten flags", "regions named are affected")
            )
        if "reader" in shared:
            made.append(NewRow(row.number, {ID: participant_id} | shared))
        for name, value in values.items():
            if name.startswith(READER_PREFIX) and value != MISSING:
                reader, _, session = name.removeprefix(READER_PREFIX).partition(":")
                said = {"reader": reader, "session": session or MISSING, "score": value}
                made.append(NewRow(row.number, {ID: participant_id} | {"side": MISSING} | shared | said))
    return made


def _once_each(intake: Intake) -> list[NewRow]:
    """Readings once each; those that contradict each other are left out by name."""
    by_key: dict[tuple[str, ...], list[NewRow]] = defaultdict(list)
    for row in intake.rows:
        by_key[reading_key(row.cells)].append(row)
    kept = []
    for key, rows in by_key.items():
        numbers = " and ".join(str(row.number) for row in rows)
        if any(row.cells != rows[0].cells for row in rows):
            rule = f"rows {numbers} are one reading with other values"
            intake.left_out.append(Change("left out", key[0], rows[0].number, "reader", key[1], "", rule))
            continue
        if len(rows) > 1:
            intake.changes.append(Change("read", key[0], rows[0].number, None, "", "", f"rows {numbers} are the same"))
        kept.append(rows[0])
    return kept


def reading_key(cells: Mapping[str, str]) -> tuple[str, ...]:
    """What tells readings apart."""
    return tuple(cells.get(name, MISSING) for name in READING_KEY)
