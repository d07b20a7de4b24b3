"""Reading scans: NIfTI images of CT, CT perfusion and diffusion, checked as they are read, every refusal with a reason.

Beyond what every image must hold (see ``images``), a scan's values must be in its unit. Three habits of exporters are
known and mended, with a note: HU stored with an offset of 1000 or 1024, HU clipped at zero, and ADC in mm2/s, 10^-3 or
10^-6 mm2/s. ``affine`` is voxel -> world, RAS, mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt

from cohorts.images import FORM_TOLERANCE_MM, SHEAR_TOLERANCE, ImageProblemError, inflate, parse_header

Array = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]
FormRule = Literal["reject", "sform", "qform"]

CT_MODALITIES = ("ncct", "cta", "ctp", "ct")
DYNAMIC_MODALITIES = ("ctp",)
SPACING_RANGE_MM = (0.1, 20.0)  # as for masks; a head scan in cm or um falls outside

#: Air in a scan of plain HU lies below this; nothing else in a head does (lungs are not in the field).
AIR_HU = -500.0
#: Offsets that exporters add to HU to store them unsigned: 1024 (DICOM's usual intercept) and 1000.
OFFSETS_HU = (1024.0, 1000.0)
#: Where the commonest value of soft tissue of a head lies, HU: brain medians of 32-36 measured on clipped scans,
#: room for beam hardening below and contrast agent above.
SOFT_TISSUE_PEAK_HU = (15.0, 55.0)
BRAIN_HU = 34.0  # middle of the measured medians
#: With an offset, brain stands at the offset and air at zero; without one, only bone stands there, a hundredth of
#: the brain.
OFFSET_PEAK_SHARE = 0.2
#: A scan is clipped where this share of its voxels holds its smallest value: air around the head is never all alike.
CLIPPED_SHARE = 0.05
#: The tissue peak holds at least this share of the voxels above the smallest value: a tenth of what a scan with a
#: brain in a twentieth of its field holds.
MINIMUM_PEAK_SHARE = 0.002
#: The tissue peak is looked for among at least this many voxels.
MINIMUM_TISSUE_VOXELS = 100
#: Median ADC of a head, 10^-3 mm2/s: normal tissue 0.7-0.9, CSF about 3; with a third of CSF still below 2.
ADC_MEDIAN_RANGE = (0.3, 2.5)
#: What brings stored ADC to 10^-3 mm2/s, and how the stored unit is written.
ADC_SCALES: Mapping[str, float] = {"10^-3 mm2/s": 1.0, "10^-6 mm2/s": 1e-3, "mm2/s": 1e3}


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

    values: Array
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
        With one of the reasons ``truncated_file``, ``unreadable_file``, ``wrong_dimensions``, ``wrong_affine``,
        ``forms_disagree``, ``scan_not_finite``, ``constant_image``, ``hounsfield_unknown``, ``adc_unit_unknown``.
    """
    if not content:
        raise ImageProblemError("truncated_file", f"{name} must hold an image, got 0 bytes. Export or copy it again.")
    raw = inflate(content, name) if name.lower().endswith(".gz") else content
    header = parse_header(raw, name)
    shape = _shape(header, name, modality)
    affine, notes, numbers = _scan_affine(header, shape[:3], name, forms)
    values = _scan_values(header, raw, shape, name)
    if modality in CT_MODALITIES:
        values, found, measured = as_hounsfield(values, name)
    elif modality == "adc":
        values, found, measured = as_adc(values, name)
    else:
        found, measured = (), {}
    return ScanImage(values, affine, notes + found, {**numbers, **measured})


def as_hounsfield(values: Array, name: str) -> tuple[Array, tuple[str, ...], dict[str, float]]:
    """Bring stored CT values to HU.

    Parameters
    ----------
    values : float32 array of any shape, finite
    name : for messages

    Returns
    -------
    Values in HU, the notes and the measured numbers: ``tissue_peak_hu``, ``offset_hu``, ``clipped_share``.

    Raises
    ------
    ImageProblemError
        ``hounsfield_unknown``: no known offset puts the commonest value of soft tissue where it must be.
    """
    lowest = float(values.min())
    if lowest < AIR_HU:
        peak = tissue_peak(values)
        n_tissue = 0 if peak is None else peak[1]
        notes = () if n_tissue >= MINIMUM_PEAK_SHARE * values.size else ("no_soft_tissue",)
        return values, notes, {"smallest_hu": lowest}
    share = float((values <= lowest).mean())
    peaks = {offset: tissue_peak(values - np.float32(offset)) for offset in (0.0, *OFFSETS_HU)}
    low, high = SOFT_TISSUE_PEAK_HU
    fewest = MINIMUM_PEAK_SHARE * int((values > lowest).sum())
    usable = {
        offset: peak
        for offset, peak in peaks.items()
        if peak is not None and low <= peak[0] <= high and peak[1] >= fewest
    }
    if not usable:
        raise ImageProblemError(
            "hounsfield_unknown",
            f"{name} must hold HU (air near -1000, brain {low:g} to {high:g}), got values from {lowest:g} to "
            f"{float(values.max()):g} without such a peak. Export it with its rescale slope and intercept.",
        )
    offset = _likeliest_offset(usable)
    numbers = {"tissue_peak_hu": usable[offset][0], "offset_hu": offset}
    if offset:
        return values - np.float32(offset), ("hu_offset_removed",), numbers
    if share >= CLIPPED_SHARE and abs(lowest) < 1:
        return values, ("hu_clipped_at_zero",), {**numbers, "clipped_share": share}
    return values, (), numbers


def _likeliest_offset(peaks: Mapping[float, tuple[float, int]]) -> float:
    """The offset whose tissue peak is nearest to brain; none, where next to nothing lies at an offset."""
    added = {offset: peak for offset, peak in peaks.items() if offset}
    n_added = max((count for _, count in added.values()), default=0)
    if 0.0 in peaks and n_added < OFFSET_PEAK_SHARE * peaks[0.0][1]:
        return 0.0
    alike = {offset: peak for offset, (peak, count) in added.items() if 2 * count >= n_added}
    return min(alike, key=lambda offset: abs(alike[offset] - BRAIN_HU))


def tissue_peak(values: Array) -> tuple[float, int] | None:
    """Give the commonest value between 5 and 90 HU and how many voxels lie there; None of too few.

    The histogram has bins of 1 HU, smoothed over 5; exact zeros, where clipped air lies, are left out.
    """
    tissue = values[(values >= 5) & (values < 90)]
    if tissue.size < MINIMUM_TISSUE_VOXELS:
        return None
    counts = np.histogram(tissue, bins=85, range=(5, 90))[0]
    smooth = np.convolve(counts, np.ones(5), mode="same")
    place = int(smooth.argmax())
    return 5.5 + place, int(smooth[place])


def as_adc(values: Array, name: str) -> tuple[Array, tuple[str, ...], dict[str, float]]:
    """Bring stored ADC to 10^-3 mm2/s by its median over the positive voxels.

    Raises
    ------
    ImageProblemError
        ``adc_unit_unknown``: in none of the three units is the median that of a head.
    """
    positive = values[values > 0]
    median = float(np.median(positive)) if positive.size else 0.0
    low, high = ADC_MEDIAN_RANGE
    for scale in ADC_SCALES.values():
        if low <= median * scale <= high:
            numbers = {"adc_median_1e-3_mm2_per_s": median * scale, "adc_scale": scale}
            notes = () if scale == 1.0 else ("adc_unit_changed",)
            return values if scale == 1.0 else values * np.float32(scale), notes, numbers
    raise ImageProblemError(
        "adc_unit_unknown",
        f"{name} must hold an ADC with a median of {low:g} to {high:g} x 10^-3 mm2/s in one of "
        f"{', '.join(ADC_SCALES)}, got "
        f"a stored median of {median:g}. Export it with its unit.",
    )


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
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    low, high = SPACING_RANGE_MM
    if not np.isfinite(affine).all() or not ((spacing >= low) & (spacing <= high)).all():
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have voxels of {low:g} to {high:g} mm, got {' x '.join(f'{size:g}' for size in spacing)} mm. "
            "Convert it again from DICOM.",
        )
    cosines = np.abs((affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing) - np.eye(3)).max()
    if cosines > SHEAR_TOLERANCE:
        raise ImageProblemError(
            "wrong_affine",
            f"{name} must have perpendicular axes, got a shear of {cosines:.3f} (cosine), as of an uncorrected gantry "
            "tilt. Import its DICOM files with 'aspects import', or resample it.",
        )
    return affine, notes, numbers


def _scan_values(header: Any, raw: bytes, shape: tuple[int, ...], name: str) -> Array:
    """Voxels after scaling, finite and not all alike."""
    kind = header.get_data_dtype()
    if kind.fields is not None or kind.kind == "c":
        raise ImageProblemError("unreadable_file", f"{name} must hold plain numbers, got {kind}. Convert it again.")
    start, count = int(header.get_data_offset()), int(np.prod(shape))
    available = (len(raw) - start) // kind.itemsize
    if available < count:
        raise ImageProblemError(
            "truncated_file",
            f"{name} must hold {count} voxels, got {max(available, 0)}. It is cut short: export or copy it again.",
        )
    slope, inter = header.get_slope_inter()
    values = np.frombuffer(raw, dtype=kind, count=count, offset=start).astype(np.float32)
    if slope is not None:
        values = values * np.float32(slope) + np.float32(inter or 0.0)
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise ImageProblemError(
            "scan_not_finite", f"{name} must hold finite numbers, got {n_bad} voxels that are not. Convert it again."
        )
    if values.min() == values.max():
        raise ImageProblemError(
            "constant_image", f"{name} must hold an image, got {values[0]:g} everywhere. Convert it again."
        )
    return values.reshape(shape, order="F")
