"""The link table: which volume of a cohort was made from which series of which patient. It identifies people.

A patient none of whose series could be used has a row without a volume: a clinical table knows that patient too.

It lies outside the cohort folder, is readable by its owner alone (mode 600), and is written only where somebody asked
for it. With it results go back to the original series (``aspects export-dicom``) and clinical tables are joined.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from cohorts.dicom.attributes import text_of
from cohorts.dicom.key import OWNER_ALONE
from cohorts.store.records import atomic_writer

PATIENT_ID = "patient_id"
NO_VOLUME = "n/a"
LINK_COLUMNS = (
    "participant_id",
    "path",
    PATIENT_ID,
    "issuer_of_patient_id",
    "study_instance_uid",
    "series_instance_uid",
    "folder",
    "files",
)


class LinkTableError(ValueError):
    """A link table that cannot be used; the message says why and what to do, and names nobody."""


@dataclass(frozen=True)
class Link:
    """One volume of the cohort and the series that it was made from; or a patient without any.

    Attributes
    ----------
    participant_id, path : pseudonym; path of the volume inside the cohort folder, ``NO_VOLUME`` where there is none
    patient_id, issuer_of_patient_id : as the hospital writes them
    study_instance_uid, series_instance_uid : of the original series
    folder, files : where the DICOM files lay, and their paths inside that folder
    """

    participant_id: str
    path: str
    patient_id: str
    issuer_of_patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    folder: str
    files: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        """Which volume; of a patient without any, which of the hospital's numbers."""
        if self.path == NO_VOLUME:
            return self.participant_id, " ".join((NO_VOLUME, *self.person[1:]))
        return self.participant_id, self.path

    @property
    def person(self) -> tuple[str, str, str]:
        """Whose it is: pseudonym, issuer, number in the hospital."""
        return self.participant_id, self.issuer_of_patient_id, self.patient_id

    @property
    def cells(self) -> tuple[str, ...]:
        """As written, in the order of ``LINK_COLUMNS``."""
        return (*(getattr(self, name) for name in LINK_COLUMNS[:-1]), json.dumps(self.files))


def link_of(dataset: pydicom.Dataset, volume: tuple[str, str], folder: Path, paths: Iterable[Path]) -> Link:
    """The link of a volume: (participant, path in the cohort), made from files below a folder."""
    files = sorted(str(path.relative_to(folder)) for path in set(paths))
    return Link(
        *volume,
        patient_id=text_of(dataset, "PatientID").strip(),
        issuer_of_patient_id=text_of(dataset, "IssuerOfPatientID").strip(),
        study_instance_uid=text_of(dataset, "StudyInstanceUID"),
        series_instance_uid=text_of(dataset, "SeriesInstanceUID"),
        folder=str(folder.resolve()),
        files=tuple(files),
    )


def is_forbidden(cohort: Path) -> bool:
    """Whether the study of a cohort folder is written and does not say that it may re-identify."""
    try:
        study = tomllib.loads((cohort / "cohort.toml").read_text("utf-8"))["study"]
        return study.get("may_reidentify") is not True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, AttributeError):
        return True


def check_place(path: Path, cohort: Path, option: str = "--link-table") -> None:
    """Refuse a link table inside the cohort folder, or one that others may read.

    Parameters
    ----------
    path, cohort : the link table, the cohort folder
    option : of the command line, for the message

    Raises
    ------
    LinkTableError
    """
    if path.resolve().is_relative_to(cohort.resolve()):
        raise LinkTableError(
            f"{option} must lie outside the cohort folder, which holds no identities, got a path inside it. Choose "
            "another folder."
        )
    with suppress(FileNotFoundError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~OWNER_ALONE:
            raise LinkTableError(
                f"{path} must be readable by its owner alone (mode 600), got mode {mode:o}: it names patients. "
                f"Run chmod 600 {path}, and ask who read it."
            )


def read_links(path: Path, cohort: Path) -> dict[tuple[str, str], Link]:
    """(participant, path in the cohort) -> link.

    Parameters
    ----------
    path : the link table
    cohort : the cohort folder, outside of which it must lie

    Raises
    ------
    LinkTableError
        It is not there, lies in the cohort, may be read by others, or is not as an import wrote it.
    """
    check_place(path, cohort)
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8")), delimiter="\t"))
        cells: list[Any] = [{**row, "files": tuple(json.loads(row["files"]))} for row in rows]
        links = [Link(**row) for row in cells]
    except FileNotFoundError:
        raise LinkTableError(
            f"{path} must be the link table of an import, and is not there. Make it with aspects import --link-table."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, csv.Error):
        raise LinkTableError(
            f"{path} must be as the import wrote it (columns {', '.join(LINK_COLUMNS)}). Restore it, or import again."
        ) from None
    return {link.key: link for link in links}


def add_links(path: Path, cohort: Path, links: Iterable[Link]) -> None:
    """Add links to a table, made where it is absent; the link of a volume that is there already is replaced.

    Raises
    ------
    LinkTableError
        See ``read_links``; or it cannot be written.
    """
    check_place(path, cohort)
    known = read_links(path, cohort) if path.exists() else {}
    known |= {link.key: link for link in links}
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(LINK_COLUMNS)
    writer.writerows(known[key].cells for key in sorted(known))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(path) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text.getvalue())
    except OSError as error:
        raise LinkTableError(f"{path} must be writable, got: {error.strerror}. Choose another folder.") from None
