"""ICC against Shrout & Fleiss, R's psych, pingouin and scipy; agreement within a tolerance; coverage."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from reports.agreement import (
    ICC_FORMS,
    IccForm,
    agreement_within,
    bootstrap_icc_a1,
    icc_a1,
    intraclass_correlation,
)

# Shrout & Fleiss (1979), table 2: six subjects, four judges; their table 4 prints the six coefficients.
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


def test_bootstrap_equals_scipy_bca_draw_by_draw() -> None:
    reference, candidate = scores(40, seed=5)

    def slow_icc(first: np.ndarray, second: np.ndarray) -> float:
        return intraclass_correlation(np.column_stack([first, second])).estimate

    for method in ("bca", "percentile"):
        theirs = stats.bootstrap(
            (reference, candidate),
            slow_icc,
            paired=True,
            vectorized=False,
            n_resamples=200,
            method={"bca": "BCa", "percentile": "percentile"}[method],
            rng=np.random.default_rng(6),
        ).confidence_interval
        ours = bootstrap_icc_a1(reference=reference, candidate=candidate, seed=6, n_resamples=200)
        interval = ours.confidence_interval(method=method)  # type: ignore[arg-type]
        assert (interval.lower, interval.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


def test_bootstrap_keeps_its_digits_on_a_large_mean() -> None:
    reference, candidate = scores(40, seed=5)
    near = bootstrap_icc_a1(reference=reference, candidate=candidate, seed=6, n_resamples=50)
    far = bootstrap_icc_a1(reference=reference + 1e6, candidate=candidate + 1e6, seed=6, n_resamples=50)
    np.testing.assert_allclose(far.samples, near.samples, atol=1e-8)


def test_bootstrap_in_several_blocks_covers_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, candidate = scores(30, seed=1)
    monkeypatch.setattr("reports.estimate.BLOCK_COUNTS", 300)
    result = bootstrap_icc_a1(reference=reference, candidate=candidate, seed=2, n_resamples=55)
    assert result.samples.size == 55
    assert np.unique(result.samples).size == 55


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


def test_degenerate_bootstraps() -> None:
    constant = bootstrap_icc_a1(reference=[7, 7, 7], candidate=[7, 7, 7], seed=1)
    assert math.isnan(constant.estimate)
    assert "do not vary" in constant.confidence_interval().method
    identical = bootstrap_icc_a1(reference=[3, 5, 9], candidate=[3, 5, 9], seed=1)
    assert identical.estimate == 1
    assert "do not vary" in identical.confidence_interval().method
    one_of_each = bootstrap_icc_a1(reference=[1, 1, 5], candidate=[1, 1, 6], seed=1, n_resamples=300)
    # a resample of three copies of the first two patients has no variance: (2/3)^3 = .30 and 1/27 of the third
    assert 0.2 < np.mean(np.isnan(one_of_each.samples)) < 0.5


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
