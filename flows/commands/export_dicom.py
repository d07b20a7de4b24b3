"""``aspects export-dicom``: a run's results go back to the patients they are of, as DICOM, on the original series.

This leads from pseudonyms to people. So the study must say that it may, the link table must be given, what is written
lies outside the cohort and the output folder, and nothing that is printed names a patient.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pydicom
from rich.console import Console

from cohorts.dicom.encapsulated_pdf import encapsulated_pdf
from cohorts.dicom.link_table import Link, LinkTableError, read_links
from cohorts.dicom.original import find_original
from cohorts.dicom.results import ScanResults
from cohorts.dicom.segmentation import segmentation
from cohorts.dicom.structured_report import structured_report
from cohorts.folder.problems import did_you_mean
from cohorts.folder.scans import Scan
from cohorts.folder.tsv import as_participant_id
from cohorts.images.nifti import ImageProblemError
from cohorts.store.records import atomic_writer, digest_of
from flows.commands.export_results import Published, published, refused_sources, scan_results
from flows.commands.export_sending import Sender
from flows.commands.export_tables import EXPORT_FILE, ExportRow, read_rows, write_rows
from flows.commands.failures import EXIT_FAILED_CASES, EXIT_OK
from flows.commands.send_dicom import Archive
from flows.engine.lock import run_lock
from flows.run.latest import latest_folder
from flows.run.plan import make_plan
from flows.run.publishing import is_current
from flows.run.request import PreflightError, UsageError
from flows.run.steps import StorageFailedError
from flows.run.storage import remedy
from reports.pages.pdf import PdfMissingError, page_pdf
from reports.pages.view import PAGES_FOLDER, page_name

FOLDER_OWNER_ALONE = 0o700


@dataclass(frozen=True)
class ExportRequest:
    """What to export and where to.

    Attributes
    ----------
    cohort, out, folder : the cohort, the output folder of its run, where DICOM files are written
    link_table : as ``aspects import`` wrote it
    dicom : where the imported files lie now; None where they lie as they did
    labels : participants; empty means all
    archive : where to send to, or None
    sends_again : send also what this archive was sent before
    with_pdf : whether patients' pages go along
    """

    cohort: Path
    out: Path
    folder: Path
    link_table: Path
    dicom: Path | None = None
    labels: tuple[str, ...] = ()
    archive: Archive | None = None
    sends_again: bool = False
    with_pdf: bool = True


def export_dicom(request: ExportRequest, console: Console) -> int:
    """Write, and send, the results of the latest run; returns the exit code.

    Raises
    ------
    UsageError, PreflightError
        The study may not re-identify, a folder is at the wrong place, or there is no run to export.
    """
    folder = request.folder.resolve()
    for name, other in (("COHORT", request.cohort), ("OUT", request.out)):
        if folder.is_relative_to(other.resolve()):
            raise UsageError(f"DICOM must lie outside {name}, which names no patient, got a path inside it. Move it.")
    run = _published(request)
    try:
        links = read_links(request.link_table, request.cohort)
    except LinkTableError as error:
        raise PreflightError(str(error)) from None
    request.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_OWNER_ALONE)
    with run_lock(request.folder, "aspects export-dicom"):
        rows = _export(request, run, links)
    _show(rows, request, console)
    return EXIT_FAILED_CASES if any(row.status == "failed" or row.sent == "not_sent" for row in rows) else EXIT_OK


def _published(request: ExportRequest) -> Published:
    """The latest run, if it answers the study as it is now."""
    plan = make_plan(request.cohort, request.out, commands="remember")
    if not plan.cohort.config.study.may_reidentify:
        raise PreflightError(
            "the study must say that it may re-identify, and does not. Set may_reidentify = true in [study] of "
            "cohort.toml if your approval allows results to go back to patients' records."
        )
    folder = latest_folder(request.out)
    if folder is None or not is_current(plan, request.out):
        raise PreflightError(
            f"OUT must hold a whole run of the study as it is now, and does not. Run aspects run {request.cohort} "
            f"{request.out}, then export."
        )
    return published(plan, request.out, folder, importlib.metadata.version("aspects-cohort"))


def _export(request: ExportRequest, run: Published, links: Mapping[tuple[str, str], Link]) -> list[ExportRow]:
    """Every participant's objects; files of the export before that are not made again are removed."""
    chosen = _participants(request, run)
    before = read_rows(request.folder)
    sender = None if request.archive is None else Sender(request.folder, request.archive, request.sends_again)
    rows: list[ExportRow] = []
    for participant_id in chosen:
        own = list(_participant(request, run, links, participant_id))
        rows += own if sender is None else sender.send(own)
    stale = {row.file for row in before if row.participant_id in chosen} - {row.file for row in rows} - {None}
    for name in stale:
        (request.folder / str(name)).unlink(missing_ok=True)
    write_rows(request.folder, [*(row for row in before if row.participant_id not in chosen), *rows])
    return rows


def _participants(request: ExportRequest, run: Published) -> tuple[str, ...]:
    """Those that were asked for; by default all.

    Raises
    ------
    UsageError
        One of them is none of the cohort.
    """
    cohort = run.plan.cohort
    known = tuple(
        dict.fromkeys([*cohort.participants["participant_id"], *(one.participant_id for one in cohort.scans)])
    )
    wanted = tuple(dict.fromkeys(map(as_participant_id, request.labels)))
    if unknown := [name for name in wanted if name not in known]:
        hint = did_you_mean(unknown[0], known)
        raise UsageError(f"--participant-label must name participants of the cohort, got {', '.join(unknown)}. {hint}")
    return wanted or known


def _participant(
    request: ExportRequest, run: Published, links: Mapping[tuple[str, str], Link], participant_id: str
) -> Iterator[ExportRow]:
    """The objects of every scan, then the page; what fails of one becomes a row and stops no other."""
    if participant_id not in set(run.plan.cohort.participants["participant_id"]):
        detail = "participants.tsv must list a participant whose results leave the study"
        yield ExportRow(participant_id, None, "scan", "excluded", "not_listed", detail)
        return
    scans = {scan.modality: scan for scan in run.plan.cohort.scans if scan.participant_id == participant_id}
    judged = dict.fromkeys(one.lies_on for one in run.plan.cohort.config.computed_sources if one.is_scoring)
    done: list[ScanResults] = []
    for modality in judged:
        if modality not in scans:
            continue
        for source, status, reason in refused_sources(run, participant_id, modality):
            yield ExportRow(participant_id, modality, f"source {source}", "excluded", reason, f"{status} in the run")
        row = ExportRow(participant_id, modality, "scan", "failed")
        yield from _guarded(row, partial(_scan, request, run, links, row, scans[modality], done))
    if done and request.with_pdf:
        row = ExportRow(participant_id, None, "page", "failed")
        yield from _guarded(row, partial(_page, request, run, row, done))
    if not any(modality in scans for modality in judged):
        detail = "no source of the study rests on a scan of this participant"
        yield ExportRow(participant_id, None, "scan", "excluded", "no_scan", detail)


def _guarded(row: ExportRow, make: Callable[[], list[ExportRow]]) -> list[ExportRow]:
    """What is made, or the row that says why not; only a disk that fails ends the export."""
    try:
        return make()
    except ImageProblemError as error:
        return [replace(row, reason=error.reason, detail=str(error))]
    except PdfMissingError as error:
        return [replace(row, reason="pdf_missing", detail=str(error))]
    except StorageFailedError:
        raise
    except Exception as error:  # one case must not end the export, and the message may quote a header
        return [replace(row, reason="unexpected_error", detail=type(error).__name__)]


def _scan(
    request: ExportRequest,
    run: Published,
    links: Mapping[tuple[str, str], Link],
    row: ExportRow,
    scan: Scan,
    done: list[ScanResults],
) -> list[ExportRow]:
    """Segmentations and report of one scan; its results are added to ``done``."""
    if scan.space is not None:
        detail = f"the scan lies in {scan.space}, not in a scanner: its results have no place on an original series"
        return [replace(row, status="excluded", reason="in_template_space", detail=detail)]
    link = links.get((row.participant_id, scan.path))
    if link is None:
        detail = "the link table must name the series of this scan. Import it with --link-table."
        return [replace(row, status="excluded", reason="not_linked", detail=detail)]
    original = find_original(link, request.dicom or Path(link.folder), request.cohort / scan.path)
    results = scan_results(run, row.participant_id, scan.modality, original)
    if not results.sources:
        detail = "no source has a result of this scan"
        return [replace(row, status="excluded", reason="no_result", detail=detail)]
    drawn = [one for one in results.segments if one.present]
    made = [segmentation(results, one, number) for number, one in enumerate(drawn)]
    report = structured_report(results, made)  # before anything is written: what is written has its row
    rows = [
        _written(request, replace(row, what=f"seg {one.role} {one.name}"), f"{number:02d}_{one.role}", file)
        for number, (one, file) in enumerate(zip(drawn, made, strict=True), start=1)
    ]
    rows.append(_written(request, replace(row, what="sr"), "report", report))
    done.append(results)
    return rows


def _page(request: ExportRequest, run: Published, row: ExportRow, done: list[ScanResults]) -> list[ExportRow]:
    """The patient's page, in the study of the first scan; made again when a result of the patient changes."""
    page = (run.folder / PAGES_FOLDER / page_name(row.participant_id)).read_text("utf-8")
    digest = digest_of([results.digest for results in done])
    document = encapsulated_pdf(done[0], page_pdf(page), f"ASPECTS, {row.participant_id}", digest)
    return [_written(request, row, "page", document)]


def _written(request: ExportRequest, row: ExportRow, name: str, dataset: pydicom.Dataset) -> ExportRow:
    """Write an object, whole or not at all."""
    file = f"{row.participant_id}/{name if row.modality is None else f'{row.modality}_{name}'}.dcm"
    path = request.folder / file
    try:
        path.parent.mkdir(mode=FOLDER_OWNER_ALONE, exist_ok=True)
        with atomic_writer(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    except OSError as error:
        raise StorageFailedError(
            f"{request.folder} must be writable, got: {error.strerror}. {remedy(error)}, then export again; what was "
            "sent stays sent."
        ) from None
    return replace(row, status="ok", file=file, sop_instance_uid=str(dataset.SOPInstanceUID))


def _show(rows: list[ExportRow], request: ExportRequest, console: Console) -> None:
    """A short account, with pseudonyms only."""

    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    n_participants = len({row.participant_id for row in rows if row.status == "ok"})
    tell(f"Objects: {sum(row.status == 'ok' for row in rows)}, of {n_participants} participants")
    reasons = Counter((row.status, row.reason) for row in rows if row.status != "ok")
    for (status, reason), count in reasons.most_common():
        tell(f"  {status}, {reason}: {count}")
    if request.archive is not None:
        sent = Counter(row.sent for row in rows if row.sent is not None)
        words = {"sent": "sent", "already_sent": "sent before, not again (--send-again)", "not_sent": "NOT sent"}
        parts = ", ".join(f"{sent[key]} {word}" for key, word in words.items() if sent[key]) or "nothing to send"
        tell(f"{request.archive.name}: {parts}")
        for why, count in Counter(row.detail for row in rows if row.sent == "not_sent").most_common():
            tell(f"  {why}: {count}")
    tell(f"Written: {request.folder / EXPORT_FILE}, one row per object or reason. The folder names patients.")
