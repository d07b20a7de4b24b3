"""What is wrong with a synthetic patient: infarcts with their age and swelling, bleeding, old lesions, white matter.

The age of an infarct says how far each of its signs has come. Diffusion is lowest between half a day and three days and
normal after a week or two; T2 grows over the first two days (Lansberg et al., AJNR 2001;22:637-644; Eastwood et al.,
AJNR 2003;24:680-687); density falls slowly over the first day as water is taken up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.training.synthetic import grid
from models.training.synthetic.grid import smooth
from models.training.synthetic.recipe import Recipe
from tasks.arrays import Affine, Float32Array
from tasks.segmentation import STEP_MM

#: Age of an infarct, hours -> place of each sign in its range, 0 to 1. After the courses named above; knots chosen.
AGE_H = (0.5, 3.0, 12.0, 60.0, 120.0, 240.0)
ADC_BY_AGE = (0.65, 0.4, 0.15, 0.2, 0.55, 1.0)
S0_BY_AGE = (0.0, 0.1, 0.5, 0.9, 0.9, 0.9)
DENSITY_BY_AGE = (0.0, 0.15, 0.5, 0.85, 0.9, 0.9)
SCATTER = 0.3  # of a sign around its place
SWELLS_FROM_H = 3.0


@dataclass(frozen=True, eq=False)
class Disease:
    """What is wrong, voxel by voxel.

    Attributes
    ----------
    tissue : (X, Y, Z) float32 array, share of grey and white matter
    share_grey : (X, Y, Z) float32 array, share of grey matter in the tissue
    infarct : (X, Y, Z) float32 array, share of the infarct
    strength : (X, Y, Z) float32 array, how far each voxel of it has changed
    old, pale, blood : (X, Y, Z) float32 arrays, share of old lesions, of diseased white matter, of a haemorrhage
    age_h : of the infarct
    """

    tissue: Float32Array
    share_grey: Float32Array
    infarct: Float32Array
    strength: Float32Array
    old: Float32Array
    pale: Float32Array
    blood: Float32Array
    age_h: float


def by_age(age_h: float, course: tuple[float, ...], limits: tuple[float, float], scatter: float) -> float:
    """A sign of the infarct: its place in its range by age, and by chance.

    Parameters
    ----------
    age_h : of the infarct
    course : place at every age of ``AGE_H``
    limits : of the sign
    scatter : uniform in [0, 1]

    >>> by_age(12.0, ADC_BY_AGE, (0.4, 0.8), 0.5)
    0.46
    """
    place = float(np.interp(np.log(age_h), np.log(AGE_H), course)) + SCATTER * (2 * scatter - 1)
    return round(limits[0] + (limits[1] - limits[0]) * float(np.clip(place, 0, 1)), 9)


def swollen(infarct: Float32Array, push_mm: float) -> Float32Array:
    """By how much an infarct that swells moves each place, (3, X, Y, Z) float32, voxels: away from it."""
    soft = ndimage.gaussian_filter(infarct, 3.0)
    field = -np.stack(np.gradient(soft)).astype(np.float32)
    largest = float(np.sqrt((field**2).sum(axis=0)).max())
    return np.asarray(field * np.float32(push_mm / STEP_MM / max(1e-6, largest)), np.float32)


def draw_haemorrhage(
    tissue: Float32Array, strength: Float32Array, drawn: Recipe, rng: np.random.Generator
) -> tuple[Float32Array, str]:
    """Share of fresh blood in every voxel, and its kind: in spots of the infarct, or in tissue elsewhere."""
    none = np.zeros(tissue.shape, np.float32)
    if rng.random() >= drawn.haemorrhage:
        return none, "none"
    if strength.max() > 0.5 and rng.random() < 0.5:
        spots = np.clip(smooth(rng, 7.0, 1.0) - rng.uniform(0.3, 1.5), 0, 1)
        return np.asarray(spots * (strength > 0.5) * np.float32(rng.uniform(0.3, 1.0)), np.float32), "in infarct"
    inner = np.argwhere(ndimage.uniform_filter(tissue, 7) > 0.85)
    if not len(inner):
        return none, "none"
    middle = inner[rng.integers(len(inner))]
    radius = np.exp(rng.uniform(np.log(3.0), np.log(22.0))) / STEP_MM * rng.uniform(0.7, 1.3, 3)
    x, y, z = np.ogrid[tuple(slice(0, size) for size in tissue.shape)]
    squares = [((axis - at) / size) ** 2 for axis, at, size in zip((x, y, z), middle, radius, strict=True)]
    distance = np.sqrt(squares[0] + squares[1] + squares[2])
    ball = np.clip((1 - distance + smooth(rng, 14.0, 0.25)) * radius.mean() + 0.5, 0, 1)
    return np.asarray(ball * (tissue > 0.4), np.float32), "in tissue"


def draw_infarct(
    lesion: tuple[Float32Array, Affine] | None,
    template_mm: Float32Array,
    tissue: Float32Array,
    drawn: Recipe,
    rng: np.random.Generator,
) -> tuple[Float32Array, str]:
    """Share of infarct in every voxel, and where it came from."""
    if rng.random() < drawn.no_infarct:
        return np.zeros(grid.GRID_SHAPE, np.float32), "none"
    if lesion is None or rng.random() < drawn.grown:
        return _grown(tissue, rng), "grown"
    mask, affine = lesion
    points = template_mm + rng.uniform(-4, 4, (3, 1, 1, 1)).astype(np.float32)
    inverse = np.linalg.inv(affine).astype(np.float32)
    voxels = np.tensordot(inverse[:3, :3], points, 1) + inverse[:3, 3].reshape(3, 1, 1, 1)
    carried = ndimage.map_coordinates(mask, voxels, order=1, mode="constant", cval=0.0, prefilter=False)
    return np.asarray(carried * (tissue > 0.4), np.float32), "mask"


def _grown(tissue: Float32Array, rng: np.random.Generator) -> Float32Array:
    """One to twenty rough balls of 3 to 40 mm anywhere in the brain: emboli, lacunes, and territories no mask holds."""
    where = np.argwhere(tissue > 0.7)
    total = np.zeros(grid.GRID_SHAPE, np.float32)
    n = int(rng.choice([1, 1, 2, 3, 6, 12, 20]))
    rough = smooth(rng, 10.0, 0.35)
    largest = float(rng.choice([4.0, 8.0, 20.0])) if n > 1 else float(rng.choice([6.0, 15.0, 30.0, 45.0]))
    for _ in range(n):
        at = where[rng.integers(len(where))]
        radius = rng.uniform(2.5, largest) / STEP_MM / 2 + 0.6
        axes = radius * rng.uniform(0.6, 1.4, 3)
        reach = np.ceil(axes * 2.2).astype(int) + 1
        box = tuple(slice(max(0, a - r), min(s, a + r + 1)) for a, r, s in zip(at, reach, grid.GRID_SHAPE, strict=True))
        x, y, z = np.ogrid[box]
        distance = np.sqrt(((x - at[0]) / axes[0]) ** 2 + ((y - at[1]) / axes[1]) ** 2 + ((z - at[2]) / axes[2]) ** 2)
        total[box] = np.maximum(total[box], np.clip((1 - distance + rough[box]) * radius + 0.5, 0, 1))
    return np.asarray(total * (tissue > 0.4), np.float32)


def strength_of(
    infarct: Float32Array, grey: Float32Array, tissue: Float32Array, drawn: Recipe, rng: np.random.Generator
) -> Float32Array:
    """How far each voxel has changed, 0 to 1: soft at the edge, uneven inside, grey before white."""
    if not infarct.any():
        return infarct
    changed = infarct
    if rng.random() < drawn.fade:
        changed = ndimage.gaussian_filter(infarct, rng.uniform(0.2, 0.9))
        uneven = np.clip(1 + smooth(rng, float(rng.uniform(8, 24)), float(rng.uniform(0, 0.35))), 0.35, 1.25)
        changed = changed * uneven
    less_white = np.float32(rng.uniform(0.75, 1.05))
    share_grey = grey / np.maximum(tissue, 1e-3)
    return np.asarray(changed * (less_white + (1 - less_white) * share_grey), np.float32)


def draw_old_lesion(tissue: Float32Array, infarct: Float32Array, rng: np.random.Generator) -> Float32Array:
    """An old infarct or lacunes: fluid in the place of tissue."""
    old = _grown(tissue, rng)
    return np.asarray(old * (infarct < 0.1), np.float32)


def draw_leukoaraiosis(white: Float32Array, ventricle: Float32Array, rng: np.random.Generator) -> Float32Array:
    """White matter disease around the ventricles and in spots, 0 to 1."""
    near = ndimage.gaussian_filter(ventricle, rng.uniform(1.5, 4.0))
    near = near / max(1e-3, float(near.max()))
    spots = np.clip(smooth(rng, 9.0, 1.0) - rng.uniform(1.3, 2.6), 0, 1)
    return np.asarray(white * np.clip(near * rng.uniform(0.3, 1.5) + spots, 0, 1), np.float32)
