"""Performance of a yes/no test against a yes/no reference, from its four counts.

Everything is derived from TP, FP, FN and TN, so that a printed table can be re-derived from the counts beside it. The
positive class is that of ``reference``; F1 is given for both classes, because the two differ and papers mix them up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from statsmodels.stats.proportion import confint_proportions_2indep

from reports.estimators.estimate import (
    Interval,
    PointEstimate,
    Proportion,
    checked_flags,
    checked_vector,
    not_estimable,
    wald_interval,
)
from tasks.thresholds import Threshold


@dataclass(frozen=True)
class LikelihoodRatio:
    """Ratio of two independent proportions, LR+ or LR-."""

    estimate: float
    n: int
    standard_error_log: float
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval on the log scale: Simel et al. (1991), J Clin Epidemiol 44:763-770."""
        if self.reason is not None or not self.estimate > 0:
            return not_estimable("log Wald", level, self.reason or "the ratio is 0")
        interval = wald_interval(math.log(self.estimate), self.standard_error_log, level, "log Wald")
        return Interval(math.exp(interval.lower), math.exp(interval.upper), level, interval.method)


@dataclass(frozen=True)
class ClassDifference:
    """What follows from the difference of the positive shares of both classes: balanced accuracy, Youden's index.

    ``estimate`` is ``offset + scale (tp / n_positive - fp / n_negative)``; NaN with a reason where a class is empty.
    """

    tp: int
    n_positive: int
    fp: int
    n_negative: int
    offset: float
    scale: float

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.n_positive + self.n_negative

    @property
    def reason(self) -> str | None:
        """Why there is no estimate."""
        return None if self.n_positive and self.n_negative else "a class is empty"

    @property
    def estimate(self) -> float:
        """In its own unit."""
        if self.reason is not None:
            return math.nan
        return self.offset + self.scale * (self.tp / self.n_positive - self.fp / self.n_negative)

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """From both Wilson intervals: method 10 of Newcombe (1998), Stat Med 17:873-890, page 876."""
        if self.reason is not None:
            return not_estimable("Newcombe", level, self.reason)
        counts = (self.tp, self.n_positive, self.fp, self.n_negative)
        ends = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=1 - level)
        lower, upper = (self.offset + self.scale * float(end) for end in ends)
        return Interval(lower, upper, level, "Newcombe")


@dataclass(frozen=True)
class BinaryPerformance:
    """A two-by-two table and all that follows from it.

    Parameters
    ----------
    tp, fn, fp, tn : int
        True positive, false negative, false positive and true negative patients.
    threshold : Threshold or None
        The dichotomy that made the test positive, where there was one.
    """

    tp: int
    fn: int
    fp: int
    tn: int
    threshold: Threshold | None = None

    def __post_init__(self) -> None:
        negative = [f"{name}={value}" for name, value in self.counts().items() if value < 0]
        if negative:
            raise ValueError(f"counts must be >= 0, got {', '.join(negative)}.")

    def counts(self) -> dict[str, int]:
        """The four counts by name."""
        return {"tp": self.tp, "fn": self.fn, "fp": self.fp, "tn": self.tn}

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.tp + self.fn + self.fp + self.tn

    def proportions(self) -> dict[str, Proportion]:
        """The statistics that are proportions, each with its own denominator and Wilson interval."""
        n_positive, n_negative = self.tp + self.fn, self.fp + self.tn
        return {
            "sensitivity": Proportion(self.tp, n_positive),
            "specificity": Proportion(self.tn, n_negative),
            "accuracy": Proportion(self.tp + self.tn, self.n),
            "ppv": Proportion(self.tp, self.tp + self.fp),
            "npv": Proportion(self.tn, self.tn + self.fn),
            "prevalence": Proportion(n_positive, self.n),
        }

    def likelihood_ratios(self) -> dict[str, LikelihoodRatio]:
        """LR+ = sensitivity / (1 - specificity) and LR- = (1 - sensitivity) / specificity."""
        n_positive, n_negative = self.tp + self.fn, self.fp + self.tn
        return {
            "lr_positive": _ratio(self.tp, n_positive, self.fp, n_negative),
            "lr_negative": _ratio(self.fn, n_positive, self.tn, n_negative),
        }

    def balanced_accuracy(self) -> ClassDifference:
        """Mean of sensitivity and specificity."""
        return ClassDifference(self.tp, self.tp + self.fn, self.fp, self.fp + self.tn, 0.5, 0.5)

    def youden_index(self) -> ClassDifference:
        """Sensitivity + specificity - 1, of a cut that was not chosen on these patients."""
        return ClassDifference(self.tp, self.tp + self.fn, self.fp, self.fp + self.tn, 0.0, 1.0)

    def indices(self) -> dict[str, PointEstimate]:
        """F1 of both classes and Matthews' correlation (MCC), without interval."""
        margins = (self.tp + self.fn, self.fp + self.tn, self.tp + self.fp, self.fn + self.tn)
        return {
            "f1_positive": _index(
                2 * self.tp, 2 * self.tp + self.fp + self.fn, self.n, "no positive in test or reference"
            ),
            "f1_negative": _index(
                2 * self.tn, 2 * self.tn + self.fp + self.fn, self.n, "no negative in test or reference"
            ),
            "mcc": _index(
                self.tp * self.tn - self.fp * self.fn,
                math.sqrt(math.prod(margins)),
                self.n,
                "test or reference has one class only",
            ),
        }


def dichotomy_performance(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, threshold: Threshold
) -> BinaryPerformance:
    """Performance of a number cut at a declared threshold, its positive side being a positive test.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidate : (n,) float array, finite, in the unit of the threshold
    threshold : Threshold
    """
    values = checked_vector("candidate", candidate)
    condition = checked_flags("reference", reference, values.size)
    return counted(condition, threshold.is_positive(values), threshold)


def counted(
    condition: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_], threshold: Threshold | None
) -> BinaryPerformance:
    """Count the four cells."""
    tp, fn = np.count_nonzero(condition & test), np.count_nonzero(condition & ~test)
    fp, tn = np.count_nonzero(~condition & test), np.count_nonzero(~condition & ~test)
    return BinaryPerformance(int(tp), int(fn), int(fp), int(tn), threshold)


def _index(numerator: float, denominator: float, n: int, reason: str) -> PointEstimate:
    """Return a quotient, or NaN with the reason where it is not defined."""
    if denominator == 0 or math.isnan(numerator):
        return PointEstimate(math.nan, n, reason)
    return PointEstimate(numerator / denominator, n)


def _ratio(count_a: int, n_a: int, count_b: int, n_b: int) -> LikelihoodRatio:
    """Return (count_a / n_a) / (count_b / n_b) with the standard error of its logarithm."""
    n = n_a + n_b
    if 0 in (n_a, n_b, count_b):
        return LikelihoodRatio(math.nan, n, math.nan, "a class is empty or the denominator of the ratio is 0")
    error = math.sqrt(1 / count_a - 1 / n_a + 1 / count_b - 1 / n_b) if count_a else math.nan
    return LikelihoodRatio(count_a / n_a * n_b / count_b, n, error)
