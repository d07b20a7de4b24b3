"""Regions with patients as clusters: worked by hand, enumerated, and against statsmodels and DeLong."""

import math

import numpy as np
import pytest
import statsmodels.api as sm

from reports.estimators.calibration import calibration
from reports.estimators.clustered import clustered_auc, gee_share, region_table
from reports.estimators.discrimination import auc

NAN = math.nan
#: Two patients: TP 2, FN 1, FP 0, TN 1 and TP 1, FN 0, FP 1, TN 3, one region unjudged in each.
REFERENCE = [[1, 1, 1, 0, NAN], [1, 0, 0, 0, 0]]
CANDIDATE = [[1, 1, 0, 0, 1], [1, 1, 0, 0, 0]]


def test_indices_are_those_worked_by_hand():
    table = region_table(reference=REFERENCE, candidate=CANDIDATE, seed=1, n_resamples=200)
    assert table.totals == (3, 1, 1, 4)
    found = {name: one.estimate for name, one in table.indices().items()}
    assert found["sensitivity"] == 3 / 4
    assert found["specificity"] == 4 / 5
    assert found["balanced_accuracy"] == pytest.approx(0.775)
    assert found["kappa"] == pytest.approx((7 / 9 - 41 / 81) / (1 - 41 / 81))  # chance: (4 * 4 + 5 * 5) / 81
    assert table.n == 2


def test_the_bootstrap_draws_patients_with_all_their_regions():
    table = region_table(reference=REFERENCE, candidate=CANDIDATE, seed=3, n_resamples=4000)
    resampled = table.indices()["sensitivity"].resampled
    # both, the first twice, the second twice: 3/4, 4/6, 2/2 with chances 1/2, 1/4, 1/4
    values, counts = np.unique(resampled, return_counts=True)
    assert values.tolist() == [2 / 3, 3 / 4, 1]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    interval = table.indices()["sensitivity"].confidence_interval()
    assert (interval.lower, interval.upper) == (2 / 3, 1)


def test_what_has_one_class_only_says_so():
    table = region_table(reference=np.zeros((3, 4)), candidate=np.zeros((3, 4)), seed=1, n_resamples=100)
    found = table.indices()
    assert found["specificity"].estimate == 1
    assert "alike" in found["specificity"].confidence_interval().method
    assert math.isnan(found["sensitivity"].estimate)
    assert found["sensitivity"].reason == "no region is affected by the reference"
    assert "one class only" in found["kappa"].confidence_interval().method
    nobody = region_table(reference=np.full((2, 3), NAN), candidate=np.zeros((2, 3)), seed=1, n_resamples=100)
    assert nobody.n == 0
    assert math.isnan(nobody.indices()["specificity"].estimate)
    with pytest.raises(ValueError, match=r"must be 1, 0 or NaN"):
        region_table(reference=[[0.5]], candidate=[[1]], seed=1)


def _by_statsmodels(hits, sizes, how):
    values = np.concatenate([np.arange(size) < hit for hit, size in zip(hits, sizes, strict=True)]).astype(float)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    model = sm.GEE(values, np.ones((len(values), 1)), groups, family=sm.families.Binomial(),
                   cov_struct=sm.cov_struct.Exchangeable())  # fmt: skip
    fit = model.fit(cov_type=how, ctol=1e-12, maxiter=200)
    return float(fit.params[0]), float(fit.bse[0]), float(model.cov_struct.dep_params)


@pytest.mark.parametrize("hits", [(3, 0, 2, 4, 1, 6), (1, 1, 2, 0, 3, 1), (4, 0, 0, 4, 0, 7)])
def test_gee_is_that_of_statsmodels(hits):
    sizes = (4, 1, 2, 4, 3, 7)
    found = gee_share(hits=hits, sizes=sizes)
    logit, error, correlation = _by_statsmodels(hits, sizes, "bias_reduced")
    assert found.correlation == pytest.approx(correlation, abs=1e-6)
    assert found.logit == pytest.approx(logit, abs=1e-6)
    assert found.standard_error == pytest.approx(error, rel=1e-5)


def test_gee_of_patients_of_one_size_is_the_plain_share_with_a_variance_by_hand():
    hits, sizes = np.array([3, 0, 2, 4, 1]), np.array([4, 4, 4, 4, 4])
    found = gee_share(hits=hits, sizes=sizes)
    assert found.estimate == pytest.approx(10 / 20)
    deviations = hits - 2.0
    robust = math.sqrt(float(deviations @ deviations)) / (20 * 0.25)
    assert found.standard_error == pytest.approx(robust * 5 / 4)  # bias reduction: n / (n - 1)
    assert gee_share(hits=[2, 3], sizes=[2, 3]).reason == "all regions are alike"
    assert gee_share(hits=[1, 0], sizes=[2, 0]).reason == "1 patients, at least 2 are needed"


def test_an_area_whose_patients_have_one_region_each_is_that_of_delong_but_for_the_shares():
    rng = np.random.default_rng(5)
    truth = np.arange(60) % 3 == 0
    values = rng.normal(size=60) + truth
    plain = auc(reference=truth, candidate=values, positive_when="high")
    found = clustered_auc(reference=truth, candidate=values, patients=np.arange(60))
    assert found.estimate == plain.estimate
    assert found.standard_error == pytest.approx(math.sqrt(plain.variance))  # S11 is 0: nobody has both classes
    twice = clustered_auc(reference=np.tile(truth, 2), candidate=np.tile(values, 2), patients=np.tile(np.arange(60), 2))
    assert twice.estimate == pytest.approx(plain.estimate)
    assert twice.standard_error == pytest.approx(found.standard_error)  # the same regions again tell nothing new
    low = clustered_auc(reference=truth, candidate=-values, patients=np.arange(60), positive_when="low")
    assert low.estimate == pytest.approx(plain.estimate)


def test_obuchowskis_variance_by_hand():
    # patient 0 has a positive of 2 and a negative of 1, patient 1 a positive of 3 and a negative of 2.5
    found = clustered_auc(reference=[1, 0, 1, 0], candidate=[2, 1, 3, 2.5], patients=[0, 0, 1, 1])
    assert found.estimate == 0.75
    # components: positives 1/2 and 1, negatives 1 and 1/2; less the area, by patient: -1/4, 1/4 and 1/4, -1/4
    s10 = s01 = 2 / (1 * 2) * (2 / 16)
    s11 = 2 / 1 * (-2 / 16)
    assert s10 / 2 + s01 / 2 + 2 * s11 / 4 == 0  # what one patient lacks in the one class it has in the other
    assert math.isnan(found.standard_error)
    assert "standard error is zero or undefined" in found.confidence_interval().method


def test_the_area_resampled_holds_what_every_resample_of_two_patients_gives():
    found = clustered_auc(
        reference=[1, 0, 1, 0], candidate=[2, 1, 3, 2.5], patients=[0, 0, 1, 1], seed=2, n_resamples=500
    )
    assert set(found.bootstrap().resampled.tolist()) == {0.75, 1.0}  # one patient twice: its own pair is right
    empty = clustered_auc(reference=[0, 0], candidate=[1, 2], patients=[0, 1])
    assert empty.reason == "regions of both classes are needed, got 0 affected of 2"
    assert "both classes" in empty.bootstrap().confidence_interval().method


def test_calibration_of_regions_repeated_is_as_sure_as_once():
    rng = np.random.default_rng(4)
    chance = rng.uniform(0.05, 0.95, 80)
    happened = rng.random(80) < chance
    once = calibration(reference=happened, probability=chance, patients=np.arange(80))
    thrice = calibration(
        reference=np.tile(happened, 3), probability=np.tile(chance, 3), patients=np.tile(np.arange(80), 3)
    )
    for name in ("intercept", "slope", "brier"):
        first, second = getattr(once, name), getattr(thrice, name)
        assert second.estimate == pytest.approx(first.estimate)
        assert second.standard_error == pytest.approx(first.standard_error, rel=0.006)  # (nobs - 1) / (nobs - k)
        assert first.n == second.n == 80
    plain = calibration(reference=happened, probability=chance)
    assert once.brier.standard_error == pytest.approx(plain.brier.standard_error)
    assert plain.slope.standard_error == pytest.approx(once.slope.standard_error, rel=0.25)  # robust against model
    with pytest.raises(ValueError, match="patients must have 80 values"):
        calibration(reference=happened, probability=chance, patients=[1, 2])
