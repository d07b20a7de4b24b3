"""Failures counted as errors, what acting on a cut is worth, and what the patients were enough for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cohorts.folder.study import Dichotomy
from reports.estimators.bland_altman import LIMIT_FACTOR
from reports.estimators.decision_curve import NetBenefit, net_benefit
from reports.estimators.intention_to_diagnose import intention_to_diagnose
from reports.estimators.precision import patients_for_area, patients_for_icc, patients_for_limits, patients_for_share
from reports.statistics.patients import Patients
from reports.statistics.rows import LEVEL, Builder, Details, Row, Scope
from reports.statistics.sections.severity import asked, threshold_of
from tasks.arrays import FloatArray

#: Risks at which one might act, of a severe stroke or a low score: the curve of net benefit. Chosen here.
RISKS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
#: Widths that a reader of such a study would like, chosen here; [analysis] declares others.
WANTED = {"icc_a1": 0.1, "auc": 0.1, "sensitivity": 0.1, "specificity": 0.1, "loa_upper": 1.0}


def add_intention(rows: Builder, patients: Patients) -> None:
    """Add sensitivity and specificity at the primary cut over everybody screened, with worst and best bounds."""
    computed = {source.name for source in patients.config.computed_sources} | set(patients.volumes)
    for item, source, values in _primary(patients):
        if source not in computed:
            continue  # a reader who was not asked has not failed
        positive = patients.positive()
        table = intention_to_diagnose(reference=positive, candidate=values, threshold=threshold_of(item))
        scope = Scope(section="intention", analysis_set="screened", measure=item.on, source=source, dichotomy=item.name)
        scope = asked(scope, patients, positive[~np.isnan(positive)])
        rows.proportion(scope, "failed", table.failures, "no result, of those whose severity is known")
        rows.count(scope, "n_unknown", table.n_unknown, patients.n, "severity is not known, in no cell")
        for suffix, counts in (("complete", table.complete), ("worst", table.worst), ("best", table.best)):
            about = replace(scope, n_positive=counts.tp + counts.fn)
            for quantity in ("sensitivity", "specificity"):
                share = counts.proportions()[quantity]
                rows.proportion(about, f"{quantity}_{suffix}", share, threshold_of(item).positive_text, n=counts.n)


def add_benefit(rows: Builder, patients: Patients, name: str) -> None:
    """Add the net benefit of acting on the primary cut, and of acting on everybody, at several risks."""
    for item, source, values in _primary(patients):
        positive = patients.positive()
        kept = patients.complete(positive, values)
        scope = Scope(section="benefit", analysis_set=name, measure=item.on, source=source, dichotomy=item.name)
        scope = asked(scope, patients, positive[kept])
        treated = threshold_of(item).is_positive(values[kept])
        for risk in RISKS:
            about = replace(scope, category=f"{risk:g}")
            for quantity, who in (("net_benefit", treated), ("net_benefit_all", np.ones_like(treated))):
                result: NetBenefit = net_benefit(reference=positive[kept], is_treated=who, threshold=risk)
                rows.statistic(about, quantity, result, result.confidence_interval(LEVEL))


def add_precision(rows: Builder, patients: Patients) -> None:
    """Add the width of the main intervals of the included, and the patients that a wanted width would need."""
    plan = patients.config.analysis
    wanted = {item.statistic: item.width for item in plan.question if item.width is not None} if plan else {}
    primary = {item.name for item in patients.config.dichotomy if item.primary}
    for row in rows.rows:
        is_main = (row.section in ("agreement", "roc") or row.dichotomy in primary) and row.analysis_set == "included"
        is_asked = row.quantity in WANTED and row.section in ("agreement", "roc", "dichotomies")
        if is_asked and row.lower is not None and row.upper is not None and (is_main or row.statistic_id in wanted):
            _add_width(rows, row, wanted.get(row.statistic_id) or WANTED[row.quantity])


def _add_width(rows: Builder, row: Row, wanted: float) -> None:
    """Add the width of one interval, and the patients for the wanted one."""
    scope = Scope(
        section="precision", analysis_set=row.analysis_set, measure=row.measure, source=row.source,
        reference=row.reference, variable=row.variable, dichotomy=row.dichotomy, category=row.quantity,
        n_positive=row.n_positive, positive_class=row.positive_class,
    )  # fmt: skip
    width = (row.upper or 0.0) - (row.lower or 0.0)
    n = row.n or 0
    rows.add(scope, "width", width, n, "upper less lower limit", Details(unit=row.unit, note=row.statistic_id))
    needed = _patients_needed(rows, row, wanted)
    note = f"for a width of {wanted:g}"
    if needed is None:
        rows.missing(scope, "n_for_width", n, "sample size", f"{note}: not from this estimate")
    else:
        rows.add(scope, "n_for_width", needed, n, "sample size", Details(unit="participants", note=note))


def _patients_needed(rows: Builder, row: Row, wanted: float) -> int | None:
    """Patients for a wanted width if the estimate were the truth; of shares, all patients and not their class alone."""
    estimate, n = row.estimate or 0.0, row.n or 0
    if row.quantity == "icc_a1":
        return patients_for_icc(icc=estimate, width=wanted) if -1 < estimate < 1 else None
    if row.quantity == "auc":
        can = 0.5 <= estimate < 1 and row.n_positive
        return patients_for_area(auc=estimate, width=wanted, prevalence=(row.n_positive or 0) / n) if can else None
    if row.quantity == "loa_upper":
        bias = rows.found(row.statistic_id.replace("/loa_upper/", "/bias/"))
        sd = (estimate - (bias.estimate or 0.0)) / LIMIT_FACTOR if bias else math.nan
        return patients_for_limits(sd=sd, width=wanted) if sd > 0 else None
    in_class = patients_for_share(share=estimate, width=wanted)
    return math.ceil(in_class * n / row.denominator) if row.denominator else None


def _primary(patients: Patients) -> Iterator[tuple[Dichotomy, str, FloatArray]]:
    """The primary cut with every source that it applies to; nothing without a severity column."""
    if patients.config.severity is None:
        return
    for item in patients.config.dichotomy:
        for measure, source, values in patients.measures():
            if item.primary and measure == item.on:
                yield item, source, values
