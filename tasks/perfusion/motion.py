"""Head motion between the frames of a CT perfusion series: trace, rejected frames, corrected series.

Every frame is aligned to one *reference frame*, the frame most like all others, by its skull
(``tasks.registration.rigid``). A frame in which the head moved while it was acquired fits no pose: what is left after
the alignment tells it, and it is rejected, not corrected. Frames that moved less than the alignment's own error stay as
they are, because interpolation would only blur them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, Mask
from tasks.registration.rigid import align, displacement_mm, limited_scan, limits_of, prepare_reference
from tasks.space.resample import Grid, resample_image
from tasks.space.rigid_motion import grid_centre, matrix_pose

MOVED_MM = 0.3  # mean displacement from which a frame is resampled: twice the error of the alignment on phantoms
LARGEST_DISPLACEMENT_MM = 20.0  # four slices: farther, too little of the slab is left in common
#: Misfit above which a frame is rejected: a multiple of the series' median between two bounds. Whole frames of phantoms
#: (slices of 5 and 10 mm, motion up to 5 mm and degrees) reach 1.25 medians; a head that jumps by 3 mm or more between
#: two slices of a frame, or by 6 mm in the middle of a blurred one, exceeds the limit.
MISFIT_RATIO, MISFIT_BOUNDS = 1.5, (0.25, 0.5)
HEAD_HU = -300.0  # between fat (-100) and air: nothing is resampled beyond the box around what is denser
SAMPLE_STEP = 4  # every so many voxels of the working grid, in the plane, choose the reference frame


@dataclass(frozen=True, eq=False)
class MotionTrace:
    """Motion of the head over the frames of a series.

    Attributes
    ----------
    reference_frame : int
    matrices : (T, 4, 4) float array, world of the reference frame -> world of each frame, RAS, mm
    poses : (T, 6) float array, degrees and mm about the middle of the grid (``tasks.space.rigid_motion``)
    displacement_mm : (T,) float array, mean over the skull's edges, from the reference frame
    step_mm : (T,) float array, the same from the frame before; 0 for the first
    misfit : (T,) float array, what is left after the alignment (``tasks.registration.rigid.RigidFit``)
    reasons : (T,) tuple of str
        Empty, or why a frame is rejected: ``motion_within_frame``, ``moved_too_far``.
    """

    reference_frame: int
    matrices: FloatArray
    poses: FloatArray
    displacement_mm: FloatArray
    step_mm: FloatArray
    misfit: FloatArray
    reasons: tuple[str, ...]

    @property
    def is_usable(self) -> Mask:
        """(T,) bool array, False for rejected frames."""
        return np.array([not reason for reason in self.reasons])


@dataclass(frozen=True, eq=False)
class CorrectedSeries:
    """A series with its frames in the pose of the reference frame.

    Attributes
    ----------
    series : (X, Y, Z, T) float32 array, HU, each frame contiguous; rejected frames as they came
    is_covered : (X, Y, Z) bool array, voxels that every usable frame shows
    is_resampled : (T,) bool array
    """

    series: Float32Array
    is_covered: Mask
    is_resampled: Mask


def trace_motion(series: AnyArray, affine: Affine) -> MotionTrace:
    """Align every frame to the reference frame.

    Parameters
    ----------
    series : (X, Y, Z, T) array, HU, in the order of time; fastest with each frame contiguous
    affine : (4, 4) float array, voxel -> world, RAS, mm

    Raises
    ------
    ValueError
        The series is not 4D, has one frame, or shows no head.
    """
    if series.ndim != 4 or series.shape[3] < 2:
        raise ValueError(f"series must be (X, Y, Z, T) with two or more frames, got {series.shape}. Give a 4D image.")
    n_frames = series.shape[3]
    limits = limits_of(series[..., 0], affine)
    scans = [limited_scan(series[..., frame], affine, limits) for frame in range(n_frames)]
    coarse = (slice(None, None, SAMPLE_STEP), slice(None, None, SAMPLE_STEP))
    samples = np.stack([scan.values[coarse].ravel() for scan in scans])
    first = int(np.abs(samples - np.median(samples, axis=0)).mean(axis=1).argmin())
    reference = prepare_reference(scans[first], limits)
    matrices, misfit = np.empty((n_frames, 4, 4)), np.zeros(n_frames)
    for frames in (range(first, n_frames), range(first - 1, -1, -1)):  # each frame starts where its neighbour ended
        start = np.eye(4)
        for frame in frames:
            fit = align(reference, scans[frame], start)
            matrices[frame], misfit[frame] = fit.matrix, fit.misfit
            if displacement_mm(reference.points, fit.matrix, np.eye(4)) <= LARGEST_DISPLACEMENT_MM:
                start = fit.matrix
    from_reference = np.array([displacement_mm(reference.points, one, np.eye(4)) for one in matrices])
    steps = [displacement_mm(reference.points, one, before) for before, one in pairwise(matrices)]
    centre = grid_centre(series.shape, affine)
    poses = np.array([matrix_pose(one, centre) for one in matrices])
    return MotionTrace(
        first, matrices, poses, from_reference, np.array([0.0, *steps]), misfit, _reasons(from_reference, misfit)
    )


def correct_motion(series: AnyArray, affine: Affine, trace: MotionTrace) -> CorrectedSeries:
    """Bring every usable frame that moved to the pose of the reference frame.

    Parameters
    ----------
    series, affine : as given to `trace_motion`
    trace : MotionTrace of the series

    Notes
    -----
    Voxels that a moved frame does not show take the reference frame's value; ``is_covered`` says which they are. So do
    those of the air around the head.
    """
    shape = series.shape[:3]
    corrected = np.empty(series.shape, dtype=np.float32, order="F")
    is_covered = np.ones(shape, dtype=bool, order="F")
    is_resampled = trace.is_usable & (trace.displacement_mm > MOVED_MM)
    reference = np.asarray(series[..., trace.reference_frame], dtype=np.float32)
    box, grid = _head_box(reference, affine)
    for frame, needed in enumerate(is_resampled):
        if not needed:
            corrected[..., frame] = series[..., frame]
            continue
        moved = resample_image(series[..., frame], affine, grid, trace.matrices[frame], outside=np.nan)
        is_outside = np.isnan(moved)
        np.copyto(moved, reference[box], where=is_outside)
        corrected[..., frame] = reference
        corrected[..., frame][box] = moved
        is_covered[box] &= ~is_outside
    return CorrectedSeries(corrected, is_covered, is_resampled)


def _head_box(image: Float32Array, affine: Affine) -> tuple[tuple[slice, ...], Grid]:
    """The box around the head, in voxels and as a grid."""
    found = ndimage.find_objects((image > HEAD_HU).astype(np.uint8))
    box = found[0] if found else tuple(slice(0, size) for size in image.shape)
    x, y, z = (one.stop - one.start for one in box)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [one.start for one in box]
    return box, Grid((x, y, z), moved)


def _reasons(from_reference: FloatArray, misfit: FloatArray) -> tuple[str, ...]:
    """Why each frame is rejected; empty where it is not."""
    limit = float(np.clip(MISFIT_RATIO * np.median(misfit), *MISFIT_BOUNDS))
    return tuple(
        "moved_too_far" if moved > LARGEST_DISPLACEMENT_MM else "motion_within_frame" if left > limit else ""
        for moved, left in zip(from_reference, misfit, strict=True)
    )
