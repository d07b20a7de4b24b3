"""Several areas under the ROC curve at once: their covariance on the same patients, and the test on other patients.

References
----------
DeLong ER et al. (1988). Biometrics 44:837-845. Jackknife: Hillis SL et al. (2005). Statistics in Medicine 24:1579-1607,
DOI 10.1002/sim.2024. Degrees of freedom of the unpaired test: those of R's pROC (Welch-Satterthwaite).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.discrimination import Auc, Classes, Direction, auc_with_components
from reports.estimators.estimate import Interval, checked_level, checked_option, not_estimable
from tasks.arrays import FloatArray

CovarianceMethod = Literal["delong", "jackknife"]


@dataclass(frozen=True, eq=False)
class AucSet:
    """Areas of ``m`` candidates on the same patients, (m,), and their covariance, (m, m); NaN with a reason."""

    estimates: FloatArray = field(repr=False)
    covariance: FloatArray = field(repr=False)
    n_positive: int
    n_negative: int
    method: CovarianceMethod
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.n_positive + self.n_negative


@dataclass(frozen=True)
class IndependentAucDifference:
    """Difference of two areas on different patients, ``auc_a - auc_b``, with DeLong's unpaired test (two-sided)."""

    estimate: float
    standard_error: float
    df: float
    t: float
    p: float
    auc_a: Auc
    auc_b: Auc
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients of both groups."""
        return self.auc_a.n + self.auc_b.n

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval by Student's t with the degrees of freedom of the test, not outside -1..1."""
        checked_level(level)
        if self.reason is not None:
            return not_estimable("unpaired DeLong", level, self.reason)
        margin = float(stats.t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return Interval(self.estimate - margin, self.estimate + margin, level, "unpaired DeLong").within(-1.0, 1.0)


def auc_covariance(
    *,
    reference: npt.ArrayLike,
    candidates: npt.ArrayLike,
    positive_when: Direction,
    method: CovarianceMethod = "delong",
) -> AucSet:
    """Areas of several candidates on the same patients, with their covariance.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    candidates : (n, m) float array, finite, one column per candidate
    positive_when : {"high", "low"}
        Which values speak for the condition; the same for all candidates.
    method : {"delong", "jackknife"}
        The jackknife leaves out one patient at a time; the two agree in large cohorts.

    Returns
    -------
    AucSet
        NaN with a reason where a class has fewer than two patients.

    Examples
    --------
    >>> areas = auc_covariance(reference=[0, 0, 1, 1], candidates=[[1, 1], [2, 3], [3, 2], [4, 4]],
    ...                        positive_when="high")
    >>> areas.estimates.tolist()
    [1.0, 0.75]
    """
    checked_option("method", method, ("delong", "jackknife"))
    table = np.asarray(candidates, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(f"candidates must have shape (n patients, m >= 1 candidates), got {table.shape}.")
    classes = [Classes.of(reference, column, positive_when) for column in table.T]
    n_positive, n_negative, m = classes[0].n_positive, classes[0].n_negative, table.shape[1]
    if min(n_positive, n_negative) < 2:
        reason = f"at least 2 patients of each class are needed, got {n_positive} positive and {n_negative} negative"
        nothing = np.full((m, m), math.nan)
        return AucSet(nothing[0].copy(), nothing, n_positive, n_negative, method, reason)
    found = [auc_with_components(one) for one in classes]
    areas = np.array([area.estimate for area, _, _ in found])
    of_positive, of_negative = np.array([part[1] for part in found]), np.array([part[2] for part in found])
    if method == "delong":
        covariance = np.atleast_2d(np.cov(of_positive)) / n_positive + np.atleast_2d(np.cov(of_negative)) / n_negative
    else:
        covariance = _jackknife(areas, of_positive, of_negative)
    return AucSet(areas, covariance, n_positive, n_negative, method)


def compare_independent_aucs(
    *,
    reference_a: npt.ArrayLike,
    candidate_a: npt.ArrayLike,
    reference_b: npt.ArrayLike,
    candidate_b: npt.ArrayLike,
    positive_when_a: Direction,
    positive_when_b: Direction,
) -> IndependentAucDifference:
    """DeLong's test of two areas on different patients, such as those of two sites.

    Parameters
    ----------
    reference_a, reference_b : (n,) boolean arrays, true: the patient has the condition
    candidate_a, candidate_b : (n,) float arrays, finite; their lengths and units may differ
    positive_when_a, positive_when_b : {"high", "low"}

    Returns
    -------
    IndependentAucDifference
        NaN with a reason where a class has fewer than two patients, or neither area varies.
    """
    auc_a, auc_b = (
        auc_with_components(Classes.of(reference, candidate, direction))[0]
        for reference, candidate, direction in (
            (reference_a, candidate_a, positive_when_a),
            (reference_b, candidate_b, positive_when_b),
        )
    )
    difference = auc_a.estimate - auc_b.estimate
    reason = auc_a.reason or auc_b.reason
    variance = auc_a.variance + auc_b.variance
    if reason is None and not variance > 0:
        reason = "the areas have no variance: a class of one patient, or perfect separation in both groups"
    if reason is not None:
        nan = math.nan
        return IndependentAucDifference(difference, nan, nan, nan, nan, auc_a, auc_b, reason)
    # Welch-Satterthwaite over the two groups, each with its patients less one, as pROC's delong.unpaired.test
    shares = sum(area.variance**2 / (area.n - 1) for area in (auc_a, auc_b))
    df, error = variance**2 / shares, math.sqrt(variance)
    t = difference / error
    return IndependentAucDifference(difference, error, df, t, float(2 * stats.t.sf(abs(t), df)), auc_a, auc_b)


def _jackknife(areas: FloatArray, of_positive: FloatArray, of_negative: FloatArray) -> FloatArray:
    """Jackknife covariance; the area without one patient follows from that patient's structural component."""
    n_positive, n_negative = of_positive.shape[1], of_negative.shape[1]
    without = np.concatenate(
        [
            (n_positive * areas[:, None] - of_positive) / (n_positive - 1),
            (n_negative * areas[:, None] - of_negative) / (n_negative - 1),
        ],
        axis=1,
    )
    n = n_positive + n_negative
    centred = without - without.mean(axis=1, keepdims=True)
    return np.asarray((n - 1) / n * (centred @ centred.T))
