"""What file systems do not all offer: a share may lack links, durable folders, long names, or upper and lower case.

``probe`` tries what is relied on in the very folder that will need it, before any work. What can be done without is
done without: no link, no durability of a folder's names. A rename that meets a file held open elsewhere is tried again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROBE = ".probe-"
#: The shortest limit of names in use (encrypted home folders), bytes; no name written here is longer.
LONGEST_NAME = 143
#: Answers of a file system that does not offer fsync.
_NO_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
#: ... or does not let a folder be opened for it.
_NO_FOLDER_FSYNC = _NO_FSYNC | {errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF}
#: Answers while another program, such as a viewer or a virus scanner, holds a file open.
_HELD_OPEN = {errno.EBUSY, errno.ETXTBSY, errno.EACCES, errno.EPERM}
_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True)
class Share:
    """What a folder's file system offers; ``lacks`` names what cannot be done without."""

    has_links: bool
    is_case_sensitive: bool
    lacks: tuple[str, ...] = ()


def probe(folder: Path) -> Share:
    """Try what is relied on inside ``folder``, and leave nothing behind.

    Raises
    ------
    OSError
        The folder cannot be written at all.
    """
    place = folder / f"{PROBE}{uuid.uuid4().hex}"
    place.mkdir()
    try:
        lacks = [
            what
            for what, attempt in (
                ("files renamed over another one", _rename_over),
                ("folders renamed", _rename_folder),
                (f"names of {LONGEST_NAME} bytes", _long_name),
            )
            if not _works(attempt, place)
        ]
        (place / "Case").touch()
        is_case_sensitive = not (place / "case").exists()
        return Share(_works(_link, place), is_case_sensitive, tuple(lacks))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _works(attempt: Callable[[Path], bool], place: Path) -> bool:
    """Whether one attempt succeeds; a full disk is no missing feature."""
    try:
        return attempt(place)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False


def _rename_over(place: Path) -> bool:
    """Replace one file by another."""
    (place / "old").write_bytes(b"old")
    (place / "new").write_bytes(b"new")
    rename(place / "new", place / "old")
    return (place / "old").read_bytes() == b"new"


def _rename_folder(place: Path) -> bool:
    """Rename a folder that holds a file."""
    (place / "draft").mkdir()
    (place / "draft" / "file").write_bytes(b"x")
    rename(place / "draft", place / "final")
    return (place / "final" / "file").read_bytes() == b"x"


def _long_name(place: Path) -> bool:
    """Make a file with the longest name in use."""
    (place / ("n" * LONGEST_NAME)).touch()
    return (place / ("n" * LONGEST_NAME)).exists()


def _link(place: Path) -> bool:
    """Make a symbolic link and rename it over another one, as the latest results are switched."""
    (place / "target").mkdir()
    for name in ("first", "second"):
        (place / name).symlink_to("target")
    (place / "second").replace(place / "first")
    return (place / "first").is_dir()


def rename(source: Path, target: Path) -> None:
    """Rename over ``target``; while another program holds it open, try again for some seconds."""
    for pause_s in _PAUSES_S:
        try:
            source.replace(target)
        except OSError as error:
            if error.errno not in _HELD_OPEN:
                raise
            time.sleep(pause_s)
        else:
            return
    source.replace(target)


def read_file(path: Path) -> bytes:
    """Read a file of ours, and never wait for a pipe or a device that stands in its place.

    Raises
    ------
    IsADirectoryError
        Something else than an ordinary file is there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is no ordinary file", str(path))
    return path.read_bytes()


def fsync_file(path: Path) -> None:
    """Make a file's content durable, where the file system offers it."""
    with path.open("rb") as handle, _unless(_NO_FSYNC):
        os.fsync(handle.fileno())


def fsync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the file system offers it."""
    with _unless(_NO_FOLDER_FSYNC):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _unless(numbers: set[int]) -> Iterator[None]:
    """Pass over errors that only say "not offered here"."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
