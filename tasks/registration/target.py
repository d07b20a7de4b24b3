"""The fixed side of the registration: sample points of the template, what a scan should look like there, and how both
move together.

Two *channels* are compared: ``mask``, the smoothed brain mask, which finds outline and scale; and ``tissue``, a
synthetic scan made from the template's tissue maps with one contrast, which finds ventricles, fissures and deep nuclei.
Both are smoothed alike at each of three levels. World coordinates are RAS, mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.gaussian import FWHM_PER_SIGMA
from tasks.modality import ScanContrast
from tasks.space.affines import voxel_sizes_mm
from tasks.space.working_grid import to_working_grid


@dataclass(frozen=True)
class Contrast:
    """How one contrast shows the tissues.

    Attributes
    ----------
    grey, white, csf : float
        Values of the pure tissues: HU on CT, multiples of the brain's median on MR.
    unit : float
        Difference that counts like one edge of the mask, in the same unit.
    is_relative : bool
        Whether values are divided by the brain's median before they are compared.
    limits : (low, high)
        Values are clipped to these, in the same unit, relative to the brain's median.
    """

    grey: float
    white: float
    csf: float
    unit: float
    is_relative: bool
    limits: tuple[float, float]


#: CT: common values at 120 kV. CT angiography: the same with blood of about 4 ml/100 ml in grey and 2 in white matter
#: that is some 200 HU brighter; its limits stop every vessel at the upper one, about 58 HU. MR: chosen here from the
#: order of the tissues at b = 0 (fluid bright) and at b = 800 to 1,000 s/mm2 (fluid dark); any values in that order
#: serve, since only edges are compared.
CONTRASTS: dict[ScanContrast, Contrast] = {
    "ct": Contrast(grey=37.0, white=28.0, csf=10.0, unit=10.0, is_relative=False, limits=(-20.0, 20.0)),
    "cta": Contrast(grey=45.0, white=32.0, csf=10.0, unit=10.0, is_relative=False, limits=(-20.0, 20.0)),
    "dwi": Contrast(grey=1.05, white=0.95, csf=0.35, unit=0.4, is_relative=True, limits=(-1.0, 0.6)),
    "b0": Contrast(grey=1.05, white=0.9, csf=2.2, unit=0.8, is_relative=True, limits=(-1.0, 1.5)),
}

#: Full width at half maximum of the smoothing and distance of the sample points at each level, mm (coarse to fine).
LEVELS_MM = ((8.0, 8.0), (4.0, 6.0), (2.0, 4.0))
#: The same of the search among starts.
SEARCH_MM = (8.0, 12.0)
#: Points to this distance outside the brain carry the outline, in multiples of the smoothing width.
MARGIN_WIDTHS = 1.0
#: Length by which the linear part of a warp is scaled, so that all twelve parameters move the brain alike, mm.
BRAIN_RADIUS_MM = 60.0
BLOCK_POINTS = 128  # normal equations are summed in blocks, too small for a library to split over threads


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution.

    Attributes
    ----------
    sigma_mm : float
    points : (N, 3) float32 array, world, mm
    values : (2, N) float32 array, mask and tissue
    jacobian : (2, N, 12) float32 array
        Change of each channel with the warp: nine linear parameters (row-major, per ``BRAIN_RADIUS_MM``), three shifts.
    lattice : (4, 4) float array
        Voxel of the lattice on which the points lie -> world, RAS, mm.
    """

    sigma_mm: float
    points: Float32Array
    values: Float32Array
    jacobian: Float32Array
    lattice: FloatArray


@dataclass(frozen=True, eq=False)
class Target:
    """A template prepared for one contrast.

    Attributes
    ----------
    contrast : Contrast
    centre : (3,) float array, world, mm: centroid of the brain
    search : Level
        A coarse level with few points, for the search among starts.
    levels : coarse to fine
    brain : (X, Y, Z) bool array, the brain mask at 2 mm
    affine : (4, 4) float array of ``brain``, voxel -> world, RAS, mm
    """

    contrast: Contrast
    centre: FloatArray
    search: Level
    levels: tuple[Level, ...]
    brain: Mask
    affine: Affine


@dataclass(frozen=True, eq=False)
class TissueMaps:
    """A template's tissue shares in [0, 1] and brain mask, (X, Y, Z) each, and their affine, voxel -> world."""

    grey: Float32Array
    white: Float32Array
    csf: Float32Array
    brain: Mask
    affine: Affine


def prepare_target(maps: TissueMaps, contrast: ScanContrast) -> Target:
    """Smooth, sample and differentiate the template for one contrast; done once, used for every scan.

    Parameters
    ----------
    maps : TissueMaps
    contrast : one of ``CONTRASTS``

    Raises
    ------
    ValueError
        The contrast is unknown.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast must be one of {', '.join(CONTRASTS)}, got {contrast!r}.")
    look = CONTRASTS[contrast]
    weights = (look.grey, look.white, look.csf)
    synthetic = sum(np.float32(w) * one for w, one in zip(weights, (maps.grey, maps.white, maps.csf), strict=True))
    median = float(np.median(np.asarray(synthetic)[maps.brain]))
    scale = median if look.is_relative else 1.0
    deviation = np.where(maps.brain, (np.asarray(synthetic) - median) / np.float32(scale * look.unit), 0)
    mask_scan = to_working_grid(maps.brain.astype(np.float32), maps.affine, (0, 1))
    tissue_scan = to_working_grid(deviation.astype(np.float32), maps.affine, (-100, 100))
    brain, affine = mask_scan.values > 0.5, mask_scan.affine
    centre = (affine @ [*np.argwhere(brain).mean(axis=0), 1])[:3]
    channels = np.stack([mask_scan.values, tissue_scan.values])
    search, *levels = (_level(channels, affine, centre, *one) for one in (SEARCH_MM, *LEVELS_MM))
    return Target(look, centre, search, tuple(levels), brain, affine)


def _level(
    channels: Float32Array,
    affine: Affine,
    centre: FloatArray,
    fwhm_mm: float,
    step_mm: float,
) -> Level:
    """Smooth both channels and take values and gradients at a lattice of points in and around the brain."""
    sigma_mm = fwhm_mm / FWHM_PER_SIGMA
    spacing = voxel_sizes_mm(affine)
    smooth = [ndimage.gaussian_filter(one, sigma_mm / spacing, truncate=3.0) for one in channels]
    step = np.maximum(1, np.round(step_mm / spacing)).astype(int)
    on_lattice = np.zeros(smooth[0].shape, dtype=bool)
    on_lattice[tuple(slice(int(one) // 2, None, int(one)) for one in step)] = True
    to_grid = np.diag([*step, 1.0])
    to_grid[:3, 3] = step // 2
    margin = np.ceil(MARGIN_WIDTHS * fwhm_mm / spacing).astype(int)
    near = ndimage.maximum_filter(channels[0] > 0.5, size=tuple(2 * margin + 1))
    voxels = np.argwhere(on_lattice & near)
    voxels = voxels[: len(voxels) // BLOCK_POINTS * BLOCK_POINTS]
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    scaled = np.column_stack([(points - centre) / BRAIN_RADIUS_MM, np.ones(len(points))])
    to_world = np.linalg.inv(affine[:3, :3]).T
    values, jacobians = [], []
    for one in smooth:
        gradients = np.stack([part[tuple(voxels.T)] for part in np.gradient(one)], axis=1) @ to_world.T
        products = gradients[:, :, None] * scaled[:, None, :]
        values.append(one[tuple(voxels.T)])
        jacobians.append(np.concatenate([products[:, :, :3].reshape(-1, 9), products[:, :, 3]], axis=1))
    return Level(
        sigma_mm,
        np.asfortranarray(points, dtype=np.float32),  # one axis after the other, as they are used
        np.asarray(values, dtype=np.float32),
        np.asarray(jacobians, dtype=np.float32),
        affine @ to_grid,
    )
