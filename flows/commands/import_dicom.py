"""``aspects import``: a folder of DICOM files becomes scans of a cohort folder, and every series found gets its row.

Nothing printed, written or raised here holds a header's text or the name of an input file: both may name a patient.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from cohorts.dicom.declared import with_declarations
from cohorts.dicom.deidentify import KeyFileError, Pseudonymiser, read_key
from cohorts.dicom.geometry import ACTIONS, Action, Fault, StackRefusedError
from cohorts.dicom.headers import Unread, find_files, read_headers
from cohorts.dicom.import_settings import ImportSettings, ImportSettingsError, read_import_settings
from cohorts.dicom.intake_tables import (
    ReportRow,
    TableFormError,
    add_participants,
    add_scans,
    listed_scans,
    write_report,
)
from cohorts.dicom.link_table import Link, LinkTableError, add_links, check_place, is_forbidden, link_of
from cohorts.dicom.stacks import Stack, group_stacks
from cohorts.dicom.volume import DEFAULT_ACTIONS, Volume, build_volume
from cohorts.dicom.writing import numbers_text, write_volume
from cohorts.folder.problems import did_you_mean
from cohorts.images.mask import ImageProblemError
from flows.commands.failures import EXIT_FAILED_CASES, EXIT_OK
from flows.commands.import_choice import choice_lines, chosen_rows
from flows.engine.lock import run_lock
from flows.run.plan import PreflightError, UsageError
from flows.run.steps import STORAGE_ERRORS

COMMAND = "aspects import"


@dataclass(frozen=True)
class ImportRequest:
    """What to import, where to, with which key and which actions for faults; where to keep who is who, or None; and
    what the cohort folder says of a site's series.
    """

    source: Path
    cohort: Path
    key: Path
    actions: Mapping[str, Action]
    link_table: Path | None = None
    settings: ImportSettings = field(default_factory=ImportSettings)


def import_request(
    source: Path, cohort: Path, key: Path | None, on_fault: Iterable[str], link_table: Path | None = None
) -> ImportRequest:
    """Check the arguments of the command.

    Parameters
    ----------
    source : folder of DICOM files, outside the cohort folder
    cohort : the cohort folder, made where it does not exist
    key : key file; None stands for ``<cohort>.key`` beside the cohort folder
    on_fault : texts such as ``gantry_tilt=reject``
    link_table : where to write which volume is of which series and patient; None writes it nowhere

    Raises
    ------
    UsageError
        An argument breaks its rule.
    PreflightError
        ``import.toml`` of the cohort folder cannot be used.
    """
    if not source.is_dir():
        raise UsageError("DICOM_DIR must be a folder. Give the folder that holds the exported files.")
    if source.resolve().is_relative_to(cohort.resolve()):
        raise UsageError("DICOM_DIR must lie outside the cohort folder, which holds no identities. Move it.")
    actions = dict(DEFAULT_ACTIONS)
    for text in on_fault:
        reason, _, action = text.partition("=")
        if reason not in ACTIONS:
            hint = did_you_mean(reason, ACTIONS)
            raise UsageError(f"--on-fault must name a fault ({', '.join(ACTIONS)}), got {reason}. {hint}")
        allowed = {known: known for known in ACTIONS[reason]}
        if action not in allowed:
            raise UsageError(
                f"--on-fault {reason} must be {' or '.join(allowed)}, got {action or 'nothing'}. Correct it."
            )
        actions[reason] = next(known for known in ACTIONS[reason] if known == action)
    name = cohort.resolve()
    key = key or name.with_name(name.name + ".key")
    if key.resolve().is_relative_to(name):
        raise UsageError("--key must lie outside the cohort folder, got a path inside it. Choose another folder.")
    if link_table is not None:
        if is_forbidden(cohort):
            raise UsageError(
                "--link-table must be used only where the study may re-identify, and cohort.toml does not say so. Set "
                "may_reidentify = true in [study] if your approval allows it, else leave the option out."
            )
        try:
            check_place(link_table, cohort)
        except LinkTableError as error:
            raise UsageError(str(error)) from None
    try:
        settings = read_import_settings(cohort)
    except ImportSettingsError as error:
        raise PreflightError(str(error)) from None
    return ImportRequest(source, cohort, key, actions, link_table, settings)


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
        pseudonymiser = read_key(request.key, request.cohort)
        with run_lock(request.cohort, COMMAND):
            rows, unread = _import(request, pseudonymiser)
    except (KeyFileError, TableFormError, LinkTableError) as error:
        raise PreflightError(str(error)) from None
    _show(rows, unread, request, console)
    return EXIT_FAILED_CASES if any(row.reason == "unexpected_error" for row in rows) else EXIT_OK


def _import(request: ImportRequest, pseudonymiser: Pseudonymiser) -> tuple[list[ReportRow], Counter[str]]:
    """Convert every series and write the tables."""
    listed_scans(request.cohort)  # a table that cannot be extended stops before any work
    headers, unread = read_headers(find_files(request.source))
    stacks = with_declarations(group_stacks(headers), request.settings)
    stacks = [_as_ruled(stack, request.settings) for stack in stacks]
    results = [(stack, _import_stack(stack, request, pseudonymiser)) for stack in stacks]
    rows = chosen_rows(results, listed_scans(request.cohort), request.cohort, request.settings)
    add_participants(request.cohort, (row.participant_id for row in rows))  # also where nothing could be used
    present = set(listed_scans(request.cohort).values())
    added = [row for row in rows if row.is_listed and row.path not in present]
    add_scans(
        request.cohort,
        [{"participant_id": row.participant_id, "modality": row.detected_as, "path": row.path or ""} for row in added],
    )
    if request.link_table is not None:
        add_links(request.link_table, request.cohort, _links(results, request.source))
    counts = Counter(item.reason for item in unread)
    write_report(request.cohort, [*rows, *_unread_rows(unread)])
    return rows, counts


def _links(results: list[tuple[Stack, ReportRow]], source: Path) -> Iterator[Link]:
    """Who is who, of everything that was converted."""
    for stack, row in results:
        if row.path is not None:
            files = (frame.path for place in stack.places for frame in place)
            yield link_of(stack.header.dataset, (row.participant_id, row.path), source, files)


def _as_ruled(stack: Stack, settings: ImportSettings) -> Stack:
    """A series as the rules of import.toml see it."""
    rule = settings.rule_of(stack.header, stack.places[0][0])
    return replace(stack, recognition=settings.recognised(stack.recognition, rule))


def _import_stack(stack: Stack, request: ImportRequest, pseudonymiser: Pseudonymiser) -> ReportRow:
    """Convert one stack, or say why not."""
    row = ReportRow(
        series=pseudonymiser.series_id(stack.key),
        participant_id=pseudonymiser.participant_id(stack.identity),
        detected_as=stack.recognition.kind,
        evidence=stack.recognition.evidence,
        n_files=stack.n_files,
        n_slices=stack.n_slices,
        n_copies=stack.n_copies,
        action="rejected",
        started=pseudonymiser.shifted(stack.started, stack.identity),
    )
    if stack.recognition.refusal:
        return replace(row, reason=stack.recognition.refusal, detail=f"shown by {stack.recognition.evidence}")
    try:
        volume = build_volume(stack, request.actions)
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
    )


def _fault_numbers(faults: Iterable[Fault]) -> dict[str, float]:
    """All measured numbers of faults."""
    return numbers_text({name: value for fault in faults for name, value in fault.numbers.items()})


def _unread_rows(unread: Iterable[Unread]) -> list[ReportRow]:
    """One row per reason for files that are no images; their names stay out."""
    counts = Counter(item.reason for item in unread)
    return [
        ReportRow("n/a", "n/a", "no image", "file", count, 0, 0, "rejected", reason)
        for reason, count in sorted(counts.items())
    ]


def _show(rows: list[ReportRow], unread: Counter[str], request: ImportRequest, console: Console) -> None:
    """A short account on the terminal, with pseudonyms only."""
    actions = Counter(row.action for row in rows)
    counts = ", ".join(f"{count} {action}" for action, count in sorted(actions.items())) or "none"
    console.print(f"Series found: {len(rows)} ({counts})", markup=False, highlight=False)
    reasons = Counter(row.reason for row in rows if row.action == "rejected")
    for reason, count in [*reasons.most_common(), *unread.most_common()]:
        console.print(f"  {reason}: {count}", markup=False, highlight=False)
    for line in choice_lines(rows):
        console.print(line, markup=False, highlight=False)
    console.print(
        f"Written: {request.cohort}/import_report.tsv, one row per series\n"
        f"Keep {request.key}: without it the same patients get other pseudonyms. It stays out of the cohort folder.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if request.link_table is not None:
        text = f"{request.link_table} names patients: it must never go where the cohort folder goes."
        console.print(text, markup=False, highlight=False, soft_wrap=True)
