"""Claims by inversion of intervals, against the two one-sided tests of pingouin and statsmodels, and by duality."""

from __future__ import annotations

import math

import numpy as np
import pingouin
import pytest
from statsmodels.stats.weightstats import ttost_paired

from reports.estimators.agreement import icc_a1
from reports.estimators.bland_altman import bland_altman
from reports.estimators.claims import SMALLEST_P, claim_p
from reports.estimators.discrimination import compare_aucs
from reports.estimators.estimate import Proportion, not_estimable


def scores(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Two scores of the same patients, the second about .2 higher."""
    rng = np.random.default_rng(6)
    reference = rng.normal(7, 2, n)
    return reference, reference + rng.normal(0.2, 1, n)


@pytest.mark.parametrize("margin", [0.1, 0.4, 0.6])
def test_a_mean_within_a_margin_is_twice_tost(margin: float) -> None:
    reference, candidate = scores()
    result = bland_altman(reference=reference, candidate=candidate)
    p = claim_p(result.confidence_interval, estimate=result.estimate, low=-margin, high=margin)
    one_sided = ttost_paired(candidate, reference, -margin, margin)[0]
    assert p == pytest.approx(min(2 * one_sided, 1), abs=1e-9)
    assert one_sided == pytest.approx(float(pingouin.tost(candidate, reference, margin, paired=True)["pval"].iloc[0]))


def test_a_difference_from_nothing_has_the_p_of_its_own_test() -> None:
    reference, candidate = scores()
    result = bland_altman(reference=reference, candidate=candidate)
    assert claim_p(result.confidence_interval, estimate=result.estimate, low=0) == pytest.approx(result.p, abs=1e-9)
    rng = np.random.default_rng(3)
    condition = np.repeat([False, True], 30)
    areas = compare_aucs(
        reference=condition, candidate_a=condition + rng.normal(size=60), candidate_b=rng.normal(size=60),
        positive_when_a="high", positive_when_b="high",
    )  # fmt: skip
    assert claim_p(areas.confidence_interval, estimate=areas.estimate, low=0) == pytest.approx(areas.p, abs=1e-8)


@pytest.mark.parametrize("low", [0.2, 0.6, 0.75, 0.8, 0.84, 0.95])
def test_a_claim_holds_where_the_interval_does(low: float) -> None:
    share = Proportion(80, 100)  # Wilson .711 to .867
    p = claim_p(share.confidence_interval, estimate=share.estimate, low=low)
    assert (p < 0.05) == (share.confidence_interval(0.95).lower > low)
    assert (p < 0.01) == (share.confidence_interval(0.99).lower > low)


def test_an_icc_whose_interval_breaks_down_near_level_0_is_tested() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(7, 2, 60)
    icc = icc_a1(reference=truth, candidate=truth + rng.normal(0, 0.8, 60))
    p = claim_p(icc.confidence_interval, estimate=icc.estimate, low=0.8)
    assert (p < 0.05) == (icc.confidence_interval().lower > 0.8)
    assert 0 < p < 1
    assert claim_p(icc.confidence_interval, estimate=icc.estimate, low=-0.9) == SMALLEST_P


def test_the_wrong_side_and_no_interval() -> None:
    share = Proportion(80, 100)
    assert claim_p(share.confidence_interval, estimate=0.8, low=0.8) == 1
    assert claim_p(share.confidence_interval, estimate=0.8, high=0.5) == 1
    assert math.isnan(claim_p(lambda level: not_estimable("t", level, "no patient"), estimate=0.5, low=0))
    assert math.isnan(claim_p(Proportion(0, 0).confidence_interval, estimate=math.nan, low=0.5))
    assert math.isnan(claim_p(share.confidence_interval, estimate=0.8))
    with pytest.raises(ValueError, match="low must be < high, got 1 and 0"):
        claim_p(share.confidence_interval, estimate=0.8, low=1, high=0)
