"""What a folder of results may lose: published runs that are not kept, and records that no run left there refers to.

Only files that the program wrote are taken, and only as it wrote them: those that a run's summary or a record lists
with its sha256. A file that was changed or added by somebody stays, and its folder with it. Links are never followed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from cohorts.store.hashing import file_sha256
from cohorts.store.records import DERIVATIVES_FOLDER, RECORDS_FOLDER, Record, load

#: Digits of a result's address in the names of its record and folder.
ADDRESS = 20


@dataclass(frozen=True)
class Prunable:
    """Files that stand or fall together.

    Attributes
    ----------
    name : of a run, or of a record below the output folder
    root : folder above all of the files, which stays
    listed : path below ``root`` -> sha256 as written; None where the file vouches for itself
    """

    name: str
    root: Path
    listed: Mapping[str, str | None]

    @property
    def n_bytes(self) -> int:
        """Size of what is there."""
        return sum(_size(self.root / name) for name in self.listed)


def unused_records(out: Path, used: Set[tuple[str, str]], older_than_s: float) -> Iterator[Prunable]:
    """Whole records that nothing refers to, each with the files that it lists.

    Parameters
    ----------
    out : output folder
    used : (participant_id, first ``ADDRESS`` digits of the address) of every record that is referred to
    older_than_s : records committed later, in seconds of the epoch, are left: a stopped run will go on with them
    """
    folder = out / RECORDS_FOLDER
    for path in sorted(folder.glob("*/*.json")) if folder.is_dir() else ():
        address = path.stem.rpartition("-")[2]
        if (path.parent.name, address) in used or path.name.startswith("."):
            continue
        if path.is_symlink() or path.parent.is_symlink() or _age(path) >= older_than_s:
            continue
        record = load(path)
        if record is None or record.key.digest[:ADDRESS] != address:
            continue
        files: dict[str, str | None] = {**_outputs(record), str(path.relative_to(out)): None}
        yield Prunable(str(path.relative_to(out)), out, files)


def _outputs(record: Record) -> dict[str, str | None]:
    """The files of a record, where their paths are such as the program writes."""
    within = tuple(f"{folder}/{record.participant_id}/" for folder in (RECORDS_FOLDER, DERIVATIVES_FOLDER))
    return {
        output["path"]: output["sha256"]
        for output in record.outputs
        if output["path"].startswith(within) and ".." not in Path(output["path"]).parts
    }


def remove(what: Prunable) -> list[str]:
    """Delete files in the order in which they are listed, the one that lists the others last.

    Returns
    -------
    Paths that are left: changed since they were written, links, or held by somebody.
    """
    left: list[str] = []
    folders: dict[Path, None] = {}
    for name, sha256 in what.listed.items():
        path = what.root / name
        folders |= dict.fromkeys(_between(path, what.root))
        if not os.path.lexists(path):
            continue
        is_ours = _is_inside(path, what.root) and path.is_file() and (sha256 is None or file_sha256(path) == sha256)
        if not is_ours or (sha256 is None and left):  # what lists the others stays with them
            left.append(name)
            continue
        try:
            path.unlink()
        except OSError:
            left.append(name)
    for folder in sorted(folders, key=lambda one: -len(one.parts)):
        with contextlib.suppress(OSError):  # somebody's files are in it
            folder.rmdir()
    return left


def _is_inside(path: Path, root: Path) -> bool:
    """Whether a file lies where its name says, and no link leads there."""
    return path.resolve() == root.resolve() / path.relative_to(root)


def total_bytes(prunable: Iterable[Prunable]) -> int:
    """Size of all."""
    return sum(one.n_bytes for one in prunable)


def _between(path: Path, root: Path) -> Iterator[Path]:
    """The folders of a file below a root that the program makes for it; never the root's own first level."""
    for parent in path.parents:
        if parent == root:
            return
        if len(parent.relative_to(root).parts) > 1 or parent.name not in (RECORDS_FOLDER, DERIVATIVES_FOLDER):
            yield parent


def _size(path: Path) -> int:
    """Bytes of a file; 0 where it is gone."""
    with contextlib.suppress(OSError):
        return path.lstat().st_size
    return 0


def _age(path: Path) -> float:
    """When a file was written, seconds of the epoch; far in the future where that is not known."""
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime
    return float("inf")
