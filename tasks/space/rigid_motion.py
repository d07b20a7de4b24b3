"""Rigid motion as six numbers: rotations about the world's axes and a shift.

A *pose* is ``(rx, ry, rz, tx, ty, tz)``: extrinsic rotations about x, then y, then z in degrees about a centre, and the
shift of that centre in mm, RAS. Its matrix carries a world point of the reference frame to where the moved head has it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from tasks.arrays import Affine, FloatArray


def grid_centre(shape: tuple[int, ...], affine: Affine) -> FloatArray:
    """Middle of a grid, world, RAS, mm: the centre about which poses are stated."""
    middle = (np.asarray(shape[:3]) - 1) / 2
    return np.asarray(affine[:3, :3] @ middle + affine[:3, 3])


def pose_matrix(pose: npt.ArrayLike, centre: FloatArray) -> Affine:
    """The (4, 4) matrix of a pose, world of the reference -> world of the moved head.

    >>> pose_matrix([0, 0, 90, 1, 0, 0], np.zeros(3)).round(9)[:3].tolist()
    [[0.0, -1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    values = np.asarray(pose, dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", values[:3], degrees=True).as_matrix()
    matrix[:3, 3] = centre + values[3:] - matrix[:3, :3] @ centre
    return matrix


def matrix_pose(matrix: Affine, centre: FloatArray) -> FloatArray:
    """The six numbers of a rigid (4, 4) matrix; the inverse of `pose_matrix`."""
    angles = Rotation.from_matrix(matrix[:3, :3]).as_euler("xyz", degrees=True)
    shift = matrix[:3, :3] @ centre + matrix[:3, 3] - centre
    return np.concatenate([angles, shift])


def head_motion(
    frame_times_s: npt.ArrayLike, rng: np.random.Generator, *, drift_mm: float = 2.0, jump_mm: float = 0.0
) -> FloatArray:
    """Draw the poses of a restless head: a smooth drift, and one jump that stays.

    Parameters
    ----------
    frame_times_s : (T,) array, s
    drift_mm : largest shift along an axis by the drift; turns reach as many degrees, since a head turns as far at its
        rim (1 degree is 1.3 mm at 75 mm)
    jump_mm : size of the jump, likewise, at a random frame of the middle half

    Returns
    -------
    (T, 6) float array, the first frame at rest
    """
    times = np.asarray(frame_times_s, dtype=np.float64)
    phase, period = rng.uniform(0, 2 * np.pi, 6), rng.uniform(20, 60, 6)  # s: restlessness, not breathing or pulse
    waves = np.sin(2 * np.pi * times[:, None] / period + phase)
    waves -= waves[0]
    poses = drift_mm * waves / max(1.0, float(np.abs(waves).max()))
    jump = rng.uniform(-1, 1, 6)
    start = int(rng.integers(len(times) // 4, max(len(times) // 4 + 1, 3 * len(times) // 4)))
    poses[start:] += jump_mm * jump / np.abs(jump).max()
    return np.asarray(poses)
