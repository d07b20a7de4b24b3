"""Files beside scans whose dates were shifted that say who or when: sidecars and NIfTI headers of others.

A mask that was drawn elsewhere brings the sidecar of the scan as another converter wrote it, or its DICOM header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import nibabel as nib

from cohorts.folder.problems import Problem, printable
from cohorts.folder.scans import FILE, Scan
from cohorts.folder.true_dates import holds_date, is_shifted, sidecar_of

#: Keys of sidecars that say who or when, by the names of BIDS and dcm2niix.
_WHO = re.compile(
    r"Patient(?!Position|IdentityRemoved)\w*|AccessionNumber|\w*PhysicianName|Institution\w*|StationName|StudyID|"
    r"\w+InstanceUID|ProcedureStepDescription"
)
_TEXTS = ("descrip", "aux_file", "db_name", "intent_name")  # of NIfTI-1; db_name was a patient's in Analyze
DICOM_EXTENSION, COMMENT_EXTENSION = 2, 6  # nifti1.h
REASON = "file_identifies"


def unshifted_headers(scans: Iterable[Scan], folder: Path, shifted: Set[str]) -> list[Problem]:
    """Return one warning per file that says who or when, beside scans whose dates were shifted.

    Parameters
    ----------
    scans : those that can be used
    folder : the cohort folder
    shifted : participants whose dates were shifted
    """
    problems = []
    for scan in scans:
        sidecar = sidecar_of(folder, scan.path) if scan.participant_id in shifted else {}
        if scan.participant_id not in shifted or is_shifted(sidecar):
            continue
        found = [*_in_sidecar(sidecar), *_in_header(folder / scan.path)]
        if found:
            rule = f"must not say who or when beside scans whose dates are shifted; {', '.join(found)} does"
            remedy = "Take it out of the file or its sidecar; dcm2niix -ba y writes none."
            place = (FILE, None, "path", scan.path, rule, remedy, REASON, scan.participant_id)
            problems.append(Problem(*place, is_warning=True))
    return problems


def _in_sidecar(sidecar: Mapping[str, object]) -> Iterator[str]:
    """Keys of a sidecar that say who or when; their values are not told."""
    for key, value in sidecar.items():
        if value not in ("", None) and (_WHO.fullmatch(key) or holds_date(str(value))):
            yield f"key {printable(key)}"


def _in_header(path: Path) -> Iterator[str]:
    """Fields of a NIfTI header that hold a date, and copies of DICOM headers."""
    try:
        header: Any = nib.load(path).header
    except (OSError, ValueError, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError):
        return  # said where the image is read
    for name in _TEXTS:
        if name in header and holds_date(header[name].tobytes().decode("latin-1")):
            yield f"header field {name}"
    for extension in getattr(header, "extensions", ()):
        code, content = extension.get_code(), extension.get_content()
        is_dated = code == COMMENT_EXTENSION and holds_date(bytes(content).decode("latin-1"))
        if code == DICOM_EXTENSION or is_dated:
            yield "a header extension"
