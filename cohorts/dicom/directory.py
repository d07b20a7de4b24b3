"""DICOMDIR: the list of files that a disk or an export should hold, against those that arrived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pydicom

from cohorts.dicom.headers import silent_pydicom
from cohorts.dicom.identity import Finding

NAME = "DICOMDIR"


def missing_files(folder: Path, names: Sequence[str]) -> list[Finding]:
    """What the directories of an export list and the export does not have.

    Parameters
    ----------
    folder : the export
    names : paths of all files inside it
    """
    directories = [name for name in names if PurePosixPath(name).name.upper() == NAME]
    if not directories:
        return []
    known = {_plain(PurePosixPath(name).parts) for name in names}
    found = []
    for number, name in enumerate(directories, start=1):
        listed = [(*PurePosixPath(name).parts[:-1], *file) for file in _listed(folder / name)]
        n_missing = sum(_plain(file) not in known for file in listed)
        if n_missing:
            found.append(
                Finding(
                    "files_missing",
                    (),
                    f"{NAME} no. {number} lists {len(listed)} files, of which {n_missing} are not there",
                    "The copy was stopped, or is a part of the disk: copy it again.",
                )
            )
    return found


def _listed(path: Path) -> list[tuple[str, ...]]:
    """The files of a directory, by the parts of their paths; none where it cannot be read."""
    try:
        with silent_pydicom():
            records = pydicom.dcmread(path).DirectoryRecordSequence
            files = [record.get("ReferencedFileID") for record in records]
            return [tuple([file] if isinstance(file, str) else map(str, file)) for file in files if file]
    except Exception:  # a damaged directory is counted as every file that is no image; the message may quote it
        return []


def _plain(parts: Iterable[str]) -> tuple[str, ...]:
    """Names as disks, servers and copies of them keep them: in capitals or not, with a version behind or not."""
    return tuple(part.upper().removesuffix(";1").removesuffix(".") for part in parts)
