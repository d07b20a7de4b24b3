"""Smoothing of a CT perfusion series in the plane of its slices and over time.

How far it must go depends on the dose: noise that is left turns normal tissue into core and core into normal tissue,
and a width that a quarter of the dose needs blurs the core's border at the full dose. The width can so be chosen by the
noise that it leaves, measured on the series itself, whose noise is correlated as its kernel made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tasks.arrays import Float32Array, FloatingArray, Mask
from tasks.gaussian import MAD_TO_SIGMA

GAUSSIAN_REACH = 2.5  # standard deviations
#: Widths tried, mm, and the share of the brain's mean enhancement below which what is left of the noise should lie. On
#: phantoms (2, 4 and 8 HU in voxels of 1.7 x 1.7 x 5 mm, enhancement 6.5 HU) the core's Dice is best at 2, 3 and 4 mm:
#: 0.87, 0.84 and 0.76, against 0.87, 0.81 and 0.52 at 2 mm throughout.
SIGMAS_MM = (2.0, 2.5, 3.0, 3.5, 4.0)
NOISE_SHARE = 0.1
N_DIFFERENCES = 5  # second differences of frames on which the noise is measured, evenly over the series


@dataclass(frozen=True)
class Denoising:
    """Smoothing of a series; 0 leaves it out.

    Attributes
    ----------
    in_plane_sigma_mm : of a Gaussian within the slice, over the voxels of a mask only, so that skull and vessels do not
        bleed into tissue (Wack et al., BMC Med Imaging 2014;14:28); None lets `choose_sigma_mm` choose
    temporal_sigma_s : of a Gaussian over time, by the frames' own times; it also widens the curves

    Raises
    ------
    ValueError
        A width is negative.
    """

    in_plane_sigma_mm: float | None = None
    temporal_sigma_s: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be >= 0 {unit}, got {value} {unit}. 0 leaves it out."
            for name, value, unit in (
                ("in_plane_sigma_mm", self.in_plane_sigma_mm, "mm"),
                ("temporal_sigma_s", self.temporal_sigma_s, "s"),
            )
            if value is not None and not value >= 0
        ]
        if problems:
            raise ValueError(" ".join(problems))


def denoise(
    series: Float32Array,
    frame_times_s: Sequence[float],
    spacing_mm: Sequence[float],
    mask: Mask,
    settings: Denoising,
) -> Float32Array:
    """Smooth a series within a mask.

    Parameters
    ----------
    series : (X, Y, Z, T) float32 array, HU, slices along Z
    frame_times_s : (T,) increasing times
    spacing_mm : voxel size along X, Y, Z
    mask : (X, Y, Z) bool array, voxels to smooth and to smooth over, such as the brain without vessels and fluid
    settings : Denoising, with a width

    Returns
    -------
    (X, Y, Z, T) float32 array, each frame contiguous; voxels outside the mask as they came.

    Raises
    ------
    ValueError
        The width is still to be chosen.
    """
    if settings.in_plane_sigma_mm is None:
        raise ValueError("in_plane_sigma_mm must be a width, got None. Choose one with choose_sigma_mm.")
    smoothed = np.array(series, dtype=np.float32, order="F")
    if not mask.any():
        return smoothed
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    inside = np.ascontiguousarray(mask[box].T)  # (Z, Y, X): slices are matrices
    region = smoothed[box].T
    if settings.in_plane_sigma_mm > 0:
        along_x, along_y = (
            _weights(size * np.arange(n), settings.in_plane_sigma_mm, GAUSSIAN_REACH)
            for n, size in zip(inside.shape[:0:-1], spacing_mm[:2], strict=True)
        )
        within = inside.astype(np.float32)
        total = np.where(inside, along_y @ (within @ along_x.T), np.float32(1))
        for frame in region:
            np.copyto(frame, along_y @ (frame * within @ along_x.T) / total, where=inside)
    if settings.temporal_sigma_s > 0:
        weights = _weights(np.asarray(frame_times_s), settings.temporal_sigma_s)
        curves = weights @ region[:, inside]
        region[:, inside] = curves
    return smoothed


def choose_sigma_mm(series: Float32Array, spacing_mm: Sequence[float], mask: Mask, rise_hu: float) -> float:
    """The smallest of ``SIGMAS_MM`` that leaves little noise beside the enhancement; the largest where none does.

    Parameters
    ----------
    series : (X, Y, Z, T) float32 array, HU, three or more frames in the order of time
    spacing_mm, mask : as for `denoise`
    rise_hu : enhancement of the brain's mean
    """
    starts = np.unique(np.linspace(0, series.shape[3] - 3, N_DIFFERENCES).astype(int))
    frames = [series[..., one] - 2 * series[..., one + 1] + series[..., one + 2] for one in starts]
    differences = np.asarray(np.stack(frames, axis=3) / np.sqrt(6), dtype=np.float32)  # noise of one frame
    for sigma_mm in SIGMAS_MM:
        smooth = denoise(differences, range(len(starts)), spacing_mm, mask, Denoising(sigma_mm))[mask]
        spread = np.abs(smooth - np.median(smooth, axis=0))
        if MAD_TO_SIGMA * float(np.median(np.median(spread, axis=0))) <= NOISE_SHARE * rise_hu:
            break
    return sigma_mm


def _weights(positions: FloatingArray, sigma: float, reach: float = np.inf) -> Float32Array:
    """(N, N) Gaussian weights by distance, none beyond ``reach`` sigma; each row adds up to 1."""
    distance = np.abs(positions[:, None] - positions) / sigma
    weights = np.where(distance <= reach, np.exp(-(distance**2) / 2), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
