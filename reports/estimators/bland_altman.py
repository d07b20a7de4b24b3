"""Differences of two sources in the unit of measurement: Bland-Altman limits and proportional bias.

Difference always means ``candidate - reference``: a positive bias says that the candidate reads higher.

References
----------
Bland JM, Altman DG (1986). Lancet 327:307-310. Exact limits: Carkeet A (2015). Optometry and Vision Science 92:e71-e80,
DOI 10.1097/OPX.0000000000000513.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import Interval, checked_level, checked_option, checked_pair, not_estimable
from tasks.arrays import FloatArray

LIMIT_FACTOR = 1.96  # standard deviations to a limit: Bland & Altman (1999), Stat Methods Med Res 8:135-160

ROUNDING = 1e-12  # relative; a shift of 0.3 on values of 100 varies by 1e-16 in floating point


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement, in the unit of the values; ``estimate`` is the bias.

    ``slope`` is that of the differences on the means of both values (proportional bias), with its two-sided p;
    ``t`` and ``p`` are the paired t test of no bias.
    """

    estimate: float
    sd: float
    n: int
    t: float
    p: float
    slope: float
    slope_standard_error: float
    slope_p: float
    limit_factor: float = LIMIT_FACTOR
    reason: str | None = None
    slope_reason: str | None = None

    @property
    def bias(self) -> float:
        """Mean of candidate - reference."""
        return self.estimate

    @property
    def loa_lower(self) -> float:
        """Lower limit of agreement, bias - limit_factor x SD."""
        return self.estimate - self.limit_factor * self.sd

    @property
    def loa_upper(self) -> float:
        """Upper limit of agreement, bias + limit_factor x SD."""
        return self.estimate + self.limit_factor * self.sd

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Interval of the bias by Student's t."""
        return _t_interval(self.estimate, self.sd / math.sqrt(self.n) if self.n else math.nan, self.n - 1, level)

    def limit_intervals(
        self, level: float = 0.95, method: Literal["exact", "approximate"] = "exact"
    ) -> tuple[Interval, Interval]:
        """Intervals of the lower and of the upper limit of agreement.

        ``exact`` (default) takes the noncentral t distribution (Carkeet 2015) and is asymmetric; ``approximate`` is
        limit +- t x sqrt(3 SD^2 / n) as printed by Bland & Altman (1986).
        """
        checked_option("method", method, ("exact", "approximate"))
        if not self.sd > 0:
            nowhere = not_estimable(method, level, self.reason or "the differences do not vary")
            return nowhere, nowhere
        tail = (1 - checked_level(level)) / 2
        error = self.sd / math.sqrt(self.n)
        if method == "approximate":
            margin = float(stats.t.ppf(1 - tail, self.n - 1)) * math.sqrt(3) * error
            return (
                Interval(self.loa_lower - margin, self.loa_lower + margin, level, "approximate"),
                Interval(self.loa_upper - margin, self.loa_upper + margin, level, "approximate"),
            )
        shift = self.limit_factor * math.sqrt(self.n)
        near, far = (float(q) for q in stats.nct.ppf((tail, 1 - tail), self.n - 1, shift))
        name = "exact (noncentral t)"
        return (
            Interval(self.bias - far * error, self.bias - near * error, level, name),
            Interval(self.bias + near * error, self.bias + far * error, level, name),
        )

    def slope_interval(self, level: float = 0.95) -> Interval:
        """Interval of the proportional-bias slope by Student's t."""
        if self.slope_reason is not None:
            return not_estimable("t", level, self.slope_reason)
        return _t_interval(self.slope, self.slope_standard_error, self.n - 2, level)


def bland_altman(
    *, reference: npt.ArrayLike, candidate: npt.ArrayLike, limit_factor: float = LIMIT_FACTOR
) -> BlandAltman:
    """Bland-Altman analysis of one value per patient and source.

    Parameters
    ----------
    reference, candidate : (n,) float arrays, finite, in one unit
    limit_factor : float
        Standard deviations from the bias to a limit; the paper of 1986 took 2.

    Returns
    -------
    BlandAltman
        SD and limits are NaN for n < 2; t and p are NaN where the differences do not vary; the slope is NaN for n < 3
        and where the means do not vary. The bias needs one patient only.

    Raises
    ------
    ValueError
        Lengths differ, a value is missing, or the factor is not positive.

    Examples
    --------
    >>> result = bland_altman(reference=[1, 2, 3, 4], candidate=[2, 2, 4, 6])
    >>> result.bias, round(result.sd, 4), round(result.t, 4)
    (1.0, 0.8165, 2.4495)
    """
    if not limit_factor > 0:
        raise ValueError(f"limit_factor must be > 0, got {limit_factor}.")
    first, second = checked_pair(reference, candidate)
    n = first.size
    difference, mean = second - first, (first + second) / 2
    bias = float(difference.mean()) if n else math.nan
    if n < 2:
        reason = f"{n} patients, at least 2 are needed"
        nan = math.nan
        return BlandAltman(bias, nan, n, nan, nan, nan, nan, nan, limit_factor, reason, reason)
    varies = _varies(difference, first)
    t, p = (float(value) for value in stats.ttest_1samp(difference, 0.0)) if varies else (math.nan, math.nan)
    slope, error, slope_p, slope_reason = math.nan, math.nan, math.nan, None
    if n < 3 or not np.ptp(mean) > 0 or not varies:
        slope_reason = "at least 3 patients with varying means and differences are needed"
    else:
        line = stats.linregress(mean, difference)
        slope, error, slope_p = float(line.slope), float(line.stderr), float(line.pvalue)
    return BlandAltman(
        estimate=bias,
        sd=float(difference.std(ddof=1)) if varies else 0.0,
        n=n,
        t=t,
        p=p,
        slope=slope,
        slope_standard_error=error,
        slope_p=slope_p,
        limit_factor=limit_factor,
        reason=None if varies else "the differences do not vary",
        slope_reason=slope_reason,
    )


def _varies(difference: FloatArray, values: FloatArray) -> bool:
    """Whether the differences vary by more than the rounding of the values they come from."""
    return bool(np.ptp(difference) > ROUNDING * np.max(np.abs(values)))


def _t_interval(estimate: float, standard_error: float, df: int, level: float) -> Interval:
    """Return estimate +- t x standard error."""
    checked_level(level)
    if not standard_error > 0:
        return not_estimable("t", level, "the standard error is zero or undefined")
    margin = float(stats.t.ppf((1 + level) / 2, df)) * standard_error
    return Interval(estimate - margin, estimate + margin, level, "t")
