"""Maps that a step keeps, as compressed NIfTI with a sidecar: the same map gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cohorts.images.nifti import nifti_bytes
from tasks.arrays import Affine, FloatingArray

MANTISSA_BITS = 10  # of 23 that are kept, one part in a thousand: maps are not known better, and the files are halved


def map_files(stem: str, values: FloatingArray, affine: Affine, facts: Mapping[str, Any]) -> dict[str, bytes]:
    """A map of numbers and its sidecar.

    Parameters
    ----------
    stem : name without suffix, such as ``sub-017_ctp_cbf``
    values : (X, Y, Z) float array, NaN where nothing was measured; kept to one part in a thousand
    affine : (4, 4) float array, voxel -> world, RAS, mm
    facts : the sidecar: unit, settings
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    unused = np.uint32(23 - MANTISSA_BITS)
    rounded = ((bits + (np.uint32(1) << (unused - np.uint32(1)))) >> unused << unused).view(np.float32)
    kept = np.where(np.isfinite(values), rounded, np.float32(np.nan))
    text = json.dumps(dict(facts), indent=2, sort_keys=True, allow_nan=False) + "\n"
    return {f"{stem}.nii.gz": nifti_bytes(kept, affine), f"{stem}.json": text.encode()}
