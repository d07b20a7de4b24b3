"""How often each region is affected, by side and severity grade (Wei 2026, figure 4), with multiplicity control.

``any`` counts a region once per patient, on either side; its tests are confirmatory (Holm). Those of ``left`` and
``right`` stand beside the maps (Benjamini-Hochberg). Every denominator is patients, so none counts as twenty regions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reports.estimators.comparison import GroupTest
from reports.estimators.estimate import Proportion
from reports.estimators.multiplicity import Correction, adjust_p_values
from reports.statistics.patients import Patients, RegionFlags
from reports.statistics.rows import Details, Rows, Scope
from reports.statistics.sections.cohort import compare_levels
from tasks.arrays import FloatArray

FAMILIES: tuple[tuple[tuple[str, ...], Correction, str], ...] = (
    (("left", "right"), "bh", "Benjamini-Hochberg"),
    (("any",), "holm", "Holm"),
)


def add_regions(rows: Rows, patients: Patients, name: str) -> None:
    """Add the frequency of every region, side and grade of each source, and the tests between severities."""
    grade = patients.grade_names()
    strata = {name: np.ones(patients.n, dtype=bool)}
    strata |= {f"{name}/{item.name}": np.asarray(grade == item.name) for item in patients.grades()}
    for source, flags in patients.flags.items():
        for stratum, members in strata.items():
            for sides, _, _ in FAMILIES:
                for side in sides:
                    _add_frequencies(
                        rows, Scope("regions", stratum, source), side, (flags, flags.of_side(side)[members])
                    )
        if patients.config.severity is not None:
            for sides, correction, title in FAMILIES:
                _add_tests(rows, patients, (name, source), sides, (correction, title))


def _add_frequencies(rows: Rows, scope: Scope, side: str, seen: tuple[RegionFlags, FloatArray]) -> None:
    """Add the share of patients in whom each region is affected."""
    flags, affected = seen
    for region, column in zip(flags.regions, affected.T, strict=True):
        known = column[~np.isnan(column)]
        rows.proportion(scope, f"affected:{side}:{region}", Proportion(int(known.sum()), known.size))


def _add_tests(
    rows: Rows, patients: Patients, which: tuple[str, str], sides: tuple[str, ...], how: tuple[Correction, str]
) -> None:
    """Add one family of tests: every region of these sides, among the grades and between the severity classes."""
    name, source = which
    correction, title = how
    column_name = patients.config.severity.column if patients.config.severity else None
    positive = patients.positive()
    classes = np.where(positive == 1, "positive", "negative")
    grade = patients.grade_names()
    graded = np.isin(grade, [item.name for item in patients.grades()])
    contrasts: tuple[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.str_]], ...] = (
        ("grades_test", graded, grade.astype(str)),
        ("class_test", ~np.isnan(positive), classes),
    )
    flags = patients.flags[source]
    tests: list[tuple[str, Scope, GroupTest, int]] = []
    for contrast, eligible, groups in contrasts:
        for side in sides:
            for region, column in zip(flags.regions, flags.of_side(side).T, strict=True):
                kept = eligible & ~np.isnan(column)
                scope = Scope("regions", name, source, column_name)
                if contrast == "class_test":
                    n_positive = int(np.count_nonzero(positive[kept] == 1))
                    scope = Scope("regions", name, source, scope.reference, n_positive, patients.positive_class())
                quantity = f"{contrast}:{side}:{region}"
                seed = scope.seed(quantity, patients.config.study.seed)
                test = compare_levels(column[kept] == 1, groups[kept], seed)
                tests.append((quantity, scope, test, seed))
    family = adjust_p_values([test.p for _, _, test, _ in tests], correction)
    label = f"{source}, {name}, {' and '.join(sides)}: regions x contrasts, {title} over {family.family_size}"
    for (quantity, scope, test, seed), p_adjusted in zip(tests, family.adjusted, strict=True):
        rows.test(scope, quantity, test, seed, Details(p_adjusted=float(p_adjusted), family=label))
