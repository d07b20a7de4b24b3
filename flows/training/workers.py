"""Steps on Dask from the threads of Prefect's tasks: submitted, waited for, cancelled with the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flows.engine.devices import GPU
from flows.run.measuring import POLL_S, WORKERLESS_S, ClusterLostError, StoppedError

if TYPE_CHECKING:
    from distributed import Client

LOST_WORKER = ("KilledWorker", "NoValidWorkerError")
TRIES_AGAIN = 2  # of a step whose worker died


class Workers:
    """The workers of one training: one trains, the others draw patients meanwhile."""

    def __init__(self, client: Client, *, may_use_gpu: bool) -> None:
        self._client = client
        self.stopped = threading.Event()
        workers = client.scheduler_info(n_workers=-1)["workers"]
        self._gpu = [name for name, one in workers.items() if one["resources"].get(GPU)] if may_use_gpu else []
        self._cpu = [name for name in workers if name not in self._gpu]

    @property
    def n_cpu(self) -> int:
        """Workers without a GPU."""
        return max(1, len(self._cpu))

    @property
    def has_gpu(self) -> bool:
        """Whether a worker with a GPU trains."""
        return bool(self._gpu)

    @property
    def can_draw_meanwhile(self) -> bool:
        """Whether a worker is left for the pool while one trains."""
        return len(self._cpu) > (0 if self._gpu else 1)

    @property
    def _drawing(self) -> list[str]:
        """Workers that never train."""
        return self._cpu if self._gpu else self._cpu[1:]

    def run(self, step: Callable[..., Any], *arguments: Any, trains: bool = False, draws: bool = False) -> Any:
        """Run a step on a worker and wait for it.

        Parameters
        ----------
        step : plain function
        arguments : of it
        trains : it runs where training does: on a GPU if there is one
        draws : it keeps away from there

        Raises
        ------
        StoppedError
            The run is being stopped.
        ClusterLostError
            The scheduler or all workers are gone.
        """
        wants_gpu = trains and self.has_gpu
        where: Sequence[str] | None = None
        if trains and not wants_gpu and self.can_draw_meanwhile:
            where = self._cpu[:1]
        elif draws and self.can_draw_meanwhile:
            where = self._drawing
        if self.stopped.is_set():
            raise StoppedError("the run is being stopped")
        future = self._client.submit(
            step,
            *arguments,
            pure=False,
            retries=0,
            workers=where,
            allow_other_workers=False,
            resources={GPU: 1} if wants_gpu else None,
        )
        finished = threading.Event()
        future.add_done_callback(lambda _: finished.set())
        since: float | None = None
        while not finished.wait(POLL_S):
            if self.stopped.is_set():
                future.cancel()
                raise StoppedError("the run is being stopped")
            since = self._checked(since)
        if future.status in ("cancelled", "lost"):
            raise ClusterLostError("the Dask scheduler must answer, got none: its connection was lost.")
        return future.result()

    def renew(self) -> None:
        """Look again which workers there are: one that died was started again under another address."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self._gpu = [name for name, one in workers.items() if one["resources"].get(GPU)] if self._gpu else []
        self._cpu = [name for name in workers if name not in self._gpu]

    def _checked(self, since: float | None) -> float | None:
        """Give back since when there is no worker; stop where the cluster is lost."""
        if self._client.status not in ("running", "connecting"):
            raise ClusterLostError("the Dask scheduler must answer, got none: its connection was lost.")
        if self._client.status == "running" and self._client.scheduler_info(n_workers=1)["workers"]:
            return None
        now = time.monotonic()
        if now - (since or now) > WORKERLESS_S:
            raise ClusterLostError(f"the Dask cluster must have workers, got none for {WORKERLESS_S:.0f} s.")
        return since or now


def is_lost_worker(error: object) -> bool:
    """Whether a step failed with its worker, not by itself."""
    return type(error).__name__ in LOST_WORKER
