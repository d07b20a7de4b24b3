"""Workers as jobs of SLURM: a file says what a job may take, dask-jobqueue submits them.

A job that ended before its time (wall time, preemption, a node that failed) is submitted again; what it was at work on
is tried again by the run, as after the death of any worker. Jobs leave as soon as nothing is asked of them. Jobs that
end, one after the other, before a worker answers are not submitted for ever: the run says where their output lies.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.engine.cluster import DASK_SETTINGS, ClusterError, ClusterOptionError
from flows.engine.devices import GPU
from flows.engine.limits import ONE_THREAD

COMMANDS = ("sbatch", "squeue", "scancel")
#: How often the queue is looked at, ms: SLURM's own scheduler works in steps of seconds.
LOOK_MS = 5000
#: Jobs leave when nothing has been asked of any worker for this long.
LEAVE_S = 20.0
#: So many jobs in a row that ended before a worker answered end the run.
FRUITLESS = 3
#: A worker that finds no scheduler for this long ends its job.
DEATH_TIMEOUT_S = 120
WALL_TIME = r"^(\d+-)?\d{1,3}(:\d{2}){0,2}$"
NO_QUOTES = r"^[^\n\r]*$"


class SlurmProfile(BaseModel):
    """The section ``[cluster]`` of the file: what one job takes, and how many there may be."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    kind: Literal["slurm"]
    queue: Annotated[str | None, Field(pattern=r"^[\w.,-]+$")] = None  # partition; None is SLURM's default
    account: Annotated[str | None, Field(pattern=r"^[\w.@-]+$")] = None
    jobs: Annotated[int, Field(ge=1, le=1000)] = 2  # at one time, waiting or running
    workers: Annotated[int, Field(ge=1, le=256)] = 1  # of each job; each has one core
    memory_gib: Annotated[float, Field(gt=0)] = 4.0  # of each job
    wall_time: Annotated[str, Field(pattern=WALL_TIME)] = "04:00:00"  # as SLURM writes it: [days-]hours:minutes:seconds
    gpus: Annotated[int, Field(ge=0, le=1)] = 0  # of each job, which then has one worker
    queue_limit_h: Annotated[float, Field(gt=0)] = 24.0  # for a job to begin
    host: Annotated[str | None, Field(pattern=r"^[\w.:-]+$")] = None  # this machine's address as the nodes reach it
    interface: Annotated[str | None, Field(pattern=r"^[\w.:-]+$")] = None  # or its network interface, such as ib0
    directives: tuple[Annotated[str, Field(pattern=NO_QUOTES)], ...] = ()  # further ones of #SBATCH
    prologue: tuple[Annotated[str, Field(pattern=NO_QUOTES)], ...] = ()  # lines that a job runs first: module load ...

    @model_validator(mode="after")
    def _one_worker_per_gpu(self) -> SlurmProfile:
        if self.gpus and self.workers != 1:
            raise ValueError(f"workers must be 1 where gpus is 1, got {self.workers}: a GPU serves one worker")
        if self.host and self.interface:
            raise ValueError("host and interface must not both be given: each says where the nodes find this machine")
        return self

    @property
    def n_workers(self) -> int:
        """All workers once every job runs."""
        return self.jobs * self.workers

    @property
    def queue_limit_s(self) -> float:
        """How long a job may wait."""
        return self.queue_limit_h * 3600

    def jobs_for(self, n_cases: int) -> int:
        """As many jobs as so many cases can keep at work."""
        return max(1, min(self.jobs, math.ceil(n_cases / self.workers)))


def read_profile(path: Path) -> SlurmProfile:
    """Read the file of ``--cluster``.

    Raises
    ------
    ClusterOptionError
        It cannot be read or used; every fault is named.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ClusterOptionError(f"--cluster must be a TOML file that can be read, got {path} ({error}).") from None
    if set(content) != {"cluster"} or not isinstance(content["cluster"], dict):
        found = ", ".join(map(str, content)) or "nothing"
        raise ClusterOptionError(f"{path} must hold one section [cluster], got {found}. See example_cluster.toml.")
    try:
        return SlurmProfile.model_validate(content["cluster"])
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, one['loc'])) or '[cluster]'}: {one['msg'].removeprefix('Value error, ')}, "
            f"got {one['input']!r}"
            if one["loc"]
            else one["msg"].removeprefix("Value error, ")
            for one in error.errors(include_url=False)
        ]
        raise ClusterOptionError(f"{path}, [cluster]: {'; '.join(faults)}. See example_cluster.toml.") from None


@contextlib.contextmanager
def slurm_workers(profile: SlurmProfile, n_cases: int, work_dir: Path) -> Iterator[tuple[Any, Queue]]:
    """Run jobs of SLURM for the length of a block; Dask's settings are made by the caller.

    Parameters
    ----------
    profile : what a job takes
    n_cases : that are due, so that no job is submitted which nobody needs
    work_dir : private folder on a file system that the nodes share: certificates, scripts, output of the jobs

    Returns
    -------
    A cluster of Dask, whose jobs wait in the queue, and what they are doing.

    Raises
    ------
    ClusterError
        SLURM's commands are missing, or it takes no job.
    """
    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        raise ClusterError(
            f"--cluster must run where SLURM's commands are, got no {', '.join(missing)}. Run on a login node."
        )
    import dask
    from dask_jobqueue.slurm import SLURMCluster
    from distributed.security import Security

    settings = DASK_SETTINGS | {"temporary-directory": None}
    exports = {**ONE_THREAD, "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(settings)}
    place = {"host": profile.host} if profile.host else {"interface": profile.interface} if profile.interface else {}
    logs = work_dir / "jobs"
    cluster = SLURMCluster(
        queue=profile.queue,
        account=profile.account,
        cores=profile.workers,
        processes=profile.workers,
        memory=f"{profile.memory_gib} GiB",
        walltime=profile.wall_time,
        python=sys.executable,
        job_name="aspects",
        nanny=True,
        death_timeout=DEATH_TIMEOUT_S,
        local_directory=str(work_dir),
        log_directory=str(logs),
        shared_temp_directory=str(work_dir),
        security=Security.temporary(),
        protocol="tls://",
        scheduler_options={"dashboard": False, "dashboard_address": ":0", **place},
        job_extra_directives=[*([f"--gres=gpu:{profile.gpus}"] if profile.gpus else []), *profile.directives],
        job_script_prologue=[*profile.prologue, *(f"export {name}={value}" for name, value in exports.items())],
        worker_extra_args=["--no-dashboard", *(["--resources", f"{GPU}=1"] if profile.gpus else [])],
        silence_logs=50,
    )
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # Dask asks no refused job for its error; the run says it
    try:
        with cluster, _looking(cluster, profile.jobs_for(n_cases)) as queue:
            yield cluster, queue
    finally:  # the certificates' files, before their folder goes
        for file in [one for one in vars(cluster).values() if hasattr(one, "delete")]:
            with contextlib.suppress(OSError):
                file.close()


class Queue:
    """What the jobs of a cluster are doing."""

    def __init__(self, cluster: Any, n_jobs: int) -> None:
        self._cluster = cluster
        self._n_jobs = n_jobs
        self._idle_since: float | None = None
        self._was_asked = False
        self._answered: set[str] = set()
        self.n_fruitless = 0
        self.refusal = ""

    async def look(self) -> None:
        """Submit again what ended, and let jobs leave that nobody needs."""
        cluster = self._cluster
        scheduler = cluster.scheduler
        for worker in scheduler.workers.values():
            if str(worker.name) not in self._answered:
                self.n_fruitless = 0
                self._answered.add(str(worker.name))
        n_tasks = len(scheduler.tasks)
        self._was_asked |= n_tasks > 0
        if n_tasks or not self._was_asked:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        if self._idle_since is not None and time.monotonic() - self._idle_since > LEAVE_S:
            cluster.scale(0)
        elif not cluster.worker_spec:
            cluster.scale(self._n_jobs)
        await self._forget_ended()
        if cluster.worker_spec.keys() - cluster.workers.keys() and self.n_fruitless < FRUITLESS:
            try:
                await cluster
            except Exception as error:
                self.refusal = refused(error)
                self.n_fruitless += 1

    async def _forget_ended(self) -> None:
        """Forget the jobs that SLURM does not list any more."""
        cluster = self._cluster
        self.forget_refused()
        jobs = dict(cluster.workers)
        if not jobs:
            return
        try:
            listed = await next(iter(jobs.values()))._call(["squeue", "--noheader", "--me", "--format=%A"])
        except (RuntimeError, OSError):  # SLURM's controller does not answer for a while: nothing is known
            return
        known = set(listed.split())
        for name, job in jobs.items():
            if job.job_id not in known:
                own = {one for one in self._answered if one == name or one.startswith(f"{name}-")}
                self.n_fruitless += not own
                self._answered -= own
                cluster.workers.pop(name, None)

    def forget_refused(self) -> None:
        """Forget the jobs that sbatch did not take: Dask closes only those that were taken."""
        for name in [name for name, job in self._cluster.workers.items() if not job.job_id]:
            self._cluster._created.discard(self._cluster.workers.pop(name))


def refused(error: BaseException) -> str:
    """What sbatch said, in one line, and what to do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip().startswith("sbatch:")]
    text = " ".join(lines) or str(error).strip().splitlines()[0]
    return f"SLURM must take the jobs of --cluster, got: {text.rstrip('.')}. Correct the file."


@contextlib.contextmanager
def _looking(cluster: Any, n_jobs: int) -> Iterator[Queue]:
    """Look at the queue now and then, for the length of a block."""
    from tornado.ioloop import PeriodicCallback

    queue = Queue(cluster, n_jobs)

    async def begin() -> PeriodicCallback:
        cluster.scale(n_jobs)
        looking = PeriodicCallback(queue.look, LOOK_MS)
        looking.start()
        return looking

    async def end() -> None:
        looking.stop()
        queue.forget_refused()

    looking = cluster.sync(begin)
    try:
        yield queue
    finally:
        cluster.sync(end)


def wait_for_first(client: Any, queue: Queue, profile: SlurmProfile, work_dir: Path) -> None:
    """Wait until a worker answers.

    Raises
    ------
    ClusterError
        None did within the queue's limit, SLURM refuses the jobs, or they end before a worker answers.
    """
    until = time.monotonic() + profile.queue_limit_s
    while not client.scheduler_info(n_workers=1)["workers"]:
        if queue.n_fruitless >= FRUITLESS:
            raise ClusterError(_fruitless(queue, work_dir))
        if time.monotonic() > until:
            raise ClusterError(
                f"a job must begin within {profile.queue_limit_h:g} h (queue_limit_h), got none: see squeue --me. "
                "Ask for less, or run again later."
            )
        time.sleep(0.5)


def _fruitless(queue: Queue, work_dir: Path) -> str:
    """Why no job gives a worker."""
    if queue.refusal:
        return queue.refusal
    outputs = sorted((work_dir / "jobs").glob("*.err"), key=lambda path: path.stat().st_mtime)
    lines = [line for path in outputs[-1:] for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1].strip().rstrip(".") if lines else "nothing"
    return (
        f"a job must start a worker, got {FRUITLESS} that ended before; the last one wrote: {last}. The nodes need "
        "this Python, this project and the folders of the run at the same paths, and must reach this machine (host)."
    )
