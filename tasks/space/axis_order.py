"""The same voxels stored with axes in another order or direction: brought to a grid without interpolating."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.arrays import Element
from tasks.space.resample import Grid

#: Voxels of two files that differ by less than this share of a voxel are the same voxel: headers round.
SAME_VOXEL = 0.25


@dataclass(frozen=True)
class AxisOrder:
    """How the axes of one grid run along those of another.

    Attributes
    ----------
    order : for each axis of the other grid, the axis of this one that runs along it
    flips : for each axis of the other grid, whether this one counts the other way
    has_same_shape : whether the grids then have as many voxels along every axis
    largest_distance : how far a voxel then lies from its like, voxels of the other grid along any axis
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    has_same_shape: bool
    largest_distance: float

    @property
    def is_same_grid(self) -> bool:
        """Whether both grids have the same voxels."""
        return self.has_same_shape and self.largest_distance <= SAME_VOXEL


def axis_order(grid: Grid, other: Grid) -> AxisOrder:
    """How the axes of ``grid`` run along those of ``other``.

    >>> here = Grid((2, 3, 4), np.diag([1.0, 1, 5, 1]))
    >>> flipped = Grid((2, 3, 4), here.affine @ np.array([[-1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    >>> axis_order(flipped, here).flips, axis_order(flipped, here).is_same_grid
    ((True, False, False), True)
    """
    to_other = np.linalg.inv(other.affine) @ grid.affine
    ways = itertools.permutations(range(3))
    x, y, z = max(ways, key=lambda way: sum(abs(to_other[axis, old]) for axis, old in enumerate(way)))
    order = (x, y, z)
    flips = (bool(to_other[0, x] < 0), bool(to_other[1, y] < 0), bool(to_other[2, z] < 0))
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, size - 1) for size in grid.shape))], float)
    expected = np.stack(
        [other.shape[axis] - 1 - corners[:, old] if flips[axis] else corners[:, old] for axis, old in enumerate(order)]
    )
    distance = float(np.abs((to_other @ corners.T)[:3] - expected).max())
    return AxisOrder(order, flips, tuple(grid.shape[old] for old in order) == other.shape, distance)


def in_axis_order(values: npt.NDArray[Element], way: AxisOrder) -> npt.NDArray[Element]:
    """A view of (X, Y, Z) voxels with their axes as those of the other grid."""
    return values.transpose(way.order)[tuple(slice(None, None, -1 if flip else 1) for flip in way.flips)]
