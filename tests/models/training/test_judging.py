"""Judging: counts and Dice by hand, the threshold of validation patients, strata, intervals."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from models.training import judging
from models.training.judging import (
    EVERYONE,
    NO_INFARCT,
    STRATA,
    THRESHOLDS,
    Counts,
    Judged,
    bootstrap_median,
    choose_threshold,
    counts_of,
    judged_at,
    metrics_of,
)
from models.training.pool import IGNORED

HALF = THRESHOLDS.index(0.5)


def counts(n_true, found, hit):
    """The same at every threshold, or a dict of threshold -> (found, hit)."""
    n_found = np.array([found.get(one, (0, 0))[0] if isinstance(found, dict) else found for one in THRESHOLDS])
    n_hit = np.array([found.get(one, (0, 0))[1] if isinstance(found, dict) else hit for one in THRESHOLDS])
    return Counts(n_true, n_found, n_hit)


def test_counts_by_hand():
    """Six voxels; a value equal to the threshold is not above it."""
    found = np.array([[[0.0, 0.12, 0.5]], [[0.51, 0.95, 0.88]]], np.float32)
    truth = np.array([[[False, False, True]], [[True, True, False]]])
    counted = counts_of(found, truth)
    by_threshold = {
        one: (int(n), int(hit)) for one, n, hit in zip(THRESHOLDS, counted.n_found, counted.n_hit, strict=True)
    }
    assert counted.n_true == 3
    assert by_threshold[0.1] == (5, 3)
    assert by_threshold[0.15] == (4, 3)
    assert by_threshold[0.5] == (3, 2)
    assert by_threshold[0.55] == (2, 1)
    assert by_threshold[0.9] == (1, 1)
    assert counted.dice[HALF] == pytest.approx(2 * 2 / (3 + 3))


def test_counts_are_those_of_plain_comparisons():
    rng = np.random.default_rng(0)
    found, truth = rng.random((7, 8, 9)).astype(np.float32), rng.random((7, 8, 9)) > 0.7
    counted = counts_of(found, truth)
    assert counted.n_found.tolist() == [int((found > np.float32(one)).sum()) for one in THRESHOLDS]
    assert counted.n_hit.tolist() == [int(((found > np.float32(one)) & truth).sum()) for one in THRESHOLDS]


@pytest.mark.parametrize(
    ("n_true", "n_found", "hit", "dice", "error_ml", "false_ml"),
    [
        (1000, 1000, 1000, 1.0, 0.0, 0.0),  # 1,000 voxels of 2 mm are 8 ml
        (1000, 500, 250, 2 * 250 / 1500, -4.0, 2.0),
        (0, 125, 0, 0.0, 1.0, 1.0),
        (125, 0, 0, 0.0, -1.0, 0.0),
        (0, 0, 0, math.nan, 0.0, 0.0),
    ],
)
def test_a_patient_by_hand(n_true, n_found, hit, dice, error_ml, false_ml):
    (judged,) = judged_at([counts(n_true, n_found, hit)], 0.5)
    assert judged.dice == pytest.approx(dice, nan_ok=True)
    assert judged.volume_error_ml == pytest.approx(error_ml)
    assert judged.false_ml == pytest.approx(false_ml)


@pytest.mark.parametrize(
    ("volume_ml", "stratum"),
    [(0.0, NO_INFARCT), (0.008, STRATA[0]), (2.999, STRATA[0]), (3.0, STRATA[1]), (15.999, STRATA[1]),
     (16.0, STRATA[2]), (66.0, STRATA[3]), (300.0, STRATA[3])],
)  # fmt: skip
def test_limits_belong_to_the_larger_stratum(volume_ml, stratum):
    assert Judged(volume_ml, 0.0, 0.0, 0.0).stratum == stratum


def test_the_threshold_has_the_highest_mean_dice_over_patients_with_an_infarct():
    """At .3 the two Dice are 1 and .5, at .5 both are .7; who has .8 ml where no infarct is does not count."""
    first = counts(100, {0.3: (100, 100), 0.5: (100, 70)}, None)
    second = counts(100, {0.3: (100, 50), 0.5: (100, 70)}, None)
    healthy = counts(0, {0.3: (100, 0)}, None)
    assert choose_threshold([first, second, healthy]) == 0.3


def test_a_threshold_at_which_healthy_patients_have_infarcts_is_passed_over():
    """1.6 ml in two of ten healthy patients at .3: the ninth of ten has more than 1 ml. In one of twenty it may be."""
    infarct = counts(100, {0.3: (100, 100), 0.5: (100, 70)}, None)
    healthy, wrong = counts(0, {0.3: (0, 0)}, None), counts(0, {0.3: (200, 0)}, None)
    assert choose_threshold([infarct, *[healthy] * 8, wrong, wrong]) == 0.5
    assert choose_threshold([infarct, *[healthy] * 19, wrong]) == 0.3
    everywhere = counts(0, 200, 0)
    assert choose_threshold([infarct, everywhere]) == 0.9  # the highest, if all are too low


def test_of_equal_thresholds_the_nearest_to_a_half_is_taken():
    assert choose_threshold([counts(100, 80, 60)]) == 0.5
    assert choose_threshold([counts(100, {0.2: (80, 60), 0.4: (80, 60), 0.9: (80, 60)}, None)]) == 0.4
    assert choose_threshold([counts(0, 5, 0)]) == 0.5
    assert choose_threshold([]) == 0.5


def test_an_unknown_threshold_is_refused():
    with pytest.raises(ValueError, match=r"threshold must be one of 0\.1, 0\.15, .*, got 0\.33"):
        judged_at([], 0.33)


def test_metrics_are_medians_by_stratum_with_n():
    judged = [
        Judged(1.0, 1.5, 0.5, 0.7),
        Judged(2.0, 1.0, 0.7, 0.1),
        Judged(20.0, 26.0, 0.9, 3.0),
        Judged(0, 0.4, 0, 0.4),
    ]
    rows = {(one.stratum, one.metric): one for one in metrics_of(judged)}
    assert (rows[EVERYONE, "dice"].n, rows[EVERYONE, "dice"].median) == (3, 0.7)
    assert rows[EVERYONE, "volume_error_ml"].median == 0.5
    assert (rows[STRATA[0], "dice"].n, rows[STRATA[0], "dice"].median) == (2, pytest.approx(0.6))
    assert (rows[STRATA[1], "dice"].n, rows[STRATA[1], "dice"].median, rows[STRATA[1], "dice"].lower) == (0, None, None)
    assert (rows[STRATA[2], "false_ml"].n, rows[STRATA[2], "false_ml"].lower) == (1, None)
    assert (rows[NO_INFARCT, "false_ml"].n, rows[NO_INFARCT, "false_ml"].median) == (1, 0.4)
    assert (NO_INFARCT, "dice") not in rows


def test_the_interval_is_that_of_scipy():
    from scipy import stats

    values = np.random.default_rng(1).normal(0.8, 0.1, 40)
    lower, upper = bootstrap_median(values, seed=4)
    reference = stats.bootstrap(
        (values,), np.median, n_resamples=20000, method="percentile", rng=np.random.default_rng(0)
    )
    assert lower == pytest.approx(reference.confidence_interval.low, abs=0.01)
    assert upper == pytest.approx(reference.confidence_interval.high, abs=0.01)
    assert bootstrap_median(values, seed=4) == (lower, upper)
    assert bootstrap_median(np.ones(9)) == (None, None)  # no width: no sample is certain
    assert bootstrap_median(np.array([1.0])) == (None, None)


def test_regions_are_judged_together_and_what_is_ignored_not_at_all(monkeypatch, tmp_path):
    """Four voxels of regions 1, 1, 2 and ignored; 1 is found once rightly, 2 rightly and once at 1: 2 x 2 / (3 + 3)."""
    labels = np.array([[[1, 1, 2, IGNORED]]], np.uint8)
    shares = np.array([[[[0.9, 0.2, 0.3, 0.9]]], [[[0.1, 0.8, 0.7, 0.9]]]], np.float32)
    task = SimpleNamespace(foreground=(1, 2), labels=lambda _: labels)
    monkeypatch.setattr(judging, "read_patient", lambda _: None)
    monkeypatch.setattr(judging, "foreground_probabilities", lambda *_: shares)
    (counted,) = judging.count_patients(None, task, [tmp_path])
    assert (counted.n_true, counted.n_found[HALF], counted.n_hit[HALF]) == (3, 3, 2)
    assert counted.dice[HALF] == pytest.approx(2 * 2 / 6)


def test_regions_are_judged_over_everybody():
    judged = [Judged(300.0, 310.0, dice, 20.0) for dice in (0.7, 0.8, 0.9)]
    rows = metrics_of(judged, is_lesion=False)
    assert [(one.stratum, one.metric, one.n) for one in rows] == [
        ("all", name, 3) for name in ("dice", "volume_error_ml", "false_ml")
    ]
    assert [one.median for one in rows] == pytest.approx([0.8, 10.0, 20.0])
