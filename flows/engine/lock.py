"""One run at a time per output folder, and nothing to clean up after a dead one.

The lock is held by the operating system (``flock``) and so falls with its owner; beside it stands who holds it and
since when. On a file system shared between hosts, where such locks may not reach the other host, a fresh heartbeat
also counts. Ages are measured by the share's own clock; a heartbeat dated in the future is watched until it beats or is
taken for dead.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cohorts.store.records import write_bytes
from cohorts.store.share import read_file

HEARTBEAT_S = 10.0
#: An owner on another host is taken for dead when its heartbeat is older.
STALE_AFTER_S = 120.0
#: A heartbeat that does not move for so long is none.
WATCH_S = 2.5 * HEARTBEAT_S
#: File systems keep times to 2 s at worst.
CLOCK_GRAIN_S = 3.0
#: Answers of a share that has no locks; there the heartbeat alone decides.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


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
    """Another run holds the output folder; ``owner`` is None where it is not known."""

    def __init__(self, message: str, owner: Owner | None = None) -> None:
        super().__init__(message)
        self.owner = owner


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
        message = f"{out} must be free, but {who} is at work there. Wait for it, or end it."
        raise LockedError(message, previous) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        is_certain = previous is None or (lock.is_locked and previous.host == socket.gethostname())
        if previous and not is_certain and _is_alive(previous, owner_path):
            raise LockedError(
                f"{out} must be free, but {previous.text} was at work there lately. "
                f"Wait for it; {STALE_AFTER_S:.0f} s after its last sign of life the folder is taken over.",
                previous,
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
            with contextlib.suppress(OSError):
                owner_path.unlink()
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
        except OSError:  # a share without locks, or one that cannot be written: the heartbeat tells
            if not psutil.pid_exists(owner.pid):
                return None
    return owner if -STALE_AFTER_S < _age_s(out / ".lock.json") < STALE_AFTER_S else None


def _is_alive(owner: Owner, path: Path) -> bool:
    """Whether an owner that no lock speaks for still gives signs of life."""
    if owner.host == socket.gethostname() and not psutil.pid_exists(owner.pid):
        return False
    age_s = _age_s(path, now=_share_now(path.parent))
    if age_s >= -CLOCK_GRAIN_S:
        return age_s < STALE_AFTER_S
    beat = path.stat().st_mtime_ns  # dated by a clock that is ahead: only a further beat is a sign of life
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(min(0.5, WATCH_S))
        if not path.exists():
            return False
        if path.stat().st_mtime_ns != beat:
            return True
    return False


def _share_now(folder: Path) -> float:
    """The time by the clock that dates the files of ``folder``."""
    probe = folder / f".clock-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _read_owner(path: Path) -> Owner | None:
    """Parse the owner file, if it is whole."""
    try:
        return Owner(**json.loads(read_file(path)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _age_s(path: Path, *, now: float | None = None) -> float:
    """Seconds since the owner's last sign of life; negative where it is dated in the future."""
    try:
        return (time.time() if now is None else now) - path.stat().st_mtime
    except OSError:
        return float("inf")


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch the owner file until the run ends."""
    while not ended.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)
