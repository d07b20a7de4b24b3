"""sha256 of input files, remembered between runs by path, size, modification time and inode.

A file modified within the last two seconds is never remembered: its clock may not yet tell a further change apart.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG

from cohorts.store.records import write_bytes
from cohorts.store.share import read_file

GUARD_NS = 2_000_000_000
N_THREADS = 2


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class HashCache:
    """Digests of files below one folder, kept in a JSON file that may be deleted at any time."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known: dict[str, tuple[str, str]] = {}
        self._content = b""
        try:
            self._content = read_file(store)
            self._known = {path: (entry[0], entry[1]) for path, entry in json.loads(self._content).items()}
        except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
            self._known = {}

    def sha256_of(self, files: Iterable[Path], *, is_fresh: bool = False) -> dict[Path, str]:
        """Digest each file that exists; changed files are read again, with ``is_fresh`` all of them.

        Returns
        -------
        file -> sha256; what cannot be read, or is no ordinary file, is left out.
        """
        if is_fresh:
            self._known.clear()
        with ThreadPoolExecutor(N_THREADS) as pool:
            return {path: digest for path, digest in pool.map(self._one, files) if digest is not None}

    def save(self, *, only: Iterable[Path] | None = None) -> None:
        """Keep what is known for the next run, with ``only`` of these files."""
        if only is not None:
            wanted = set(map(str, only))
            self._known = {path: entry for path, entry in self._known.items() if path in wanted}
        content = json.dumps(self._known, separators=(",", ":")).encode()
        if content != self._content:
            self._store.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._store, content)
            self._content = content

    def _one(self, path: Path) -> tuple[Path, str | None]:
        """Digest one file, from memory where its stamp is unchanged."""
        try:
            stat = path.stat()
            if not S_ISREG(stat.st_mode):
                return path, None
            stamp = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
            known = self._known.get(str(path))
            if known is not None and known[0] == stamp:
                return path, known[1]
            digest = file_sha256(path)
        except OSError:
            return path, None
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > GUARD_NS:
            self._known[str(path)] = (stamp, digest)
        return path, digest
