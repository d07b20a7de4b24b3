"""Size and shape of a region's surface mesh: pyradiomics' numbers without its loop over all pairs of vertices.

pyradiomics puts the mesh through the midpoints of the edges between a voxel of the region and one outside (marching
cubes), 2 x 2 x 2 voxels, a *cube*, at a time. What a cube gives depends on which of its eight corners belong to the
region, its *code*, and on nothing else: so area and volume are sums over the codes that occur. What each code gives is
asked of pyradiomics itself. The largest distances between vertices need the outermost vertices only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from radiomics import cShape
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from tasks.arrays import BoolArray, FloatArray, IntArray, Mask

N_CODES = 256


@dataclass(frozen=True)
class Mesh:
    """The surface mesh of a region.

    Attributes
    ----------
    area_mm2, volume_mm3 : float
    diameters_mm : (4,) tuple of float
        Largest distance between vertices that share their z, their y, their x, and between any two.
    """

    area_mm2: float
    volume_mm3: float
    diameters_mm: tuple[float, float, float, float]


def measure_mesh(mask: Mask, spacing_mm: tuple[float, float, float]) -> Mesh:
    """Measure the mesh around a region, as ``radiomics.cShape.calculate_coefficients`` does.

    Parameters
    ----------
    mask : (Z, Y, X) bool array with at least one voxel of the region; a border is added
    spacing_mm : voxel size along z, y and x
    """
    padded = np.pad(mask, 1)
    codes = _codes(padded)
    places = np.flatnonzero((codes != 0) & (codes != N_CODES - 1))
    found = codes.reshape(-1)[places]
    counts = np.bincount(found, minlength=N_CODES)
    volumes, per_step = _volumes()
    volume = counts @ volumes
    for axis, where in enumerate(np.unravel_index(places, codes.shape)):
        volume += np.bincount(found, weights=where, minlength=N_CODES) @ per_step[:, axis]
    return Mesh(float(counts @ _areas(spacing_mm)), float(volume * np.prod(spacing_mm)), _diameters(padded, spacing_mm))


def _codes(mask: Mask) -> IntArray:
    """The code of the cube above every voxel but the last of each axis: bit 4 z + 2 y + x is the corner (z, y, x)."""
    pairs = mask.astype(np.int64)
    for bit, axis in ((1, 2), (2, 1), (4, 0)):
        low, high = (np.delete(pairs, place, axis) for place in (-1, 0))
        pairs = low | (high << bit)
    return pairs


@cache
def _cubes() -> BoolArray:
    """(256, 2, 2, 2) bool array, the corners of every code."""
    return (np.arange(N_CODES)[:, None] >> np.arange(8) & 1).astype(bool).reshape(-1, 2, 2, 2)


@lru_cache(maxsize=8)
def _areas(spacing_mm: tuple[float, float, float]) -> FloatArray:
    """(256,) float array, area of the mesh in a cube of every code, mm2."""
    spacing = np.array(spacing_mm)
    return np.array([cShape.calculate_coefficients(cube, spacing)[0] for cube in _cubes()])


@cache
def _volumes() -> tuple[FloatArray, FloatArray]:
    """Signed volume between the origin and the mesh in a cube of every code, in voxels.

    Returns
    -------
    (256,) float array of a cube at the origin, and (256, 3) float array of what it gains with every step of the cube
    along z, y and x.
    """
    ones = np.ones(3)
    cubes = _cubes()
    at_origin = np.array([cShape.calculate_coefficients(cube, ones)[1] for cube in cubes])
    per_step = np.empty((N_CODES, 3))
    for code, cube in enumerate(cubes):
        for axis in range(3):
            # a first plane set before the cube moves it by one step, and makes another cube at the origin
            first = cube.take([0], axis)
            both = cShape.calculate_coefficients(np.concatenate([first, cube], axis), ones)[1]
            other = int(_codes(np.concatenate([first, first], axis)).item())
            per_step[code, axis] = both - at_origin[other] - at_origin[code]
    return at_origin, per_step


def _diameters(padded: Mask, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float, float]:
    """Largest distances between vertices in planes across z, y and x, and between any two, mm."""
    vertices = _vertices(padded)
    half = np.array(spacing_mm) / 2
    # rows along x of z-planes are those of y-planes, too; of x-planes they run along y, where there are most voxels
    z, y, first_x, last_x = _rows(vertices, (0, 1, 2))
    across_z = _widest((z, y, first_x, last_x), half[[1, 2]])
    across_y = _widest((y, z, first_x, last_x), half[[0, 2]])
    x, z_of_x, first_y, last_y = _rows(vertices, (2, 0, 1))
    across_x = _widest((x, z_of_x, first_y, last_y), half[[0, 1]])
    ends = np.concatenate([np.stack([z, y, first_x], 1), np.stack([z, y, last_x], 1)]) * half
    outermost = ends[ConvexHull(ends).vertices]
    return across_z, across_y, across_x, float(pdist(outermost).max())


def _vertices(padded: Mask) -> IntArray:
    """(n, 3) int array, vertices along z, y and x in half voxels."""
    found = []
    for axis in range(3):
        ahead = [slice(None)] * 3
        behind = list(ahead)
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        places = 2 * np.argwhere(padded[tuple(ahead)] != padded[tuple(behind)])
        places[:, axis] += 1
        found.append(places)
    return np.concatenate(found)


def _rows(vertices: IntArray, axes: tuple[int, int, int]) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """First and last vertex along the third axis in every row, which the other two axes number."""
    a, b, c = (vertices[:, axis] for axis in axes)
    shape = (a.max() + 1, b.max() + 1)
    rows = np.ravel_multi_index((a, b), shape)
    first, last = np.full(shape[0] * shape[1], c.max() + 1), np.full(shape[0] * shape[1], -1)
    np.minimum.at(first, rows, c)
    np.maximum.at(last, rows, c)
    there = np.flatnonzero(last >= 0)
    numbers = np.unravel_index(there, shape)
    return numbers[0], numbers[1], first[there], last[there]


def _widest(rows: tuple[IntArray, IntArray, IntArray, IntArray], half_mm: FloatArray) -> float:
    """Largest distance within any plane, mm, from the rows of all: plane, place in it, first and last vertex."""
    plane, place, first, last = rows
    shape = (plane.max() + 1, place.max() + 1)
    none = 2 * (last.max() + 1)
    firsts, lasts = np.full(shape, none, np.int16), np.full(shape, -none, np.int16)
    firsts[plane, place], lasts[plane, place] = first, last
    width = (lasts[:, :, None] - firsts[:, None, :]).max(axis=0)
    step = np.arange(shape[1])
    apart = np.subtract.outer(step, step) * half_mm[0]
    # where the one row ends before the other begins, the same two rows the other way round lie further apart
    squared = np.where(width >= 0, (width * half_mm[1]) ** 2 + apart**2, 0.0)
    return float(np.sqrt(squared.max()))
