"""What every statistic of the report shares: an interval, a proportion, the checks of its inputs and its resamples.

An *estimate* is a frozen dataclass with ``estimate``, ``n`` and ``reason``. Where the statistic is not defined (one
class only, constant ratings, too few patients) the estimate is NaN and ``reason`` says why in words; otherwise
``reason`` is None. Misuse (unequal lengths, NaN or infinite values, an unknown option) raises instead.

An interval of zero width says "certain", which no sample is: it is given as NaN, with the cause in ``method``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from tasks.arrays import BoolArray, FloatArray, IntArray

#: Counts held at once while resampling, 16 MiB of int64, so that memory does not grow with the cohort.
BLOCK_COUNTS = 2**21


@dataclass(frozen=True)
class Interval:
    """A confidence interval; NaN bounds where it is not estimable, with the cause in ``method``."""

    lower: float
    upper: float
    level: float
    method: str

    def within(self, low: float, high: float) -> Interval:
        """The interval without what lies outside low..high, values that the statistic cannot take; NaN stays NaN."""
        return replace(self, lower=max(self.lower, low), upper=min(self.upper, high))


@dataclass(frozen=True)
class PointEstimate:
    """A statistic that is reported without an interval."""

    estimate: float
    n: int
    reason: str | None = None


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``n`` patients; NaN with a reason where ``n`` is 0.

    Raises
    ------
    ValueError
        ``count`` is not within 0..n.
    """

    count: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.n:
            raise ValueError(f"count must be within 0..n, got {self.count} of {self.n}.")

    @property
    def estimate(self) -> float:
        """The share ``count / n``; NaN where ``n`` is 0."""
        return self.count / self.n if self.n else math.nan

    @property
    def reason(self) -> str | None:
        """Why the estimate is NaN, or None."""
        return None if self.n else "no patient in the denominator"

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Score interval of Wilson (1927), JASA 22:209-212, by statsmodels; defined for 0 of n and n of n too."""
        alpha = 1 - checked_level(level)
        if not self.n:
            return not_estimable("Wilson", level, self.reason)
        lower, upper = proportion_confint(self.count, self.n, alpha=alpha, method="wilson")
        return Interval(float(lower), float(upper), level, "Wilson")


def checked_level(level: float) -> float:
    """Return a confidence level inside (0, 1), or raise ValueError."""
    if not 0 < level < 1:
        raise ValueError(f"level must be > 0 and < 1, got {level}. Give 0.95 for a 95 % interval.")
    return level


def checked_option(name: str, value: str, known: tuple[str, ...]) -> str:
    """Return an option that is one of the known ones, or raise ValueError listing them."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
    return value


def not_estimable(method: str, level: float, reason: str | None) -> Interval:
    """Return the interval with NaN bounds that says in ``method`` why it is not estimable."""
    return Interval(math.nan, math.nan, checked_level(level), f"{method}, not estimable: {reason}")


def wald_interval(estimate: float, standard_error: float, level: float, method: str) -> Interval:
    """Return estimate +- z x standard error, z from the normal distribution."""
    checked_level(level)
    if not standard_error > 0:
        return not_estimable(method, level, "the standard error is zero or undefined")
    margin = stats.norm.ppf((1 + level) / 2) * standard_error
    return Interval(float(estimate - margin), float(estimate + margin), level, method)


def checked_vector(name: str, values: npt.ArrayLike) -> FloatArray:
    """Return a one-dimensional finite float array, or raise ValueError."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {vector.shape}.")
    n_bad = int(np.count_nonzero(~np.isfinite(vector)))
    if n_bad:
        raise ValueError(f"{name} must be finite, got {n_bad} NaN or infinite of {vector.size}. Drop and count them.")
    return vector


def checked_pair(reference: npt.ArrayLike, candidate: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both as finite float vectors of one length, or raise ValueError naming every problem."""
    vectors, problems = [], []
    for name, values in (("reference", reference), ("candidate", candidate)):
        try:
            vectors.append(checked_vector(name, values))
        except ValueError as error:
            problems.append(str(error))
    if len(vectors) == 2 and vectors[0].size != vectors[1].size:
        problems.append(
            f"reference and candidate must have one value per patient, got {vectors[0].size} and {vectors[1].size}."
        )
    if problems:
        raise ValueError(" ".join(problems))
    return vectors[0], vectors[1]


def checked_flags(name: str, values: npt.ArrayLike, size: int | None = None) -> BoolArray:
    """Return a one-dimensional boolean array (0 and 1 are accepted) of the given size, or raise ValueError."""
    vector = checked_vector(name, values)
    others = np.setdiff1d(vector, (0.0, 1.0))
    if others.size:
        raise ValueError(f"{name} must be true or false, got {others[0]:g}. Apply a threshold first.")
    if size is not None and vector.size != size:
        raise ValueError(f"{name} must have {size} values, one per patient, got {vector.size}.")
    return vector.astype(np.bool_)


def resample_blocks(n_resamples: int, width: int) -> Iterator[int]:
    """Yield numbers of resamples that add up to ``n_resamples``, each block at most ``BLOCK_COUNTS`` counts large."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be >= 1, got {n_resamples}.")
    block = max(1, BLOCK_COUNTS // width)
    for start in range(0, n_resamples, block):
        yield min(block, n_resamples - start)


def resampled_counts(codes: IntArray, n_codes: int, n_resamples: int, rng: np.random.Generator) -> IntArray:
    """Draw all patients with replacement; return (n_resamples, n_codes), how often each code was drawn."""
    drawn = codes[rng.integers(codes.size, size=(n_resamples, codes.size))]
    drawn += np.arange(n_resamples)[:, None] * n_codes
    return np.bincount(drawn.ravel(), minlength=n_resamples * n_codes).reshape(n_resamples, n_codes)
