"""Rank correlations and the proportional-odds model: by hand, against other programs, and where not estimable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.discrete.discrete_model import Logit

from reports.estimators.association import OddsRatio, kendall_tau_b, ordinal_odds_ratios, spearman


def test_rank_correlations_by_hand() -> None:
    # ranks 1 2 3 4 5 and 2 1 4 3 5: sum of d^2 = 4 -> rho = 1 - 24/120; 8 concordant and 2 discordant pairs of 10
    x, y = [1, 2, 3, 4, 5], [2, 1, 4, 3, 5]
    assert spearman(reference=x, candidate=y).estimate == pytest.approx(0.8)
    assert kendall_tau_b(reference=x, candidate=y).estimate == pytest.approx(0.6)


def test_tau_b_allows_for_ties_by_hand() -> None:
    # pairs of (1, 1) (1, 2) (2, 2) (3, 3): 4 concordant, 0 discordant, one tie in each -> 4 / sqrt(5 x 5)
    assert kendall_tau_b(reference=[1, 1, 2, 3], candidate=[1, 2, 2, 3]).estimate == pytest.approx(0.8)


def test_intervals_by_hand() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    rho, tau = spearman(reference=x, candidate=y), kendall_tau_b(reference=x, candidate=y)
    assert rho.p == pytest.approx(stats.spearmanr(x, y).pvalue)
    margin = 1.959963984540054 * math.sqrt((1 + rho.estimate**2 / 2) / 47)
    assert rho.confidence_interval().lower == pytest.approx(math.tanh(math.atanh(rho.estimate) - margin))
    margin = 1.959963984540054 * math.sqrt(0.437 / 46)
    assert tau.confidence_interval().upper == pytest.approx(math.tanh(math.atanh(tau.estimate) + margin))


COEFFICIENTS = {"spearman": spearman, "kendall_tau_b": kendall_tau_b}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_correlations_are_symmetric_and_unchanged_by_order_and_monotone_maps(name: str) -> None:
    coefficient = COEFFICIENTS[name]
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 11, 40).astype(float), rng.integers(0, 7, 40).astype(float)
    order = rng.permutation(40)
    here = coefficient(reference=x, candidate=y).estimate
    assert coefficient(reference=y, candidate=x).estimate == pytest.approx(here)
    assert coefficient(reference=x[order], candidate=np.exp(y[order])).estimate == pytest.approx(here)
    assert coefficient(reference=10 - x, candidate=y).estimate == pytest.approx(-here)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_degenerate_correlations(name: str) -> None:
    coefficient = COEFFICIENTS[name]
    constant = coefficient(reference=[5, 5, 5], candidate=[1, 2, 3])
    assert math.isnan(constant.estimate)
    assert constant.reason == "one side is constant"
    few = coefficient(reference=[1, 2], candidate=[1, 2])
    assert few.reason == "2 patients, at least 3 are needed"
    assert math.isnan(few.confidence_interval().lower)
    perfect = coefficient(reference=[1, 2, 3, 4, 5, 6], candidate=[1, 2, 3, 4, 5, 6])
    assert perfect.estimate == pytest.approx(1)
    assert math.isnan(perfect.confidence_interval().lower)


def test_two_categories_equal_logistic_regression() -> None:
    rng = np.random.default_rng(3)
    volume, score = rng.gamma(2, 20, 300), rng.integers(0, 11, 300)
    outcome = rng.random(300) < 1 / (1 + np.exp(-(0.02 * volume - 0.3 * score + 1)))
    expected = Logit(outcome.astype(float), np.column_stack([np.ones(300), volume, score])).fit(disp=False)
    found = ordinal_odds_ratios(
        outcome=outcome, predictors=np.column_stack([volume, score]), names=("volume_ml", "score")
    )
    for ratio, value, error, p in zip(found, expected.params[1:], expected.bse[1:], expected.pvalues[1:], strict=True):
        assert math.log(ratio.estimate) == pytest.approx(value, abs=1e-4)
        assert ratio.standard_error_log == pytest.approx(error, rel=1e-3)
        assert ratio.p == pytest.approx(p, rel=0.01)
    interval = found[1].confidence_interval()
    margin = 1.959963984540054 * found[1].standard_error_log
    assert interval.lower == pytest.approx(found[1].estimate * math.exp(-margin))


def test_a_known_odds_ratio_is_covered() -> None:
    rng, n_trials, hits = np.random.default_rng(4), 25, 0
    for _ in range(n_trials):
        score = rng.integers(0, 11, 200)
        outcome = np.digitize(-0.3 * score + rng.logistic(size=200), [-3, -2, -1, 0, 1, 2])
        (ratio,) = ordinal_odds_ratios(outcome=outcome, predictors=score[:, None], names=("score",))
        interval = ratio.confidence_interval()
        hits += interval.lower <= math.exp(-0.3) <= interval.upper
    assert hits / n_trials > 0.95 - 3 * math.sqrt(0.95 * 0.05 / n_trials)


@pytest.mark.parametrize(
    ("outcome", "predictors", "reason"),
    [
        (np.ones(30), np.arange(30.0)[:, None], "1 outcome category"),
        (np.arange(30) % 3, np.ones((30, 1)), "a predictor is constant"),
        (np.arange(30) % 3, np.column_stack([np.arange(30.0), 2 * np.arange(30.0) + 1]), "collinear"),
        (np.arange(4), np.array([[1.0], [3], [2], [5]]), "4 patients for 4 parameters"),
        (np.arange(40) > 19, np.arange(40.0)[:, None], "separates the outcome categories"),
        (np.repeat([0, 1, 2], 20), np.arange(60.0)[:, None], "separates the outcome categories"),
    ],
)
def test_models_that_cannot_be_estimated_say_why(outcome: np.ndarray, predictors: np.ndarray, reason: str) -> None:
    names = [f"x{i}" for i in range(predictors.shape[1])]
    for ratio in ordinal_odds_ratios(outcome=outcome, predictors=predictors, names=names):
        assert math.isnan(ratio.estimate)
        assert not ratio.converged
        assert reason in (ratio.reason or "")
        assert math.isnan(ratio.confidence_interval().lower)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"predictors must have shape \(n, p\) = \(2, 1\)"):
        ordinal_odds_ratios(outcome=[0, 1], predictors=[1, 2], names=["x"])
    with pytest.raises(ValueError, match="predictors must be finite"):
        ordinal_odds_ratios(outcome=[0, 1], predictors=[[1], [np.nan]], names=["x"])
    with pytest.raises(ValueError, match="one value per patient"):
        spearman(reference=[1, 2], candidate=[1, 2, 3])


def test_correlation_intervals_cover_as_promised() -> None:
    """Bivariate normal, r = .5: rho = 6/pi asin(r/2) = .4826, tau = 2/pi asin(r) = 1/3; n = 60."""
    rng, n_trials = np.random.default_rng(5), 1000
    truth = {"spearman": 6 / math.pi * math.asin(0.25), "kendall_tau_b": 1 / 3}
    hits = dict.fromkeys(truth, 0)
    for _ in range(n_trials):
        x = rng.normal(size=60)
        y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=60)
        for name, coefficient in COEFFICIENTS.items():
            interval = coefficient(reference=x, candidate=y).confidence_interval()
            hits[name] += interval.lower <= truth[name] <= interval.upper
    for name, count in hits.items():
        assert abs(count / n_trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n_trials), name


def test_an_odds_ratio_whose_limit_is_no_number_has_no_interval() -> None:
    """Seven patients whose outcome says little: log odds 3, standard error 400; exp(787) overflows."""
    result = OddsRatio("score", math.exp(3), 400.0, 0.9, 7, True)
    interval = result.confidence_interval()
    assert math.isnan(interval.lower)
    assert math.isnan(interval.upper)
    assert interval.method == "log Wald, not estimable: the upper limit is beyond every number"
