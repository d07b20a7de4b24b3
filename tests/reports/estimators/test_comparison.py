"""Group tests by their stated rule, standardised differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.estimators.comparison import (
    compare_categories,
    compare_numbers,
    standardised_difference_of_categories,
    standardised_difference_of_numbers,
)


def expanded(table: list[list[int]]) -> dict[str, np.ndarray]:
    """Patients behind a table, categories in rows and groups in columns."""
    rows, columns = np.indices(np.shape(table))
    counts = np.ravel(table)
    return {"categories": np.repeat(rows.ravel(), counts), "groups": np.repeat(columns.ravel(), counts)}


def test_mann_whitney_for_two_groups() -> None:
    # Hollander & Wolfe (1973), p. 69, in R's ?wilcox.test: permeability constants, W = 35, exact p = .1272 one-sided
    term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    early = [1.15, 0.88, 0.90, 0.74, 1.21]
    result = compare_numbers(values=term + early, groups=["a"] * 10 + ["b"] * 5)
    assert (result.test, result.estimate) == ("Mann-Whitney U", 35)
    assert result.p == pytest.approx(2 * 0.1272, abs=1e-4)
    assert (result.group_sizes, result.n) == ({"a": 10, "b": 5}, 15)


def test_kruskal_wallis_for_three_groups() -> None:
    # Hollander & Wolfe (1973), p. 116, in R's ?kruskal.test: mucociliary efficiency, H = 0.77143, p = 0.68
    x, y, z = [2.9, 3.0, 2.5, 2.6, 3.2], [3.8, 2.7, 4.0, 2.4], [2.8, 3.4, 3.7, 2.2, 2.0]
    result = compare_numbers(values=x + y + z, groups=["x"] * 5 + ["y"] * 4 + ["z"] * 5)
    assert (result.test, round(result.estimate, 5), round(result.p, 2)) == ("Kruskal-Wallis H", 0.77143, 0.68)


def test_chi_square_without_correction() -> None:
    result = compare_categories(**expanded([[30, 15], [20, 35]]))  # n (ad - bc)^2 / margins = 100 * 750^2 / 6187500
    assert (result.test, result.group_sizes) == ("chi-square", {"0": 50, "1": 50})
    assert result.estimate == pytest.approx(100 * 750**2 / (45 * 55 * 50 * 50))


def test_fisher_where_expected_counts_are_small() -> None:
    # Agresti (1990), p. 61, in R's ?fisher.test: the lady tasting tea, two-sided p = 34/70
    result = compare_categories(**expanded([[3, 1], [1, 3]]))
    assert result.test == "Fisher exact"
    assert result.p == pytest.approx(34 / 70)


def test_fisher_beyond_two_by_two() -> None:
    # Agresti (2002), p. 57, in R's ?fisher.test: job satisfaction, exact p = 0.7827
    job = [[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]]
    result = compare_categories(**expanded(job), seed=1)
    assert result.test == "Fisher exact, 9999 Monte Carlo tables"
    assert result.p == pytest.approx(0.7827, abs=3 * math.sqrt(0.7827 * 0.2173 / 9999))
    assert compare_categories(**expanded(job), seed=1) == result


@pytest.mark.parametrize(
    ("table", "test"),
    [
        ([[10, 10], [10, 10]], "chi-square"),
        ([[5, 5], [5, 5]], "chi-square"),  # expected counts of exactly 5
        ([[4, 5], [5, 5]], "Fisher exact"),  # one of four below 5 is more than a fifth
        ([[40, 41, 44], [40, 42, 44], [40, 40, 2]], "chi-square"),
        ([[400, 400, 400], [400, 400, 400], [1, 0, 0]], "Fisher exact, 9999 Monte Carlo tables"),
    ],
)
def test_the_rule_of_choice(table: list[list[int]], test: str) -> None:
    assert compare_categories(**expanded(table)).test == test


def test_degenerate_columns() -> None:
    constant = compare_numbers(values=[5, 5, 5, 5], groups=list("aabb"))
    assert math.isnan(constant.p)
    assert constant.reason == "all values are equal"
    single = compare_numbers(values=[5, 6], groups=["a", "a"])
    assert single.reason == "1 group, at least 2 are needed"
    empty = compare_numbers(values=[], groups=[])
    assert empty.reason == "0 group, at least 2 are needed"
    category = compare_categories(categories=["x", "x"], groups=["a", "b"])
    assert math.isnan(category.p)
    assert "got 2 and 1" in (category.reason or "")


def test_standardised_difference_of_numbers_by_hand() -> None:
    result = standardised_difference_of_numbers(values=[1, 2, 3, 2, 4, 6], groups=list("aaabbb"))
    assert result.estimate == pytest.approx(-2 / math.sqrt((1 + 4) / 2))
    variance = 6 / 9 + result.estimate**2 / 12
    assert result.confidence_interval().lower == pytest.approx(result.estimate - 1.959963984540054 * variance**0.5)


def test_standardised_difference_of_shares_by_hand() -> None:
    # Austin (2009): (p1 - p2) / sqrt((p1 q1 + p2 q2) / 2); here of category 1: .40 and .25
    result = standardised_difference_of_categories(**expanded([[60, 75], [40, 25]]))
    assert result.estimate == pytest.approx(0.15 / math.sqrt((0.24 + 0.1875) / 2))
    swapped = standardised_difference_of_categories(**expanded([[75, 60], [25, 40]]))
    assert swapped.estimate == pytest.approx(-result.estimate)


def test_standardised_difference_of_three_categories_by_hand() -> None:
    # shares (.5, .3, .2) and (.3, .3, .4); without the first: gap (0, -.2), S = [[.21, -.09], [-.09, .2]]
    result = standardised_difference_of_categories(**expanded([[50, 30], [30, 30], [20, 40]]))
    covariance = np.array([[0.21, -(0.06 + 0.12) / 2], [-(0.06 + 0.12) / 2, (0.16 + 0.24) / 2]])
    assert result.estimate == pytest.approx(math.sqrt(0.04 * np.linalg.inv(covariance)[1, 1]))


def test_three_groups_report_their_largest_pair() -> None:
    values = [0, 1, 2, 1, 2, 3, 9, 10, 11]
    result = standardised_difference_of_numbers(values=values, groups=np.repeat(["mild", "moderate", "severe"], 3))
    assert (result.pair, result.estimate, result.n) == (("mild", "severe"), -9.0, 6)
    shares = standardised_difference_of_categories(**expanded([[9, 8, 1], [1, 2, 9]]))
    assert shares.pair == ("0", "2")


def test_differences_that_are_not_defined() -> None:
    for result in (
        standardised_difference_of_numbers(values=[1, 1, 2, 2], groups=list("aabb")),
        standardised_difference_of_numbers(values=[1, 2, 3], groups=list("abc")),
        standardised_difference_of_categories(categories=list("xxyy"), groups=list("aabb")),
        standardised_difference_of_categories(categories=list("xxxx"), groups=list("aabb")),
    ):
        assert math.isnan(result.estimate)
        assert result.reason is not None
        assert math.isnan(result.confidence_interval().lower)


def test_standardised_difference_interval_covers() -> None:
    rng, n_trials, hits = np.random.default_rng(60), 1000, 0
    groups = np.repeat(["a", "b"], 50)
    for _ in range(n_trials):
        values = rng.normal(size=100) + 0.5 * (groups == "a")
        interval = standardised_difference_of_numbers(values=values, groups=groups).confidence_interval()
        hits += interval.lower <= 0.5 <= interval.upper
    assert abs(hits / n_trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / n_trials)


def test_results_do_not_depend_on_the_order_of_patients() -> None:
    rng = np.random.default_rng(7)
    values, groups, flags = rng.normal(size=60), rng.choice(list("abc"), 60), rng.random(60) < 0.4
    order = rng.permutation(60)
    for function, column in (
        (compare_numbers, "values"),
        (standardised_difference_of_numbers, "values"),
        (compare_categories, "categories"),
        (standardised_difference_of_categories, "categories"),
    ):
        data = values if column == "values" else flags
        here = function(**{column: data, "groups": groups})
        there = function(**{column: data[order], "groups": groups[order]})
        assert there.estimate == pytest.approx(here.estimate)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="groups must have one label per value"):
        compare_numbers(values=[1, 2], groups=["a"])
    with pytest.raises(ValueError, match="groups must have one label per patient"):
        compare_categories(categories=["x", "y"], groups=["a"])
