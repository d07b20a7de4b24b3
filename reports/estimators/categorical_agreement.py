"""Agreement of categories: kappa, Gwet's AC, and the two-by-two table of one region or one dichotomy.

Kappa falls when a category is rare although raters agree in nearly every patient (the kappa paradox). Hence it is never
reported alone: Gwet's coefficient, PABAK and the prevalence and bias indices stand beside it.

References
----------
Fleiss JL, Cohen J, Everitt BS (1969). Psychological Bulletin 72:323-327 (standard error of kappa).
Gwet KL (2008). Br J Math Stat Psychol 61:29-48; (2014) Handbook of Inter-Rater Reliability, 4th ed.
Byrt T, Bishop J, Carlin JB (1993). J Clin Epidemiol 46:423-429.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from reports.estimators.estimate import (
    Interval,
    PointEstimate,
    Proportion,
    checked_flags,
    checked_option,
    checked_pair,
    checked_vector,
    not_estimable,
    wald_interval,
)
from tasks.arrays import FloatArray, IntArray

Weights = Literal["none", "linear", "quadratic"]
WEIGHTS = ("none", "linear", "quadratic")


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two sources, plain or weighted."""

    estimate: float
    standard_error: float
    n: int
    weights: Weights
    n_categories: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval, not outside -1..1, with the non-null standard error of Fleiss, Cohen & Everitt (1969)."""
        if self.reason is not None:
            return not_estimable("Wald", level, self.reason)
        interval = wald_interval(self.estimate, self.standard_error, level, "Wald")
        return interval.within(-1.0, 1.0)


@dataclass(frozen=True)
class GwetAc:
    """Gwet's AC1 (``weights="none"``) or AC2 of two sources."""

    estimate: float
    standard_error: float
    n: int
    weights: Weights
    n_categories: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval by Student's t with n - 1 degrees of freedom, not above 1 (as R's irrCAC) nor below the least value.

        Chance agreement is at most the mean credit c of all pairs of categories, so that no value lies below
        -c / (1 - c): -1 for two categories, -4 for the eleven scores with quadratic weights.
        """
        if self.reason is not None or not self.standard_error > 0:
            return not_estimable("t", level, self.reason or "no patient disagrees")
        scale = float(stats.t.ppf((1 + level) / 2, self.n - 1) / stats.norm.ppf((1 + level) / 2))
        interval = wald_interval(self.estimate, scale * self.standard_error, level, "t")
        credit = float(agreement_weights(self.n_categories, self.weights).mean())
        return interval.within(-credit / (1 - credit), 1.0)


@dataclass(frozen=True)
class BinaryAgreement:
    """Two-by-two table of two sources of equal standing; ``only_*`` are the discordant patients."""

    both: int
    only_reference: int
    only_candidate: int
    neither: int

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.both + self.only_reference + self.only_candidate + self.neither

    def proportions(self) -> dict[str, Proportion]:
        """Observed agreement and the prevalence seen by each source, with Wilson intervals."""
        return {
            "agreement": Proportion(self.both + self.neither, self.n),
            "prevalence_reference": Proportion(self.both + self.only_reference, self.n),
            "prevalence_candidate": Proportion(self.both + self.only_candidate, self.n),
        }

    def indices(self) -> dict[str, PointEstimate]:
        """PABAK, prevalence and bias index (Byrt 1993; > 0: the candidate says yes more often), specific agreement."""
        discordant = self.only_reference + self.only_candidate
        return {
            "pabak": self._index(self.both + self.neither - discordant, self.n),
            "prevalence_index": self._index(self.both - self.neither, self.n),
            "bias_index": self._index(self.only_candidate - self.only_reference, self.n),
            "positive_agreement": self._index(2 * self.both, 2 * self.both + discordant),
            "negative_agreement": self._index(2 * self.neither, 2 * self.neither + discordant),
        }

    def _index(self, numerator: int, denominator: int) -> PointEstimate:
        """Return a quotient, or NaN with a reason where the denominator is 0."""
        if denominator == 0:
            return PointEstimate(math.nan, self.n, "no patient in the denominator")
        return PointEstimate(numerator / denominator, self.n)


def kappa(
    *,
    reference: npt.ArrayLike,
    candidate: npt.ArrayLike,
    categories: Sequence[float],
    weights: Weights = "quadratic",
) -> Kappa:
    """Cohen's kappa by statsmodels.

    Parameters
    ----------
    reference, candidate : (n,) float arrays, finite, every value one of ``categories``
    categories : sequence of q >= 2 numbers
        All possible categories in their order, such as ``range(11)`` for ASPECTS; weights go by place in this list.
    weights : {"none", "linear", "quadratic"}

    Returns
    -------
    Kappa
        NaN with a reason for n < 2 and where both sources use one and the same category only (chance agreement is 1).

    Raises
    ------
    ValueError
        Lengths differ, a value is missing or not a category, or an option is unknown.

    Examples
    --------
    >>> round(kappa(reference=[0, 0, 1, 1], candidate=[0, 1, 1, 1], categories=(0, 1)).estimate, 3)
    0.5
    """
    checked_option("weights", weights, WEIGHTS)
    table = contingency_table(reference=reference, candidate=candidate, categories=categories)
    n, n_categories = int(table.sum()), len(table)
    used = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1))
    if n < 2 or used.size < 2:
        reason = f"{n} patients, at least 2 are needed" if n < 2 else "both sources use one category only"
        return Kappa(math.nan, math.nan, n, weights, n_categories, reason)
    if n == np.trace(table):
        return Kappa(1.0, 0.0, n, weights, n_categories)
    with np.errstate(divide="ignore", invalid="ignore"):  # of tests against 0 that are not used
        engine = cohens_kappa(table, wt=None if weights == "none" else weights)
    return Kappa(float(engine.kappa), math.sqrt(max(float(engine.var_kappa), 0.0)), n, weights, n_categories)


def gwet_ac(
    *,
    reference: npt.ArrayLike,
    candidate: npt.ArrayLike,
    categories: Sequence[float],
    weights: Weights = "none",
) -> GwetAc:
    """Gwet's AC1 or, with weights, AC2: chance agreement that does not explode when a category is rare.

    Parameters and errors as ``kappa``.

    Returns
    -------
    GwetAc
        NaN with a reason for n < 2. Defined where all use one category: it is then 1.

    References
    ----------
    Gwet (2014); the variance divides by n - 1 as R's ``gwet.ac1.raw`` does (``gwet.ac1.table`` divides by n).
    """
    checked_option("weights", weights, WEIGHTS)
    table = contingency_table(reference=reference, candidate=candidate, categories=categories)
    n, q = int(table.sum()), len(table)
    if n < 2:
        return GwetAc(math.nan, math.nan, n, weights, q, f"{n} patients, at least 2 are needed")
    if n == np.trace(table):
        return GwetAc(1.0, 0.0, n, weights, q)
    credit = agreement_weights(q, weights)
    share = table / n
    marginal = (share.sum(axis=0) + share.sum(axis=1)) / 2
    scale = credit.sum() / (q * (q - 1))
    chance = float(scale * np.sum(marginal * (1 - marginal)))
    estimate = (float(np.sum(credit * share)) - chance) / (1 - chance)
    own_chance = scale * ((1 - marginal)[:, None] + (1 - marginal)[None, :]) / 2
    influence = (credit - chance) / (1 - chance) - 2 * (1 - estimate) * (own_chance - chance) / (1 - chance)
    variance = float(np.sum(table * (influence - estimate) ** 2)) / (n * (n - 1))
    return GwetAc(estimate, math.sqrt(variance), n, weights, q)


def binary_agreement(*, reference: npt.ArrayLike, candidate: npt.ArrayLike) -> BinaryAgreement:
    """Two-by-two table of two sources that say yes or no; (n,) boolean arrays."""
    first = checked_flags("reference", reference)
    second = checked_flags("candidate", candidate, first.size)
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    return BinaryAgreement(*(int(np.count_nonzero(cell)) for cell in cells))


def contingency_table(*, reference: npt.ArrayLike, candidate: npt.ArrayLike, categories: Sequence[float]) -> IntArray:
    """Count patients by category of reference (rows) and candidate (columns), in the order of ``categories``."""
    first, second = checked_pair(reference, candidate)
    order = checked_vector("categories", categories)
    if order.size < 2 or np.unique(order).size != order.size:
        raise ValueError(f"categories must be at least 2 and all different, got {list(categories)}.")
    unknown = np.setdiff1d(np.concatenate([first, second]), order)
    if unknown.size:
        raise ValueError(f"every value must be one of the categories, got {unknown[0]:g}. List all categories.")
    sorter = np.argsort(order)
    rows, columns = (sorter[np.searchsorted(order, values, sorter=sorter)] for values in (first, second))
    return np.bincount(rows * order.size + columns, minlength=order.size**2).reshape(order.size, order.size)


def agreement_weights(q: int, weights: Weights) -> FloatArray:
    """Credit for each pair of categories: 1 on the diagonal, falling with distance in places."""
    distance = np.abs(np.subtract.outer(np.arange(q), np.arange(q))) / (q - 1)
    credit = {"none": distance == 0, "linear": 1 - distance, "quadratic": 1 - distance**2}[weights]
    return np.asarray(credit, dtype=np.float64)
