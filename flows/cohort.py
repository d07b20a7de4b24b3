"""The Prefect flow of a run: Prefect decides (states, retries), Dask computes, committed records are the truth.

A Prefect task is thin: it submits one chunk of cases to Dask and waits. A chunk whose worker died is tried again; one
that kills its worker again is split into single cases, and a case that does so alone ends as ``failed``. Nothing that
identifies a participant is a Prefect parameter.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cohorts.records import Record, commit
from flows.plan import Plan
from flows.progress import CaseProgress
from flows.steps import Case, MeasureSettings, StorageFailedError, measure_key, run_measure_chunk

if TYPE_CHECKING:
    from distributed import Client

#: Chunks per worker: enough to balance the load, few enough that a task's 13 ms do not matter (MEASURED 5).
CHUNKS_PER_WORKER = 8
LARGEST_CHUNK = 50
#: No mask takes longer than this to measure.
WALL_LIMIT_S = 120.0
POLL_S = 0.5


class StoppedError(RuntimeError):
    """The run is being stopped; what is committed stays."""


class StepTimedOutError(RuntimeError):
    """A chunk took longer than its wall limit."""


@dataclass(frozen=True)
class Chunk:
    """Some cases of one modality, computed by one Prefect task."""

    modality: str
    cases: tuple[Case, ...]


@dataclass
class Measuring:
    """What the flow's tasks share."""

    plan: Plan
    out: Path
    client: Client | None  # None where nothing is due
    progress: CaseProgress
    stopped: threading.Event
    seconds: dict[str, float]


def chunks_of(pending: list[tuple[str, Case]], n_workers: int) -> list[Chunk]:
    """Split pending cases into chunks of one modality each."""
    size = max(1, min(LARGEST_CHUNK, math.ceil(len(pending) / (CHUNKS_PER_WORKER * n_workers))))
    by_modality: dict[str, list[Case]] = {}
    for modality, case in pending:
        by_modality.setdefault(modality, []).append(case)
    return [
        Chunk(modality, tuple(cases[start : start + size]))
        for modality, cases in by_modality.items()
        for start in range(0, len(cases), size)
    ]


def run_flow(run_id: str, measuring: Measuring, then: Callable[[], None]) -> None:
    """Run the cohort flow: measure what is pending, then make tables and report.

    Parameters
    ----------
    run_id : names the flow run
    measuring : plan, client and progress
    then : makes and publishes the results; runs as a task of its own

    Raises
    ------
    StorageFailedError
        The output folder cannot be written.
    """
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.futures import wait
    from prefect.task_runners import ThreadPoolTaskRunner

    n_workers = len(measuring.client.scheduler_info(n_workers=-1)["workers"]) if measuring.client else 1
    chunks = chunks_of(measuring.plan.pending, n_workers)

    @task(name="measure", retries=1, cache_policy=NO_CACHE, persist_result=False, task_run_name="measure-{number}")
    def measure(number: int, n_cases: int) -> None:
        _submit_and_wait(measuring, chunks[number])

    @task(name="measure-alone", retries=1, cache_policy=NO_CACHE, persist_result=False)
    def measure_alone(number: int, position: int) -> None:
        _submit_and_wait(measuring, Chunk(chunks[number].modality, (chunks[number].cases[position],)))

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
    def cohort_run(n_participants: int, n_pending: int) -> None:
        begun = time.perf_counter()
        with measuring.progress.shown():
            futures = [measure.submit(number, len(chunk.cases)) for number, chunk in enumerate(chunks)]
            wait(futures)
            broken = [number for number, future in enumerate(futures) if not future.state.is_completed()]
            _raise_if_storage_failed([futures[number].state for number in broken])
            alone = {
                (number, position): measure_alone.submit(number, position)
                for number in broken
                for position in range(len(chunks[number].cases))
            }
            wait(list(alone.values()))
            _raise_if_storage_failed([future.state for future in alone.values()])
            for (number, position), future in alone.items():
                if not future.state.is_completed():
                    _commit_failure(measuring, chunks[number].modality, chunks[number].cases[position], future.state)
        measuring.seconds["measure"] = time.perf_counter() - begun
        publish()

    try:
        cohort_run(len(measuring.plan.cohort.participants), len(measuring.plan.pending))
    except BaseException:
        measuring.stopped.set()
        raise


def _submit_and_wait(measuring: Measuring, chunk: Chunk) -> None:
    """Submit a chunk to Dask and wait for it, its wall limit or the end of the run."""
    client = measuring.client
    if client is None:
        raise RuntimeError("a chunk must have workers, got no client")
    settings = [asdict(reference) for reference in measuring.plan.settings[chunk.modality].maps]
    future = client.submit(
        run_measure_chunk,
        [asdict(case) for case in chunk.cases],
        settings,
        str(measuring.out),
        pure=False,
        retries=0,
    )
    deadline = time.monotonic() + WALL_LIMIT_S * len(chunk.cases)
    while True:
        if measuring.stopped.is_set():
            future.cancel()
            raise StoppedError("the run is being stopped")
        try:
            states = future.result(timeout=POLL_S)
            break
        except TimeoutError:
            if time.monotonic() > deadline:
                _restart_worker_of(client, future)
                raise StepTimedOutError(
                    f"{len(chunk.cases)} cases must take at most {WALL_LIMIT_S:.0f} s each. The worker was restarted."
                ) from None
    measuring.progress.advance(len(states), sum(status == "failed" for _, status in states))


def _restart_worker_of(client: Client, future: Any) -> None:
    """Restart the worker that hangs on ``future``; it alone."""
    workers = [address for address, keys in client.processing().items() if future.key in keys]
    future.cancel()
    client.restart_workers(workers, raise_for_error=False)


def _raise_if_storage_failed(states: list[Any]) -> None:
    """Stop the run when the storage, not a case, failed."""
    for state in states:
        error = state.result(raise_on_failure=False)
        if isinstance(error, (StorageFailedError, StoppedError)):
            raise error


def _commit_failure(measuring: Measuring, modality: str, case: Case, state: Any) -> None:
    """Record a case that could not be computed; it is due again in the next run."""
    error = state.result(raise_on_failure=False)
    settings: MeasureSettings = measuring.plan.settings[modality]
    reason, detail = _failure_of(error)
    commit(
        measuring.out,
        Record(case.participant_id, measure_key(case, settings), "failed", reason, detail, payload={}),
    )
    measuring.progress.advance(1, 1)


def _failure_of(error: object) -> tuple[str, str]:
    """Reason and detail of a failed case, in words."""
    if isinstance(error, StepTimedOutError):
        return "timed_out", f"the measurement must end within {WALL_LIMIT_S:.0f} s, twice it did not. Look at the file."
    if type(error).__name__ == "KilledWorker":
        return (
            "worker_died",
            "the measurement must not end its process, twice it did: out of memory, or a crash in a library. "
            "Give workers more memory (--n-cpus 1), or look at the file.",
        )
    return "unexpected_error", f"{type(error).__name__}: {error}. Please report this with the file's header."
