"""Before CT perfusion maps: frames in the order of time, the bolus's passage and the baseline before it.

A *series* is (X, Y, Z, T) in HU with each frame contiguous. The *baseline* is its leading frames before contrast agent
arrives. Everything is measured on the mean curve of the brain, whose noise is next to nothing; the arterial input is
chosen elsewhere (``tasks.perfusion.vessels``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.arrays import AnyArray, Float32Array, FloatArray, Mask
from tasks.gaussian import MAD_TO_SIGMA
from tasks.perfusion.bolus import SECOND_PEAK_SHARE
from tasks.perfusion.frame_times import LONGEST_GAP_S, n_lost_frames, unwrapped

#: Median interval of frames, s: dynamic scanners reach about 0.3 s, and a bolus of 10 s needs more than one frame.
#: Times in ms or min fall outside.
INTERVAL_LIMITS_S = (0.2, 10.0)
SHORTEST_SERIES_FRAMES = 10  # a bolus of 10 s and its tail at the widest usual interval, 3 s, with a baseline
MINIMUM_BASELINE_FRAMES = 2  # one frame does not tell a baseline from a rise
MINIMUM_RISE_HU = 1.5  # of the brain's mean: a quarter of what 40 ml of contrast agent usually give (about 6 HU)
#: Contrast agent has arrived in the brain above these shares of the rise: the lower where the baseline is calm (by four
#: of its standard deviations), the upper where it is not.
ONSET_SHARES, ONSET_SDS = (0.02, 0.10), 4.0
LEAD_S = 3.0  # arteries fill before that: tissue follows them by 0.5 to 2 s and needs a moment to rise
#: Share of the rise that is still there at the end, above which the bolus is cut off. Kasasbeh et al., PLoS One 2016
#: (doi 10.1371/journal.pone.0166675): lesion volumes are stable once the vein has fallen to 0.39 of its peak (median);
#: the brain's mean falls later.
TRUNCATED_SHARE = 0.5
TAIL_FRAMES = 2  # averaged at the end
#: Longest time without a frame while contrast agent arrives, s: maps hold up to sampling every 4 s (Wintermark et al.,
#: Radiology 2004, doi 10.1148/radiol.2312030024); half as much again leaves one frame or none on the rise.
LONGEST_STEP_OF_BOLUS_S = 6.0


@dataclass(frozen=True)
class FrameOrder:
    """Frames in the order of time.

    Attributes
    ----------
    order : index of each frame in the stored series
    frame_times_s : increasing times; empty where the series is refused
    notes : ``frames_reordered``, ``clock_unwrapped``, ``frames_lost``
    reason : empty, or ``frame_times_missing``, ``frame_times_not_increasing``, ``frame_interval_implausible``,
        ``frame_gap``, ``too_few_frames``
    detail : the rule, what was found and the remedy; empty without a reason
    """

    order: tuple[int, ...]
    frame_times_s: tuple[float, ...]
    notes: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class BolusPassage:
    """The bolus in the brain's mean curve. Numbers are null where they could not be measured.

    Attributes
    ----------
    n_baseline_frames : leading frames without contrast agent
    arrival_s, peak_s : when contrast agent arrives in the brain, and when the curve is highest
    rise_hu : the curve's peak over its baseline
    baseline_sd_hu : scatter of the baseline's frames
    tail_share : what is left of the rise at the end, 0 where the bolus has left
    after_peak_s : time observed after the peak
    n_peaks : passes of comparable size
    reason : empty, or ``no_contrast``, ``bolus_before_start``, ``two_bolus_peaks``, ``bolus_undersampled``,
        ``bolus_truncated``
    detail : every broken rule; empty without a reason
    """

    n_baseline_frames: int | None
    arrival_s: float | None
    peak_s: float | None
    rise_hu: float | None
    baseline_sd_hu: float | None
    tail_share: float | None
    after_peak_s: float | None
    n_peaks: int | None
    reason: str = ""
    detail: str = ""


def order_frames(frame_times_s: Sequence[float] | None, n_frames: int) -> FrameOrder:
    """Sort frames by time, or say why they cannot be used.

    Parameters
    ----------
    frame_times_s : one time per stored frame, s, in any order; none where the header and the sidecar give none
    n_frames : frames of the series

    Examples
    --------
    >>> order_frames([0.0, 3.0, 1.5] + [3.0 + 2 * n for n in range(1, 9)], 11).order[:4]
    (0, 2, 1, 3)
    """
    stored = tuple(range(n_frames))
    times = np.asarray([] if frame_times_s is None else frame_times_s, dtype=np.float64)
    if len(times) != n_frames or not np.isfinite(times).all():
        given = int(np.isfinite(times).sum())
        return FrameOrder(
            stored, (), (), "frame_times_missing",
            f"frame_times_s must be one time per frame, got {given} for {n_frames} frames. Give FrameTimesStart in the "
            "sidecar, or import the DICOM files.",
        )  # fmt: skip
    if n_frames < SHORTEST_SERIES_FRAMES:
        return FrameOrder(
            stored, (), (), "too_few_frames",
            f"series must have >= {SHORTEST_SERIES_FRAMES} frames, got {n_frames}. Give the whole perfusion series.",
        )  # fmt: skip
    clock = unwrapped(times)
    is_wrapped = bool(np.isfinite(clock.wrap_s))
    times = clock.times_s - clock.times_s.min() if is_wrapped else times
    order = np.argsort(times, kind="stable")
    intervals = np.diff(times[order])
    if (intervals <= 0).any():
        return FrameOrder(
            stored, (), (), "frame_times_not_increasing",
            f"frame_times_s must differ from frame to frame, got {int((intervals <= 0).sum())} repeated. "
            "Give the acquisition time of each frame.",
        )  # fmt: skip
    low, high = INTERVAL_LIMITS_S
    if not low <= np.median(intervals) <= high:
        return FrameOrder(
            stored, (), (), "frame_interval_implausible",
            f"median interval of frames must be {low:g} to {high:g} s, got {np.median(intervals):g} s. "
            "Check the unit of the frame times.",
        )  # fmt: skip
    if intervals.max() > LONGEST_GAP_S:
        before = float(times[order][intervals.argmax()])
        return FrameOrder(
            stored, (), (), "frame_gap",
            f"frames must follow each other within {LONGEST_GAP_S:g} s, got {intervals.max():.1f} s without one after "
            f"{before:.1f} s. Look for lost frames; if the clock jumped, correct FrameTimesStart in the sidecar.",
        )  # fmt: skip
    notes = {
        "frames_reordered": not np.array_equal(order, stored),
        "clock_unwrapped": is_wrapped,
        "frames_lost": n_lost_frames(times[order]) > 0,
    }
    return FrameOrder(
        tuple(map(int, order)), tuple(map(float, times[order])), tuple(name for name, is_so in notes.items() if is_so)
    )


def mean_curve(series: AnyArray, mask: Mask) -> FloatArray:
    """Mean over a mask at each frame.

    Parameters
    ----------
    series : (X, Y, Z, T) array, HU
    mask : (X, Y, Z) bool array with at least one voxel
    """
    return np.array([series[..., frame][mask].mean(dtype=np.float64) for frame in range(series.shape[3])])


def find_bolus(curve: FloatArray, frame_times_s: Sequence[float]) -> BolusPassage:
    """Find arrival and passage of the bolus in the brain's mean curve.

    Parameters
    ----------
    curve : (T,) float array, HU, as of `mean_curve`
    frame_times_s : (T,) increasing times
    """
    times = np.asarray(frame_times_s, dtype=np.float64)
    peak = int(curve.argmax())
    lowest = float(curve[: peak + 1].min())
    rise = float(curve[peak]) - lowest
    whole = float(curve.max() - curve.min())
    if whole < MINIMUM_RISE_HU:
        return _without_bolus(
            "no_contrast",
            f"mean of the brain must rise by >= {MINIMUM_RISE_HU} HU, got {whole:.2f} HU. Check that contrast agent "
            "was given and the series is the perfusion scan.",
            whole,
        )
    risen = np.flatnonzero(curve[: peak + 1] > lowest + ONSET_SHARES[1] * rise)
    n_quiet = int(risen[0]) if len(risen) else 0
    if float(curve[peak:].min()) < lowest - ONSET_SHARES[1] * whole:  # it falls below where it began
        n_quiet = 0
    if n_quiet < MINIMUM_BASELINE_FRAMES:
        return _without_bolus(
            "bolus_before_start",
            f"series must begin with >= {MINIMUM_BASELINE_FRAMES} frames before contrast agent arrives, got {n_quiet}. "
            "The scan began too late: it cannot be used.",
            whole,
        )
    baseline = float(np.median(curve[:n_quiet]))  # the last of them may rise already
    sd = MAD_TO_SIGMA * float(np.median(np.abs(curve[:n_quiet] - baseline)))
    rise = float(curve[peak]) - baseline
    has_arrived = curve > baseline + np.clip(ONSET_SDS * sd, ONSET_SHARES[0] * rise, ONSET_SHARES[1] * rise)
    first = int(np.flatnonzero(~has_arrived[:peak])[-1]) + 1  # after it the curve stays up until its peak
    arrival_s = float(times[first])
    n_baseline = max(1, int(np.count_nonzero(times[:first] <= arrival_s - LEAD_S)))
    enhancement = np.concatenate([[0.0], (curve - baseline) / rise, [0.0]])  # so that an end can be a peak
    from scipy.signal import find_peaks  # slow to import, and only CT perfusion needs it

    n_peaks = len(find_peaks(enhancement, prominence=SECOND_PEAK_SHARE)[0])
    tail_share = float((curve[-TAIL_FRAMES:].mean() - baseline) / rise)
    problems = []
    if n_peaks > 1:
        problems.append(
            (
                "two_bolus_peaks",
                f"curve of the brain must have one peak, got {n_peaks}. Split the series at the injection.",
            )
        )
    widest_s = float(np.diff(times[first - 1 : peak + 2]).max())  # from before it arrives to after its peak
    if widest_s > LONGEST_STEP_OF_BOLUS_S:
        problems.append(
            (
                "bolus_undersampled",
                f"frames must follow each other within {LONGEST_STEP_OF_BOLUS_S:g} s while contrast agent arrives, got "
                f"{widest_s:.1f} s. Look for lost frames and for a clock that jumped.",
            )
        )
    if tail_share > TRUNCATED_SHARE:
        problems.append(
            (
                "bolus_truncated",
                f"curve of the brain must fall below {TRUNCATED_SHARE:g} of its peak, got {tail_share:.2f} at the end, "
                f"{times[-1] - times[peak]:.0f} s after the peak. The scan is too short: it cannot be used.",
            )
        )
    return BolusPassage(
        n_baseline, arrival_s, float(times[peak]), rise, float(curve[:n_baseline].std()), tail_share,
        float(times[-1] - times[peak]), n_peaks, problems[0][0] if problems else "", " ".join(p[1] for p in problems),
    )  # fmt: skip


def baseline_mean(series: AnyArray, n_baseline_frames: int) -> Float32Array:
    """Mean of the leading frames, (X, Y, Z) float32 array, HU."""
    return np.asarray(series[..., :n_baseline_frames].mean(axis=3, dtype=np.float32))


def _without_bolus(reason: str, detail: str, rise_hu: float) -> BolusPassage:
    """A refusal, with the one number that is known."""
    return BolusPassage(None, None, None, rise_hu, None, None, None, None, reason, detail)
