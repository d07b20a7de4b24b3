"""Which objects of an export are sent: those that the archive has not had, and each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom

from flows.commands.export_tables import ExportRow, Ledger
from flows.commands.send_dicom import UNREACHED, Archive

#: After so many participants in a row whom the archive was not reached for, the others are not tried.
MOST_UNREACHED = 3


class Sender:
    """Sends the objects of one participant after another to one archive, and keeps what was sent."""

    def __init__(self, folder: Path, archive: Archive, sends_again: bool) -> None:
        self._folder, self._archive, self._sends_again = folder, archive, sends_again
        self._ledger = Ledger(folder, archive.name)
        self._n_unreached = 0

    def send(self, rows: Sequence[ExportRow]) -> list[ExportRow]:
        """Rows of one participant, with what became of each object."""
        due = [row for row in rows if row.file is not None and (self._sends_again or self._sent_at(row) is None)]
        answers = self._answers(due)
        return [self._told(row, answers) for row in rows]

    def _answers(self, due: Sequence[ExportRow]) -> dict[str, str]:
        """SOP instance UID -> why it was not stored, empty where it was."""
        if not due:
            return {}
        if self._n_unreached >= MOST_UNREACHED:
            return {str(row.sop_instance_uid): f"{UNREACHED}, {MOST_UNREACHED} times in a row" for row in due}
        objects = [pydicom.dcmread(self._folder / str(row.file)) for row in due]
        try:
            answers = dict(self._archive.store(objects))
        except Exception as error:  # an answer that no archive should give; it may quote a header
            answers = {str(row.sop_instance_uid): f"unexpected answer ({type(error).__name__})" for row in due}
        self._n_unreached = self._n_unreached + 1 if set(answers.values()) == {UNREACHED} else 0
        return answers

    def _told(self, row: ExportRow, answers: dict[str, str]) -> ExportRow:
        """A row with what became of its object."""
        if row.file is None:
            return row
        uid, what = str(row.sop_instance_uid), f"{row.modality or ''} {row.what}".strip()
        if uid not in answers:
            return replace(row, sent="already_sent", detail=f"sent {self._sent_at(row)}")
        if answers[uid]:
            return replace(row, sent="not_sent", detail=answers[uid])
        earlier = self._ledger.earlier(row.participant_id, what, uid)
        self._ledger.add(datetime.now(UTC).isoformat(timespec="seconds"), row.participant_id, what, uid)
        if earlier is None:
            return replace(row, sent="sent")
        return replace(row, sent="sent", detail=f"another version was sent {earlier}; the archive keeps both")

    def _sent_at(self, row: ExportRow) -> str | None:
        return self._ledger.sent_at(str(row.sop_instance_uid))
