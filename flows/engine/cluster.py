"""Where steps are computed: a local Dask cluster by default, or one that the site runs.

One process and one thread per worker, so that a crash in native code costs one step. Dask runs any code it is sent, by
whoever reaches it, and other users of the machine reach loopback: the local cluster speaks TLS with certificates that
live in memory. A scheduler of the site beyond loopback must speak TLS too. Each GPU gets a worker of its own, which
offers the resource ``GPU``; the other workers see no GPU.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.engine.devices import GpuChoice, visible_devices
from flows.engine.environment import DASK, drop_variables
from flows.engine.limits import ONE_THREAD, memory_bytes, worker_memory_bytes

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

    from flows.engine.slurm import SlurmProfile

LOOPBACK = "127.0.0.1"
LOOPBACK_HOSTS = {LOOPBACK, "localhost", "::1", "[::1]"}
#: Python 3.11.0 lets other users of the machine reach the socket of its fork server (CVE-2022-42919).
START_METHOD = "forkserver" if sys.version_info >= (3, 11, 1) else "spawn"
#: A local worker that died may take this long to come back: on a loaded machine, starting Python takes a minute.
LOST_WORKER_S = 240
#: A cluster without any worker for this long is lost.
WORKERLESS_S = 600
DASK_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,  # a dead worker is reported at once; Prefect decides on the retry
    "distributed.scheduler.worker-saturation": 1.0,
    # a case that no worker will ever take fails, and is named; that no worker is left is told before
    "distributed.scheduler.no-workers-timeout": f"{WORKERLESS_S + 60}s",
    "distributed.deploy.lost-worker-timeout": f"{LOST_WORKER_S}s",
    "distributed.worker.memory.spill": False,  # arrays never travel: there is nothing to spill
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # not Dask's MALLOC_TRIM_THRESHOLD_: with it every array above 128 KiB is mapped afresh, which was 40 % of CPU time
    "distributed.nanny.pre-spawn-environ": ONE_THREAD,
    "distributed.worker.preload": ["flows.engine.worker_start"],
    "distributed.worker.http.routes": [],  # pages without TLS: nobody reads them
    "distributed.scheduler.http.routes": [],
    "distributed.worker.daemon": True,
    "distributed.worker.multiprocessing-method": START_METHOD,
    "distributed.admin.tick.limit": "30s",
    "distributed.comm.timeouts.connect": "30s",
    "logging.distributed": "critical",  # what is lost or fails is said by the run, in words
}


class ClusterError(RuntimeError):
    """The cluster cannot be used; the message says why and what to do."""


class ClusterOptionError(ClusterError):
    """Options that no cluster could be used with: another command line is the remedy."""


@dataclass(frozen=True)
class TlsFiles:
    """Certificates for a scheduler of the site: PEM files of its authority, of this client, and of its key."""

    ca: Path
    cert: Path
    key: Path


def check_address(address: str, *, allow_insecure: bool) -> None:
    """Refuse a scheduler beyond loopback without TLS.

    Raises
    ------
    ClusterOptionError
        ``address`` leaves this machine in clear text and ``allow_insecure`` is not set.
    """
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme == "tls" or (parts.hostname or "") in LOOPBACK_HOSTS or allow_insecure:
        return
    raise ClusterOptionError(
        f"--dask must be a tls:// address or on loopback, got {address}. A Dask scheduler runs any code it is sent: "
        "give it certificates, or pass --insecure on a network you trust."
    )


def devices_for(choice: GpuChoice) -> tuple[str, ...]:
    """GPUs that local workers get.

    Raises
    ------
    ClusterError
        A GPU is required and this machine has none; what workers elsewhere have is seen once they are connected.
    """
    if choice == "none":
        return ()
    devices = visible_devices()
    if choice == "require" and not devices:
        raise ClusterError(
            "--gpu require must find a CUDA device, got none on this machine (nvidia-smi -L, CUDA_VISIBLE_DEVICES). "
            "Use --gpu try, or --dask with a worker that declares --resources GPU=1."
        )
    return devices


def resources_offered(client: Client) -> frozenset[str]:
    """Names of the resources that at least one worker offers, such as ``GPU``."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return frozenset(name for worker in workers for name, amount in worker["resources"].items() if amount > 0)


@contextlib.contextmanager
def connect(
    *,
    n_cpus: int,
    address: str | None,
    work_dir: str,
    allow_insecure: bool = False,
    devices: tuple[str, ...] = (),
    tls: TlsFiles | None = None,
    profile: SlurmProfile | None = None,
    n_cases: int = 1,
) -> Iterator[Client]:
    """Give a client to a cluster of local workers or of jobs that ends with the block, or to one of the site.

    Parameters
    ----------
    n_cpus : local workers without a GPU
    address : of a scheduler that the site runs; None starts local workers
    work_dir : folder for what Dask writes
    allow_insecure : allow ``address`` beyond loopback without TLS
    devices : CUDA devices; each gets one more local worker
    tls : certificates for ``address``
    profile : of the jobs that are workers
    n_cases : that are due

    Raises
    ------
    ClusterError
        It cannot be used.
    """
    if profile is not None:
        with _queued(profile, n_cases, work_dir) as client:
            yield client
        return
    if address is None:
        with _local(n_cpus, devices, work_dir) as client:
            yield client
        return
    security = _site_security(address, tls, allow_insecure=allow_insecure)
    with _settings(work_dir), contextlib.ExitStack() as stack:
        from distributed import Client

        try:
            client = stack.enter_context(Client(address, timeout="10s", set_as_default=False, security=security))
            client.get_versions(check=True)
        except (OSError, TimeoutError) as error:
            raise ClusterError(f"--dask must be a running scheduler, got none at {address} ({error}).") from error
        except TypeError as error:  # Dask's own word where a scheduler needs certificates and none are set
            raise ClusterOptionError(f"--dask {address} needs --tls-ca, --tls-cert and --tls-key ({error}).") from error
        except ValueError as error:
            raise ClusterError(f"the workers at {address} must run the versions of this command: {error}") from error
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ClusterError(f"the Dask cluster at {address} must have workers, got none. Start some.")
        yield client


@contextlib.contextmanager
def _local(n_cpus: int, devices: Sequence[str], work_dir: str) -> Iterator[Client]:
    """Run local workers for the length of a block."""
    with _settings(work_dir, is_local=True), contextlib.ExitStack() as stack:
        from distributed import Client

        from flows.engine.local_workers import local_workers

        limit = worker_memory_bytes(memory_bytes(), n_cpus + len(devices))
        try:
            cluster = stack.enter_context(local_workers(n_cpus, devices, limit, work_dir))
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (RuntimeError, PermissionError, FileNotFoundError) as error:
            raise ClusterError(f"local workers must start, got {type(error).__name__}: {error}.") from error
        yield client


@contextlib.contextmanager
def _queued(profile: SlurmProfile, n_cases: int, work_dir: str) -> Iterator[Client]:
    """Run jobs of SLURM for the length of a block, and wait for the first worker."""
    with _settings(work_dir, is_local=True), contextlib.ExitStack() as stack:
        from distributed import Client

        from flows.engine.slurm import refused, slurm_workers, wait_for_first

        cluster, queue = stack.enter_context(slurm_workers(profile, n_cases, Path(work_dir)))
        try:
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except RuntimeError as error:  # it waits for the first jobs to be taken
            raise ClusterError(refused(error)) from error
        wait_for_first(client, queue, profile, Path(work_dir))
        yield client


def _site_security(address: str, tls: TlsFiles | None, *, allow_insecure: bool) -> Security | None:
    """Dask's TLS settings for a scheduler of the site; None leaves them to the site's own Dask settings."""
    check_address(address, allow_insecure=allow_insecure)
    if tls is None:
        return None
    if not address.startswith("tls://"):
        raise ClusterOptionError(f"--dask must be a tls:// address where certificates are given, got {address}.")
    for option, path in (("--tls-ca", tls.ca), ("--tls-cert", tls.cert), ("--tls-key", tls.key)):
        if not path.is_file():
            raise ClusterOptionError(f"{option} must be a PEM file, got {path}, which is none.")
    try:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise ClusterOptionError(
            f"certificates must be PEM files that fit together, got {tls.ca}, {tls.cert}, {tls.key} ({error})."
        ) from error
    from distributed.security import Security

    return Security(
        tls_ca_file=str(tls.ca),
        tls_client_cert=str(tls.cert),
        tls_client_key=str(tls.key),
        require_encryption=True,
    )


@contextlib.contextmanager
def _settings(work_dir: str, *, is_local: bool = False) -> Iterator[None]:
    """Set Dask up for the length of a block; local workers know nothing of this user's own Dask settings."""
    if is_local:
        drop_variables((*DASK, *ONE_THREAD, "MALLOC_TRIM_THRESHOLD_"))
    try:
        import dask
        import distributed  # noqa: F401  its defaults join the settings
    except ValueError as error:
        raise ClusterError(f"Dask's settings in ~/.config/dask or /etc/dask must be valid: {error}.") from error
    if is_local:
        dask.config.refresh(paths=[], env={})
    with dask.config.set(DASK_SETTINGS | {"temporary-directory": work_dir}):
        yield
