"""The grid of synthetic patients: smooth random fields, values by tissue, slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.training.anatomies import CODE, TISSUES
from models.training.synthetic.recipe import Recipe
from tasks.arrays import Float32Array, FloatArray, Mask
from tasks.segmentation import STEP_MM

GRID_SHAPE = (96, 112, 96)  # voxels of the grid: 192 x 224 x 192 mm holds any adult brain turned by 20 degrees
N_TISSUES = len(TISSUES)
GREY = ("grey", "deep_grey", "caudate", "putamen", "thalamus", "cerebellar_grey")
WHITE = ("white", "pallidum", "cerebellar_white", "brainstem")
FLUID = ("csf", "ventricle", "choroid_plexus")


def smooth(rng: np.random.Generator, knots_mm: float, spread: float) -> Float32Array:
    """A smooth random field on the grid with the given standard deviation: a cubic B-spline of random coefficients."""
    bases = [_splines(size, knots_mm, float(rng.random())) for size in GRID_SHAPE]
    coarse = rng.standard_normal(tuple(basis.shape[1] for basis in bases)).astype(np.float32)
    field = np.einsum("abc,za->zbc", coarse, bases[0], optimize=True)
    field = np.einsum("zbc,yb->zyc", field, bases[1], optimize=True)
    field = field @ bases[2].T
    return np.asarray(field * np.float32(spread / max(1e-6, float(field.std()))), dtype=np.float32)


def _splines(size: int, knots_mm: float, shift: float) -> Float32Array:
    """Cubic B-splines at every voxel of one axis, (voxels, knots)."""
    at = np.arange(size) * (STEP_MM / knots_mm) + shift
    distance = np.abs(at[:, None] - np.arange(-1, int(np.ceil(at[-1])) + 2)[None])
    near, far = distance < 1, (distance >= 1) & (distance < 2)
    basis = near * (2 / 3 - distance**2 + distance**3 / 2) + far * ((2 - distance) ** 3 / 6)
    return np.asarray(basis, dtype=np.float32)


def share_of(samples: Sequence[npt.NDArray[np.uint8]], tissues: Sequence[str]) -> Float32Array:
    """Share of some tissues in every voxel."""
    table = np.zeros(N_TISSUES, np.uint8)
    table[[CODE[name] for name in tissues]] = 1
    return np.asarray(_summed(samples, table) / np.float32(len(samples)), np.float32)


def symmetric_field(template_mm: Float32Array, where: Mask, knots_mm: float, rng: np.random.Generator) -> Float32Array:
    """A smooth random field of standard deviation one, alike on both sides of the template; 0 where it is not asked."""
    coarse = rng.standard_normal((9, 17, 15)).astype(np.float32)
    x, y, z = template_mm[:, where]
    at = np.stack([np.abs(x) / knots_mm + 1, (y + 18) / knots_mm + 8, (z - 5) / knots_mm + 7])
    field = np.zeros(where.shape, np.float32)
    field[where] = ndimage.map_coordinates(coarse, at, order=1, mode="mirror")
    return field


def by_table(samples: Sequence[npt.NDArray[np.uint8]], table: FloatArray) -> Float32Array:
    """Mean of a value per tissue over the points of each voxel."""
    return np.asarray(_summed(samples, table.astype(np.float32)) / np.float32(len(samples)), np.float32)


def _summed(samples: Sequence[npt.NDArray[np.uint8]], table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sum of a value per tissue over the points of each voxel; ``clip`` spares a copy: all codes are known."""
    total = np.take(table, samples[0], mode="clip")
    one = np.empty_like(total)
    for codes in samples[1:]:
        total += np.take(table, codes, out=one, mode="clip")
    return total


def as_slices(image: Float32Array, thickness_mm: float, gap: float, first: float) -> Float32Array:
    """What a stack of slices keeps, back on the grid: a mean over each slice, linear in between."""
    step = thickness_mm * (1 + gap) / STEP_MM
    if step <= 1.05:
        return image
    width = thickness_mm / STEP_MM
    centres = np.arange(first, GRID_SHAPE[2] - 1, step)
    edges = np.stack([centres - width / 2, centres + width / 2]) + 0.5
    total = np.concatenate([np.zeros((*GRID_SHAPE[:2], 1), np.float32), np.cumsum(image, axis=2)], axis=2)
    at = np.clip(edges, 0, GRID_SHAPE[2])
    whole = np.minimum(at.astype(int), GRID_SHAPE[2] - 1)
    part = (at - whole).astype(np.float32)
    summed = total[:, :, whole] + part * image[:, :, whole]
    kept = (summed[:, :, 1] - summed[:, :, 0]) / np.float32(width)
    position = np.clip((np.arange(GRID_SHAPE[2]) - first) / step, 0, len(centres) - 1)
    low = np.minimum(position.astype(int), len(centres) - 2) if len(centres) > 1 else np.zeros(GRID_SHAPE[2], int)
    weight = (position - low).astype(np.float32)
    following = kept[:, :, np.minimum(low + 1, len(centres) - 1)]
    return np.asarray(kept[:, :, low] * (1 - weight) + following * weight, dtype=np.float32)


def sheared(image: Float32Array, tilt_deg: float) -> Float32Array:
    """Every row moved up by its distance from the middle: slices of a tilted gantry lie level."""
    rows, levels = np.ogrid[: GRID_SHAPE[1], : GRID_SHAPE[2]]
    at = np.clip(levels + np.tan(np.deg2rad(tilt_deg)) * (rows - (GRID_SHAPE[1] - 1) / 2), 0, GRID_SHAPE[2] - 1)
    low = np.minimum(at.astype(int), GRID_SHAPE[2] - 2)
    part = (at - low).astype(np.float32)
    return np.asarray(image[:, rows, low] * (1 - part) + image[:, rows, low + 1] * part, np.float32)


def draw_slices(drawn: Recipe, rng: np.random.Generator) -> tuple[float, float, float]:
    """Thickness (mm), gap as a share of it, and height of the first slice."""
    if rng.random() < drawn.thin_slices:
        return 2.0, 0.0, 0.0
    return float(rng.uniform(*drawn.slice_mm)), float(rng.choice([0.0, 0.0, 0.1, 0.2, 0.3])), float(rng.uniform(0, 2))
