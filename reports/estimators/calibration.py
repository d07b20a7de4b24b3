"""Whether predicted probabilities come true: calibration in the large, slope, Brier score and a binned curve.

References
----------
Cox DR (1958). Biometrika 45:562-565 (slope). Van Calster B et al. (2016). J Clin Epidemiol 74:167-176 (levels of
calibration). Brier GW (1950). Monthly Weather Review 78:1-3.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from scipy import special
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationWarning

from reports.estimators.estimate import (
    Interval,
    Proportion,
    checked_flags,
    checked_vector,
    not_estimable,
    wald_interval,
)
from tasks.arrays import BoolArray, FloatArray, IntArray

CLOSEST = 1e-6  # chosen here: probabilities of 0 and 1 have no logit and are moved in by this much


@dataclass(frozen=True)
class WaldEstimate:
    """An estimate with its standard error."""

    estimate: float
    standard_error: float
    n: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval."""
        if self.reason is not None:
            return not_estimable("Wald", level, self.reason)
        return wald_interval(self.estimate, self.standard_error, level, "Wald")


@dataclass(frozen=True)
class CalibrationBin:
    """Patients of similar predictions: their mean prediction, and how often it came true."""

    mean_probability: float
    observed: Proportion


@dataclass(frozen=True)
class Calibration:
    """How predictions and outcomes agree.

    ``intercept`` is calibration in the large: the log odds by which outcomes exceed predictions, 0 where they agree on
    average. ``slope`` is 1 where they agree, below 1 where predictions are too extreme. ``brier`` is the mean squared
    error, 0 best. ``bins`` have about equally many patients, in the order of their predictions.
    """

    intercept: WaldEstimate
    slope: WaldEstimate
    brier: WaldEstimate
    bins: tuple[CalibrationBin, ...]
    n: int
    n_positive: int
    reason: str | None = None


def calibration(
    *,
    reference: npt.ArrayLike,
    probability: npt.ArrayLike,
    n_bins: int = 10,
    patients: npt.ArrayLike | None = None,
) -> Calibration:
    """Calibration of probabilities against what happened.

    Parameters
    ----------
    reference : (n,) boolean array, true: it happened
    probability : (n,) float array within 0..1
    n_bins : int
        Of the curve; fewer where predictions tie.
    patients : (n,) array or None
        Whose each prediction is, where a patient has several, such as one for each region. Standard errors are then
        robust against dependence within patients (Liang & Zeger 1986), every ``n`` counts patients, and the bins say
        shares alone: their intervals would take regions as independent.

    Returns
    -------
    Calibration
        Intercept and slope are NaN with a reason where one class is empty; the slope also where predictions do not vary
        or separate the classes.
    """
    predicted = checked_vector("probability", probability)
    happened = checked_flags("reference", reference, predicted.size)
    if np.any((predicted < 0) | (predicted > 1)):
        raise ValueError(f"probability must be within 0..1, got {predicted.min():g}..{predicted.max():g}.")
    if n_bins < 1:
        raise ValueError(f"n_bins must be >= 1, got {n_bins}.")
    n, n_positive = predicted.size, int(np.count_nonzero(happened))
    reason = None if 0 < n_positive < n else f"both outcomes are needed, got {n_positive} of {n}"
    groups = None if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1].astype(np.int64)
    if groups is not None and groups.shape != predicted.shape:
        raise ValueError(f"patients must have {n} values, one per prediction, got {groups.size}.")
    n_patients = n if groups is None else int(groups.max(initial=-1)) + 1
    logit = special.logit(np.clip(predicted, CLOSEST, 1 - CLOSEST))
    squared = (predicted - happened) ** 2
    error = _error_of_mean(squared, groups)
    brier = WaldEstimate(float(squared.mean()) if n else math.nan, error, n_patients, None if n else "no patient")
    intercept = _fitted(happened, np.ones((n, 1)), logit, reason, groups)
    slope = _fitted(happened, np.column_stack([logit, np.ones(n)]), None, reason or _no_slope(happened, logit), groups)
    intercept, slope = replace(intercept, n=n_patients), replace(slope, n=n_patients)
    return Calibration(intercept, slope, brier, _bins(happened, predicted, n_bins), n, n_positive, reason)


def _error_of_mean(values: FloatArray, groups: IntArray | None) -> float:
    """Standard error of a mean; of clusters, from the sums of their deviations."""
    if groups is None:
        return float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.nan
    sums = np.bincount(groups, values - values.mean()) if values.size else np.zeros(0)
    if sums.size < 2:
        return math.nan
    return math.sqrt(sums.size / (sums.size - 1) * float(sums @ sums)) / values.size


def _fitted(
    happened: BoolArray,
    design: FloatArray,
    offset: FloatArray | None,
    reason: str | None,
    groups: IntArray | None = None,
) -> WaldEstimate:
    """First coefficient of a logistic regression by statsmodels, or NaN with the reason."""
    n = happened.size
    if reason is None:
        with warnings.catch_warnings():
            for kind in (PerfectSeparationWarning, ConvergenceWarning, RuntimeWarning):
                warnings.simplefilter("ignore", kind)
            model = sm.GLM(happened.astype(float), design, family=sm.families.Binomial(), offset=offset)
            how = {} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
            fit = model.fit(**how)
        if fit.converged:
            return WaldEstimate(float(fit.params[0]), float(fit.bse[0]), n)
        reason = "the fit did not converge"
    return WaldEstimate(math.nan, math.nan, n, reason)


def _no_slope(happened: BoolArray, logit: FloatArray) -> str | None:
    """Return why no slope can be fitted to both outcomes, or None; a slope of separated outcomes is infinite."""
    if not np.ptp(logit) > 0:
        return "the predictions do not vary"
    ours, others = logit[happened], logit[~happened]
    is_separate = ours.min() >= others.max() or ours.max() <= others.min()
    return "the predictions separate the outcomes" if is_separate else None


def _bins(happened: BoolArray, predicted: FloatArray, n_bins: int) -> tuple[CalibrationBin, ...]:
    """Bins at quantiles of the predictions; those that tie stay together."""
    if not predicted.size:
        return ()
    edges = np.unique(np.quantile(predicted, np.arange(1, n_bins) / n_bins))
    codes = np.searchsorted(edges, predicted, side="left")
    return tuple(
        CalibrationBin(
            float(predicted[codes == code].mean()),
            Proportion(int(happened[codes == code].sum()), int(np.count_nonzero(codes == code))),
        )
        for code in np.unique(codes)
    )
