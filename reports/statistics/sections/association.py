"""Rank correlation of score and volume with severity and outcome, and the odds of a worse outcome."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reports.estimators.association import kendall_tau_b, ordinal_odds_ratios, spearman
from reports.estimators.ordinal_shift import generalised_odds_ratio
from reports.statistics.patients import SCORE, Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope
from reports.statistics.sections.severity import threshold_of
from tasks.arrays import FloatArray

MAXIMUM_CATEGORIES = 11  # mRS has seven; beyond this a proportional-odds model has more cut points than it is good for


def add_association(rows: Builder, patients: Patients, name: str) -> None:
    """Add correlations with the severity and outcome columns, and the odds ratio of a worse outcome."""
    config = patients.config
    columns = [config.severity.column if config.severity else None, config.outcome]
    for column in dict.fromkeys(item for item in columns if item is not None):
        clinical = patients.numbers(column)
        for measure, source, values in patients.measures():
            kept = patients.complete(clinical, values)
            scope = Scope(section="association", analysis_set=name, measure=measure, source=source, variable=column)
            for quantity, coefficient in (("spearman", spearman), ("kendall", kendall_tau_b)):
                result = coefficient(reference=clinical[kept], candidate=values[kept])
                details = Details(p_value=result.p)
                rows.statistic(scope, quantity, result, result.confidence_interval(LEVEL), details)
            if column == config.outcome:
                _add_odds_ratio(rows, scope, (clinical[kept], values[kept]))
                _add_shift(rows, scope, (clinical[kept], values[kept]), patients)


def _add_shift(rows: Builder, scope: Scope, columns: tuple[FloatArray, FloatArray], patients: Patients) -> None:
    """Add the odds that a patient on the positive side of the primary cut has the worse outcome of two."""
    outcome, values = columns
    for item in patients.config.dichotomy:
        if item.primary and item.on == scope.measure:
            threshold = threshold_of(item)
            result = generalised_odds_ratio(outcome=outcome, group=threshold.is_positive(values))
            note = f"of a higher {scope.variable} where {threshold.positive_text}, ties split"
            details = Details(p_value=result.p, note=note)
            about = replace(scope, dichotomy=item.name)
            rows.statistic(about, "generalised_odds_ratio", result, result.confidence_interval(LEVEL), details)


def _add_odds_ratio(rows: Builder, scope: Scope, columns: tuple[FloatArray, FloatArray]) -> None:
    """Add the proportional odds of a higher outcome category."""
    outcome, values = columns
    n_categories = np.unique(outcome).size
    if n_categories > MAXIMUM_CATEGORIES:
        reason = f"{n_categories} outcome categories, at most {MAXIMUM_CATEGORIES} are modelled"
        rows.missing(scope, "odds_ratio", outcome.size, "proportional odds", reason)
        return
    note = f"of a higher {scope.variable}, per point of the score"
    if scope.measure != SCORE:
        kept = values > 0  # a doubling needs something to double
        outcome, values = outcome[kept], np.log2(values[kept])
        note = f"of a higher {scope.variable}, per doubling of the volume"
    (result,) = ordinal_odds_ratios(outcome=outcome, predictors=values[:, None], names=("measure",))
    details = Details(p_value=result.p, note=note)
    rows.statistic(scope, "odds_ratio", result, result.confidence_interval(LEVEL), details)
