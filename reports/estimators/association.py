"""Association of a score or volume with severity and outcome: rank correlation and ordinal logistic regression.

Association is not agreement: two scores may correlate perfectly and differ by three points in every patient.

References
----------
Bonett DG, Wright TA (2000). Psychometrika 65:23-28, DOI 10.1007/BF02294183 (intervals of rank correlations).
McCullagh P (1980). JRSS B 42:109-142 (proportional odds).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.tools.sm_exceptions import ConvergenceWarning, HessianInversionWarning

from reports.estimators.estimate import Interval, checked_pair, checked_vector, not_estimable, wald_interval

#: Largest log odds ratio per standard deviation that is believed; beyond it, classes are separated and it diverges.
SEPARATION_LIMIT = 10.0  # chosen here: an odds ratio of 22,000 per standard deviation
LARGEST_LOG = 700.0  # exp of more is no float


class _Logistic(stats.rv_continuous):  # type: ignore[misc]
    """The logistic distribution without the checks of its arguments, of which a fit makes a thousand."""

    def cdf(self, x: Any) -> Any:
        """Of a float array."""
        return special.expit(x)

    def ppf(self, q: Any) -> Any:
        """Of a float array."""
        return special.logit(q)


_LOGISTIC = _Logistic(name="logistic")


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho or Kendall's tau-b with its two-sided p value."""

    coefficient: Literal["spearman", "kendall_tau_b"]
    estimate: float
    p: float
    n: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Fisher z with the standard error of Bonett & Wright (2000).

        Spearman sqrt((1 + r^2 / 2) / (n - 3)), Kendall sqrt(0.437 / (n - 4)). Derived for continuous values; with many
        ties (a score of eleven steps, mRS) it is an approximation. Not estimable for |r| = 1 or too few patients.
        """
        n_lost = 3 if self.coefficient == "spearman" else 4
        method = "Fisher z, Bonett-Wright"
        if self.reason is not None or self.n <= n_lost or math.isclose(abs(self.estimate), 1, rel_tol=1e-12):
            return not_estimable(method, level, self.reason or f"|r| is 1 or n is not above {n_lost}")
        factor = 1 + self.estimate**2 / 2 if self.coefficient == "spearman" else 0.437
        interval = wald_interval(math.atanh(self.estimate), math.sqrt(factor / (self.n - n_lost)), level, method)
        return Interval(math.tanh(interval.lower), math.tanh(interval.upper), level, method)


@dataclass(frozen=True)
class OddsRatio:
    """Odds ratio of a worse outcome (a higher category) per unit of one predictor, adjusted for the others."""

    predictor: str
    estimate: float
    standard_error_log: float
    p: float
    n: int
    converged: bool
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval on the log scale."""
        if self.reason is not None:
            return not_estimable("log Wald", level, self.reason)
        interval = wald_interval(math.log(self.estimate), self.standard_error_log, level, "log Wald")
        if interval.upper > LARGEST_LOG:
            return not_estimable(interval.method, level, "the upper limit is beyond every number")
        return Interval(math.exp(interval.lower), math.exp(interval.upper), level, interval.method)


def spearman(*, reference: npt.ArrayLike, candidate: npt.ArrayLike) -> RankCorrelation:
    """Spearman's rank correlation of two (n,) finite float arrays; NaN with a reason if n < 3 or one is constant."""
    return _rank_correlation("spearman", stats.spearmanr, reference, candidate)


def kendall_tau_b(*, reference: npt.ArrayLike, candidate: npt.ArrayLike) -> RankCorrelation:
    """Kendall's tau-b, which allows for ties; arguments and degenerate cases as ``spearman``."""
    return _rank_correlation("kendall_tau_b", stats.kendalltau, reference, candidate)


def ordinal_odds_ratios(
    *, outcome: npt.ArrayLike, predictors: npt.ArrayLike, names: Sequence[str]
) -> tuple[OddsRatio, ...]:
    """Proportional-odds model of an ordinal outcome such as mRS, by statsmodels.

    Predictors are standardised for the fit, so that millilitres and points converge alike, and the odds ratios are
    returned per unit as given.

    Parameters
    ----------
    outcome : (n,) float array, finite, ordered categories (mRS 0-6)
    predictors : (n, p) float array, finite
    names : p names, the columns of ``predictors``

    Returns
    -------
    tuple of OddsRatio, in the order of ``names``
        All are NaN with one reason where the model cannot be estimated: fewer than two categories, more parameters than
        patients, a constant or collinear predictor, no convergence, or separated classes.

    Raises
    ------
    ValueError
        The shapes differ or a value is missing.
    """
    levels = checked_vector("outcome", outcome)
    matrix = np.asarray(predictors, dtype=np.float64)
    if matrix.shape != (levels.size, len(names)) or not names:
        raise ValueError(
            f"predictors must have shape (n, p) = ({levels.size}, {len(names)}) with p >= 1, got {matrix.shape}."
        )
    if not np.all(np.isfinite(matrix)):
        raise ValueError("predictors must be finite, got NaN or infinite values. Drop and count them.")
    categories, codes = np.unique(levels, return_inverse=True)
    reason = _not_estimable_design(matrix, categories.size)
    if reason is not None:
        return _nothing(names, levels.size, reason)
    spread = matrix.std(axis=0)
    model = OrderedModel(codes, (matrix - matrix.mean(axis=0)) / spread, distr=_LOGISTIC)
    with warnings.catch_warnings():  # both conditions are read from the result and reported as a reason
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", HessianInversionWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        fit = model.fit(method="bfgs", maxiter=500, disp=False)
        log_odds, errors, p_values = (np.asarray(values)[: len(names)] for values in (fit.params, fit.bse, fit.pvalues))
    if np.any(np.abs(log_odds) > SEPARATION_LIMIT) or np.any(np.abs(log_odds / spread) > LARGEST_LOG):
        return _nothing(names, levels.size, "a predictor separates the outcome categories")
    if not fit.mle_retvals["converged"]:
        return _nothing(names, levels.size, "the fit did not converge")
    if not np.all(np.isfinite(errors) & (errors > 0)):
        return _nothing(names, levels.size, "the standard errors are not defined")
    return tuple(
        OddsRatio(name, math.exp(value / scale), float(error / scale), float(p), levels.size, True)
        for name, value, error, p, scale in zip(names, log_odds, errors, p_values, spread, strict=True)
    )


def _rank_correlation(
    coefficient: Literal["spearman", "kendall_tau_b"],
    engine: Callable[..., Any],
    reference: npt.ArrayLike,
    candidate: npt.ArrayLike,
) -> RankCorrelation:
    """Apply scipy's coefficient where it is defined."""
    first, second = checked_pair(reference, candidate)
    n = first.size
    if n < 3 or not np.ptp(first) > 0 or not np.ptp(second) > 0:
        reason = f"{n} patients, at least 3 are needed" if n < 3 else "one side is constant"
        return RankCorrelation(coefficient, math.nan, math.nan, n, reason)
    result = engine(first, second)
    return RankCorrelation(coefficient, float(result.statistic), float(result.pvalue), n)


def _not_estimable_design(matrix: npt.NDArray[np.float64], n_categories: int) -> str | None:
    """Return why no model can be fitted to the design, or None."""
    n, n_predictors = matrix.shape
    if n_categories < 2:
        return f"{n_categories} outcome category, at least 2 are needed"
    if n <= n_predictors + n_categories - 1:
        return f"{n} patients for {n_predictors + n_categories - 1} parameters"
    if np.any(np.ptp(matrix, axis=0) == 0):
        return "a predictor is constant"
    scaled = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    if np.linalg.matrix_rank(scaled) < n_predictors:
        return "the predictors are collinear"
    return None


def _nothing(names: Sequence[str], n: int, reason: str) -> tuple[OddsRatio, ...]:
    """Return NaN for every predictor, with the reason."""
    return tuple(OddsRatio(name, math.nan, math.nan, math.nan, n, False, reason) for name in names)
