"""Reading scans: NIfTI images of CT, CT perfusion and diffusion, checked as they are read, every refusal with a reason.

Beyond what every image must hold (see ``images``), a scan's values must be in its unit (see ``scan_units``). What is
cheap to check comes first, so that a bad header costs no memory. ``affine`` is voxel -> world, RAS, mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import nibabel as nib
import numpy as np

from cohorts.images.mask import FORM_TOLERANCE_MM, SHEAR_TOLERANCE
from cohorts.images.nifti import ImageProblemError, image_bytes, peek_header
from cohorts.images.units import as_adc, as_hounsfield, check_is_no_label_image, check_signal
from tasks.arrays import Affine, Float32Array
from tasks.perfusion.vendor_maps import COLOUR_CHANNELS

__all__ = ["ScanImage", "as_adc", "as_hounsfield", "read_scan"]

FormRule = Literal["reject", "sform", "qform"]

CT_MODALITIES = ("ncct", "cta", "ctp", "ct")
DYNAMIC_MODALITIES = ("ctp",)
SIGNAL_MODALITIES = ("dwi", "b0", "dwi-b0")
MAP_MODALITIES = ("cbf", "tmax")
SPACING_RANGE_MM = (0.1, 20.0)  # as for masks; a head scan in cm or um falls outside


@dataclass(frozen=True, eq=False)
class ScanImage:
    """A checked scan.

    Attributes
    ----------
    values : (X, Y, Z) or, for CT perfusion, (X, Y, Z, T) float32 array; HU for CT, 10^-3 mm2/s for ADC
    affine : (4, 4) array, voxel -> world, RAS, mm
    notes : what was mended, by its code: ``hu_offset_removed``, ``hu_clipped_at_zero``, ``adc_unit_changed``,
        ``forms_disagree``; or seen, ``no_soft_tissue``
    numbers : the measured numbers behind the notes
    """

    values: Float32Array
    affine: Affine
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each axis, mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Axis codes, such as LAS."""
        return "".join(nib.aff2axcodes(self.affine))  # type: ignore[no-untyped-call]


def read_scan(content: bytes, name: str, modality: str, *, forms: FormRule = "reject") -> ScanImage:
    """Read and check a NIfTI scan.

    Parameters
    ----------
    content : the file's bytes
    name : the file's name, for messages; ``.gz`` decides that the bytes are compressed
    modality : as in scans.tsv; decides the number of axes and the unit of the values
    forms : what to do where qform and sform disagree: reject, or trust one of them

    Raises
    ------
    ImageProblemError
        With one of the reasons ``truncated_file``, ``unreadable_file``, ``image_too_large``, ``wrong_dimensions``,
        ``wrong_affine``, ``forms_disagree``, ``scan_not_finite``, ``constant_image``, ``label_image``,
        ``hounsfield_unknown``, ``adc_unit_unknown``, ``signal_negative``, ``colour_map``.
    """
    header = peek_header(content, name)
    if modality in MAP_MODALITIES:
        _check_is_no_picture(header, name)
    shape = _shape(header, name, modality)
    affine, notes, numbers = _scan_affine(header, shape[:3], name, forms)
    values = _scan_values(header, image_bytes(content, header, name), shape, name)
    check_is_no_label_image(values, name)
    if modality in CT_MODALITIES:
        values, found, measured = as_hounsfield(values, name)
    elif modality == "adc":
        values, found, measured = as_adc(values, name)
    else:
        found, measured = (), {}
        if modality in SIGNAL_MODALITIES:
            check_signal(values, name)
    return ScanImage(values, affine, notes + found, {**numbers, **measured})


def _shape(header: Any, name: str, modality: str) -> tuple[int, ...]:
    """Three axes, four for a dynamic scan; trailing axes of length one are dropped."""
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    wanted = 4 if modality in DYNAMIC_MODALITIES else 3
    if len(shape) != wanted or min(shape) < 2:
        raise ImageProblemError(
            "wrong_dimensions",
            f"{name} must be a {wanted}-D image of at least two slices, got {'x'.join(map(str, shape))}. "
            "Give the right image, or correct its modality in scans.tsv.",
        )
    return shape


def _check_is_no_picture(header: Any, name: str) -> None:
    """Refuse a map of colours, whatever way it stores them."""
    shape, kind = header.get_data_shape(), header.get_data_dtype()
    if kind.fields is not None or (len(shape) > 3 and shape[-1] in COLOUR_CHANNELS):
        raise ImageProblemError(
            "colour_map",
            f"{name} must hold numbers with a unit, got a picture in colours ({'x'.join(map(str, shape))}, {kind}). "
            "Export the map's values, not its display.",
        )


def _scan_affine(
    header: Any, shape: tuple[int, ...], name: str, forms: FormRule
) -> tuple[Affine, tuple[str, ...], dict[str, float]]:
    """Voxel to world from the sform, the qform, or the one that is trusted where they disagree."""
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except (nib.spatialimages.HeaderDataError, ValueError):
        qform, qform_code = None, 0
    if not sform_code and not qform_code:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must say where it lies in space, got sform_code 0 and qform_code 0. Convert it again from DICOM.",
        )
    affine = np.asarray(sform if sform_code else qform, dtype=np.float64)
    notes: tuple[str, ...] = ()
    numbers: dict[str, float] = {}
    if sform_code and qform_code and qform is not None:
        corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])])
        distance = float(np.sqrt((((affine - qform) @ corners.T)[:3] ** 2).sum(axis=0)).max())
        if not distance <= FORM_TOLERANCE_MM:
            if forms == "reject":
                raise ImageProblemError(
                    "forms_disagree",
                    f"{name} must have a qform and an sform that agree within {FORM_TOLERANCE_MM} mm, got corners "
                    f"{distance:.1f} mm apart. Decide which is right: qform or sform.",
                )
            affine = np.asarray(sform if forms == "sform" else qform, dtype=np.float64)
            notes, numbers = ("forms_disagree",), {"forms_distance_mm": distance}
    _check_axes(affine, header, name)
    return affine, notes, numbers


def _check_axes(affine: Affine, header: Any, name: str) -> None:
    """Refuse an affine that is not finite, whose voxels have no size of a scan, or whose axes are not perpendicular."""
    if not np.isfinite(affine).all():
        row = next(row for row in affine.tolist() if not np.isfinite(row).all())
        raise ImageProblemError(
            "wrong_affine", f"{name} must have a finite affine, got a row {row}. Convert it again from DICOM."
        )
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    low, high = SPACING_RANGE_MM
    if not ((spacing >= low) & (spacing <= high)).all():
        unit = header.get_xyzt_units()[0]
        claimed = "" if unit in ("mm", "unknown") else f" (its header says {unit})"
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have voxels of {low:g} to {high:g} mm, got {' x '.join(f'{size:g}' for size in spacing)} mm"
            f"{claimed}. Convert it again from DICOM.",
        )
    directions = affine[:3, :3] / spacing
    if abs(np.linalg.det(directions)) < SHEAR_TOLERANCE:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have three different axes, got an affine of determinant {np.linalg.det(directions):.2g}. "
            "Convert it again from DICOM.",
        )
    cosines = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosines > SHEAR_TOLERANCE:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have perpendicular axes, got a shear of {cosines:.3f} (cosine), as of an uncorrected gantry "
            "tilt. Import its DICOM files with 'aspects import', or resample it.",
        )


def _scan_values(header: Any, raw: bytes | bytearray, shape: tuple[int, ...], name: str) -> Float32Array:
    """Voxels after scaling, finite and not all alike."""
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind == "c":
        raise ImageProblemError("unreadable_file", f"{name} must hold plain numbers, got {kind}. Convert it again.")
    start, count = int(header.get_data_offset()), math.prod(shape)
    available = (len(raw) - start) // kind.itemsize
    if available < count:
        raise ImageProblemError(
            "truncated_file",
            f"{name} must hold {count} voxels, got {max(available, 0)}. It is cut short: export or copy it again.",
        )
    slope, inter = header.get_slope_inter()
    values = np.frombuffer(raw, dtype=kind, count=count, offset=start).astype(np.float32)
    is_scaled = slope is not None and (slope, inter or 0.0) != (1.0, 0.0)
    if is_scaled:
        values = values * np.float32(slope) + np.float32(inter or 0.0)
    n_bad = int((~np.isfinite(values)).sum()) if is_scaled or kind.kind == "f" else 0  # plain integers are finite
    if n_bad:
        raise ImageProblemError(
            "scan_not_finite", f"{name} must hold finite numbers, got {n_bad} voxels that are not. Convert it again."
        )
    if values.min() == values.max():
        raise ImageProblemError(
            "constant_image", f"{name} must hold an image, got {values[0]:g} everywhere. Convert it again."
        )
    return values.reshape(shape, order="F")
