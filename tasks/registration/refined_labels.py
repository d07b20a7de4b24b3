"""Label maps of the template on a scan, through a nonlinear refinement (``tasks.registration.refinement``).

A displacement changes over centimetres, labels over voxels: the displacement is read at nodes a few millimetres apart
and interpolated between them, which leaves one look-up per voxel.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.arrays import Affine, AnyArray, Element, Float32Array
from tasks.registration.refinement import Refinement
from tasks.space.affines import voxel_sizes_mm
from tasks.space.boxes import VoxelBox, box_around, corners_around
from tasks.space.resample import Grid

#: Distance of the nodes. The displacement is smoothed over 6 mm, so that a straight line over 3 mm misses it by less
#: than 0.02 mm; one label in a thousand differs from that of the displacement itself.
NODE_MM = 3.0


def labels_to_scan(
    labels: npt.NDArray[Element], affine: Affine, grid: Grid, refinement: Refinement
) -> npt.NDArray[Element]:
    """A label map of the template on a scan's grid, nearest neighbour.

    Parameters
    ----------
    labels : (X, Y, Z) integer or bool array
    affine : (4, 4) float array of the labels, voxel -> template world, RAS, mm
    grid : Grid
        The scan's.
    refinement : Refinement

    Returns
    -------
    Array of the grid's shape and of the labels' type

    Raises
    ------
    TypeError
        The labels are no integers.
    """
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers or bool, got {labels.dtype}. Round them where they are read.")
    moved: npt.NDArray[Element] = np.zeros(grid.shape, dtype=labels.dtype)
    box = _box(labels, affine, grid, refinement)
    part = moved[box]
    if not part.size:
        return moved
    shift = np.eye(4)
    shift[:3, 3] = [one.start for one in box]
    index = np.zeros(part.shape, dtype=np.int32)
    is_inside = np.ones(part.shape, dtype=bool)
    for axis, places in enumerate(_places(part.shape, grid.affine @ shift, affine, refinement)):
        nearest = np.floor(places + np.float32(0.5)).astype(np.int32)
        is_inside &= (nearest >= 0) & (nearest < labels.shape[axis])
        index = index * np.int32(labels.shape[axis]) + nearest
    part[is_inside] = labels.reshape(-1)[index[is_inside]]
    return moved


def _places(shape: tuple[int, ...], grid_affine: Affine, affine: Affine, refinement: Refinement) -> list[Float32Array]:
    """Where a scan's voxels lie on the labels' grid, one array per axis, voxels."""
    to_lattice = np.linalg.inv(refinement.matrix @ refinement.affine) @ grid_affine
    onward = np.linalg.inv(affine) @ refinement.affine
    spacing = voxel_sizes_mm(grid_affine)
    counts = [min(size, 2 + int((size - 1) * step / NODE_MM)) for size, step in zip(shape, spacing, strict=True)]
    ends = [np.linspace(0, size - 1, count) for size, count in zip(shape, counts, strict=True)]
    nodes = np.stack(np.meshgrid(*ends, indexing="ij"))
    on_lattice = np.tensordot(to_lattice[:3, :3], nodes, 1) + to_lattice[:3, 3][:, None, None, None]
    in_voxels = refinement.inverse @ np.linalg.inv(affine[:3, :3]).T
    along, across, up = (_linear(size, count) for size, count in zip(shape, counts, strict=True))
    whole = onward @ to_lattice
    i, j, k = np.ogrid[tuple(slice(size) for size in shape)]
    places = []
    for axis in range(3):
        shift = ndimage.map_coordinates(in_voxels[..., axis], on_lattice, order=1, output=np.float32)
        spread = np.tensordot(np.tensordot(along, shift, (1, 0)), up, (2, 1))
        plain = whole[axis, 0] * i + whole[axis, 1] * j + whole[axis, 2] * k + whole[axis, 3]
        places.append(np.einsum("jm,imk->ijk", across, spread, optimize=True) + plain.astype(np.float32))
    return places


def _linear(size: int, count: int) -> Float32Array:
    """Weights of ``count`` evenly spaced nodes at ``size`` points from the first to the last, (size, count)."""
    places = np.linspace(0, count - 1, size)
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))), dtype=np.float32)


def _box(labels: AnyArray, affine: Affine, grid: Grid, refinement: Refinement) -> VoxelBox:
    """The part of a scan's grid that labels of the template can reach."""
    world = corners_around(labels != 0) @ affine[:3, :3].T + affine[:3, 3]
    reach = refinement.largest_mm * np.array(list(itertools.product((-1, 1), repeat=3)))
    to_voxel = np.linalg.inv(grid.affine) @ refinement.matrix
    return box_around((world[:, None] + reach).reshape(-1, 3) @ to_voxel[:3, :3].T + to_voxel[:3, 3], grid.shape)
