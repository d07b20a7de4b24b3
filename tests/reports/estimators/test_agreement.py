"""ICC against Shrout & Fleiss, R's psych, pingouin and scipy; agreement within a tolerance; coverage."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from reports.estimators.agreement import (
    ICC_FORMS,
    IccForm,
    agreement_within,
    bootstrap_icc_a1,
    icc_a1,
    intraclass_correlation,
)

# Shrout & Fleiss (1979), table 2: six subjects, four judges; the paper prints the six coefficients.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
PUBLISHED: dict[IccForm, float] = {
    "icc_11": 0.17,
    "icc_a1": 0.29,
    "icc_c1": 0.71,
    "icc_1k": 0.44,
    "icc_ak": 0.62,
    "icc_ck": 0.91,
}
PINGOUIN_NAMES: dict[IccForm, str] = {
    "icc_11": "ICC(1,1)",
    "icc_a1": "ICC(A,1)",
    "icc_c1": "ICC(C,1)",
    "icc_1k": "ICC(1,k)",
    "icc_ak": "ICC(A,k)",
    "icc_ck": "ICC(C,k)",
}


@pytest.fixture
def unrounded() -> Iterator[None]:
    """Pingouin without the rounding of its intervals, restored afterwards."""
    before = pingouin.options["round.column.CI95"]
    pingouin.options["round.column.CI95"] = None
    yield
    pingouin.options["round.column.CI95"] = before


def scores(n: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two raters of bias 0.5 and equal noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(7, 2, n)
    return truth + rng.normal(0, noise, n), truth + 0.5 + rng.normal(0, noise, n)


@pytest.mark.parametrize("form", ICC_FORMS)
def test_icc_equals_shrout_and_fleiss(form: IccForm) -> None:
    assert round(intraclass_correlation(SHROUT_FLEISS, form).estimate, 2) == PUBLISHED[form]


def test_mean_squares_equal_shrout_and_fleiss() -> None:
    squares = intraclass_correlation(SHROUT_FLEISS).mean_squares  # their table 3: 11.24, 32.49, 1.02, 6.26
    assert [round(x, 2) for x in (squares.subjects, squares.raters, squares.error, squares.within)] == [
        11.24,
        32.49,
        1.02,
        6.26,
    ]


@pytest.mark.real_data
def test_icc_equals_psych_to_its_digits(real_data: Path) -> None:
    reference = json.loads((real_data / "stats" / "reference.json").read_text())["icc_shrout_fleiss_1979"]
    for name, form in (("ICC1", "icc_11"), ("ICC2", "icc_a1"), ("ICC3", "icc_c1")):
        icc = intraclass_correlation(reference["table"], form)
        interval = icc.confidence_interval()
        estimate, bounds = reference[name]
        assert round(icc.estimate, 6) == estimate
        assert [round(interval.lower, 6), round(interval.upper, 6)] == bounds
        assert round(intraclass_correlation(reference["table"], form[:-1] + "k").estimate, 6) == reference[name + "k"]
    squares = intraclass_correlation(reference["table"]).mean_squares
    found = {
        "between": squares.subjects,
        "within": squares.within,
        "judges": squares.raters,
        "error": squares.error,
    }
    assert {name: round(value, 4) for name, value in found.items()} == reference["MS"]


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("form", ICC_FORMS)
@pytest.mark.parametrize("n_raters", [2, 4])
def test_icc_and_interval_equal_pingouin(form: IccForm, n_raters: int) -> None:
    table = np.random.default_rng(3).normal(size=(25, 1)) + np.random.default_rng(4).normal(size=(25, n_raters))
    long = pd.DataFrame(table).rename_axis("subject").reset_index()
    long = long.melt("subject", var_name="rater", value_name="rating")
    row = pingouin.intraclass_corr(long, "subject", "rater", "rating").set_index("Type").loc[PINGOUIN_NAMES[form]]
    icc = intraclass_correlation(table, form)
    interval = icc.confidence_interval()
    assert icc.estimate == pytest.approx(row["ICC"], abs=1e-12)
    assert [interval.lower, interval.upper] == pytest.approx(list(row["CI95"]), abs=1e-10)


def bca_by_hand(table: np.ndarray, seed: int, n_resamples: int) -> tuple[float, float]:
    """BCa interval of ICC(A,1), Efron (1987), patient by patient; slow and obvious."""
    n, estimate = len(table), intraclass_correlation(table).estimate
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    samples = np.array([intraclass_correlation(table[rows]).estimate for rows in drawn])
    left_out = np.array([intraclass_correlation(np.delete(table, i, axis=0)).estimate for i in range(n)])
    deviation = left_out.mean() - left_out
    acceleration = np.sum(deviation**3) / (6 * np.sum(deviation**2) ** 1.5)
    bias = stats.norm.ppf(np.mean(samples < estimate))
    shifted = bias + stats.norm.ppf([0.025, 0.975])
    lower, upper = np.quantile(samples, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    return lower, upper


def test_bootstrap_equals_a_loop_over_patients() -> None:
    reference, candidate = scores(40, seed=5)
    table = np.column_stack([reference, candidate])
    bootstrap = bootstrap_icc_a1(reference=reference, candidate=candidate, seed=6, n_resamples=300)
    interval = bootstrap.confidence_interval()
    assert (interval.lower, interval.upper) == pytest.approx(bca_by_hand(table, 6, 300), abs=1e-10)
    assert bootstrap.estimate == icc_a1(reference=reference, candidate=candidate).estimate
    drawn = np.random.default_rng(6).integers(40, size=(300, 40))
    expected = np.quantile([intraclass_correlation(table[rows]).estimate for rows in drawn], [0.05, 0.95])
    interval = bootstrap.confidence_interval(0.90, method="percentile")
    assert [interval.lower, interval.upper] == pytest.approx(list(expected), abs=1e-10)


INVARIANT = {
    "icc_a1": lambda x, y: icc_a1(reference=x, candidate=y).estimate,
    "icc_c1": lambda x, y: intraclass_correlation(np.column_stack([x, y]), "icc_c1").estimate,
    "icc_11": lambda x, y: intraclass_correlation(np.column_stack([x, y]), "icc_11").estimate,
    "exact": lambda x, y: agreement_within(reference=x, candidate=y, tolerance=0).estimate,
    "within_1": lambda x, y: agreement_within(reference=x, candidate=y, tolerance=1).estimate,
}


@pytest.mark.parametrize("name", INVARIANT)
def test_agreement_is_symmetric_unchanged_by_order_and_one_for_identical(name: str) -> None:
    metric = INVARIANT[name]
    x, y = (np.round(values) for values in scores(50, seed=8))
    order = np.random.default_rng(9).permutation(50)
    assert metric(y, x) == pytest.approx(metric(x, y), abs=1e-12)
    assert metric(x[order], y[order]) == pytest.approx(metric(x, y), abs=1e-12)
    assert metric(x, x) == 1
    assert metric(x, y) < 1


@pytest.mark.parametrize("form", ICC_FORMS)
@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ([[7, 7], [7, 7], [7, 7]], "do not vary"),
        ([[7, 8], [7, 8], [7, 8]], "do not vary"),
        ([[7, 8]], "1 subjects, at least 2"),
        (np.empty((0, 2)), "0 subjects, at least 2"),
    ],
)
def test_degenerate_ratings_give_nan_and_a_reason(form: IccForm, ratings: list[list[int]], reason: str) -> None:
    icc = intraclass_correlation(ratings, form)
    assert math.isnan(icc.estimate)
    assert reason in (icc.reason or "")
    assert math.isnan(icc.confidence_interval().lower)


def test_two_subjects_with_swapped_ratings_give_no_agreement_and_a_reason() -> None:
    icc = icc_a1(reference=[3, 5], candidate=[5, 3])  # MSR 0, MSC 0, MSE 2: the denominator of ICC(A,1) is 0
    assert math.isnan(icc.estimate)
    assert "add up to zero" in (icc.reason or "")
    assert math.isnan(icc.confidence_interval().lower)


@pytest.mark.parametrize("form", ICC_FORMS)
def test_no_small_table_raises(form: IccForm) -> None:
    for first in itertools.product((0, 1, 2), repeat=3):
        for second in itertools.product((0, 1, 2), repeat=3):
            for n in (2, 3):
                icc = intraclass_correlation(np.column_stack([first[:n], second[:n]]), form)
                assert math.isnan(icc.estimate) == (icc.reason is not None)
                icc.confidence_interval()


def test_identical_ratings_are_one_without_an_interval() -> None:
    icc = icc_a1(reference=[3, 5, 9], candidate=[3, 5, 9])
    assert icc.estimate == 1
    assert icc.reason is None
    assert "agree in every subject" in icc.confidence_interval().method
    assert math.isnan(icc.confidence_interval().lower)


def test_a_constant_shift_leaves_consistency_at_one_and_lowers_agreement() -> None:
    table = [[1, 3], [2, 4], [3, 5]]  # MSR 2, MSC 6, MSE 0: ICC(A,1) = 2 / (2 + 2/3 * 6) = 1/3
    assert intraclass_correlation(table, "icc_a1").estimate == pytest.approx(1 / 3)
    assert intraclass_correlation(table, "icc_c1").estimate == pytest.approx(1)


@pytest.mark.parametrize(
    ("reference", "candidate", "estimate", "reason"),
    [
        ([7, 7, 7], [7, 7, 7], math.nan, "do not vary"),
        ([7], [8], math.nan, "at least 2"),
        ([3, 5, 9], [3, 5, 9], 1.0, "agree in every patient"),
        ([1, 1, 5], [1, 1, 6], 40 / 41, "a resample has no variance"),  # MSR 27/2, MSC 1/6, MSE 1/6
    ],
)
def test_degenerate_bootstraps(reference: list[int], candidate: list[int], estimate: float, reason: str) -> None:
    result = bootstrap_icc_a1(reference=reference, candidate=candidate, seed=1, n_resamples=100)
    assert result.estimate == pytest.approx(estimate, nan_ok=True)
    for method in ("bca", "percentile"):
        interval = result.confidence_interval(method=method)  # type: ignore[arg-type]
        assert math.isnan(interval.lower)
        assert reason in interval.method
    with pytest.raises(ValueError, match="method must be one of bca, percentile"):
        result.confidence_interval(method="basic")  # type: ignore[arg-type]


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of icc_11"):
        intraclass_correlation([[1, 2], [3, 4]], "icc2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ratings must have shape .* got \(3, 1\)"):
        intraclass_correlation([[1], [2], [3]])
    with pytest.raises(ValueError, match="ratings must be finite"):
        intraclass_correlation([[1, 2], [np.nan, 3]])
    with pytest.raises(ValueError, match="tolerance must be >= 0"):
        agreement_within(reference=[1], candidate=[1], tolerance=-1)


def test_agreement_within_by_hand() -> None:
    reference, candidate = [10, 8, 6, 4, 0], [10, 7, 8, 1, 0]
    counts = [agreement_within(reference=reference, candidate=candidate, tolerance=k).count for k in (0, 1, 2, 3)]
    assert counts == [2, 3, 4, 5]


def test_intervals_cover_as_promised() -> None:
    """ICC(A,1) of two raters of random bias: F at n = 30; bootstrap with fixed raters at n = 60."""
    rng = np.random.default_rng(20)
    n_trials, truth = 1500, 4 / (4 + 0.04 + 1)
    hits = 0
    for _ in range(n_trials):
        subject, rater = rng.normal(0, 2, (30, 1)), rng.normal(0, 0.2, (1, 2))
        interval = intraclass_correlation(subject + rater + rng.normal(size=(30, 2))).confidence_interval()
        hits += interval.lower <= truth <= interval.upper
    assert abs(hits / n_trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n_trials)  # 3 Monte Carlo errors: 1.7 points
    hits, n_trials, truth = 0, 400, 4 / 5
    for trial in range(n_trials):
        subject = rng.normal(0, 2, 60)
        interval = bootstrap_icc_a1(
            reference=subject + rng.normal(size=60),
            candidate=subject + rng.normal(size=60),
            seed=trial,
            n_resamples=400,
        ).confidence_interval()
        hits += interval.lower <= truth <= interval.upper
    assert abs(hits / n_trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n_trials)
