"""Claims about an estimate that were declared before: that it lies above, below or within a margin.

A p value above 0.05 of a difference shows nothing; here the null hypothesis is that the truth reaches the margin, and a
small p speaks against it. The p of a claim is one minus the level at which the estimate's own interval just touches
the margin, the larger one where there are two. So a claim holds at alpha exactly where the printed interval at level
1 - alpha lies on its right side, for every estimate that has an interval. It is two-sided: of a mean within a margin it
is twice the p of Schuirmann's two one-sided tests (TOST), which stop at the interval of level 1 - 2 alpha.

References
----------
Schuirmann DJ (1987). J Pharmacokinet Biopharm 15:657-680. Piaggio G et al. (2012). JAMA 308:2594-2604 (intervals of
non-inferiority and equivalence).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from reports.estimators.estimate import Interval

SMALLEST_P = 1e-9  # beyond it the tail of no approximation is believed
N_HALVINGS = 40  # of the level: p to 1e-12


def claim_p(
    interval_of: Callable[[float], Interval], *, estimate: float, low: float = -math.inf, high: float = math.inf
) -> float:
    """Two-sided p of the claim that the truth lies above ``low`` and below ``high``.

    Parameters
    ----------
    interval_of : callable
        Level -> the estimate's interval, wider for a higher level.
    estimate : float
    low, high : float
        Margins; an infinite one is not tested.

    Returns
    -------
    float
        1 where the estimate is not on the right side of a margin; NaN where it has no interval.

    Examples
    --------
    >>> from reports.estimators.estimate import wald_interval
    >>> p = claim_p(lambda level: wald_interval(0.0, 1.0, level, "Wald"), estimate=0.0, low=-1.959963984540054)
    >>> round(p, 6)
    0.05
    """
    if not low < high:
        raise ValueError(f"low must be < high, got {low} and {high}.")
    if math.isnan(estimate) or math.isnan(interval_of(0.95).lower):
        return math.nan
    found = []
    if math.isfinite(low):
        found.append(_edge_p(lambda level: interval_of(level).lower - low, is_inside=estimate > low))
    if math.isfinite(high):
        found.append(_edge_p(lambda level: high - interval_of(level).upper, is_inside=estimate < high))
    return max(found, default=math.nan)


def _edge_p(room: Callable[[float], float], *, is_inside: bool) -> float:
    """One minus the level at which the room between an interval and a margin is used up.

    Some intervals break down near level 0, where they would hold the estimate alone, and near 1; there is room at the
    one end, as the estimate is inside, and none at the other.
    """
    least, most = 0.0, 1 - SMALLEST_P
    if not is_inside:
        return 1.0
    if room(most) > 0:
        return SMALLEST_P
    for _ in range(N_HALVINGS):
        middle = (least + most) / 2
        left = room(middle)
        has_room = middle < 0.5 if math.isnan(left) else left > 0
        least, most = (middle, most) if has_room else (least, middle)
    return 1 - most
