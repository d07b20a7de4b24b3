"""Repeated pairs against Bland & Altman (2007), ratios against their paper of 1999."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.estimators.bland_altman import bland_altman
from reports.estimators.repeated_differences import ratio_agreement, repeated_bland_altman

# Bland & Altman (2007), table 1: cardiac ejection by radionuclide ventriculography and impedance cardiography (RV, IC)
EJECTION: dict[int, list[tuple[float, float]]] = {
    1: [(7.83, 6.57), (7.42, 5.62), (7.89, 6.90), (7.12, 6.57), (7.88, 6.35)],
    2: [(6.16, 4.06), (7.26, 4.29), (6.71, 4.26), (6.54, 4.09)],
    3: [(4.75, 4.71), (5.24, 5.50), (4.86, 5.08), (4.78, 5.02), (6.05, 6.01), (5.42, 5.67)],
    4: [(4.21, 4.14), (3.61, 4.20), (3.72, 4.61), (3.87, 4.68), (3.92, 5.04)],
    5: [(3.13, 3.03), (2.98, 2.86), (2.85, 2.77), (3.17, 2.46), (3.09, 2.32), (3.12, 2.43)],
    6: [(5.92, 5.90), (6.42, 5.81), (5.92, 5.70), (6.27, 5.76)],
    7: [(7.13, 5.09), (6.62, 4.63), (6.58, 4.61), (6.93, 5.09)],
    8: [(4.54, 4.72), (4.81, 4.61), (5.11, 4.36), (5.29, 4.20), (5.39, 4.36), (5.57, 4.20)],
    9: [(4.48, 3.17), (4.92, 3.12), (3.97, 2.96)],
    10: [(4.22, 4.35), (4.65, 4.62), (4.74, 3.16), (4.44, 3.53), (4.50, 3.53)],
    11: [(6.78, 7.20), (6.07, 6.09), (6.52, 7.00), (6.42, 7.10), (6.41, 7.40), (5.76, 6.80)],
    12: [(5.06, 4.50), (4.72, 4.20), (4.90, 3.80), (4.80, 3.80), (4.90, 4.20), (5.10, 4.50)],
}


def ejection() -> dict[str, np.ndarray]:
    """The 60 pairs; the difference is RV - IC."""
    rows = np.array([(key, *pair) for key, pairs in EJECTION.items() for pair in pairs])
    return {"patients": rows[:, 0].astype(int), "candidate": rows[:, 1], "reference": rows[:, 2]}


def test_varying_true_value_equals_the_paper() -> None:
    """Tables 2 and 3 of the paper, as printed in single precision: mean squares, divisor, total variance, limits."""
    result = repeated_bland_altman(**ejection())
    assert result.mean_squares == pytest.approx((4.2090856, 0.170714026), abs=1e-6)
    assert result.divisor == pytest.approx(4.9818182, abs=5e-8)
    assert result.sd**2 == pytest.approx(0.98133606, abs=1e-6)
    assert result.estimate == pytest.approx(0.6021667, abs=5e-8)
    assert (result.loa_lower, result.loa_upper) == pytest.approx((-1.3394565, 2.5437899), abs=1e-6)
    assert (result.n, result.n_pairs) == (12, 60)


def test_ignoring_whose_pairs_they_are_is_too_narrow() -> None:
    """SD .9610571 as printed, and a bias more certain than twelve patients allow."""
    pairs = ejection()
    ignoring = bland_altman(reference=pairs["reference"], candidate=pairs["candidate"])
    result = repeated_bland_altman(**pairs)
    assert ignoring.sd == pytest.approx(0.9610571, abs=5e-8)
    wide, narrow = result.confidence_interval(), ignoring.confidence_interval()
    assert wide.upper - wide.lower > 2 * (narrow.upper - narrow.lower)
    lower, upper = result.limit_intervals()
    assert lower.lower < result.loa_lower < lower.upper < upper.lower < result.loa_upper < upper.upper


def test_balanced_pairs_by_hand() -> None:
    """Two patients, differences 0 2 and 4 6: MSB 16, MSW 2, divisor 2, total 8 + 1; the bias's error is root 16/4."""
    result = repeated_bland_altman(patients=["a", "a", "b", "b"], reference=[0, 0, 0, 0], candidate=[0, 2, 4, 6])
    assert (result.mean_squares, result.divisor, result.estimate) == ((16.0, 2.0), 2.0, 3.0)
    assert (result.sd**2, result.bias_standard_error) == pytest.approx((9, 2))


def test_repeated_pairs_that_tell_nothing() -> None:
    single = repeated_bland_altman(patients=[1, 2, 3], reference=[1, 2, 3], candidate=[2, 2, 2])
    assert single.reason == "no patient has two pairs; take bland_altman"
    assert math.isnan(single.limit_intervals()[0].lower)
    alone = repeated_bland_altman(patients=[1, 1], reference=[1, 2], candidate=[2, 2])
    assert "1 patients" in (alone.reason or "")
    constant = repeated_bland_altman(patients=[1, 1, 2, 2], reference=[1, 2, 3, 4], candidate=[2, 3, 4, 5])
    assert (constant.estimate, constant.sd) == (1, 0)
    assert math.isnan(constant.confidence_interval().lower)
    with pytest.raises(ValueError, match="patients must have one label per pair"):
        repeated_bland_altman(patients=[1], reference=[1, 2], candidate=[2, 2])


def test_plasma_volume_ratios_as_published() -> None:
    """Bland & Altman (1999), section 3.2: 99 differences of logarithms, mean .099 and SD .029, give 1.11, 1.04 to 1.17.

    The paper's values themselves are not printed there; any with this mean and SD have these limits.
    """
    shape = np.linspace(-1, 1, 99)
    difference = 0.099 + 0.029 * (shape - shape.mean()) / shape.std(ddof=1)
    reference = np.geomspace(40, 130, 99)
    result = ratio_agreement(reference=reference, candidate=reference * np.exp(difference))
    assert round(result.estimate, 2) == 1.10  # exp(.099) = 1.104; the paper rounds its .0988 to 1.11
    assert (round(result.loa_lower, 2), round(result.loa_upper, 2)) == (1.04, 1.17)
    lower, upper = result.limit_intervals()
    assert lower.lower < result.loa_lower < lower.upper < upper.lower < result.loa_upper < upper.upper
    assert lower.method.startswith("log exact")


def test_the_unit_does_not_change_a_ratio() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.lognormal(size=(2, 30))
    ours, theirs = (ratio_agreement(reference=first * k, candidate=second * k) for k in (1, 1000))
    assert (ours.estimate, ours.loa_lower, ours.loa_upper) == pytest.approx(
        (theirs.estimate, theirs.loa_lower, theirs.loa_upper)
    )
    interval = ours.confidence_interval()
    assert interval.lower < ours.estimate < interval.upper
    with pytest.raises(ValueError, match="must be >= 0 for a ratio"):
        ratio_agreement(reference=[-1, 2], candidate=[1, 2])
    nothing = ratio_agreement(reference=[0, 0], candidate=[1, 2])
    assert (nothing.n, nothing.n_left_out) == (0, 2)
    assert "at least 2 are needed" in (nothing.reason or "")
