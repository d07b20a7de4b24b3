"""Region by region with patients as clusters: twenty regions of one patient are not twenty patients.

Regions of a patient are affected together, so that an interval that takes them as independent is too narrow (Genders et
al. 2012). Three ways around it stand here: patients are drawn again with all of their regions (*bootstrap*); the share
of a generalised estimating equation (*GEE*) with exchangeable correlation within patients; and, for the area under the
ROC curve, the variance of Obuchowski (1997), whose components are added up within patients first.

A GEE of nothing but an intercept has a closed form for each correlation, a hundred times faster than statsmodels'; that
is the oracle of the tests.

With few patients, say below twenty, all of them are still too narrow.

References
----------
Obuchowski NA (1997). Biometrics 53:567-578. Genders TSS et al. (2012). Radiology 265:910-916. Liang KY, Zeger SL
(1986). Biometrika 73:13-22. Mancl LA, DeRouen TA (2001). Biometrics 57:126-134 (covariance for few clusters).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from reports.estimators.discrimination import Classes, Direction, auc_with_components
from reports.estimators.estimate import (
    Interval,
    Proportion,
    checked_flags,
    checked_level,
    checked_vector,
    not_estimable,
    resample_blocks,
    resampled_counts,
    wald_interval,
)
from tasks.arrays import BoolArray, FloatArray, IntArray

#: More resamples than this share without a value, and the others say little about all of them. Chosen here.
MOST_EMPTY = 0.05
MOST_ROUNDS, CONVERGED = 200, 1e-12  # of the GEE
Counts = tuple[FloatArray, FloatArray, FloatArray, FloatArray]  # TP, FN, FP, TN


def _sensitivity(counts: Counts) -> FloatArray:
    tp, fn, _, _ = counts
    return np.asarray(tp / (tp + fn))


def _specificity(counts: Counts) -> FloatArray:
    _, _, fp, tn = counts
    return np.asarray(tn / (fp + tn))


def _balanced_accuracy(counts: Counts) -> FloatArray:
    return np.asarray((_sensitivity(counts) + _specificity(counts)) / 2)


def _kappa(counts: Counts) -> FloatArray:
    """Cohen's kappa of a two-by-two table."""
    tp, fn, fp, tn = counts
    return np.asarray(2 * (tp * tn - fn * fp) / ((tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)))


#: What is told of a table of regions.
INDICES: Mapping[str, Callable[[Counts], FloatArray]] = {
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "balanced_accuracy": _balanced_accuracy,
    "kappa": _kappa,
}
_EMPTY = {
    "sensitivity": "no region is affected by the reference",
    "specificity": "every region is affected by the reference",
    "balanced_accuracy": "the reference has one class only",
    "kappa": "both sources have one class only",
}


@dataclass(frozen=True, eq=False)
class ClusteredIndex:
    """One index of all regions, with an interval by resampling patients; ``n`` is patients."""

    estimate: float
    n: int
    method: str
    resampled: FloatArray = field(repr=False)
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Percentile interval of the resamples; those without a value are left out, at most one in twenty."""
        checked_level(level)
        if self.reason is not None:
            return not_estimable(self.method, level, self.reason)
        values = self.resampled[~np.isnan(self.resampled)]
        if values.size < (1 - MOST_EMPTY) * self.resampled.size:
            return not_estimable(self.method, level, "too many resamples have one class only")
        lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        if lower == upper:
            return not_estimable(self.method, level, "all resamples are alike")
        return Interval(float(lower), float(upper), level, self.method)


@dataclass(frozen=True, eq=False)
class RegionTable:
    """Regions of every patient against a reference: (n patients, 4) counts of TP, FN, FP and TN."""

    counts: FloatArray
    seed: int
    n_resamples: int

    @property
    def n(self) -> int:
        """Patients with a region that both judged."""
        return len(self.counts)

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """TP, FN, FP and TN over all patients."""
        tp, fn, fp, tn = (int(one) for one in self.counts.sum(axis=0))
        return tp, fn, fp, tn

    def proportions(self) -> dict[str, Proportion]:
        """Sensitivity and specificity with their counts of regions."""
        tp, fn, fp, tn = self.totals
        return {"sensitivity": Proportion(tp, tp + fn), "specificity": Proportion(tn, fp + tn)}

    @cached_property
    def _resampled(self) -> FloatArray:
        """(n_resamples, 4) counts of resamples of the patients."""
        rng = np.random.default_rng(self.seed)
        drawn = [
            resampled_counts(np.arange(self.n), self.n, size, rng) @ self.counts
            for size in resample_blocks(self.n_resamples, max(1, self.n))
        ]
        return np.asarray(np.concatenate(drawn), dtype=np.float64)

    def indices(self) -> dict[str, ClusteredIndex]:
        """Every index of ``INDICES``; NaN with a reason where a class is empty."""
        method = f"bootstrap percentile over patients, {self.n_resamples} resamples"
        found = {}
        for name, index in INDICES.items():
            value, resampled = math.nan, np.zeros(0)
            with np.errstate(invalid="ignore", divide="ignore"):
                if self.n:
                    value = float(index(_split(self.counts.sum(axis=0))))
                    resampled = index(_split(self._resampled))
            reason = _EMPTY[name] if math.isnan(value) else None
            found[name] = ClusteredIndex(value, self.n, method, resampled, reason)
        return found


def region_table(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, seed: int, n_resamples: int = 2000
) -> RegionTable:
    """Count the regions of every patient.

    Parameters
    ----------
    reference, candidate : (n patients, k regions) float arrays, 1, 0, or NaN for a region that was not judged
        A region that one of the two did not judge is left out; so is a patient without any other.
    seed : int
        Seed of ``numpy.random.default_rng``.
    n_resamples : int
    """
    first, second = (np.asarray(one, dtype=np.float64) for one in (reference, candidate))
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"reference and candidate must have one shape (n, k), got {first.shape} and {second.shape}.")
    cells = [np.count_nonzero((first == a) & (second == b), axis=1) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    counts = np.column_stack(cells).astype(np.float64)
    if counts.sum() != np.count_nonzero(~np.isnan(first + second)):
        raise ValueError("reference and candidate must be 1, 0 or NaN. Apply a rule first.")
    return RegionTable(counts[counts.sum(axis=1) > 0], seed, n_resamples)


@dataclass(frozen=True)
class GeeShare:
    """A share of regions by GEE; ``standard_error`` and ``logit`` are on the logit scale, ``n`` is patients."""

    estimate: float
    logit: float
    standard_error: float
    correlation: float
    n: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval on the logit scale, with the robust standard error of Mancl and DeRouen."""
        method = "GEE, exchangeable, logit"
        if self.reason is not None:
            return not_estimable(method, level, self.reason)
        interval = wald_interval(self.logit, self.standard_error, level, method)
        return Interval(float(special.expit(interval.lower)), float(special.expit(interval.upper)), level, method)


def gee_share(*, hits: npt.ArrayLike, sizes: npt.ArrayLike) -> GeeShare:
    """Share of regions that are hit, by a GEE with logit link and exchangeable correlation within patients.

    Parameters
    ----------
    hits, sizes : (n patients,) integer arrays, regions that are hit, and regions; patients without any are left out

    Returns
    -------
    GeeShare
        It weighs patients with many regions less than the plain share does. NaN with a reason where all regions or none
        are hit, for fewer than two patients, or without convergence.
    """
    hit, size = (checked_vector(name, one).astype(np.int64) for name, one in (("hits", hits), ("sizes", sizes)))
    if hit.shape != size.shape or np.any(hit > size) or np.any(hit < 0):
        raise ValueError("hits must be within 0..sizes, one of each for every patient.")
    hit, size = hit[size > 0], size[size > 0]
    n, total = size.size, int(size.sum())
    reason = None
    if n < 2:
        reason = f"{n} patients, at least 2 are needed"
    elif hit.sum() in (0, total):
        reason = "all regions are alike"
    if reason is not None:
        return GeeShare(math.nan, math.nan, math.nan, math.nan, n, reason)
    share, correlation = float(hit.sum()) / total, 0.0
    for _ in range(MOST_ROUNDS):
        before = share
        correlation = _exchangeable(hit, size, share)
        scale = 1 + (size - 1) * correlation
        if scale.min() <= 0:
            return GeeShare(math.nan, math.nan, math.nan, correlation, n, "the correlation leaves no working matrix")
        share = float((hit / scale).sum() / (size / scale).sum())
        if abs(share - before) < CONVERGED:
            break
    else:
        return GeeShare(math.nan, math.nan, math.nan, correlation, n, "the fit did not converge")
    weighted = (hit - size * share) / scale
    leverage = (size / scale) / (size / scale).sum()
    if leverage.max() >= 1:
        return GeeShare(math.nan, math.nan, math.nan, correlation, n, "one patient has all the weight")
    curvature = float((size / scale).sum()) * share * (1 - share)
    error = math.sqrt(float(((weighted / (1 - leverage)) ** 2).sum())) / curvature
    return GeeShare(share, float(special.logit(share)), error, correlation, n)


def _exchangeable(hit: IntArray, size: IntArray, share: float) -> float:
    """The moment estimate of the correlation within patients, as statsmodels' ``Exchangeable`` has it."""
    n_pairs = float((size * (size - 1)).sum()) / 2
    if n_pairs <= 1:
        return 0.0
    spread = share * (1 - share)
    squares = (hit * (1 - share) ** 2 + (size - hit) * share**2) / spread
    products = ((hit - size * share) ** 2 / spread - squares) / 2
    return float(products.sum() / (squares.sum() / (size.sum() - 1)) / (n_pairs - 1))


@dataclass(frozen=True, eq=False)
class ClusteredAuc:
    """Area under the ROC curve over regions; ``n`` is patients, ``n_positive`` and ``n_negative`` regions."""

    estimate: float
    standard_error: float
    n: int
    n_positive: int
    n_negative: int
    seed: int
    n_resamples: int
    _codes: tuple[IntArray, BoolArray, IntArray] = field(repr=False)  # of the value, of the class, of the patient
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval with Obuchowski's variance, not outside 0..1."""
        method = "Obuchowski, clustered by patient"
        if self.reason is not None:
            return not_estimable(method, level, self.reason)
        return wald_interval(self.estimate, self.standard_error, level, method).within(0.0, 1.0)

    def bootstrap(self) -> ClusteredIndex:
        """The same area with an interval by resampling patients."""
        method = f"bootstrap percentile over patients, {self.n_resamples} resamples"
        if self.reason is not None:
            return ClusteredIndex(self.estimate, self.n, method, np.zeros(0), self.reason)
        value, is_positive, patient = self._codes
        width = int(value.max()) + 1
        parts = [
            sparse.csr_array((np.ones(kept.sum()), (patient[kept], value[kept])), shape=(self.n, width))
            for kept in (is_positive, ~is_positive)
        ]
        rng = np.random.default_rng(self.seed)
        areas = []
        for size in resample_blocks(self.n_resamples, max(width, self.n)):
            weights = resampled_counts(np.arange(self.n), self.n, size, rng).astype(np.float64)
            positive, negative = (weights @ part for part in parts)
            below = np.cumsum(negative, axis=1) - negative / 2
            with np.errstate(invalid="ignore"):
                areas.append((positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))
        return ClusteredIndex(self.estimate, self.n, method, np.concatenate(areas))


def clustered_auc(
    *,
    reference: npt.ArrayLike,
    candidate: npt.ArrayLike,
    patients: npt.ArrayLike,
    positive_when: Direction = "high",
    seed: int = 0,
    n_resamples: int = 2000,
) -> ClusteredAuc:
    """Area under the ROC curve over regions, regions of one patient being dependent.

    Parameters
    ----------
    reference : (m,) boolean array, true: the region is affected
    candidate : (m,) float array, finite, such as probabilities
    patients : (m,) integer array, whose region it is
    positive_when : {"high", "low"}
    seed, n_resamples : of the bootstrap

    Returns
    -------
    ClusteredAuc
        NaN with a reason where a class is empty or, for the standard error, has regions of one patient only.
    """
    values = checked_vector("candidate", candidate)
    affected = checked_flags("reference", reference, values.size)
    who = np.unique(np.asarray(patients), return_inverse=True)[1].astype(np.int64)
    if who.shape != values.shape:
        raise ValueError(f"patients must have {values.size} values, one per region, got {who.size}.")
    ordered = values if positive_when == "high" else -values
    codes = np.unique(ordered, return_inverse=True)[1].astype(np.int64)
    n, n_positive = int(who.max(initial=-1)) + 1, int(affected.sum())
    n_negative = values.size - n_positive
    kept = (codes, affected, who)
    if not n_positive or not n_negative:
        reason = f"regions of both classes are needed, got {n_positive} affected of {values.size}"
        return ClusteredAuc(math.nan, math.nan, n, n_positive, n_negative, seed, n_resamples, kept, reason)
    found, of_positive, of_negative = auc_with_components(Classes.of(affected, values, positive_when))
    error = _obuchowski(found.estimate, (of_positive, who[affected]), (of_negative, who[~affected]), n)
    return ClusteredAuc(found.estimate, error, n, n_positive, n_negative, seed, n_resamples, kept)


def _obuchowski(
    area: float, positive: tuple[FloatArray, IntArray], negative: tuple[FloatArray, IntArray], n: int
) -> float:
    """Standard error of an area (Obuchowski 1997): components less the area, added up within patients; NaN for one."""
    (of_positive, who_positive), (of_negative, who_negative) = positive, negative
    m10, m01 = of_positive.size, of_negative.size
    by_patient = [
        np.bincount(who, values - area, minlength=n)
        for values, who in ((of_positive, who_positive), (of_negative, who_negative))
    ]
    i10, i01 = np.unique(who_positive).size, np.unique(who_negative).size
    if min(i10, i01) < 2:
        return math.nan
    s10 = i10 / ((i10 - 1) * m10) * float(by_patient[0] @ by_patient[0])
    s01 = i01 / ((i01 - 1) * m01) * float(by_patient[1] @ by_patient[1])
    s11 = n / (n - 1) * float(by_patient[0] @ by_patient[1])
    variance = s10 / m10 + s01 / m01 + 2 * s11 / (m10 * m01)
    return math.sqrt(variance) if variance > 0 else math.nan


def _split(counts: FloatArray) -> Counts:
    """The four columns."""
    tp, fn, fp, tn = np.moveaxis(counts, -1, 0)
    return tp, fn, fp, tn
