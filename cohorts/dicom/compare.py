"""Whether dcm2niix and our own reading of the same slices agree: every slice, every voxel, every corner."""

from __future__ import annotations

import numpy as np

from cohorts.dicom.geometry import StackGeometry
from cohorts.dicom.headers import Frame
from cohorts.dicom.pixels import convert_with_dcm2niix
from cohorts.dicom.resample import canonical, stack_affine
from cohorts.images.mask import ImageProblemError
from tasks.arrays import Float32Array

#: dcm2niix rounds the affine to single precision and takes the step from two slices, so that its error grows with the
#: distance of the table and the number of slices; this is what else may differ.
AFFINE_TOLERANCE_MM = 0.1
#: Difference between two readings of one voxel that single precision explains, as a share of the largest value.
VALUE_TOLERANCE = 1e-4


def compare_with_dcm2niix(
    values: Float32Array, frames: list[Frame], geometry: StackGeometry
) -> tuple[str, tuple[str, ...]]:
    """Convert the same files with dcm2niix and compare every voxel and the corners.

    Returns
    -------
    The converter and its notes: dcm2niix where both agree; aspects where dcm2niix failed or did not account for every
    slice (it sorts by instance number), while our own reading has each at its position.

    Raises
    ------
    ImageProblemError
        ``conversion_differs``: the same voxels at other places or with other values.
    """
    converted = convert_with_dcm2niix([frame.path for frame in frames])
    if converted is None:
        return "aspects", ("dcm2niix_failed",)
    own, affine = canonical(values, stack_affine(geometry, frames[0].spacing_mm or (0.0, 0.0)))
    theirs, their_affine = converted
    if theirs.shape != own.shape:
        return "aspects", ("dcm2niix_lost_slices",)
    corners = np.array([[i, j, k, 1] for i in (0, own.shape[0]) for j in (0, own.shape[1]) for k in (0, own.shape[2])])
    distance = float(np.sqrt((((affine - their_affine) @ corners.T)[:3] ** 2).sum(axis=0)).max())
    largest = float(np.abs(own).max()) or 1.0
    n_different = int((np.abs(own - theirs) > VALUE_TOLERANCE * largest).sum())
    rounding = float(np.spacing(np.float32(np.abs(geometry.positions).max()))) * len(frames)
    if distance > AFFINE_TOLERANCE_MM + rounding or n_different:
        raise ImageProblemError(
            "conversion_differs",
            f"dcm2niix and our own reading must agree, got corners {distance:.2f} mm apart and {n_different} different "
            "voxels. Which is right is not known: the series is not used.",
        )
    return "dcm2niix", ()
