"""Median of patients with its quartiles, and a bootstrap interval of the median.

The interval is the percentile one: the correction of BCa takes its acceleration from a jackknife, which for a median
jumps between the two middle values and does not estimate it (Efron and Tibshirani 1993, An Introduction to the
Bootstrap, section 11.6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reports.estimators.estimate import Interval, checked_level, checked_vector, not_estimable, resample_blocks
from tasks.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Median:
    """Median and quartiles (linear interpolation) of ``n`` patients; NaN with a reason where there is none."""

    estimate: float
    q1: float
    q3: float
    n: int
    seed: int
    n_resamples: int
    values: FloatArray = field(repr=False)
    reason: str | None = None

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Percentile interval over resampled patients; not estimable for one patient, or where all are alike."""
        checked_level(level)
        name = f"median, bootstrap percentile, {self.n_resamples} resamples"
        if self.n < 2:
            return not_estimable(name, level, self.reason or "1 patient, at least 2 are needed")
        rng = np.random.default_rng(self.seed)
        medians = np.concatenate(
            [
                np.median(self.values[rng.integers(self.n, size=(block, self.n))], axis=1)
                for block in resample_blocks(self.n_resamples, self.n)
            ]
        )
        lower, upper = np.quantile(medians, ((1 - level) / 2, (1 + level) / 2))
        if lower == upper:
            return not_estimable(name, level, "the resamples have one median")
        return Interval(float(lower), float(upper), level, name)


def median(*, values: npt.ArrayLike, seed: int = 0, n_resamples: int = 2000) -> Median:
    """Median of one value per patient.

    Parameters
    ----------
    values : (n,) finite array
    seed, n_resamples : of the bootstrap
    """
    vector = checked_vector("values", values)
    if not vector.size:
        return Median(math.nan, math.nan, math.nan, 0, seed, n_resamples, vector, "no value")
    q1, middle, q3 = np.quantile(vector, (0.25, 0.5, 0.75))
    return Median(float(middle), float(q1), float(q3), int(vector.size), seed, n_resamples, vector)
