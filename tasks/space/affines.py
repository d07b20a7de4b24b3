"""What an affine says about its voxels, and changes of axes that only turn signs.

An affine is a (4, 4) matrix, voxel -> world or world -> world, RAS, mm.
"""

from __future__ import annotations

import numpy as np

from tasks.arrays import Affine, FloatArray

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK and DICOM count in LPS; its own inverse
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])  # of the template's world: left <-> right


def voxel_sizes_mm(affine: Affine) -> FloatArray:
    """Size of a voxel along each of its axes, (3,), mm.

    >>> voxel_sizes_mm(np.diag([-2.0, 2, 5, 1])).tolist()
    [2.0, 2.0, 5.0]
    """
    return np.asarray(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))


def voxel_volume_mm3(affine: Affine) -> float:
    """Absolute determinant of the affine, mm3 (METHODS A.6 G5), as a triple product: exact for axes along the grid.

    >>> voxel_volume_mm3(np.diag([-2.0, 2, 2, 1]))
    8.0
    """
    x, y, z = affine[:3, :3].T
    return float(abs(np.cross(x, y) @ z))
