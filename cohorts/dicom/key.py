"""The key of pseudonyms and dates: a file of random bytes outside the cohort folder, for its owner alone.

A key that is lost and made again would give every patient a second pseudonym, so a new one is made for a new cohort
folder only. One that can be guessed gives the patients away to whoever has a list of their identifiers, so what random
bytes do not look like is refused.
"""

from __future__ import annotations

import os
import secrets
import stat
from itertools import pairwise
from pathlib import Path

from cohorts.dicom.deidentify import Pseudonymiser

KEY_BYTES = 32
#: Of 32 random bytes at least this many differ: fewer have a probability below 10^-15.
FEWEST_DIFFERENT_BYTES = 16
OWNER_ALONE = 0o600
_PRINTABLE = range(0x20, 0x7F)


class KeyFileError(ValueError):
    """A key file that cannot be used; the message says why and what to do."""


def read_key(path: Path, cohort: Path, *, may_make: bool = True) -> Pseudonymiser:
    """Read the key file; make it where there is none.

    Parameters
    ----------
    path : the key file, outside the cohort folder
    cohort : the cohort folder
    may_make : False where the cohort folder was filled with a key already

    Raises
    ------
    KeyFileError
        The file lies inside the cohort folder, is not there though the cohort folder was filled with it, can be read by
        others, cannot be read or made, or holds what no random bytes look like.
    """
    if path.resolve().is_relative_to(cohort.resolve()):
        raise KeyFileError("key file must lie outside the cohort folder, got a path inside it. Choose another folder.")
    if not may_make and not path.exists():
        raise KeyFileError(
            "key file must be the one that the cohort folder was filled with, and is not there. Restore it, or give it "
            "by --key: with a new one every participant would be there twice. If it is lost, import everything into "
            "a new cohort folder."
        )
    _make(path)
    _check_mode(path)
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError):
        raise KeyFileError(
            "key file must be readable hexadecimal text. Restore it: a new key gives new pseudonyms."
        ) from None
    weakness = weakness_of(key)
    if weakness:
        raise KeyFileError(
            f"key file must hold {KEY_BYTES} random bytes, got {weakness}: pseudonyms could be guessed. Restore the "
            "key, or move this file away and let the import of a new cohort folder make one."
        )
    return Pseudonymiser(key)


def weakness_of(key: bytes) -> str | None:
    """What shows that bytes are not random or too few; None where nothing does.

    >>> weakness_of(bytes(range(32)))
    'bytes in even steps'
    """
    if len(key) < KEY_BYTES:
        return f"{len(key)} bytes, at least {KEY_BYTES} are needed"
    period = next(size for size in range(1, len(key) + 1) if key == (key[:size] * len(key))[: len(key)])
    if period < KEY_BYTES and 2 * period <= len(key):
        return f"{period} bytes over and over"
    if all(byte in _PRINTABLE for byte in key):
        return "typed text"
    if len(set(key)) < FEWEST_DIFFERENT_BYTES:
        return f"{len(set(key))} different bytes"
    steps = {(second - first) % 256 for first, second in pairwise(key)}
    return "bytes in even steps" if len(steps) < FEWEST_DIFFERENT_BYTES // 2 else None


def _make(path: Path) -> None:
    """Make the file where there is none; it is on the disk before anything is named by it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
    except FileExistsError:
        return
    except OSError as error:
        raise KeyFileError(
            f"key file must be writable the first time: {error.strerror}. Choose another folder."
        ) from None
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _check_mode(path: Path) -> None:
    """Refuse a file that others may read or write."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeyFileError(f"key file must be readable: {error.strerror}. Restore it.") from None
    if mode & 0o077:
        raise KeyFileError(
            f"key file must be readable by its owner alone (mode 600), got mode {mode:o}. Run chmod 600 on it, and ask "
            "who read it: with it and a list of patients every pseudonym can be found. On a share that keeps no modes, "
            "move it to a disk that does, and give it by --key."
        )
