"""Discrimination: the ROC curve, its area with DeLong's variance, and the paired test of two areas.

``reference`` is the condition (true: positive) and ``candidate`` the number that shall tell it. The direction is
always given, ``positive_when="high"`` or ``"low"``, and never guessed from the data: a guessed direction turns every
area below one half into one above it.

References
----------
DeLong ER et al. (1988). Biometrics 44:837-845. Fast form by midranks: Sun X, Xu W (2014). IEEE Signal Processing
Letters 21:1389-1393, DOI 10.1109/LSP.2014.2337313. Intervals and tests are those of R's pROC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import (
    Interval,
    checked_flags,
    checked_level,
    checked_option,
    checked_vector,
    not_estimable,
    wald_interval,
)
from tasks.arrays import BoolArray, FloatArray, IntArray

Direction = Literal["high", "low"]


@dataclass(frozen=True, eq=False)
class Classes:
    """Patients with and without the condition, counted on the distinct values, the most suspicious value first.

    ``reason`` says why two classes are not there, or is None.
    """

    condition: BoolArray
    values: FloatArray
    positive_when: Direction
    distinct: FloatArray
    codes: IntArray
    n_positive: int
    n_negative: int
    reason: str | None

    @classmethod
    def of(cls, reference: npt.ArrayLike, candidate: npt.ArrayLike, positive_when: Direction) -> Classes:
        """Check and count; ValueError if lengths differ, a value is missing, or the direction is unknown."""
        checked_option("positive_when", positive_when, ("high", "low"))
        values = checked_vector("candidate", candidate)
        condition = checked_flags("reference", reference, values.size)
        distinct, codes = np.unique(values, return_inverse=True)
        if positive_when == "high":
            distinct, codes = distinct[::-1].copy(), distinct.size - 1 - codes
        n_positive = int(np.count_nonzero(condition))
        n_negative = condition.size - n_positive
        needed = f"both classes are needed, got {n_positive} positive and {n_negative} negative"
        reason = None if n_positive and n_negative else needed
        return cls(condition, values, positive_when, distinct, codes, n_positive, n_negative, reason)

    @cached_property
    def true_positive(self) -> IntArray:
        """(n distinct,) patients with the condition who are positive at each value."""
        return np.cumsum(np.bincount(self.codes[self.condition], minlength=self.distinct.size))

    @cached_property
    def false_positive(self) -> IntArray:
        """(n distinct,) patients without the condition who are positive at each value."""
        return np.cumsum(np.bincount(self.codes[~self.condition], minlength=self.distinct.size))


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Sensitivity and specificity at every observed value, from nobody positive to everybody positive.

    A value is positive at ``cuts[i]`` if it is ``>=`` the cut (``positive_when="high"``) or ``<=`` it (``"low"``); the
    first cut is infinite, so that nobody is positive.
    """

    cuts: FloatArray = field(repr=False)
    sensitivity: FloatArray = field(repr=False)
    specificity: FloatArray = field(repr=False)
    positive_when: Direction
    n_positive: int
    n_negative: int
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.n_positive + self.n_negative


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve with DeLong's variance."""

    estimate: float
    variance: float
    positive_when: Direction
    n_positive: int
    n_negative: int
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.n_positive + self.n_negative

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """DeLong's Wald interval, not outside 0..1, as pROC does.

        With perfect separation, or one patient in a class, the variance is zero or undefined and so is the interval.
        """
        name = "DeLong wald"
        if self.reason is not None:
            return not_estimable(name, level, self.reason)
        if not self.variance > 0:
            return not_estimable(name, level, "DeLong's variance is zero or undefined")
        return wald_interval(self.estimate, math.sqrt(self.variance), level, name).within(0.0, 1.0)


@dataclass(frozen=True)
class AucDifference:
    """Difference of two areas on the same patients, ``auc_a - auc_b``, with DeLong's paired test (two-sided)."""

    estimate: float
    standard_error: float
    z: float
    p: float
    auc_a: Auc
    auc_b: Auc
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.auc_a.n

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval of the difference with the paired standard error, not outside -1..1."""
        if self.reason is not None:
            return not_estimable("paired DeLong", level, self.reason)
        interval = wald_interval(self.estimate, self.standard_error, checked_level(level), "paired DeLong")
        return interval.within(-1.0, 1.0)


def roc_curve(*, reference: npt.ArrayLike, candidate: npt.ArrayLike, positive_when: Direction) -> RocCurve:
    """ROC curve at every observed value.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidate : (n,) float array, finite, in any unit
    positive_when : {"high", "low"}
        Which values speak for the condition.

    Returns
    -------
    RocCurve
        With one class only, sensitivity or specificity is NaN and ``reason`` says so.

    Raises
    ------
    ValueError
        Lengths differ, a value is missing, or the direction is unknown.
    """
    classes = Classes.of(reference, candidate, positive_when)
    nobody = math.inf if positive_when == "high" else -math.inf
    return RocCurve(
        cuts=np.concatenate(([nobody], classes.distinct)),
        sensitivity=_share(classes.true_positive, classes.n_positive),
        specificity=1 - _share(classes.false_positive, classes.n_negative),
        positive_when=positive_when,
        n_positive=classes.n_positive,
        n_negative=classes.n_negative,
        reason=classes.reason,
    )


def auc(*, reference: npt.ArrayLike, candidate: npt.ArrayLike, positive_when: Direction) -> Auc:
    """Area under the ROC curve: the chance that a patient with the condition is ranked above one without, ties half.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidate : (n,) float array, finite, in any unit
    positive_when : {"high", "low"}
        Which values speak for the condition.

    Returns
    -------
    Auc
        NaN with a reason where one class is empty; the variance is NaN where a class has one patient.

    Raises
    ------
    ValueError
        Lengths differ, a value is missing, or the direction is unknown.

    Examples
    --------
    >>> auc(reference=[0, 0, 1, 1], candidate=[9, 7, 7, 3], positive_when="low").estimate
    0.875
    """
    return auc_with_components(Classes.of(reference, candidate, positive_when))[0]


def compare_aucs(
    *,
    reference: npt.ArrayLike,
    candidate_a: npt.ArrayLike,
    candidate_b: npt.ArrayLike,
    positive_when_a: Direction,
    positive_when_b: Direction,
) -> AucDifference:
    """Paired DeLong test of two candidates on the same patients.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidate_a, candidate_b : (n,) float arrays, finite; their units may differ
    positive_when_a, positive_when_b : {"high", "low"}

    Returns
    -------
    AucDifference
        NaN with a reason where a class has fewer than two patients, or where both candidates rank all patients alike
        (the difference is then exactly 0 and has no variance).

    Raises
    ------
    ValueError
        Lengths differ, a value is missing, or a direction is unknown.

    References
    ----------
    DeLong et al. (1988), section 2; Sun & Xu (2014), algorithm 2.
    """
    first = Classes.of(reference, candidate_a, positive_when_a)
    second = Classes.of(reference, candidate_b, positive_when_b)
    auc_a, of_positive_a, of_negative_a = auc_with_components(first)
    auc_b, of_positive_b, of_negative_b = auc_with_components(second)
    if auc_a.reason is not None:
        return AucDifference(math.nan, math.nan, math.nan, math.nan, auc_a, auc_b, auc_a.reason)
    difference = auc_a.estimate - auc_b.estimate
    variance = _variance(of_positive_a - of_positive_b, of_negative_a - of_negative_b)
    if not variance > 0:
        reason = "the difference has no variance: a class of one patient, or both rank all patients alike"
        return AucDifference(difference, math.nan, math.nan, math.nan, auc_a, auc_b, reason)
    error = math.sqrt(variance)
    z = difference / error
    return AucDifference(difference, error, z, float(2 * stats.norm.sf(abs(z))), auc_a, auc_b)


def _share(cumulative: IntArray, size: int) -> FloatArray:
    """Share of a class that is positive at nobody's cut and then at each value; NaN for an empty class."""
    counts = np.concatenate(([0.0], cumulative))
    return counts / size if size else np.full(counts.size, math.nan)


def auc_with_components(classes: Classes) -> tuple[Auc, FloatArray, FloatArray]:
    """Return the area and the structural components of the positive and of the negative patients."""
    condition, values, positive_when = classes.condition, classes.values, classes.positive_when
    n_positive, n_negative = classes.n_positive, classes.n_negative
    if classes.reason is not None:
        empty = np.empty(0)
        return Auc(math.nan, math.nan, positive_when, n_positive, n_negative, classes.reason), empty, empty
    oriented = values if positive_when == "high" else -values
    ranks = stats.rankdata(oriented)
    of_positive = (ranks[condition] - stats.rankdata(oriented[condition])) / n_negative
    of_negative = 1 - (ranks[~condition] - stats.rankdata(oriented[~condition])) / n_positive
    estimate, variance = float(of_positive.mean()), _variance(of_positive, of_negative)
    return Auc(estimate, variance, positive_when, n_positive, n_negative), of_positive, of_negative


def _variance(of_positive: FloatArray, of_negative: FloatArray) -> float:
    """DeLong's variance of the mean of structural components; NaN where a class has one patient."""
    if min(of_positive.size, of_negative.size) < 2:
        return math.nan
    return float(of_positive.var(ddof=1) / of_positive.size + of_negative.var(ddof=1) / of_negative.size)
