"""The lint's bounds are those of the estimators: no data, however small, breaks them, and beyond them is refused."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reports.document.document import document
from reports.estimators.agreement import bootstrap_icc_a1, icc_a1, intraclass_correlation
from reports.estimators.bland_altman import bland_altman
from reports.estimators.categorical_agreement import gwet_ac, kappa
from reports.estimators.estimate import Interval
from reports.lint.bounds import (
    BOUNDS,
    LOCATIONS,
    bounds_of,
    gwet_minimum,
    icc_a1_minimum,
    limit_of_agreement_maximum,
    quadratic_mean_credit,
    spread_maximum,
)
from reports.lint.lint import lint
from reports.statistics.analysis import analyse
from reports.statistics.rows import Row
from tests.reports.builders import synthetic_input, synthetic_run
from tests.reports.tiny import TinyPatient, tiny_input

SCORES = st.integers(0, 10)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=8).map(np.array)
EMPTY = dict.fromkeys(field.name for field in fields(Row))


def keeps(interval: Interval, low: float, high: float) -> bool:
    """Both limits or none, in order and within bounds."""
    if math.isnan(interval.lower) or math.isnan(interval.upper):
        return math.isnan(interval.lower) == math.isnan(interval.upper)
    return low - 1e-9 <= interval.lower <= interval.upper <= high + 1e-9


def test_the_least_icc_of_few_patients_is_reached() -> None:
    """Worked by hand: of 4 6, 6 4, 5 5 MSS and MSR are 0; of 4 7, 6 4 MSS and MSR are .25 and MSE is 6.25."""
    swapped = intraclass_correlation([[4, 6], [6, 4], [5, 5]])
    assert (swapped.mean_squares.subjects, swapped.mean_squares.raters) == (0, 0)
    assert swapped.estimate == pytest.approx(-3)
    assert icc_a1_minimum(3) == -3
    assert intraclass_correlation([[4, 7], [6, 4]]).estimate == pytest.approx((0.25 - 6.25) / (0.25 + 0.25))
    assert icc_a1_minimum(2) == -math.inf


@pytest.mark.parametrize("n", range(2, 9))
@pytest.mark.parametrize("k", [2, 3])
def test_icc_is_never_below_its_least_value(n: int, k: int) -> None:
    rng = np.random.default_rng(n * 10 + k)
    for _ in range(200):
        icc = intraclass_correlation(rng.integers(0, 4, (n, k)))
        assert math.isnan(icc.estimate) or icc_a1_minimum(n, k) - 1e-9 <= icc.estimate <= 1


@settings(deadline=None, max_examples=150)
@example(np.array([(0, 1), (0, 1), (1, 0)]))  # the formula gives NaN..-2 around -2
@given(PAIRS)
def test_agreement_of_any_tiny_data_is_within_bounds(pairs: np.ndarray) -> None:
    reference, candidate = pairs.T
    n = len(pairs)
    icc = icc_a1(reference=reference, candidate=candidate)
    assert keeps(icc.confidence_interval(), icc_a1_minimum(n), 1)
    assert not icc.estimate > icc.confidence_interval().upper + 1e-9
    assert not icc.estimate < icc.confidence_interval().lower - 1e-9
    resampled = bootstrap_icc_a1(reference=reference, candidate=candidate, seed=1, n_resamples=50)
    assert keeps(resampled.confidence_interval(), icc_a1_minimum(n), 1)
    for weights in ("none", "linear", "quadratic"):
        result = kappa(reference=reference, candidate=candidate, categories=range(11), weights=weights)
        assert math.isnan(result.estimate) or -1 - 1e-9 <= result.estimate <= 1
        assert keeps(result.confidence_interval(), -1, 1)
    least = gwet_minimum(quadratic_mean_credit(11))
    ac2 = gwet_ac(reference=reference, candidate=candidate, categories=range(11), weights="quadratic")
    assert least <= ac2.estimate <= 1
    assert keeps(ac2.confidence_interval(), least, 1)
    limits = bland_altman(reference=reference, candidate=candidate)
    edge = limit_of_agreement_maximum(n) + 1e-9
    assert -edge <= limits.loa_lower <= limits.loa_upper <= edge
    assert reference.std(ddof=1) <= spread_maximum(0, 10, n) + 1e-9


def test_gwet_with_quadratic_weights_may_fall_below_minus_one() -> None:
    """Two patients, 0 against 10 and 1 against 9: observed 1 - (1 + .64) / 2 = .18, chance .88 x 3/4 = .66."""
    ac2 = gwet_ac(reference=[0, 1], candidate=[10, 9], categories=range(11), weights="quadratic")
    assert ac2.estimate == pytest.approx((0.18 - 0.66) / 0.34)


PATIENT = st.builds(
    TinyPatient,
    nihss=st.one_of(st.none(), st.sampled_from([0, 7, 8, 16, 17, 42])),
    mrs=st.one_of(st.none(), st.integers(0, 6)),
    readings=st.tuples(*[st.one_of(st.none(), st.sampled_from([0, 4, 5, 6, 9, 10]))] * 3),
    volume_ml=st.one_of(st.none(), st.sampled_from([0.0, 0.5, 20.0, 27.86, 60.0, 120.0])),
)


@settings(deadline=None, max_examples=15)
@given(patients=st.lists(PATIENT, min_size=1, max_size=8), rules=st.booleans())
def test_every_tiny_cohort_passes_the_lint(patients: list[TinyPatient], rules: bool) -> None:
    data = tiny_input(patients, rules=rules)
    assert lint(analyse(data), data) == []


SWAPPED = [(4, 7), (6, 4)]
SHAPES = {
    "readers who swap": [TinyPatient(3, 1, scores, 5.0) for scores in SWAPPED],
    "readers who swap, three of them": [TinyPatient(3, 1, (*scores, 5), 5.0) for scores in SWAPPED],
    "one patient": [TinyPatient(10, 3, (7, 8, 6), 30.0)],
    "one patient, nothing known": [TinyPatient(None, None, (None,), None)],
    "constant": [TinyPatient(5, 2, (8, 8, 8), 10.0)] * 4,
    "all severe": [TinyPatient(20, 5, (n, n + 1), 10.0 * n) for n in range(1, 7)],
    "all masks broken": [TinyPatient(n, n % 7, (n, 10 - n), None) for n in range(1, 9)],
    "one of each class": [TinyPatient(3, 1, (9,), 1.0), TinyPatient(20, 5, (2,), 90.0)],
    "readers at opposite ends": [TinyPatient(9, 3, scores, 40.0) for scores in [(0, 10), (10, 0), (1, 9), (9, 1)]],
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_degenerate_cohort_ends_with_a_report(name: str) -> None:
    data = tiny_input(SHAPES[name], rules=True)
    statistics = analyse(data)
    assert lint(statistics, data) == []
    assert f"{len(SHAPES[name])}" in document(data, statistics, synthetic_run()).html


#: What needs declared questions, several sites, sessions or volumes by two sources: in tests/reports/statistics.
ELSEWHERE = {
    *("primary", "confirmatory", "exploratory"),
    *("without_auc", "without_icc_a1", "without_sensitivity", "without_specificity"),
    "session_auc_difference",
    *("volume_ratio", "volume_ratio_loa_lower", "volume_ratio_loa_upper"),
}


def test_every_quantity_of_an_analysis_has_bounds() -> None:
    rows = analyse(synthetic_input(40))
    known = {*BOUNDS, *LOCATIONS, "sd"}
    assert set(rows["quantity"]) <= known
    assert known - set(rows["quantity"]) == ELSEWHERE


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        ({"quantity": "icc_a1", "n": 6}, -1.5, 1),
        ({"quantity": "icc_a1_bootstrap", "n": 2}, -math.inf, 1),
        ({"quantity": "ac2", "n": 6}, -4, 1),
        ({"quantity": "region_ac1"}, -1, 1),
        ({"quantity": "lr_positive", "n": 10, "n_positive": 4}, 0, 6),
        ({"quantity": "n_missing", "n": 10}, 0, 10),
        ({"quantity": "median", "measure": "score"}, 0, 10),
        ({"quantity": "cut", "measure": "volume_ml"}, 0, math.inf),
        ({"quantity": "sd", "measure": "score", "n": 2}, 0, 7.0710678118654755),
        ({"quantity": "bias", "measure": "score"}, -10, 10),
    ],
)
def test_bounds_worked_by_hand(cells: dict[str, object], low: float, high: float) -> None:
    assert bounds_of(Row(**EMPTY | cells), {}).estimate == pytest.approx((low, high))
