"""Who is in an export: its files by patient, and the patients that cannot be told from each other, refused.

Nothing that comes out of here holds a header's text or a file's name; folders are named by their number.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cohorts.dicom.deidentify import PSEUDONYM_LETTERS, Pseudonymiser
from cohorts.dicom.identity import Evidence, Finding, evidence_of, twins
from cohorts.dicom.index import Index
from cohorts.dicom.patient_header import PatientHeader
from cohorts.dicom.register import Register
from cohorts.folder.tsv import PREFIX

PatientFrom = Literal["id", "folder", "study"]
FOLDERS_SHOWN = 10
_PSEUDONYM = re.compile(rf"{PREFIX}[a-z2-7]{{{PSEUDONYM_LETTERS}}}")


@dataclass(frozen=True)
class IntakeRules:
    """What a coordinator declares of an export.

    Attributes
    ----------
    patient_from : what names a patient: the identifier, the folder directly inside the export, or the study
    same_person : participant -> participant that it is; itself where all of its files are one person's
    follow_links : whether links that lead out of the export are followed
    keep_text : whether series in whose pixels text seems to be drawn are imported all the same
    """

    patient_from: PatientFrom = "id"
    same_person: Mapping[str, str] = field(default_factory=dict)
    follow_links: bool = False
    keep_text: bool = False


@dataclass(frozen=True)
class Patient:
    """One participant: the identity for the keyed hash, the files, and why they are refused or None."""

    participant_id: str
    identity: str
    files: tuple[str, ...]
    refusal: Finding | None = None


@dataclass(frozen=True)
class Patients:
    """Everybody in an export, what a coordinator has to look at, and the register with them."""

    patients: tuple[Patient, ...]
    findings: tuple[Finding, ...]
    register: Register


def same_person_of(texts: Sequence[str]) -> dict[str, str]:
    """Participant -> participant that it is.

    >>> same_person_of(["sub-aaaabbbbcccc=sub-ddddeeeeffff", "sub-gggghhhhiiii"])["sub-ddddeeeeffff"]
    'sub-aaaabbbbcccc'

    Raises
    ------
    ValueError
        A text holds anything but pseudonyms; it is not quoted, since it may name a patient.
    """
    found: dict[str, str] = {}
    for text in texts:
        names = text.split("=")
        if not all(map(_PSEUDONYM.fullmatch, names)):
            raise ValueError(
                "--same-person must be participants as the import names them, such as "
                "sub-aaaabbbbcccc=sub-ddddeeeeffff, got something else. Copy them from import_findings.tsv."
            )
        found |= dict.fromkeys(names, names[0])
    return found


def find_patients(
    index: Index, pseudonymiser: Pseudonymiser, register: Register, rules: IntakeRules, places: Mapping[str, int]
) -> Patients:
    """Sort the files of an export by patient, and compare what they say of each.

    Parameters
    ----------
    index : the files by what they say of their patient
    register : of the cohort folder
    rules : as declared; what was declared in imports before holds too
    places : folder directly inside the export -> its number
    """
    same_person = {**register.same_person, **rules.same_person}
    members: dict[str, list[PatientHeader]] = defaultdict(list)
    identities: dict[str, str] = {}
    for header in index.files:
        identity = identity_by(header, rules.patient_from)
        participant_id = pseudonymiser.participant_id(identity)
        identities[participant_id] = identity
        members[same_person.get(participant_id, participant_id)].append(header)
    patients, findings, evidence = [], [], dict(register.evidence)
    for merged in [one for one, main in same_person.items() if one != main]:
        evidence.pop(merged, None)
    for participant_id, headers in sorted(members.items()):
        own = evidence_of(headers, participant_id, pseudonymiser)
        is_alone = rules.patient_from == "id" and len(members) == 1 and not set(register.evidence) - {participant_id}
        whole = own | register.evidence.get(participant_id, Evidence())
        refusal = None
        if participant_id not in identities:
            refusal = _absent(participant_id)
        elif rules.patient_from == "folder" and any(not header.folder for header in headers):
            refusal = _loose(participant_id)
        elif participant_id not in same_person:
            refusal = _refusal(participant_id, whole, is_alone=is_alone, is_by_id=rules.patient_from == "id")
        if refusal:
            refusal = replace(refusal, text=refusal.text + _where(headers, places))
            findings.append(refusal)
        else:
            findings += _spellings(participant_id, whole, same_person)
            if is_alone and len(whole.studies) > 1 and not whole.has_birth_date and participant_id not in same_person:
                findings.append(_only_one(participant_id, len(whole.studies)))
            evidence[participant_id] = whole
        files = tuple(sorted(name for header in headers for name in index.files[header]))
        patients.append(Patient(participant_id, identities.get(participant_id, ""), files, refusal))
    by_study = tuple(one.participant_id for one in patients if one.identity.startswith("study\0"))
    if by_study and rules.patient_from == "id":
        findings.append(_by_study(by_study))
    findings += twins(evidence)
    register = Register(pseudonymiser.fingerprint, same_person, evidence)
    return Patients(tuple(patients), tuple(findings), register)


def identity_by(header: PatientHeader, patient_from: PatientFrom) -> str:
    """The text that stands for the patient of a file."""
    if patient_from == "folder":
        return f"folder\0{header.folder}"
    return f"study\0{header.study_uid}" if patient_from == "study" else header.identity


def _refusal(participant_id: str, evidence: Evidence, *, is_alone: bool, is_by_id: bool) -> Finding | None:
    """Why files under one identifier, folder or study are not taken for one person's; None where they are."""
    contradictions = evidence.contradictions
    one_person = f"--same-person {participant_id} if they are one person all the same"
    if contradictions:
        kinds = ", ".join(f"{count} {kind}" for kind, count in contradictions.items())
        return Finding(
            "identity_contradicts",
            (participant_id,),
            f"one identifier has {kinds}",
            "Correct the export; or import again with --patient-from folder if every folder of DICOM_DIR is one "
            f"patient's, --patient-from study if every study is, or {one_person}.",
        )
    stands_for_all = not evidence.is_named or (is_alone and not evidence.is_confirmed)
    if is_by_id and stands_for_all and len(evidence.studies) > 1:
        return Finding(
            "identity_unconfirmed",
            (participant_id,),
            f"an identifier that names nobody stands for {len(evidence.studies)} studies",
            "Import again with --patient-from folder if every folder of DICOM_DIR is one patient's, --patient-from "
            f"study if every study is, or {one_person}.",
        )
    return None


def _absent(participant_id: str) -> Finding:
    """Files of somebody who was declared to be a participant that this export does not have."""
    return Finding(
        "same_person_absent",
        (participant_id,),
        "files were declared to be of this participant, of whom the export has none under the first identifier",
        "Import both together: the shift of dates comes from the first identifier.",
    )


def _loose(participant_id: str) -> Finding:
    """Files in no folder, where folders name the patients."""
    return Finding(
        "not_in_a_folder",
        (participant_id,),
        "files lie directly in DICOM_DIR, in no patient's folder",
        "Put them into the folder of their patient, and import again.",
    )


def _where(headers: Sequence[PatientHeader], places: Mapping[str, int]) -> str:
    """The folders of files, by number."""
    numbers = sorted({places[header.folder] for header in headers if header.folder in places})
    if not numbers:
        return ""
    shown = ", ".join(map(str, numbers[:FOLDERS_SHOWN])) + (", ..." if len(numbers) > FOLDERS_SHOWN else "")
    return f"; in folder no. {shown} of DICOM_DIR, counted by LC_ALL=C ls -A"


def _spellings(participant_id: str, evidence: Evidence, same_person: Mapping[str, str]) -> Iterator[Finding]:
    """Names of one participant that differ, but may be one person's."""
    if evidence.spellings and participant_id not in same_person:
        yield Finding(
            "names_differ",
            (participant_id,),
            f"{evidence.spellings} spellings of the name, and nothing else that contradicts",
            f"Look at the export. If it is one person, --same-person {participant_id} says so.",
        )


def _only_one(participant_id: str, n_studies: int) -> Finding:
    """All studies of an export under one identifier."""
    return Finding(
        "one_identifier_for_all",
        (participant_id,),
        f"all {n_studies} studies have one identifier, and nothing that contradicts it",
        f"If they are several people's, import into a new cohort folder with --patient-from folder or study; else "
        f"--same-person {participant_id} says that they are not.",
    )


def _by_study(participant_ids: tuple[str, ...]) -> Finding:
    """Patients without identifier and name."""
    return Finding(
        "known_by_study_alone",
        participant_ids,
        f"{len(participant_ids)} studies have neither an identifier nor a name: each counts as one participant",
        "If a patient has several studies, import again with --same-person, or --patient-from folder.",
    )
