"""The grid on which a network sees a scan: 2 mm along the scan's own axes, turned to RAS, around the brain.

Images come onto it by linear interpolation after the scan was averaged to no finer than the grid; what a network says
comes back by linear interpolation. ``affine`` is voxel -> world, RAS, mm.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, Mask
from tasks.segmentation import STEP_MM, WINDOW
from tasks.space.affines import voxel_sizes_mm
from tasks.space.boxes import occupied
from tasks.space.resample import Grid, resample_image

GRID_MARGIN_MM = 4.0  # around the brain: what is outside of it is 0 in most channels
IDENTITY = np.eye(4)


def network_grid(brain: Mask, affine: Affine) -> Grid:
    """The grid around a brain, no smaller than what a network is shown at once, and no larger where the brain fits.

    Parameters
    ----------
    brain : (X, Y, Z) bool array on the scan
    affine : (4, 4) float array of the scan

    Raises
    ------
    ValueError
        The mask is empty.
    """
    if not brain.any():
        raise ValueError("brain must hold at least one voxel, got none. Check the brain mask.")
    turned = nib.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    directions = np.zeros((3, 3))
    spacing = voxel_sizes_mm(affine)
    for axis, (onto, sign) in enumerate(turned):
        directions[:, int(onto)] = sign * affine[:3, axis] / spacing[axis]
    boxes = [seen[[0, -1]] for seen in occupied(brain)]
    corners = np.array(np.meshgrid(*[(low - 0.5, high + 0.5) for low, high in boxes])).reshape(3, -1)
    world = affine[:3, :3] @ corners + affine[:3, 3:]
    along = np.linalg.solve(directions, world)
    low, high = along.min(axis=1), along.max(axis=1)
    nx, ny, nz = (grid_size(float(one), least) for one, least in zip((high - low) / STEP_MM, WINDOW, strict=True))
    grid_affine = np.eye(4)
    grid_affine[:3, :3] = directions * STEP_MM
    first = (low + high) / 2 - (np.array([nx, ny, nz]) - 1) / 2 * STEP_MM
    grid_affine[:3, 3] = directions @ first
    return Grid((nx, ny, nz), grid_affine)


def grid_size(extent: float, least: int) -> int:
    """Voxels of the grid along one axis: what a network is shown at once if the brain fits, else brain and margin.

    A brain fits if half a voxel is left on either side, so that all of it lies between the middles of voxels.

    >>> grid_size(70, 80), grid_size(79, 80), grid_size(79.5, 80)
    (80, 80, 84)
    """
    return least if extent + 1 <= least else int(np.ceil(extent + 2 * GRID_MARGIN_MM / STEP_MM))


def to_network_grid(image: Float32Array, affine: Affine, grid: Grid, *, outside: float = 0.0) -> Float32Array:
    """A scan on the grid; where its voxels are finer, they are averaged first.

    Parameters
    ----------
    image : (X, Y, Z) float32 array
    affine : (4, 4) float array of the image
    grid : Grid
    outside : value beyond the scan
    """
    sigma = np.sqrt(np.maximum(0, (STEP_MM / voxel_sizes_mm(affine)) ** 2 - 1)) * np.sqrt(1 / 12)  # of a box's width
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), sigma) if sigma.any() else image
    return resample_image(smooth, affine, grid, IDENTITY, outside=outside)


def to_scan(values: Float32Array, grid: Grid, shape: tuple[int, int, int], affine: Affine) -> Float32Array:
    """What was found on the grid at the voxels of the scan, 0 beyond the grid."""
    return resample_image(values, grid.affine, Grid(shape, affine), IDENTITY)
