"""Where steps are computed: a local Dask cluster by default, or one that the site runs.

One process and one thread per worker, so that a crash in native code costs one step; every address is loopback. Dask
runs any code it is sent, so a scheduler beyond loopback must speak TLS.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dask
import psutil

if TYPE_CHECKING:
    from distributed import Client

LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1", "[::1]"}
#: Share of the machine's memory that the workers may hold together.
MEMORY_SHARE = 0.8
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
DASK_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,  # a dead worker is reported at once; Prefect decides on the retry
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.no-workers-timeout": "120s",  # a case that no worker will ever take fails, and is named
    "distributed.worker.memory.spill": False,  # arrays never travel: there is nothing to spill
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536, **ONE_THREAD},
    "distributed.worker.daemon": True,
    "distributed.admin.tick.limit": "30s",
    "distributed.comm.timeouts.connect": "30s",
    "logging.distributed": "error",
}


class ClusterError(RuntimeError):
    """The cluster cannot be used; the message says why and what to do."""


def available_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_address(address: str, *, allow_insecure: bool) -> None:
    """Refuse a scheduler beyond loopback without TLS.

    Raises
    ------
    ClusterError
        ``address`` leaves this machine in clear text and ``allow_insecure`` is not set.
    """
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme == "tls" or (parts.hostname or "") in LOOPBACK_HOSTS or allow_insecure:
        return
    raise ClusterError(
        f"--dask must be a tls:// address or on loopback, got {address}. A Dask scheduler runs any code it is sent: "
        "give it certificates, or pass --insecure on a network you trust."
    )


@contextlib.contextmanager
def connect(*, n_cpus: int, address: str | None, work_dir: str, allow_insecure: bool = False) -> Iterator[Client]:
    """Give a client to ``address``, or to a cluster of ``n_cpus`` local workers that ends with the block."""
    dask.config.set(DASK_SETTINGS | {"temporary-directory": work_dir})
    from distributed import Client, LocalCluster

    if address is not None:
        check_address(address, allow_insecure=allow_insecure)
        try:
            with Client(address, timeout="10s", set_as_default=False) as client:
                client.get_versions(check=True)
                if not client.scheduler_info(n_workers=-1)["workers"]:
                    raise ClusterError(f"the Dask cluster at {address} must have workers, got none. Start some.")
                yield client
        except (OSError, TimeoutError) as error:
            raise ClusterError(f"--dask must be a running scheduler, got none at {address} ({error}).") from error
        except ValueError as error:
            raise ClusterError(f"the workers at {address} must run the versions of this command: {error}") from error
        return
    limit = int(psutil.virtual_memory().total * MEMORY_SHARE / n_cpus)
    with (
        LocalCluster(
            n_workers=n_cpus,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address=None,
            memory_limit=limit,
            local_directory=work_dir,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
