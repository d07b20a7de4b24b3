"""A patient of a cohort in another pose: what synthetic patients have by being drawn, real ones get at every step.

Mirrored or not, turned and scaled as widely as synthetic patients (``synthetic.Recipe``), on a grid that holds a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.training.pool import PooledPatient
from models.training.synthetic import Recipe
from tasks.arrays import AnyArray, FloatArray

POSES = Recipe()


def posed(patient: PooledPatient, rng: np.random.Generator, least: Sequence[int]) -> PooledPatient:
    """The patient in a random pose; what leaves the grid is not seen, as at the end of a scan.

    Parameters
    ----------
    patient : PooledPatient, of a cohort
    rng : the same state gives the same pose
    least : sizes of the grid at least, voxels
    """
    angles = [rng.uniform(*POSES.tilt_deg), rng.uniform(*POSES.rotation_deg), rng.uniform(*POSES.rotation_deg)]
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = turn @ np.diag(1 / rng.uniform(*POSES.scale, 3))
    if rng.random() < 0.5:
        matrix = np.diag([-1.0, 1.0, 1.0]) @ matrix
    return moved(patient, matrix, least)


def moved(patient: PooledPatient, matrix: FloatArray, least: Sequence[int]) -> PooledPatient:
    """The patient turned about the middle of its grid; images are interpolated, labels keep their values.

    Parameters
    ----------
    patient : PooledPatient
    matrix : (3, 3) float array, from the new grid to the old one
    least : sizes of the new grid at least, voxels
    """
    size = np.maximum(patient.brain.shape, least)
    offset = (np.asarray(patient.brain.shape) - 1) / 2 - matrix @ ((size - 1) / 2)

    def taken(values: AnyArray, order: int) -> AnyArray:
        if not values.size:
            return values
        found = ndimage.affine_transform(values, matrix, offset, tuple(size), order=order, prefilter=False)
        return np.asarray(found)

    return replace(
        patient,
        b_high=taken(patient.b_high.astype(np.float32), 1),
        adc=taken(patient.adc.astype(np.float32), 1),
        brain=taken(patient.brain.astype(np.uint8), 0).astype(bool),
        classes=taken(patient.classes, 0),
    )
