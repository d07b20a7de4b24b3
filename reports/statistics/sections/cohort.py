"""Who the patients are: clinical columns, scores and volumes by severity grade, and the distribution of measures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.tables.schemas import UNGRADED
from reports.estimators.comparison import (
    GroupTest,
    StandardisedDifference,
    compare_categories,
    compare_numbers,
    standardised_difference_of_categories,
    standardised_difference_of_numbers,
)
from reports.estimators.estimate import Proportion
from reports.statistics.patients import SCORE, Patients, unit_of
from reports.statistics.rows import LEVEL, Builder, Details, Scope
from tasks.anatomy import MAXIMUM_SCORE
from tasks.arrays import BoolArray, FloatArray

ObjectArray = npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class TableColumn:
    """One line of the cohort table: numbers, or texts with their levels; NaN and None are missing."""

    unit: str | None
    source: str | None = None
    measure: str | None = None
    variable: str | None = None
    numbers: FloatArray | None = None
    texts: ObjectArray | None = None
    levels: tuple[str, ...] = ()

    @property
    def known(self) -> BoolArray:
        """(n,) whether a participant has a value."""
        if self.numbers is not None:
            return np.asarray(~np.isnan(self.numbers))
        texts = self.texts if self.texts is not None else np.empty(0, dtype=object)
        return np.array([text is not None for text in texts], dtype=bool)


def add_cohort(rows: Builder, patients: Patients, name: str) -> None:
    """Add the cohort table of one analysis set: all patients, each grade, and the comparison of the grades."""
    whole = Scope(section="cohort", analysis_set=name)
    strata = patients.strata()
    for one, members in strata.items():
        rows.count(replace(whole, grade=one), "n", int(members.sum()), patients.n)
    if patients.grades():
        rows.count(replace(whole, grade=UNGRADED), "n", int((~patients.graded()).sum()), patients.n)
    for column in _columns(patients):
        scope = replace(whole, source=column.source, measure=column.measure, variable=column.variable)
        for one, members in strata.items():
            _describe(rows, replace(scope, grade=one), column, members)
        if patients.grades():
            _compare(rows, scope, column, patients)


def add_distribution(rows: Builder, patients: Patients, name: str) -> None:
    """Add the summary of each source's score and each modality's volume, and the share of each score value."""
    for measure, source, values in patients.measures():
        scope = Scope(section="distribution", analysis_set=name, measure=measure, source=source)
        add_summary(rows, scope, values, unit_of(measure))
        if measure == SCORE:
            known = values[~np.isnan(values)]
            for score in range(MAXIMUM_SCORE + 1):
                share = Proportion(int(np.count_nonzero(known == score)), known.size)
                rows.proportion(replace(scope, category=str(score)), "share", share)


def add_summary(rows: Builder, scope: Scope, values: FloatArray, unit: str | None) -> None:
    """Add median, quartiles, mean, SD and the number of missing values; NaN is missing."""
    known = values[~np.isnan(values)]
    details = Details(unit=unit, note=None if known.size else "no value")
    quartiles = np.quantile(known, (0.5, 0.25, 0.75)) if known.size else np.full(3, np.nan)
    for quantity, value in zip(("median", "q1", "q3"), quartiles, strict=True):
        rows.add(scope, quantity, float(value), known.size, "quantile, linear interpolation", details)
    rows.add(scope, "mean", float(known.mean()) if known.size else None, known.size, "mean", details)
    spread = Details(unit=unit, note=None if known.size > 1 else f"{known.size} values, at least 2 are needed")
    sd = float(known.std(ddof=1)) if known.size > 1 else None
    rows.add(scope, "sd", sd, known.size, "standard deviation, n - 1", spread)
    rows.count(scope, "n_missing", values.size - known.size, values.size)


def compare_levels(categories: npt.NDArray[Any], groups: npt.NDArray[Any], seed: int) -> GroupTest:
    """Compare groups by category; fewer patients than cells are not tested (scipy 1.17 gives their p as an array)."""
    names, counts = np.unique(groups.astype(str), return_counts=True)
    n_cells = names.size * np.unique(categories.astype(str)).size
    if 0 < groups.size < n_cells:
        sizes = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
        reason = f"{groups.size} patients for {n_cells} cells"
        return GroupTest("none", math.nan, math.nan, sizes, reason)
    return compare_categories(categories=categories, groups=groups, seed=seed)


def _columns(patients: Patients) -> list[TableColumn]:
    """Clinical columns of the table in their order, then every score and volume."""
    clinical = [_clinical_column(patients, item) for item in patients.config.clinical if item.in_table]
    measures = [
        TableColumn(unit_of(measure), source, measure, numbers=values)
        for measure, source, values in patients.measures()
    ]
    return [*clinical, *measures]


def _clinical_column(patients: Patients, item: ClinicalColumn) -> TableColumn:
    """A clinical column as numbers, or as texts; a date or free text has no levels and only its missing are counted."""
    if item.read_as in ("integer", "number"):
        return TableColumn(item.unit or None, variable=item.column, numbers=patients.numbers(item.column))
    if item.column not in patients.table:
        return TableColumn(None, variable=item.column, texts=np.full(patients.n, None, dtype=object))
    given = patients.table[item.column]
    texts = given.astype(object).where(given.notna(), None).to_numpy(dtype=object)
    if item.read_as == "boolean":
        texts = np.array([None if value is None else str(bool(value)).lower() for value in texts], dtype=object)
        return TableColumn(None, variable=item.column, texts=texts, levels=("true", "false"))
    if item.read_as != "category":
        return TableColumn(None, variable=item.column, texts=texts)
    found = {str(value) for value in texts if value is not None}
    declared = tuple(item.level_titles)
    levels = (*declared, *sorted(found - set(declared)))
    return TableColumn(None, variable=item.column, texts=texts, levels=levels)


def _describe(rows: Builder, scope: Scope, column: TableColumn, members: BoolArray) -> None:
    """Add what one stratum shows in one column."""
    if column.numbers is not None:
        add_summary(rows, scope, column.numbers[members], column.unit)
        return
    known = column.known & members
    texts = column.texts[known] if column.texts is not None else np.empty(0, dtype=object)
    for level in column.levels:
        count = int(np.count_nonzero(texts == level))
        rows.proportion(replace(scope, category=level), "share", Proportion(count, texts.size))
    rows.count(scope, "n_missing", int(members.sum()) - int(known.sum()), int(members.sum()))


def _compare(rows: Builder, scope: Scope, column: TableColumn, patients: Patients) -> None:
    """Add the test of the grades and the largest standardised difference between two of them."""
    if column.numbers is None and not column.levels:
        return
    grade = patients.grade_names()
    kept = column.known & patients.graded()
    severity = patients.config.severity
    if severity is not None and column.variable == severity.column:
        reason = "the grades are made from this column"
        rows.missing(scope, "difference", int(kept.sum()), "none", reason)
        rows.missing(scope, "smd", int(kept.sum()), "none", reason)
        return
    groups = grade[kept].astype(str)
    seed = scope.seed_of("difference", patients.config.study.seed)
    test: GroupTest
    smd: StandardisedDifference
    if column.numbers is not None:
        test = compare_numbers(values=column.numbers[kept], groups=groups)
        smd = standardised_difference_of_numbers(values=column.numbers[kept], groups=groups)
    else:
        texts = (column.texts if column.texts is not None else np.empty(0, dtype=object))[kept].astype(str)
        test = compare_levels(texts, groups, seed)
        smd = standardised_difference_of_categories(categories=texts, groups=groups)
    rows.test(scope, "difference", test, seed)
    pair = None if smd.reason else f"{smd.pair[0]} - {smd.pair[1]}, the largest of all pairs of grades"
    rows.statistic(scope, "smd", smd, smd.confidence_interval(LEVEL), Details(note=pair))
