"""When each frame of a dynamic series was taken, from the clocks that its header offers.

``AcquisitionTime`` advances from frame to frame, or stands still while ``TriggerTime`` counts (GE), or both advance and
must agree: two clocks that both advance are never added. Where neither speaks, an offset of the temporal position, a
declared interval, or at last ``ContentTime`` is used, and said to be. Clocks that wrapped are unwrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from cohorts.dicom.geometry import Fault
from cohorts.dicom.headers import Frame
from tasks.arrays import FloatArray, IntArray
from tasks.perfusion.frame_times import unwrapped
from tasks.perfusion.preparation import INTERVAL_LIMITS_S

#: Frames nearer than this in time have one time: clocks are written in ms or s, scanners take 300 ms a frame.
SAME_TIME_S = 0.02
#: Two clocks that are each rounded to whole seconds differ by up to this, however long the scan.
CLOCK_TOLERANCE_S = 1.0

ACQUISITION, TRIGGER, OFFSET, CONTENT = "acquisition", "trigger", "offset", "content"
_CLOCKS: Mapping[str, Callable[[Frame, datetime], float]] = {
    ACQUISITION: lambda frame, start: _since(frame.moment, start),
    TRIGGER: lambda frame, _: _or_nan(frame.trigger_s),
    OFFSET: lambda frame, _: _or_nan(frame.offset_s),
    CONTENT: lambda frame, start: _since(frame.content, start),
}


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """Times of the frames at every place, in their order.

    Attributes
    ----------
    order : (P, T) int array; which of a place's frames comes when
    seconds : (P, T) array, not decreasing along T
    faults, notes, numbers : what was repaired, and what else is to be known
    """

    order: IntArray
    seconds: FloatArray
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


def frame_times(places: Sequence[Sequence[Frame]]) -> FrameTimes | Fault:
    """Find the time of every frame.

    Parameters
    ----------
    places : the frames of every place, of the same number

    Returns
    -------
    FrameTimes; or the fault: ``frame_times_missing``, ``clocks_disagree``.
    """
    recorded = np.array([_as_recorded(place) for place in places])
    first = min((frame.moment for place in places for frame in place if frame.moment), default=datetime.min)
    start = first.replace(hour=0, minute=0, second=0, microsecond=0)
    clocks, wraps = {}, dict[str, float]()
    for name, read in _CLOCKS.items():
        written = np.array(
            [[read(place[at], start) for at in row] for place, row in zip(places, recorded, strict=True)]
        )
        rows = [unwrapped(row, is_absolute=True) for row in written]
        clocks[name] = np.array([row.times_s for row in rows])
        found = [row.wrap_s for row in rows if np.isfinite(row.wrap_s)]
        if found:
            wraps[name] = max(found)
    chosen = _chosen(clocks)
    if isinstance(chosen, Fault):
        return chosen
    names, seconds = chosen
    seconds = seconds - np.nanmin(seconds)
    sequence = np.argsort(seconds, axis=1, kind="stable")
    faults = tuple[Fault, ...]()
    if wrapped := [wraps[name] for name in names if name in wraps]:
        text = "the clock of a series must not start again, and was unwrapped"
        faults = (Fault("clock_wrapped", text, {"wrap_s": wrapped[0]}),)
    notes = () if names == (ACQUISITION,) else (f"times_from_{'_and_'.join(names)}",)
    return FrameTimes(
        np.take_along_axis(recorded, sequence, axis=1), np.take_along_axis(seconds, sequence, axis=1), faults, notes
    )


def times_missing(n_frames: int) -> Fault:
    """The fault of a series whose clocks all stand still or are absent."""
    text = "every frame of a dynamic series must have a later time than the one before"
    return Fault("frame_times_missing", text, {"n_frames": n_frames})


def _chosen(clocks: Mapping[str, FloatArray]) -> tuple[tuple[str, ...], FloatArray] | Fault:
    """The clock that counts the frames, with its name; or why there is none."""
    acquisition, trigger = clocks[ACQUISITION], clocks[TRIGGER]
    if advances(acquisition):
        for name in (TRIGGER, OFFSET):
            if advances(clocks[name]):
                if fault := _disagreement(acquisition, clocks[name], name):
                    return fault
                if _is_whole(acquisition) and not _is_whole(clocks[name]):
                    return (name,), clocks[name]
        return (ACQUISITION,), acquisition
    if stands_still(acquisition) or not np.isfinite(acquisition).all():
        for name in (TRIGGER, OFFSET):
            if advances(clocks[name]):
                return (name,), clocks[name]
        return _by_content(clocks)
    if advances(trigger):
        fault = _disagreement(acquisition, trigger, TRIGGER, block_starts(acquisition))
        return fault or ((TRIGGER,), trigger)
    if np.isfinite(trigger).all() and advances(within := acquisition + _since_block(acquisition, trigger)):
        return (ACQUISITION, TRIGGER), within
    if advances(clocks[OFFSET]):
        return (OFFSET,), clocks[OFFSET]
    if _n_repeated(acquisition) <= acquisition.shape[1] // 2:
        return (ACQUISITION,), acquisition  # some frames came twice
    return _by_content(clocks)


def _by_content(clocks: Mapping[str, FloatArray]) -> tuple[tuple[str, ...], FloatArray] | Fault:
    """Times of writing, where they look like times of scanning."""
    content = clocks[CONTENT]
    if advances(content):
        low, high = INTERVAL_LIMITS_S
        if low <= np.median(np.diff(np.sort(content, axis=1), axis=1)) <= high:
            return (CONTENT,), content
    return times_missing(content.shape[1])


def _disagreement(
    acquisition: FloatArray, other: FloatArray, name: str, is_compared: FloatArray | None = None
) -> Fault | None:
    """Two clocks that both advance, and not alike."""
    order = np.lexsort((other, acquisition), axis=1)
    mine, theirs = (np.take_along_axis(clock, order, axis=1) for clock in (acquisition, other))
    apart = np.abs((mine - mine[:, :1]) - (theirs - theirs[:, :1]))
    if is_compared is not None:
        apart = apart[np.take_along_axis(is_compared, order, axis=1).astype(bool)]
    if apart.max() <= CLOCK_TOLERANCE_S:
        return None
    numbers = {
        "acquisition_span_s": float(np.ptp(mine, axis=1).max()),
        f"{name}_span_s": float(np.ptp(theirs, axis=1).max()),
        "largest_difference_s": float(apart.max()),
    }
    text = f"two clocks that both advance must agree within {CLOCK_TOLERANCE_S:g} s: which is right is not known"
    return Fault("clocks_disagree", text, numbers)


def advances(clock: FloatArray) -> bool:
    """Whether every frame of a place has its own time."""
    return bool((np.diff(np.sort(clock, axis=1), axis=1) > SAME_TIME_S).all())  # False for NaN


def stands_still(clock: FloatArray) -> bool:
    """Whether all frames of a place have one time."""
    return bool((np.ptp(clock, axis=1) <= SAME_TIME_S).all())


def block_starts(clock: FloatArray) -> FloatArray:
    """1 where a clock that stands still in blocks begins one, in the order given."""
    return np.concatenate([np.ones((len(clock), 1)), np.abs(np.diff(clock, axis=1)) > SAME_TIME_S], axis=1)


def _since_block(acquisition: FloatArray, trigger: FloatArray) -> FloatArray:
    """Time by the trigger since the first frame of the same acquisition."""
    since = np.empty_like(trigger)
    for row, (blocks, times) in enumerate(zip(acquisition, trigger, strict=True)):
        for value in np.unique(blocks):
            since[row, blocks == value] = times[blocks == value] - times[blocks == value].min()
    return since


def _n_repeated(clock: FloatArray) -> int:
    """The largest number of frames of a place at a time that another one has."""
    return int((np.diff(np.sort(clock, axis=1), axis=1) <= SAME_TIME_S).sum(axis=1).max())


def _is_whole(clock: FloatArray) -> bool:
    """Whether a clock is written in whole seconds."""
    return bool((np.abs(clock - np.round(clock)) < 1e-6).all())


def _as_recorded(place: Sequence[Frame]) -> list[int]:
    """The order in which a scanner counted the frames of a place."""

    def count(at: int) -> tuple[int, int, int, int]:
        frame = place[at]
        return frame.temporal_position or 0, frame.acquisition or 0, frame.instance, frame.index

    return sorted(range(len(place)), key=count)


def _since(moment: datetime | None, start: datetime) -> float:
    """Seconds from one moment to another, NaN without the latter."""
    return np.nan if moment is None else (moment - start).total_seconds()


def _or_nan(value: float | None) -> float:
    """A number, NaN without one."""
    return np.nan if value is None else value
