"""A folder for people that is kept as it should be: files linked or copied into it under names of their own.

What the program put there is remembered with its sha256; of what is no longer wanted only such files go, and only as
they were written. Everything else in the folder is somebody else's and stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cohorts.store.pruning import Prunable, remove
from cohorts.store.records import RECORDS_FOLDER, atomic_writer, write_bytes

LISTED = f"{RECORDS_FOLDER}/.dataset.json"


@dataclass(frozen=True)
class Wanted:
    """One file: its content, or the file below the output folder that has it; and its sha256."""

    sha256: str
    content: bytes | None = None
    path: str | None = None

    @classmethod
    def of(cls, content: bytes) -> Wanted:
        """A file of its own."""
        return cls(hashlib.sha256(content).hexdigest(), content)


def keep_dataset(out: Path, folder: str, wanted: Mapping[str, Wanted]) -> None:
    """Make a folder hold what is wanted; what is there already is not written again.

    Parameters
    ----------
    out : output folder
    folder : below it
    wanted : path below the folder -> file
    """
    known = _listed(out)
    root = out / folder
    gone = {name: sha256 for name, sha256 in known.items() if name not in wanted}
    _remember(out, known | {name: one.sha256 for name, one in wanted.items()})  # before: a kill leaves a list
    for name, one in wanted.items():
        path = root / name
        if known.get(name) == one.sha256 and _is_there(out, path, one):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            continue  # somebody's folder of this name
        _put(out, path, one)
    left = set(remove(Prunable(folder, root, gone)))
    _remember(out, {name: one.sha256 for name, one in wanted.items()} | {name: gone[name] for name in left})


def _remember(out: Path, names: Mapping[str, str]) -> None:
    """Remember what the program put there."""
    path = out / LISTED
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, json.dumps(dict(sorted(names.items())), indent=0).encode())


def _listed(out: Path) -> dict[str, str]:
    """Path -> sha256 of what the program put there; nothing where that is not known."""
    with contextlib.suppress(OSError, ValueError):
        listed = json.loads((out / LISTED).read_bytes())
        return {
            str(name): str(sha256)
            for name, sha256 in listed.items()
            if not Path(name).is_absolute() and ".." not in Path(name).parts
        }
    return {}


def _is_there(out: Path, path: Path, one: Wanted) -> bool:
    """Whether a file that was put there is still there, by its size."""
    with contextlib.suppress(OSError):
        size = len(one.content) if one.content is not None else (out / str(one.path)).stat().st_size
        return not path.is_symlink() and path.stat().st_size == size
    return False


def _put(out: Path, path: Path, one: Wanted) -> None:
    """Write a file, or link it; copied where the share has no links."""
    if one.content is not None:
        write_bytes(path, one.content)
        return
    with atomic_writer(path) as temporary:
        try:
            os.link(out / str(one.path), temporary)
        except OSError:
            shutil.copyfile(out / str(one.path), temporary)
