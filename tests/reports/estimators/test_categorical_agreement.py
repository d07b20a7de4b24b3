"""Kappa against scikit-learn and R's irrCAC, Gwet's AC, PABAK and its indices, McNemar; coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from reports.estimators.categorical_agreement import (
    WEIGHTS,
    Weights,
    binary_agreement,
    contingency_table,
    gwet_ac,
    kappa,
)

# Two abstractors, 100 records (Gwet's handbook; data set cont3x3abstractors of R's irrCAC 1.0)
ABSTRACTORS = np.array([[13, 0, 0], [0, 20, 7], [0, 4, 56]])


def patients(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two ratings behind a table of counts."""
    rows, columns = np.indices(table.shape)
    return np.repeat(rows.ravel(), table.ravel()), np.repeat(columns.ravel(), table.ravel())


def test_kappa_equals_irrcac() -> None:
    reference, candidate = patients(ABSTRACTORS)
    result = kappa(reference=reference, candidate=candidate, categories=range(3), weights="none")
    assert (round(result.estimate, 7), round(result.standard_error, 8)) == (0.7964094, 0.05891072)


@pytest.mark.parametrize(
    ("weights", "estimate", "lower", "upper"),
    [("none", 0.849, 0.764, 0.935), ("linear", 0.900, 0.842, 0.958), ("quadratic", 0.940, 0.905, 0.976)],
)
def test_gwet_equals_irrcac(weights: Weights, estimate: float, lower: float, upper: float) -> None:
    reference, candidate = patients(ABSTRACTORS)
    result = gwet_ac(reference=reference, candidate=candidate, categories=range(3), weights=weights)
    interval = result.confidence_interval()
    assert round(result.estimate, 3) == estimate
    # irrCAC's form for tables divides the variance by n = 100, its form for ratings and ours by n - 1: under 0.001
    assert [interval.lower, interval.upper] == pytest.approx([lower, upper], abs=0.001)
    if weights == "none":
        assert round(result.estimate, 7) == 0.8493305
        assert result.standard_error * math.sqrt(99 / 100) == pytest.approx(0.04321747, abs=5e-9)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_kappa_equals_scikit_learn_with_unused_categories(weights: Weights) -> None:
    rng = np.random.default_rng(1)
    reference = rng.integers(3, 9, 80)
    candidate = np.clip(reference + rng.integers(-2, 3, 80), 0, 10)
    expected = cohen_kappa_score(reference, candidate, labels=range(11), weights=None if weights == "none" else weights)
    result = kappa(reference=reference, candidate=candidate, categories=range(11), weights=weights)
    assert result.estimate == pytest.approx(expected, abs=1e-12)


def test_categories_go_by_their_order_not_their_value() -> None:
    table = contingency_table(reference=[3, 1, 3], candidate=[1, 1, 3], categories=(3, 2, 1))
    assert table.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_the_kappa_paradox() -> None:
    """Byrt et al. (1993): high agreement, rare category; kappa is low, PABAK and AC1 are not."""
    reference, candidate = (
        np.array([1] * 1 + [1] * 4 + [0] * 5 + [0] * 90),
        np.array([1] * 1 + [0] * 4 + [1] * 5 + [0] * 90),
    )
    table = binary_agreement(reference=reference, candidate=candidate)
    assert (table.both, table.only_reference, table.only_candidate, table.neither) == (1, 4, 5, 90)
    indices = {name: index.estimate for name, index in table.indices().items()}
    assert indices == pytest.approx(
        {
            "pabak": 0.82,
            "prevalence_index": -0.89,
            "bias_index": 0.01,
            "positive_agreement": 2 / 11,
            "negative_agreement": 180 / 189,
        }
    )
    # chance by kappa .05 x .06 + .95 x .94 = .896; by Gwet 2 x .055 x .945 = .10395
    plain = kappa(reference=reference, candidate=candidate, categories=(0, 1), weights="none")
    assert plain.estimate == pytest.approx((0.91 - 0.896) / (1 - 0.896))
    ac1 = gwet_ac(reference=reference, candidate=candidate, categories=(0, 1))
    assert ac1.estimate == pytest.approx((0.91 - 0.10395) / (1 - 0.10395))
    # Byrt's identity: kappa = (PABAK - PI^2 + BI^2) / (1 - PI^2 + BI^2)
    pi2, bi2 = indices["prevalence_index"] ** 2, indices["bias_index"] ** 2
    assert plain.estimate == pytest.approx((indices["pabak"] - pi2 + bi2) / (1 - pi2 + bi2))


COEFFICIENTS = {
    **{
        f"kappa_{w}": lambda x, y, w=w: kappa(reference=x, candidate=y, categories=range(11), weights=w)
        for w in WEIGHTS
    },
    **{
        f"gwet_{w}": lambda x, y, w=w: gwet_ac(reference=x, candidate=y, categories=range(11), weights=w)
        for w in WEIGHTS
    },
}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_coefficients_are_symmetric_unchanged_by_order_and_one_for_identical(name: str) -> None:
    coefficient = COEFFICIENTS[name]
    rng = np.random.default_rng(2)
    x = rng.integers(0, 11, 60)
    y = np.clip(x + rng.integers(-2, 3, 60), 0, 10)
    order = rng.permutation(60)
    here = coefficient(x, y)
    for other in (coefficient(y, x), coefficient(x[order], y[order]), coefficient(10 - x, 10 - y)):
        assert other.estimate == pytest.approx(here.estimate, abs=1e-12)
        assert other.standard_error == pytest.approx(here.standard_error, abs=1e-12)
    identical = coefficient(x, x)
    assert identical.estimate == pytest.approx(1)
    assert math.isnan(identical.confidence_interval().lower)


def test_one_category_only() -> None:
    constant = kappa(reference=[7, 7, 7], candidate=[7, 7, 7], categories=range(11))
    assert math.isnan(constant.estimate)
    assert constant.reason == "both sources use one category only"
    assert math.isnan(constant.confidence_interval().lower)
    assert gwet_ac(reference=[7, 7, 7], candidate=[7, 7, 7], categories=range(11)).estimate == 1


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_patients(n: int) -> None:
    for result in (
        kappa(reference=[1] * n, candidate=[2] * n, categories=range(11)),
        gwet_ac(reference=[1] * n, candidate=[2] * n, categories=range(11)),
    ):
        assert math.isnan(result.estimate)
        assert result.reason == f"{n} patients, at least 2 are needed"
        assert math.isnan(result.confidence_interval().upper)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="every value must be one of the categories, got 11"):
        kappa(reference=[1, 11], candidate=[1, 2], categories=range(11))
    with pytest.raises(ValueError, match="categories must be at least 2 and all different"):
        kappa(reference=[1], candidate=[1], categories=(1, 1))
    with pytest.raises(ValueError, match="weights must be one of none, linear, quadratic"):
        gwet_ac(reference=[1], candidate=[1], categories=(1, 2), weights="radical")  # type: ignore[arg-type]


def test_intervals_cover_as_promised() -> None:
    rng, n_trials, n = np.random.default_rng(50), 400, 150
    shares = np.array([[0.30, 0.05, 0.02], [0.06, 0.20, 0.05], [0.01, 0.06, 0.25]])
    big = patients(np.round(shares * 1_000_000).astype(int))
    truth = {
        "kappa": kappa(reference=big[0], candidate=big[1], categories=range(3)).estimate,
        "gwet": gwet_ac(reference=big[0], candidate=big[1], categories=range(3), weights="quadratic").estimate,
    }
    hits = dict.fromkeys(truth, 0)
    for _ in range(n_trials):
        x, y = np.divmod(rng.choice(9, size=n, p=shares.ravel()), 3)
        results = {
            "kappa": kappa(reference=x, candidate=y, categories=range(3)),
            "gwet": gwet_ac(reference=x, candidate=y, categories=range(3), weights="quadratic"),
        }
        for name, result in results.items():
            interval = result.confidence_interval()
            hits[name] += interval.lower <= truth[name] <= interval.upper
    for name, count in hits.items():
        assert abs(count / n_trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n_trials), name
