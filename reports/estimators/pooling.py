"""Estimates of several sites pooled by a random-effects model, how much the sites differ, and each left out in turn.

A pooled cohort hides that a method works at one hospital and not at another. The *interval* is of the mean over sites,
the *prediction interval* of a further site: where it is wide, the mean says little about the next hospital.

Sites are pooled on a scale on which their estimates are about normal, and given back on their own. The variance between
sites is that of Paule and Mandel, the interval that of Hartung, Knapp, Sidik and Jonkman, never narrower than the usual
one (modified Knapp-Hartung), because sites are few and of unequal size.

References
----------
Paule RC, Mandel J (1982). J Res Natl Bur Stand 87:377-385. Higgins JPT, Thompson SG (2002). Statistics in Medicine
21:1539-1558 (I2). Higgins JPT et al. (2009). JRSS A 172:137-159 (prediction interval). Roever C et al. (2015). BMC Med
Res Methodol 15:99, DOI 10.1186/s12874-015-0091-1 (modified Knapp-Hartung).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats
from statsmodels.stats.meta_analysis import combine_effects

from reports.estimators.estimate import Interval, checked_level, checked_option, not_estimable

Scale = Literal["identity", "logit", "fisher_z"]
BetweenSites = Literal["paule_mandel", "dersimonian_laird"]
_METHODS = {"paule_mandel": "pm", "dersimonian_laird": "dl"}
LEAST_SITES = 3  # a prediction interval has sites - 2 degrees of freedom


@dataclass(frozen=True)
class SiteEstimate:
    """What one site found: an estimate on its own scale, its standard error there, and its patients."""

    site: str
    estimate: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class Pooled:
    """A mean over ``n_sites`` sites of ``n`` patients in all.

    ``estimate`` is on the sites' own scale, ``standard_error`` and ``tau_squared`` (the variance between sites) on
    ``scale``. ``left_out`` are sites without an estimate or a standard error.
    """

    estimate: float
    standard_error: float
    tau_squared: float
    q: float
    n: int
    n_sites: int
    scale: Scale
    left_out: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def i_squared(self) -> float:
        """Share of the variance that is between sites, 0..1; NaN for one site."""
        if self.reason is not None:
            return math.nan
        return max(0.0, 1 - (self.n_sites - 1) / self.q) if self.q > 0 else 0.0

    @property
    def heterogeneity_p(self) -> float:
        """P of Cochran's Q: that all sites have one true value."""
        return math.nan if self.reason else float(stats.chi2.sf(self.q, self.n_sites - 1))

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Modified Knapp-Hartung interval of the mean over sites."""
        checked_level(level)
        if self.reason is not None:
            return not_estimable("Knapp-Hartung", level, self.reason)
        return self._around(self.standard_error, self.n_sites - 1, level, "Knapp-Hartung")

    def prediction_interval(self, level: float = 0.95) -> Interval:
        """Interval of the true value of a further site (Higgins et al. 2009), from three sites on."""
        checked_level(level)
        if self.reason is not None or self.n_sites < LEAST_SITES:
            reason = self.reason or f"{self.n_sites} sites, at least {LEAST_SITES} are needed"
            return not_estimable("prediction", level, reason)
        spread = math.sqrt(self.tau_squared + self.standard_error**2)
        return self._around(spread, self.n_sites - 2, level, "prediction")

    def _around(self, spread: float, df: int, level: float, name: str) -> Interval:
        """Student's t about the mean on the scale, given back on the sites' own."""
        middle = _to_scale(self.estimate, self.scale)
        half = float(stats.t.ppf((1 + level) / 2, df)) * spread
        lower, upper = (_from_scale(value, self.scale) for value in (middle - half, middle + half))
        return Interval(lower, upper, level, f"{name}, {self.scale.replace('_', ' ')} scale")


def pool(sites: Sequence[SiteEstimate], *, scale: Scale = "identity", between: BetweenSites = "paule_mandel") -> Pooled:
    """Pool the sites by random effects, with statsmodels.

    Parameters
    ----------
    sites : sequence of SiteEstimate
        Sites whose estimate or standard error is not defined, or lies at the edge of the scale, are left out and named.
    scale : {"identity", "logit", "fisher_z"}
        ``logit`` for shares and areas under the curve, ``fisher_z`` for correlations and ICC.
    between : {"paule_mandel", "dersimonian_laird"}

    Returns
    -------
    Pooled
        NaN with a reason for fewer than two sites.

    Examples
    --------
    >>> pooled = pool([SiteEstimate("a", 0.2, 0.1, 50), SiteEstimate("b", 0.4, 0.1, 50)])
    >>> round(pooled.estimate, 3), round(pooled.i_squared, 3)
    (0.3, 0.5)
    """
    checked_option("scale", scale, ("identity", "logit", "fisher_z"))
    checked_option("between", between, tuple(_METHODS))
    found = {one.site: _scaled(one, scale) for one in sites}
    kept = [one for one in sites if found[one.site] is not None]
    left_out = tuple(one.site for one in sites if found[one.site] is None)
    n = sum(one.n for one in kept)
    if len(kept) < 2:
        reason = f"{len(kept)} site with an estimate and its standard error, at least 2 are needed"
        nan = math.nan
        return Pooled(nan, nan, nan, nan, n, len(kept), scale, left_out, reason)
    effects, variances = np.array([found[one.site] for one in kept], dtype=np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):  # of a ratio that is not used, where all sites agree
        result = combine_effects(effects, variances, method_re=_METHODS[between])
    tau_squared = max(float(result.tau2), 0.0)
    weights = 1 / (variances + tau_squared)
    mean = float(weights @ effects / weights.sum())
    knapp_hartung = float(weights @ (effects - mean) ** 2 / (len(kept) - 1))
    error = math.sqrt(max(knapp_hartung, 1.0) / weights.sum())
    return Pooled(_from_scale(mean, scale), error, tau_squared, float(result.q), n, len(kept), scale, left_out)


def leave_one_site_out(sites: Sequence[SiteEstimate], *, scale: Scale = "identity") -> dict[str, Pooled]:
    """Pool the sites without each in turn: site left out -> the mean of the others."""
    return {one.site: pool([other for other in sites if other.site != one.site], scale=scale) for one in sites}


def _scaled(one: SiteEstimate, scale: Scale) -> tuple[float, float] | None:
    """Estimate and variance on the scale by the delta method, or None where they are not defined."""
    value, error = one.estimate, one.standard_error
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return None
    if scale == "identity":
        return value, error**2
    edges = (0.0, 1.0) if scale == "logit" else (-1.0, 1.0)
    if not edges[0] < value < edges[1]:
        return None
    slope = 1 / (value * (1 - value)) if scale == "logit" else 1 / (1 - value**2)
    return _to_scale(value, scale), (slope * error) ** 2


def _to_scale(value: float, scale: Scale) -> float:
    """A value on the scale."""
    if scale == "identity":
        return value
    return float(special.logit(value)) if scale == "logit" else math.atanh(value)


def _from_scale(value: float, scale: Scale) -> float:
    """A value of the scale on the sites' own."""
    if scale == "identity":
        return value
    return float(special.expit(value)) if scale == "logit" else math.tanh(value)
