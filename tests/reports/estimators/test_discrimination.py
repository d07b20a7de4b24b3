"""ROC and DeLong against R's pROC, scikit-learn and the O(n^2) definition; coverage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from reports.estimators.discrimination import Direction, auc, compare_aucs, roc_curve


def cohort(n: int, seed: int, decimals: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A condition and two markers with ties, higher in the condition."""
    rng = np.random.default_rng(seed)
    condition = rng.random(n) < 0.4
    shared = rng.normal(size=n)
    first, second = (np.round(condition + shared + rng.normal(size=n), decimals) for _ in range(2))
    return condition, first, second


def delong_by_definition(condition: np.ndarray, *markers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and their covariance from all pairs of patients, DeLong et al. (1988), section 2; slow and obvious."""
    of_positive, of_negative = [], []
    for marker in markers:
        psi = np.array([[(p > q) + 0.5 * (p == q) for q in marker[~condition]] for p in marker[condition]])
        of_positive.append(psi.mean(axis=1))
        of_negative.append(psi.mean(axis=0))
    covariance = np.cov(of_positive) / condition.sum() + np.cov(of_negative) / (~condition).sum()
    return np.mean(of_positive, axis=1), covariance


@pytest.mark.real_data
def test_delong_equals_proc_to_its_digits(real_data: Path) -> None:
    reference = json.loads((real_data / "stats" / "reference.json").read_text())["delong_aSAH"]
    table = pd.read_csv(real_data / "stats" / reference["file"])
    poor = table["outcome"] == "Poor"
    assert (poor.sum(), (~poor).sum()) == (41, reference["controls"])
    for marker in ("wfns", "s100b"):
        area = auc(reference=poor, candidate=table[marker], positive_when="high")
        interval = area.confidence_interval()
        assert round(area.estimate, 6) == reference["auc"][marker]
        # one printed bound (wfns, upper: 0.8988228...) is cut, not rounded, at its sixth digit
        assert [interval.lower, interval.upper] == pytest.approx(reference["ci"][marker], abs=1e-6)
    difference = compare_aucs(
        reference=poor,
        candidate_a=table["wfns"],
        candidate_b=table["s100b"],
        positive_when_a="high",
        positive_when_b="high",
    )
    expected = reference["paired"]["wfns_s100b"]
    assert difference.z == pytest.approx(expected["Z"], abs=1e-13)
    assert difference.p == pytest.approx(expected["p"], abs=1e-14)
    interval = difference.confidence_interval()
    assert [interval.lower, interval.upper] == pytest.approx(expected["ci_diff"], abs=1e-14)


def test_delong_equals_its_definition() -> None:
    condition, first, second = cohort(60, seed=1)
    areas, covariance = delong_by_definition(condition, first, second)
    difference = compare_aucs(
        reference=condition, candidate_a=first, candidate_b=second, positive_when_a="high", positive_when_b="high"
    )
    assert [difference.auc_a.estimate, difference.auc_b.estimate] == pytest.approx(list(areas), abs=1e-14)
    assert [difference.auc_a.variance, difference.auc_b.variance] == pytest.approx(list(np.diag(covariance)), abs=1e-15)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert difference.standard_error == pytest.approx(math.sqrt(variance), abs=1e-14)


def test_auc_by_hand() -> None:
    # positives 7 and 3, negatives 9 and 7, low is positive: pairs 7<9, 7=7, 3<9, 3<7 -> 3.5 of 4
    area = auc(reference=[0, 0, 1, 1], candidate=[9, 7, 7, 3], positive_when="low")
    assert area.estimate == 3.5 / 4
    # components 0.75, 1 and 1, 0.75: both variances 1/32, over 2 patients each
    assert area.variance == pytest.approx(1 / 32)
    assert (area.n_positive, area.n_negative, area.n) == (2, 2, 4)


@pytest.mark.parametrize("direction", ["high", "low"])
def test_roc_curve_equals_scikit_learn(direction: Direction) -> None:
    condition, marker, _ = cohort(80, seed=2)
    oriented = marker if direction == "high" else -marker
    false_positive_rate, sensitivity, cuts = metrics.roc_curve(condition, oriented, drop_intermediate=False)
    curve = roc_curve(reference=condition, candidate=marker, positive_when=direction)
    np.testing.assert_allclose(curve.sensitivity, sensitivity, atol=1e-14)
    np.testing.assert_allclose(1 - curve.specificity, false_positive_rate, atol=1e-14)
    np.testing.assert_array_equal(curve.cuts, cuts if direction == "high" else -cuts)
    area = auc(reference=condition, candidate=marker, positive_when=direction)
    assert area.estimate == pytest.approx(metrics.roc_auc_score(condition, oriented), abs=1e-14)


def test_the_direction_is_not_guessed() -> None:
    condition, marker, _ = cohort(50, seed=3)
    high = auc(reference=condition, candidate=marker, positive_when="high")
    low = auc(reference=condition, candidate=marker, positive_when="low")
    assert high.estimate > 0.6
    assert low.estimate == pytest.approx(1 - high.estimate)
    assert low.variance == pytest.approx(high.variance)


def test_difference_is_antisymmetric_and_unchanged_by_order() -> None:
    condition, first, second = cohort(70, seed=4)
    order = np.random.default_rng(5).permutation(70)
    forward = compare_aucs(
        reference=condition, candidate_a=first, candidate_b=second, positive_when_a="high", positive_when_b="high"
    )
    backward = compare_aucs(
        reference=condition, candidate_a=second, candidate_b=first, positive_when_a="high", positive_when_b="high"
    )
    shuffled = compare_aucs(
        reference=condition[order],
        candidate_a=-first[order],
        candidate_b=second[order],
        positive_when_a="low",
        positive_when_b="high",
    )
    assert backward.estimate == -forward.estimate
    assert backward.p == pytest.approx(forward.p)
    assert (shuffled.z, shuffled.p) == pytest.approx((forward.z, forward.p))


def test_one_class_only() -> None:
    area = auc(reference=[1, 1, 1], candidate=[1, 2, 3], positive_when="high")
    assert math.isnan(area.estimate)
    assert area.reason == "both classes are needed, got 3 positive and 0 negative"
    assert math.isnan(area.confidence_interval().lower)
    curve = roc_curve(reference=[1, 1, 1], candidate=[1, 2, 3], positive_when="high")
    assert np.all(np.isnan(curve.specificity))
    assert curve.sensitivity.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    nobody = compare_aucs(
        reference=[0, 0], candidate_a=[1, 2], candidate_b=[1, 2], positive_when_a="high", positive_when_b="high"
    )
    assert math.isnan(nobody.z)
    assert "got 0 positive" in (nobody.reason or "")
    assert math.isnan(nobody.confidence_interval().lower)


def test_perfect_separation_and_a_class_of_one_have_an_area_but_no_interval() -> None:
    for condition in ([0, 0, 1, 1], [0, 0, 0, 1]):
        area = auc(reference=condition, candidate=[1, 2, 3, 4], positive_when="high")
        assert area.estimate == 1
        interval = area.confidence_interval()
        assert math.isnan(interval.lower)
        assert "zero or undefined" in interval.method


def test_a_constant_candidate_tells_nothing() -> None:
    area = auc(reference=[0, 1, 1, 0], candidate=[5, 5, 5, 5], positive_when="low")
    assert (area.estimate, area.variance) == (0.5, 0)
    assert math.isnan(area.confidence_interval().upper)


def test_two_candidates_of_one_ranking_cannot_be_tested() -> None:
    condition, first, _ = cohort(30, seed=6)
    same = compare_aucs(
        reference=condition, candidate_a=first, candidate_b=-3 * first, positive_when_a="high", positive_when_b="low"
    )
    assert same.estimate == 0
    assert math.isnan(same.p)
    assert "rank all patients alike" in (same.reason or "")


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="positive_when must be one of high, low, got 'auto'"):
        auc(reference=[0, 1], candidate=[1, 2], positive_when="auto")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reference must have 3 values"):
        auc(reference=[0, 1], candidate=[1, 2, 3], positive_when="high")
    with pytest.raises(ValueError, match="candidate must be finite"):
        auc(reference=[0, 1], candidate=[1, np.nan], positive_when="high")


def test_intervals_cover_as_promised() -> None:
    """Two binormal markers of d' = 1: AUC Phi(1 / sqrt 2) = .760; difference 0; 100 patients."""
    truth, n_trials = 0.7602499389065233, 1500
    rng = np.random.default_rng(30)
    hits = {"wald": 0, "difference": 0}
    condition = np.repeat([False, True], 50)
    for _ in range(n_trials):
        first, second = condition + rng.normal(size=(2, 100))
        difference = compare_aucs(
            reference=condition, candidate_a=first, candidate_b=second, positive_when_a="high", positive_when_b="high"
        )
        for name, interval, value in (
            ("wald", difference.auc_a.confidence_interval(), truth),
            ("difference", difference.confidence_interval(), 0.0),
        ):
            hits[name] += interval.lower <= value <= interval.upper
    error = math.sqrt(0.95 * 0.05 / n_trials)
    for name, count in hits.items():
        assert abs(count / n_trials - 0.95) < 3 * error, name
