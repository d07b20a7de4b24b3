"""The tables that an import writes into the cohort folder: rows of participants.tsv and scans.tsv, and its report.

Rows that are there stay as they are, letter by letter; only new ones are added at the end.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cohorts.dicom.identity import Finding
from cohorts.folder.tsv import as_participant_id
from cohorts.store.records import write_bytes
from cohorts.tables.storage import tsv_line, tsv_text

PARTICIPANTS_FILE, SCANS_FILE, REPORT_FILE = "participants.tsv", "scans.tsv", "import_report.tsv"
FINDINGS_FILE = "import_findings.tsv"
HEADERS: Mapping[str, tuple[str, ...]] = {
    PARTICIPANTS_FILE: ("participant_id",),
    SCANS_FILE: ("participant_id", "modality", "space", "path"),
}


class TableFormError(ValueError):
    """A table of the cohort folder to which no row can be added."""


@dataclass(frozen=True)
class ReportRow:
    """One series as the report shows it; ``series`` is a pseudonym, ``action`` converted, resampled or rejected.

    Of ``n_files``, ``n_shared`` are counted by a row above, as the files of multi-frame images are; ``pixels`` is a
    digest of the voxels, to find the same scan under two patients, and is not written.
    """

    series: str
    participant_id: str
    detected_as: str
    evidence: str
    n_files: int
    n_slices: int
    n_copies: int
    action: str
    reason: str | None = None
    detail: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    started: str | None = None
    path: str | None = None
    is_listed: bool = False
    n_shared: int = 0
    pixels: str | None = None
    unfit: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    choice: str | None = None
    runner_up: str | None = None

    @property
    def n_counted(self) -> int:
        """Files that this row accounts for."""
        return self.n_files - self.n_shared + self.n_copies

    @property
    def cells(self) -> dict[str, object]:
        """As written."""
        return {
            "series": self.series,
            "participant_id": self.participant_id,
            "started_shifted": self.started,
            "detected_as": self.detected_as,
            "evidence": self.evidence,
            "n_files": self.n_files,
            "n_files_in_rows_above": self.n_shared,
            "n_slices": self.n_slices,
            "n_copies": self.n_copies,
            "action": self.action,
            "reason": self.reason,
            "detail": self.detail,
            "numbers": json.dumps(dict(self.numbers)) if self.numbers else None,
            "path": self.path,
            "in_scans_tsv": self.is_listed,
            "choice": self.choice,
            "runner_up": self.runner_up,
        }


def listed_scans(cohort: Path) -> dict[tuple[str, str], str]:
    """(participant, modality) -> path of the scans that scans.tsv lists already."""
    _, columns, rows = _read(cohort, SCANS_FILE)
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        cells = dict(zip(columns, row, strict=False))
        key = as_participant_id(cells.get("participant_id", "")), cells.get("modality", "")
        found.setdefault(key, cells.get("path", ""))
    return found


def add_participants(cohort: Path, participant_ids: Iterable[str]) -> int:
    """Add the participants that are not listed yet; returns how many."""
    _, columns, rows = _read(cohort, PARTICIPANTS_FILE)
    place = columns.index("participant_id")
    known = {as_participant_id(row[place]) for row in rows if len(row) > place}
    new = [{"participant_id": name} for name in dict.fromkeys(participant_ids) if name not in known]
    _append(cohort, PARTICIPANTS_FILE, new)
    return len(new)


def add_scans(cohort: Path, scans: Sequence[Mapping[str, str]]) -> None:
    """Add rows of participant_id, modality and path."""
    _append(cohort, SCANS_FILE, scans)


def write_report(cohort: Path, rows: Sequence[ReportRow]) -> Path:
    """Write one row per series found; replaces the report of the import before."""
    path = cohort / REPORT_FILE
    write_bytes(path, tsv_text([row.cells for row in rows]).encode())
    return path


def same_scans(rows: Iterable[ReportRow]) -> Iterator[Finding]:
    """Scans of the same voxels under two participants: one patient twice, or a file in the wrong folder."""
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.pixels:
            owners[row.pixels].add(row.participant_id)
    for together in sorted({tuple(sorted(ids)) for ids in owners.values() if len(ids) > 1}):
        yield Finding(
            "same_scan",
            together,
            f"{len(together)} participants have a scan of the same voxels",
            "Find out whose it is. If they are one person, import again with --same-person " + "=".join(together) + ".",
        )


def listed_under_both(same_person: Mapping[str, str], listed: Mapping[tuple[str, str], str]) -> Iterator[Finding]:
    """Participants that were imported before they were declared to be another one."""
    participants = {participant_id for participant_id, _ in listed}
    for one, main in sorted(same_person.items()):
        if one != main and {one, main} <= participants:
            yield Finding(
                "listed_under_both",
                (one, main),
                f"{one} was declared to be {main}, and is listed from an import before",
                f"Remove the rows of {one} from scans.tsv, participants.tsv and the other tables of the cohort folder.",
            )


def write_findings(cohort: Path, findings: Sequence[Finding]) -> None:
    """Write what a coordinator has to look at; no file where there is nothing."""
    path = cohort / FINDINGS_FILE
    if findings:
        write_bytes(path, tsv_text([finding.cells for finding in findings]).encode())
    else:
        path.unlink(missing_ok=True)


def _read(cohort: Path, name: str) -> tuple[str, tuple[str, ...], list[list[str]]]:
    """Text, columns and cells of a table; an empty one where there is none."""
    path = cohort / name
    if not path.exists():
        return "", HEADERS[name], []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TableFormError(f"{name} must be UTF-8 text. Save it again as UTF-8, then import.") from None
    lines = text.replace("\r\n", "\n").split("\n")
    columns = tuple(cell.strip() for cell in lines[0].split("\t"))
    missing = [column for column in HEADERS[name] if column not in columns and column != "space"]
    if missing:
        raise TableFormError(f"{name} must have the columns {', '.join(missing)}. Add them, then import.")
    return text, columns, [[cell.strip() for cell in line.split("\t")] for line in lines[1:] if line.strip()]


def _append(cohort: Path, name: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Add rows behind those that are there, in their columns and line ends."""
    text, columns, _ = _read(cohort, name)
    if not rows and text:
        return
    end = "\r\n" if "\r\n" in text else "\n"
    if not text:
        text = "\t".join(columns) + end
    elif not text.endswith("\n"):
        text += end
    lines = [tsv_line((row.get(column) for column in columns), end) for row in rows]
    write_bytes(cohort / name, (text + "".join(lines)).encode())
