"""The first pass over an export: whose every file is, in little memory, so that patients can be read one by one.

Only the attributes up to the study are read, and files with the same ones share a row: a million files take little more
than their names.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from cohorts.dicom.attributes import text_of
from cohorts.dicom.headers import read_headers, silent_pydicom
from cohorts.dicom.patient_header import PATIENT_KEYWORDS, PatientHeader

_LAST_TAG = 0x0020000D  # StudyInstanceUID
_TAGS = [
    tag
    for tag in map(tag_for_keyword, ("SpecificCharacterSet", "SOPClassUID", *PATIENT_KEYWORDS.values()))
    if tag is not None
]
#: Progress is reported, and pydicom kept silent, for so many files at once.
BATCH = 500


@dataclass(frozen=True)
class Index:
    """Files by what they say of their patient; and those that are no DICOM files, counted by reason."""

    files: Mapping[PatientHeader, Sequence[str]]
    unread: Counter[str]


def index_files(folder: Path, names: Sequence[str], advance: Callable[[int, int], None] | None = None) -> Index:
    """Read whose every file is.

    Parameters
    ----------
    folder : the export
    names : paths of files inside it
    advance : told how many more files are read, and 0
    """
    files: dict[PatientHeader, list[str]] = defaultdict(list)
    unread: Counter[str] = Counter()
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        with silent_pydicom():
            found = [_patient_header(folder, name) for name in batch]
        for name, header in zip(batch, found, strict=True):
            if isinstance(header, str):
                unread[header] += 1
            else:
                files[header].append(name)
        if advance:
            advance(len(batch), 0)
    return Index(files, unread)


def _patient_header(folder: Path, name: str) -> PatientHeader | str:
    """What one file says of its patient, or why it says nothing."""
    path = folder / name
    top, inside, _ = name.partition(os.sep)
    top = sys.intern(top) if inside else ""
    try:
        with path.open("rb") as stream:
            dataset: pydicom.Dataset = read_partial(
                stream, stop_when=_is_behind, force=True, specific_tags=list[BaseTag | int](_TAGS)
            )
        if text_of(dataset, "SOPClassUID"):
            return PatientHeader.of(dataset, top)
    except Exception:  # pydicom raises whatever its parser meets; the message may quote the header
        pass
    headers, unread = read_headers([path])  # with all that it takes to say what is wrong
    return unread[0].reason if unread else PatientHeader.of(headers[0].dataset, top)


def _is_behind(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    """Whether everything needed has been read."""
    return int(tag) > _LAST_TAG
