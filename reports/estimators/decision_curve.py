"""Decision curves: what acting on a test is worth, at each risk at which one would act.

*Net benefit* at a threshold risk p is the share of true positives less the share of false positives times the odds
p / (1 - p): at a threshold of 20 % one accepts four needless treatments for one that was needed. Compare it with
treating everybody and with treating nobody, whose net benefit is 0.

References
----------
Vickers AJ, Elkin EB (2006). Medical Decision Making 26:565-574. Interval: Marsh TL et al. (2020). Clinical Trials
17:42-50.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.estimators.estimate import Interval, checked_flags, checked_level, checked_vector, wald_interval


@dataclass(frozen=True)
class NetBenefit:
    """Net benefit per patient at a threshold risk, in true positives."""

    threshold: float
    estimate: float
    standard_error: float
    n: int
    n_positive: int
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Wald interval; net benefit is a mean over patients, each of whom counts 1, minus the odds, or 0."""
        return wald_interval(self.estimate, self.standard_error, checked_level(level), "Wald")


def net_benefit(*, reference: npt.ArrayLike, is_treated: npt.ArrayLike, threshold: float) -> NetBenefit:
    """Net benefit of treating those with ``is_treated``; all true is treating everybody.

    Parameters
    ----------
    reference : (n,) boolean array, true: the patient has the condition
    is_treated : (n,) boolean array
    threshold : float
        Risk at which one would act, above 0 and below 1.

    Examples
    --------
    >>> benefit = net_benefit(reference=[1, 1, 0, 0, 0], is_treated=[1, 0, 1, 0, 0], threshold=0.2)
    >>> round(benefit.estimate, 4)  # 1/5 - 1/5 * 0.25
    0.15
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be > 0 and < 1, got {threshold}. It is a risk, such as 0.2.")
    condition = checked_flags("reference", reference)
    treated = checked_flags("is_treated", is_treated, condition.size)
    n, n_positive = condition.size, int(np.count_nonzero(condition))
    if not n:
        return NetBenefit(threshold, math.nan, math.nan, 0, 0, "no patient")
    worth = treated * np.where(condition, 1.0, -threshold / (1 - threshold))
    error = float(worth.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return NetBenefit(threshold, float(worth.mean()), error, n, n_positive)


def decision_curve(
    *, reference: npt.ArrayLike, risk: npt.ArrayLike, thresholds: Sequence[float]
) -> tuple[NetBenefit, ...]:
    """Net benefit of treating those whose predicted risk reaches each threshold; (n,) arrays, risk within 0..1."""
    predicted = checked_vector("risk", risk)
    if np.any((predicted < 0) | (predicted > 1)):
        raise ValueError(f"risk must be within 0..1, got {predicted.min():g}..{predicted.max():g}.")
    return tuple(net_benefit(reference=reference, is_treated=predicted >= cut, threshold=cut) for cut in thresholds)
