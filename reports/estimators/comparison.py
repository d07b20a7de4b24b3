"""Comparison of patient groups: the test of each column of a cohort table, standardised differences.

A test is chosen by a stated rule from the type of the column and the number of groups, never from its p value:

* numbers: Mann-Whitney U for two groups (exact without ties and with at most 8 patients in a group, as scipy chooses),
  Kruskal-Wallis H for more;
* categories: Pearson's chi-square without continuity correction, if no expected count is below 1 and at most a fifth of
  them below 5 (Cochran 1954); otherwise Fisher's exact test, for tables beyond two by two by seeded Monte Carlo.

A p value grows with the cohort and says little about balance; the standardised difference stands beside it.

References
----------
Cochran WG (1954). Biometrics 10:417-451. Austin PC (2009). Statistics in Medicine 28:3083-3107. Yang D, Dalton JE
(2012). SAS Global Forum, paper 335.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import Interval, checked_vector, not_estimable, wald_interval
from tasks.arrays import FloatArray, IntArray

MONTE_CARLO_RESAMPLES = 9999  # smallest p value 1e-4; scipy's own default


@dataclass(frozen=True)
class GroupTest:
    """A test that all groups are alike; ``estimate`` is its statistic, NaN for Fisher's test beyond two by two."""

    test: str
    estimate: float
    p: float
    group_sizes: dict[str, int]
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return sum(self.group_sizes.values())


@dataclass(frozen=True)
class StandardisedDifference:
    """Standardised mean difference of two groups, ``pair``; the largest in size where there are more groups.

    Numbers and two categories keep their sign (first group less second); more categories give a distance.
    """

    estimate: float
    pair: tuple[str, str]
    pair_sizes: tuple[int, int]
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients in the two groups."""
        return sum(self.pair_sizes)

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Large-sample Wald interval (Hedges & Olkin 1985)."""
        if self.reason is not None:
            return not_estimable("Hedges-Olkin", level, self.reason)
        first, second = self.pair_sizes
        variance = self.n / (first * second) + self.estimate**2 / (2 * self.n)
        return wald_interval(self.estimate, math.sqrt(variance), level, "Hedges-Olkin")


def compare_numbers(*, values: npt.ArrayLike, groups: npt.ArrayLike) -> GroupTest:
    """Mann-Whitney U (two groups) or Kruskal-Wallis H (more) of a number.

    Parameters
    ----------
    values : (n,) float array, finite
    groups : (n,) array of labels; compared as text

    Returns
    -------
    GroupTest
        NaN with a reason for fewer than two groups and where all values are equal.
    """
    numbers = checked_vector("values", values)
    names, samples, sizes = _by_group(numbers, groups)
    test = "Mann-Whitney U" if len(names) == 2 else "Kruskal-Wallis H"
    if len(names) < 2 or not np.ptp(numbers) > 0:
        reason = f"{len(names)} group, at least 2 are needed" if len(names) < 2 else "all values are equal"
        return GroupTest(test, math.nan, math.nan, sizes, reason)
    result = stats.mannwhitneyu(*samples) if len(names) == 2 else stats.kruskal(*samples)
    return GroupTest(test, float(result.statistic), float(result.pvalue), sizes)


def compare_categories(*, categories: npt.ArrayLike, groups: npt.ArrayLike, seed: int = 0) -> GroupTest:
    """Chi-square or Fisher's exact test of a categorical column, chosen by the rule of this module.

    Parameters
    ----------
    categories, groups : (n,) arrays of labels; compared as text
    seed : int
        For Fisher's test of tables larger than two by two.

    Returns
    -------
    GroupTest
        NaN with a reason for fewer than two groups or categories.
    """
    labels, names, table = _cross_table(categories, groups)
    sizes = dict(zip(names, (int(size) for size in table.sum(axis=0)), strict=True))
    if min(table.shape) < 2:
        reason = f"at least 2 groups and 2 categories are needed, got {len(names)} and {len(labels)}"
        return GroupTest("chi-square", math.nan, math.nan, sizes, reason)
    chi_square = stats.chi2_contingency(table, correction=False)
    expected = chi_square.expected_freq
    if expected.min() >= 1 and np.mean(expected < 5) <= 0.2:
        return GroupTest("chi-square", float(chi_square.statistic), float(chi_square.pvalue), sizes)
    if table.shape == (2, 2):
        odds_ratio, p = stats.fisher_exact(table)
        return GroupTest("Fisher exact", float(odds_ratio), float(p), sizes)
    method = stats.MonteCarloMethod(n_resamples=MONTE_CARLO_RESAMPLES, rng=np.random.default_rng(seed))
    p = float(stats.fisher_exact(table, method=method).pvalue)
    return GroupTest(f"Fisher exact, {MONTE_CARLO_RESAMPLES} Monte Carlo tables", math.nan, p, sizes)


def standardised_difference_of_numbers(*, values: npt.ArrayLike, groups: npt.ArrayLike) -> StandardisedDifference:
    """Difference of means over the root of the mean of both variances (Austin 2009).

    Parameters
    ----------
    values : (n,) float array, finite
    groups : (n,) array of labels; with more than two the largest pairwise difference is returned

    Returns
    -------
    StandardisedDifference
        NaN with a reason for fewer than two groups of at least two patients and where no group varies.
    """
    names, samples, _ = _by_group(checked_vector("values", values), groups)
    found = []
    for (name_a, a), (name_b, b) in combinations(zip(names, samples, strict=True), 2):
        if min(a.size, b.size) >= 2:
            spread = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
            if spread > 0:
                found.append(((name_a, name_b), (a.size, b.size), float(a.mean() - b.mean()) / spread))
    return _largest(found)


def standardised_difference_of_categories(
    *, categories: npt.ArrayLike, groups: npt.ArrayLike
) -> StandardisedDifference:
    """Standardised difference of shares: Austin (2009) for two categories, Yang & Dalton (2012) for more.

    With two categories the sign is that of the category that sorts last (``yes`` of no/yes, ``1`` of 0/1).

    Parameters
    ----------
    categories, groups : (n,) arrays of labels; compared as text

    Returns
    -------
    StandardisedDifference
        NaN with a reason for fewer than two groups or categories. A category that neither group of a pair has is left
        out of that pair; a pair without variance (all in one category, or one category each) is passed over.
    """
    labels, names, table = _cross_table(categories, groups)
    found = []
    for i, j in combinations(range(len(names)), 2):
        counts = table[:, [i, j]]
        counts = counts if len(labels) == 2 else counts[counts.sum(axis=1) > 0]
        sizes = int(counts[:, 0].sum()), int(counts[:, 1].sum())
        shares = (counts / counts.sum(axis=0))[1:]
        gap = shares[:, 0] - shares[:, 1]
        covariance = sum(np.diag(share) - np.outer(share, share) for share in shares.T) / 2
        if gap.size and np.linalg.matrix_rank(covariance) == gap.size:
            distance = math.sqrt(float(gap @ np.linalg.solve(covariance, gap)))
            sign = -1 if gap.size == 1 and gap[0] < 0 else 1
            found.append(((names[i], names[j]), sizes, sign * distance))
    return _largest(found)


def _by_group(values: FloatArray, groups: npt.ArrayLike) -> tuple[list[str], list[FloatArray], dict[str, int]]:
    """Return the sorted group names, the values of each and their number."""
    labels = np.asarray(groups).astype(str)
    if labels.shape != values.shape:
        raise ValueError(f"groups must have one label per value, got {labels.shape} for {values.shape}.")
    names = [str(name) for name in np.unique(labels)]
    samples = [values[labels == name] for name in names]
    return names, samples, {name: sample.size for name, sample in zip(names, samples, strict=True)}


def _cross_table(categories: npt.ArrayLike, groups: npt.ArrayLike) -> tuple[list[str], list[str], IntArray]:
    """Return the sorted categories (rows), groups (columns) and their counts."""
    rows: npt.NDArray[Any] = np.asarray(categories)
    columns: npt.NDArray[Any] = np.asarray(groups)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(f"groups must have one label per patient, got {columns.shape} for {rows.shape}.")
    labels, row = np.unique(rows.astype(str), return_inverse=True)
    names, column = np.unique(columns.astype(str), return_inverse=True)
    table = np.bincount(row * names.size + column, minlength=labels.size * names.size)
    return [str(label) for label in labels], [str(name) for name in names], table.reshape(labels.size, names.size)


def _largest(found: list[tuple[tuple[str, str], tuple[int, int], float]]) -> StandardisedDifference:
    """Return the pair whose difference is largest in size."""
    if not found:
        reason = "no two groups with at least 2 patients and some variance"
        return StandardisedDifference(math.nan, ("", ""), (0, 0), reason)
    pair, sizes, estimate = max(found, key=lambda item: abs(item[2]))
    return StandardisedDifference(estimate, pair, sizes)
