"""Bland-Altman limits where the pairs are not one per patient, and where differences grow with size.

*Repeated pairs*: both sources measured a patient several times while the true value changed, such as left and right, or
two visits. Ignoring whose pairs they are makes the limits too narrow; here the variance between patients and that
within them are added. *Ratios*: volumes differ by a share rather than by millilitres; limits of the logarithms become
factors.

References
----------
Bland JM, Altman DG (2007). J Biopharm Stat 17:571-582 (true value varies). Bland JM, Altman DG (1999). Stat Methods Med
Res 8:135-160, section 3.2 (logarithms). Interval of a sum of mean squares: Graybill FA, Wang CM (1980). JASA
75:869-873; limits by MOVER as Zou GY (2013). Stat Methods Med Res 22:630-642.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.bland_altman import LIMIT_FACTOR, BlandAltman, bland_altman
from reports.estimators.estimate import Interval, checked_level, checked_pair, not_estimable


@dataclass(frozen=True)
class RepeatedBlandAltman:
    """Bias and limits of agreement of ``n_pairs`` pairs of ``n`` patients; ``estimate`` is the bias.

    ``mean_squares`` are those between and within patients, ``divisor`` the mean number of pairs that separates them.
    """

    estimate: float
    sd: float
    n: int
    n_pairs: int
    mean_squares: tuple[float, float]
    divisor: float
    bias_standard_error: float
    limit_factor: float = LIMIT_FACTOR
    reason: str | None = None

    @property
    def loa_lower(self) -> float:
        """Lower limit of agreement of a single pair."""
        return self.estimate - self.limit_factor * self.sd

    @property
    def loa_upper(self) -> float:
        """Upper limit of agreement of a single pair."""
        return self.estimate + self.limit_factor * self.sd

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval of the bias by Student's t with patients - 1 degrees of freedom."""
        checked_level(level)
        if self.reason is not None or not self.bias_standard_error > 0:
            return not_estimable("t, patients", level, self.reason or "the differences do not vary")
        margin = float(stats.t.ppf((1 + level) / 2, self.n - 1)) * self.bias_standard_error
        return Interval(self.estimate - margin, self.estimate + margin, level, "t, patients")

    def limit_intervals(self, level: float = 0.95) -> tuple[Interval, Interval]:
        """Intervals of the lower and of the upper limit of agreement by MOVER."""
        checked_level(level)
        if self.reason is not None or not self.sd > 0:
            nowhere = not_estimable("MOVER", level, self.reason or "the differences do not vary")
            return nowhere, nowhere
        low, high = self._variance_bounds((1 + level) / 2)
        bias = (self.confidence_interval(level).upper - self.estimate) or 0.0
        outward = math.hypot(bias, self.limit_factor * (math.sqrt(high) - self.sd))
        inward = math.hypot(bias, self.limit_factor * (self.sd - math.sqrt(low)))
        return (
            Interval(self.loa_lower - outward, self.loa_lower + inward, level, "MOVER"),
            Interval(self.loa_upper - inward, self.loa_upper + outward, level, "MOVER"),
        )

    def _variance_bounds(self, probability: float) -> tuple[float, float]:
        """Bounds of the total variance, a sum of the two mean squares (Graybill & Wang 1980)."""
        parts = (self.mean_squares[0] / self.divisor, (1 - 1 / self.divisor) * self.mean_squares[1])
        freedoms = (self.n - 1, self.n_pairs - self.n)
        below = above = 0.0
        for part, df in zip(parts, freedoms, strict=True):
            below += (part * (1 - df / float(stats.chi2.ppf(probability, df)))) ** 2
            above += (part * (df / float(stats.chi2.ppf(1 - probability, df)) - 1)) ** 2
        return max(self.sd**2 - math.sqrt(below), 0.0), self.sd**2 + math.sqrt(above)


@dataclass(frozen=True)
class RatioAgreement:
    """Bland-Altman limits of ``candidate / reference``; ``estimate`` is the geometric mean ratio.

    ``n_left_out`` pairs have a value that is not positive and no ratio.
    """

    logarithms: BlandAltman
    n_left_out: int

    @property
    def estimate(self) -> float:
        """Geometric mean of candidate / reference."""
        return math.exp(self.logarithms.estimate)

    @property
    def n(self) -> int:
        """Number of patients with a ratio."""
        return self.logarithms.n

    @property
    def reason(self) -> str | None:
        """Why there are no limits, or None."""
        return self.logarithms.reason

    @property
    def loa_lower(self) -> float:
        """Lower limit of agreement, a factor."""
        return math.exp(self.logarithms.loa_lower)

    @property
    def loa_upper(self) -> float:
        """Upper limit of agreement, a factor."""
        return math.exp(self.logarithms.loa_upper)

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval of the geometric mean ratio by Student's t on the logarithms."""
        return _factor(self.logarithms.confidence_interval(level))

    def limit_intervals(self, level: float = 0.95) -> tuple[Interval, Interval]:
        """Intervals of the lower and of the upper limit, exact on the logarithms."""
        lower, upper = self.logarithms.limit_intervals(level)
        return _factor(lower), _factor(upper)


def repeated_bland_altman(
    *, patients: npt.ArrayLike, reference: npt.ArrayLike, candidate: npt.ArrayLike, limit_factor: float = LIMIT_FACTOR
) -> RepeatedBlandAltman:
    """Bland-Altman analysis of several pairs per patient whose true value may vary.

    Parameters
    ----------
    patients : (m,) array of labels, one per pair
    reference, candidate : (m,) float arrays, finite, in one unit
    limit_factor : float

    Returns
    -------
    RepeatedBlandAltman
        NaN with a reason for fewer than two patients, and where no patient has two pairs.
    """
    first, second = checked_pair(reference, candidate)
    labels = np.asarray(patients).astype(str)
    if labels.shape != first.shape:
        raise ValueError(f"patients must have one label per pair, got {labels.shape} for {first.shape}.")
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    n, n_pairs, difference = sizes.size, first.size, second - first
    nan, bias = math.nan, float(difference.mean()) if n_pairs else math.nan
    if n < 2 or n_pairs == n:
        reason = f"{n} patients, at least 2 are needed" if n < 2 else "no patient has two pairs; take bland_altman"
        return RepeatedBlandAltman(bias, nan, n, n_pairs, (nan, nan), nan, nan, limit_factor, reason)
    means = np.bincount(codes, weights=difference) / sizes
    between = float(np.sum(sizes * (means - bias) ** 2) / (n - 1))
    within = float(np.sum((difference - means[codes]) ** 2) / (n_pairs - n))
    divisor = float((n_pairs**2 - np.sum(sizes**2)) / ((n - 1) * n_pairs))
    patient_variance = max((between - within) / divisor, 0.0)
    error = math.sqrt(patient_variance * float(np.sum(sizes**2)) / n_pairs**2 + within / n_pairs)
    total = between / divisor + (1 - 1 / divisor) * within  # never negative, whichever mean square is larger
    return RepeatedBlandAltman(bias, math.sqrt(total), n, n_pairs, (between, within), divisor, error, limit_factor)


def ratio_agreement(*, reference: npt.ArrayLike, candidate: npt.ArrayLike) -> RatioAgreement:
    """Bland-Altman limits of the ratio of two positive measurements.

    Parameters
    ----------
    reference, candidate : (n,) float arrays, finite, not negative, in one unit

    Returns
    -------
    RatioAgreement
        Pairs with a zero are left out and counted: a volume of 0 ml is infinitely smaller than any other.

    Examples
    --------
    >>> ratios = ratio_agreement(reference=[1, 2, 4, 0], candidate=[2, 4, 8, 1])
    >>> round(ratios.estimate, 6), ratios.n, ratios.n_left_out
    (2.0, 3, 1)
    """
    first, second = checked_pair(reference, candidate)
    if np.any(first < 0) or np.any(second < 0):
        raise ValueError("reference and candidate must be >= 0 for a ratio, got a negative value.")
    kept = (first > 0) & (second > 0)
    logarithms = bland_altman(reference=np.log(first[kept]), candidate=np.log(second[kept]))
    return RatioAgreement(logarithms, int(np.count_nonzero(~kept)))


def _factor(interval: Interval) -> Interval:
    """An interval of logarithms as factors."""
    return Interval(math.exp(interval.lower), math.exp(interval.upper), interval.level, f"log {interval.method}")
