"""Agreement of two scoring sources: of the score, and region by region where both give all ten."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from cohorts.folder.study import AgreementPair, StudyConfig
from reports.estimators.agreement import agreement_within, bootstrap_icc_a1, icc_a1
from reports.estimators.association import spearman
from reports.estimators.bland_altman import bland_altman
from reports.estimators.categorical_agreement import binary_agreement, gwet_ac, kappa
from reports.estimators.estimate import Interval
from reports.estimators.repeated_differences import ratio_agreement, repeated_bland_altman
from reports.estimators.symmetry import bowker
from reports.statistics.patients import Patients
from reports.statistics.rows import LEVEL, Builder, Details, Scope, joined
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.arrays import FloatArray

SCORES = range(MAXIMUM_SCORE + 1)
BCA_MAXIMUM = 5000  # chosen here: the jackknife of BCa grows with n squared, what it corrects shrinks with n


def add_agreement(rows: Builder, patients: Patients, name: str) -> None:
    """Add the agreement of every declared pair, by default of every pair of sources that give a score."""
    for reference, candidate in pairs_of(patients):
        scope = Scope(section="agreement", analysis_set=name, measure="score", source=candidate, reference=reference)
        absent = [source for source in (reference, candidate) if source not in patients.scores]
        if absent:
            rows.missing(scope, "icc_a1", 0, "F, icc_a1", f"{' and '.join(absent)} gave no score")
            continue
        note = shared_method(patients, reference, candidate)
        first, second = patients.scores[reference], patients.scores[candidate]
        kept = patients.complete(first, second)
        if not kept.any():
            rows.missing(scope, "icc_a1", 0, "F, icc_a1", "no participant was scored by both sources")
            continue
        _add_scores(rows, scope, (first[kept], second[kept]), patients.config, note)
        _add_regions(rows, scope, patients, note)


def pairs_of(patients: Patients) -> list[tuple[str, str]]:
    """(reference, candidate) of every question; by default readers are the reference of computed sources."""
    if patients.config.agreement:
        pairs: dict[AgreementPair, None] = dict.fromkeys(patients.config.agreement)
        return [(pair.reference, pair.candidate) for pair in pairs]
    computed = {source.name for source in patients.config.computed_sources}
    readers_first = sorted(patients.scores, key=lambda source: source in computed)
    return list(combinations(readers_first, 2))


def shared_method(patients: Patients, reference: str, candidate: str) -> str | None:
    """Why two sources agree more than independent ones would (Wei 2026, Raters_template), or None."""
    computed = patients.config.measurement_of
    if reference in computed and candidate in computed and computed[reference] == computed[candidate]:
        return "shared-method agreement: both sources rest on the same measurement"
    assisted = [source for source in (reference, candidate) if source in patients.assisted]
    if assisted and (reference in computed or candidate in computed):
        return f"shared-method agreement: {' and '.join(assisted)} was shown the registered template"
    return f"{' and '.join(assisted)} was shown the registered template" if assisted else None


def _add_scores(
    rows: Builder, scope: Scope, scores: tuple[FloatArray, FloatArray], config: StudyConfig, note: str | None
) -> None:
    """Add the agreement of two scores of the same patients."""
    reference, candidate = scores
    noted = Details(note=note)
    icc = icc_a1(reference=reference, candidate=candidate)
    rows.statistic(scope, "icc_a1", icc, icc.confidence_interval(LEVEL), noted)
    seed = scope.seed_of("icc_a1_bootstrap", config.study.seed)
    resampled = bootstrap_icc_a1(
        reference=reference, candidate=candidate, seed=seed, n_resamples=config.study.bootstrap_resamples
    )
    interval = resampled.confidence_interval(LEVEL, "bca" if resampled.n <= BCA_MAXIMUM else "percentile")
    rows.statistic(scope, "icc_a1_bootstrap", resampled, interval, Details(note=note, seed=seed))
    linear = kappa(reference=reference, candidate=candidate, categories=SCORES, weights="linear")
    rows.statistic(scope, "kappa_linear", linear, linear.confidence_interval(LEVEL), noted)
    quadratic = kappa(reference=reference, candidate=candidate, categories=SCORES, weights="quadratic")
    rows.statistic(scope, "kappa_quadratic", quadratic, quadratic.confidence_interval(LEVEL), noted)
    ac2 = gwet_ac(reference=reference, candidate=candidate, categories=SCORES, weights="quadratic")
    rows.statistic(scope, "ac2", ac2, ac2.confidence_interval(LEVEL), noted)
    for quantity, tolerance in (("exact", 0), ("within_1", 1), ("within_2", 2)):
        share = agreement_within(reference=reference, candidate=candidate, tolerance=tolerance)
        rows.proportion(scope, quantity, share, note)
    limits = bland_altman(reference=reference, candidate=candidate)
    lower, upper = limits.limit_intervals(LEVEL)
    with_p = Details(unit="points", note=note, p_value=limits.p)
    rows.statistic(scope, "bias", limits, _named(limits.confidence_interval(LEVEL), "candidate - reference"), with_p)
    points = Details(unit="points", note=joined(note, limits.reason))
    rows.add(scope, "loa_lower", limits.loa_lower, limits.n, lower, points)
    rows.add(scope, "loa_upper", limits.loa_upper, limits.n, upper, points)
    rows.intervals[scope.id_of("loa_lower")] = lambda level: limits.limit_intervals(level)[0]
    rows.intervals[scope.id_of("loa_upper")] = lambda level: limits.limit_intervals(level)[1]
    slope = Details(note=joined(note, limits.slope_reason), p_value=limits.slope_p)
    rows.add(scope, "proportional_slope", limits.slope, limits.n, limits.slope_interval(LEVEL), slope)
    symmetry = bowker(reference=reference, candidate=candidate, categories=SCORES, seed=config.study.seed)
    drawn = config.study.seed if "Monte Carlo" in symmetry.test else None
    tested = Details(p_value=symmetry.p, seed=drawn, note=joined(note, f"{symmetry.n_discordant} differ"))
    rows.statistic(scope, "bowker", symmetry, symmetry.test, tested)
    rho = spearman(reference=reference, candidate=candidate)
    rows.statistic(scope, "spearman", rho, rho.confidence_interval(LEVEL), Details(note=note, p_value=rho.p))


def _add_regions(rows: Builder, scope: Scope, patients: Patients, note: str | None) -> None:
    """Add the agreement of each region, affected on either side of the patient."""
    sources = [patients.flags.get(source) for source in (scope.reference or "", scope.source or "")]
    if any(flags is None or flags.regions != ASPECTS_REGIONS for flags in sources):
        return
    first, second = (flags.of_side("any") for flags in sources if flags is not None)
    kept = patients.complete(first, second)
    if not kept.any():
        return
    _add_sides(rows, scope, patients, note)
    for at, region in enumerate(ASPECTS_REGIONS):
        of_region = replace(scope, region=region, measure=None)
        reference, candidate = first[kept, at], second[kept, at]
        table = binary_agreement(reference=reference, candidate=candidate)
        for quantity, share in table.proportions().items():
            rows.proportion(of_region, f"region_{quantity}", share, note)
        coefficient = kappa(reference=reference, candidate=candidate, categories=(0, 1), weights="none")
        interval = coefficient.confidence_interval(LEVEL)
        rows.statistic(of_region, "region_kappa", coefficient, interval, Details(note=note))
        ac1 = gwet_ac(reference=reference, candidate=candidate, categories=(0, 1))
        rows.statistic(of_region, "region_ac1", ac1, ac1.confidence_interval(LEVEL), Details(note=note))
        for quantity in ("positive_agreement", "negative_agreement"):
            index = table.indices()[quantity]
            rows.statistic(of_region, f"region_{quantity}", index, "specific agreement", Details(note=note))


def _add_sides(rows: Builder, scope: Scope, patients: Patients, note: str | None) -> None:
    """Add bias and limits of the score of one hemisphere; the two of a patient are not independent."""
    pairs = [
        np.concatenate([MAXIMUM_SCORE - patients.flags[source].of_side(side).sum(axis=1) for side in HEMISPHERES])
        for source in (scope.reference or "", scope.source or "")
    ]
    kept = patients.complete(*pairs)
    whose = np.tile(np.arange(patients.n), len(HEMISPHERES))
    result = repeated_bland_altman(patients=whose[kept], reference=pairs[0][kept], candidate=pairs[1][kept])
    details = Details(unit="points", note=joined(note, f"{result.n_pairs} hemispheres", result.reason))
    rows.add(scope, "side_bias", result.estimate, result.n, result.confidence_interval(LEVEL), details)
    lower, upper = result.limit_intervals(LEVEL)
    rows.add(scope, "side_loa_lower", result.loa_lower, result.n, lower, details)
    rows.add(scope, "side_loa_upper", result.loa_upper, result.n, upper, details)


def add_volume_ratios(rows: Builder, patients: Patients, name: str) -> None:
    """Add the ratio of the volumes of every pair of measurements, with its limits of agreement."""
    for (reference, first), (candidate, second) in combinations(patients.volumes.items(), 2):
        kept = patients.complete(first, second)
        scope = Scope(section="agreement", analysis_set=name, measure="volume_ml", source=candidate,
                      reference=reference)  # fmt: skip
        result = ratio_agreement(reference=first[kept], candidate=second[kept])
        note = f"candidate / reference; {result.n_left_out} pairs with 0 ml left out"
        rows.statistic(scope, "volume_ratio", result, result.confidence_interval(LEVEL), Details(note=note))
        limits = Details(note=joined(note, result.reason))
        lower, upper = result.limit_intervals(LEVEL)
        rows.add(scope, "volume_ratio_loa_lower", result.loa_lower, result.n, lower, limits)
        rows.add(scope, "volume_ratio_loa_upper", result.loa_upper, result.n, upper, limits)


def _named(interval: Interval, prefix: str) -> Interval:
    """The interval with what was estimated before its method."""
    return Interval(interval.lower, interval.upper, interval.level, f"{prefix}, {interval.method}")
