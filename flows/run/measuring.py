"""The Prefect flow of a run: Prefect decides (states, retries), Dask computes, committed records are the truth.

A Prefect task is thin: it submits one chunk of cases to Dask and waits. Of a chunk that failed, as by the death of its
worker, every case is tried once more, alone; one that fails alone is tried a last time with nothing else at work,
because a loaded machine kills workers that did nothing wrong. A case that fails then ends as ``failed``. Where no
worker is left, the run stops and records nothing against the scans. Nothing that identifies a participant is a Prefect
parameter.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cohorts.store.records import Record, commit
from cohorts.tables.segmentation import lesion_pairs, region_pairs
from flows.cases.case import Case, step_key
from flows.engine.cluster import WORKERLESS_S, resources_offered
from flows.engine.devices import GPU
from flows.engine.limits import memory_bytes
from flows.engine.progress import CaseProgress
from flows.run.limits import STANDSTILL_S, ended_by_limit
from flows.run.methods import STEP_METHODS
from flows.run.overlaps import overlap_plan
from flows.run.plan import Plan, with_records
from flows.run.steps import StorageFailedError, run_chunk
from flows.sources.interface import Method

if TYPE_CHECKING:
    from distributed import Client

#: Chunks per worker: enough to balance the load, few enough that a task's 13 ms do not matter (MEASURED 5).
CHUNKS_PER_WORKER = 8
LARGEST_CHUNK = 50
POLL_S = 0.5


class StoppedError(RuntimeError):
    """The run is being stopped; what is committed stays."""


class ClusterLostError(RuntimeError):
    """The scheduler or all workers are gone; the run stops, and what is committed stays."""


class CaseLimitError(RuntimeError):
    """A case reached its limit, and its worker ended itself; the message says where the case was."""


@dataclass(frozen=True)
class Chunk:
    """Some cases, computed by one Prefect task: (measurement, case), those of one participant together.

    ``n_shares`` is how many of the run's workers rest while it is at work, its own included.
    """

    cases: tuple[tuple[str, Case], ...]
    wants_gpu: bool = False
    n_shares: int = 1


class Shares:
    """The workers of a run as shares of its machine, of which a program of many threads takes several."""

    def __init__(self) -> None:
        self.n_free = 1
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, n_shares: int, stopped: threading.Event) -> Iterator[None]:
        """Hold shares for a block, once they are free; at once where the run is being stopped."""
        with self._changed:
            while self.n_free < n_shares and not stopped.is_set():
                self._changed.wait(POLL_S)
            self.n_free -= n_shares
        try:
            yield
        finally:
            with self._changed:
                self.n_free += n_shares
                self._changed.notify_all()


@dataclass
class Measuring:
    """What the flow's tasks share."""

    plan: Plan
    out: Path
    client: Client | None  # None where nothing is due
    progress: CaseProgress
    stopped: threading.Event
    seconds: dict[str, float]
    stopping_error: StorageFailedError | ClusterLostError | None = None
    may_use_gpu: bool = True
    n_workers: int = 0  # that there may be, where they come and go; 0: those that are there
    workerless_s: float = WORKERLESS_S  # after which a run without any is lost
    shares: Shares = field(default_factory=Shares)

    def method_of(self, measurement: str) -> Method:
        """How a measurement is made."""
        return STEP_METHODS[self.plan.settings[measurement].kind]


def chunks_of(
    pending: list[tuple[str, Case]],
    n_workers: int,
    on_gpu: Iterable[str] = (),
    shares: Mapping[str, int] | None = None,
) -> list[Chunk]:
    """Split pending cases into chunks.

    Parameters
    ----------
    pending : (measurement, case) of each
    n_workers : that take chunks at one time
    on_gpu : measurements whose cases go to a worker with a GPU, in chunks of their own
    shares : measurements that run a program, with how many workers it takes; each of their cases is a chunk
    """
    size = max(1, min(LARGEST_CHUNK, math.ceil(len(pending) / (CHUNKS_PER_WORKER * n_workers))))
    chosen, alone = set(on_gpu), shares or {}
    chunks = [
        Chunk(((name, case),), name in chosen, min(n_workers, alone[name])) for name, case in pending if name in alone
    ]
    for wants_gpu in (False, True):
        by_participant: dict[str, list[tuple[str, Case]]] = {}
        for measurement, case in pending:
            if measurement not in alone and (measurement in chosen) == wants_gpu:
                by_participant.setdefault(case.participant_id, []).append((measurement, case))
        filling: list[tuple[str, Case]] = []
        for cases in by_participant.values():
            filling += cases
            if len(filling) >= size:
                chunks.append(Chunk(tuple(filling), wants_gpu))
                filling = []
        if filling:
            chunks.append(Chunk(tuple(filling), wants_gpu))
    return chunks


def run_flow(run_id: str, measuring: Measuring, then: Callable[[], None]) -> None:
    """Run the cohort flow: measure what is pending, compare lesions and regions, then make tables and report.

    Parameters
    ----------
    run_id : names the flow run
    measuring : plan, client and progress
    then : makes and publishes the results; runs as a task of its own

    Raises
    ------
    StorageFailedError
        The output folder cannot be written.
    ClusterLostError
        The scheduler or all workers are gone.
    """
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    n_workers, resources = _workers(measuring.client)
    n_workers = measuring.n_workers or n_workers
    measuring.shares.n_free = n_workers
    at_work = [measuring]  # and, once the lesions are there, what compares them
    chunks: list[Chunk] = []

    @task(name="measure", cache_policy=NO_CACHE, persist_result=False, task_run_name="measure-{number}")
    def measure(number: int, n_cases: int) -> None:  # noqa: ARG001 - Prefect shows it
        _submit_and_wait(at_work[-1], chunks[number])

    @task(name="measure-alone", cache_policy=NO_CACHE, persist_result=False)
    def measure_alone(number: int, position: int) -> None:
        _submit_and_wait(at_work[-1], Chunk((chunks[number].cases[position],), chunks[number].wants_gpu))

    @task(name="tables-and-report", cache_policy=NO_CACHE, persist_result=False)
    def publish() -> None:
        then()

    @flow(
        name="aspects-cohort",
        flow_run_name=run_id,
        validate_parameters=False,
        persist_result=False,
        task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=n_workers)),
    )
    def cohort_run(n_participants: int, n_pending: int) -> None:  # noqa: ARG001 - Prefect shows them
        for name, stage in (("measure", lambda: measuring), ("compare", lambda: _comparing(measuring))):
            begun = time.perf_counter()
            try:
                if at_work[-1] is not (now := stage()):
                    at_work.append(now)
                chunks[:] = chunks_of(now.plan.pending, n_workers, _on_gpu(now, resources), _shares(now, n_workers))
                with now.progress.shown():
                    _measure_all(now, chunks, measure.submit, measure_alone.submit)
            except BaseException:
                measuring.stopped.set()  # before Prefect waits for the tasks at work
                raise
            measuring.seconds[name] = time.perf_counter() - begun
        publish()

    try:
        cohort_run(len(measuring.plan.cohort.participants), len(measuring.plan.pending))
    except Exception as error:
        stopping = next((one.stopping_error for one in at_work if one.stopping_error is not None), None)
        if stopping is not None:  # Prefect, too, fails in its own ways on a full disk
            raise stopping from error
        raise


def _comparing(measuring: Measuring) -> Measuring:
    """What compares the lesions and regions of what is now committed."""
    plan = measuring.plan
    if lesion_pairs(plan.cohort.config) or region_pairs(plan.cohort.config):  # otherwise nothing has to be looked up
        plan = with_records(plan, measuring.out)
    plan = overlap_plan(plan, measuring.out)
    return replace(
        measuring, plan=plan, progress=measuring.progress.following(len(plan.pending), "Comparing", "compared")
    )


def _workers(client: Client | None) -> tuple[int, frozenset[str]]:
    """How many workers there are, and the resources that any of them offers."""
    if client is None:
        return 1, frozenset()
    return max(1, len(client.scheduler_info(n_workers=-1)["workers"])), resources_offered(client)


def _on_gpu(measuring: Measuring, resources: frozenset[str]) -> list[str]:
    """Measurements that go to a worker with a GPU: those that want one, where one is offered and was not declined."""
    if GPU not in resources or not measuring.may_use_gpu:
        return []
    return [
        name
        for name, settings in measuring.plan.settings.items()
        if settings.limits.get("gpu", measuring.method_of(name).wants_gpu)
    ]


def _shares(measuring: Measuring, n_workers: int) -> dict[str, int]:
    """How many workers rest while a program is at work: as many cores and as much memory as it is declared to take."""
    whole_mib = memory_bytes() / 2**20
    return {
        name: max(settings.limits["cpus"], math.ceil(n_workers * settings.limits["memory_mib"] / whole_mib))
        for name, settings in measuring.plan.settings.items()
        if "cpus" in settings.limits
    }


def _measure_all(
    measuring: Measuring, chunks: list[Chunk], submit: Callable[..., Any], submit_alone: Callable[..., Any]
) -> None:
    """Measure every chunk; the cases of one that failed are measured alone, and one that fails alone is recorded."""
    from prefect.futures import wait

    futures = [submit(number, len(chunk.cases)) for number, chunk in enumerate(chunks)]
    wait(futures)
    broken = [number for number, future in enumerate(futures) if not future.state.is_completed()]
    _raise_if_stopped([futures[number].state for number in broken])
    places = [(number, position) for number in broken for position in range(len(chunks[number].cases))]
    alone = {place: submit_alone(*place) for place in places}
    wait(list(alone.values()))
    _raise_if_stopped([future.state for future in alone.values()])
    for place, future in alone.items():
        state = future.state
        if not state.is_completed() and _is_lost_worker(state):
            last = submit_alone(*place)  # nothing else is at work now
            wait([last])
            _raise_if_stopped([last.state])
            state = last.state
        if not state.is_completed():
            number, position = place
            _commit_failure(measuring, *chunks[number].cases[position], state)


def _submit_and_wait(measuring: Measuring, chunk: Chunk) -> None:
    """Submit a chunk to Dask and wait for it, or for the end of the run or of the cluster."""
    client = measuring.client
    if client is None:
        raise RuntimeError("a chunk must have workers, got no client")
    if measuring.stopped.is_set():
        raise StoppedError("the run is being stopped")
    with measuring.shares.taking(chunk.n_shares, measuring.stopped):
        if measuring.stopped.is_set():
            raise StoppedError("the run is being stopped")
        _compute(measuring, client, chunk)


def _compute(measuring: Measuring, client: Client, chunk: Chunk) -> None:
    """Let a worker compute a chunk."""
    from distributed.scheduler import KilledWorker

    future = client.submit(
        run_chunk,
        [(measurement, case.to_json()) for measurement, case in chunk.cases],
        {name: measuring.plan.settings[name].to_json() for name, _ in chunk.cases},
        str(measuring.out),
        pure=False,
        retries=0,
        resources={GPU: 1} if chunk.wants_gpu else None,
    )
    finished = threading.Event()
    future.add_done_callback(lambda _: finished.set())
    workerless_since: float | None = None
    while not finished.wait(POLL_S):
        if measuring.stopped.is_set():
            future.cancel()
            raise StoppedError("the run is being stopped")
        workerless_since = _check_cluster(measuring, client, workerless_since)
    if future.status == "error" and isinstance(error := future.exception(), KilledWorker):
        _raise_for_lost_worker(measuring, chunk, error)
    if future.status in ("cancelled", "lost"):
        _stop(measuring, ClusterLostError("the Dask scheduler must answer, got none: its connection was lost."))
    try:
        states = future.result()  # it is there: the one time it is asked for
    except StorageFailedError as error:
        _stop(measuring, error)
    measuring.progress.advance(len(states), sum(status == "failed" for _, _, status in states))


def _check_cluster(measuring: Measuring, client: Client, workerless_since: float | None) -> float | None:
    """Stop the run where the scheduler is gone or has had no worker for long; give back since when there is none."""
    if client.status not in ("running", "connecting"):
        _stop(measuring, ClusterLostError("the Dask scheduler must answer, got none: its connection was lost."))
    if client.status == "running" and client.scheduler_info(n_workers=1)["workers"]:
        return None
    now = time.monotonic()
    since = workerless_since or now
    if now - since > measuring.workerless_s:
        text = f"the Dask cluster must have workers, got none for {measuring.workerless_s:.0f} s."
        _stop(measuring, ClusterLostError(text))
    return since


def _stop(measuring: Measuring, error: StorageFailedError | ClusterLostError) -> None:
    """End the run with an error that no case has caused."""
    measuring.stopping_error = measuring.stopping_error or error
    measuring.stopped.set()
    raise error


def _raise_for_lost_worker(measuring: Measuring, chunk: Chunk, death: BaseException) -> None:
    """Tell the end of a worker by a case's own limit from any other."""
    for measurement, case in chunk.cases:
        key = step_key(case, measuring.plan.settings[measurement])
        where = ended_by_limit(measuring.out, case.participant_id, key)
        if where is not None and len(chunk.cases) == 1:
            raise CaseLimitError(where) from death
    raise death


def _raise_if_stopped(states: list[Any]) -> None:
    """Stop the run when the storage or the cluster, not a case, failed."""
    for state in states:
        error = state.result(raise_on_failure=False)
        if isinstance(error, (StorageFailedError, StoppedError, ClusterLostError)):
            raise error


def _is_lost_worker(state: Any) -> bool:
    """Whether a task failed with its worker and not by a limit of its case."""
    return type(state.result(raise_on_failure=False)).__name__ == "KilledWorker"


def _commit_failure(measuring: Measuring, measurement: str, case: Case, state: Any) -> None:
    """Record a case that could not be computed; it is due again in the next run."""
    error = state.result(raise_on_failure=False)
    settings, method = measuring.plan.settings[measurement], measuring.method_of(measurement)
    reason, detail = _failure_of(error, method.cpu_limit_of(settings.parameters))
    key = step_key(case, settings)
    findings = method.source.findings()
    commit(measuring.out, Record(case.participant_id, key, "failed", reason, detail, findings))
    measuring.progress.advance(1, 1)


def _failure_of(error: object, cpu_limit_s: float) -> tuple[str, str]:
    """Reason and detail of a failed case, in words."""
    if isinstance(error, CaseLimitError):
        return (
            "timed_out",
            f"the measurement must end within {cpu_limit_s:.0f} CPU seconds and never stand still for "
            f"{STANDSTILL_S:.0f} s, twice it did not: it was in {error}. Look at the file.",
        )
    if type(error).__name__ == "KilledWorker":
        return (
            "worker_died",
            "the measurement must not end its process, three times it did, the last time with nothing else at work: "
            "out of memory, or a crash in a library. Give workers more memory (--n-cpus 1), or look at the file.",
        )
    return "unexpected_error", f"{type(error).__name__}: {error}. Please report this with the file's header."
