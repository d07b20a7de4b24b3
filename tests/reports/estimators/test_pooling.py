"""Random effects against the BCG trials as R's metafor and Stata give them; leave one out; degenerate sites."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects

from reports.estimators.pooling import SiteEstimate, leave_one_site_out, pool

# Colditz GA et al. (1994), JAMA 271:698-702: tuberculosis with and without in vaccinated, then in not vaccinated
BCG = (
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
    (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
    (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
)  # fmt: skip


def trials() -> list[SiteEstimate]:
    """Log risk ratios of the thirteen trials."""
    sites = []
    for at, (a, b, c, d) in enumerate(BCG):
        error = math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
        sites.append(SiteEstimate(f"trial {at + 1}", math.log(a / (a + b) / (c / (c + d))), error, a + b + c + d))
    return sites


def test_bcg_trials_equal_metafor_and_stata() -> None:
    """R's metafor, rma(method="DL") of dat.bcg, its tests against Stata: -.7141, Q 152.2330, I2 92.12 %, tau2 .3088.

    Prediction by t on 11 degrees of freedom: -.7141 +- 2.201 sqrt(.3088 + .1807^2), se by Knapp-Hartung.
    """
    result = pool(trials(), between="dersimonian_laird")
    assert round(result.estimate, 4) == -0.7141
    assert (round(result.q, 4), round(result.tau_squared, 4)) == (152.2330, 0.3088)
    assert round(100 * result.i_squared, 2) == 92.12
    assert result.heterogeneity_p < 1e-20
    predicted = result.prediction_interval()
    half = 2.200985 * math.sqrt(0.30876 + 0.180697**2)
    assert (predicted.lower, predicted.upper) == pytest.approx((-0.714117 - half, -0.714117 + half), abs=1e-4)


def test_knapp_hartung_equals_statsmodels() -> None:
    sites = trials()
    effects, errors = np.array([(one.estimate, one.standard_error) for one in sites]).T
    theirs = combine_effects(effects, errors**2, method_re="iterated", use_t=True)
    ours = pool(sites)
    assert (ours.estimate, ours.tau_squared) == pytest.approx((theirs.mean_effect_re, theirs.tau2), rel=1e-6)
    assert ours.standard_error == pytest.approx(math.sqrt(theirs.var_hksj_re), rel=1e-6)  # above the usual one here
    low, high = theirs.conf_int(use_t=True)[3]  # random effects, scale estimated
    interval = ours.confidence_interval()
    assert (interval.lower, interval.upper) == pytest.approx((low, high), rel=1e-6)


def test_the_interval_is_never_narrower_than_the_usual_one() -> None:
    """Sites that agree better than chance: Knapp and Hartung alone would give an interval of almost no width."""
    sites = [SiteEstimate(name, 0.5 + shift, 0.1, 40) for name, shift in (("a", 0), ("b", 1e-4), ("c", -1e-4))]
    result = pool(sites)
    assert (result.tau_squared, result.i_squared) == (0, 0)
    assert result.standard_error == pytest.approx(0.1 / math.sqrt(3))


def test_shares_are_pooled_on_the_logit() -> None:
    """Two sites of equal weight, .8 and .5: the middle of their logits 1.3863 and 0 is .6667."""
    sites = [
        SiteEstimate("a", 0.8, 0.4 * 0.16, 30),
        SiteEstimate("b", 0.5, 0.4 * 0.25, 30),
    ]
    result = pool(sites, scale="logit")
    assert result.estimate == pytest.approx(2 / 3)
    interval = result.confidence_interval()
    assert 0 < interval.lower < result.estimate < interval.upper < 1
    assert "2 sites, at least 3" in result.prediction_interval().method


def test_leaving_one_out_finds_the_odd_site() -> None:
    sites = [SiteEstimate(name, value, 0.05, 50) for name, value in (("a", 0.80), ("b", 0.81), ("c", 0.79), ("d", 0.4))]
    without = leave_one_site_out(sites)
    assert list(without) == ["a", "b", "c", "d"]
    assert without["d"].estimate == pytest.approx(0.8)
    assert without["d"].i_squared == 0
    assert without["a"].i_squared > 0.9


def test_sites_that_cannot_be_pooled_are_named() -> None:
    sites = [
        SiteEstimate("perfect", 1.0, 0.0, 9),
        SiteEstimate("none", math.nan, math.nan, 0),
        SiteEstimate("edge", 1.0, 0.1, 9),
        SiteEstimate("a", 0.8, 0.1, 20),
        SiteEstimate("b", 0.7, 0.1, 20),
    ]
    result = pool(sites, scale="logit")
    assert (result.n_sites, result.n, result.left_out) == (2, 40, ("perfect", "none", "edge"))
    alone = pool(sites[:4], scale="logit")
    assert "1 site with an estimate" in (alone.reason or "")
    assert math.isnan(alone.confidence_interval().lower)
    assert math.isnan(alone.i_squared)
    assert math.isnan(pool([]).estimate)


def test_fisher_z_keeps_within_one() -> None:
    sites = [SiteEstimate(name, value, 0.02, 30) for name, value in (("a", 0.95), ("b", 0.97), ("c", 0.5))]
    for interval in (
        pool(sites, scale="fisher_z").confidence_interval(),
        pool(sites, scale="fisher_z").prediction_interval(),
    ):
        assert -1 < interval.lower < interval.upper < 1


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="scale must be one of"):
        pool([], scale="log")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between must be one of"):
        pool([], between="reml")  # type: ignore[arg-type]
