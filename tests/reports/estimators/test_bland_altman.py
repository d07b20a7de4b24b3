"""Bland-Altman against the paper of 1986, exact limits; coverage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.estimators.bland_altman import bland_altman


@pytest.mark.real_data
def test_peak_flow_equals_the_paper(real_data: Path) -> None:
    expected = json.loads((real_data / "stats" / "reference.json").read_text())["bland_altman_1986_pefr"]
    table = pd.read_csv(real_data / "stats" / expected["file"])
    pair = {"reference": table["MiniWrightFirst"], "candidate": table["WrightFirst"]}
    result = bland_altman(**pair)
    assert (result.n, round(result.bias, 6), round(result.sd, 5)) == (17, expected["bias"], expected["sd"])
    assert [round(result.loa_lower, 4), round(result.loa_upper, 4)] == expected["loa_1.96"]

    paper = bland_altman(**pair, limit_factor=2)
    printed = expected["published"]
    assert (round(paper.bias, 1), round(paper.sd, 1)) == (printed["bias"], printed["sd"])
    # the paper calculates on with its rounded bias and SD, hence a tolerance of 0.2 l/min
    assert [paper.loa_lower, paper.loa_upper] == pytest.approx(printed["loa_2sd"], abs=0.2)
    interval = paper.confidence_interval()
    assert [interval.lower, interval.upper] == pytest.approx(printed["ci_bias"], abs=0.1)
    lower, upper = paper.limit_intervals(method="approximate")
    assert [lower.lower, lower.upper] == pytest.approx(printed["ci_lower_loa"], abs=0.2)
    assert [upper.lower, upper.upper] == pytest.approx(printed["ci_upper_loa"], abs=0.2)


def test_all_by_hand() -> None:
    result = bland_altman(reference=[1, 2, 3, 4], candidate=[2, 2, 4, 6])  # differences 1 0 1 2, means 1.5 2 3.5 5
    assert (result.bias, result.sd) == pytest.approx((1, math.sqrt(2 / 3)))
    assert result.t == pytest.approx(1 / math.sqrt(2 / 3 / 4))
    assert result.p == pytest.approx(2 * stats.t.sf(math.sqrt(6), 3))
    # slope: S_xy = (-1.5)(0) + (-1)(-1) + 0.5 * 0 + 2 * 1 = 3, S_xx = 2.25 + 1 + 0.25 + 4 = 7.5
    assert result.slope == pytest.approx(0.4)
    assert result.slope_standard_error == pytest.approx(math.sqrt((2 - 0.4 * 3) / 2 / 7.5))
    interval = result.slope_interval()
    assert interval.upper - 0.4 == pytest.approx(4.302652729749464 * result.slope_standard_error)  # t(.975, 2)


def test_paired_t_equals_scipy() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 30))
    result = bland_altman(reference=first, candidate=second)
    expected = stats.ttest_rel(second, first)
    assert (result.t, result.p) == pytest.approx((expected.statistic, expected.pvalue))
    theirs, ours = expected.confidence_interval(), result.confidence_interval()
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))


def test_exact_limits_come_from_the_tolerance_factor() -> None:
    # One-sided tolerance factor k(n = 10, 95 % of the population, confidence .95) = 2.911 (NIST handbook 7.2.6.3 form
    # k = t'(.95; 9, z.95 sqrt n) / sqrt n; Owen's tables): an upper bound at level .90 of bias + 1.644854 SD.
    values = stats.norm.ppf((np.arange(10) + 0.5) / 10)
    result = bland_altman(reference=np.zeros(10), candidate=values, limit_factor=1.6448536269514722)
    _, upper = result.limit_intervals(level=0.90)
    assert round((upper.upper - result.bias) / result.sd, 3) == 2.911


def test_exact_and_approximate_limits_meet_in_large_cohorts() -> None:
    values = np.random.default_rng(2).normal(size=20_000)
    result = bland_altman(reference=np.zeros(values.size), candidate=values)
    exact, approximate = result.limit_intervals()[1], result.limit_intervals(method="approximate")[1]
    assert exact.lower == pytest.approx(approximate.lower, abs=0.001)
    assert exact.upper == pytest.approx(approximate.upper, abs=0.001)


def test_exchanging_the_sources_mirrors_the_result() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 25))
    order = rng.permutation(25)
    forward = bland_altman(reference=first, candidate=second)
    backward = bland_altman(reference=second[order], candidate=first[order])
    assert (backward.bias, backward.loa_lower, backward.slope) == pytest.approx(
        (-forward.bias, -forward.loa_upper, -forward.slope)
    )
    assert (backward.sd, backward.p, backward.slope_p) == pytest.approx((forward.sd, forward.p, forward.slope_p))
    low, high = forward.limit_intervals()
    assert backward.limit_intervals()[0].lower == pytest.approx(-high.upper)
    assert backward.limit_intervals()[1].lower == pytest.approx(-low.upper)


@pytest.mark.parametrize(
    ("reference", "candidate", "bias", "reason"),
    [
        ([], [], math.nan, "0 patients, at least 2"),
        ([5], [7], 2.0, "1 patients, at least 2"),
        ([1, 2, 3], [1, 2, 3], 0.0, "the differences do not vary"),
        ([1, 2, 3], [3, 4, 5], 2.0, "the differences do not vary"),
        ([0.1, 0.2, 0.7], [0.4, 0.5, 1.0], 0.3, "the differences do not vary"),  # but for rounding
    ],
)
def test_degenerate_pairs(reference: list[float], candidate: list[float], bias: float, reason: str) -> None:
    result = bland_altman(reference=reference, candidate=candidate)
    assert result.bias == pytest.approx(bias, nan_ok=True)
    assert reason in (result.reason or "")
    assert math.isnan(result.p)
    assert math.isnan(result.slope)
    intervals = [result.confidence_interval(), result.slope_interval(), *result.limit_intervals()]
    assert all(math.isnan(interval.lower) for interval in intervals)


def test_two_patients_have_limits_but_no_slope() -> None:
    result = bland_altman(reference=[1, 2], candidate=[2, 5])
    assert result.reason is None
    assert math.isnan(result.slope)
    assert "at least 3 patients" in result.slope_interval().method
    assert result.limit_intervals()[0].lower < result.loa_lower


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="limit_factor must be > 0"):
        bland_altman(reference=[1, 2], candidate=[1, 2], limit_factor=0)
    with pytest.raises(ValueError, match="method must be one of exact, approximate"):
        bland_altman(reference=[1, 2], candidate=[2, 5]).limit_intervals(method="mover")  # type: ignore[arg-type]


def test_intervals_cover_as_promised() -> None:
    rng, n_trials = np.random.default_rng(40), 1000
    hits = {"bias": 0, "limit": 0}
    for _ in range(n_trials):
        result = bland_altman(reference=np.zeros(15), candidate=rng.normal(1, 2, 15))
        bias, limit = result.confidence_interval(), result.limit_intervals()[1]
        hits["bias"] += bias.lower <= 1 <= bias.upper
        hits["limit"] += limit.lower <= 1 + 1.96 * 2 <= limit.upper
    for name, count in hits.items():
        assert abs(count / n_trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n_trials), name
