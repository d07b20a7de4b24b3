"""Obuchowski-Rockette against the printed analysis of the Van Dyke study; DeLong's covariance against R's pROC."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.estimators.auc_covariance import auc_covariance, compare_independent_aucs
from reports.estimators.discrimination import compare_aucs
from reports.estimators.multi_reader import compare_treatments, reader_mean
from tests.reports.estimators.test_discrimination import cohort, delong_by_definition
from tests.reports.estimators.van_dyke import CONDITION, RATINGS

# OR-DBM MRMC 2.51 (University of Iowa), VanDyke.lrc, trapezoidal area, jackknife, printed to 8 and 5 decimals
AREAS = [
    [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
    [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
]


def van_dyke(method: str = "jackknife") -> tuple[np.ndarray, np.ndarray]:
    """(2, 5) areas and their (10, 10) covariance."""
    found = auc_covariance(
        reference=CONDITION, candidates=RATINGS.reshape(10, -1).T, positive_when="high", method=method
    )
    return found.estimates.reshape(2, 5), found.covariance


def test_van_dyke_areas_and_components_as_printed() -> None:
    areas, covariance = van_dyke()
    assert areas == pytest.approx(np.array(AREAS), abs=5e-9)
    result = compare_treatments(estimates=areas, covariance=covariance, n=114)
    assert result.mean_squares == pytest.approx((0.00479617, 0.00383620, 0.00055103), abs=5e-9)
    parts = result.components
    assert (parts.variance, parts.cov1, parts.cov2, parts.cov3) == pytest.approx(
        (0.00080229, 0.00034661, 0.00034407, 0.00023903), abs=5e-9
    )


@pytest.mark.parametrize(
    ("inference", "statistic", "df", "p", "error", "limits"),
    [
        # printed: analysis 1, F 4.46 (1, 15.26); analysis 2, chi-square 5.47595 (1); analysis 3, F 8.70 (1, 4)
        ("readers_and_cases", 4.46, 15.26, 0.0517, 0.02075, (-0.08796, 0.00036)),
        ("cases", 5.47595, math.inf, 0.0193, 0.01872, (-0.08049, -0.00711)),
        ("readers", 8.70, 4, 0.0420, 0.01485, (-0.08502, -0.00258)),
    ],
)
def test_van_dyke_difference_as_printed(inference, statistic, df, p, error, limits) -> None:
    areas, covariance = van_dyke()
    result = compare_treatments(estimates=areas, covariance=covariance, n=114, inference=inference)
    assert result.estimate == pytest.approx(statistic, abs=5e-3 if inference != "cases" else 5e-6)
    assert result.df_error == pytest.approx(df, abs=5e-3)
    assert result.p == pytest.approx(p, abs=5e-5)
    difference = result.differences[0, 1]
    assert (difference.estimate, difference.standard_error) == pytest.approx((-0.04380, error), abs=5e-6)
    assert difference.p == pytest.approx(p, abs=5e-5)
    interval = difference.confidence_interval()
    assert (interval.lower, interval.upper) == pytest.approx(limits, abs=5e-6)


@pytest.mark.parametrize(
    ("treatment", "error", "df", "limits"),
    [(0, 0.03317360, 12.74, (0.82522360, 0.96885048)), (1, 0.02156637, 12.71, (0.89413783, 0.98753689))],
)
def test_van_dyke_single_treatment_as_printed(treatment, error, df, limits) -> None:
    areas, covariance = van_dyke()
    block = slice(5 * treatment, 5 * treatment + 5)
    result = reader_mean(estimates=areas[treatment], covariance=covariance[block, block], n=114)
    assert result.standard_error == pytest.approx(error, abs=5e-9)
    assert result.df == pytest.approx(df, abs=5e-3)
    interval = result.confidence_interval()
    assert (interval.lower, interval.upper) == pytest.approx(limits, abs=1e-7)


def test_delong_and_jackknife_are_near() -> None:
    """114 cases: the jackknife's covariances are those of DeLong but for terms of order 1/n."""
    assert van_dyke("delong")[1] == pytest.approx(van_dyke("jackknife")[1], rel=0.05, abs=2e-6)


def test_covariance_equals_the_definition_and_the_paired_test() -> None:
    condition, first, second = cohort(60, seed=4)
    found = auc_covariance(reference=condition, candidates=np.column_stack([first, second]), positive_when="high")
    areas, covariance = delong_by_definition(condition, first, second)
    assert found.estimates == pytest.approx(areas)
    assert found.covariance == pytest.approx(covariance)
    paired = compare_aucs(
        reference=condition, candidate_a=first, candidate_b=second, positive_when_a="high", positive_when_b="high"
    )
    contrast = np.array([1, -1])
    assert contrast @ found.covariance @ contrast == pytest.approx(paired.standard_error**2)


def test_jackknife_equals_leaving_out_each_patient() -> None:
    condition, first, second = cohort(25, seed=8)
    markers = np.column_stack([first, second])
    found = auc_covariance(reference=condition, candidates=markers, positive_when="high", method="jackknife")
    without = np.array(
        [
            auc_covariance(
                reference=np.delete(condition, at), candidates=np.delete(markers, at, axis=0), positive_when="high"
            ).estimates
            for at in range(25)
        ]
    )
    assert found.covariance == pytest.approx(24 * 24 / 25 * np.cov(without.T))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("first", "second", "t", "p"),
    [  # R's pROC, tests/testthat/test-roc.test.R, paired = FALSE
        ("wfns", "s100b", 1.43490640926908, 0.152825378808796),
        ("wfns", "ndka", 3.10125096778969, 0.00220950791756457),
        ("ndka", "s100b", -1.55995743389685, 0.120192832430845),
    ],
)
def test_unpaired_delong_equals_proc(real_data: Path, first: str, second: str, t: float, p: float) -> None:
    reference = json.loads((real_data / "stats" / "reference.json").read_text())["delong_aSAH"]
    table = pd.read_csv(real_data / "stats" / reference["file"])
    poor = table["outcome"] == "Poor"
    result = compare_independent_aucs(
        reference_a=poor, candidate_a=table[first], reference_b=poor, candidate_b=table[second],
        positive_when_a="high", positive_when_b="high",
    )  # fmt: skip
    assert (result.t, result.p) == pytest.approx((t, p), rel=1e-10)
    interval = result.confidence_interval()
    assert (interval.lower + interval.upper) / 2 == pytest.approx(result.estimate)
    assert (interval.lower > 0) == (t > 0 and p < 0.05)


def test_a_machine_against_readers_is_the_mean_of_differences() -> None:
    """Shifting every reader's estimate by the machine's leaves the interval's width where the machine is certain."""
    areas, covariance = van_dyke()
    block = covariance[:5, :5]
    mean = reader_mean(estimates=areas[0], covariance=block, n=114)
    below = reader_mean(estimates=areas[0] - 0.9, covariance=block, n=114)
    assert below.standard_error == pytest.approx(mean.standard_error)
    assert below.estimate == pytest.approx(mean.estimate - 0.9)
    assert reader_mean(estimates=areas[0], covariance=block, n=114, null=0.9).p == pytest.approx(below.p)


def test_what_cannot_be_estimated_says_why() -> None:
    assert "at least 2" in (reader_mean(estimates=[0.9], covariance=[[0.1]], n=5).reason or "")
    gone = reader_mean(estimates=[0.9, math.nan], covariance=np.eye(2), n=5)
    assert "not defined" in (gone.reason or "")
    assert math.isnan(gone.confidence_interval().lower)
    same = compare_treatments(estimates=np.full((2, 2), 0.8), covariance=np.zeros((4, 4)), n=9)
    assert "do not vary" in (same.reason or "")
    assert math.isnan(same.differences[0, 1].confidence_interval().upper)
    one = auc_covariance(reference=[0, 0, 1], candidates=np.eye(3), positive_when="high")
    assert "at least 2 patients of each class" in (one.reason or "")
    alone = compare_independent_aucs(
        reference_a=[0, 1], candidate_a=[1, 2], reference_b=[0, 0], candidate_b=[1, 2],
        positive_when_a="high", positive_when_b="high",
    )  # fmt: skip
    assert "both classes are needed" in (alone.reason or "")


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="covariance must have shape"):
        compare_treatments(estimates=np.ones((2, 3)), covariance=np.eye(5), n=9)
    with pytest.raises(ValueError, match="at least 2 treatments"):
        compare_treatments(estimates=np.ones((1, 3)), covariance=np.eye(3), n=9)
    with pytest.raises(ValueError, match="inference must be one of"):
        compare_treatments(estimates=np.ones((2, 2)), covariance=np.eye(4), n=9, inference="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="candidates must have shape"):
        auc_covariance(reference=[0, 1], candidates=[1, 2], positive_when="high")
    with pytest.raises(ValueError, match="method must be one of delong, jackknife"):
        auc_covariance(reference=[0, 1], candidates=[[1], [2]], positive_when="high", method="hanley")  # type: ignore[arg-type]
