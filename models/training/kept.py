"""Files that a training keeps for itself: one that is broken is named, with what to do."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

AGAIN = "Delete it and run again: it is made anew."
MOST_CHARACTERS = 120  # characters of a library's error, which may go on for a page
UNREADABLE = (
    ValueError, TypeError, KeyError, AttributeError, EOFError, NotImplementedError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


class BrokenFileError(ValueError):
    """A kept file that cannot be read: its message says which, and what to do."""


def broken(path: Path, what: str, error: Exception, remedy: str) -> BrokenFileError:
    """Name a kept file and what its reader said."""
    found = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_CHARACTERS]
    return BrokenFileError(f"{path} must be {what}, got a broken file ({found}). {remedy}")


@contextmanager
def kept_arrays(path: Path, what: str) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an archive of arrays; what goes wrong while they are read names it.

    Parameters
    ----------
    path : of the archive
    what : is in it

    Raises
    ------
    BrokenFileError
        It, or one of its arrays, cannot be read.
    OSError
        The file system fails.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:  # numpy leaves a broken one open
            yield kept
    except BrokenFileError:
        raise
    except OSError as error:
        if error.errno is not None:  # of the file system, not of what the file holds
            raise
        raise broken(path, what, error, AGAIN) from error
    except UNREADABLE as error:
        raise broken(path, what, error, AGAIN) from error
