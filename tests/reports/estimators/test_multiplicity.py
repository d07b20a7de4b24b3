"""Holm and Benjamini-Hochberg by hand, with tests that could not be made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from reports.estimators.multiplicity import adjust_p_values


def test_holm_and_bh_by_hand() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    # Holm: 4 x .005, 3 x .01, 2 x .03, then not below its predecessor; BH: m p / rank, not above its successor
    assert adjust_p_values(p, "holm").adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_p_values(p, "bh").adjusted == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_tests_that_were_not_made_leave_the_family() -> None:
    family = adjust_p_values([0.02, np.nan, 0.03], "holm")
    assert family.family_size == 2
    assert family.adjusted[[0, 2]] == pytest.approx([0.04, 0.04])
    assert math.isnan(family.adjusted[1])
    assert adjust_p_values([np.nan], "bh").family_size == 0
    assert adjust_p_values([], "bh").adjusted.size == 0


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="correction must be one of holm, bh"):
        adjust_p_values([0.1], "bonferroni")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"p_values must be one-dimensional and within 0\.\.1"):
        adjust_p_values([1.1], "holm")


@pytest.mark.parametrize(("correction", "method"), [("holm", "holm"), ("bh", "fdr_bh")])
@pytest.mark.parametrize("m", [1, 2, 40])
def test_both_are_those_of_statsmodels_with_ties_too(correction, method, m) -> None:
    p = np.random.default_rng(m).uniform(0, 0.2, m).round(2)
    expected = multipletests(p, method=method)[1]
    np.testing.assert_allclose(adjust_p_values(p, correction).adjusted, expected, rtol=0, atol=1e-15)
