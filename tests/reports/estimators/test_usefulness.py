"""Net benefit, calibration, shift of the outcome, precision and intention to diagnose."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.metrics import brier_score_loss

from reports.estimators.association import ordinal_odds_ratios
from reports.estimators.calibration import calibration
from reports.estimators.decision_curve import decision_curve, net_benefit
from reports.estimators.discrimination import auc
from reports.estimators.estimate import Proportion
from reports.estimators.intention_to_diagnose import intention_to_diagnose
from reports.estimators.ordinal_shift import generalised_odds_ratio
from reports.estimators.precision import patients_for_area, patients_for_icc, patients_for_limits, patients_for_share
from tasks.thresholds import Threshold

# MR CLEAN (Berkhemer OA et al. 2015, N Engl J Med 372:11-20), figure 1: 90-day mRS 0..6, printed as whole percentages
# of 233 and 267 patients; these counts round to them
INTERVENTION = (6, 21, 49, 42, 52, 14, 49)
CONTROL = (1, 16, 34, 43, 81, 33, 59)


def mr_clean() -> tuple[np.ndarray, np.ndarray]:
    """mRS of 500 patients, and who was in the control group."""
    return np.repeat(np.tile(np.arange(7), 2), (*INTERVENTION, *CONTROL)), np.repeat([False, True], (233, 267))


def predictions(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too extreme by a factor of two, and what happened."""
    rng = np.random.default_rng(2)
    logit = rng.normal(0, 1.5, n)
    return special.expit(2 * logit), rng.random(n) < special.expit(logit)


def test_net_benefit_by_hand() -> None:
    """6 of 20 have the condition, 5 of them and 4 others are treated, at a threshold of 20 %: 5/20 - 4/20 / 4."""
    reference = np.repeat([True, False], (6, 14))
    treated = np.concatenate([np.arange(6) < 5, np.arange(14) < 4])
    result = net_benefit(reference=reference, is_treated=treated, threshold=0.2)
    assert result.estimate == pytest.approx(5 / 20 - 4 / 20 * 0.25)
    worth = np.repeat([1, 0, -0.25, 0], (5, 1, 4, 10))
    assert result.standard_error == pytest.approx(worth.std(ddof=1) / math.sqrt(20))
    everybody = net_benefit(reference=reference, is_treated=np.ones(20), threshold=0.2)
    assert everybody.estimate == pytest.approx(0.3 - 0.7 * 0.25)  # prevalence - (1 - prevalence) x odds
    nobody = net_benefit(reference=reference, is_treated=np.zeros(20), threshold=0.2)
    assert (nobody.estimate, math.isnan(nobody.confidence_interval().lower)) == (0, True)


def test_treating_everybody_is_worth_nothing_at_the_prevalence() -> None:
    reference = np.repeat([True, False], (30, 70))
    assert net_benefit(reference=reference, is_treated=np.ones(100), threshold=0.3).estimate == pytest.approx(0)


def test_a_curve_is_the_net_benefit_at_each_threshold() -> None:
    risk, happened = predictions()
    cuts = (0.1, 0.5, 0.9)
    curve = decision_curve(reference=happened, risk=risk, thresholds=cuts)
    for cut, point in zip(cuts, curve, strict=True):
        treated = risk >= cut
        odds = cut / (1 - cut)
        expected = (np.sum(treated & happened) - odds * np.sum(treated & ~happened)) / 400
        assert (point.threshold, point.estimate) == pytest.approx((cut, expected))
    with pytest.raises(ValueError, match="threshold must be > 0 and < 1"):
        decision_curve(reference=happened, risk=risk, thresholds=[1.0])
    with pytest.raises(ValueError, match=r"risk must be within 0\.\.1"):
        decision_curve(reference=[1], risk=[2], thresholds=[0.5])


def test_calibration_equals_the_likelihood_and_scikit_learn() -> None:
    probability, happened = predictions()
    result = calibration(reference=happened, probability=probability)
    logit = special.logit(probability)

    def loss(parameters: np.ndarray) -> float:
        linear = parameters[0] * logit + parameters[1]
        return float(np.sum(np.logaddexp(0, linear) - happened * linear))

    best = optimize.minimize(loss, [1, 0], tol=1e-10)
    assert result.slope.estimate == pytest.approx(best.x[0], abs=1e-5)
    fitted = special.expit(best.x[0] * logit + best.x[1])
    design = np.column_stack([logit, np.ones(logit.size)])
    information = design.T @ (design * (fitted * (1 - fitted))[:, None])
    assert result.slope.standard_error == pytest.approx(math.sqrt(np.linalg.inv(information)[0, 0]), rel=1e-4)
    assert result.brier.estimate == pytest.approx(brier_score_loss(happened, probability))
    large = optimize.minimize(lambda a: loss([1, a[0]]), [0], tol=1e-10)
    assert result.intercept.estimate == pytest.approx(large.x[0], abs=1e-5)
    interval = result.slope.confidence_interval()
    assert interval.lower < 0.5 < interval.upper < 1  # too extreme by two, and seen to be so
    assert sum(one.observed.n for one in result.bins) == 400
    assert sum(one.observed.count for one in result.bins) == happened.sum()
    assert all(a.mean_probability < b.mean_probability for a, b in zip(result.bins, result.bins[1:], strict=False))


def test_calibration_in_the_large_by_hand() -> None:
    """Everybody is told 1/2 and 3 of 4 happen: the log odds exceed by log 3, and the Brier score is 1/4."""
    result = calibration(reference=[1, 1, 1, 0], probability=[0.5] * 4)
    assert (result.intercept.estimate, result.brier.estimate) == pytest.approx((math.log(3), 0.25))
    assert result.intercept.standard_error == pytest.approx(math.sqrt(1 / 3 + 1))
    assert result.slope.reason == "the predictions do not vary"
    assert len(result.bins) == 1


def test_calibration_that_cannot_be_told() -> None:
    alone = calibration(reference=[1, 1], probability=[0.2, 0.9])
    assert alone.reason == "both outcomes are needed, got 2 of 2"
    assert math.isnan(alone.slope.confidence_interval().lower)
    assert alone.brier.estimate == pytest.approx((0.64 + 0.01) / 2)
    perfect = calibration(reference=[0, 0, 1, 1], probability=[0.0, 0.1, 0.9, 1.0])
    assert perfect.slope.reason == "the predictions separate the outcomes"
    assert calibration(reference=[], probability=[]).brier.reason == "no patient"
    with pytest.raises(ValueError, match=r"probability must be within 0\.\.1"):
        calibration(reference=[1], probability=[1.2])
    with pytest.raises(ValueError, match="n_bins must be >= 1"):
        calibration(reference=[1], probability=[0.2], n_bins=0)


def test_mr_clean_shift_as_published() -> None:
    """Table 2: common odds ratio 1.66 (1.21 to 2.28), unadjusted; to 2 %, as the counts come from percentages."""
    outcome, control = mr_clean()
    (common,) = ordinal_odds_ratios(outcome=outcome, predictors=control[:, None].astype(float), names=["control"])
    interval = common.confidence_interval()
    assert (common.estimate, interval.lower, interval.upper) == pytest.approx((1.66, 1.21, 2.28), rel=0.02)
    generalised = generalised_odds_ratio(outcome=outcome, group=control)
    assert 1.2 < generalised.estimate < common.estimate  # ties between seven grades draw it to 1
    assert generalised.p < 0.01


def test_win_odds_are_the_odds_of_the_area() -> None:
    outcome, control = mr_clean()
    area = auc(reference=control, candidate=outcome, positive_when="high")
    result = generalised_odds_ratio(outcome=outcome, group=control)
    share = area.estimate
    assert result.estimate == pytest.approx(share / (1 - share))
    assert result.standard_error_log == pytest.approx(math.sqrt(area.variance) / (share * (1 - share)))


def test_agresti_leaves_ties_out() -> None:
    """Concordant and discordant pairs of the 2 x 7 table, counted one by one."""
    outcome, control = mr_clean()
    result = generalised_odds_ratio(outcome=outcome, group=control, ties="dropped")
    worse = sum(a * b for i, a in enumerate(CONTROL) for j, b in enumerate(INTERVENTION) if i > j)
    better = sum(a * b for i, a in enumerate(CONTROL) for j, b in enumerate(INTERVENTION) if i < j)
    assert result.estimate == pytest.approx(worse / better)
    flipped = generalised_odds_ratio(outcome=outcome, group=~control, ties="dropped")
    assert flipped.estimate == pytest.approx(better / worse)
    assert flipped.standard_error_log == pytest.approx(result.standard_error_log)
    somers = stats.somersd(control.astype(int), outcome).statistic
    assert (worse - better) / (233 * 267) == pytest.approx(somers)


def test_shift_that_cannot_be_told() -> None:
    separate = generalised_odds_ratio(outcome=[0, 0, 1, 1], group=[0, 0, 1, 1])
    assert separate.reason == "no pair of patients has the one order or the other"
    few = generalised_odds_ratio(outcome=[0, 1, 2], group=[0, 0, 1])
    assert "at least 2 patients in either group" in (few.reason or "")
    tied = generalised_odds_ratio(outcome=[1, 1, 1, 1], group=[0, 0, 1, 1])
    assert (tied.estimate, tied.reason) == (1, "the outcome does not vary within the groups")
    with pytest.raises(ValueError, match="ties must be one of split, dropped"):
        generalised_odds_ratio(outcome=[1], group=[1], ties="half")  # type: ignore[arg-type]


def test_precision_as_published() -> None:
    """Bonett (2002), equation 3, by hand; Bland & Altman (1999): 100 patients give +-.34 SD, 200 give +-.24."""
    z = 1.959963984540054
    expected = math.ceil(8 * z**2 * 0.3**2 * 2.4**2 / (3 * 2 * 0.2**2) + 1)
    assert patients_for_icc(icc=0.7, width=0.2, n_raters=3) == expected == 68
    assert patients_for_limits(sd=1, width=0.68) == 100
    assert patients_for_limits(sd=1, width=0.48) == 201


def test_precision_gives_the_width_it_promises() -> None:
    n = patients_for_share(share=0.9, width=0.1)
    wide, narrow = (Proportion(round(0.9 * k), k).confidence_interval() for k in (n - 3, n))
    assert narrow.upper - narrow.lower <= 0.1 < wide.upper - wide.lower
    assert patients_for_share(share=1.0, width=0.5) == 4
    n = patients_for_area(auc=0.8, width=0.1, prevalence=0.5)
    # Hanley & McNeil: q1 = .6667, q2 = .7111; variance about (.16 + (n/2 - 1)(.0267 + .0711)) / (n/2)^2
    half = n / 2
    variance = (0.16 + (half - 1) * (0.8 / 1.2 - 0.64 + 1.28 / 1.8 - 0.64)) / half**2
    assert 2 * 1.96 * math.sqrt(variance) == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patients_for_icc(icc=0.5, width=0), "width must be > 0"),
        (lambda: patients_for_icc(icc=1.0, width=0.1), r"icc must be within -1\.\.1"),
        (lambda: patients_for_share(share=1.5, width=0.1), r"share must be within 0\.\.1"),
        (lambda: patients_for_share(share=0.5, width=1e-9), "width must be reachable"),
        (lambda: patients_for_area(auc=0.4, width=0.1, prevalence=0.5), r"auc must be within 0\.5\.\.1"),
        (lambda: patients_for_limits(sd=0, width=0.1), "sd must be > 0"),
    ],
)
def test_precision_refuses_misuse(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_failures_counted_as_errors_by_hand() -> None:
    """10 severe: 6 found, 2 missed, 2 failed; 10 mild: 7 right, 1 wrong, 2 failed; 3 of unknown severity."""
    low = Threshold("low", 6, "le", "low", "", "ASPECTS")
    candidate = [3] * 6 + [9] * 2 + [math.nan] * 2 + [9] * 7 + [3] + [math.nan] * 2 + [5, math.nan, 9]
    reference = [1] * 10 + [0] * 10 + [math.nan] * 3
    table = intention_to_diagnose(reference=reference, candidate=candidate, threshold=low)
    counts = {name: one.counts() for name, one in (("c", table.complete), ("w", table.worst), ("b", table.best))}
    assert counts["c"] == {"tp": 6, "fn": 2, "fp": 1, "tn": 7}
    assert counts["w"] == {"tp": 6, "fn": 4, "fp": 3, "tn": 7}
    assert counts["b"] == {"tp": 8, "fn": 2, "fp": 1, "tn": 9}
    assert (table.failures.count, table.failures.n, table.n, table.n_unknown) == (4, 20, 20, 3)


def test_the_truth_lies_between_worst_and_best() -> None:
    rng = np.random.default_rng(9)
    cut = Threshold("low", 6, "le", "low", "", "ASPECTS")
    for _ in range(50):
        reference = rng.random(30) < 0.4
        truth = np.clip(rng.normal(8 - 3 * reference, 2), 0, 10)
        seen = np.where(rng.random(30) < 0.2, np.nan, truth)
        bounds = intention_to_diagnose(reference=reference, candidate=seen, threshold=cut)
        whole = intention_to_diagnose(reference=reference, candidate=truth, threshold=cut).complete
        for name in ("sensitivity", "specificity"):
            low, middle, high = (one.proportions()[name].estimate for one in (bounds.worst, whole, bounds.best))
            assert low <= middle <= high
    with pytest.raises(ValueError, match="one value per patient"):
        intention_to_diagnose(reference=[1], candidate=[1, 2], threshold=cut)
