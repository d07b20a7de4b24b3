"""A dynamic CT series: (X, Y, Z, T), its time axis checked, every slice at the time of its frame.

A *shuttle* takes the slices of one frame at different times, the table moving between. Each slice's course is then
read, by linear interpolation, at the time of its frame: without that one half of the brain seems to be perfused later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cohorts.dicom.clocks import SAME_TIME_S, FrameTimes, frame_times
from cohorts.dicom.geometry import Action, Fault, StackGeometry, StackRefusedError
from cohorts.dicom.headers import Frame
from cohorts.dicom.pixels import read_slices
from cohorts.dicom.resample import on_grid
from tasks.arrays import Affine, Float32Array, FloatArray, IntArray
from tasks.perfusion.frame_times import LONGEST_GAP_S, n_lost_frames
from tasks.perfusion.preparation import INTERVAL_LIMITS_S

LOWEST_HU = -1024.0
#: Slices of one frame further apart in time are a shuttle's: the threshold of Tmax is 6 s, read to half a second.
LONGEST_SPREAD_S = 0.5
#: Slices of a frame that are elsewhere together lie apart by this share of the interval: one place lost another frame.
MISALIGNED_SHARE, ALIGNED_SHARE = 0.5, 0.25


@dataclass(frozen=True, eq=False)
class Course:
    """A dynamic series as it is written: values (X, Y, Z, T) and what was found of its times."""

    values: Float32Array
    affine: Affine
    times_s: FloatArray
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    numbers: Mapping[str, float]


def read_course(places: Sequence[Sequence[Frame]], geometry: StackGeometry, actions: Mapping[str, Action]) -> Course:
    """Read a dynamic series.

    Parameters
    ----------
    places : frames of every place along the normal
    geometry : of the places
    actions : reason of a fault -> what to do

    Raises
    ------
    StackRefusedError
        Its times cannot be used, or a fault is to be rejected; all of them are named.
    ImageProblemError
        ``pixels_unreadable``.
    """
    times = frame_times(places)
    if isinstance(times, Fault):
        raise StackRefusedError((times,))
    kept, repeated = _without_repeats(places, times)
    seconds = times.seconds[:, kept]
    broken, repaired = _time_faults(seconds)
    faults = (*times.faults, *repeated, *repaired)
    rejected = [*broken, *(fault for fault in faults if actions.get(fault.reason, "reject") == "reject")]
    if rejected:
        raise StackRefusedError((*rejected, *(fault for fault in faults if fault not in rejected)))
    moments = seconds.mean(axis=0)
    order = times.order[:, kept]
    phases = (_phase(places, order[:, phase]) for phase in range(order.shape[1]))
    n_padding = 0
    if repaired:
        together = np.stack([values for values, _ in phases])
        phases = ((values, 0) for values in _at_frame_times(together, seconds, moments))
    whole, affine = np.empty(0, dtype=np.float32), np.eye(4)
    for phase, (values, n_outside) in enumerate(phases):
        n_padding += n_outside
        volume, affine = on_grid(values, geometry, places[0][0].spacing_mm or (0.0, 0.0), LOWEST_HU)
        if not phase:
            whole = np.empty((*volume.shape, order.shape[1]), dtype=np.float32, order="F")  # frame after frame
        whole[..., phase] = volume
    steps, n_lost = np.diff(moments), n_lost_frames(moments)
    numbers = {
        "n_frames": len(moments),
        "median_frame_interval_s": float(np.median(steps)),
        "largest_frame_interval_s": float(steps.max()),
        "largest_spread_within_frame_s": float(np.ptp(seconds, axis=0).max()),
        "n_padding_voxels": n_padding,
        **({"n_lost_frames": n_lost} if n_lost else {}),
    }
    notes = (*times.notes, *(("frames_lost",) if n_lost else ()))
    return Course(whole, affine, moments - moments[0], faults, notes, {**times.numbers, **numbers})


def levelled(places: Sequence[tuple[Frame, ...]]) -> tuple[tuple[tuple[Frame, ...], ...], Fault] | None:
    """Places with one number of frames where some have one more, as the half at which a shuttle ends.

    Returns
    -------
    The places without the first or the last frame of the longer ones, whichever lies further from the frames of the
    others; and the fault that says so. None where numbers differ by more, or times are not known.
    """
    counts = [len(place) for place in places]
    n_frames = min(counts)
    moments = [[frame.moment for frame in place] for place in places]
    known = [moment for row in moments for moment in row if moment is not None]
    if max(counts) != n_frames + 1 or len(known) != sum(counts):
        return None
    seconds = [np.array([(moment - min(known)).total_seconds() for moment in row if moment]) for row in moments]
    others = np.median([row for row in seconds if len(row) == n_frames], axis=0)
    kept = []
    for place, row in zip(places, seconds, strict=True):
        is_first_far = np.abs(row[-n_frames:] - others).sum() < np.abs(row[:n_frames] - others).sum()
        kept.append(place[-n_frames:] if is_first_far else place[:n_frames])
    numbers = {"n_frames": n_frames, "n_longer": sum(count > n_frames for count in counts), "n_places": len(counts)}
    return tuple(kept), Fault("frames_uneven", "every position must have the same number of frames", numbers)


def _phase(places: Sequence[Sequence[Frame]], order: IntArray) -> tuple[Float32Array, int]:
    """(slice, row, column) HU of one frame, air where there is padding, and how many voxels that are."""
    slices = read_slices([place[at] for place, at in zip(places, order, strict=True)])
    is_outside = slices.is_outside
    return np.where(is_outside, np.float32(LOWEST_HU), slices.values.clip(min=LOWEST_HU)), int(is_outside.sum())


def _without_repeats(places: Sequence[Sequence[Frame]], times: FrameTimes) -> tuple[list[int], tuple[Fault, ...]]:
    """Frames that are no copies of the one before at the same time.

    Raises
    ------
    StackRefusedError
        ``frames_at_one_time``: two frames that differ.
    """
    kept = [0]
    for phase in range(1, times.seconds.shape[1]):
        is_same = times.seconds[:, phase] - times.seconds[:, kept[-1]] <= SAME_TIME_S
        if not is_same.any():
            kept.append(phase)
            continue
        here, before = (
            read_slices([place[at] for place, at in zip(places, times.order[:, number], strict=True)]).stored
            for number in (phase, kept[-1])
        )
        if not is_same.all() or not np.array_equal(here, before):
            n_same = int((np.diff(times.seconds, axis=1) <= SAME_TIME_S).any(axis=0).sum())
            text = "frames at one time must be copies of each other"
            raise StackRefusedError(
                (Fault("frames_at_one_time", text, {"n_frames": times.seconds.shape[1], "n_repeated": n_same}),)
            )
    n_copies = times.seconds.shape[1] - len(kept)
    fault = Fault("duplicate_frames", "every frame must occur once", {"n_repeated": n_copies})
    return kept, ((fault,) if n_copies else ())


def _time_faults(seconds: FloatArray) -> tuple[list[Fault], tuple[Fault, ...]]:
    """What no bolus can be followed on, and what is put right."""
    moments, spread = seconds.mean(axis=0), np.ptp(seconds, axis=0)
    if len(moments) < 2:
        return [
            Fault("frame_times_missing", "a dynamic series must have several frames", {"n_frames": len(moments)})
        ], ()
    steps = np.diff(moments)
    usual = float(np.median(steps))
    low, high = INTERVAL_LIMITS_S
    broken = []
    if not low <= usual <= high:
        text = f"frames must follow each other every {low:g} to {high:g} s"
        broken.append(Fault("frame_interval_implausible", text, {"median_frame_interval_s": usual}))
    elif steps.max() > LONGEST_GAP_S:
        text = f"frames must follow each other within {LONGEST_GAP_S:g} s"
        numbers = {"largest_frame_interval_s": float(steps.max()), "after_s": float(moments[steps.argmax()])}
        broken.append(Fault("frame_gap", text, numbers))
    if np.median(spread) <= ALIGNED_SHARE * usual and spread.max() >= MISALIGNED_SHARE * usual:
        text = "the slices of a frame must be of one time: at some places other frames are missing"
        numbers = {"largest_spread_within_frame_s": float(spread.max()), "n_frames": len(moments)}
        broken.append(Fault("frames_misaligned", text, numbers))
    elif spread.max() > LONGEST_SPREAD_S:
        text = "all slices of a frame must be taken at one time, and were interpolated to it"
        numbers = {"smallest_spread_s": float(spread.min()), "largest_spread_s": float(spread.max())}
        return broken, (Fault("slice_times_differ", text, numbers),)
    return broken, ()


def _at_frame_times(frames: Float32Array, seconds: FloatArray, moments: FloatArray) -> Float32Array:
    """Every slice's course at the times of the frames, constant beyond its first and last.

    Parameters
    ----------
    frames : (T, slices, rows, columns)
    seconds : (slices, T), when each slice was taken
    moments : (T,), when it is wanted
    """
    for place, own in enumerate(seconds):
        upper = np.clip(np.searchsorted(own, moments), 1, len(own) - 1)
        weight = ((moments - own[upper - 1]) / (own[upper] - own[upper - 1])).clip(0.0, 1.0).astype(np.float32)
        course = frames[:, place].copy()
        frames[:, place] = course[upper - 1] + weight[:, None, None] * (course[upper] - course[upper - 1])
    return frames
