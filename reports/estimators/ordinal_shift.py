"""Shift of an ordinal outcome between two groups: the generalised odds ratio, free of proportional odds.

Take one patient of each group: the odds that the first has the worse outcome. ``ordinal_odds_ratios`` of
``reports.estimators.association`` is its companion, the common odds ratio that assumes one shift at every cut.

References
----------
Agresti A (1980). Biometrics 36:59-67 (ties left out). O'Brien RG, Castelloe J (2006). SUGI 31, paper 209 (ties split,
the win odds). Churilov L et al. (2014). Int J Stroke 9:999-1005 (modified Rankin scale).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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

Ties = Literal["split", "dropped"]


@dataclass(frozen=True)
class GeneralisedOddsRatio:
    """Odds that a patient of the group has a worse (higher) outcome than one outside it."""

    estimate: float
    standard_error_log: float
    p: float
    n_group: int
    n_others: int
    ties: Ties
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.n_group + self.n_others

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval on the log scale."""
        checked_level(level)
        if self.reason is not None:
            return not_estimable("log Wald", level, self.reason)
        interval = wald_interval(math.log(self.estimate), self.standard_error_log, level, "log Wald")
        return Interval(math.exp(interval.lower), math.exp(interval.upper), level, interval.method)


def generalised_odds_ratio(
    *, outcome: npt.ArrayLike, group: npt.ArrayLike, ties: Ties = "split"
) -> GeneralisedOddsRatio:
    """Generalised odds ratio of an ordinal outcome.

    Parameters
    ----------
    outcome : (n,) float array, finite, higher is worse
    group : (n,) boolean array
    ties : {"split", "dropped"}
        Pairs with the same outcome count half for either side, or not at all (Agresti).

    Returns
    -------
    GeneralisedOddsRatio
        NaN with a reason for fewer than two patients in a group, and where one group is worse in every pair.

    Examples
    --------
    >>> generalised_odds_ratio(outcome=[0, 2, 1, 3], group=[0, 0, 1, 1]).estimate  # worse in 3 pairs, better in 1
    3.0
    """
    checked_option("ties", ties, ("split", "dropped"))
    values = checked_vector("outcome", outcome)
    inside = checked_flags("group", group, values.size)
    ours, theirs = values[inside], values[~inside]
    sizes = ours.size, theirs.size
    nan = math.nan
    if min(sizes) < 2:
        reason = f"at least 2 patients in either group are needed, got {sizes[0]} and {sizes[1]}"
        return GeneralisedOddsRatio(nan, nan, nan, *sizes, ties, reason)
    credit = 0.5 if ties == "split" else 0.0
    worse = np.greater.outer(ours, theirs) + credit * np.equal.outer(ours, theirs)
    better = np.less.outer(ours, theirs) + credit * np.equal.outer(ours, theirs)
    n_worse, n_better = float(worse.mean()), float(better.mean())
    if not (n_worse > 0 and n_better > 0):
        return GeneralisedOddsRatio(nan, nan, nan, *sizes, ties, "no pair of patients has the one order or the other")
    influence = worse / n_worse - better / n_better
    variance = sum(
        float(influence.mean(axis=axis).var(ddof=1)) / size for axis, size in zip((1, 0), sizes, strict=True)
    )
    ratio = n_worse / n_better
    if not variance > 0:
        return GeneralisedOddsRatio(ratio, nan, nan, *sizes, ties, "the outcome does not vary within the groups")
    z = math.log(ratio) / math.sqrt(variance)
    return GeneralisedOddsRatio(ratio, math.sqrt(variance), float(2 * stats.norm.sf(abs(z))), *sizes, ties)
