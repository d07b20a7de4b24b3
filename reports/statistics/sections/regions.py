"""How often each region is affected, by side and severity grade (Wei 2026, figure 4), with multiplicity control.

``any`` counts a region once per patient, on either side; its tests are confirmatory (Holm). Those of ``left`` and
``right`` stand beside the maps (Benjamini-Hochberg). Every denominator is patients, so none counts as twenty regions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reports.estimators.comparison import GroupTest
from reports.estimators.estimate import Proportion
from reports.estimators.multiplicity import Correction, adjust_p_values
from reports.statistics.patients import Patients, RegionFlags
from reports.statistics.rows import Builder, Details, Scope
from reports.statistics.sections.cohort import compare_levels
from tasks.arrays import FloatArray

FAMILIES: tuple[tuple[tuple[str, ...], Correction, str], ...] = (
    (("left", "right"), "bh", "Benjamini-Hochberg"),
    (("any",), "holm", "Holm"),
)


def add_regions(rows: Builder, patients: Patients, name: str) -> None:
    """Add the frequency of every region, side and grade of each source, and the tests between severities."""
    strata = patients.strata()
    for source, flags in patients.flags.items():
        scope = Scope(section="regions", analysis_set=name, source=source)
        for one, members in strata.items():
            for sides, _, _ in FAMILIES:
                for side in sides:
                    affected = flags.of_side(side)[members]
                    _add_frequencies(rows, replace(scope, grade=one, side=side), flags, affected)
        if patients.config.severity is not None:
            for sides, correction, title in FAMILIES:
                _add_tests(rows, patients, scope, sides, (correction, title))


def _add_frequencies(rows: Builder, scope: Scope, flags: RegionFlags, affected: FloatArray) -> None:
    """Add the share of patients in whom each region is affected."""
    for region, column in zip(flags.regions, affected.T, strict=True):
        known = column[~np.isnan(column)]
        rows.proportion(replace(scope, region=region), "affected", Proportion(int(known.sum()), known.size))


def _add_tests(
    rows: Builder, patients: Patients, of_source: Scope, sides: tuple[str, ...], how: tuple[Correction, str]
) -> None:
    """Add one family of tests: every region of these sides, among the grades and between the severity classes."""
    correction, title = how
    column_name = patients.config.severity.column if patients.config.severity else None
    of_source = replace(of_source, variable=column_name)
    positive = patients.positive()
    classes = np.where(positive == 1, "positive", "negative")
    grade = patients.grade_names()
    graded = patients.graded()
    contrasts: tuple[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.str_]], ...] = (
        ("grades_test", graded, grade.astype(str)),
        ("class_test", ~np.isnan(positive), classes),
    )
    flags = patients.flags[of_source.source or ""]
    tests: list[tuple[str, Scope, GroupTest, int]] = []
    for contrast, eligible, groups in contrasts:
        for side in sides:
            for region, column in zip(flags.regions, flags.of_side(side).T, strict=True):
                kept = eligible & ~np.isnan(column)
                scope = replace(of_source, side=side, region=region)
                if contrast == "class_test":
                    n_positive = int(np.count_nonzero(positive[kept] == 1))
                    scope = replace(scope, n_positive=n_positive, positive_class=patients.positive_class())
                seed = scope.seed_of(contrast, patients.config.study.seed)
                test = compare_levels(column[kept] == 1, groups[kept], seed)
                tests.append((contrast, scope, test, seed))
    family = adjust_p_values([test.p for _, _, test, _ in tests], correction)
    whose = f"{of_source.source}, {of_source.analysis_set}, {' and '.join(sides)}"
    label = f"{whose}: regions x contrasts, {title} over {family.family_size}"
    for (quantity, scope, test, seed), p_adjusted in zip(tests, family.adjusted, strict=True):
        rows.test(scope, quantity, test, seed, Details(p_adjusted=float(p_adjusted), family=label))
