"""The folders that a run writes: tried before any work, and told from other causes when writing fails."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cohorts.folder.manifest import CohortError
from cohorts.store.share import probe
from flows.engine.lock import LockedError
from flows.run.latest import RESULTS
from flows.run.plan import Plan
from flows.run.request import UsageError
from flows.run.steps import StorageFailedError

LEAST_FREE_BYTES = 100 * 2**20  # Prefect's database and one run's results take about 30 MiB
#: A folder with less is full, whatever the error said: Prefect's database fails in its own ways.
FULL_BYTES = 8 * 2**20
FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_ON_A_DEVICE = FULL | {errno.EFBIG, errno.EROFS, errno.EIO}
STAYS = "then run again; what is committed stays."


class PythonFailedError(RuntimeError):
    """The interpreter itself cannot be started."""


def check_share(out: Path, work: Path, plan: Plan) -> None:
    """Refuse to begin where a run could not end.

    Raises
    ------
    StorageFailedError
        There is too little room, or the file system lacks what is relied on.
    """
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE_BYTES:
            raise StorageFailedError(
                f"{folder} must have {LEAST_FREE_BYTES // 2**20} MiB free, got {free // 2**20} MiB. Free space or "
                f"choose another folder, {STAYS}"
            )
    (out / RESULTS).mkdir(exist_ok=True)
    share = probe(out / RESULTS)
    if share.lacks:
        raise StorageFailedError(
            f"the file system of {out} must allow {', '.join(share.lacks)}, got a refusal. Choose a folder on another "
            f"disk or share, {STAYS}"
        )
    if not share.is_case_sensitive:
        _check_names(out, plan)


def _check_names(out: Path, plan: Plan) -> None:
    """Refuse participants whose folders would be one on a share that takes A for a."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for participant_id in [*plan.cohort.participants["participant_id"], *(key[0] for key in plan.cases)]:
        spellings[participant_id.casefold()].add(participant_id)
    if same := [sorted(names) for names in spellings.values() if len(names) > 1]:
        raise StorageFailedError(
            f"the file system of {out} takes upper and lower case for the same, so participants must differ in more "
            f"than case, got {' and '.join(same[0])}. Rename one of them, or choose a folder on another disk."
        )


@contextlib.contextmanager
def storage_failures(out: Path, work: Path) -> Iterator[None]:
    """Turn an error of the folders that a run writes into one that says which folder, and what to do."""
    try:
        yield
    except (StorageFailedError, CohortError, LockedError, UsageError):
        raise
    except OSError as error:
        raise_as_storage_failure(error, out, work)
        raise
    except Exception as error:
        for folder in (out, work):
            if _is_full(folder):
                raise StorageFailedError(
                    f"{folder} must have room, got a full disk. Free space or choose another folder, {STAYS}"
                ) from error
        raise


def raise_as_storage_failure(error: OSError, *folders: Path) -> None:
    """Raise what an operating system's error means, where it concerns a folder that is written or the interpreter.

    Raises
    ------
    StorageFailedError, PythonFailedError
    """
    if _is_of_python(error):
        raise PythonFailedError(
            f"Python must start, got: {error.strerror} ({sys.executable}). Fix the installation or its permissions, "
            f"{STAYS}"
        ) from error
    named = [
        str(Path(os.fsdecode(name)).absolute())
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes)
    ]
    written = {str(place) for folder in folders for place in (folder.absolute(), _resolved(folder))}
    inside = any(f"{name}/".startswith(f"{place}/") or _is_parent(name, place) for name in named for place in written)
    if not inside and error.errno not in (_ON_A_DEVICE if not named else FULL):
        return
    where = named[0] if named else " or ".join(map(str, folders)) or "the folder"
    raise StorageFailedError(f"{where} must be writable, got: {error.strerror}. {remedy(error)}, {STAYS}") from error


def remedy(error: OSError) -> str:
    """What to do about an error of a folder, as the beginning of a sentence."""
    if error.errno in FULL:
        return "Free space or choose another folder"
    if error.errno == errno.EFBIG:
        return "Raise the limit of a file's size (ulimit -f) or choose another folder"
    if error.errno in FORBIDDEN:
        return "Fix its permissions or choose another folder"
    return "Look at the disk or share, or choose another folder"


def _is_of_python(error: OSError) -> bool:
    """Whether the interpreter is what could not be started."""
    return error.filename is not None and os.fsdecode(error.filename) == sys.executable


def _is_parent(name: str, place: str) -> bool:
    """Whether a folder cannot be made because of one above it."""
    return name != "/" and place.startswith(f"{name}/")


def _resolved(folder: Path) -> Path:
    """Where a folder really is; itself where that cannot be found out."""
    try:
        return folder.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return folder.absolute()


def _is_full(folder: Path) -> bool:
    """Whether there is no room at all."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < FULL_BYTES
    return False
