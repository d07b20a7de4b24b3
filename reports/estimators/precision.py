"""What width of an interval a number of patients buys, and how many a wanted width would need.

Said before a study it is its size; said after it, it is what the patients were enough for. Power of a test that has
been made says nothing beyond its p value and is not given.

References
----------
Bonett DG (2002). Statistics in Medicine 21:1331-1335 (ICC). Hanley JA, McNeil BJ (1982). Radiology 143:29-36 (area).
Bland JM, Altman DG (1999). Stat Methods Med Res 8:135-160 (limits of agreement).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import stats

from reports.estimators.estimate import Proportion, checked_level

LARGEST_N = 10**7


def patients_for_icc(*, icc: float, width: float, n_raters: int = 2, level: float = 0.95) -> int:
    """Patients for an interval of an ICC of this width (Bonett 2002, equation 3).

    Examples
    --------
    >>> patients_for_icc(icc=0.8, width=0.2)
    51
    """
    _checked_width(width)
    if not -1 < icc < 1 or n_raters < 2:
        raise ValueError(f"icc must be within -1..1 and n_raters >= 2, got {icc} and {n_raters}.")
    k, z = n_raters, _z(level)
    n = 8 * z**2 * (1 - icc) ** 2 * (1 + (k - 1) * icc) ** 2 / (k * (k - 1) * width**2) + 1
    return math.ceil(n)


def patients_for_share(*, share: float, width: float, level: float = 0.95) -> int:
    """Least denominator whose Wilson interval is no wider, for an expected share.

    Examples
    --------
    >>> patients_for_share(share=0.8, width=0.2)
    60
    """
    _checked_width(width)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be within 0..1, got {share}.")
    return _least(lambda n: _wilson_width(share, n, level) <= width, 1, width)


def patients_for_area(*, auc: float, width: float, prevalence: float, level: float = 0.95) -> int:
    """Patients for an interval of an area under the curve of this width (Hanley & McNeil 1982)."""
    _checked_width(width)
    if not (0.5 <= auc < 1 and 0 < prevalence < 1):
        raise ValueError(f"auc must be within 0.5..1 and prevalence within 0..1, got {auc} and {prevalence}.")
    target = (width / (2 * _z(level))) ** 2
    return _least(lambda n: _area_variance(auc, prevalence, n) <= target, 2, width)


def _least(is_enough: Callable[[int], bool], too_few: int, width: float) -> int:
    """The least number above ``too_few`` that is enough, where every larger one is too: by doubling, then by halves."""
    low, high = too_few, 2 * too_few
    while not is_enough(high):
        low, high = high, 2 * high
        if high > LARGEST_N:
            raise ValueError(f"width must be reachable by {LARGEST_N} patients, got {width}.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def patients_for_limits(*, sd: float, width: float, level: float = 0.95) -> int:
    """Patients for intervals of the limits of agreement of this width: the limits' variance is about 3 SD^2 / n.

    Examples
    --------
    >>> patients_for_limits(sd=1.0, width=0.68)  # +-0.34 SD by 100 patients (Bland & Altman 1999)
    100
    """
    _checked_width(width)
    if not sd > 0:
        raise ValueError(f"sd must be > 0, got {sd}.")
    return math.ceil(3 * (2 * _z(level) * sd / width) ** 2)


def _checked_width(width: float) -> None:
    """Raise ValueError where a width is not one."""
    if not width > 0:
        raise ValueError(f"width must be > 0, got {width}. Give the whole width, lower to upper limit.")


def _z(level: float) -> float:
    """Quantile of the normal distribution for a two-sided level."""
    return float(stats.norm.ppf((1 + checked_level(level)) / 2))


def _wilson_width(share: float, n: int, level: float) -> float:
    """Width of the Wilson interval of the nearest count."""
    interval = Proportion(round(share * n), n).confidence_interval(level)
    return interval.upper - interval.lower


def _area_variance(auc: float, prevalence: float, n: int) -> float:
    """Variance of an area of n patients (Hanley & McNeil 1982, equations 1 and 2)."""
    n_positive = max(round(prevalence * n), 1)
    n_negative = max(n - n_positive, 1)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return spread / (n_positive * n_negative)
