"""Agreement of scores and volumes: the six intraclass correlations, and the share of patients within a tolerance.

Forms are named after McGraw & Wong (1996): ``icc_1`` one-way random; ``icc_a`` two-way, absolute agreement; ``icc_c``
two-way, consistency; last digit ``1`` for a single rater, ``k`` for the mean of all raters. The primary form of this
project is ``icc_a1``: two-way random effects, absolute agreement, single rater.

One route is taken throughout: the closed forms from the mean squares. A bootstrap of 2,000 resamples needs them, and a
report whose estimate and interval come from two programs can disagree with itself; pingouin is the oracle of the tests.

References
----------
McGraw KO, Wong SP (1996). Psychological Methods 1:30-46, table 7 (intervals), DOI 10.1037/1082-989X.1.1.30.
Shrout PE, Fleiss JL (1979). Psychological Bulletin 86:420-428.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import (
    BLOCK_COUNTS,
    Interval,
    Proportion,
    checked_level,
    checked_option,
    checked_pair,
    not_estimable,
)
from tasks.arrays import FloatArray

IccForm = Literal["icc_11", "icc_a1", "icc_c1", "icc_1k", "icc_ak", "icc_ck"]
ROUNDING = 1e-12  # relative; mean squares that cancel out leave 1e-16 in floating point
ICC_FORMS: tuple[IccForm, ...] = get_args(IccForm)


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of the two-way table of ratings, in squared units of the rating."""

    subjects: float
    raters: float
    error: float
    within: float


@dataclass(frozen=True)
class IntraclassCorrelation:
    """One intraclass correlation of ``n`` subjects and ``n_raters`` raters."""

    form: IccForm
    estimate: float
    n: int
    n_raters: int
    mean_squares: MeanSquares
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval by the F distribution (McGraw & Wong 1996, table 7); normal ratings are assumed.

        Identical ratings of all raters give no interval: the formula would return [1, 1]. Nor do ratings whose limits
        are NaN, equal, or do not hold the estimate: Satterthwaite's degrees of freedom fail where a small cohort has a
        negative ICC.
        """
        checked_level(level)
        method = f"F, {self.form}"
        if self.reason is not None:
            return not_estimable(method, level, self.reason)
        if self.estimate == 1.0:
            return not_estimable(method, level, "the raters agree in every subject")
        try:
            lower, upper = _single_rater_bounds(self, (1 + level) / 2)
            if self.form.endswith("k"):
                lower, upper = _spearman_brown(lower, self.n_raters), _spearman_brown(upper, self.n_raters)
        except ZeroDivisionError:  # a few subjects whose mean squares cancel out
            return not_estimable(method, level, "the variances of the ratings add up to zero")
        slack = ROUNDING * max(1.0, abs(self.estimate))
        if not (lower < upper and lower - slack <= self.estimate <= upper + slack):  # or a limit is NaN
            return not_estimable(method, level, "the F limits break down, as for few subjects of a negative ICC")
        return Interval(lower, upper, level, method)


@dataclass(frozen=True, eq=False)
class BootstrapIcc:
    """Bootstrap of ``icc_a1``: patients are drawn with replacement, each with both its ratings."""

    estimate: float
    n: int
    seed: int
    n_resamples: int
    ratings: FloatArray = field(repr=False)
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95, method: Literal["bca", "percentile"] = "bca") -> Interval:
        """Interval by ``scipy.stats.bootstrap``: bias corrected and accelerated (Efron 1987), or percentile.

        Not estimable where a resample has no variance, which happens in small cohorts of nearly constant ratings.
        """
        checked_level(level)
        name = f"bootstrap {checked_option('method', method, ('bca', 'percentile'))}, {self.n_resamples} resamples"
        if self.reason is not None or self.estimate == 1.0:
            return not_estimable(name, level, self.reason or "the raters agree in every patient")
        with warnings.catch_warnings():  # scipy warns of an interval of NaN; it is returned with its reason instead
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            interval = stats.bootstrap(
                tuple(self.ratings.T),
                _icc_a1_along,
                paired=True,
                vectorized=True,
                n_resamples=self.n_resamples,
                batch=max(1, BLOCK_COUNTS // self.n),
                confidence_level=level,
                method="BCa" if method == "bca" else "percentile",
                rng=np.random.default_rng(self.seed),
            ).confidence_interval
        if not math.isfinite(interval.low) or not math.isfinite(interval.high):
            return not_estimable(name, level, "a resample has no variance between patients")
        return Interval(float(interval.low), float(interval.high), level, name)


def intraclass_correlation(ratings: npt.ArrayLike, form: IccForm = "icc_a1") -> IntraclassCorrelation:
    """Intraclass correlation of a complete table of ratings.

    Parameters
    ----------
    ratings : (n, k) float array, finite
        One row per subject, one column per rater, k >= 2.
    form : {"icc_11", "icc_a1", "icc_c1", "icc_1k", "icc_ak", "icc_ck"}

    Returns
    -------
    IntraclassCorrelation
        NaN with a reason for fewer than two subjects, where no rater's ratings vary between subjects, and where the
        variances cancel out, as of two subjects whose raters swapped their values. A negative
        estimate is returned as it is. The forms of the mean are NaN where the subjects' mean square is zero.

    Raises
    ------
    ValueError
        The table has another shape, a NaN or infinite rating, or the form is unknown.

    References
    ----------
    McGraw & Wong (1996).

    Examples
    --------
    >>> round(intraclass_correlation([[9, 2], [6, 1], [8, 4], [7, 1]]).estimate, 3)
    0.06
    """
    checked_option("form", form, ICC_FORMS)
    table = _checked_ratings(ratings)
    n, k = table.shape
    squares = _mean_squares(table)
    reason = None
    if n < 2:
        reason = f"{n} subjects, at least 2 are needed"
    elif np.all(np.ptp(table, axis=0) == 0):
        reason = "the ratings do not vary between subjects"
    elif form.endswith("k") and squares.subjects == 0:
        reason = "the subjects' means do not vary"
    estimate = math.nan if reason else _icc(squares, n, k, form)
    if reason is None and math.isnan(estimate):
        reason = "the variances of the ratings add up to zero"
    return IntraclassCorrelation(form, estimate, n, k, squares, reason)


def icc_a1(*, reference: npt.ArrayLike, candidate: npt.ArrayLike) -> IntraclassCorrelation:
    """ICC(A,1) of two sources, the primary measure of agreement; (n,) arrays, see ``intraclass_correlation``."""
    return intraclass_correlation(np.column_stack(checked_pair(reference, candidate)), "icc_a1")


def bootstrap_icc_a1(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, seed: int, n_resamples: int = 2000
) -> BootstrapIcc:
    """Patient bootstrap of ICC(A,1), free of the normality that the F interval assumes.

    Parameters
    ----------
    reference, candidate : (n,) float arrays, finite, one value per patient
    seed : int
        Seed of ``numpy.random.default_rng``.
    n_resamples : int

    Returns
    -------
    BootstrapIcc
        NaN with a reason where ``icc_a1`` is; resampling is done when an interval is asked for.
    """
    table = np.column_stack(checked_pair(reference, candidate))
    whole = intraclass_correlation(table)
    return BootstrapIcc(whole.estimate, whole.n, seed, n_resamples, table, whole.reason)


def agreement_within(*, reference: npt.ArrayLike, candidate: npt.ArrayLike, tolerance: float) -> Proportion:
    """Share of patients whose two values differ by at most ``tolerance``; 0 is exact agreement.

    Parameters
    ----------
    reference, candidate : (n,) float arrays, finite, one value per patient
    tolerance : float
        Not negative, in the unit of the values.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}.")
    first, second = checked_pair(reference, candidate)
    return Proportion(int(np.count_nonzero(np.abs(second - first) <= tolerance)), first.size)


def _checked_ratings(ratings: npt.ArrayLike) -> FloatArray:
    """Return an (n, k >= 2) finite float table, or raise ValueError."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"ratings must have shape (n subjects, k >= 2 raters), got {table.shape}.")
    if not np.all(np.isfinite(table)):
        raise ValueError("ratings must be finite, got NaN or infinite values. Drop incomplete subjects and count them.")
    return table


def _mean_squares(table: FloatArray) -> MeanSquares:
    """Two-way analysis of variance without replication."""
    n, k = table.shape
    if n < 2:
        return MeanSquares(math.nan, math.nan, math.nan, math.nan)
    grand = table.mean()
    subject = table.mean(axis=1, keepdims=True)
    rater = table.mean(axis=0, keepdims=True)
    return MeanSquares(
        subjects=float(k * np.sum((subject - grand) ** 2) / (n - 1)),
        raters=float(n * np.sum((rater - grand) ** 2) / (k - 1)),
        error=float(np.sum((table - subject - rater + grand) ** 2) / ((n - 1) * (k - 1))),
        within=float(np.sum((table - subject) ** 2) / (n * (k - 1))),
    )


def _icc(squares: MeanSquares, n: int, k: int, form: IccForm) -> float:
    """One of the six coefficients of McGraw & Wong (1996)."""
    if squares.within == 0:
        return 1.0
    noise = squares.within if form.startswith("icc_1") else squares.error
    shift = (squares.raters - squares.error) / n if form.startswith("icc_a") else 0.0
    n_averaged = 1 if form.endswith("1") else k
    whole = squares.subjects + (k / n_averaged - 1) * noise + k / n_averaged * shift
    is_rounding = abs(whole) <= ROUNDING * (squares.subjects + squares.raters + noise)
    return math.nan if is_rounding else (squares.subjects - noise) / whole


def _icc_a1_along(first: FloatArray, second: FloatArray, axis: int) -> FloatArray:
    """ICC(A,1) of two raters along an axis; for two raters the mean squares are variances of mean and difference."""
    n, difference = first.shape[axis], second - first
    subjects = 2 * ((first + second) / 2).var(axis, ddof=1)
    error = difference.var(axis, ddof=1) / 2
    shift = n * difference.mean(axis) ** 2 / 2 - error
    return np.asarray((subjects - error) / (subjects + error + 2 / n * shift), dtype=np.float64)


def _spearman_brown(value: float, k: int) -> float:
    """Reliability of the mean of k raters from that of one."""
    return k * value / (1 + (k - 1) * value)


def _single_rater_bounds(icc: IntraclassCorrelation, probability: float) -> tuple[float, float]:
    """Bounds of the single-rater form (McGraw & Wong 1996, table 7); those of the mean follow by Spearman-Brown."""
    n, k, squares = icc.n, icc.n_raters, icc.mean_squares
    if icc.form.startswith("icc_a"):
        return _absolute_bounds(squares, n, k, probability)
    one_way = icc.form.startswith("icc_1")
    noise, noise_df = (squares.within, n * (k - 1)) if one_way else (squares.error, (n - 1) * (k - 1))
    if noise == 0:
        return math.nan, math.nan
    ratio = squares.subjects / noise
    low = ratio / float(stats.f.ppf(probability, n - 1, noise_df))
    high = ratio * float(stats.f.ppf(probability, noise_df, n - 1))
    return (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)


def _absolute_bounds(squares: MeanSquares, n: int, k: int, probability: float) -> tuple[float, float]:
    """Bounds of ICC(A,1) with Satterthwaite's degrees of freedom."""
    single = _icc(squares, n, k, "icc_a1")
    a = k * single / (n * (1 - single))
    b = 1 + k * single * (n - 1) / (n * (1 - single))
    raters, error = a * squares.raters, b * squares.error
    df = (raters + error) ** 2 / (raters**2 / (k - 1) + error**2 / ((n - 1) * (k - 1)))
    low, high = float(stats.f.ppf(probability, n - 1, df)), float(stats.f.ppf(probability, df, n - 1))
    noise = k * squares.raters + (k * n - k - n) * squares.error
    lower = n * (squares.subjects - low * squares.error) / (low * noise + n * squares.subjects)
    upper = n * (high * squares.subjects - squares.error) / (noise + n * high * squares.subjects)
    return lower, upper
