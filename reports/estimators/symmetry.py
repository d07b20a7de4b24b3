"""Whether two sources that disagree do so in one direction: McNemar's test of yes and no, Bowker's of categories.

Agreement says how often two sources differ, symmetry whether one of them reads higher. Few patients differ in any one
pair of categories, so that chi-square often does not hold; the tests are then exact, given how many differ.

References
----------
McNemar Q (1947). Psychometrika 12:153-157. Bowker AH (1948). JASA 43:572-574. Krampe A, Kuhnt S (2007). Comput Stat
Data Anal 51:4124-4142 (the conditional exact test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of

from reports.estimators.categorical_agreement import BinaryAgreement, contingency_table

MONTE_CARLO_RESAMPLES = 9999  # smallest p value 1e-4; scipy's own default
LEAST_PAIR = 10  # both cells of a pair are then expected to hold 5 (Cochran 1954)


@dataclass(frozen=True)
class SymmetryTest:
    """A test that two sources differ in both directions alike; ``estimate`` is its statistic, with ``df``.

    ``n_discordant`` patients of ``n`` differ. NaN with a reason where none does.
    """

    test: str
    estimate: float
    df: int
    p: float
    n: int
    n_discordant: int
    reason: str | None = None


def mcnemar(table: BinaryAgreement, *, is_exact: bool = True) -> SymmetryTest:
    """McNemar's test by statsmodels: exact binomial, or chi-square with continuity correction.

    Examples
    --------
    >>> test = mcnemar(BinaryAgreement(both=20, only_reference=8, only_candidate=1, neither=30))
    >>> round(test.p, 4), test.n_discordant
    (0.0391, 9)
    """
    discordant = table.only_reference + table.only_candidate
    name = "McNemar, exact" if is_exact else "McNemar, continuity corrected"
    if not discordant:
        return SymmetryTest(name, math.nan, 1, math.nan, table.n, 0, "no patient disagrees")
    cells = [[table.both, table.only_reference], [table.only_candidate, table.neither]]
    result = mcnemar_of(cells, exact=is_exact, correction=True)
    statistic = math.nan if is_exact else float(result.statistic)
    return SymmetryTest(name, statistic, 1, min(float(result.pvalue), 1.0), table.n, discordant)


def bowker(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, categories: Sequence[float], seed: int = 0
) -> SymmetryTest:
    """Bowker's test of symmetry.

    Parameters
    ----------
    reference, candidate : (n,) float arrays, finite, every value one of ``categories``
    categories : sequence of numbers
        All possible categories.
    seed : int
        Of the exact test's random tables.

    Returns
    -------
    SymmetryTest
        Chi-square, with one degree of freedom per pair of categories in which patients differ, where ten or more do so
        in each; otherwise exact by Monte Carlo, given the patients of each pair.
    """
    table = contingency_table(reference=reference, candidate=candidate, categories=categories)
    upper = np.triu_indices(len(table), 1)
    above, below = table[upper], table.T[upper]
    is_used = above + below > 0
    above, pair_size = above[is_used], (above + below)[is_used]
    n, n_discordant, df = int(table.sum()), int(pair_size.sum()), int(pair_size.size)
    if not n_discordant:
        return SymmetryTest("Bowker", math.nan, 0, math.nan, n, 0, "no patient disagrees")
    statistic = float(_statistic(above, pair_size))
    if pair_size.min() >= LEAST_PAIR:
        return SymmetryTest("Bowker, chi-square", statistic, df, float(stats.chi2.sf(statistic, df)), n, n_discordant)
    drawn = np.random.default_rng(seed).binomial(pair_size, 0.5, size=(MONTE_CARLO_RESAMPLES, df))
    n_extreme = int(np.count_nonzero(_statistic(drawn, pair_size) >= statistic * (1 - 1e-12)))
    p = (n_extreme + 1) / (MONTE_CARLO_RESAMPLES + 1)
    return SymmetryTest(f"Bowker, {MONTE_CARLO_RESAMPLES} Monte Carlo tables", statistic, df, p, n, n_discordant)


def _statistic(above: npt.NDArray[np.int64], pair_size: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sum of (above - below)^2 / (above + below) over the pairs, along the last axis."""
    return np.asarray(((2 * above - pair_size) ** 2 / pair_size).sum(axis=-1), dtype=np.float64)
