"""Where the voxels of a NIfTI file lie, and the stored voxels themselves, checked as they are read.

Every kind of image is checked alike; its *rules* say by which reason and with which advice it is refused. What is cheap
to check comes first, so that a bad header costs no memory. ``affine`` is voxel -> world, RAS, mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np

from cohorts.images.nifti import ImageProblemError
from tasks.arrays import Affine, AnyArray
from tasks.space.affines import voxel_sizes_mm

FormRule = Literal["reject", "sform", "qform"]

#: Corner displacement between qform and sform that a rounding of the quaternion can explain.
FORM_TOLERANCE_MM = 0.5
#: Cosine between voxel axes above which a grid counts as sheared.
SHEAR_TOLERANCE = 1e-3
SPACING_RANGE_MM = (0.1, 20.0)  # a head scan in cm or um falls outside


@dataclass(frozen=True)
class ImageRules:
    """The reasons in which kinds of images differ, and what to do where one is refused."""

    forms_reason: str
    numbers_reason: str
    shape_remedy: str
    affine_remedy: str
    shear_remedy: str
    forms_remedy: str
    numbers_remedy: str


def read_shape(header: Any, name: str, n_axes: int, rules: ImageRules) -> tuple[int, ...]:
    """Voxels along each axis; trailing axes of length one are dropped.

    Raises
    ------
    ImageProblemError
        ``wrong_dimensions``.
    """
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != n_axes or min(shape) < 2:
        raise ImageProblemError(
            "wrong_dimensions",
            f"{name} must be a {n_axes}-D image of at least two slices, got {'x'.join(map(str, shape))}. "
            f"{rules.shape_remedy}",
        )
    return shape


def stored_forms(header: Any, shape: tuple[int, ...]) -> tuple[Affine | None, Affine | None, float]:
    """Sform and qform, None where not set or not readable, and how far apart they put a corner, mm; 0 of one form."""
    sform, _ = header.get_sform(coded=True)
    try:
        qform, _ = header.get_qform(coded=True)
    except (nib.spatialimages.HeaderDataError, ValueError):
        qform = None
    if sform is None or qform is None:
        return sform, qform, 0.0
    x, y, z = (*shape, 1, 1)[:3]  # the caller says of what has fewer axes that it is no volume
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)])
    return sform, qform, float(np.sqrt((((sform - qform) @ corners.T)[:3] ** 2).sum(axis=0)).max())


def read_affine(
    header: Any, shape: tuple[int, ...], name: str, rules: ImageRules, forms: FormRule = "reject"
) -> tuple[Affine, float | None]:
    """Voxel to world from the sform, the qform, or the one that is trusted where they disagree.

    Returns
    -------
    The affine, and how far apart qform and sform put a corner, mm, where one had to be trusted; otherwise None.

    Raises
    ------
    ImageProblemError
        ``wrong_affine``, or the rules' reason where the forms disagree and neither is trusted.
    """
    sform, qform, apart_mm = stored_forms(header, shape)
    if sform is None and qform is None:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must say where it lies in space, got sform_code 0 and qform_code 0. {rules.affine_remedy}",
        )
    affine = np.asarray(qform if sform is None else sform, dtype=np.float64)
    distance_mm = None
    if not apart_mm <= FORM_TOLERANCE_MM:  # nor where a form is not finite
        if forms == "reject":
            raise ImageProblemError(
                rules.forms_reason,
                f"{name} must have a qform and an sform that agree within {FORM_TOLERANCE_MM} mm, got corners "
                f"{apart_mm:.1f} mm apart. {rules.forms_remedy}",
            )
        affine, distance_mm = np.asarray(sform if forms == "sform" else qform, dtype=np.float64), apart_mm
    _check_axes(affine, header, name, rules)
    return affine, distance_mm


def _check_axes(affine: Affine, header: Any, name: str, rules: ImageRules) -> None:
    """Refuse an affine that is not finite, whose voxels have no size of a scan, or whose axes are not perpendicular."""
    if not np.isfinite(affine).all():
        row = next(row for row in affine.tolist() if not np.isfinite(row).all())
        raise ImageProblemError(
            "wrong_affine", f"{name} must have a finite affine, got a row {row}. {rules.affine_remedy}"
        )
    spacing = voxel_sizes_mm(affine)
    low, high = SPACING_RANGE_MM
    if not ((spacing >= low) & (spacing <= high)).all():
        unit = header.get_xyzt_units()[0]
        claimed = "" if unit in ("mm", "unknown") else f" (its header says {unit})"
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have voxels of {low:g} to {high:g} mm, got {' x '.join(f'{size:g}' for size in spacing)} mm"
            f"{claimed}. {rules.affine_remedy}",
        )
    directions = affine[:3, :3] / spacing
    if abs(np.linalg.det(directions)) < SHEAR_TOLERANCE:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have three different axes, got an affine of determinant {np.linalg.det(directions):.2g}. "
            f"{rules.affine_remedy}",
        )
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosines > SHEAR_TOLERANCE:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have perpendicular axes, got a shear of {cosines:.3f} (cosine){rules.shear_remedy}",
        )


def stored_values(
    header: Any, raw: bytes | bytearray, shape: tuple[int, ...], name: str, rules: ImageRules
) -> AnyArray:
    """Stored values, unscaled, as a flat view on the bytes in Fortran order.

    Raises
    ------
    ImageProblemError
        ``truncated_file``, or the rules' reason where the values are colours or complex.
    """
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind == "c":
        raise ImageProblemError(
            rules.numbers_reason, f"{name} must hold plain numbers, got {kind}. {rules.numbers_remedy}"
        )
    start, count = int(header.get_data_offset()), math.prod(shape)
    available = (len(raw) - start) // kind.itemsize
    if available < count:
        raise ImageProblemError(
            "truncated_file",
            f"{name} must hold {count} voxels, got {max(available, 0)}. It is cut short: export or copy it again.",
        )
    return np.frombuffer(raw, dtype=kind, count=count, offset=start)
