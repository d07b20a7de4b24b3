"""Grids around the origin, and the same voxels stored with axes in another order and direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def centred(
    shape: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """World coordinates (RAS, mm) of every voxel of a grid around the origin, and its affine."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-spacing_mm[axis] * (shape[axis] - 1) / 2 for axis in range(3)]
    grid = np.indices(shape).astype(float)
    return [grid[axis] * spacing_mm[axis] + affine[axis, 3] for axis in range(3)], affine


def stored(
    shape: Sequence[int], order: Sequence[int], flips: Sequence[bool]
) -> tuple[npt.NDArray[np.float64], tuple[slice, ...]]:
    """Stored voxel -> voxel of the grid, (4, 4), and the cut of a transposed array that flips its axes."""
    back = np.zeros((4, 4))
    back[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        back[old, new] = -1 if flip else 1
        back[old, 3] = shape[old] - 1 if flip else 0
    return back, tuple(slice(None, None, -1 if flip else 1) for flip in flips)
