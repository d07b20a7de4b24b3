"""What a worker beyond this machine must have before it takes a case: this project, its weights, the run's folders."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import WorkerPlugin

from flows.engine.cluster import ClusterError
from flows.sources.code import PACKAGES, ROOT

if TYPE_CHECKING:
    from distributed import Client, Worker

SEEN_AS = ".seen-by-workers"


def project_digest(root: Path = ROOT) -> str:
    """Digest of every file of the project that a worker runs or reads, weights included."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


class Checked(WorkerPlugin):
    """Refuses a worker that would compute something else, or cannot see the folders."""

    name = "aspects-checked"

    def __init__(self, folders: tuple[Path, ...], token: str, digest: str) -> None:
        self.folders = tuple(map(str, folders))
        self.token = token
        self.digest = digest

    def setup(self, worker: Worker) -> None:
        """Look; an error ends the worker.

        Raises
        ------
        RuntimeError
            It must not take a case; the message says why.
        """
        where = worker.address
        for folder in self.folders:
            path = Path(folder) / SEEN_AS
            if not path.is_file() or path.read_text("utf-8") != self.token:
                raise RuntimeError(f"worker {where} must see {folder} as this command does, got another folder or none")
        if (found := project_digest()) != self.digest:
            raise RuntimeError(
                f"worker {where} must run this project and its weights ({self.digest[:12]}), got {found[:12]} in {ROOT}"
            )


@contextlib.contextmanager
def workers_checked(client: Client, folders: tuple[Path, ...]) -> Iterator[None]:
    """Refuse workers, now and later, that lack the project or do not share the folders.

    Parameters
    ----------
    client : of the cluster
    folders : that the run reads and writes; this command may write to them

    Raises
    ------
    ClusterError
        A worker that is there now must not take a case.
    """
    token = uuid.uuid4().hex
    written = []
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SEEN_AS).write_text(token, "utf-8")
            written.append(folder / SEEN_AS)
        try:
            client.register_plugin(Checked(tuple(one.resolve() for one in folders), token, project_digest()))
        except Exception as error:
            raise ClusterError(
                f"{str(error).rstrip('.')}. Install the same version there, and share the folders at the same paths."
            ) from error
        yield
    finally:
        for path in written:
            path.unlink(missing_ok=True)
