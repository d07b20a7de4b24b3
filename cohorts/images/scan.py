"""Reading scans: NIfTI images of CT, CT perfusion and diffusion, checked as they are read, every refusal with a reason.

Beyond what every image must hold (see ``grid``), a scan's values must be in its unit (see ``units``). ``affine`` is
voxel -> world, RAS, mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cohorts.images.grid import FormRule, ImageRules, read_affine, read_shape, stored_values
from cohorts.images.nifti import ImageProblemError, decompressed, peek_header
from cohorts.images.units import as_adc, as_hounsfield, check_is_no_label_image, check_signal
from tasks.arrays import Affine, Float32Array
from tasks.modality import CT_MODALITIES, DYNAMIC_MODALITIES, MAP_MODALITIES, SIGNAL_MODALITIES
from tasks.perfusion.vendor_maps import COLOUR_CHANNELS
from tasks.space.resample import Grid

__all__ = ["ScanImage", "as_adc", "as_hounsfield", "read_scan"]

SCAN_RULES = ImageRules(
    forms_reason="forms_disagree",
    numbers_reason="unreadable_file",
    shape_remedy="Give the right image, or correct its modality in scans.tsv.",
    affine_remedy="Convert it again from DICOM.",
    shear_remedy=", as of an uncorrected gantry tilt. Import its DICOM files with 'aspects import', or resample it.",
    forms_remedy="Decide which is right: qform or sform.",
    numbers_remedy="Convert it again.",
)


@dataclass(frozen=True, eq=False)
class ScanImage:
    """A checked scan.

    Attributes
    ----------
    values : (X, Y, Z) or, for CT perfusion, (X, Y, Z, T) float32 array; HU for CT, 10^-3 mm2/s for ADC
    affine : (4, 4) array, voxel -> world, RAS, mm
    notes : what was fixed, by its code: ``hu_offset_removed``, ``hu_clipped_at_zero``, ``adc_unit_changed``,
        ``forms_disagree``; or seen, ``no_soft_tissue``
    numbers : the measured numbers behind the notes
    """

    values: Float32Array
    affine: Affine
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """Where the voxels of one volume lie."""
        x, y, z = self.values.shape[:3]
        return Grid((x, y, z), self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each axis, mm."""
        return self.grid.spacing_mm

    @property
    def orientation(self) -> str:
        """Axis codes, such as LAS."""
        return self.grid.orientation


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
    shape = read_shape(header, name, 4 if modality in DYNAMIC_MODALITIES else 3, SCAN_RULES)
    affine, distance_mm = read_affine(header, shape[:3], name, SCAN_RULES, forms)
    values = _scan_values(header, decompressed(content, header, name), shape, name)
    check_is_no_label_image(values, name)
    if modality in CT_MODALITIES:
        values, found, measured = as_hounsfield(values, name)
    elif modality == "adc":
        values, found, measured = as_adc(values, name)
    else:
        found, measured = (), {}
        if modality in SIGNAL_MODALITIES:
            check_signal(values, name)
    if distance_mm is not None:
        found, measured = ("forms_disagree", *found), {"forms_distance_mm": distance_mm, **measured}
    return ScanImage(values, affine, found, measured)


def _check_is_no_picture(header: Any, name: str) -> None:
    """Refuse a map of colours, whatever way it stores them."""
    shape, kind = header.get_data_shape(), header.get_data_dtype()
    if kind.fields is not None or (len(shape) > 3 and shape[-1] in COLOUR_CHANNELS):
        raise ImageProblemError(
            "colour_map",
            f"{name} must hold numbers with a unit, got a picture in colours ({'x'.join(map(str, shape))}, {kind}). "
            "Export the map's values, not its display.",
        )


def _scan_values(header: Any, raw: bytes | bytearray, shape: tuple[int, ...], name: str) -> Float32Array:
    """Voxels after scaling, finite and not all alike."""
    stored = stored_values(header, raw, shape, name, SCAN_RULES)
    slope, inter = header.get_slope_inter()
    values = stored.astype(np.float32)
    is_scaled = slope is not None and (slope, inter or 0.0) != (1.0, 0.0)
    if is_scaled:
        values = values * np.float32(slope) + np.float32(inter or 0.0)
    may_be_bad = is_scaled or stored.dtype.kind == "f"  # plain integers are finite
    n_bad = int((~np.isfinite(values)).sum()) if may_be_bad else 0
    if n_bad:
        raise ImageProblemError(
            "scan_not_finite", f"{name} must hold finite numbers, got {n_bad} voxels that are not. Convert it again."
        )
    if values.min() == values.max():
        raise ImageProblemError(
            "constant_image", f"{name} must hold an image, got {values[0]:g} everywhere. Convert it again."
        )
    return values.reshape(shape, order="F")
