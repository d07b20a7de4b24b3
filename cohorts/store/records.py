"""Commit records: the one truth about which step results exist, and whether they are still valid.

A step's result is addressed by a digest of four things: its input bytes, settings, weights and code version.
The record is written last, under a temporary name, fsynced and renamed, and carries a digest of its own content, so a
record is either whole or not there. Small results travel inside the record (``payload``); large outputs are files that
the record lists with their sha256. Old records stay: going back to earlier settings computes nothing.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cohorts.store.findings import Findings
from cohorts.store.share import LONGEST_NAME, fsync_file, fsync_folder, read_file, rename

RECORDS_FOLDER = "records"
DERIVATIVES_FOLDER = "derivatives"
TEMPORARY, DAMAGED = ".tmp-", ".damaged-"


def digest_of(value: object) -> str:
    """sha256 of a JSON-able value in canonical form.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class StepKey:
    """What a step's result depends on; its ``digest`` is the result's address."""

    step: str
    code: str
    input_sha256: str
    settings_sha256: str
    weights_sha256: str | None = None

    @property
    def digest(self) -> str:
        """Address of the result."""
        return digest_of(asdict(self))

    def causes_against(self, other: StepKey) -> tuple[str, ...]:
        """Which of input, settings, weights and code differ from ``other``."""
        pairs = (
            ("input", self.input_sha256, other.input_sha256),
            ("settings", self.settings_sha256, other.settings_sha256),
            ("weights", self.weights_sha256, other.weights_sha256),
            ("code", self.code, other.code),
        )
        return tuple(name for name, mine, theirs in pairs if mine != theirs)


@dataclass(frozen=True)
class Record:
    """One committed result of one participant: ``status`` ok, excluded or failed, with a reason where it is not ok."""

    participant_id: str
    key: StepKey
    status: str
    reason: str | None
    detail: str | None
    payload: Findings
    outputs: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    finished_at: str = ""


@contextmanager
def atomic_writer(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success fsync it and rename it into place, on failure remove it."""
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}"[:LONGEST_NAME])
    try:
        yield temporary
        fsync_file(temporary)
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_writer(path) as temporary:
        temporary.write_bytes(content)


def record_path(root: Path, participant_id: str, key: StepKey) -> Path:
    """Where the record of ``participant_id`` with ``key`` lives below the output folder ``root``."""
    return root / RECORDS_FOLDER / participant_id / f"{key.step}-{key.digest[:20]}.json"


def output_folder(participant_id: str, key: StepKey) -> str:
    """Where the files of a step's result live below the output folder: results of other settings stay beside it.

    Versions before 2026-12 kept them below ``DERIVATIVES_FOLDER``; a record says where its own are.
    """
    return f"{RECORDS_FOLDER}/{participant_id}/{key.step}-{key.digest[:20]}"


def write_outputs(root: Path, folder: str, files: Mapping[str, bytes]) -> tuple[Mapping[str, Any], ...]:
    """Write a step's files before its record.

    Parameters
    ----------
    root : output folder
    folder : from ``output_folder``
    files : name -> content

    Returns
    -------
    Path below ``root``, sha256 and size of each, as a record lists them.
    """
    if files:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if (root / folder / name).is_dir():
            set_aside(root / folder / name)
        write_bytes(root / folder / name, content)
    return tuple(
        {"path": f"{folder}/{name}", "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in files.items()
    )


def commit(root: Path, record: Record) -> Path:
    """Write ``record``; committing the same result twice is harmless, and a failure never replaces a whole result."""
    path = record_path(root, record.participant_id, record.key)
    if record.status == "failed":
        standing = load(path)
        if standing is None:
            set_aside(path)
        elif standing.status != "failed" and is_complete(root, standing):
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = record.payload.model_dump(mode="json", exclude_unset=True)
    body = {**vars(record), "key": asdict(record.key), "payload": payload}
    write_bytes(path, json.dumps({"sha256": digest_of(body), "record": body}, separators=(",", ":")).encode())
    return path


def load(path: Path, findings: type[Findings] | None = None) -> Record | None:
    """Read a record; None where there is none, or where it is damaged or another one's.

    Nothing is changed on disk: who looks must leave damage to those who check it and those who compute it again.

    Parameters
    ----------
    path : from ``record_path``
    findings : what the kind of its source finds; None reads the parts that every kind has
    """
    try:
        body = _checked_body(path)
        body["payload"] = _findings(body["payload"], findings)
        body["key"] = StepKey(**body["key"])
        body["outputs"] = tuple(body["outputs"])
        record = Record(**body)
        address = record_path(Path(), record.participant_id, record.key)
        if (path.parent.name, path.name) != (address.parent.name, address.name):
            raise ValueError("the record must lie at its own address")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IsADirectoryError):
        return None
    return record


def _findings(payload: Mapping[str, Any], kind: type[Findings] | None) -> Findings:
    """The parts of a record, of its kind or of every kind."""
    if kind is not None:
        return kind.model_validate(payload)
    return Findings.model_validate({name: payload[name] for name in Findings.model_fields if name in payload})


def set_aside(path: Path) -> None:
    """Take a damaged record or file out of use, and keep it; on a share that cannot be written it stays where it is."""
    aside = path.with_name(f"{DAMAGED}{path.name}")
    with suppress(OSError):
        path.replace(aside)
        os.utime(aside)  # what is computed again is younger


def is_damaged(root: Path, participant_id: str, key: StepKey) -> bool:
    """Whether the record at an address is not whole or another one's, or one of its step was set aside for that."""
    path = record_path(root, participant_id, key)
    if any(path.parent.glob(f"{DAMAGED}{glob.escape(key.step)}-*.json")):
        return True
    return path.exists() and load(path) is None


def earlier_keys(root: Path, participant_id: str, step: str) -> list[tuple[StepKey, str]]:
    """Key and status of every record of one participant's step, whatever its address, the newest first."""
    folder = root / RECORDS_FOLDER / participant_id
    paths = sorted(folder.glob(f"{glob.escape(step)}-*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = []
    for path in paths:
        try:
            body = _checked_body(path)
            key = StepKey(**body["key"])
            if path != record_path(root, str(body["participant_id"]), key):
                continue
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if key.step == step:
            found.append((key, str(body["status"])))
    return found


def _checked_body(path: Path) -> dict[str, Any]:
    """The content of a record, if it matches its digest."""
    content = json.loads(read_file(path))
    body: dict[str, Any] = content["record"]
    if content["sha256"] != digest_of(body):
        raise ValueError("the record's content does not match its digest")
    return body


def is_complete(root: Path, record: Record) -> bool:
    """Whether every output file that ``record`` lists is there with its size."""
    paths = ((root / output["path"], output["size_bytes"]) for output in record.outputs)
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def remove_leftovers(root: Path) -> None:
    """Remove what killed writers left below the output folder; the caller holds its lock."""
    places = ("", f"{RECORDS_FOLDER}/*/", f"{RECORDS_FOLDER}/*/*/", f"{DERIVATIVES_FOLDER}/*/*/")
    for path in (path for place in places for path in root.glob(f"{place}{TEMPORARY}*")):
        with suppress(OSError):
            path.unlink()
