"""The Youden cut against pROC and by hand; its bootstrap against a scikit-learn loop."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from reports.estimators.discrimination import Direction
from reports.estimators.estimate import resampled_counts
from reports.estimators.youden import bootstrap_youden, youden_cut


@pytest.mark.real_data
def test_youden_equals_proc(real_data: Path) -> None:
    reference = json.loads((real_data / "stats" / "reference.json").read_text())["youden"]
    table = pd.read_csv(real_data / "stats" / "aSAH.csv")
    poor = table["outcome"] == "Poor"
    for marker, midpoint, operator_form in (("s100b", "thr_midpoint", 0.22), ("wfns", "thr", 4)):
        expected = reference[f"aSAH_{marker}"]
        cut = youden_cut(reference=poor, candidate=table[marker], positive_when="high")
        assert cut.midpoint == pytest.approx(expected[midpoint], abs=1e-12)
        assert (cut.operator, cut.estimate) == ("ge", operator_form)
        assert round(cut.youden_index, 6) == expected["J"]
        assert round(cut.sensitivity, 6) == expected["sens"]
        assert round(cut.specificity, 6) == expected["spec"]


def test_cut_by_hand_in_both_directions() -> None:
    condition, score = [1, 1, 1, 0, 0, 0], [2, 5, 6, 6, 9, 10]
    low = youden_cut(reference=condition, candidate=score, positive_when="low")
    # <= 5: sensitivity 2/3, specificity 1; <= 6: sensitivity 1, specificity 2/3; the strictest of equals
    assert (low.operator, low.estimate, low.midpoint) == ("le", 5, 5.5)
    assert (low.sensitivity, low.specificity, low.youden_index) == pytest.approx((2 / 3, 1, 2 / 3))
    assert low.threshold("ASPECTS").text == "ASPECTS <= 5"
    high = youden_cut(reference=condition, candidate=np.negative(score), positive_when="high")
    assert (high.operator, high.estimate, high.midpoint) == ("ge", -5, -5.5)


def test_equal_indices_are_equal_in_spite_of_rounding() -> None:
    condition = [1] * 3 + [0] * 6
    score = [9, 5, 5, 6, 6, 6, 5, 1, 1]
    # >= 9: 1/3 - 0; >= 5: 3/3 - 4/6, which is larger in floating point only
    assert youden_cut(reference=condition, candidate=score, positive_when="high").estimate == 9


@pytest.mark.parametrize(
    ("condition", "values", "reason"),
    [
        ([1, 1], [3, 4], "both classes are needed"),
        ([0, 1, 0, 1], [5, 5, 5, 5], "no cut has a positive Youden index"),
        ([1, 1, 0, 0], [1, 2, 3, 4], "no cut has a positive Youden index when high values are positive"),
        ([], [], "got 0 positive and 0 negative"),
    ],
)
def test_no_cut_gives_nan_and_a_reason(condition: list[int], values: list[int], reason: str) -> None:
    cut = youden_cut(reference=condition, candidate=values, positive_when="high")
    assert math.isnan(cut.estimate)
    assert reason in (cut.reason or "")
    result = bootstrap_youden(reference=condition, candidate=values, positive_when="high", seed=1)
    assert math.isnan(result.corrected.sensitivity)
    assert math.isnan(result.confidence_interval().lower)
    with pytest.raises(ValueError, match="cut must be finite"):
        cut.threshold("x")


def marker(n: int, seed: int, direction: Direction, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """A condition and a marker that tells it in the given direction."""
    rng = np.random.default_rng(seed)
    condition = rng.random(n) < 0.35
    values = np.round(rng.normal(size=n) + condition, decimals)
    return condition, values if direction == "high" else -values


def loop(condition: np.ndarray, values: np.ndarray, direction: Direction, n_resamples: int, seed: int) -> np.ndarray:
    """Bootstrap by scikit-learn, patient by patient: cut, and optimism of sensitivity and specificity."""
    sign = 1 if direction == "high" else -1
    rng = np.random.default_rng(seed)
    positive, negative = values[condition] * sign, values[~condition] * sign
    draws_positive = rng.integers(positive.size, size=(n_resamples, positive.size))
    draws_negative = rng.integers(negative.size, size=(n_resamples, negative.size))
    rows = []
    for drawn_positive, drawn_negative in zip(positive[draws_positive], negative[draws_negative], strict=True):
        sample = np.concatenate([drawn_positive, drawn_negative])
        truth = np.repeat([True, False], [positive.size, negative.size])
        false_positive_rate, sensitivity, cuts = metrics.roc_curve(truth, sample, drop_intermediate=False)
        best = int(np.argmax(np.round(sensitivity - false_positive_rate, 12)))
        rows.append(
            (
                sign * cuts[best],
                sensitivity[best] - np.mean(positive >= cuts[best]),
                np.mean(negative >= cuts[best]) - false_positive_rate[best],
            )
        )
    return np.array(rows)


@pytest.mark.parametrize("direction", ["high", "low"])
@pytest.mark.parametrize("decimals", [0, 6])
def test_bootstrap_equals_a_loop_of_scikit_learn(direction: Direction, decimals: int) -> None:
    condition, values = marker(90, seed=7, direction=direction, decimals=decimals)
    result = bootstrap_youden(reference=condition, candidate=values, positive_when=direction, seed=11, n_resamples=60)
    expected = loop(condition, values, direction, 60, 11)
    np.testing.assert_array_equal(result.cuts, expected[:, 0])
    assert result.optimism.sensitivity == pytest.approx(expected[:, 1].mean(), abs=1e-12)
    assert result.optimism.specificity == pytest.approx(expected[:, 2].mean(), abs=1e-12)
    assert result.corrected.youden_index == pytest.approx(
        result.apparent.youden_index - expected[:, 1].mean() - expected[:, 2].mean(), abs=1e-12
    )


def test_bootstrap_in_several_blocks_has_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    condition, values = marker(90, seed=7, direction="low", decimals=0)
    monkeypatch.setattr("reports.estimators.estimate.BLOCK_COUNTS", 1000)
    result = bootstrap_youden(reference=condition, candidate=values, positive_when="low", seed=11, n_resamples=101)
    assert result.cuts.size == 101


def test_interval_bounds_are_observed_cuts() -> None:
    condition, values = marker(200, seed=8, direction="low", decimals=0)
    result = bootstrap_youden(reference=condition, candidate=values, positive_when="low", seed=1, n_resamples=500)
    interval = result.confidence_interval(0.9)
    assert {interval.lower, interval.upper} <= set(result.cuts)
    assert np.mean(result.cuts < interval.lower) <= 0.05
    assert np.mean(result.cuts > interval.upper) <= 0.05


def test_optimism_correction_removes_most_of_the_bias() -> None:
    """Binormal marker of d' = 1: the chosen cut's true index is below the apparent one, near the corrected one."""
    rng = np.random.default_rng(9)
    apparent, corrected, true = [], [], []
    large = np.random.default_rng(10)
    healthy, ill = np.sort(large.normal(size=200_000)), np.sort(large.normal(1, 1, size=200_000))
    for trial in range(150):
        condition = np.repeat([False, True], 40)
        values = rng.normal(size=80) + condition
        result = bootstrap_youden(
            reference=condition, candidate=values, positive_when="high", seed=trial, n_resamples=100
        )
        apparent.append(result.apparent.youden_index)
        corrected.append(result.corrected.youden_index)
        cut = result.estimate
        true.append((np.searchsorted(healthy, cut) - np.searchsorted(ill, cut)) / healthy.size)
    bias, remaining = np.mean(apparent) - np.mean(true), np.mean(corrected) - np.mean(true)
    assert bias > 0.05
    assert abs(remaining) < bias / 2


def test_resampling_is_within_class() -> None:
    counts = resampled_counts(np.array([0, 1, 1]), 4, 10, np.random.default_rng(0))
    assert np.all(counts.sum(axis=1) == 3)
    assert np.all(counts[:, 2:] == 0)
