"""Noise of an image measured inside it, slice by slice, and the streaks that only some of its slices have.

Noise is read from the mixed second difference of Immerkaer (Comput Vis Image Underst 1996;64:300-302), which cancels
anatomy that changes linearly along a row or a column: nine pixels weighted (1, -2, 1) x (1, -2, 1), whose standard
deviation is six times that of a pixel. Two changes: percentiles instead of a mean, so that edges do not count, and a
chosen distance between the pixels, because neighbours of a CT reconstruction are not independent (its grain is about
1 mm wide: at a distance of one pixel of 0.45 mm a tenth of the true noise is found).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.arrays import Mask
from tasks.space.working_grid import WorkingScan

INTERIOR_MM = 5.0  # from the mask's outline: cortex, fluid and voxels shared with bone are 2 to 4 mm thick
SLAB_MM = 5.0  # slices this far apart are measured: metal that streaks is at least as large
MINIMUM_AREA_MM2 = 1500.0  # of brain in a slice, some 450 blocks: a percentile of fewer is uncertain by more than 4 %
NORM = 6.0  # root of the sum of the nine squared weights
MEDIAN_PER_SIGMA = 0.6745  # median and 90th percentile of the magnitude of a normal variable, in standard deviations
P90_PER_SIGMA = 1.6449


@dataclass(frozen=True)
class Noise:
    """Noise of the brain's slices, in the scan's unit.

    Attributes
    ----------
    typical : float
        Standard deviation in the middle one of the slices.
    streak : float
        What the worst slice has beyond the middle one, as a standard deviation (the root of the difference of the
        squares). It is taken from the 90th percentile, because streaks fill a slice only in part: 0 where all slices
        are alike however noisy they are, large where metal, motion or dense bone spoils some of them.
    """

    typical: float
    streak: float


def interior(mask: Mask, scan: WorkingScan, margin_mm: float = INTERIOR_MM) -> Mask:
    """The part of a mask that lies at least a margin from its outline within the slice.

    Parameters
    ----------
    mask : (X, Y, Z) bool array on the working grid
    scan : WorkingScan
        The grid.
    margin_mm : float
    """
    inner = mask.view(np.uint8)
    for axis in range(3):
        reach = int(np.ceil(margin_mm / scan.spacing_mm[axis] - 1e-9))
        if axis != scan.slice_axis:
            inner = ndimage.minimum_filter1d(inner, 2 * reach + 1, axis=axis, mode="constant")
    return np.asarray(inner.view(np.bool_))


def filled(mask: Mask, slice_axis: int) -> Mask:
    """A mask with every notch and hole between two of its voxels of one row or column of a slice filled.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    slice_axis : int
        The array axis across the slices.
    """
    whole = mask
    for axis in range(3):
        if axis != slice_axis:
            before = np.logical_or.accumulate(mask, axis=axis)
            behind = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
            whole = whole | (before & behind)
    return whole


def brain_noise(values: npt.NDArray[np.generic], scan: WorkingScan, inside: Mask, *, is_ct: bool) -> Noise | None:
    """Measure the noise of a scan at the native voxels of its brain.

    Parameters
    ----------
    values : (X, Y, Z) array of the scan's native shape, in its unit, finite
    scan : WorkingScan
        Of the same scan.
    inside : (X, Y, Z) bool array on the working grid: where to measure, away from edges (``interior``)
    is_ct : bool
        Whether pixels are compared at the distance of a block, about 1.8 mm, beyond the grain of CT; otherwise
        neighbours, since MR has no grain of its own (an image interpolated before reads too low).

    Returns
    -------
    Noise, or None where no slice shows enough brain
    """
    axis = scan.slice_axis
    native, blocks = np.moveaxis(values, axis, 0), np.moveaxis(inside, axis, 0)
    factors = [scan.factors[axis], *(scan.factors[one] for one in range(3) if one != axis)]
    spacing = [scan.spacing_mm[axis], *(scan.spacing_mm[one] for one in range(3) if one != axis)]
    per_slice = []
    for level in range(0, len(blocks), max(1, round(SLAB_MM / spacing[0]))):
        rows, columns = np.nonzero(blocks[level])
        if len(rows) * spacing[1] * spacing[2] < MINIMUM_AREA_MM2:
            continue
        plane = native[min(level * factors[0] + factors[0] // 2, len(native) - 1)]
        lag = (factors[1], factors[2]) if is_ct else (1, 1)
        centre = (rows * factors[1] + factors[1] // 2, columns * factors[2] + factors[2] // 2)
        difference = np.abs(_mixed_difference(plane, centre, lag)) / NORM
        per_slice.append(np.percentile(difference, [50, 90]) / [MEDIAN_PER_SIGMA, P90_PER_SIGMA])
    if not per_slice:
        return None
    middle, high = np.transpose(per_slice)
    typical_high = float(np.median(high))
    return Noise(float(np.median(middle)), float(np.sqrt(max(0.0, high.max() ** 2 - typical_high**2))))


def _mixed_difference(
    plane: npt.NDArray[Any], centre: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], lag: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """(1, -2, 1) x (1, -2, 1) around each centre, pixels a lag apart."""
    total = np.zeros(len(centre[0]))
    for i, weight in ((-1, 1.0), (0, -2.0), (1, 1.0)):
        rows = np.clip(centre[0] + i * lag[0], 0, plane.shape[0] - 1)
        for j, other in ((-1, 1.0), (0, -2.0), (1, 1.0)):
            columns = np.clip(centre[1] + j * lag[1], 0, plane.shape[1] - 1)
            total += weight * other * plane[rows, columns]
    return total
