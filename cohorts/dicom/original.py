"""The original series of a volume: found again by its link, proved to be the same voxels, and a place for results.

What goes back to patients must be theirs. So the volume is made again from the linked files and compared with the one
in the cohort, voxel by voxel, before anything is placed. Masks are read at the centres of the original pixels: for a
series that was not resampled that is the same voxel, for a tilted or uneven one the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.valuerep import DA, TM, PersonName

from cohorts.dicom.attributes import text_of
from cohorts.dicom.geometry import ACTIONS, Action, StackGeometry
from cohorts.dicom.headers import Frame, read_headers, silent_pydicom
from cohorts.dicom.link_table import Link
from cohorts.dicom.stacks import Stack, group_stacks
from cohorts.dicom.volume import Volume, build_volume, ordered_places
from cohorts.dicom.writing import stored_values
from cohorts.images.nifti import ImageProblemError
from tasks.arrays import Affine, AnyArray, FloatArray
from tasks.space.affines import LPS_FROM_RAS

#: What an import may have resampled is resampled again; what it can only refuse was never a volume.
AS_IMPORTED: Mapping[str, Action] = {
    reason: "resample" if "resample" in actions else "reject" for reason, actions in ACTIONS.items()
}
SAME_AFFINE_MM = 1e-3  # NIfTI keeps affines in single precision
SAME_VALUE_SHARE = 1e-5  # of the largest value: float32, written and read
#: Evenly placed slices lie this near to their voxels: ``geometry.GRID_TOLERANCE_SHARE``, and room for rounding.
SAME_PLACE_VOXELS = 0.2

_DATES = ("PatientBirthDate", "StudyDate")
_SEXES = ("M", "F", "O")
#: Attributes of the patient and the study that results repeat; those of type 2 must be there, if only empty.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_TEXTS = ("IssuerOfPatientID", "StudyDescription", "PositionReferenceIndicator")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")
_IMAGE = ("Modality", "Rows", "Columns", "InstanceNumber", "NumberOfFrames")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True, eq=False)
class Original:
    """The slices of a series on which results are placed.

    Attributes
    ----------
    slices : one data set per slice along the normal: patient, study and place, without pixels
    positions : (N, 3) array, LPS mm, centre of each slice's first pixel
    row, column : (3,) unit vectors, LPS: direction of increasing column index and of increasing row index
    spacing_mm : distance of rows, distance of columns
    step_mm : distance of slices along the normal
    is_resampled : whether the volume of the cohort lies on another grid than the slices
    """

    slices: tuple[pydicom.Dataset, ...]
    positions: FloatArray
    row: FloatArray
    column: FloatArray
    spacing_mm: tuple[float, float]
    step_mm: float
    is_resampled: bool

    @property
    def instances(self) -> tuple[pydicom.Dataset, ...]:
        """Each object once: all slices of an enhanced series are one."""
        return tuple({str(one.SOPInstanceUID): one for one in self.slices}.values())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        first = self.slices[0]
        return len(self.positions), int(first.Rows), int(first.Columns)

    def planes(self, values: AnyArray, affine: Affine) -> AnyArray:
        """Values of a volume at the centres of the original pixels.

        Parameters
        ----------
        values : (X, Y, Z) array; what lies outside of it is 0
        affine : (4, 4) array, voxel -> world, RAS, mm

        Returns
        -------
        (slices, rows, columns) array

        Raises
        ------
        ImageProblemError
            ``results_elsewhere``: the volume was not resampled, and its voxels do not lie on the pixels.
        """
        to_voxel = np.linalg.inv(affine) @ LPS_FROM_RAS
        n_slices, n_rows, n_columns = self.shape
        rows = np.arange(n_rows)[:, None, None] * (to_voxel[:3, :3] @ (self.column * self.spacing_mm[0]))
        columns = np.arange(n_columns)[:, None] * (to_voxel[:3, :3] @ (self.row * self.spacing_mm[1]))
        found = np.zeros((n_slices, n_rows, n_columns), dtype=values.dtype)
        for place, position in enumerate(self.positions):
            exact = to_voxel[:3, :3] @ position + to_voxel[:3, 3] + rows + columns
            nearest = np.rint(exact).astype(int)
            inside = ((nearest >= 0) & (nearest < values.shape)).all(axis=-1)
            if not self.is_resampled and not (inside.all() and np.abs(exact - nearest).max() < SAME_PLACE_VOXELS):
                raise ImageProblemError(
                    "results_elsewhere",
                    "results must lie on the pixels of the original series, and do not. Import the series again, then "
                    "run again.",
                )
            found[place][inside] = values[tuple(nearest[inside].T)]
        return found


def find_original(link: Link, folder: Path, scan: Path) -> Original:
    """Find the series of a volume, and prove that it is the one.

    Parameters
    ----------
    link : from the link table
    folder : where its files lie now
    scan : the volume in the cohort

    Raises
    ------
    ImageProblemError
        ``original_missing``: files are not there; ``original_differs``: they do not give the cohort's volume;
        ``frame_of_reference_missing``, ``study_missing``: nothing can be placed on them; or as ``build_volume``.
    """
    paths = [folder / name for name in link.files]
    n_missing = sum(not path.is_file() for path in paths)
    if n_missing:
        raise ImageProblemError(
            "original_missing",
            f"all {len(paths)} files of the original series must be there, got {len(paths) - n_missing}. Give the "
            "folder that was imported with --dicom.",
        )
    headers, _ = read_headers(paths)
    stacks = [stack for stack in map(_as_diffusion, group_stacks(headers)) if not stack.recognition.refusal]
    stack = next((stack for stack in stacks if _gives(stack, scan)), None)
    if stack is None:
        raise ImageProblemError(
            "original_differs",
            "the original series must give the voxels of the scan in the cohort, and gives others. Import it again, "
            "then run again; nothing is placed on a series that may be another patient's.",
        )
    places, geometry, faults = ordered_places(stack, AS_IMPORTED)
    frames = [place[0] for place in places]
    return _original(frames, geometry, is_resampled=bool(faults))


def _as_diffusion(stack: Stack) -> Stack:
    """A series whose b-value was declared when it was imported; the voxels prove whether it is the one."""
    if stack.recognition.refusal != "b_value_unknown":
        return stack
    return replace(stack, recognition=replace(stack.recognition, refusal=None))


def _gives(stack: Stack, scan: Path) -> bool:
    """Whether a stack becomes the volume that lies in the cohort."""
    try:
        volume: Volume = build_volume(stack, AS_IMPORTED)
    except ImageProblemError:
        return False
    kept: Any = nib.load(scan)
    if kept.shape != volume.values.shape or np.abs(kept.affine - volume.affine).max() > SAME_AFFINE_MM:
        return False
    ours, theirs = stored_values(volume), np.asarray(kept.dataobj)
    tolerance = SAME_VALUE_SHARE * float(np.nanmax(np.abs(ours)))
    return bool(np.allclose(ours, theirs, rtol=0, atol=tolerance, equal_nan=True))


def _original(frames: list[Frame], geometry: StackGeometry, *, is_resampled: bool) -> Original:
    """The slices with what results need of their headers."""
    slices = tuple(_slice(frame, geometry.step_mm) for frame in frames)
    first = slices[0]
    for keyword, reason, what in (
        ("FrameOfReferenceUID", "frame_of_reference_missing", "a frame of reference (0020,0052)"),
        ("StudyInstanceUID", "study_missing", "a study (0020,000D)"),
    ):
        if not all(text_of(one, keyword) == text_of(first, keyword) != "" for one in slices):
            raise ImageProblemError(
                reason,
                f"the original series must have {what}, one for all slices: without it no viewer can place results on "
                "it. Send the series from the scanner or PACS again, not through the program that took it out.",
            )
    spacing = frames[0].spacing_mm or (0.0, 0.0)
    positions = geometry.positions
    return Original(slices, positions, geometry.row, geometry.column, spacing, geometry.step_mm, is_resampled)


def _slice(frame: Frame, step_mm: float) -> pydicom.Dataset:
    """One slice: its place as it is used here, and the patient and study as they can be repeated."""
    keywords = [*_TYPE_2, *_TEXTS, *_UIDS, *_IMAGE, *_GROUPS, "SpecificCharacterSet"]
    own = pydicom.Dataset()
    with silent_pydicom():
        read = pydicom.dcmread(frame.path, specific_tags=keywords, stop_before_pixels=True, force=True)
        for keyword in (*_TYPE_2, *_TEXTS, *_UIDS):
            text = text_of(read, keyword).strip()
            if text or keyword in _TYPE_2:
                setattr(own, keyword, PersonName(text) if keyword.endswith("Name") else _as_valid(keyword, text))
        for keyword in (*_IMAGE, *_GROUPS):
            if keyword in read:
                setattr(own, keyword, read[keyword].value)
    own.SpecificCharacterSet = "ISO_IR 192"  # texts are written again in one character set that has every letter
    own.ImagePositionPatient = list(frame.position or ())
    own.ImageOrientationPatient = list(frame.orientation or ())
    own.PixelSpacing = list(frame.spacing_mm or ())
    own.SliceThickness = f"{step_mm:.6g}"
    return own


def _as_valid(keyword: str, text: str) -> str:
    """A value that receivers accept: a date, time or sex of another form is as if it were not known."""
    if keyword == "PatientSex":
        return text if text in _SEXES else ""
    if keyword in _DATES or keyword == "StudyTime":
        try:
            (DA if keyword in _DATES else TM)(text)
        except ValueError:
            return ""
    return text
