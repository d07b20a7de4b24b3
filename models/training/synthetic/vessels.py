"""Vessels of a synthetic patient: the anatomy's trees (``trees``) on the grid, the artery of an infarct occluded.

A patient shows some of the twigs, and an occlusion closes what lies beyond one point of the arteries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.training.anatomies import Anatomy
from models.training.synthetic import grid
from models.training.synthetic.recipe import Recipe
from models.training.synthetic.trees import Tree, trees_of
from tasks.arrays import Float32Array, FloatArray, Mask
from tasks.segmentation import STEP_MM

CLOSE_MM = 1.5  # points further apart get two between them
FINE = 2  # points of the grid per voxel and axis when tubes are filled
BESIDE_INFARCT_MM = 6.0  # a vessel this near to it feeds the infarct


@dataclass(frozen=True, eq=False)
class Vessels:
    """What a patient's voxels hold of vessels, (X, Y, Z) float32 arrays.

    Attributes
    ----------
    share : of all vessels
    arteries, veins : of those with contrast agent, times their relative enhancement
    clot : of the clot in the artery
    """

    share: Float32Array
    arteries: Float32Array
    veins: Float32Array
    clot: Float32Array


def draw_vessels(
    anatomy: Anatomy, places: Float32Array, infarct: Float32Array, drawn: Recipe, rng: np.random.Generator
) -> tuple[Vessels, dict[str, float | str]]:
    """The vessels of a patient; the artery of an infarct is occluded by the recipe.

    Parameters
    ----------
    places : (3, X, Y, Z) float32 array, voxel of the anatomy of every voxel of the grid
    infarct : (X, Y, Z) float32 array, share
    """
    arteries, veins = trees_of(anatomy)
    calibre, twigs = rng.uniform(*drawn.calibre), rng.uniform(*drawn.twigs)
    at = _on_grid(arteries.points, places)
    filling = np.ones(len(at))
    clot = np.zeros(len(at), bool)
    facts: dict[str, float | str] = {"occlusion": "none", "collateral": 1.0}
    is_closed, collateral = rng.random() < drawn.occluded, float(rng.uniform(*drawn.collateral))
    if is_closed and infarct.any() and (found := _feeding(arteries, at, infarct, rng)) is not None:
        below, point = found
        filling[below] = collateral
        clot = below & (np.linalg.norm(at - at[point], axis=1) * STEP_MM < rng.uniform(3, 12))
        filling[clot] = 0
        facts = {"occlusion": "twig" if arteries.is_twig[point] else "trunk", "collateral": collateral}
    shown = ~arteries.is_twig | (arteries.twig < twigs)
    radius = arteries.radius_mm * calibre
    share = _tubes(at, arteries.parent, shown, radius, np.ones(len(at)))
    filled = _tubes(at, arteries.parent, shown, radius, filling) if (filling < 1).any() else share
    clotted = _tubes(at, arteries.parent, clot & shown, radius, np.ones(len(at)))
    seen = ~veins.is_twig | (veins.twig < twigs)
    own = _on_grid(veins.points, places)
    venous = _tubes(own, veins.parent, seen, veins.radius_mm * calibre, np.ones(len(own)))
    return Vessels(np.maximum(share, venous), filled, np.asarray(venous * (1 - share), np.float32), clotted), facts


def _on_grid(points: FloatArray, places: Float32Array) -> FloatArray:
    """Voxels of the grid whose places are the points: the inverse by steps, (N, 3)."""
    middle = np.asarray(places.shape[1:]) // 2
    here = tuple(middle)
    centre = places[(slice(None), *here)].astype(np.float64)
    columns = []
    for axis in range(3):
        reach = middle.copy()
        reach[axis] += 8
        columns.append((places[(slice(None), *reach)] - centre) / 8)
    inverse = np.linalg.inv(np.array(columns).T)
    at = (points - centre) @ inverse.T + middle
    for _ in range(5):
        there = np.stack([ndimage.map_coordinates(one, at.T, order=1, mode="nearest") for one in places], axis=1)
        at = at + (points - there) @ inverse.T
    return np.asarray(at)


def _feeding(tree: Tree, at: FloatArray, infarct: Float32Array, rng: np.random.Generator) -> tuple[Mask, int] | None:
    """Points beyond an occlusion, and its place; None where no vessel is near to the infarct.

    The place is where the twigs that lie beyond and those beside the infarct agree best (Dice, and a little chance).
    """
    near = ndimage.maximum_filter(infarct > 0.5, int(BESIDE_INFARCT_MM / STEP_MM) * 2 + 1)
    index = np.clip(np.rint(at).astype(int), 0, np.array(infarct.shape) - 1)
    feeds = near[tuple(index.T)] & tree.is_twig
    if not feeds.any():
        return None
    beyond, own = tree.is_twig.astype(float), feeds.astype(float)
    for point in range(len(at) - 1, -1, -1):
        if (up := tree.parent[point]) != point:
            beyond[up] += beyond[point]
            own[up] += own[point]
    score = 2 * own / (beyond + feeds.sum() + 1) * rng.uniform(0.8, 1.0, len(at))
    chosen = int(np.argmax(score))
    below = np.zeros(len(at), bool)
    below[chosen] = True
    for point in range(chosen + 1, len(at)):
        below[point] = below[tree.parent[point]]
    return below, chosen


def _tubes(
    points: FloatArray, parent: npt.NDArray[np.intp], shown: Mask, radius_mm: FloatArray, value: FloatArray
) -> Float32Array:
    """Share of each voxel that lies within tubes around points and the ways to their parents, times the value of the
    point; the largest where they cross. A tube thinner than the finer grid fills its cross-section's share of it.
    """
    own = np.flatnonzero(shown)
    gap_mm = np.linalg.norm(points[parent[own]] - points[own], axis=1) * STEP_MM
    far = own[gap_mm > CLOSE_MM]
    between = [points[far] + share * (points[parent[far]] - points[far]) for share in (1 / 3, 2 / 3)]
    at = np.concatenate([points[own], *between])
    chosen = np.concatenate([own, far, far])
    radius_mm, value = radius_mm[chosen], value[chosen]
    shape = grid.GRID_SHAPE
    limits = np.array(shape) * FINE
    where = (at + 0.5) * FINE - 0.5
    radius = radius_mm * FINE / STEP_MM
    area = np.minimum(1.0, np.pi * radius**2)
    fine = np.zeros(limits, np.float32).ravel()
    touched = [np.zeros(0, np.intp)]
    largest = int(np.ceil(radius.max(initial=0) + 0.5))
    for step in np.ndindex((2 * largest + 1,) * 3):
        offset = np.subtract(step, largest)
        reached = radius + 1 > np.linalg.norm(offset)
        if not reached.any():
            continue
        voxel = np.rint(where[reached]).astype(int) + offset
        distance = np.linalg.norm(voxel - where[reached], axis=1)
        inside = np.clip(radius[reached] - distance + 0.5, 0, 1)
        share = np.where(radius[reached] < 0.6, np.clip(1 - distance, 0, 1) * area[reached], inside) * value[reached]
        known = (share > 0) & ((voxel >= 0) & (voxel < limits)).all(axis=1)
        index = np.ravel_multi_index(tuple(voxel[known].T), tuple(limits))
        np.maximum.at(fine, index, share[known].astype(np.float32))
        touched.append(index)
    found = np.unique(np.concatenate(touched))
    blocks = np.ravel_multi_index(tuple(one // FINE for one in np.unravel_index(found, tuple(limits))), shape)
    return np.bincount(blocks, fine[found] / FINE**3, int(np.prod(shape))).reshape(shape).astype(np.float32)
