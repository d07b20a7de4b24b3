"""Brain, vessels, fluid and skull of a CT perfusion slab, and how much of each region the slab covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, AnyArray, Float32Array, Mask
from tasks.brain import Brain, ct_working_scan, extract_ct_brain
from tasks.perfusion.blood import BRAIN_DENSITY_G_PER_ML, HAEMATOCRIT_RATIO
from tasks.space.working_grid import to_native_grid

SKULL_HU = 140.0  # above any blood clot, as in ``tasks.brain``
FLUID_HU = 18.0  # between fluid (10) and white matter with the oedema of an early infarct (28 less 2 to 4)
FLUID_SIGMA_MM = 1.0  # in the plane: the noise of a mean of frames then lies far below the difference of the tissues
#: Blood volume above which a voxel counts as vessel, ml/100 g (Kudo et al., AJNR 2003;24:419-426, tried 5 to 20). Grey
#: matter has about 4.
VESSEL_CBV = 8.0
CBV_PER_AREA_RATIO = 100 * HAEMATOCRIT_RATIO / BRAIN_DENSITY_G_PER_ML  # ml/100 g
VESSEL_SIGMA_MM = 1.5  # in the plane, against noise: full width 3.5 mm, about that of a middle cerebral artery
BLOOD_ML = (
    0.3  # the brightest so much inside the skull is pure blood: 4 cm of one middle cerebral artery, less of a sinus
)
SINUS_MM = 6.0  # beyond the brain mask: width of the sagittal sinus
#: Reach in the plane, a pixel of 1.7 mm, and in depth one slice; range among neighbours: of half a slice's shift linear
#: interpolation leaves a quarter, here 40 HU, below a vessel's enhancement.
STEADY_REACH_MM, STEADY_RANGE_HU = 1.7, 150.0
SLAB_OPEN_SHARE = 0.3  # of the widest slice's area at an end of the scan: the brain goes on beyond it
SLAB_AREA_CM2 = 50.0  # of the widest slice: a third of an adult brain's middle


@dataclass(frozen=True, eq=False)
class CtpMasks:
    """Masks on the series' grid, (X, Y, Z) bool arrays.

    Attributes
    ----------
    brain : everything inside the skull
    vessel, fluid : parts of ``brain``; a voxel of both counts as vessel
    skull : bone
    """

    brain: Mask
    vessel: Mask
    fluid: Mask
    skull: Mask

    @property
    def tissue(self) -> Mask:
        """Brain without vessels and fluid."""
        return self.brain & ~self.vessel & ~self.fluid


def extract_slab_brain(baseline: Float32Array, affine: Affine) -> Brain:
    """The space inside the skull on a slab, which need not hold a whole brain.

    Parameters
    ----------
    baseline : (X, Y, Z) float array, HU, mean of the frames before contrast agent
    affine : (4, 4) float array, voxel -> world, RAS, mm

    Returns
    -------
    Brain
        On the working grid. A slab that cuts through the brain is refused (``brain_too_small``) only where its widest
        slice is no brain's.
    """
    scan = ct_working_scan(baseline, affine)
    brain = extract_ct_brain(scan)
    if brain.reason != "brain_too_small" or brain.open_share < SLAB_OPEN_SHARE:
        return brain
    plane = tuple(axis for axis in range(3) if axis != scan.slice_axis)
    pixel_mm2 = float(np.prod(scan.spacing_mm[list(plane)]))
    area_cm2 = float(brain.mask.sum(axis=plane).max()) * pixel_mm2 / 100
    return replace(brain, reason="", detail="") if area_cm2 >= SLAB_AREA_CM2 else brain


def brain_on_series(brain: Brain, baseline: Float32Array, affine: Affine) -> Mask:
    """The brain of `extract_slab_brain` on the series' own voxels."""
    return to_native_grid(brain.mask, ct_working_scan(baseline, affine))


def enhancement_area(series: AnyArray, frame_times_s: Sequence[float], n_baseline_frames: int) -> Float32Array:
    """Area under each voxel's enhancement, (X, Y, Z) float32 array, HU s, by the trapezoidal rule.

    Parameters
    ----------
    series : (X, Y, Z, T) array, HU
    frame_times_s : (T,) increasing times
    n_baseline_frames : leading frames whose mean is taken off
    """
    times = np.asarray(frame_times_s, dtype=np.float64)
    weights = np.gradient(times)
    weights[[0, -1]] /= 2
    weights[:n_baseline_frames] -= weights.sum() / n_baseline_frames
    area = np.zeros(series.shape[:3], dtype=np.float32, order="F")
    for frame, weight in enumerate(weights):
        area += np.float32(weight) * series[..., frame]
    return area


def ctp_masks(
    baseline: Float32Array,
    area: Float32Array,
    brain: Mask,
    spacing_mm: Sequence[float],
    *,
    blood_area_hu_s: float | None = None,
) -> CtpMasks:
    """Vessels by their blood volume, fluid by its density, skull by its density.

    Parameters
    ----------
    baseline : (X, Y, Z) float32 array, HU
    area : (X, Y, Z) float32 array, HU s, of `enhancement_area`
    brain : (X, Y, Z) bool array, of `brain_on_series`
    spacing_mm : voxel size along X, Y, Z; slices along Z
    blood_area_hu_s : the same area of pure blood, as of the VOF; none takes that of the slab's largest vessels, which
        partial volume makes smaller in a thin slab, so that more tissue counts as vessel
    """
    smooth_area = _in_plane(area, spacing_mm, VESSEL_SIGMA_MM)
    blood = _largest_area(smooth_area[brain], spacing_mm) if blood_area_hu_s is None else blood_area_hu_s
    vessel = brain & (smooth_area > blood * VESSEL_CBV / CBV_PER_AREA_RATIO)
    # Bone and air beyond the brain would outweigh fluid beside them
    inside = brain.astype(np.float32)
    share = np.maximum(_in_plane(inside, spacing_mm, FLUID_SIGMA_MM), np.float32(1e-3))
    smooth = _in_plane(np.where(brain, baseline, np.float32(0)), spacing_mm, FLUID_SIGMA_MM) / share
    fluid = brain & ~vessel & (smooth < FLUID_HU)
    return CtpMasks(brain, vessel, fluid, np.asarray(baseline > SKULL_HU) & ~brain)


def vein_search(masks: CtpMasks, spacing_mm: Sequence[float]) -> Mask:
    """Where a dural sinus may lie: the brain and what is next to it within the slice, without bone.

    The sagittal sinus runs in a groove of the skull, which brain masks leave out in part.
    """
    near = masks.brain.view(np.uint8)
    for axis in (0, 1):
        near = ndimage.maximum_filter1d(near, 2 * round(SINUS_MM / spacing_mm[axis]) + 1, axis=axis)
    return near.view(bool) & ~masks.skull


def steady_voxels(baseline: Float32Array, spacing_mm: Sequence[float]) -> Mask:
    """Voxels whose neighbours are alike, so that a series corrected for motion can be trusted in them.

    What is left of the motion, and interpolation between slices, mix a voxel with its neighbours. Beside bone that
    looks like contrast agent. Where any frame was resampled, artery and vein are looked for in steady voxels only;
    in a series at rest that would only leave out the largest vessels. What lies beyond the first and the last slice is
    not known, so neither is steady.

    Parameters
    ----------
    baseline : (X, Y, Z) float array, HU
    spacing_mm : voxel size along X, Y, Z; slices along Z
    """
    size = [2 * max(1, round(STEADY_REACH_MM / spacing_mm[axis])) + 1 for axis in (0, 1)] + [3]
    highest, lowest = (
        one(baseline, size=size, mode="nearest") for one in (ndimage.maximum_filter, ndimage.minimum_filter)
    )
    steady = np.asarray(highest - lowest < STEADY_RANGE_HU)
    steady[:, :, [0, -1]] = False
    return steady


def _largest_area(areas: Float32Array, spacing_mm: Sequence[float]) -> float:
    """The smallest area among the brightest ``BLOOD_ML``."""
    if not len(areas):
        return np.inf
    rank = min(len(areas), max(1, round(1000 * BLOOD_ML / float(np.prod(spacing_mm)))))
    return float(np.partition(areas, len(areas) - rank)[len(areas) - rank])


def _in_plane(values: Float32Array, spacing_mm: Sequence[float], sigma_mm: float) -> Float32Array:
    """Gaussian within the slices."""
    for axis in (0, 1):
        values = ndimage.gaussian_filter1d(values, sigma_mm / spacing_mm[axis], axis=axis, mode="nearest", truncate=2.5)
    return values
