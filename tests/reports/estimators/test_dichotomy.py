"""Two-by-two performance by hand and against scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from reports.estimators.dichotomy import BinaryPerformance, dichotomy_performance
from tasks.thresholds import Threshold


def _everything(table: BinaryPerformance) -> dict[str, Any]:
    differences = {"balanced_accuracy": table.balanced_accuracy(), "youden_index": table.youden_index()}
    return {**table.proportions(), **table.indices(), **table.likelihood_ratios(), **differences}


def test_counts_at_a_threshold_by_hand() -> None:
    condition, score = [1, 1, 1, 0, 0, 0, 0], [3, 6, 8, 5, 6, 7, 10]
    table = dichotomy_performance(
        reference=condition, candidate=score, threshold=Threshold("le6", 6, "le", "low", "by hand")
    )
    assert table.counts() == {"tp": 2, "fn": 1, "fp": 2, "tn": 2}
    other_side = dichotomy_performance(
        reference=condition, candidate=score, threshold=Threshold("le6", 6, "le", "high", "by hand")
    )
    assert other_side.counts() == {"tp": 1, "fn": 2, "fp": 2, "tn": 2}


def test_all_indices_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(200) < 0.3
    test = rng.random(200) < np.where(truth, 0.8, 0.25)
    yes = Threshold("yes", 1, "ge", "high", "by hand")
    table = dichotomy_performance(reference=truth, candidate=test, threshold=yes)
    shares = {name: share.estimate for name, share in table.proportions().items()}
    values = {name: index.estimate for name, index in table.indices().items()}
    assert shares["sensitivity"] == pytest.approx(metrics.recall_score(truth, test))
    assert shares["specificity"] == pytest.approx(metrics.recall_score(~truth, ~test))
    assert shares["ppv"] == pytest.approx(metrics.precision_score(truth, test))
    assert shares["npv"] == pytest.approx(metrics.precision_score(~truth, ~test))
    assert shares["accuracy"] == pytest.approx(metrics.accuracy_score(truth, test))
    balanced = metrics.balanced_accuracy_score(truth, test)
    assert table.balanced_accuracy().estimate == pytest.approx(balanced)
    assert table.youden_index().estimate == pytest.approx(2 * balanced - 1)
    assert values["f1_positive"] == pytest.approx(metrics.f1_score(truth, test))
    assert values["f1_negative"] == pytest.approx(metrics.f1_score(~truth, ~test))
    assert values["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, test))
    plus, minus = metrics.class_likelihood_ratios(truth, test)
    ratios = table.likelihood_ratios()
    assert ratios["lr_positive"].estimate == pytest.approx(plus)
    assert ratios["lr_negative"].estimate == pytest.approx(minus)


def test_swapping_the_classes_swaps_the_statistics() -> None:
    table, swapped = BinaryPerformance(26, 5, 4, 36), BinaryPerformance(36, 4, 5, 26)
    pairs = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "npv", "npv": "ppv"}
    for name, other in (pairs | {"accuracy": "accuracy"}).items():
        assert table.proportions()[name] == swapped.proportions()[other]
    for name, other in {"f1_positive": "f1_negative", "mcc": "mcc"}.items():
        assert table.indices()[name].estimate == pytest.approx(swapped.indices()[other].estimate)
    assert table.balanced_accuracy().estimate == pytest.approx(swapped.balanced_accuracy().estimate)
    interval, other = table.balanced_accuracy().confidence_interval(), swapped.balanced_accuracy().confidence_interval()
    assert (interval.lower, interval.upper) == pytest.approx((other.lower, other.upper))


@pytest.mark.parametrize(
    ("counts", "lower", "upper"),
    [  # (a) to (h) of Newcombe (1998), table II, method 10: tp, n positive, fp, n negative
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_both_classes_is_the_published_one(counts, lower, upper) -> None:
    tp, n_positive, fp, n_negative = counts
    table = BinaryPerformance(tp, n_positive - tp, fp, n_negative - fp)
    youden, balanced = table.youden_index().confidence_interval(), table.balanced_accuracy().confidence_interval()
    assert (youden.lower, youden.upper) == pytest.approx((lower, upper), abs=5e-5)
    assert (balanced.lower, balanced.upper) == pytest.approx(((1 + lower) / 2, (1 + upper) / 2), abs=5e-5)


def test_likelihood_ratio_interval_by_hand() -> None:
    ratio = BinaryPerformance(tp=26, fn=5, fp=4, tn=36).likelihood_ratios()["lr_positive"]
    assert ratio.estimate == pytest.approx((26 / 31) / (4 / 40))
    error = math.sqrt(1 / 26 - 1 / 31 + 1 / 4 - 1 / 40)
    interval = ratio.confidence_interval()
    assert interval.lower == pytest.approx(ratio.estimate * math.exp(-1.959963984540054 * error))
    assert interval.upper == pytest.approx(ratio.estimate * math.exp(1.959963984540054 * error))


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        ((0, 0, 2, 3), {"sensitivity", "balanced_accuracy", "youden_index", "mcc", "lr_positive", "lr_negative"}),
        ((2, 3, 0, 0), {"specificity", "balanced_accuracy", "youden_index", "mcc", "lr_positive", "lr_negative"}),
        ((0, 2, 0, 3), {"ppv", "mcc", "lr_positive"}),
        ((2, 0, 3, 0), {"npv", "mcc", "lr_negative"}),
        ((2, 0, 0, 3), {"lr_positive"}),
    ],
)
def test_undefined_statistics_are_nan_with_a_reason(counts: tuple[int, int, int, int], undefined: set[str]) -> None:
    table = BinaryPerformance(*counts)
    everything = _everything(table)
    missing = {name for name, value in everything.items() if math.isnan(value.estimate)}
    assert missing == undefined
    assert {name for name, value in everything.items() if value.reason} == missing
    for name in missing - {"mcc"}:
        assert math.isnan(everything[name].confidence_interval().lower)


def test_nobody_has_no_statistic() -> None:
    table = BinaryPerformance(0, 0, 0, 0)
    everything = _everything(table)
    assert all(math.isnan(value.estimate) for value in everything.values())
    assert all(value.reason for value in everything.values())


def test_a_ratio_of_zero_has_no_interval() -> None:
    ratio = BinaryPerformance(tp=0, fn=5, fp=2, tn=5).likelihood_ratios()["lr_positive"]
    assert ratio.estimate == 0
    assert math.isnan(ratio.confidence_interval().lower)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="counts must be >= 0, got fp=-1"):
        BinaryPerformance(1, 1, -1, 1)
    with pytest.raises(ValueError, match="reference must be true or false, got 2"):
        dichotomy_performance(
            reference=[2, 1], candidate=[0, 1], threshold=Threshold("yes", 1, "ge", "high", "by hand")
        )
