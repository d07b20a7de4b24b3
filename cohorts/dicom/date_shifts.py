"""How far the dates of each patient were shifted, from the key and the table that says who is who."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import PurePosixPath

from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.dicom.patient_header import PatientHeader
from cohorts.dicom.patients import PatientFrom, identity_by

_BY: tuple[PatientFrom, ...] = ("id", "study", "folder")


def date_shifts(rows: Iterable[Mapping[str, str]], pseudonymiser: Pseudonymiser) -> dict[str, timedelta]:
    """Participant -> how far the import moved its dates.

    What named the patient in the import (identifier, study or folder) is the one that gives the pseudonym again, so
    that no other patient's shift is taken. Of a patient who had no identifier the table does not hold it.

    Parameters
    ----------
    rows : of the link table: participant_id, and of its other columns those that there are
    pseudonymiser : with the key of the import
    """
    found: dict[str, timedelta] = {}
    for row in rows:
        for identity in _identities(row):
            if pseudonymiser.participant_id(identity) == row["participant_id"]:
                found[row["participant_id"]] = pseudonymiser.shift(identity)
    return found


def _identities(row: Mapping[str, str]) -> Iterator[str]:
    """What may have named the patient of a row."""
    folder = ""
    with suppress(ValueError, IndexError, TypeError):
        first = PurePosixPath(json.loads(row.get("files", ""))[0])
        folder = first.parts[0] if len(first.parts) > 1 else ""
    header = PatientHeader(
        patient_id=row.get("patient_id", ""),
        issuer=row.get("issuer_of_patient_id", ""),
        study_uid=row.get("study_instance_uid", ""),
        folder=folder,
    )
    yield from (identity_by(header, patient_from) for patient_from in _BY)
