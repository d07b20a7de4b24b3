"""What ``ncct-overlap`` sees of a CT without contrast agent: a slice, its neighbours, and the other side.

An early infarct is a few HU less dense than the same place of the other side, under as much noise. So the scan is held
against its mirror-image: every voxel's partner lies where the registration to the template, which is symmetric, puts
it. Two channels give the difference smoothed over tissue alone, since sulci and ventricles are not alike on both sides.

Arrays lie on one grid of 2 mm (``tasks.space.network_grid``); training and scoring share these functions.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.segmentation import CT_UNIT_HU, PLACE_UNIT_MM, SIGNAL_LIMITS, STEP_MM, template_places

CHANNELS = (
    "slice",
    "slice_below",
    "slice_above",
    "mirrored",
    "difference",
    "difference_around",
    "from_midline",
    "to_front",
    "to_vertex",
    "brain",
)
N_NCCT_CHANNELS = len(CHANNELS)
NEIGHBOUR_MM = 4.0  # between a slice and its neighbours: thick slices, 5 mm as a rule, repeat themselves below that
DIFFERENCE_UNIT_HU = 3.0
#: Standard deviations of the smoothing: of the parts of a region, and of a region with what lies around it.
FINE_MM, AROUND_MM = 4.0, 10.0
#: Tissue: within this of the brain's median after smoothing by ``TISSUE_MM``. Fluid lies 20 HU and more below, bone and
#: fresh blood above; an infarct of the first day 12 HU at most.
WITHIN_HU, TISSUE_MM = 14.0, 2.0
LEAST_TISSUE = 0.05  # of a neighbourhood, below which its difference says nothing
COARSE = 2  # voxels of the grid along every axis that are smoothed as one


def ncct_channels(image: Float32Array, brain: Mask, to_template: FloatArray) -> Float32Array:
    """The channels of ``CHANNELS``, (10, X, Y, Z) float32; outside of the brain the scan's own are 0.

    Parameters
    ----------
    image : (X, Y, Z) float array, HU
    brain : (X, Y, Z) bool array
    to_template : (3, 4) or (4, 4) float array, voxel -> template world, RAS, mm
    """
    channels = np.zeros((N_NCCT_CHANNELS, *brain.shape), np.float32)
    if not brain.any():
        return channels
    middle = np.float32(np.median(image[brain]))
    own = np.where(brain, image - middle, 0).astype(np.float32)
    shown = np.clip(own / np.float32(CT_UNIT_HU), *SIGNAL_LIMITS)
    channels[0] = shown
    step = int(NEIGHBOUR_MM / STEP_MM)
    channels[1, :, :, step:] = shown[:, :, :-step]
    channels[2, :, :, :-step] = shown[:, :, step:]
    way = mirror_of(to_template)
    channels[3] = ndimage.affine_transform(shown, way[:3, :3], way[:3, 3], order=1) * brain
    channels[4], channels[5] = (
        np.clip(one / np.float32(DIFFERENCE_UNIT_HU), *SIGNAL_LIMITS) * brain
        for one in differences(own, brain, way, (FINE_MM, AROUND_MM))
    )
    channels[6:9] = np.clip(template_places(to_template, brain.shape) / np.float32(PLACE_UNIT_MM), -2.5, 2.5)
    np.abs(channels[6], out=channels[6])
    channels[9] = brain
    return channels


def mirror_of(to_template: FloatArray) -> Affine:
    """The way of every voxel to its partner of the other side, (4, 4), voxel -> voxel; its own inverse.

    Parameters
    ----------
    to_template : (3, 4) or (4, 4) float array, voxel -> template world, RAS, mm
    """
    there = np.vstack([np.asarray(to_template, np.float64)[:3], [0.0, 0.0, 0.0, 1.0]])
    return np.asarray(np.linalg.inv(there) @ np.diag([-1.0, 1.0, 1.0, 1.0]) @ there)


def differences(own: Float32Array, brain: Mask, way: Affine, widths_mm: tuple[float, ...]) -> list[Float32Array]:
    """By how much tissue is denser than that of the other side, smoothed over tissue; one array a width, HU.

    Where a neighbourhood holds no tissue on both sides it is 0. Computed on every second voxel.

    Parameters
    ----------
    own : (X, Y, Z) float32 array, HU over the brain's median, 0 outside of the brain
    brain : (X, Y, Z) bool array
    way : as ``mirror_of`` gives it
    widths_mm : standard deviations of the smoothing
    """
    smooth = ndimage.gaussian_filter(own, TISSUE_MM / STEP_MM, truncate=2)
    tissue = (brain & (np.abs(smooth) < WITHIN_HU)).astype(np.float32)
    density, share = _coarse(own * tissue), _coarse(tissue)
    coarse = np.diag([COARSE, COARSE, COARSE, 1.0])
    coarse[:3, 3] = (COARSE - 1) / 2
    across = np.linalg.inv(coarse) @ way @ coarse
    their_density, their_share = (
        ndimage.affine_transform(one, across[:3, :3], across[:3, 3], order=1) for one in (density, share)
    )
    known = np.minimum(share, their_share)
    difference = known * (density / np.maximum(share, 1e-3) - their_density / np.maximum(their_share, 1e-3))
    found = []
    for width in widths_mm:
        sigma = width / STEP_MM / COARSE
        weight = ndimage.gaussian_filter(known, sigma, truncate=2.5)
        mean = ndimage.gaussian_filter(difference, sigma, truncate=2.5) / np.maximum(weight, LEAST_TISSUE)
        found.append(_fine(np.where(weight >= LEAST_TISSUE, mean, 0).astype(np.float32), own.shape))
    return found


def _coarse(values: Float32Array) -> Float32Array:
    """Means of blocks of ``COARSE`` voxels along every axis; an end that is left over is filled up with zeros."""
    padded = np.pad(values, [(0, -size % COARSE) for size in values.shape])
    x, y, z = (size // COARSE for size in padded.shape)
    blocks = padded.reshape(x, COARSE, y, COARSE, z, COARSE)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), np.float32)


def _fine(values: Float32Array, shape: tuple[int, ...]) -> Float32Array:
    """Back on the fine grid by linear interpolation."""
    for axis, size in enumerate(shape):
        at = np.clip((np.arange(size) - (COARSE - 1) / 2) / COARSE, 0, values.shape[axis] - 1)
        low = np.minimum(at.astype(int), max(values.shape[axis] - 2, 0))
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).astype(np.float32).reshape([-1 if one == axis else 1 for one in range(3)])
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return np.asarray(values, np.float32)
