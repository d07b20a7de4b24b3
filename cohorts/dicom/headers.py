"""Reading DICOM headers: which files are images, and what each image or frame says about its place, time and values.

Only the attributes needed are parsed (``specific_tags``), so a damaged private sequence elsewhere stops nothing.
Enhanced
multi-frame images are flattened to one ``Frame`` per frame. No message of this module quotes a value of a header.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.tag import Tag

from cohorts.dicom.attributes import moment_of, number_of, numbers_in, text_of, whole_number
from cohorts.dicom.mosaic import CSA_IMAGE_HEADER, is_mosaic, read_mosaic
from cohorts.dicom.walk import walk

#: Attributes that decide what a series is. Everything else is skipped while reading.
KEYWORDS = (
    "AccessionNumber", "AcquisitionDate", "AcquisitionDateTime", "AcquisitionNumber", "AcquisitionTime",
    "BodyPartExamined",
    "BurnedInAnnotation", "Columns", "ContentDate", "ContentTime", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    "ConversionType", "ConvolutionKernel", "DiffusionBValue", "EchoTime", "GantryDetectorTilt",
    "ImageOrientationPatient",
    "ImagePositionPatient", "ImageType",
    "ImagesInAcquisition", "InstanceNumber", "IssuerOfPatientID", "KVP", "MagneticFieldStrength",
    "Manufacturer", "ManufacturerModelName", "Modality", "NumberOfFrames",
    "NumberOfSeriesRelatedInstances", "PatientBirthDate", "PatientID",
    "PatientName", "PatientPosition", "PerFrameFunctionalGroupsSequence", "PhotometricInterpretation",
    "PixelPaddingRangeLimit", "PixelPaddingValue", "PixelPresentation", "PixelRepresentation", "PixelSpacing",
    "ProtocolName", "RealWorldValueMappingSequence", "RedPaletteColorLookupTableDescriptor", "RepetitionTime",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel",
    "SequenceName", "SeriesDate", "SeriesDescription", "SeriesInstanceUID", "SeriesTime",
    "SharedFunctionalGroupsSequence", "SliceThickness", "SpacingBetweenSlices", "SpecificCharacterSet", "StudyDate",
    "StudyInstanceUID", "StudyTime", "TemporalPositionIdentifier", "TemporalPositionTimeOffset", "TriggerTime", "Units",
)  # fmt: skip
#: Vendors' own places of the b-value: Siemens (dicom2nifti and dcm2niix read the same), Philips, GE.
B_VALUE_TAGS = (Tag(0x0019, 0x100C), Tag(0x2001, 0x1003), Tag(0x0043, 0x1039))
#: GE adds 10^9 to its b-value to say that a table was used.
GE_B_VALUE_OFFSET = 1_000_000_000

#: First bytes of ZIP, gzip, 7z, RAR, bzip2 and xz (file(1)).
ARCHIVE_STARTS = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh", b"\xfd7zXZ")
#: ... and of DICOM without its preamble: the groups 0002 and 0008.
BARE_STARTS = (b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")

_TAGS = [*(tag for tag in map(tag_for_keyword, KEYWORDS) if tag is not None), *B_VALUE_TAGS, CSA_IMAGE_HEADER]
_LOG = logging.getLogger("pydicom")


@dataclass(frozen=True)
class Frame:
    """One slice as its header describes it; None or NaN where the header is silent. mm, s, LPS.

    ``moment`` is when it was taken by the clock of the acquisition, else of the content; ``trigger_s`` and ``offset_s``
    count from the start of a scan. ``index`` counts the frames of a file, or the tiles of a mosaic, which has
    ``tiles_per_side``; 0 of an image that is none.
    """

    path: Path
    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float
    shape: tuple[int, int]
    slope: float | None
    intercept: float | None
    rescale_type: str
    b_value: float | None
    moment: datetime | None
    content: datetime | None
    trigger_s: float | None
    offset_s: float | None
    acquisition: int | None
    temporal_position: int | None
    instance: int
    image_type: tuple[str, ...]
    mapping: ValueMapping | None = None
    tiles_per_side: int = 0


@dataclass(frozen=True)
class ValueMapping:
    """A real-world value mapping: stored values first..last mean ``slope * stored + intercept`` in ``unit``."""

    label: str
    unit: str
    slope: float
    intercept: float
    first: float
    last: float


@dataclass(frozen=True, eq=False)
class Header:
    """One file: its frames and the data set with the attributes of ``KEYWORDS``, for ``recognise`` and
    ``deidentify``.
    """

    path: Path
    dataset: pydicom.Dataset
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Unread:
    """A file that is no usable DICOM file.

    Reasons: ``not_dicom``, ``unreadable_dicom``, ``dicom_directory``; ``archive``, which may hold files, and
    ``empty_file``.
    """

    path: Path
    reason: str


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Read leniently and without a word: pydicom's warnings quote the values of headers."""
    mode, disabled = config.settings.reading_validation_mode, _LOG.disabled
    config.settings.reading_validation_mode = config.IGNORE
    _LOG.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = mode
        _LOG.disabled = disabled


def find_files(folder: Path) -> list[Path]:
    """Every ordinary file below a folder, sorted; links that lead out of it are not followed."""
    return [folder / name for name in walk(folder).files]


def read_headers(paths: list[Path]) -> tuple[list[Header], list[Unread]]:
    """Read the headers of files, images or not.

    Returns
    -------
    The headers; and the files that are no images, each with its reason.
    """
    headers: list[Header] = []
    unread: list[Unread] = []
    with silent_pydicom():
        for path in paths:
            found = _read(path)
            if isinstance(found, Unread):
                unread.append(found)
            else:
                headers.append(found)
    return headers, unread


def _read(path: Path) -> Header | Unread:
    """Read one file."""
    has_preamble = False
    try:
        with path.open("rb") as handle:
            start = handle.read(132)
        has_preamble = start[128:] == b"DICM"
        dataset = pydicom.dcmread(path, specific_tags=_TAGS, stop_before_pixels=True, force=True)
        _convert_all(dataset)
        uid = text_of(dataset, "SOPClassUID")
    except Exception:  # pydicom raises whatever its parser meets; the message may quote the header
        return Unread(path, _reason_unread(path, has_preamble=has_preamble))
    if not uid:
        is_directory = has_preamble and text_of(dataset.file_meta, "MediaStorageSOPClassUID").endswith(".1.3.10")
        return Unread(path, "dicom_directory" if is_directory else _reason_unread(path, has_preamble=has_preamble))
    try:
        return Header(path, dataset, _frames(path, dataset))
    except Exception:
        return Unread(path, "unreadable_dicom")


def _reason_unread(path: Path, *, has_preamble: bool) -> str:
    """Why a file that holds no image cannot be used."""
    try:
        with path.open("rb") as handle:
            start = handle.read(8)
    except OSError:
        return "unreadable_file"
    if not start:
        return "empty_file"
    if start.startswith(ARCHIVE_STARTS) and not path.name.endswith(".nii.gz"):
        return "archive"
    return "unreadable_dicom" if has_preamble or start.startswith(BARE_STARTS) else "not_dicom"


def _convert_all(dataset: pydicom.Dataset) -> None:
    """Convert every element now, while pydicom is silent; what cannot be converted is as if it were absent."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # the message may quote the value
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value:
                _convert_all(item)


def _frames(path: Path, dataset: pydicom.Dataset) -> tuple[Frame, ...]:
    """One frame per slice; functional groups of enhanced images laid over the data set."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return _tiles(_frame(path, 0, dataset, dataset), dataset)
    shared = dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    first = _flat(shared[0], groups[0])
    for keyword in ("ConvolutionKernel", "KVP"):  # of the series, wherever the object has them
        if keyword in first and keyword not in dataset:
            dataset[keyword] = first[keyword]
    return tuple(_frame(path, index, dataset, _flat(shared[0], group)) for index, group in enumerate(groups))


def _tiles(whole: Frame, dataset: pydicom.Dataset) -> tuple[Frame, ...]:
    """The slices of a mosaic; other images as they are, and a mosaic that does not say where its tiles lie."""
    mosaic = read_mosaic(dataset) if is_mosaic(dataset) else None
    dataset.pop(CSA_IMAGE_HEADER, None)  # large, and not needed any more
    if mosaic is None:
        return (whole,)
    b_value = mosaic.b_value if whole.b_value is None else whole.b_value
    common = replace(whole, shape=mosaic.shape, tiles_per_side=mosaic.per_side, b_value=b_value)
    return tuple(replace(common, index=index, position=place) for index, place in enumerate(mosaic.positions))


def _flat(*groups: pydicom.Dataset) -> pydicom.Dataset:
    """The attributes of all functional groups in one data set; sequences with one meaning each."""
    flat = pydicom.Dataset()
    for group in groups:
        for element in group:
            if element.keyword == "RealWorldValueMappingSequence":
                flat.add(element)
            elif element.VR == "SQ" and element.value:
                for inner in element.value[0]:
                    flat.add(inner)
    return flat


def _frame(path: Path, index: int, dataset: pydicom.Dataset, own: pydicom.Dataset) -> Frame:
    """Describe one frame; ``own`` holds what may differ from frame to frame."""
    spacing = numbers_in(own.get("PixelSpacing"), 2)
    kinds = own.get("FrameType") or dataset.get("ImageType") or ()
    slope, intercept = number_of(own, "RescaleSlope"), number_of(own, "RescaleIntercept")
    time_kinds = ("FrameAcquisition", "FrameReference", "Acquisition", "Content")
    trigger, offset = number_of(own, "TriggerTime"), number_of(own, "TemporalPositionTimeOffset")
    return Frame(
        path=path,
        index=index,
        position=numbers_in(own.get("ImagePositionPatient"), 3),
        orientation=numbers_in(own.get("ImageOrientationPatient"), 6),
        spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        thickness_mm=number_of(own, "SliceThickness"),
        shape=(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)),
        slope=slope if math.isfinite(slope) else None,
        intercept=intercept if math.isfinite(intercept) else None,
        rescale_type=text_of(own, "RescaleType").upper(),
        b_value=_b_value(own, dataset),
        moment=moment_of(own, time_kinds) or moment_of(dataset, time_kinds),
        content=moment_of(dataset, ("Content",)),
        trigger_s=trigger / 1000 if math.isfinite(trigger) else None,
        offset_s=offset if math.isfinite(offset) else None,
        acquisition=whole_number(
            dataset.get("AcquisitionNumber") if own is dataset else own.get("FrameAcquisitionNumber")
        ),
        temporal_position=whole_number(own.get("TemporalPositionIdentifier") or own.get("TemporalPositionIndex")),
        instance=whole_number(dataset.get("InstanceNumber")) or 0,
        image_type=tuple(str(kind).upper() for kind in ([kinds] if isinstance(kinds, str) else kinds)),
        mapping=_mapping(own),
    )


def _mapping(own: pydicom.Dataset) -> ValueMapping | None:
    """The first linear real-world value mapping."""
    for item in own.get("RealWorldValueMappingSequence") or ():
        units = item.get("MeasurementUnitsCodeSequence") or [pydicom.Dataset()]
        slope, intercept = number_of(item, "RealWorldValueSlope"), number_of(item, "RealWorldValueIntercept")
        if math.isfinite(slope) and math.isfinite(intercept):
            first, last = (
                number_of(item, "RealWorldValueFirstValueMapped"),
                number_of(item, "RealWorldValueLastValueMapped"),
            )
            return ValueMapping(
                text_of(item, "LUTLabel").upper(), text_of(units[0], "CodeValue"), slope, intercept, first, last
            )
    return None


def _b_value(own: pydicom.Dataset, dataset: pydicom.Dataset) -> float | None:
    """b-value in s/mm2 from the standard's attribute or a vendor's."""
    standard = number_of(own, "DiffusionBValue")
    if math.isfinite(standard):
        return standard
    for tag in B_VALUE_TAGS:
        element = dataset.get(tag)
        value: Any = None if element is None else element.value
        if isinstance(value, bytes):
            text = value.decode("ascii", "replace").strip("\0 ")
            value = text.split("\\")[0]
        elif isinstance(value, (list, pydicom.multival.MultiValue)):
            value = value[0] if value else None
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        return number % GE_B_VALUE_OFFSET if number >= GE_B_VALUE_OFFSET else number
    return None
