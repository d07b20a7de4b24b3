"""Fleiss's kappa and AC of several raters against published tables and R's irrCAC, symmetry against Stuart and R."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.inter_rater import fleiss_kappa

from reports.estimators.categorical_agreement import BinaryAgreement, gwet_ac
from reports.estimators.rater_agreement import rater_agreement
from reports.estimators.symmetry import bowker, mcnemar

# Fleiss (1971), as reprinted in Sim & Wright (2005), Phys Ther 85:257-268: 10 subjects, 14 raters, 5 categories
FOURTEEN = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip
NA = math.nan
# R's irrCAC, data cac.raw4raters (Gwet 2014): 12 units, 4 raters, no rater rated all
FOUR = (
    (1, 1, NA, 1), (2, 2, 3, 2), (3, 3, 3, 3), (3, 3, 3, 3), (2, 2, 2, 2), (1, 2, 3, 4), (4, 4, 4, 4), (1, 1, 2, 1),
    (2, 2, 2, 2), (NA, 5, 5, 5), (NA, NA, 1, 1), (NA, NA, 3, NA),
)  # fmt: skip
# Stuart A (1953), Biometrika 40:105-110: unaided distance vision of right and left eye, 7477 women
VISION = ((1520, 266, 124, 66), (234, 1512, 432, 78), (117, 362, 1772, 205), (36, 82, 179, 492))


def rows_of(table: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of categories from a table of counts."""
    counts = np.array(table)
    row, column = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), len(counts))
    return row, column


def test_fourteen_raters_as_published() -> None:
    ratings = [np.repeat(np.arange(5), row) for row in FOURTEEN]
    result = rater_agreement(ratings=ratings, categories=range(5))
    assert round(result.estimate, 3) == 0.210
    assert result.estimate == pytest.approx(fleiss_kappa(np.array(FOURTEEN)))
    assert (result.n, result.n_raters) == (10, 14)


@pytest.mark.parametrize(
    ("coefficient", "estimate", "error", "lower"),
    [("fleiss_kappa", 0.76117, 0.15302, 0.424), ("gwet_ac", 0.77544, 0.14295, 0.461)],
)
def test_missing_ratings_equal_irrcac(coefficient, estimate, error, lower) -> None:
    result = rater_agreement(ratings=FOUR, categories=range(1, 6), coefficient=coefficient)
    assert (round(result.estimate, 5), round(result.standard_error, 5)) == (estimate, error)
    assert (result.n, result.n_shared) == (12, 11)
    interval = result.confidence_interval()
    assert (round(interval.lower, 3), interval.upper) == (lower, 1.0)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_two_raters_equal_the_ac_of_a_table(weights) -> None:
    rng = np.random.default_rng(3)
    ratings = np.column_stack([rng.integers(0, 5, 40), rng.integers(0, 5, 40)])
    ours = rater_agreement(ratings=ratings, categories=range(5), coefficient="gwet_ac", weights=weights)
    theirs = gwet_ac(reference=ratings[:, 0], candidate=ratings[:, 1], categories=range(5), weights=weights)
    assert (ours.estimate, ours.standard_error) == pytest.approx((theirs.estimate, theirs.standard_error))


def test_the_order_of_raters_and_patients_does_not_matter() -> None:
    ratings = np.array(FOUR)
    shuffled = np.random.default_rng(1).permuted(ratings, axis=1)[::-1]
    ours = rater_agreement(ratings=ratings, categories=range(1, 6), weights="quadratic")
    theirs = rater_agreement(ratings=shuffled, categories=range(1, 6), weights="quadratic")
    assert (ours.estimate, ours.standard_error) == pytest.approx((theirs.estimate, theirs.standard_error))


def test_raters_who_say_nothing_apart() -> None:
    alike = rater_agreement(ratings=np.ones((5, 3)), categories=(0, 1))
    assert math.isnan(alike.estimate)
    assert alike.reason == "the raters use one category only"
    assert rater_agreement(ratings=np.ones((5, 3)), categories=(0, 1), coefficient="gwet_ac").estimate == 1
    alone = rater_agreement(ratings=[[1, NA], [NA, 0], [1, 1]], categories=(0, 1))
    assert alone.reason == "1 patients with two ratings, at least 2 are needed"
    with pytest.raises(ValueError, match="every value must be one of at least 2 categories, got 7"):
        rater_agreement(ratings=[[1, 7]], categories=(0, 1))
    with pytest.raises(ValueError, match="ratings must have shape"):
        rater_agreement(ratings=[1, 0], categories=(0, 1))


def test_vision_is_not_symmetric_as_published() -> None:
    """Chi-square 19.107 on 6 degrees of freedom (Stuart's data; SAS FREQ, R mcnemar.test), p .0040."""
    row, column = rows_of(VISION)
    result = bowker(reference=row, candidate=column, categories=range(4))
    assert (round(result.estimate, 3), result.df, round(result.p, 4)) == (19.107, 6, 0.0040)
    assert (result.test, result.n, result.n_discordant) == ("Bowker, chi-square", 7477, 2181)


def test_few_patients_are_tested_exactly() -> None:
    """One pair of categories, 8 against 1: the binomial test, p = 2 (1 + 9) / 512."""
    table = BinaryAgreement(both=20, only_reference=8, only_candidate=1, neither=30)
    assert mcnemar(table).p == pytest.approx(2 * 10 / 512)
    reference = [1] * 20 + [1] * 8 + [0] * 1 + [0] * 30
    candidate = [1] * 20 + [0] * 8 + [1] * 1 + [0] * 30
    result = bowker(reference=reference, candidate=candidate, categories=(0, 1, 2), seed=5)
    assert (result.df, result.n_discordant) == (1, 9)
    assert result.p == pytest.approx(2 * 10 / 512, abs=3 * math.sqrt(0.039 * 0.961 / 9999))
    assert result == bowker(reference=reference, candidate=candidate, categories=(0, 1, 2), seed=5)


def test_exchanging_the_sources_changes_nothing() -> None:
    row, column = rows_of(VISION)
    forward = bowker(reference=row, candidate=column, categories=range(4))
    backward = bowker(reference=column, candidate=row, categories=range(4))
    assert (forward.estimate, forward.p) == (backward.estimate, backward.p)


@pytest.mark.real_data
def test_mcnemar_equals_r(real_data: Path) -> None:
    expected = json.loads((real_data / "stats" / "reference.json").read_text())["mcnemar"]
    table = BinaryAgreement(both=50, only_reference=expected["b"], only_candidate=expected["c"], neither=7)
    corrected = mcnemar(table, is_exact=False)
    assert corrected.estimate == pytest.approx(expected["chi2_cc"], rel=1e-6)
    assert corrected.p == pytest.approx(expected["p_cc"], rel=1e-4)
    assert mcnemar(table).p == pytest.approx(expected["p_exact"], rel=1e-5)


def test_nobody_differs() -> None:
    assert bowker(reference=[1, 2], candidate=[1, 2], categories=(1, 2)).reason == "no patient disagrees"
    assert mcnemar(BinaryAgreement(3, 0, 0, 4)).reason == "no patient disagrees"


def test_the_exact_test_keeps_its_level() -> None:
    """Symmetric raters of 11 scores, 25 patients: at most one of twenty p values is below .05."""
    rng = np.random.default_rng(11)
    p_values = []
    for _ in range(30):
        first, second = rng.binomial(10, 0.7, size=(2, 25))
        p_values.append(bowker(reference=first, candidate=second, categories=range(11)).p)
    assert np.count_nonzero(np.array(p_values) < 0.05) <= stats.binom.ppf(0.999, 30, 0.05)
