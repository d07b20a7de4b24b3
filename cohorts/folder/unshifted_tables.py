"""Tables of a cohort folder in which dates look true, beside scans whose dates were shifted: one warning per column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import quantiles

from cohorts.folder.clinical import FILE as PARTICIPANTS_FILE
from cohorts.folder.clinical import Value, participants_header, read_value
from cohorts.folder.foreign_table import ForeignTableError
from cohorts.folder.manifest import Cohort
from cohorts.folder.problems import Problem, Refusal
from cohorts.folder.readings import FILE as READINGS_FILE
from cohorts.folder.readings import HEADER as READINGS_HEADER
from cohorts.folder.stated_source import TableSource
from cohorts.folder.study_file import FILE as STUDY_FILE
from cohorts.folder.suspicions import rows_text
from cohorts.folder.table_reading import read_foreign_table
from cohorts.folder.table_rows import CHANGES_FILE, Intake, participant_of
from cohorts.folder.true_dates import DATE_IN_TEXT, TRUE_DATE, days_between, holds_date, is_shifted, sidecar_of
from cohorts.folder.tsv import MISSING, Header, Row, read_tsv

#: Days from a scan to a true date spread as the shifts do, which are 1 to 3652: by more, and later, than in any course.
FEWEST, LATE_DAYS, WIDE_DAYS = 3, 90.0, 180.0
BRING_IN = "Bring the table in by aspects import-table with --link, which moves them, or take them out."
TAKE_OUT = "Take them out of the file; keep_dates says of a table that they are none."
_Cells = Iterable[tuple[int, str]]  # row and text


def unshifted_tables(cohort: Cohort) -> list[Problem]:
    """Return one warning per column in which dates of participants with shifted scans look true."""
    problems = [*_participants(cohort), *_others(cohort), *_results(cohort)]
    for mapping in cohort.config.table:
        for name, texts in mapping.values.items():
            if any(map(holds_date, (*texts, *texts.values()))) and cohort.shifted:
                rule = f"must hold no dates where those of scans are shifted; values of {name} do"
                remedy = "Correct the cells in the table that is imported, and take them out of values."
                problems.append(_warning(STUDY_FILE, None, f"table {mapping.name}", rule, remedy, DATE_IN_TEXT))
    return problems


def _participants(cohort: Cohort) -> Iterator[Problem]:
    """Date columns by how far they lie from the scans, all others by their texts."""
    declared = {item.column: item for item in cohort.config.clinical}
    kept = {
        to for one in cohort.config.table if one.into == "participants" for to in map(one.columns.get, one.keep_dates)
    }
    rows = _rows(cohort, PARTICIPANTS_FILE, participants_header(tuple(declared.values())))
    columns = dict.fromkeys(name for row in rows for name in row.cells)
    for name in columns:
        item = declared.get(name)
        if name in (*kept, "participant_id"):
            continue
        if item is not None and item.read_as == "date":
            values = [(row, read_value(row.cells[name], item)) for row in rows if row.cells[name] != MISSING]
            yield from _late(name, [(row, value) for row, value in values if not isinstance(value, Refusal)], cohort)
        else:
            yield from _in_text(PARTICIPANTS_FILE, name, [(row.number, row.cells[name]) for row in rows])


def _late(name: str, values: Iterable[tuple[Row, Value]], cohort: Cohort) -> Iterator[Problem]:
    """Dates as far from the scans as true ones are."""
    starts: dict[str, str] = {}
    for scan in cohort.scans:
        sidecar = sidecar_of(cohort.folder, scan.path)
        if is_shifted(sidecar) and isinstance(began := sidecar.get("AcquisitionDateTime"), str):
            starts[scan.participant_id] = min(began, starts.get(scan.participant_id, began))
    days = [
        days_between(str(value), starts[row.participant_id]) for row, value in values if row.participant_id in starts
    ]
    if len(days) < FEWEST:
        return
    low, middle, high = quantiles(days, n=4)
    if middle > LATE_DAYS and high - low > WIDE_DAYS:
        rule = (
            f"must be shifted as the dates of scans are; {len(days)} dates lie {min(days):.0f} to {max(days):.0f} days "
            "after the scans of their patients, as true ones do"
        )
        yield _warning(PARTICIPANTS_FILE, None, name, rule, f"{BRING_IN} If they are right, leave them.", TRUE_DATE)


def _others(cohort: Cohort) -> Iterator[Problem]:
    """Readings, and what was written down of imports before."""
    rows = _rows(cohort, READINGS_FILE, READINGS_HEADER)
    for name in ("reader", "session"):
        yield from _in_text(READINGS_FILE, name, [(row.number, row.cells.get(name, "")) for row in rows])
    rows = _rows(cohort, CHANGES_FILE, Header(("participant_id",), is_open=True))
    yield from _in_text(CHANGES_FILE, "written", [(row.number, row.cells.get("written", "")) for row in rows])


def _results(cohort: Cohort) -> Iterator[Problem]:
    """Tables of other software, with the columns that are not read: the folder holds them all the same."""
    for source in cohort.config.computed_sources:
        if not isinstance(source, TableSource):
            continue
        try:
            table = read_foreign_table(cohort.folder / source.file, source.form)
        except (ForeignTableError, OSError):
            continue  # said where it is read
        rows = [row for row in table.rows if source.id in row.cells]
        rows = [row for row in rows if participant_of(row, source, None, Intake()) in cohort.shifted]
        for name in table.columns:
            if name not in source.keep_dates:
                yield from _in_text(source.file, name, [(row.number, row.cells[name]) for row in rows])


def _rows(cohort: Cohort, name: str, header: Header) -> list[Row]:
    """Rows of participants whose scans' dates were shifted."""
    if not cohort.shifted or not (cohort.folder / name).is_file():
        return []
    table, _ = read_tsv(cohort.folder, name, header)
    return [row for row in table.rows if row.participant_id in cohort.shifted] if table else []


def _in_text(file: str, column: str, cells: _Cells) -> Iterator[Problem]:
    """Cells that hold a date and are no column of dates."""
    numbers = [number for number, text in cells if holds_date(text)]
    if numbers:
        rule = f"must hold no dates of patients where those of scans are shifted ({rows_text(numbers)}); none is used"
        remedy = BRING_IN if file == PARTICIPANTS_FILE else TAKE_OUT
        yield _warning(file, numbers[0], column, rule, remedy, DATE_IN_TEXT)


def _warning(file: str, row: int | None, column: str, rule: str, remedy: str, reason: str) -> Problem:
    """A warning of a column."""
    return Problem(file, row, column, None, rule, remedy, reason, is_warning=True)
