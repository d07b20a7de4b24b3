"""Another run at work: usually nothing to tell, but one that hangs would keep every night quiet for good."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohorts.store.records import write_bytes
from cohorts.store.share import read_file
from flows.engine.lock import Owner

BUSY = "busy.json"
#: Between two failure hooks for the same owner: once a night, however often the timer starts.
TELL_AGAIN_H = 20.0


def note_busy(out: Path, owner: Owner | None, limit_h: float, now: datetime) -> tuple[Path, dict[str, Any], bool]:
    """Keep since when a run has been at work.

    Parameters
    ----------
    out : output folder
    owner : who holds it, if known
    limit_h : hours after which it must be told; 0 is never
    now : of this start

    Returns
    -------
    (path of the note, the note, whether it must be told now).
    """
    path = out / BUSY
    holder = owner.text if owner else "an unknown process"
    note = _read(path)
    if note.get("owner") != holder:
        note = {"owner": holder, "first_seen": now.isoformat(timespec="seconds"), "told_at": None}
    begun = [_time(note["first_seen"]), _time(owner.started_at) if owner else None]
    hours = max((_hours(now, moment) for moment in begun if moment is not None), default=0.0)
    note["hours"] = round(hours, 2)
    told = _time(note.get("told_at"))
    is_due = bool(limit_h) and hours >= limit_h and (told is None or _hours(now, told) >= TELL_AGAIN_H)
    if is_due:
        note["told_at"] = now.isoformat(timespec="seconds")
    return path, note, is_due


def keep(path: Path, note: dict[str, Any]) -> None:
    """Write the note, where the folder can be written."""
    with contextlib.suppress(OSError):
        write_bytes(path, json.dumps(note, indent=1).encode())


def _read(path: Path) -> dict[str, Any]:
    """The note of an earlier start, empty where there is none or it is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        note = json.loads(read_file(path))
        if isinstance(note, dict) and _time(note.get("first_seen")) is not None:
            return note
    return {}


def _time(text: object) -> datetime | None:
    """A moment as written; None where it cannot be read."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _hours(now: datetime, then: datetime) -> float:
    """Hours between two moments; a clock that is ahead counts as none."""
    return max(0.0, (now - then).total_seconds() / 3600)
