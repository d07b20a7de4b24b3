"""The shape of a contrast bolus in one vessel: when it rises and falls, and whether a curve shows one whole bolus.

Curves are enhancement over baseline, HU; times are the frames', s, at uneven intervals if need be. The bolus of a curve
is its highest peak; it *rises* and *falls* where the curve crosses half of that peak nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.arrays import FloatArray, FloatingArray, Mask

#: More than 20: below, first pass and baseline of a 60 s series are read at 3 s or worse. Wide-detector protocols of 19
#: to 22 volumes at well-chosen times need a lower setting.
MINIMUM_FRAMES = 25
#: Height of a second peak over the valley before it, of the first. Recirculation reaches about 0.1, a second injection
#: about 1: their geometric mean.
SECOND_PEAK_SHARE = 0.3
#: Of a vessel's peak over its noise: the largest of 50 frames of pure noise lies below 3.5.
MINIMUM_CONTRAST_TO_NOISE = 5.0
NO_PROBLEM = ("", "")


@dataclass(frozen=True, eq=False)
class BolusShape:
    """Shapes of N curves; NaN where a curve never crosses half of its peak on that side.

    Attributes
    ----------
    peak_hu, peak_s : (N,) float array
    rise_s, fall_s : (N,) float array, crossings of half the peak before and after it
    noise_hu : (N,) float array, standard deviation of white noise with the curve's second differences
    """

    peak_hu: FloatArray
    peak_s: FloatArray
    rise_s: FloatArray
    fall_s: FloatArray
    noise_hu: FloatArray

    @property
    def width_s(self) -> FloatArray:
        """Full width at half maximum, s."""
        return self.fall_s - self.rise_s


def bolus_shape(curves: FloatingArray, times_s: FloatArray) -> BolusShape:
    """Peaks and half-peak crossings of many curves.

    Parameters
    ----------
    curves : (T, N) array, HU over baseline
    times_s : (T,) float array, increasing
    """
    n_frames, n = curves.shape
    columns = np.arange(n)
    top = curves.argmax(axis=0)
    peak = curves[top, columns].astype(np.float64)
    is_low = curves < peak / 2
    frames = np.arange(n_frames)[:, None]
    before = np.where(is_low & (frames < top), frames, -1).max(axis=0)  # last low frame before the peak
    after = np.where(is_low & (frames > top), frames, n_frames).min(axis=0)  # first low frame after it

    def crossing(low: npt.NDArray[np.intp], high: npt.NDArray[np.intp], exists: Mask) -> FloatArray:
        low, high = np.where(exists, low, 0), np.where(exists, high, 0)
        at_low, at_high = curves[low, columns], curves[high, columns]
        step = at_high - at_low
        share = np.divide(peak / 2 - at_low, step, out=np.zeros(n), where=step != 0)
        return np.where(exists, times_s[low] + share * (times_s[high] - times_s[low]), np.nan)

    return BolusShape(
        peak_hu=peak,
        peak_s=times_s[top],
        rise_s=crossing(before, before + 1, before >= 0),
        fall_s=crossing(after, after - 1, after < n_frames),
        noise_hu=np.median(np.abs(np.diff(curves, 2, axis=0)), axis=0) / (0.6745 * np.sqrt(6)),
    )


def frames_problem(times_s: FloatArray, minimum_frames: int = MINIMUM_FRAMES) -> tuple[str, str]:
    """Why no bolus can be read at these frames, as (reason, detail); both empty where it can.

    Parameters
    ----------
    times_s : (T,) float array
    minimum_frames : int
    """
    if len(times_s) < minimum_frames:
        rule = f"frames must be at least {minimum_frames}, got {len(times_s)}."
        return "too_few_frames", f"{rule} Use the whole series, or lower the setting if its times were chosen."
    if not np.isfinite(times_s).all() or (np.diff(times_s) <= 0).any():
        first = int(np.argmin(np.diff(times_s) > 0)) + 1
        rule = f"frame times must increase, got {times_s[first]:g} s after {times_s[first - 1]:g} s (frame {first})."
        return "frames_out_of_order", f"{rule} Sort the frames by acquisition time."
    return NO_PROBLEM


def bolus_problem(curve: FloatingArray, times_s: FloatArray) -> tuple[str, str]:
    """Why a vessel's curve is not one whole bolus, as (reason, detail); both empty where it is.

    Parameters
    ----------
    curve : (T,) array, HU over baseline
    times_s : (T,) float array, increasing

    Returns
    -------
    reason : ``bolus_before_start``, ``no_bolus``, ``bolus_truncated`` or ``two_bolus_peaks``
    detail : the measured value, the rule and the remedy
    """
    shape = bolus_shape(curve[:, None], times_s)
    peak, noise = float(shape.peak_hu[0]), float(shape.noise_hu[0])
    level = curve - curve.min()  # a curve whose baseline was taken within the bolus falls below 0
    is_seen = level.max() > 2 * MINIMUM_CONTRAST_TO_NOISE * noise
    if is_seen and level[:2].mean() > level.max() / 2:
        value = f"got {100 * level[:2].mean() / level.max():.0f} % of its range at the first frames"
        return "bolus_before_start", f"The bolus must arrive after the first frames, {value}. The scan began too late."
    if not peak > MINIMUM_CONTRAST_TO_NOISE * noise:
        rule = f"The peak must exceed {MINIMUM_CONTRAST_TO_NOISE:g} times the noise"
        return "no_bolus", f"{rule}, got {peak:.1f} HU over {noise:.1f} HU. Choose another vessel."
    if np.isnan(shape.fall_s[0]):
        value = f"got {100 * curve[-1] / peak:.0f} % of the peak at {times_s[-1]:g} s"
        return "bolus_truncated", f"The bolus must fall below half its peak, {value}. The scan ended too early."
    smooth = np.convolve(np.pad(curve, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    from scipy.signal import find_peaks  # slow to import, and only CT perfusion needs it

    peaks, _ = find_peaks(smooth, prominence=SECOND_PEAK_SHARE * smooth.max())
    if len(peaks) > 1:
        seconds = " and ".join(f"{times_s[one]:g} s" for one in peaks)
        return "two_bolus_peaks", f"The bolus must have one peak, got peaks at {seconds}. Check for motion."
    return NO_PROBLEM
