"""Workers of this machine that come back: a run ends with the workers that it began with, however busy the machine is.

A nanny of Dask starts a worker again that died, but ends itself for good where that fails once, and a cluster of Dask
closes a nanny whose worker is away for 15 s: on a loaded machine, starting Python takes longer. Here a worker may take
minutes to come back (``LOST_WORKER_S``), and a nanny that ended is replaced by another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from distributed import Nanny, Scheduler, SpecCluster
from distributed.core import Status
from distributed.security import Security
from tornado.ioloop import PeriodicCallback

from flows.engine.cluster import LOOPBACK
from flows.engine.devices import GPU
from flows.engine.forking import begin_to_import
from flows.engine.limits import ONE_THREAD

#: How often nannies that ended are looked for.
REPLACE_MS = 1000


@contextlib.contextmanager
def local_workers(n_cpus: int, devices: Sequence[str], memory_limit: int, work_dir: str) -> Iterator[SpecCluster]:
    """Run local workers, which speak TLS with certificates that live in memory, for the length of a block.

    Parameters
    ----------
    n_cpus : workers without a GPU
    devices : CUDA devices; each gets one more worker, which offers the resource ``GPU``
    memory_limit : of each worker, bytes
    work_dir : folder for what Dask writes
    """
    begin_to_import()
    security = Security.temporary()
    scheduler = {
        "host": LOOPBACK,
        "protocol": "tls://",
        "security": security,
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
    }
    options = {"local_directory": work_dir, "security": security, "memory_limit": memory_limit}
    cluster = SpecCluster(
        workers=_workers(n_cpus, devices, options),
        scheduler={"cls": Scheduler, "options": scheduler},
        security=security,
        silence_logs=50,
    )
    with cluster, _replacing(cluster):
        yield cluster


@contextlib.contextmanager
def _replacing(cluster: SpecCluster) -> Iterator[None]:
    """Replace each nanny that ended, for the length of a block."""

    async def replace() -> None:
        ended = (Status.closed, Status.failed)
        for name in [name for name, nanny in cluster.workers.items() if nanny.status in ended]:
            del cluster.workers[name]
        if cluster.worker_spec.keys() - cluster.workers.keys():
            with contextlib.suppress(Exception):  # whatever it was: it is tried again, until the run gives up
                await cluster

    async def begin() -> PeriodicCallback:
        replacing = PeriodicCallback(replace, REPLACE_MS)
        replacing.start()
        return replacing

    async def end() -> None:
        replacing.stop()

    replacing = cluster.sync(begin)
    try:
        yield
    finally:
        cluster.sync(end)


def _workers(n_cpus: int, devices: Sequence[str], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dask's specification of the local workers, by name: those without a GPU, and one for each device."""
    shared = options | {
        "nthreads": 1,
        "host": LOOPBACK,
        "protocol": "tls://",
        "dashboard": False,
        "silence_logs": 50,
    }
    offers: dict[str, tuple[str, dict[str, float]]] = {f"cpu-{number}": ("", {}) for number in range(n_cpus)}
    offers |= {f"gpu-{number}": (device, {GPU: 1.0}) for number, device in enumerate(devices)}
    return {
        name: {
            "cls": Nanny,
            "options": {**shared, "resources": offered, "env": {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": device}},
        }
        for name, (device, offered) in offers.items()
    }
