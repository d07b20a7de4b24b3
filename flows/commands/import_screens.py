"""What ``aspects import`` says at the end: every file in one total, what needs a person, and what is not promised.

Pseudonyms and counts only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cohorts.dicom.completeness import INCOMPLETE
from cohorts.dicom.identity import Finding
from cohorts.dicom.intake_tables import FINDINGS_FILE, REPORT_FILE, ReportRow
from cohorts.dicom.walk import LEFT_OUT
from flows.commands.failures import EXIT_FAILED_CASES, EXIT_OK
from flows.commands.import_choice import choice_lines

#: Reasons of files with which a patient's scans may be lost.
LOST = {reason for reason, is_lost in LEFT_OUT.items() if is_lost} | {
    "archive", "empty_file", "unreadable_dicom", "unreadable_file", "not_accounted_for",
}  # fmt: skip
REMEDIES = {
    "link_leads_out": "links to files outside DICOM_DIR: give --follow-links if they are this study's",
    "link_broken": "links to nothing: get the files (git annex get, datalad get), then import again",
    "folder_unreadable": "folders that you may not read: ask for access, then import again",
    "archive": "packed files: unpack them, then import again",
    "empty_file": "files without content: export or copy them again",
    "unreadable_dicom": "damaged or cut DICOM files: export or copy them again",
    "unreadable_file": "files that you may not read: ask for access, then import again",
    "not_accounted_for": "files that no row counts: this should not happen, please report it",
}
#: Findings with which a patient or files are left out; the others are warnings.
REFUSALS = ("identity_contradicts", "identity_unconfirmed", "not_in_a_folder", "same_person_absent", "files_missing")
FINDINGS_SHOWN = 5
LIMITS = (
    "Not removed: faces can be recognised in a scan of the head, the time of day of a scan is kept, and text drawn "
    "over the head, or smoothed by compression, is not found. Give the cohort folder only to those who may see this."
)


@dataclass(frozen=True)
class Account:
    """What became of every file: rows of series and patients, other files by reason, and findings."""

    n_found: int
    rows: Sequence[ReportRow]
    others: Counter[str]
    findings: tuple[Finding, ...]

    @property
    def n_missing(self) -> int:
        """Files found that no row counts; 0 unless this program is wrong."""
        return self.n_found - sum(row.n_counted for row in self.rows) - self.others.total()

    @property
    def all_rows(self) -> list[ReportRow]:
        """The rows of the report: series and patients, then one per reason for files that are no images."""
        others = self.others + Counter(not_accounted_for=abs(self.n_missing))
        return [
            *self.rows,
            *(
                ReportRow("n/a", "n/a", "no image", "file", count, 0, 0, "rejected", reason)
                for reason, count in sorted(others.items())
            ),
        ]

    @property
    def exit_code(self) -> int:
        """1 where something was left out that somebody has to look after, or nothing came in."""
        is_lost = any(row.reason in ("unexpected_error", *LOST) for row in self.all_rows)
        is_refused = any(finding.kind in REFUSALS for finding in self.findings)
        has_volume = any(row.path for row in self.rows)
        return EXIT_OK if has_volume and not is_lost and not is_refused else EXIT_FAILED_CASES


def show(account: Account, console: Console) -> None:
    """A short account on the terminal."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    series = [row for row in account.rows if row.reason not in REFUSALS]
    actions = Counter(row.action for row in series)
    counts = ", ".join(f"{count} {action}" for action, count in sorted(actions.items())) or "none"
    say(f"Series found: {len(series)} ({counts})")
    for reason, count in Counter(row.reason for row in series if row.action == "rejected").most_common():
        say(f"  {reason}: {count}")
    for line in choice_lines(series):
        say(line)
    n_series = sum(row.n_counted - row.n_copies for row in series)
    n_copies, n_refused = (
        sum(row.n_copies for row in series),
        sum(row.n_counted for row in account.rows if row.reason in REFUSALS),
    )
    parts = [
        f"{count} {what}"
        for count, what in (
            (n_series, "in series"),
            (n_copies, "copies"),
            (n_refused, "of patients that are refused"),
            (account.others.total(), "others"),
        )
        if count
    ]
    say(f"Files found: {account.n_found} = {' + '.join(parts) or 'none'}")
    for reason, count in account.others.most_common():
        say(f"  {reason}: {count}" + (f" ({REMEDIES[reason]})" if reason in REMEDIES else ""))
    if account.n_missing:
        say(f"  not_accounted_for: {account.n_missing} ({REMEDIES['not_accounted_for']})")
    _show_patients(account, say)
    n_incomplete = sum(
        bool(row.path) and any(note in (row.reason or "") for note in INCOMPLETE) for row in account.rows
    )
    if n_incomplete:
        say(f"LOOK AT incomplete series: {n_incomplete} seem to lack slices, see reason and numbers in {REPORT_FILE}")
    _show_findings(account.findings, say)
    say(LIMITS)


def _show_patients(account: Account, say: Callable[[str], None]) -> None:
    """How many patients have a scan now, and how many have none."""
    whole = {row.participant_id for row in account.rows}
    with_scan = {row.participant_id for row in account.rows if row.path}
    if whole - with_scan:
        say(f"Patients: {len(whole)}, of whom {len(whole - with_scan)} have no scan that could be used")


def _show_findings(findings: Sequence[Finding], say: Callable[[str], None]) -> None:
    """The first findings of every kind, refusals first."""
    kinds = sorted({finding.kind for finding in findings}, key=lambda kind: (kind not in REFUSALS, kind))
    for kind in kinds:
        own = [finding for finding in findings if finding.kind == kind]
        say(f"{'LEFT OUT' if kind in REFUSALS else 'LOOK AT'} {kind}: {len(own)}")
        for finding in own[:FINDINGS_SHOWN]:
            shown = finding.participant_ids[:FINDINGS_SHOWN]
            names = ", ".join(shown) + (", ..." if len(finding.participant_ids) > len(shown) else "")
            say(f"  {names}{': ' if names else ''}{finding.text}. {finding.remedy}")
        if len(own) > FINDINGS_SHOWN:
            say(f"  ... all in {FINDINGS_FILE}")


def show_places(cohort: Path, key: Path, link_table: Path | None, console: Console) -> None:
    """Where everything is, and what must be kept."""
    lines = [
        f"Written: {cohort}/{REPORT_FILE}, one row per series",
        f"Keep {key}: without it nothing can be added to {cohort}. It stays out of the cohort folder.",
    ]
    if link_table is not None:
        lines.append(f"{link_table} names patients: it must never go where the cohort folder goes.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
