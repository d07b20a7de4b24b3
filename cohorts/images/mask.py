"""Reading images: NIfTI lesion masks, checked as they are read, every refusal with its reason.

A mask is kept sparse (the flat indices of its lesion voxels): a lesion fills a thousandth of its grid. ``affine`` is
voxel -> world, RAS, mm. Flat indices run first axis fastest (Fortran order), as NIfTI stores them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from cohorts.images.nifti import ImageProblemError, image_bytes, peek_header
from tasks.arrays import Affine, AnyArray, FloatArray, IntArray
from tasks.lesion import voxel_volume_mm3

__all__ = ["ImageProblemError", "LesionMask", "file_sha256", "read_mask"]

#: Stored values this near to 0 or 1 are 0 or 1: a float mask holds 0.9999999997 after a scaled write.
BINARY_TOLERANCE = 1e-3
#: Corner displacement between qform and sform that a rounding of the quaternion can explain.
FORM_TOLERANCE_MM = 0.5
#: Cosine between voxel axes above which a grid counts as sheared.
SHEAR_TOLERANCE = 1e-3
SPACING_RANGE_MM = (0.1, 20.0)


@dataclass(frozen=True)
class LesionMask:
    """A checked binary mask: (shape, affine) and the flat Fortran-order indices of its voxels."""

    shape: tuple[int, int, int]
    affine: Affine
    indices: IntArray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each axis, mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Absolute determinant of the affine, mm3 (METHODS A.6 G5)."""
        return voxel_volume_mm3(self.affine)

    @property
    def orientation(self) -> str:
        """Axis codes, such as LAS."""
        return "".join(cast(Any, nib.aff2axcodes)(self.affine))


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_mask(content: bytes, name: str) -> LesionMask:
    """Read and check a NIfTI lesion mask.

    Parameters
    ----------
    content : the file's bytes
    name : the file's name, for messages; ``.gz`` decides that the bytes are compressed

    Raises
    ------
    ImageProblemError
        With one of the reasons ``truncated_file``, ``unreadable_file``, ``image_too_large``, ``wrong_dimensions``,
        ``wrong_affine``, ``mask_not_finite``, ``mask_values_not_binary``, ``empty_mask``.
    """
    header = peek_header(content, name)
    shape = _shape(header, name)
    affine = _affine(header, shape, name)
    values = _values(header, image_bytes(content, header, name), shape, name)
    return LesionMask(shape, affine, _lesion_indices(values, header, name))


def _shape(header: Any, name: str) -> tuple[int, int, int]:
    """Three axes; a fourth of length one is dropped."""
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ImageProblemError(
            "wrong_dimensions",
            f"{name} must be a 3-D volume of at least two slices, got {'x'.join(map(str, shape))}. Give the 3-D mask.",
        )
    return shape[0], shape[1], shape[2]


def _affine(header: Any, shape: tuple[int, int, int], name: str) -> FloatArray:
    """Voxel to world; sform before qform, and both must agree where both are set."""
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except (nib.spatialimages.HeaderDataError, ValueError):
        qform, qform_code = None, 0
    if not sform_code and not qform_code:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must say where it lies in space, got sform_code 0 and qform_code 0. Write the mask again with the "
            "affine of the template it was warped to.",
        )
    affine = np.asarray(sform if sform_code else qform, dtype=np.float64)
    axes = affine[:3, :3]
    spacing = np.sqrt((axes**2).sum(axis=0))
    low, high = SPACING_RANGE_MM
    if not np.isfinite(affine).all() or not ((spacing >= low) & (spacing <= high)).all():
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have voxels of {low} to {high} mm, got {' x '.join(f'{size:g}' for size in spacing)} mm. "
            "Write the mask again with its affine.",
        )
    cosines = np.abs((axes / spacing).T @ (axes / spacing) - np.eye(3)).max()
    if cosines > SHEAR_TOLERANCE:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have perpendicular axes, got a shear of {cosines:.3f} (cosine). Resample it to its template.",
        )
    if sform_code and qform_code and qform is not None:
        corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
        distance = float(np.sqrt((((affine - qform) @ corners.T)[:3] ** 2).sum(axis=0)).max())
        if not distance <= FORM_TOLERANCE_MM:  # nor where a form is not finite
            raise ImageProblemError(
                "wrong_affine",
                f"{name} must have a qform and an sform that agree within {FORM_TOLERANCE_MM} mm, got corners "
                f"{distance:.1f} mm apart. Decide which is right and write the mask again.",
            )
    return affine


def _values(header: Any, raw: bytes | bytearray, shape: tuple[int, int, int], name: str) -> AnyArray:
    """Stored values, unscaled, as a flat view on the bytes."""
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind == "c":
        raise ImageProblemError("mask_values_not_binary", f"{name} must hold plain numbers, got {kind}. Give a mask.")
    start, count = int(header.get_data_offset()), math.prod(shape)
    available = (len(raw) - start) // kind.itemsize
    if available < count:
        raise ImageProblemError(
            "truncated_file",
            f"{name} must hold {count} voxels, got {max(available, 0)}. It is cut short: export or copy it again.",
        )
    return np.frombuffer(raw, dtype=kind, count=count, offset=start)


def _lesion_indices(values: AnyArray, header: Any, name: str) -> IntArray:
    """Flat indices of the lesion, after the check that only 0 and 1 occur."""
    slope, inter = header.get_slope_inter()
    slope, inter = (1.0 if slope is None else float(slope)), (0.0 if inter is None else float(inter))
    # with an intercept, stored zeros are not zero: look at every voxel
    candidates = np.arange(values.size) if inter else np.flatnonzero(values != 0)
    found = values[candidates].astype(np.float64) * slope + inter
    if not np.isfinite(found).all():
        raise ImageProblemError(
            "mask_not_finite",
            f"{name} must hold only 0 and 1, got {int((~np.isfinite(found)).sum())} voxels that are not numbers. "
            "Set them to 0.",
        )
    is_one = np.abs(found - 1) <= BINARY_TOLERANCE
    is_other = ~is_one & (np.abs(found) > BINARY_TOLERANCE)
    if is_other.any():
        others = np.unique(found[is_other])
        shown = ", ".join(f"{value:g}" for value in others[:5]) + (", ..." if len(others) > 5 else "")
        raise ImageProblemError(
            "mask_values_not_binary",
            f"{name} must hold only 0 and 1, got {shown} in {int(is_other.sum())} voxels. "
            "Save the lesion alone as 0 and 1.",
        )
    indices = candidates[is_one]
    if not len(indices):
        raise ImageProblemError(
            "empty_mask",
            f"{name} must mark at least one voxel, got none. If the patient has no lesion on this scan, take the row "
            "out of scans.tsv.",
        )
    return np.asarray(indices, dtype=np.int64)
