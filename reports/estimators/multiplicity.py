"""Adjustment of one family of p values; a family is what one claim may pick its best p value from.

References
----------
Holm S (1979). Scand J Stat 6:65-70. Benjamini Y, Hochberg Y (1995). JRSS B 57:289-300.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.estimators.estimate import checked_option
from tasks.arrays import FloatArray

Correction = Literal["holm", "bh"]


@dataclass(frozen=True, eq=False)
class AdjustedP:
    """P values adjusted within one family; NaN stays NaN and does not count to ``family_size``."""

    raw: FloatArray
    adjusted: FloatArray
    correction: Correction
    family_size: int


def adjust_p_values(p_values: npt.ArrayLike, correction: Correction) -> AdjustedP:
    """Adjust one family of p values; equal to statsmodels' ``multipletests``, which collects garbage at every call.

    Parameters
    ----------
    p_values : (m,) float array in [0, 1]; NaN for a test that could not be made
    correction : {"holm", "bh"}
        Holm within a confirmatory family; Benjamini-Hochberg (false discovery rate) for maps.

    Examples
    --------
    >>> adjust_p_values([0.01, 0.04, 0.03], "holm").adjusted.tolist()
    [0.03, 0.06, 0.06]
    """
    checked_option("correction", correction, ("holm", "bh"))
    raw = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(raw)
    if raw.ndim != 1 or np.any((raw[tested] < 0) | (raw[tested] > 1)):
        raise ValueError(f"p_values must be one-dimensional and within 0..1, got shape {raw.shape}: {raw}.")
    adjusted = np.full(raw.size, math.nan)
    if tested.any():
        made = _holm if correction == "holm" else stats.false_discovery_control
        adjusted[tested] = made(raw[tested])
    return AdjustedP(raw, adjusted, correction, int(np.count_nonzero(tested)))


def _holm(p_values: FloatArray) -> FloatArray:
    """Holm 1979: the smallest by m, the next by m - 1, none below one before it."""
    order = np.argsort(p_values)
    stepped = p_values[order] * np.arange(p_values.size, 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted
