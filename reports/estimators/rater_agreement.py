"""Agreement of three or more raters: Fleiss's kappa and Gwet's AC1 or AC2, also where a rating is missing.

A patient with at least two ratings tells of agreement; every patient with a rating tells how often a category is used.

References
----------
Fleiss JL (1971). Psychological Bulletin 76:378-382. Gwet KL (2014). Handbook of Inter-Rater Reliability, 4th ed.,
chapters 2 to 5 (missing ratings, weights, linearised variance); as R's irrCAC ``fleiss.kappa.raw`` and
``gwet.ac1.raw``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.categorical_agreement import WEIGHTS, Weights, agreement_weights
from reports.estimators.estimate import Interval, checked_option, checked_vector, not_estimable, wald_interval
from tasks.arrays import FloatArray

Coefficient = Literal["fleiss_kappa", "gwet_ac"]


@dataclass(frozen=True)
class RaterAgreement:
    """One coefficient of ``n_raters`` raters; ``n`` patients have at least one rating, ``n_shared`` two or more."""

    coefficient: Coefficient
    estimate: float
    standard_error: float
    n: int
    n_shared: int
    n_raters: int
    weights: Weights
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval by Student's t with n - 1 degrees of freedom, not above 1; raters are fixed, patients are random."""
        if self.reason is not None or not self.standard_error > 0:
            return not_estimable("t", level, self.reason or "no patient disagrees")
        scale = float(stats.t.ppf((1 + level) / 2, self.n - 1) / stats.norm.ppf((1 + level) / 2))
        interval = wald_interval(self.estimate, scale * self.standard_error, level, "t")
        return interval.within(-math.inf, 1.0)


def rater_agreement(
    *,
    ratings: npt.ArrayLike,
    categories: Sequence[float],
    coefficient: Coefficient = "fleiss_kappa",
    weights: Weights = "none",
) -> RaterAgreement:
    """Chance-corrected agreement of several raters.

    Parameters
    ----------
    ratings : (n, k) float array, k >= 2, one column per rater; NaN where a rater did not rate
    categories : sequence of q >= 2 numbers
        All possible categories in their order; weights go by place in this list.
    coefficient : {"fleiss_kappa", "gwet_ac"}
    weights : {"none", "linear", "quadratic"}

    Returns
    -------
    RaterAgreement
        NaN with a reason where fewer than two patients have two ratings, and, for kappa, where one category only is
        used (chance agreement is 1).

    Raises
    ------
    ValueError
        The table has another shape, a value is no category, or an option is unknown.

    Examples
    --------
    >>> round(rater_agreement(ratings=[[0, 0, 0], [0, 1, 1], [1, 1, 1]], categories=(0, 1)).estimate, 3)
    0.55
    """
    checked_option("coefficient", coefficient, ("fleiss_kappa", "gwet_ac"))
    checked_option("weights", weights, WEIGHTS)
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"ratings must have shape (n patients, k >= 2 raters), got {table.shape}.")
    order = checked_vector("categories", categories)
    unknown = np.setdiff1d(table[~np.isnan(table)], order)
    if order.size < 2 or unknown.size:
        found = f"{unknown[0]:g}" if unknown.size else f"{order.size} category"
        raise ValueError(f"every value must be one of at least 2 categories, got {found}. List all categories.")
    counts = (table[:, :, None] == order).sum(axis=1)
    counts = counts[counts.sum(axis=1) > 0]
    n, n_shared = len(counts), int(np.count_nonzero(counts.sum(axis=1) > 1))
    about = (n, n_shared, table.shape[1], weights)
    if n_shared < 2:
        too_few = f"{n_shared} patients with two ratings, at least 2 are needed"
        return RaterAgreement(coefficient, math.nan, math.nan, *about, too_few)
    estimate, standard_error = _coefficient(counts, agreement_weights(order.size, weights), coefficient)
    reason = "the raters use one category only" if math.isnan(estimate) else None
    return RaterAgreement(coefficient, estimate, standard_error, *about, reason)


def _coefficient(counts: npt.NDArray[np.int64], credit: FloatArray, coefficient: Coefficient) -> tuple[float, float]:
    """Return the coefficient and its linearised standard error (Gwet 2014); NaN where chance agreement is 1."""
    n, q = counts.shape
    ratings = counts.sum(axis=1)
    is_shared = ratings > 1
    pairs = np.where(is_shared, ratings * (ratings - 1), 1)
    observed_of = np.sum(counts * (counts @ credit - 1), axis=1) / pairs * is_shared
    observed = observed_of.sum() / np.count_nonzero(is_shared)
    used = (counts / ratings[:, None]).mean(axis=0)
    if coefficient == "fleiss_kappa":
        chance, chance_of = used @ credit @ used, counts @ (credit @ used) / ratings
    else:
        scale = credit.sum() / (q * (q - 1))
        chance, chance_of = scale * np.sum(used * (1 - used)), scale * (counts @ (1 - used)) / ratings
    if math.isclose(chance, 1.0):
        return math.nan, math.nan
    estimate = float((observed - chance) / (1 - chance))
    share = n / np.count_nonzero(is_shared)
    influence = share * (observed_of - chance * is_shared) / (1 - chance)
    influence = influence - 2 * (1 - estimate) * (chance_of - chance) / (1 - chance)
    return estimate, math.sqrt(float(np.sum((influence - estimate) ** 2)) / (n * (n - 1)))
