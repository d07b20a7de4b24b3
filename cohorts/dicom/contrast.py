"""Whether a head CT shows contrast agent, from its voxels: bright vessels inside the skull, away from bone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.arrays import Float32Array, Mask

#: Enhanced arteries and sinuses; calcifications of the plexus lie there too, but are small. HU.
VESSEL_HU = (120.0, 500.0)
#: Bone. HU.
VOXEL_BONE_HU = 300.0
SOFT_TISSUE_HU = (0.0, 90.0)
#: Partial volume of bone reaches this far.
BONE_MARGIN_MM = 6.0
#: Slices with less tissue than this share of the fullest one show the base or the vertex, where bone is in every voxel.
FULL_SLICE_SHARE = 0.5
#: Share of the voxels inside the skull that must be bright. Four plain scans measured 0.0000 to 0.0006 (calcified
#: plexus and
#: pineal body included); the vessels of a head hold some tens of millilitres of 1,400, a share ten times this one.
MINIMUM_VESSEL_SHARE = 0.0025
#: With less of the skull's inside in the scan nothing is said, ml.
MINIMUM_INSIDE_ML = 50.0
#: Working grid: vessels of interest are wider.
GRID_MM = 1.5


def vessel_share(values: Float32Array, spacing_mm: tuple[float, float, float]) -> float | None:
    """Measure the share of bright voxels inside the skull.

    Parameters
    ----------
    values : (X, Y, Z) float32 array, HU, Z from foot to head
    spacing_mm : voxel size along X, Y, Z

    Returns
    -------
    Share from 0 to 1; None where too little of the inside of a skull can be found.
    """
    steps = [max(round(GRID_MM / size), 1) for size in spacing_mm[:2]]
    image = values[:: steps[0], :: steps[1]]
    sizes = (spacing_mm[0] * steps[0], spacing_mm[1] * steps[1])
    is_bone = image > VOXEL_BONE_HU
    margin = _disk(BONE_MARGIN_MM, sizes)
    near = ndimage.binary_dilation(is_bone, margin)
    filled = np.stack([ndimage.binary_fill_holes(near[..., place]) for place in range(image.shape[2])], axis=-1)
    is_inside = filled & ~ndimage.binary_dilation(near, np.ones((1, 1, 3)))
    area = (is_inside & (image > SOFT_TISSUE_HU[0]) & (image < VESSEL_HU[1])).sum(axis=(0, 1))
    is_inside &= area >= FULL_SLICE_SHARE * area.max()
    is_vessel = is_inside & (image > VESSEL_HU[0]) & (image < VESSEL_HU[1])
    n_soft = int((is_inside & (image > SOFT_TISSUE_HU[0]) & (image < SOFT_TISSUE_HU[1])).sum()) + int(is_vessel.sum())
    if n_soft * sizes[0] * sizes[1] * spacing_mm[2] / 1000 < MINIMUM_INSIDE_ML:
        return None
    return float(is_vessel.sum()) / n_soft


def _disk(radius_mm: float, sizes_mm: tuple[float, float]) -> Mask:
    """Disk in the plane, for morphology."""
    x, y = (np.arange(-round(radius_mm / size), round(radius_mm / size) + 1) * size for size in sizes_mm)
    return np.asarray(np.hypot(x[:, None], y[None, :]) <= radius_mm + min(sizes_mm) / 2)[:, :, None]


def has_contrast(share: float | None) -> bool | None:
    """Whether the share says contrast agent; None where it is not known."""
    return None if share is None else share >= MINIMUM_VESSEL_SHARE
