"""The part of one grid that something on another can reach: most of a head's field of view holds nothing of it."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.arrays import FloatArray, Mask

VoxelBox = tuple[slice, slice, slice]


def occupied(mask: Mask) -> list[npt.NDArray[np.intp]]:
    """Where along each axis a mask of three axes has any voxel."""
    return [np.flatnonzero(mask.any(axis=tuple(one for one in range(3) if one != axis))) for axis in range(3)]


def corners_around(mask: Mask) -> FloatArray:
    """The corners, (8, 3), voxels, between which a mask lies, with a voxel to spare below."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    x, y, z = found[0] if found else (slice(0, 0),) * 3
    return np.array(list(itertools.product(*((one.start - 1, one.stop) for one in (x, y, z)))), dtype=np.float64)


def box_around(places: FloatArray, shape: tuple[int, int, int]) -> VoxelBox:
    """The voxels of a grid between places on it, empty where these lie beside it.

    Parameters
    ----------
    places : (n, 3) float array, voxels
    shape : of the grid
    """
    low, high = np.floor(places.min(axis=0)), np.ceil(places.max(axis=0)) + 1
    first, last = (np.clip(one, 0, shape).astype(int) for one in (low, high))
    return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])
