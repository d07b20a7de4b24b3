"""How well score and volume tell the severity class: ROC, every declared dichotomy, and the cut these data propose."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from cohorts.folder.study import Dichotomy
from reports.estimators.dichotomy import BinaryPerformance, dichotomy_performance
from reports.estimators.discrimination import AucDifference, Direction, auc, compare_aucs
from reports.estimators.estimate import Proportion
from reports.estimators.multiplicity import adjust_p_values
from reports.estimators.youden import bootstrap_youden
from reports.statistics.patients import SCORE, VOLUME, Patients, unit_of
from reports.statistics.rows import LEVEL, Builder, Details, Scope
from tasks.arrays import BoolArray, FloatArray
from tasks.thresholds import Threshold

DIRECTION: dict[str, Direction] = {SCORE: "low", VOLUME: "high"}  # which values speak for severity
QUANTITY = {SCORE: "ASPECTS", VOLUME: "volume_ml"}

PUBLISHED = {  # Wei 2026 (doi 10.1093/braincomms/fcag053), ROC analysis: Youden cuts for NIHSS >= 8
    SCORE: Threshold("published", 6, "le", "low", "Wei 2026", QUANTITY[SCORE]),
    VOLUME: Threshold("published", 27.86, "ge", "high", "Wei 2026", QUANTITY[VOLUME]),
}


def add_roc(rows: Builder, patients: Patients, name: str) -> None:
    """Add the area of every source, and the paired differences on the patients that both sources measured."""
    if patients.config.severity is None:
        return
    positive = patients.positive()
    for measure, source, values in patients.measures():
        kept = patients.complete(positive, values)
        result = auc(reference=positive[kept], candidate=values[kept], positive_when=DIRECTION[measure])
        scope = Scope(section="roc", analysis_set=name, measure=measure, source=source)
        scope = asked(scope, patients, positive[kept])
        rows.statistic(scope, "auc", result, result.confidence_interval(LEVEL))
    questions = [
        ((SCORE, second, patients.scores[second]), (SCORE, first, patients.scores[first]))
        for first, second in combinations(patients.scores, 2)
    ] + [
        ((SCORE, source, values), (VOLUME, modality, volumes))
        for source, values in patients.scores.items()
        for modality, volumes in patients.volumes_of(source).items()
    ]
    compared: list[tuple[Scope, AucDifference]] = []
    for (measure_a, source, values_a), (measure_b, reference, values_b) in questions:
        kept = patients.complete(positive, values_a, values_b)
        result_ab = compare_aucs(
            reference=positive[kept],
            candidate_a=values_a[kept],
            candidate_b=values_b[kept],
            positive_when_a=DIRECTION[measure_a],
            positive_when_b=DIRECTION[measure_b],
        )
        scope = Scope(
            section="roc",
            analysis_set=name,
            measure=measure_a,
            source=source,
            reference=reference,
            reference_measure=measure_b,
        )
        compared.append((asked(scope, patients, positive[kept]), result_ab))
    family = adjust_p_values([result.p for _, result in compared], "holm")
    label = f"AUC differences, {name}, Holm over {family.family_size}"
    for (scope, difference), p_adjusted in zip(compared, family.adjusted, strict=True):
        details = Details(p_value=difference.p, p_adjusted=float(p_adjusted), family=label)
        rows.statistic(scope, "auc_difference", difference, difference.confidence_interval(LEVEL), details)


def add_dichotomies(rows: Builder, patients: Patients, name: str) -> None:
    """Add the performance of every declared cut for every source that it applies to."""
    positive = patients.positive()
    for dichotomy in patients.config.dichotomy:
        threshold = threshold_of(dichotomy)
        note = "; ".join(
            part for part in ("primary" if dichotomy.primary else "", threshold.positive_text, dichotomy.source) if part
        )
        if threshold.positive != DIRECTION[dichotomy.on]:
            note += (
                "; the positive side is that of mild patients, performance is against the positive class all the same"
            )
        for measure, source, values in patients.measures():
            if measure != dichotomy.on:
                continue
            measured = values[patients.complete(values)]
            share = Proportion(int(np.count_nonzero(threshold.is_positive(measured))), measured.size)
            scope = Scope(
                section="dichotomies", analysis_set=name, measure=measure, source=source, dichotomy=dichotomy.name
            )
            rows.proportion(scope, "test_positive", share, note)
            if patients.config.severity is None:
                continue
            kept = patients.complete(positive, values)
            scope = asked(scope, patients, positive[kept])
            result = dichotomy_performance(reference=positive[kept], candidate=values[kept], threshold=threshold)
            _add_performance(rows, scope, result, note)


def add_youden(rows: Builder, patients: Patients, name: str) -> None:
    """Add the cut of largest Youden index, apparent and less its optimism, and the published cut beside it."""
    if patients.config.severity is None:
        return
    positive = patients.positive()
    for measure, source, values in patients.measures():
        kept = patients.complete(positive, values)
        scope = Scope(section="youden", analysis_set=name, measure=measure, source=source)
        scope = asked(scope, patients, positive[kept])
        _add_chosen_cut(rows, scope, (positive[kept] == 1, values[kept]), patients)
        published = PUBLISHED[measure]
        result = dichotomy_performance(reference=positive[kept], candidate=values[kept], threshold=published)
        note = f"{published.positive_text}; {published.source}"
        details = Details(unit=unit_of(measure), note=note)
        rows.add(scope, "cut_published", published.cut, result.n, "published cut", details)
        index = result.youden_index()
        rows.statistic(scope, "j_published", index, index.confidence_interval(LEVEL), Details(note=note))
        for quantity in ("sensitivity", "specificity"):
            rows.proportion(scope, f"{quantity}_published", result.proportions()[quantity], note, n=result.n)


def _add_chosen_cut(rows: Builder, scope: Scope, classes: tuple[BoolArray, FloatArray], patients: Patients) -> None:
    """Add the cut chosen in these patients, its stability and its performance before and after correction."""
    condition, values = classes
    measure = scope.measure or SCORE
    study = patients.config.study
    seed = scope.seed_of("cut", study.seed)
    result = bootstrap_youden(
        reference=condition,
        candidate=values,
        positive_when=DIRECTION[measure],
        seed=seed,
        n_resamples=study.bootstrap_resamples,
    )
    apparent = result.apparent
    note = None if result.reason else apparent.threshold(QUANTITY[measure]).positive_text
    interval = result.confidence_interval(LEVEL)
    rows.statistic(scope, "cut", result, interval, Details(unit=unit_of(measure), seed=seed, note=note))
    method = "optimism corrected, bootstrap of the choice of the cut"
    corrected = Details(seed=seed, note=note or result.reason)
    if result.reason is not None:
        for quantity in ("j", "sensitivity", "specificity"):
            rows.missing(scope, quantity, result.n, "apparent", result.reason)
    else:
        table = dichotomy_performance(
            reference=condition, candidate=values, threshold=apparent.threshold(QUANTITY[measure])
        )
        j = apparent.youden_index
        rows.add(scope, "j", j, result.n, "apparent, sensitivity + specificity - 1", Details(note=note))
        for quantity in ("sensitivity", "specificity"):
            rows.proportion(scope, quantity, table.proportions()[quantity], note, n=result.n)
    # a correction may pass 1 where the choice was pessimistic; a share may not
    sensitivity, specificity = np.clip((result.corrected.sensitivity, result.corrected.specificity), 0, 1)
    rows.add(scope, "j_corrected", sensitivity + specificity - 1, result.n, method, corrected)
    rows.add(scope, "sensitivity_corrected", sensitivity, result.n, method, corrected)
    rows.add(scope, "specificity_corrected", specificity, result.n, method, corrected)


def _add_performance(rows: Builder, scope: Scope, result: BinaryPerformance, note: str) -> None:
    """Add every statistic of one two-by-two table."""
    for quantity, share in result.proportions().items():
        rows.proportion(scope, quantity, share, note, n=result.n)
    balanced = result.balanced_accuracy()
    rows.statistic(scope, "balanced_accuracy", balanced, balanced.confidence_interval(LEVEL), Details(note=note))
    for quantity, ratio in result.likelihood_ratios().items():
        rows.statistic(scope, quantity, ratio, ratio.confidence_interval(LEVEL), Details(note=note))
    for quantity, index in result.indices().items():
        rows.statistic(scope, quantity, index, "from the two-by-two table", Details(note=note))


def threshold_of(dichotomy: Dichotomy) -> Threshold:
    """The declared dichotomy; ``value OPERATOR cut`` is its positive side."""
    return Threshold(
        dichotomy.name,
        dichotomy.cut,
        dichotomy.operator,
        "high" if dichotomy.operator in ("ge", "gt") else "low",
        dichotomy.source,
        QUANTITY[dichotomy.on],
    )


def asked(scope: Scope, patients: Patients, positive: FloatArray | None) -> Scope:
    """The scope as that of a question about the severity class; ``positive`` None where several n stand under it."""
    column = patients.config.severity.column if patients.config.severity else None
    return replace(
        scope,
        variable=column,
        n_positive=None if positive is None else int(positive.sum()),
        positive_class=patients.positive_class(),
    )
