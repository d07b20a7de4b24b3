"""Images that a step keeps, as compressed NIfTI with a sidecar: the same image gives the same bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import nibabel as nib
import numpy as np

from tasks.arrays import Affine, AnyArray, FloatingArray

SCANNER_SPACE = 1  # NIfTI-1: xyz of the scanner
COMPRESSION = 3  # more takes much longer and saves little
MANTISSA_BITS = 10  # of 23 that are kept, one part in a thousand: maps are not known better, and the files are halved


def image_bytes(values: AnyArray, affine: Affine) -> bytes:
    """An image as compressed NIfTI, in the array's own type.

    Parameters
    ----------
    values : (X, Y, Z) array
    affine : (4, 4) float array, voxel -> world, RAS, mm
    """
    image: Any = nib.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, SCANNER_SPACE)
    image.set_qform(affine, SCANNER_SPACE)
    return gzip.compress(image.to_bytes(), compresslevel=COMPRESSION, mtime=0)


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
    return {f"{stem}.nii.gz": image_bytes(kept, affine), f"{stem}.json": text.encode()}
