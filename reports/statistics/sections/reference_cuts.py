"""Every declared cut of the score against the same cut of a reference, and chances of a low score.

Papers say how often a system puts a patient on the right side of a cut, the reference's own score deciding which side
that is. ``low_score_probability`` of a source without a score is cut at one half, and stands beside the cuts that it
speaks of: a score of six or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cohorts.folder.study import Dichotomy
from reports.estimators.calibration import calibration
from reports.estimators.categorical_agreement import kappa
from reports.estimators.decision_curve import net_benefit
from reports.estimators.dichotomy import counted
from reports.estimators.discrimination import auc
from reports.statistics.patients import SCORE, Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope, joined
from reports.statistics.sections.agreement import pairs_of, shared_method
from reports.statistics.sections.severity import DIRECTION, threshold_of
from reports.statistics.sections.usefulness import RISKS
from tasks.arrays import BoolArray, FloatArray

LOW_SCORE = 6  # a low score is this or less (Do 2020)
EVEN = 0.5  # the chance at which it is called low (Do 2020)


def add_reference_cuts(rows: Builder, patients: Patients, name: str) -> None:
    """Add sensitivity, specificity, balanced accuracy, kappa and area of every pair at every declared cut of scores."""
    for item in _cuts(patients):
        threshold = threshold_of(item)
        for reference, candidate, values in _asked(patients, item):
            truth = patients.scores[reference]
            kept = patients.complete(truth, values)
            if not kept.any():
                continue
            is_score = candidate in patients.scores
            positive = np.asarray(threshold.is_positive(truth[kept]), bool)
            test = np.asarray(threshold.is_positive(values[kept]) if is_score else values[kept] >= EVEN, bool)
            scope = Scope(
                section="reference_cuts", analysis_set=name, measure=SCORE, source=candidate, reference=reference,
                dichotomy=item.name, n_positive=int(positive.sum()),
                positive_class=f"{reference}: {threshold.positive_text}",
            )  # fmt: skip
            note = shared_method(patients, reference, candidate)
            _add_table(rows, scope, positive, test, note)
            area = auc(
                reference=positive, candidate=values[kept], positive_when=DIRECTION[SCORE] if is_score else "high"
            )
            noted = joined(note, None if is_score else "of the chance of a low score")
            rows.statistic(scope, "auc", area, area.confidence_interval(LEVEL), Details(note=noted))


def add_low_score_calibration(rows: Builder, patients: Patients, name: str) -> None:
    """Add whether chances of a low score come true by each reference's score."""
    for scope, positive, chance in _chances(patients, "calibration", name):
        result = calibration(reference=positive, probability=chance)
        about = replace(scope, category="low score")
        for quantity, one in (("calibration_intercept", result.intercept), ("calibration_slope", result.slope),
                              ("brier", result.brier)):  # fmt: skip
            rows.statistic(about, quantity, one, one.confidence_interval(LEVEL))


def add_low_score_benefit(rows: Builder, patients: Patients, name: str) -> None:
    """Add the net benefit of acting where the chance of a low score reaches each risk, and of acting on everybody."""
    for scope, positive, chance in _chances(patients, "benefit", name):
        for risk in RISKS:
            about = replace(scope, measure=SCORE, category=f"{risk:g}")
            acts = {"net_benefit": chance >= risk, "net_benefit_all": np.ones_like(positive)}
            for quantity, treated in acts.items():
                benefit = net_benefit(reference=positive, is_treated=treated, threshold=risk)
                rows.statistic(about, quantity, benefit, benefit.confidence_interval(LEVEL))


def _chances(patients: Patients, section: str, name: str) -> Iterator[tuple[Scope, BoolArray, FloatArray]]:
    """Every question of a chance of a low score: what it is about, whose score is low, and the chances."""
    for reference, candidate in low_pairs(patients):
        truth, chance = patients.scores[reference], patients.low_chances[candidate]
        kept = patients.complete(truth, chance)
        if kept.any():
            positive = np.asarray(truth[kept] <= LOW_SCORE, bool)
            scope = Scope(
                section=section, analysis_set=name, source=candidate, reference=reference,
                n_positive=int(positive.sum()), positive_class=f"{reference}: ASPECTS <= {LOW_SCORE}",
            )  # fmt: skip
            yield scope, positive, chance[kept]


def low_pairs(patients: Patients) -> Iterator[tuple[str, str]]:
    """(reference, source with a chance of a low score): as declared, by default every score."""
    declared = patients.config.agreement
    for reference in patients.scores:
        for candidate in patients.low_chances:
            is_asked = any((pair.reference, pair.candidate) == (reference, candidate) for pair in declared)
            if reference != candidate and (is_asked or not declared):
                yield reference, candidate


def _cuts(patients: Patients) -> Iterator[Dichotomy]:
    """Declared cuts of the score, those that are one under several names once."""
    seen = set()
    for item in sorted(patients.config.dichotomy, key=lambda item: not item.primary):
        if item.on == SCORE and (item.operator, item.cut) not in seen:
            seen.add((item.operator, item.cut))
            yield item


def _asked(patients: Patients, item: Dichotomy) -> Iterator[tuple[str, str, FloatArray]]:
    """Reference, candidate and its scores or chances, of every pair that a cut can be asked of."""
    for reference, candidate in pairs_of(patients):
        if reference in patients.scores and candidate in patients.scores:
            yield reference, candidate, patients.scores[candidate]
    if (item.operator, item.cut) in (("le", LOW_SCORE), ("lt", LOW_SCORE + 1)):
        for reference, candidate in low_pairs(patients):
            if candidate not in patients.scores:
                yield reference, candidate, patients.low_chances[candidate]


def _add_table(rows: Builder, scope: Scope, positive: BoolArray, test: BoolArray, note: str | None) -> None:
    """Add what follows from the two-by-two table."""
    table = counted(positive, test, None)
    for quantity in ("sensitivity", "specificity", "accuracy"):
        rows.proportion(scope, quantity, table.proportions()[quantity], note, n=table.n)
    balanced = table.balanced_accuracy()
    rows.statistic(scope, "balanced_accuracy", balanced, balanced.confidence_interval(LEVEL), Details(note=note))
    coefficient = kappa(reference=positive, candidate=test, categories=(0, 1), weights="none")
    rows.statistic(scope, "kappa", coefficient, coefficient.confidence_interval(LEVEL), Details(note=note))
