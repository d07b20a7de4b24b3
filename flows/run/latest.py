"""Which run is the latest, and whether it is whole: ``OUT/results/latest``, a link that is switched in one step.

On a share without symbolic links its name stands in ``OUT/results/latest.txt`` instead. A copy that followed links made
``latest`` a folder of its own: it is read as the run that it copies, and moved out of the way before the next switch.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohorts.store.hashing import HashCache
from cohorts.store.records import TEMPORARY, digest_of, write_bytes
from cohorts.store.share import PROBE, fsync_folder, read_file, rename

RESULTS = "results"
LATEST = "latest"
POINTER = "latest.txt"
SUMMARY = "summary.json"
DRAFT, SWITCHING, PUBLISHING, KEPT, REFUSED = ".draft-", ".latest-", ".publishing-", "kept-", "refused"
#: Key of a summary that holds the digest of all its others.
OWN_DIGEST = "summary_sha256"
#: Digests of the latest run's files, remembered by their stamps; may be deleted at any time.
PUBLISHED = "published.json"
_LONGEST_POINTER = 300


def latest_folder(out: Path) -> Path | None:
    """Folder of the latest run, absolute; None where nothing is published, or the folder cannot be read."""
    with contextlib.suppress(OSError):
        return _latest_in(out / RESULTS)
    return None


def latest_shown(out: Path) -> Path | None:
    """The latest run's folder for people: the short name where it is a link, which tomorrow shows tomorrow's run."""
    link = out / RESULTS / LATEST
    return link if link.is_symlink() else latest_folder(out)


def run_folder(path: Path) -> Path:
    """Folder of a run as somebody named it: ``OUT/results/latest`` and ``latest.txt`` mean the run they point to."""
    if path.name in (LATEST, POINTER):
        return _latest_in(path.absolute().parent) or path
    return path


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Summary of one run; None where there is none or it is damaged."""
    try:
        summary: dict[str, Any] = json.loads(read_file(folder / SUMMARY))
        own = summary.get(OWN_DIGEST)
        if own is not None and own != summary_digest(summary):
            return None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return summary


def summary_digest(summary: dict[str, Any]) -> str:
    """Digest of a summary but for the digest itself."""
    return digest_of({key: value for key, value in summary.items() if key != OWN_DIGEST})


def damaged_files(
    out: Path, folder: Path, summary: Mapping[str, Any], *, is_fresh: bool = False, is_kept: bool = True
) -> list[str]:
    """Names of a run's files that are missing or not as they were published.

    Parameters
    ----------
    out : output folder, where digests are remembered by the files' stamps
    folder : the run
    summary : of the run
    is_fresh : read every file, whatever its stamp
    is_kept : whether their digests are remembered
    """
    wanted = {folder / name: digest for name, digest in summary.get("sha256", {}).items()}
    cache = HashCache(out / "work" / PUBLISHED)
    found = cache.sha256_of(wanted, is_fresh=is_fresh)
    if is_kept:
        with contextlib.suppress(OSError):  # only looking, on a share that cannot be written
            cache.save(only=wanted)
    return sorted(str(path.relative_to(folder)) for path, digest in wanted.items() if found.get(path) != digest)


def switch_latest(results: Path, final: Path) -> None:
    """Point to a run in one step, by a link where the share has links, else by a file."""
    _move_folder_away(results)
    fsync_folder(results)  # the run is there before anything points to it
    temporary = results / f"{SWITCHING}{uuid.uuid4().hex}"
    try:
        temporary.symlink_to(final.name)
        rename(temporary, results / LATEST)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        write_bytes(results / POINTER, f"{final.name}\n".encode())
        if _pointed(results / LATEST) != final.name:  # an old link would win over the file
            (results / LATEST).unlink(missing_ok=True)
    else:
        fsync_folder(results)
        with contextlib.suppress(OSError):
            (results / POINTER).unlink()


def publish_folder(draft: Path, final: Path) -> None:
    """Make a draft a run and point to it; a run that was killed in between is removed by the next one's ``settle``."""
    marker = final.with_name(f"{PUBLISHING}{final.name}")
    marker.touch()
    rename(draft, final)
    switch_latest(final.parent, final)
    with contextlib.suppress(OSError):
        marker.unlink()


def settle(results: Path) -> str | None:
    """Clear what killed runs and copies left, so that the next switch cannot fail; the caller holds the run lock.

    Returns
    -------
    What was moved, in words; None where nothing was.
    """
    latest = _latest_in(results)
    for marker in results.glob(f"{PUBLISHING}*"):
        half_way = results / marker.name.removeprefix(PUBLISHING)
        if half_way.is_dir() and half_way.resolve() != latest:
            _remove(half_way)
    for pattern in (DRAFT, SWITCHING, TEMPORARY, PROBE, PUBLISHING):
        for path in results.glob(f"{pattern}*"):
            _remove(path)
    moved = _move_folder_away(results)
    if moved is None:
        return None
    if latest is not None:
        switch_latest(results, moved if latest == (results / LATEST).resolve() else latest)
    return (
        f"{results / LATEST} must be a link, but was a folder, as after a copy that follows links. It is now {moved}; "
        "delete it if you do not need it."
    )


def _remove(path: Path) -> None:
    """Remove a file or folder; one that a viewer holds open is left to the next run."""
    with contextlib.suppress(OSError):
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)


def _move_folder_away(results: Path) -> Path | None:
    """Rename a real folder ``latest``: to its run's name if that is free, else to a name that says it was kept."""
    latest = results / LATEST
    if latest.is_symlink() or not latest.is_dir():
        return None
    summary = read_summary(latest) or {}
    moved = results / _plain_name(str(summary.get("run_id", "")))
    if moved == results or moved.exists():
        moved = results / f"{KEPT}{uuid.uuid4().hex[:8]}"
    rename(latest, moved)
    return moved


def _latest_in(results: Path) -> Path | None:
    """Folder of the latest run: by the link, else by the file, else the folder that a copy made of the link."""
    if (results / LATEST).is_symlink() and (results / LATEST).is_dir():
        return (results / LATEST).resolve()
    for pointer in (LATEST, POINTER):
        name = _pointed(results / pointer)
        if name and (results / name).is_dir():
            return (results / name).resolve()
    copied = results / LATEST
    summary = None if copied.is_symlink() else read_summary(copied)
    if summary is None:
        return None
    name = _plain_name(str(summary.get("run_id", "")))
    return (results / name if name and (results / name).is_dir() else copied).resolve()


def _pointed(pointer: Path) -> str | None:
    """Name of the run beside it that a link, or a file with a name in it, points to."""
    try:
        if pointer.is_symlink():
            return _plain_name(str(pointer.readlink()).rstrip("/").rpartition("/")[2])
        if not pointer.is_file() or pointer.stat().st_size > _LONGEST_POINTER:
            return None
        return _plain_name(pointer.read_bytes().decode("utf-8-sig").strip())
    except (OSError, ValueError):
        return None


def _plain_name(name: str) -> str:
    """A name inside the results folder, empty where it would lead elsewhere."""
    return "" if name.startswith(".") or "/" in name or "\\" in name or "\0" in name else name
