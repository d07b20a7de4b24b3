"""Numbers of published ASPECTS studies, re-derived from their counts.

They hold whatever the papers print, and each is a place where a paper's table contradicts itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.estimators.agreement import IntraclassCorrelation, MeanSquares, agreement_within
from reports.estimators.bland_altman import bland_altman
from reports.estimators.dichotomy import BinaryPerformance, dichotomy_performance
from reports.estimators.estimate import Proportion
from tasks.thresholds import Threshold

# Do et al. (2020), table 1: patients by DWI-ASPECTS 1..10
DO_SCORES = {
    "training": (1, 4, 5, 13, 35, 32, 48, 65, 39, 2),
    "validation": (0, 0, 2, 3, 12, 9, 14, 20, 14, 1),
    "test": (0, 3, 4, 7, 5, 12, 9, 19, 9, 3),
}


def test_fixture_1_do_2020_test_set() -> None:
    """The printed F1 .888 is that of the high scores, although low scores are the positive class."""
    table = BinaryPerformance(tp=26, fn=5, fp=4, tn=36)
    shares = {name: round(share.estimate, 3) for name, share in table.proportions().items()}
    assert (shares["sensitivity"], shares["specificity"], shares["accuracy"]) == (0.839, 0.900, 0.873)
    assert round(table.indices()["f1_positive"].estimate, 3) == 0.852
    # 72/81 = .8889: the paper cuts it to .888
    assert table.indices()["f1_negative"].estimate == pytest.approx(72 / 81)


def test_fixture_1_uncertainty() -> None:
    """Wilson intervals of the same table: sensitivity 67-93 %, specificity 77-96 %, accuracy 78-93 %."""
    shares = BinaryPerformance(tp=26, fn=5, fp=4, tn=36).proportions()
    percent = {
        name: (round(100 * share.confidence_interval().lower), round(100 * share.confidence_interval().upper))
        for name, share in shares.items()
    }
    assert (percent["sensitivity"], percent["specificity"], percent["accuracy"]) == ((67, 93), (77, 96), (78, 93))


@pytest.mark.parametrize(
    ("count", "percent"), [(58, 39.46), (62, 42.18), (54, 36.73), (113, 76.87), (102, 69.39), (112, 76.19)]
)
def test_fixture_2_deep_aspects_agreement_of_147(count: int, percent: float) -> None:
    """All six printed agreements are counts of 147 scans, not of the 150 that were read."""
    assert round(100 * Proportion(count, 147).estimate, 2) == percent
    # the same through pairs of scores: `count` patients differ by 0, the others by 3
    reference = np.full(147, 5)
    candidate = np.where(np.arange(147) < count, 5, 8)
    for tolerance in (0, 2):
        agreement = agreement_within(reference=reference, candidate=candidate, tolerance=tolerance)
        assert (agreement.count, agreement.n) == (count, 147)


def test_fixture_2_wilson_intervals() -> None:
    for count, expected in ((62, (34.5, 50.3)), (58, (31.9, 47.5))):
        interval = Proportion(count, 147).confidence_interval()
        assert (round(100 * interval.lower, 1), round(100 * interval.upper, 1)) == expected


def test_fixture_3_danet_above_six_in_the_independent_set() -> None:
    """The printed "AUC" is the balanced accuracy."""
    table = BinaryPerformance(tp=105, fn=5, fp=13, tn=84)
    shares = table.proportions()
    assert round(shares["sensitivity"].estimate, 3) == 0.955
    assert round(shares["specificity"].estimate, 3) == 0.866
    assert round(shares["accuracy"].estimate, 3) == 0.913
    assert (shares["accuracy"].count, shares["accuracy"].n) == (189, 207)
    # .91027 from the counts; .9105, hence .911, from the two rounded percentages
    assert table.balanced_accuracy().estimate == pytest.approx(0.911, abs=0.001)


def test_fixture_4_danet_bias_is_detectable() -> None:
    """Mean -.17 and limits -2.13..1.78 of 207 patients give p = .015, not the printed .28."""
    shape = stats.norm.ppf((np.arange(207) + 0.5) / 207)
    difference = -0.17 + 0.997 * (shape - shape.mean()) / shape.std(ddof=1)
    result = bland_altman(reference=np.zeros(207), candidate=difference)
    assert (round(result.t, 2), round(result.p, 3)) == (-2.45, 0.015)
    interval = result.confidence_interval()
    assert (round(interval.lower, 2), round(interval.upper, 2)) == (-0.31, -0.03)
    assert (result.loa_lower, result.loa_upper) == pytest.approx((-2.13, 1.78), abs=0.01)


def test_fixture_5_the_radiomics_interval_is_that_of_ten_patients() -> None:
    """ICC .86 (.56-.96) fits ten patients and two raters, not the ninety claimed."""
    bounds = {}
    for n in (10, 90):
        squares = MeanSquares(subjects=(1 + 0.86) / (1 - 0.86), raters=1, error=1, within=1)
        interval = IntraclassCorrelation("icc_c1", 0.86, n, 2, squares).confidence_interval()
        bounds[n] = interval.lower, interval.upper
    assert (round(bounds[10][0], 3), round(bounds[10][1], 3)) == (0.535, 0.963)
    assert (round(bounds[90][0], 3), round(bounds[90][1], 3)) == (0.795, 0.906)


def test_fixture_6_wei_flow_sums() -> None:
    shares = [Proportion(1372 - 788, 1372), Proportion(351 - 197, 351)]
    assert [share.count for share in shares] == [408 + 116 + 60, 154] == [584, 154]
    assert Proportion(390, 390 + 158 + 60).n == 608


def test_fixture_7_do_2020_groups() -> None:
    """Low is 1-6, high is 7-10: counted by the threshold itself."""
    low = Threshold("do_le6", 6, "le", "low", "Do 2020")
    counts = {name: np.repeat(np.arange(1, 11), rows) for name, rows in DO_SCORES.items()}
    assert {name: values.size for name, values in counts.items()} == {"training": 244, "validation": 75, "test": 71}
    everyone = np.concatenate(list(counts.values()))
    assert (int(low.is_positive(everyone).sum()), int((~low.is_positive(everyone)).sum())) == (147, 243)
    test = counts["test"]
    assert int(low.is_positive(test).sum()) == 31  # the 31 positives of fixture 1
    perfect = dichotomy_performance(reference=low.is_positive(test), candidate=test, threshold=low)
    assert perfect.counts() == {"tp": 31, "fn": 0, "fp": 0, "tn": 40}
