"""One run at a time per output folder, and nothing to clean up after a dead one.

The lock is held by the operating system (``flock``) and so falls with its owner; beside it stands who holds it and
since when. On a file system shared between hosts, where such locks may not reach the other host, a fresh heartbeat also
counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cohorts.store.records import write_bytes

HEARTBEAT_S = 10.0
#: An owner on another host is taken for dead when its heartbeat is older.
STALE_AFTER_S = 120.0


@dataclass(frozen=True)
class Owner:
    """Who holds the lock."""

    pid: int
    host: str
    started_at: str
    command: str

    @property
    def text(self) -> str:
        """For a message."""
        return f"process {self.pid} on {self.host}, started {self.started_at} ({self.command})"


class LockedError(RuntimeError):
    """Another run holds the output folder."""


@contextlib.contextmanager
def run_lock(out: Path, command: str) -> Iterator[Owner | None]:
    """Hold the output folder; yields the dead owner that was taken over from, if any.

    Raises
    ------
    LockedError
        Another run is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    owner_path = out / ".lock.json"
    lock = FileLock(out / ".lock")
    previous = _read_owner(owner_path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = previous.text if previous else "an unknown process"
        raise LockedError(f"{out} must be free, but {who} is at work there. Wait for it, or end it.") from None
    try:
        if previous and previous.host != socket.gethostname() and _age_s(owner_path) < STALE_AFTER_S:
            raise LockedError(
                f"{out} must be free, but {previous.text} was at work there {_age_s(owner_path):.0f} s ago. "
                f"Wait for it; {STALE_AFTER_S:.0f} s after its last sign of life the folder is taken over."
            )
        owner = Owner(os.getpid(), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"), command)
        write_bytes(owner_path, json.dumps(asdict(owner)).encode())
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(owner_path, ended), daemon=True)
        beat.start()
        try:
            yield previous
        finally:
            ended.set()
            beat.join()
            owner_path.unlink(missing_ok=True)
    finally:
        lock.release()


def current_owner(out: Path) -> Owner | None:
    """Who is at work in ``out`` now; None if nobody is."""
    owner = _read_owner(out / ".lock.json")
    if owner is None:
        return None
    if owner.host == socket.gethostname():
        try:
            with FileLock(out / ".lock").acquire(timeout=0):
                return None
        except Timeout:
            return owner
    return owner if _age_s(out / ".lock.json") < STALE_AFTER_S else None


def _read_owner(path: Path) -> Owner | None:
    """Parse the owner file, if it is whole."""
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _age_s(path: Path) -> float:
    """Seconds since the owner's last sign of life."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch the owner file until the run ends."""
    while not ended.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)
