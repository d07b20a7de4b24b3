"""Median and quartiles by hand, and the bootstrap interval against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.estimators.median import median


def test_median_and_quartiles_by_hand() -> None:
    found = median(values=[4, 1, 3, 2, 10])
    assert (found.estimate, found.q1, found.q3, found.n, found.reason) == (3, 2, 4, 5, None)


def test_no_patient_one_patient_and_patients_alike_have_no_interval() -> None:
    nobody = median(values=[])
    assert math.isnan(nobody.estimate)
    assert (nobody.n, nobody.reason) == (0, "no value")
    one, alike = median(values=[0.7]), median(values=[0.7] * 9)
    assert (one.estimate, alike.estimate) == (0.7, 0.7)
    for found, cause in ((nobody, "no value"), (one, "1 patient"), (alike, "one median")):
        interval = found.confidence_interval()
        assert math.isnan(interval.lower)
        assert cause in interval.method


def test_the_interval_is_that_of_the_percentile_bootstrap() -> None:
    """scipy.stats.bootstrap(method="percentile"), 20,000 resamples with other random numbers: within .01."""
    values = np.random.default_rng(2).beta(6, 2, 75)
    found = median(values=values, seed=4, n_resamples=20_000).confidence_interval(0.9)
    drawn = stats.bootstrap(
        (values,),
        np.median,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    assert (found.lower, found.upper) == pytest.approx((drawn.low, drawn.high), abs=0.01)
    again = median(values=values, seed=4, n_resamples=20_000).confidence_interval(0.9)
    assert found == again
    assert found.method == "median, bootstrap percentile, 20000 resamples"


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="values must be finite, got 1 NaN"):
        median(values=[1, math.nan])
