"""Check every commit record and every output that one lists, byte by byte."""

from __future__ import annotations

import glob
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG

from cohorts.store.hashing import file_sha256
from cohorts.store.records import DAMAGED, RECORDS_FOLDER, Record, load, set_aside

N_THREADS = 4


def verify_records(root: Path) -> tuple[int, int, list[str]]:
    """Read every record and its outputs; what is damaged is set aside, so that it is computed again.

    Parameters
    ----------
    root : output folder; its caller holds the run lock

    Returns
    -------
    (records, outputs, what is damaged, one sentence each).
    """
    paths = sorted((root / RECORDS_FOLDER).glob("[!.]*/[!.]*.json"))
    damage = _still_missing(root)
    n_outputs = 0
    with ThreadPoolExecutor(N_THREADS) as pool:
        for path, (record, faults) in zip(paths, pool.map(lambda path: _check(root, path), paths), strict=True):
            damage += faults
            if record is not None:
                n_outputs += len(record.outputs)
                if faults:
                    set_aside(path)
    return len(paths), n_outputs, damage


def _still_missing(root: Path) -> list[str]:
    """Records that were set aside before and that nothing has taken the place of."""
    missing = []
    for aside in sorted((root / RECORDS_FOLDER).glob(f"[!.]*/{DAMAGED}*.json")):
        path = aside.with_name(aside.name.removeprefix(DAMAGED))
        step = path.stem.rpartition("-")[0]
        later = [one for one in path.parent.glob(f"{glob.escape(step)}-*.json") if one.stem.rpartition("-")[0] == step]
        if not any(one.lstat().st_mtime_ns >= aside.lstat().st_mtime_ns for one in later):
            shown = path.relative_to(root)
            missing.append(
                f"{shown} was damaged and is not computed again yet; it is now {aside.name}. Delete that file if this "
                "participant or source has left the study."
            )
    return missing


def _check(root: Path, path: Path) -> tuple[Record | None, list[str]]:
    """Read one record and its outputs."""
    shown = path.relative_to(root)
    try:
        record = load(path)
    except OSError as error:
        return None, [f"{shown} must be readable, got: {error.strerror}."]
    if record is None:
        set_aside(path)
        aside = f"{DAMAGED}{path.name}"
        return None, [f"{shown} must be a whole record of its own address, got another content; it is now {aside}."]
    return record, [
        f"{output['path']} must be as its record says, {fault}."
        for output in record.outputs
        if (fault := _fault(root / output["path"], output)) is not None
    ]


def _fault(path: Path, output: object) -> str | None:
    """What is wrong with one output; None where it is whole."""
    expected = output.get("sha256") if isinstance(output, dict) else None
    try:
        if not S_ISREG(path.stat().st_mode):
            return "got no ordinary file"
        if expected is not None and file_sha256(path) != expected:
            return "got another content"
    except FileNotFoundError:
        return "but is missing"
    except OSError as error:
        return f"got: {error.strerror}"
    return None
