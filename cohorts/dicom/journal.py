"""What an import has done so far, so that one that was stopped goes on: a line per patient, removed at the end.

A patient counts as done while the same files, by name, size and time, are there under the same rules and code, and what
was made of them is too. The lines hold pseudonyms, keyed hashes and rows of the report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.dicom.intake_tables import ReportRow
from cohorts.store.records import TEMPORARY, write_bytes

JOURNAL_FILE = "import_unfinished.jsonl"


@dataclass
class Journal:
    """The patients that are done: participant -> (digest of files, rows)."""

    path: Path
    done: dict[str, tuple[str, list[ReportRow]]] = field(default_factory=dict)

    def rows(self, participant_id: str, digest: str) -> list[ReportRow] | None:
        """The rows of a patient that is done; None where it has to be done again."""
        known, rows = self.done.get(participant_id, ("", []))
        cohort = self.path.parent
        is_done = known == digest and all((cohort / row.path).is_file() for row in rows if row.path)
        return rows if is_done else None

    def add(self, patients: Iterable[tuple[str, str, Sequence[ReportRow]]]) -> None:
        """Append patients: participant, digest of files, rows. They are on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, patients))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """The import is finished."""
        self.path.unlink(missing_ok=True)


def open_journal(cohort: Path, rules: str) -> Journal:
    """Go on with the journal of an import that was stopped under the same rules, or begin one.

    What such an import left half written is removed.

    Parameters
    ----------
    cohort : the cohort folder
    rules : digest of the export's place, the rules and the code
    """
    path = cohort / JOURNAL_FILE
    journal = Journal(path)
    if path.exists():
        first, *lines = path.read_text("utf-8").split("\n")
        for line in lines if first == rules else ():
            try:
                participant_id, digest, rows = json.loads(line)
                journal.done[participant_id] = digest, [_row(row) for row in rows]
            except (ValueError, TypeError):  # the last line, cut short
                break
        for left in cohort.glob(f"*/*/{TEMPORARY}*"):
            left.unlink(missing_ok=True)
    kept = [_line((participant_id, *done)) for participant_id, done in journal.done.items()]
    write_bytes(path, "".join([rules + "\n", *kept]).encode())
    return journal


def _row(cells: Mapping[str, Any]) -> ReportRow:
    """A row as it was."""
    as_they_were: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in cells.items()}
    return ReportRow(**as_they_were)


def _line(patient: tuple[str, str, Sequence[ReportRow]]) -> str:
    """A patient as it is written."""
    participant_id, digest, rows = patient
    return json.dumps([participant_id, digest, [asdict(row) for row in rows]]) + "\n"


def digest_of_files(folder: Path, names: Sequence[str], pseudonymiser: Pseudonymiser) -> str:
    """A keyed digest of files by name, size and time of change."""
    seen = []
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError:  # gone since it was found, which reading it will say
            seen.append(name)
            continue
        seen.append(f"{name}\0{status.st_size}\0{status.st_mtime_ns}")
    return pseudonymiser.token("files", "\n".join(seen))
