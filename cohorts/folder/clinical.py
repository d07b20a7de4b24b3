"""``participants.tsv``: who is in the cohort, and the clinical columns read as ``cohort.toml`` declares them.

A value that cannot be used becomes missing and a problem of its participant; nothing is guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import pandas as pd

from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn, ReadAs
from cohorts.folder.problems import Problem, Refusal, nearest, printable
from cohorts.folder.tsv import MISSING, Header, Row, TsvTable

FILE = "participants.tsv"
DTYPES: dict[ReadAs, str] = {
    "integer": "Int64",
    "number": "Float64",
    "category": "string",
    "boolean": "boolean",
    "date": "string",
    "text": "string",
}
BOOLEANS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}

_INTEGER = re.compile(r"[+-]?[0-9]{1,15}(\.0*)?")  # 15 digits are exact in every type that a table passes through
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?")

Value = int | float | bool | str


def participants_header(clinical: tuple[ClinicalColumn, ...]) -> Header:
    """Return the columns that participants.tsv must and may have; a column that nobody declared is only not read."""
    return Header(("participant_id", *(item.column for item in clinical)), ("site", "split"), is_open=True)


def read_value(written: str, column: ClinicalColumn) -> Value | Refusal:
    """Read one value that is not missing.

    >>> nihss = ClinicalColumn(column="nihss", read_as="integer", minimum=0, maximum=42)
    >>> read_value("4.0", nihss)
    4
    >>> read_value("60", nihss).rule
    'must be <= 42'
    """
    if column.levels and written not in column.level_of and column.read_as not in NUMERIC:
        return _unknown_level(written, column)
    written = column.level_of.get(written, written)
    if column.read_as in NUMERIC:
        return _read_number(written, column)
    if column.read_as == "boolean":
        value = BOOLEANS.get(written.casefold())
        remedy = "Correct it, or write n/a."
        return Refusal("not_a_boolean", "must be 1 or 0 (or true, false, yes, no)", remedy) if value is None else value
    if column.read_as == "date":
        moment = _moment(written)
        if moment is None:
            remedy = "Correct it, or write n/a."
            return Refusal("not_a_date", "must be a date such as 2024-05-31 or 2024-05-31T14:05", remedy)
        return written.replace(" ", "T")
    return written


def _read_number(written: str, column: ClinicalColumn) -> Value | Refusal:
    """Read an integer or a number within its range and levels."""
    kind, pattern = ("a whole number", _INTEGER) if column.read_as == "integer" else ("a number", _NUMBER)
    digits = top_code_number(column) if column.top_code is not None and written == column.top_code else written
    if digits is None or not pattern.fullmatch(digits):
        remedy = "Correct it, or write n/a if it is missing."
        if written.endswith("+") and pattern.fullmatch(written[:-1]):
            remedy = f'Declare top_code = "{written}" for the column in cohort.toml, or correct it.'
        elif pattern.fullmatch(written.replace(",", ".")):
            remedy = "Write the decimal point as a point."
        return Refusal(f"not_{kind.replace(' ', '_')}", f"must be {kind}", remedy)
    number = float(digits)
    if column.levels and not any(_same_number(level, number) for level in column.levels):
        return _unknown_level(written, column)
    unit = f" {column.unit}" if column.unit else ""
    remedy = "Check the chart and correct it, or write n/a."
    if column.minimum is not None and number < column.minimum:
        return Refusal("value_out_of_range", f"must be >= {column.minimum:g}{unit}", remedy)
    if column.maximum is not None and number > column.maximum:
        return Refusal("value_out_of_range", f"must be <= {column.maximum:g}{unit}", remedy)
    return int(number) if column.read_as == "integer" else number


def _unknown_level(written: str, column: ClinicalColumn) -> Refusal:
    """The refusal of a value that is not a declared level."""
    levels = tuple(column.level_of)
    near = nearest(written, levels)
    remedy = f"Did you mean {printable(near)}? Correct it, or write n/a." if near else "Correct it, or write n/a."
    return Refusal("unknown_level", f"must be one of {', '.join(column.level_titles)}", remedy)


def _same_number(level: str, number: float) -> bool:
    """Whether a level as written is this number."""
    return _NUMBER.fullmatch(level) is not None and float(level) == number


def top_code_number(column: ClinicalColumn) -> str | None:
    """Return the number inside the top code, None where there is none.

    >>> top_code_number(ClinicalColumn(column="age", read_as="integer", top_code="89+"))
    '89'
    """
    found = re.search(r"[0-9]+(\.[0-9]+)?", column.top_code or "")
    return found.group() if found else None


def _moment(written: str) -> datetime | None:
    """The date or date and time, None where it is neither."""
    if not _DATE.fullmatch(written):
        return None
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return None


def read_participants(
    table: TsvTable | None, clinical: tuple[ClinicalColumn, ...]
) -> tuple[pd.DataFrame, list[Problem]]:
    """Type the participants table; one row per participant, in the order of the file.

    Returns
    -------
    Frame with participant_id, site, split and the declared clinical columns (missing values NA), and the problems.
    """
    rows, problems = _one_row_each(table) if table else ([], [])
    if table and not table.rows:
        rule, remedy = "must list at least one participant", "Add a row for each participant."
        problems.append(Problem(FILE, None, None, None, rule, remedy, "no_participants"))
    columns: dict[str, list[Value | None]] = {
        "participant_id": [row.participant_id for row in rows],
        **{name: [_given(row, name) for row in rows] for name in ("site", "split")},
    }
    for item in clinical:
        columns[item.column], found = _read_column(rows, item)
        problems += found
    problems += _dates_in_order(rows, clinical, columns)
    problems += _all_missing(rows, clinical)
    dtypes = dict.fromkeys(("participant_id", "site", "split"), "string") | {
        item.column: DTYPES[item.read_as] for item in clinical
    }
    return pd.DataFrame(columns, dtype=object).astype(dtypes), problems


def _given(row: Row, column: str) -> str | None:
    """The cell, None where it is missing."""
    written = row.cells.get(column, MISSING)
    return None if written == MISSING else written


def _one_row_each(table: TsvTable) -> tuple[list[Row], list[Problem]]:
    """Merge the rows of a participant that is listed twice: what they do not agree on is missing."""
    count = Counter(row.participant_id for row in table.rows)
    first: dict[str, Row] = {}
    problems = []
    for row in table.rows:
        kept = first.setdefault(row.participant_id, row)
        if kept is row:
            if count[row.participant_id] > 1:
                first[row.participant_id] = Row(row.number, row.participant_id, dict(row.cells), row.is_damaged)
            continue
        differing = [name for name in table.columns[1:] if row.cells[name] != kept.cells[name]]
        differing = [name for name in differing if name != "participant_id"]
        for name in differing:
            kept.cells[name] = MISSING
        if differing:
            reason, how = "conflicting_participant", f"with other values in {', '.join(map(printable, differing[:5]))}"
            remedy = "Keep the row that is right."
        else:
            reason, how, remedy = "duplicate_participant", "with the same values", "Delete one of the two rows."
        rule = f"must be listed once, and is also in row {kept.number} {how}"
        where = (FILE, row.number, "participant_id", row.participant_id)
        problems.append(Problem(*where, rule, remedy, reason, row.participant_id, is_warning=not differing))
    return list(first.values()), problems


def _read_column(rows: Iterable[Row], column: ClinicalColumn) -> tuple[list[Value | None], list[Problem]]:
    """Read one clinical column; each distinct value is read once."""
    read: dict[str, Value | Refusal | None] = {MISSING: None}
    values: list[Value | None] = []
    problems = []
    top_coded = 0
    for row in rows:
        written = row.cells.get(column.column, MISSING)
        if written not in read:
            read[written] = read_value(written, column)
        value = read[written]
        if isinstance(value, Refusal):
            place = (FILE, row.number, column.column, written)
            problems.append(_of_value(place, value, column, row.participant_id))
            value = None
        elif value is not None and written == column.top_code:
            top_coded += 1
        values.append(value)
    if top_coded:
        rule = f"is top-coded in {top_coded} row{'s' if top_coded > 1 else ''} and read as {top_code_number(column)}"
        remedy = "Nothing to do; means of this column are biased downwards."
        reason = "top_coded_values"
        problems.append(Problem(FILE, None, column.column, column.top_code, rule, remedy, reason, is_warning=True))
    return values, problems


def _of_value(
    place: tuple[str, int, str, str], refusal: Refusal, column: ClinicalColumn, participant_id: str
) -> Problem:
    """A problem of one value, which excludes its participant or, where the column says so, is only read as n/a."""
    is_kept = column.on_problem == "missing"
    rule = f"{refusal.rule}; it is read as n/a" if is_kept else refusal.rule
    return Problem(*place, rule, refusal.remedy, refusal.reason, participant_id, is_warning=is_kept)


def _dates_in_order(
    rows: list[Row], clinical: tuple[ClinicalColumn, ...], columns: dict[str, list[Value | None]]
) -> list[Problem]:
    """Check that no date lies before the one it must follow; both become missing, as either may be wrong."""
    problems = []
    wrong: list[tuple[str, int]] = []
    for item in clinical:
        if item.read_as != "date" or item.not_before is None or item.not_before not in columns:
            continue
        for place, (later, earlier) in enumerate(zip(columns[item.column], columns[item.not_before], strict=True)):
            if not isinstance(later, str) or not isinstance(earlier, str):
                continue
            shared = min(len(later), len(earlier))  # a date without a time is compared by its day
            if later[:shared] < earlier[:shared]:
                row = rows[place]
                rule = f"must not be before {item.not_before} ({earlier})"
                remedy = "Check both dates; write n/a for one that is not known."
                refusal = Refusal("dates_out_of_order", rule, remedy)
                problems.append(_of_value((FILE, row.number, item.column, later), refusal, item, row.participant_id))
                wrong += [(item.column, place), (item.not_before, place)]
    for name, place in wrong:
        columns[name][place] = None
    return problems


def _all_missing(rows: Iterable[Row], clinical: tuple[ClinicalColumn, ...]) -> list[Problem]:
    """Find participants of whom nothing clinical is known."""
    rule = "must have at least one clinical value"
    remedy = "Fill in the row from the chart; without it only the images are known."
    return [
        Problem(
            FILE,
            row.number,
            "participant_id",
            row.participant_id,
            rule,
            remedy,
            "all_values_missing",
            row.participant_id,
        )
        for row in rows
        if clinical and not row.is_damaged and all(row.cells.get(item.column, MISSING) == MISSING for item in clinical)
    ]
