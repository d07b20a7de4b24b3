"""The shared interval, proportion, checks and resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.estimators.estimate import (
    Proportion,
    checked_flags,
    checked_pair,
    resample_blocks,
    resampled_counts,
)


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857-872, method 3: 81/263 and 0/20
    interval = Proportion(81, 263).confidence_interval()
    assert (round(interval.lower, 4), round(interval.upper, 4)) == (0.2553, 0.3662)
    interval = Proportion(0, 20).confidence_interval()
    assert (round(interval.lower, 4), round(interval.upper, 4)) == (0.0, 0.1611)


def test_proportion_of_nobody() -> None:
    nobody = Proportion(0, 0)
    assert math.isnan(nobody.estimate)
    assert nobody.reason == "no patient in the denominator"
    assert math.isnan(nobody.confidence_interval().upper)
    assert "not estimable" in nobody.confidence_interval().method


def test_misuse_is_refused_with_every_problem_named() -> None:
    with pytest.raises(ValueError, match="count must be within"):
        Proportion(3, 2)
    with pytest.raises(ValueError, match="level must be > 0 and < 1, got 95"):
        Proportion(1, 2).confidence_interval(95)
    with pytest.raises(ValueError, match=r"reference must be finite, got 1 .* candidate must have one dimension"):
        checked_pair([1, np.nan], [[1], [2]])
    with pytest.raises(ValueError, match="one value per patient, got 2 and 3"):
        checked_pair([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="reference must be true or false, got 2"):
        checked_flags("reference", [0, 1, 2])


def test_resampled_counts_draw_every_patient_with_the_same_chance() -> None:
    codes = np.array([0, 0, 1, 2])
    counts = resampled_counts(codes, 3, 50_000, np.random.default_rng(1))
    assert np.all(counts.sum(axis=1) == 4)
    # a binomial count of 4 draws at chance 1/2: mean 2, standard error sqrt(1/50,000) = 0.0045
    np.testing.assert_allclose(counts.mean(axis=0), [2, 1, 1], atol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), [1, 0.75, 0.75], atol=0.03)


def test_blocks_add_up_however_large_the_cohort() -> None:
    assert sum(resample_blocks(2000, 10_000)) == 2000
    assert max(resample_blocks(2000, 10_000)) == 209
    assert list(resample_blocks(3, 10**9)) == [1, 1, 1]
    with pytest.raises(ValueError, match="n_resamples must be >= 1"):
        list(resample_blocks(0, 10))
