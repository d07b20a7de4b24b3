"""The two sides of every region as a pair of patches that look alike: what DA-Net is shown (Cao 2022, section 2.4).

A CT is brought onto a grid along the template's axes, which is symmetric about the midline, averaged to the grid's
spacing, in a window of densities from -1 to 1, all else than brain at -1. A patch lies around the middle of its region;
that of a right region is cut from the mirrored grid. Regions are cut where the registration puts them on the scan.

Arrays of patches are ordered (side, Z, Y, X), left before right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, IntegerArray, Mask
from tasks.space.affines import voxel_sizes_mm
from tasks.space.resample import Grid, resample_image, resample_labels

#: Template box that holds the middle of every region with room to spare, RAS, mm: x is its half.
HALF_WIDTH_MM, BOX_Y_MM, BOX_Z_MM = 75.0, (-90.0, 75.0), (-40.0, 75.0)
OUTSIDE = -1.0  # of the brain: as what is far below the window


@dataclass(frozen=True)
class PatchRecipe:
    """How patches are cut, and what their values mean.

    Attributes
    ----------
    shape : voxels along z, y and x
    spacing_mm : of these voxels, in template mm
    width_hu : densities from -1 to 1
    level_hu : density of 0; None takes the median of the brain, since heads and scanners differ by more than an infarct
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    width_hu: float
    level_hu: float | None = None


@dataclass(frozen=True, eq=False)
class PairedPatches:
    """Pairs of patches of some regions.

    Attributes
    ----------
    images : (regions, 2, Z, Y, X) float32 array, -1 to 1
    masks : (regions, 2, Z, Y, X) bool array, the region in each patch
    is_there : (regions, 2) bool array, whether the region has a voxel; a patch without is empty
    """

    images: Float32Array
    masks: Mask
    is_there: Mask


def paired_patches(
    image: Float32Array,
    affine: Affine,
    brain: Mask,
    labels: IntegerArray,
    pairs: Sequence[tuple[int, int]],
    moving_to_fixed: Affine,
    recipe: PatchRecipe,
) -> PairedPatches:
    """Cut a pair of patches for every pair of labels.

    Parameters
    ----------
    image : (X, Y, Z) float array, HU
    affine : (4, 4) float array of the image, voxel -> world, RAS, mm
    brain : (X, Y, Z) bool array with a voxel
    labels : (X, Y, Z) integer array, 0 = no label
    pairs : labels of a region on the left and on the right
    moving_to_fixed : (4, 4) float array, scan world -> template world
    recipe : PatchRecipe

    Raises
    ------
    ValueError
        The brain is empty.
    """
    if not brain.any():
        raise ValueError("brain must hold at least one voxel, got none. Check the brain mask.")
    grid, to_scan = patch_grid(recipe), np.asarray(np.linalg.inv(moving_to_fixed), np.float64)
    level = float(np.median(image[brain])) if recipe.level_hu is None else recipe.level_hu
    shown = np.clip((image - level) * np.float32(2 / recipe.width_hu), -1, 1)
    shown = _averaged(np.where(brain, shown, OUTSIDE).astype(np.float32), moving_to_fixed @ affine, recipe)
    on_grid = resample_image(shown, affine, grid, to_scan, outside=OUTSIDE)
    placed = resample_labels(np.where(brain, labels, 0), affine, grid, to_scan)
    images = np.full((len(pairs), 2, *recipe.shape), OUTSIDE, np.float32)
    masks = np.zeros(images.shape, bool)
    is_there = np.zeros((len(pairs), 2), bool)
    for side, turn in ((0, 1), (1, -1)):
        seen, own = on_grid[::turn], placed[::turn]
        for at, indices in enumerate(pairs):
            region = own == indices[side]
            is_there[at, side] = region.any()
            if is_there[at, side]:
                box = _box_around(region, recipe.shape)
                images[at, side], masks[at, side] = seen[box].transpose(2, 1, 0), region[box].transpose(2, 1, 0)
    return PairedPatches(images, masks, is_there)


def patch_grid(recipe: PatchRecipe) -> Grid:
    """The grid along the template's axes from which patches are cut: symmetric about x = 0, and a patch wider than
    ``BOX`` on every side.
    """
    z, y, x = recipe.spacing_mm
    half_z, half_y, half_x = (
        (n // 2 + 1) * size for n, size in zip(recipe.shape, recipe.spacing_mm, strict=True)
    )  # around the middle of a region
    n_half = int(np.ceil((HALF_WIDTH_MM + half_x) / x))
    low = np.array([-(n_half - 0.5) * x, BOX_Y_MM[0] - half_y, BOX_Z_MM[0] - half_z])
    n_y = int(np.ceil((BOX_Y_MM[1] + half_y - low[1]) / y)) + 1
    n_z = int(np.ceil((BOX_Z_MM[1] + half_z - low[2]) / z)) + 1
    affine = np.diag([x, y, z, 1.0])
    affine[:3, 3] = low
    return Grid((2 * n_half, n_y, n_z), affine)


def _averaged(values: Float32Array, to_template: Affine, recipe: PatchRecipe) -> Float32Array:
    """Smoothed along every axis of the scan as a voxel of the patches would average it; no finer than it is."""
    z, y, x = recipe.spacing_mm
    onto = nib.orientations.io_orientation(to_template)[:, 0].astype(int)  # type: ignore[no-untyped-call]
    wanted = np.array([x, y, z])[onto]
    share = np.maximum(0, (wanted / voxel_sizes_mm(to_template)) ** 2 - 1)
    sigma = np.sqrt(share / 12)  # of a box's width
    return ndimage.gaussian_filter(values, sigma) if sigma.any() else values


def _box_around(region: Mask, shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """Where a patch lies on the grid, (X, Y, Z): around the mean place of the region's voxels, within the grid."""
    middle = [float(at.mean()) for at in np.nonzero(region)]
    low = [
        int(np.clip(round(at - (n - 1) / 2), 0, size - n))
        for at, n, size in zip(middle, shape[::-1], region.shape, strict=True)
    ]
    x, y, z = (slice(first, first + n) for first, n in zip(low, shape[::-1], strict=True))
    return x, y, z
