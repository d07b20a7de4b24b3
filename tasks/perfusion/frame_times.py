"""Times of the frames of a dynamic scan: clocks that wrapped are unwrapped, and gaps are measured.

A clock *wraps* when it starts again: at midnight, after twelve hours, at a full hour or minute where an anonymiser cut
the rest off, or when a counter of so many bits is full. Its frames then seem to come first, or a day late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.arrays import FloatArray

#: What clocks count to, s: a day, half of one, an hour, a minute, and counters of milliseconds of 12 to 36 bits.
WRAPS_S = (86400.0, 43200.0, 3600.0, 60.0, *(2.0**n_bits / 1000 for n_bits in range(12, 37)))
#: What is lost during a pause cannot be computed: the widest late phases of perfusion protocols are 15 s apart, and the
#: first pass of a bolus is over in 10 to 15 s. s.
LONGEST_GAP_S = 15.0
#: A step that wrapped may differ from the usual one by this share of it.
STEP_TOLERANCE = 0.5
#: Frames are lost where a gap is so many times the steps on both of its sides, which are alike.
LOST_RATIO = 1.6


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """Times in the order given, and what the clock counted to; NaN where it did not wrap."""

    times_s: FloatArray
    wrap_s: float


def unwrapped(times_s: FloatArray, *, is_absolute: bool = False) -> Unwrapped:
    """Undo the wrap of a clock.

    Parameters
    ----------
    times_s : (T,) array, s, in the order in which the frames were recorded where that is known
    is_absolute : whether they are as the clock showed them, so that none lies beyond its end

    Returns
    -------
    Unwrapped; the times as they are where no known clock explains them better.

    Examples
    --------
    >>> unwrapped(np.array([58.0, 60.0, 62.0, 64.0, 0.464, 2.464])).times_s.round(3).tolist()
    [58.0, 60.0, 62.0, 64.0, 66.0, 68.0]
    """
    if len(times_s) < 3 or not np.isfinite(times_s).all():
        return Unwrapped(times_s, np.nan)
    if np.median(np.diff(times_s)) < 0:  # counted from the last one
        back = unwrapped(times_s[::-1], is_absolute=is_absolute)
        return Unwrapped(back.times_s[::-1], back.wrap_s)
    wraps = [wrap for wrap in WRAPS_S if not is_absolute or len(set(np.floor(times_s / wrap))) == 1]
    return _along_the_record(times_s, wraps) or _around_the_clock(times_s, wraps) or Unwrapped(times_s, np.nan)


def _along_the_record(times_s: FloatArray, wraps_s: Sequence[float]) -> Unwrapped | None:
    """Steps back that one clock makes steps like the others; None where there are none, or one is not explained."""
    steps = np.diff(times_s)
    is_back = steps < 0
    if not is_back.any() or is_back.sum() > len(steps) / 4:
        return None
    usual = float(np.median(steps[~is_back]))
    for wrap in wraps_s:
        if np.ptp(times_s) < wrap and (np.abs(steps[is_back] + wrap - usual) <= STEP_TOLERANCE * usual).all():
            return Unwrapped(times_s + np.concatenate([[0.0], np.cumsum(is_back * wrap)]), wrap)
    return None


def _around_the_clock(times_s: FloatArray, wraps_s: Sequence[float]) -> Unwrapped | None:
    """A pause of nearly the whole clock is where the series began and ended: what comes after it was first."""
    ordered = np.sort(times_s)
    steps = np.diff(ordered)
    usual, widest = float(np.median(steps)), int(steps.argmax())
    for wrap in wraps_s:
        is_pause = usual > 0 and steps[widest] > max(LONGEST_GAP_S, wrap / 2)
        rest = wrap - (ordered[-1] - ordered[0])
        if is_pause and abs(rest - usual) <= STEP_TOLERANCE * usual:
            return Unwrapped(np.where(times_s > ordered[widest], times_s - wrap, times_s), wrap)
    return None


def n_lost_frames(times_s: FloatArray) -> int:
    """How many frames are missing inside a series, by gaps between steps that are alike.

    Parameters
    ----------
    times_s : (T,) increasing times

    Examples
    --------
    >>> n_lost_frames(np.array([0.0, 2.0, 4.0, 10.0, 12.0, 14.0])), n_lost_frames(np.array([0.0, 1.0, 2.0, 5.0, 8.0]))
    (2, 0)
    """
    steps = np.diff(times_s)
    before, here, after = steps[:-2], steps[1:-1], steps[2:]
    usual = np.maximum(before, after)
    is_alike = usual <= (1 + STEP_TOLERANCE) * np.minimum(before, after)
    is_gap = is_alike & (here >= LOST_RATIO * usual)
    return int((np.round(here[is_gap] / usual[is_gap]) - 1).clip(min=1).sum())
