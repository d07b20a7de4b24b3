"""Two sources alike within a declared margin, and one not worse than the other by more than it.

A p value above 0.05 of a difference shows nothing. Here the null hypothesis is that the difference reaches the margin,
and a small p speaks against it. The margin is declared before the data are seen, in the unit of the difference.

References
----------
Schuirmann DJ (1987). J Pharmacokinet Biopharm 15:657-680 (two one-sided tests).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import Interval, checked_level, checked_option, checked_pair, not_estimable

Claim = Literal["equivalent", "not_lower", "not_higher"]
CLAIMS: tuple[Claim, ...] = get_args(Claim)


@dataclass(frozen=True)
class Equivalence:
    """The claim that a difference lies within -margin..margin, or on the right side of one of the two."""

    claim: Claim
    margin: float
    estimate: float
    standard_error: float
    df: float
    p: float
    n: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.90) -> Interval:
        """Interval by Student's t; at level 1 - 2 alpha it lies within the margins where p < alpha."""
        checked_level(level)
        if self.reason is not None:
            return not_estimable("t", level, self.reason)
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return Interval(self.estimate - half, self.estimate + half, level, "t")


def equivalence(
    *, estimate: float, standard_error: float, margin: float, n: int, df: float = math.inf, claim: Claim = "equivalent"
) -> Equivalence:
    """Test of a difference whose standard error is known, such as that of two areas under the curve.

    Parameters
    ----------
    estimate, standard_error : float
        The difference, candidate - reference, and its standard error; NaN where there is none.
    margin : float
        Above 0, in the unit of the difference.
    n : int
    df : float
        Of Student's t; infinite for a normal approximation.
    claim : {"equivalent", "not_lower", "not_higher"}
        ``equivalent`` takes the larger p of two one-sided tests.

    Examples
    --------
    >>> round(equivalence(estimate=0.0, standard_error=1.0, margin=1.6448536269514722, n=100).p, 3)
    0.05
    """
    checked_option("claim", claim, CLAIMS)
    if not margin > 0:
        raise ValueError(f"margin must be > 0, got {margin}. Declare how large a difference does not matter.")
    if not standard_error > 0 or math.isnan(estimate):
        reason = "the difference has no standard error"
        return Equivalence(claim, margin, estimate, math.nan, df, math.nan, n, reason)
    not_lower = float(stats.t.sf((estimate + margin) / standard_error, df))
    not_higher = float(stats.t.cdf((estimate - margin) / standard_error, df))
    p = {"equivalent": max(not_lower, not_higher), "not_lower": not_lower, "not_higher": not_higher}[claim]
    return Equivalence(claim, margin, estimate, standard_error, df, p, n)


def equivalence_of_means(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, margin: float, claim: Claim = "equivalent"
) -> Equivalence:
    """Paired test that the mean of ``candidate - reference`` lies within the margin; (n,) float arrays, finite."""
    first, second = checked_pair(reference, candidate)
    n, difference = first.size, second - first
    error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    mean = float(difference.mean()) if n else math.nan
    return equivalence(estimate=mean, standard_error=error, margin=margin, n=n, df=n - 1, claim=claim)
