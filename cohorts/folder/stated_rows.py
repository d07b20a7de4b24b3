"""The rows of a table that somebody else's software wrote, one per participant: results, or why there is none.

No row is lost: a failure that the software reports, a cell that cannot be read and rows that contradict each other are
results with a reason. Only columns that the source maps are read.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn, clinical_column
from cohorts.folder.foreign_table import ForeignRow, ForeignTable, ForeignTableError
from cohorts.folder.foreign_values import Habits, decimal_of, read_foreign
from cohorts.folder.problems import Problem, Refusal, nearest, printable
from cohorts.folder.stated_source import FAILURE, REGION_COLUMNS, SIDED_REGIONS, STATED_COLUMNS, StatedSource
from cohorts.folder.suspicions import rows_text
from cohorts.folder.table_mapping import REGIONS, named_regions
from cohorts.folder.table_reading import read_foreign_table
from cohorts.folder.table_rows import Intake, participant_of
from cohorts.folder.true_dates import without_dates
from cohorts.folder.tsv import MISSING
from cohorts.store.stated_findings import StatedResult
from tasks.anatomy import ASPECTS_REGIONS, MAXIMUM_SCORE

#: What is read of a failure, too.
ABOUT = ("version", "run_on")
LONGEST_REASON = 40  # letters of a failure that make its code


@dataclass(frozen=True)
class StatedRow:
    """What a table says of one participant.

    Attributes
    ----------
    cells : column of the table -> text, of the columns that are read
    numbers : rows of the file
    result : what could be read; of a failure, version and date alone
    reason, detail : None where the result is fine
    """

    cells: Mapping[str, str]
    numbers: tuple[int, ...]
    result: StatedResult
    reason: str | None = None
    detail: str | None = None


class _UnreadableError(ValueError):
    """A cell, or cells together, that have no reading."""

    def __init__(self, column: str, written: str, refusal: Refusal) -> None:
        super().__init__(refusal.rule)
        self.column, self.written, self.refusal = column, written, refusal


def read_stated(path: Path, source: StatedSource, name: str) -> tuple[dict[str, StatedRow], list[Problem]]:
    """Read the table of a source.

    Parameters
    ----------
    path : of the table
    source : says how it is read
    name : of the file, for messages

    Returns
    -------
    participant_id -> its row; and what is wrong: a problem of the study where the table cannot be used, else warnings.
    """
    try:
        table = read_foreign_table(path, source.form)
    except ForeignTableError as error:
        rule, remedy = "must be a table that can be read", str(error).replace("FILE", printable(name))
        return {}, [Problem("cohort.toml", None, f"source {source.name}", name, rule, remedy, "results_unreadable")]
    if problems := list(_columns_missing(table, source, name)):
        return {}, problems
    reader = _Reader(source, table)
    intake = Intake()
    rows: dict[str, list[ForeignRow]] = {}
    for row in table.rows:
        if (participant_id := participant_of(row, source, None, intake)) is not None:
            rows.setdefault(participant_id, []).append(row)
    found = {participant_id: reader.read(of_one, name) for participant_id, of_one in rows.items()}
    return found, [*_nobody(intake, name, source), *reader.problems(name), *_versions(found, name)]


def read_stated_of(path: Path, source: StatedSource, participant_id: str) -> StatedRow:
    """The row of one participant in a table that was written for it, where no column names it the only row."""
    name = path.name
    try:
        table = read_foreign_table(path, source.form)
    except ForeignTableError as error:
        return StatedRow({}, (), StatedResult(), "result_unreadable", str(error).replace("FILE", printable(name)))
    if problems := list(_columns_missing(table, source, name)):
        return StatedRow({}, (), StatedResult(), "result_unreadable", " ".join(problem.text for problem in problems))
    rows = list(table.rows)
    if source.id is not None:
        rows = [row for row in rows if participant_of(row, source, None, Intake()) == participant_id]
    if not rows or (source.id is None and len(rows) > 1):
        detail = f"{printable(name)} must have one row of {participant_id}, got {len(rows)}. Look at what is written."
        return StatedRow({}, (), StatedResult(), "not_in_results", detail)
    return _Reader(source, table).read(rows, name)


def _columns_missing(table: ForeignTable, source: StatedSource, name: str) -> Iterator[Problem]:
    """Every column that is mapped and not there."""
    for column in (source.id, *source.columns):
        if column is not None and column not in table.columns:
            near = nearest(column, table.columns)
            hint = f"Did you mean {printable(near)}? " if near else ""
            shown = ", ".join(map(printable, table.columns[:12]))
            rule = f"must be a column of {printable(name)} ({shown}{', ...' if len(table.columns) > 12 else ''})"
            key = f"source {source.name}: {'id' if column == source.id else 'columns'}"
            yield Problem("cohort.toml", None, key, column, rule, f"{hint}Correct it.", "results_column_missing")


def _nobody(intake: Intake, name: str, source: StatedSource) -> Iterator[Problem]:
    """Rows that name no participant."""
    numbers = [change.row for change in intake.left_out if change.row] + [stop.row for stop in intake.stops if stop.row]
    if numbers:
        rule = f"must name a participant ({rows_text(sorted(numbers))}); these rows are not read"
        remedy = "Write the participant in them, or leave them."
        yield Problem(name, min(numbers), source.id, None, rule, remedy, "results_without_participant", is_warning=True)


def _versions(found: Mapping[str, StatedRow], name: str) -> Iterator[Problem]:
    """One warning where the results are of several versions of the software."""
    counts: dict[str, int] = {}
    for row in found.values():
        if row.result.version:
            counts[row.result.version] = counts.get(row.result.version, 0) + 1
    if len(counts) > 1:
        shown = ", ".join(f"{printable(version)}: {n}" for version, n in sorted(counts.items()))
        rule = f"must come from one version of the software to be one source, and comes from {len(counts)} ({shown})"
        remedy = "Run all patients with one version, or say in the report that versions are mixed."
        yield Problem(name, None, "version", None, rule, remedy, "results_of_several_versions", is_warning=True)


class _Reader:
    """Reads the rows of one table."""

    def __init__(self, source: StatedSource, table: ForeignTable) -> None:
        self._source = source
        self._columns = {name: _column_of(to, source) for name, to in source.columns.items()}
        numeric = [name for name, column in self._columns.items() if column.read_as in NUMERIC]
        sign = decimal_of(row.cells[name] for row in table.rows for name in numeric)
        habits = source.habits
        decimal = sign if habits.decimal is None and sign == "comma" else habits.decimal
        self._habits = Habits(decimal, habits.dates, habits.missing, habits.values)
        self._unreadable: list[tuple[int, _UnreadableError]] = []

    def problems(self, name: str) -> Iterator[Problem]:
        """A warning for every cell that could not be read: only this source's result of one participant is lost."""
        for number, error in self._unreadable:
            refusal = error.refusal
            yield Problem(
                name, number, error.column, error.written, refusal.rule, refusal.remedy, refusal.reason, is_warning=True
            )

    def read(self, rows: Sequence[ForeignRow], name: str) -> StatedRow:
        """The rows of one participant."""
        numbers = tuple(row.number for row in rows)
        kept = [{column: row.cells[column] for column in self._source.columns} for row in rows]
        differing = [column for column in self._source.columns if len({cells[column] for cells in kept}) > 1]
        if differing:
            detail = (
                f"{printable(name)} must say one thing of a participant, and {rows_text(numbers)} differ in "
                f"{', '.join(map(printable, differing[:5]))}. Keep the row that counts."
            )
            return StatedRow(kept[0], numbers, StatedResult(), "results_differ", detail)
        cells = kept[0]
        where = f"{printable(name)}, row {numbers[0]}"
        about = _result(dict(self._read_values(cells, ABOUT, is_lenient=True)), self._source)
        if (failure := self._failure(cells)) is not None:
            failure = without_dates(failure)  # a date beside a failure may be the patient's
            detail = f"{where}: the software says {printable(failure)}."
            return StatedRow(cells, numbers, about, _reason(failure), detail)
        try:
            result = _result(dict(self._read_values(cells, STATED_COLUMNS)), self._source)
        except _UnreadableError as error:
            self._unreadable.append((numbers[0], error))
            found = f"value {printable(without_dates(error.written))} " if error.written else ""
            detail = f"{where}, column {printable(error.column)}: {found}{error.refusal.rule}. {error.refusal.remedy}"
            return StatedRow(cells, numbers, about, "result_unreadable", detail)
        if result.model_copy(update={"side": None}) == about:
            detail = (
                f"{where}: the software must state a result or why there is none, got empty cells. Complete the row."
            )
            return StatedRow(cells, numbers, about, "result_empty", detail)
        return StatedRow(cells, numbers, result)

    def _read_values(
        self, cells: Mapping[str, str], wanted: Container[str], *, is_lenient: bool = False
    ) -> Iterator[tuple[str, str]]:
        """(what a column is, value) of those wanted; a lenient reading leaves out what cannot be read."""
        for column, to in self._source.columns.items():
            if to in wanted and to != FAILURE:
                try:
                    yield to, self._value(column, to, cells[column])
                except _UnreadableError:
                    if not is_lenient:
                        raise

    def _failure(self, cells: Mapping[str, str]) -> str | None:
        """What the software says of its failure, in any cell that is read; None where it did not fail."""
        beginnings = tuple(text.casefold() for text in self._source.failures)
        fine = {text.casefold() for text in self._source.successes}
        for column, to in self._source.columns.items():
            written = self._source.values.get(to, {}).get(cells[column], cells[column])
            word = written.casefold()
            if to not in ABOUT and beginnings and word.startswith(beginnings):
                return written
            if to == FAILURE and written not in ("", MISSING, *self._source.missing) and word not in fine:
                return written
        return None

    def _value(self, column: str, to: str, written: str) -> str:
        """One cell as a value of its column."""
        declared = self._columns[column]
        is_share = declared.unit == "%" and written.endswith("%")
        if is_share:
            declared = declared.model_copy(update={"maximum": 100})
        read = read_foreign(written, declared, self._habits)
        if isinstance(read, Refusal):
            remedy = "Correct it, or say what it means by values of this source in cohort.toml."
            raise _UnreadableError(column, written, Refusal(read.reason, read.rule, remedy))
        if to == REGIONS and read.value != MISSING and named_regions(read.value) is None:
            refusal = Refusal("unknown_region", "must name regions such as M1, M2, IC, or none", "Correct it.")
            raise _UnreadableError(column, written, refusal)
        return str(float(read.value) / 100) if is_share and read.value != MISSING else read.value


def _column_of(to: str, source: StatedSource) -> ClinicalColumn:
    """How a column is read; regions by what their cells hold."""
    if to in REGION_COLUMNS and source.region_cells == "probabilities":
        return clinical_column(column=to, read_as="number", minimum=0, maximum=1, unit="%")
    return STATED_COLUMNS[to]


def _result(values: Mapping[str, str], source: StatedSource) -> StatedResult:
    """The result of one row.

    Raises
    ------
    _UnreadableError
        Regions without a side, or a score that its own regions contradict.
    """
    given = {name: value for name, value in values.items() if value != MISSING}
    side = given.get("side")
    regions = {name: _number(given[name]) for name in SIDED_REGIONS if name in given}
    unsided = {name: _number(given[name]) for name in ASPECTS_REGIONS if name in given}
    if REGIONS in given:
        unsided |= {region: float(region in (named_regions(given[REGIONS]) or ())) for region in ASPECTS_REGIONS}
    if unsided and side is None and any(unsided.values()):
        column = next(name for name, to in source.columns.items() if to in (REGIONS, *ASPECTS_REGIONS))
        rule = "must have the side of its regions in a column, and the row has none"
        raise _UnreadableError(column, "", Refusal("side_missing", rule, "Map a column to side, or fill it."))
    if unsided:
        sides = ("left", "right") if side is None else (side,)  # regions that are all free are so on both sides
        regions |= {f"{one}_{region}": value for one in sides for region, value in unsided.items()}
    numbers: dict[str, Any] = {
        name: float(given[name])
        for name in ("low_score_probability", "volume_ml", "hypoperfused_volume_ml")
        if name in given
    }
    numbers |= {name: int(float(given[name])) for name in ("score", "score_left", "score_right") if name in given}
    _check_score(numbers.get("score"), side, regions, source)
    about = {"version": given.get("version"), "run_on": given.get("run_on")}
    return StatedResult(side=side, regions=regions, **numbers, **about)  # type: ignore[arg-type]


def _check_score(score: int | None, side: str | None, regions: Mapping[str, float], source: StatedSource) -> None:
    """Refuse a score that is not that of the flags beside it."""
    values = [regions.get(f"{side}_{region}") for region in ASPECTS_REGIONS]
    if score is None or source.region_cells == "probabilities" or None in values:
        return
    n_affected = sum(value == 1 for value in values)
    if score != MAXIMUM_SCORE - n_affected:
        column = next(name for name, to in source.columns.items() if to == "score")
        rule = f"must be the score of its own regions, {MAXIMUM_SCORE - n_affected} on the {side}"
        remedy = "Find out which is right, and map only that: the score, or the regions."
        raise _UnreadableError(column, str(score), Refusal("score_differs_from_regions", rule, remedy))


def _number(value: str) -> float:
    """A flag or a probability as a number."""
    word = value.casefold()
    return {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}[word] if word.isalpha() else float(value)


def _reason(failure: str) -> str:
    """Code of a failure: its words behind ``vendor_``.

    >>> _reason("Failed: motion (slice 3)")
    'vendor_failed_motion_slice_3'
    """
    words = "_".join(re.findall(r"[a-z0-9]+", failure.casefold()))[:LONGEST_REASON].strip("_")
    return f"vendor_{words or 'failed'}"
