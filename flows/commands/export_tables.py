"""The tables of an export: one row per object or reason (``export.tsv``), and what was sent where (``sent.tsv``)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cohorts.store.records import write_bytes
from cohorts.tables.storage import tsv_text

EXPORT_FILE, SENT_FILE = "export.tsv", "sent.tsv"
SENT_COLUMNS = ("sent_at", "archive", "participant_id", "what", "sop_instance_uid")


@dataclass(frozen=True)
class ExportRow:
    """One object, or why there is none; ``status`` is ok, excluded or failed. It names no patient.

    ``sent`` is sent, already_sent, not_sent, or None where nothing was to be sent; ``detail`` says why.
    """

    participant_id: str
    modality: str | None
    what: str
    status: str
    reason: str | None = None
    detail: str | None = None
    file: str | None = None
    sop_instance_uid: str | None = None
    sent: str | None = None


@dataclass(frozen=True)
class Sent:
    """One object that an archive took."""

    sent_at: str
    archive: str
    participant_id: str
    what: str
    sop_instance_uid: str


class Ledger:
    """What was sent to one archive, on disk after every object: a kill loses no line."""

    def __init__(self, folder: Path, archive: str) -> None:
        self._path = folder / SENT_FILE
        self._archive = archive
        lines = self._path.read_text("utf-8").splitlines(keepends=True) if self._path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if whole != lines:  # a kill cut the last one
            write_bytes(self._path, "".join(whole).encode())
        self._sent = [
            Sent(**row)
            for row in csv.DictReader(whole, delimiter="\t", quoting=csv.QUOTE_NONE)
            if row["archive"] == archive
        ]

    def sent_at(self, sop_instance_uid: str) -> str | None:
        """When this very object was sent; None where it was not."""
        found = (one.sent_at for one in self._sent if one.sop_instance_uid == sop_instance_uid)
        return next(found, None)

    def earlier(self, participant_id: str, what: str, sop_instance_uid: str) -> str | None:
        """When another version of an object was sent last; None where there is none."""
        found = [
            one.sent_at
            for one in self._sent
            if (one.participant_id, one.what) == (participant_id, what) and one.sop_instance_uid != sop_instance_uid
        ]
        return max(found, default=None)

    def add(self, sent_at: str, participant_id: str, what: str, sop_instance_uid: str) -> None:
        """Write a line."""
        one = Sent(sent_at, self._archive, participant_id, what, sop_instance_uid)
        is_new = not self._path.exists()
        with self._path.open("a", encoding="utf-8") as file:
            if is_new:
                file.write("\t".join(SENT_COLUMNS) + "\n")
            file.write("\t".join(asdict(one).values()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._sent.append(one)


def read_rows(folder: Path) -> list[ExportRow]:
    """The table of the export before; nothing where there is none."""
    path = folder / EXPORT_FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        cells: list[dict[str, Any]] = [
            {name: None if cell == "n/a" else cell for name, cell in row.items()} for row in rows
        ]
    return [ExportRow(**row) for row in cells]


def write_rows(folder: Path, rows: Iterable[ExportRow]) -> None:
    """Replace the table of the export before."""
    written = [asdict(row) for row in rows]
    text = tsv_text(written) if written else "\t".join(one.name for one in fields(ExportRow)) + "\n"
    write_bytes(folder / EXPORT_FILE, text.encode())
