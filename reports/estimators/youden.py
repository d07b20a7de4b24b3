"""The cut that a cohort proposes for itself: Youden's index, how stable that cut is, and how optimistic.

Every observed value is tried as a cut. Youden's index J = sensitivity + specificity - 1 is compared in whole patients,
so equal indices are equal; among them the strictest cut wins, the one that calls the fewest patients positive. A cut is
given twice: in operator form on an observed value (``le 6``), which is what a score needs, and as the ``midpoint``
between that value and its neighbour on the negative side, which is what R's pROC prints.

References
----------
Youden WJ (1950). Cancer 3:32-35. Optimism: Harrell FE et al. (1996). Statistics in Medicine 15:361-387.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reports.estimators.discrimination import Classes, Direction
from reports.estimators.estimate import Interval, checked_level, not_estimable, resample_blocks, resampled_counts
from tasks.arrays import FloatArray, IntArray
from tasks.thresholds import Operator, Threshold


@dataclass(frozen=True)
class YoudenCut:
    """The cut of largest Youden index; ``estimate`` is the cut in operator form, in the unit of the candidate."""

    estimate: float
    operator: Operator
    midpoint: float
    youden_index: float
    sensitivity: float
    specificity: float
    positive_when: Direction
    n_positive: int
    n_negative: int
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.n_positive + self.n_negative

    def threshold(self, quantity: str) -> Threshold:
        """The cut as a threshold with source ``youden``; ValueError where there is none."""
        return Threshold("youden", self.estimate, self.operator, self.positive_when, "youden", quantity)


@dataclass(frozen=True)
class Performance:
    """Sensitivity, specificity and Youden's index at one cut, as shares."""

    sensitivity: float
    specificity: float

    @property
    def youden_index(self) -> float:
        """Sensitivity + specificity - 1."""
        return self.sensitivity + self.specificity - 1


@dataclass(frozen=True, eq=False)
class YoudenBootstrap:
    """Bootstrap of the whole choice of a cut; patients are resampled within each class, so both sizes stay.

    ``optimism`` is the mean over resamples of (performance of the resample's cut in the resample) - (its performance in
    the cohort); ``corrected`` is ``apparent`` less the optimism.
    """

    apparent: YoudenCut
    cuts: FloatArray = field(repr=False)
    optimism: Performance
    corrected: Performance
    seed: int
    reason: str | None = None

    @property
    def estimate(self) -> float:
        """The apparent cut in operator form."""
        return self.apparent.estimate

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.apparent.n

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Percentile interval of the cut; its bounds are observed values.

        The cut converges slowly (cube root of n) and the interval is a description of its stability, not an exact one:
        unlike the other intervals it may have zero width, if at least ``level`` of the resamples choose one value.
        """
        method = f"bootstrap percentile, {self.cuts.size} resamples of patients within class"
        if self.reason is not None:
            return not_estimable(method, level, self.reason)
        tail = (1 - checked_level(level)) / 2
        lower, upper = np.quantile(self.cuts, (tail, 1 - tail), method="inverted_cdf")
        return Interval(float(lower), float(upper), level, method)


def youden_cut(*, reference: npt.ArrayLike, candidate: npt.ArrayLike, positive_when: Direction) -> YoudenCut:
    """Cut with the largest Youden index.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidate : (n,) float array, finite, in any unit
    positive_when : {"high", "low"}
        Which values speak for the condition.

    Returns
    -------
    YoudenCut
        NaN with a reason where one class is empty, or where no cut has a positive index: the candidate is constant, or
        speaks for the other direction.

    Raises
    ------
    ValueError
        Lengths differ, a value is missing, or the direction is unknown.

    Examples
    --------
    >>> cut = youden_cut(reference=[1, 1, 1, 0, 0, 0], candidate=[2, 5, 6, 6, 9, 10], positive_when="low")
    >>> cut.threshold("ASPECTS").text, cut.midpoint, round(cut.youden_index, 3)
    ('ASPECTS <= 5', 5.5, 0.667)
    """
    return _apparent(Classes.of(reference, candidate, positive_when))


def bootstrap_youden(
    *,
    reference: npt.ArrayLike,
    candidate: npt.ArrayLike,
    positive_when: Direction,
    seed: int,
    n_resamples: int = 2000,
) -> YoudenBootstrap:
    """Interval and distribution of the Youden cut, and its performance corrected for optimism.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidate : (n,) float array, finite, in any unit
    positive_when : {"high", "low"}
    seed : int
        Seed of ``numpy.random.default_rng``.
    n_resamples : int

    Returns
    -------
    YoudenBootstrap
        NaN with a reason where the cohort itself has no cut.

    Raises
    ------
    ValueError
        As ``youden_cut``.
    """
    classes = Classes.of(reference, candidate, positive_when)
    apparent = _apparent(classes)
    nowhere = Performance(math.nan, math.nan)
    if apparent.reason is not None:
        return YoudenBootstrap(apparent, np.empty(0), nowhere, nowhere, seed, apparent.reason)
    rng = np.random.default_rng(seed)
    chosen, gain_sensitivity, gain_specificity = [], [], []
    n_cuts = classes.distinct.size
    positive_codes, negative_codes = classes.codes[classes.condition], classes.codes[~classes.condition]
    for size in resample_blocks(n_resamples, max(n_cuts, apparent.n)):
        true_positive = np.cumsum(resampled_counts(positive_codes, n_cuts, size, rng), axis=1)
        false_positive = np.cumsum(resampled_counts(negative_codes, n_cuts, size, rng), axis=1)
        best = _best(classes, true_positive, false_positive)
        rows = np.arange(best.size)
        gain_sensitivity.append(true_positive[rows, best] - classes.true_positive[best])
        gain_specificity.append(classes.false_positive[best] - false_positive[rows, best])
        chosen.append(best)
    optimism = Performance(
        float(np.concatenate(gain_sensitivity).mean()) / apparent.n_positive,
        float(np.concatenate(gain_specificity).mean()) / apparent.n_negative,
    )
    corrected = Performance(apparent.sensitivity - optimism.sensitivity, apparent.specificity - optimism.specificity)
    return YoudenBootstrap(apparent, classes.distinct[np.concatenate(chosen)], optimism, corrected, seed)


def _best(classes: Classes, true_positive: IntArray, false_positive: IntArray) -> IntArray:
    """Place of the first largest Youden index along the last axis, compared in whole numbers."""
    index: IntArray = true_positive * classes.n_negative - false_positive * classes.n_positive
    return np.asarray(index.argmax(axis=-1), dtype=np.int64)


def _apparent(classes: Classes) -> YoudenCut:
    """The cut of the cohort itself."""
    sizes, positive_when, distinct = (classes.n_positive, classes.n_negative), classes.positive_when, classes.distinct
    operator: Operator = "ge" if positive_when == "high" else "le"
    reason = classes.reason
    if reason is None:
        place = int(_best(classes, classes.true_positive, classes.false_positive))
        sensitivity = float(classes.true_positive[place]) / sizes[0]
        specificity = 1 - float(classes.false_positive[place]) / sizes[1]
        if place + 1 < distinct.size and sensitivity + specificity > 1:
            cut, neighbour = float(distinct[place]), float(distinct[place + 1])
            performance = Performance(sensitivity, specificity)
            return YoudenCut(
                cut,
                operator,
                (cut + neighbour) / 2,
                performance.youden_index,
                sensitivity,
                specificity,
                positive_when,
                *sizes,
            )
        reason = f"no cut has a positive Youden index when {positive_when} values are positive"
    return YoudenCut(math.nan, operator, math.nan, math.nan, math.nan, math.nan, positive_when, *sizes, reason)
