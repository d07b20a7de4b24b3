"""``aspects import``: a folder of DICOM files becomes scans of a cohort folder, and every file found is accounted for.

Files are sorted by patient first, then read patient by patient, so that memory goes by the largest patient; what is
done is committed as it goes, and an import that was stopped goes on.

Nothing printed, written or raised here holds a header's text or the name of an input file: both may name a patient.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from cohorts.dicom.burned_in import BURNED_IN, text_in, text_refused
from cohorts.dicom.completeness import Gaps, find_gaps
from cohorts.dicom.declared import with_declarations
from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.dicom.directory import missing_files
from cohorts.dicom.geometry import Fault, StackRefusedError
from cohorts.dicom.headers import read_headers
from cohorts.dicom.import_settings import ImportSettings
from cohorts.dicom.index import index_files
from cohorts.dicom.intake_tables import (
    ReportRow,
    TableFormError,
    add_participants,
    add_scans,
    listed_scans,
    listed_under_both,
    same_scans,
    write_findings,
    write_report,
)
from cohorts.dicom.journal import Journal, digest_of_files, open_journal
from cohorts.dicom.key import KeyFileError, read_key
from cohorts.dicom.link_table import NO_VOLUME, Link, LinkTableError, add_links, link_of
from cohorts.dicom.patients import Patient, find_patients
from cohorts.dicom.register import RegisterError, read_register, was_filled, write_register
from cohorts.dicom.stacks import Stack, group_stacks
from cohorts.dicom.volume import Volume, build_volume
from cohorts.dicom.walk import walk
from cohorts.dicom.writing import numbers_text, write_volume
from cohorts.images.mask import ImageProblemError
from cohorts.store.records import digest_of
from flows.commands import import_screens
from flows.commands.import_choice import chosen_rows
from flows.commands.import_request import ImportRequest
from flows.commands.import_screens import Account
from flows.engine.lock import run_lock
from flows.engine.progress import CaseProgress
from flows.run.plan import code_digest
from flows.run.request import PreflightError
from flows.run.steps import STORAGE_ERRORS

COMMAND = "aspects import"
#: What is done is committed as often: a kill loses no more.
COMMIT_EVERY_S = 20.0


def import_dicom(request: ImportRequest, console: Console) -> int:
    """Import a folder of DICOM files; returns the exit code.

    Writes volumes and sidecars, adds rows to participants.tsv and scans.tsv, and replaces import_report.tsv. One scan
    per participant and modality is listed in scans.tsv, see ``cohorts.dicom.choosing``; the others are converted, and
    the report says why they are not listed.

    Raises
    ------
    PreflightError
        The key file or a table of the cohort folder cannot be used.
    """
    try:
        register = read_register(request.cohort)
        pseudonymiser = read_key(request.key, request.cohort, may_make=not was_filled(request.cohort))
        register.check_key(pseudonymiser)
        with run_lock(request.cohort, COMMAND):
            account = _import(request, pseudonymiser, console)
    except (KeyFileError, RegisterError, TableFormError, LinkTableError) as error:
        raise PreflightError(str(error)) from None
    import_screens.show(account, console)
    import_screens.show_places(request.cohort, request.key, request.link_table, console)
    return account.exit_code


def _import(request: ImportRequest, pseudonymiser: Pseudonymiser, console: Console) -> Account:
    """Find out who is there, convert patient by patient and write the tables."""
    listed_scans(request.cohort)  # a table that cannot be extended stops before any work
    walked = walk(request.source, follow_links=request.rules.follow_links)
    with CaseProgress(len(walked.files), console, "Headers", "headers read").shown() as progress:
        index = index_files(request.source, walked.files, progress.advance)
    names = sorted(path.name for path in request.source.iterdir())
    places = {name: number for number, name in enumerate(names, start=1)}
    found = find_patients(index, pseudonymiser, read_register(request.cohort), request.rules, places)
    write_register(request.cohort, found.register)
    rules = {
        "actions": dict(request.actions),
        "source": str(request.source.resolve()),
        "keep_text": request.rules.keep_text,
        "link_table": str(request.link_table),
        "settings": request.settings.model_dump(mode="json"),
        "code": code_digest(),
    }
    journal = open_journal(request.cohort, pseudonymiser.token("rules", digest_of(rules)))
    work = _Work(request, pseudonymiser, journal)
    with CaseProgress(len(found.patients), console, "Patients", "patients imported").shown() as progress:
        for patient in found.patients:
            work.import_patient(patient)
            progress.advance(1, int(patient.refusal is not None))
    work.commit()
    both = listed_under_both(found.register.same_person, listed_scans(request.cohort))
    findings = (*missing_files(request.source, walked.files), *found.findings, *both, *same_scans(work.rows))
    account = Account(walked.n_found, work.rows, walked.left_out + index.unread, findings)
    write_findings(request.cohort, account.findings)
    write_report(request.cohort, account.all_rows)
    journal.close()
    return account


@dataclass
class _Work:
    """An import under way: what is done, and what of it is not committed yet."""

    request: ImportRequest
    pseudonymiser: Pseudonymiser
    journal: Journal
    rows: list[ReportRow] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    waiting: list[tuple[str, str, list[ReportRow]]] = field(default_factory=list)
    committed_at: float = field(default_factory=time.monotonic)

    def import_patient(self, patient: Patient) -> None:
        """Convert all series of a patient, unless that was done before the import was stopped."""
        if patient.refusal:
            self.rows.append(_refused_patient(patient))
            return
        digest = digest_of_files(self.request.source, patient.files, self.pseudonymiser)
        rows = self.journal.rows(patient.participant_id, digest)
        if rows is None:
            rows = self._converted(patient)
            self.waiting.append((patient.participant_id, digest, rows))
        self.rows += rows
        if time.monotonic() - self.committed_at > COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        """Write the tables of the patients that are done, then that they are."""
        cohort, rows = self.request.cohort, [row for _, _, rows in self.waiting for row in rows]
        add_participants(cohort, (row.participant_id for row in rows))  # also where nothing could be used
        present = set(listed_scans(cohort).values())
        added = [row for row in rows if row.is_listed and row.path not in present]
        scans = [
            {"participant_id": row.participant_id, "modality": row.detected_as, "path": row.path or ""} for row in added
        ]
        add_scans(cohort, scans)
        if self.request.link_table is not None:
            add_links(self.request.link_table, cohort, self.links)
        self.journal.add(self.waiting)
        self.waiting, self.links, self.committed_at = [], [], time.monotonic()

    def _converted(self, patient: Patient) -> list[ReportRow]:
        """Convert every series of a patient."""
        source = self.request.source
        headers, unread = read_headers([source / name for name in patient.files])
        try:
            settings = self.request.settings
            stacks = group_stacks(headers, patient.identity, lambda found: with_declarations(found, settings))
            stacks = [_as_ruled(stack, settings) for stack in stacks]
            gaps = find_gaps(stacks)
        except Exception as error:  # one patient must not end the import, and the message may quote the header
            row = _file_row(patient.participant_id, len(patient.files), "unexpected_error")
            return [replace(row, detail=type(error).__name__)]
        results = [
            (stack, _import_stack(stack, gaps.get(stack.key, Gaps()), self.request, self.pseudonymiser))
            for stack in stacks
        ]
        rows = chosen_rows(results, listed_scans(self.request.cohort), self.request.cohort, settings)
        if self.request.link_table is not None:
            self.links += _links(results, source)
        damaged = Counter(item.reason for item in unread)
        return rows + [_file_row(patient.participant_id, count, reason) for reason, count in sorted(damaged.items())]


def _links(results: Sequence[tuple[Stack, ReportRow]], source: Path) -> Iterator[Link]:
    """A link for each volume, and one for each number of the patient that has none: tables of others name it too."""
    links = [
        link_of(stack.header.dataset, (row.participant_id, row.path or NO_VOLUME), source, stack.paths)
        for stack, row in results
    ]
    linked = {link.person for link in links if link.path != NO_VOLUME}
    yield from (link for link in links if link.path != NO_VOLUME or link.person not in linked)


def _file_row(participant_id: str, n_files: int, reason: str) -> ReportRow:
    """The row of a patient's files that are no images."""
    return ReportRow("n/a", participant_id, "no image", "file", n_files, 0, 0, "rejected", reason)


def _refused_patient(patient: Patient) -> ReportRow:
    """The row of files that are not taken for one person's."""
    reason, detail = (patient.refusal.kind, patient.refusal.text) if patient.refusal else (None, None)
    row = ReportRow("n/a", patient.participant_id, "not read", "patient module", len(patient.files), 0, 0, "rejected")
    return replace(row, reason=reason, detail=detail)


def _as_ruled(stack: Stack, settings: ImportSettings) -> Stack:
    """A series as the rules of import.toml see it."""
    rule = settings.rule_of(stack.header, stack.places[0][0])
    return replace(stack, recognition=settings.recognised(stack.recognition, rule))


def _import_stack(stack: Stack, gaps: Gaps, request: ImportRequest, pseudonymiser: Pseudonymiser) -> ReportRow:
    """Convert one stack, or say why not."""
    row = ReportRow(
        series=pseudonymiser.series_id(stack.key),
        participant_id=pseudonymiser.participant_id(stack.identity),
        detected_as=stack.recognition.kind,
        evidence=stack.recognition.evidence,
        n_files=stack.n_files,
        n_slices=stack.n_slices,
        n_copies=stack.n_copies,
        n_shared=stack.n_shared,
        action="rejected",
        started=pseudonymiser.shifted(stack.started, stack.identity),
    )
    if stack.recognition.refusal:
        return replace(row, reason=stack.recognition.refusal, detail=f"shown by {stack.recognition.evidence}")
    try:
        text = text_in(stack)
        if text and not request.rules.keep_text:
            raise text_refused(text)
        volume = build_volume(stack, request.actions)
        notes = (*volume.notes, *gaps.notes, *([BURNED_IN] if text else []))
        volume = replace(volume, notes=notes, numbers={**volume.numbers, **gaps.numbers, **text})
        path = write_volume(stack, volume, pseudonymiser, request.cohort, request.actions)
    except StackRefusedError as error:
        return replace(row, reason=error.reason, detail=str(error), numbers=_fault_numbers(error.faults))
    except ImageProblemError as error:
        return replace(row, reason=error.reason, detail=str(error))
    except OSError as error:
        if error.errno in STORAGE_ERRORS:
            raise OSError(error.errno, os.strerror(error.errno)) from None
        return replace(row, reason="unexpected_error", detail=type(error).__name__)
    except Exception as error:  # one series must not end the import, and the message may quote the header
        return replace(row, reason="unexpected_error", detail=type(error).__name__)
    return _converted(row, volume, path, stack.recognition.unfit)


def _converted(row: ReportRow, volume: Volume, path: str, unfit: tuple[str, ...]) -> ReportRow:
    """The row of a volume that was written."""
    reasons = [fault.reason for fault in volume.faults]
    return replace(
        row,
        detected_as=volume.kind,
        evidence=volume.evidence or row.evidence,
        action="resampled" if reasons else "converted",
        reason=", ".join([*reasons, *volume.notes, *volume.doubts, *unfit]) or None,
        unfit=unfit,
        doubts=volume.doubts,
        detail="; ".join(fault.text for fault in volume.faults) or None,
        numbers=_fault_numbers(volume.faults) | numbers_text(volume.numbers),
        path=path,
        pixels=hashlib.sha256(volume.values.tobytes(order="A")).hexdigest(),
    )


def _fault_numbers(faults: Iterable[Fault]) -> dict[str, float]:
    """All measured numbers of faults."""
    return numbers_text({name: value for fault in faults for name, value in fault.numbers.items()})
