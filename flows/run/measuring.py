"""The Prefect flow of a run: Prefect decides (states, retries), Dask computes, committed records are the truth.

A Prefect task is thin: it submits one chunk of cases to Dask and waits. Of a chunk that failed, as by the death of its
worker, every case is tried once more, alone; a case that fails alone ends as ``failed``. Nothing that identifies a
participant is a Prefect parameter.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cohorts.store.records import Record, commit
from flows.engine.progress import CaseProgress
from flows.run.plan import Plan
from flows.run.steps import StorageFailedError, run_chunk
from flows.sources.interface import Case, StepSettings, step_key

if TYPE_CHECKING:
    from distributed import Client

#: Chunks per worker: enough to balance the load, few enough that a task's 13 ms do not matter (MEASURED 5).
CHUNKS_PER_WORKER = 8
LARGEST_CHUNK = 50
#: No case takes longer than this to measure.
WALL_LIMIT_S = 120.0
POLL_S = 0.5


class StoppedError(RuntimeError):
    """The run is being stopped; what is committed stays."""


class StepTimedOutError(RuntimeError):
    """A case took longer than its wall limit, and its worker ended itself."""


@dataclass(frozen=True)
class Chunk:
    """Some cases of one measurement, computed by one Prefect task."""

    measurement: str
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
    storage_error: StorageFailedError | None = None


def chunks_of(pending: list[tuple[str, Case]], n_workers: int) -> list[Chunk]:
    """Split pending cases into chunks of one measurement each."""
    size = max(1, min(LARGEST_CHUNK, math.ceil(len(pending) / (CHUNKS_PER_WORKER * n_workers))))
    by_measurement: dict[str, list[Case]] = {}
    for measurement, case in pending:
        by_measurement.setdefault(measurement, []).append(case)
    return [
        Chunk(measurement, tuple(cases[start : start + size]))
        for measurement, cases in by_measurement.items()
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
    from prefect.task_runners import ThreadPoolTaskRunner

    n_workers = len(measuring.client.scheduler_info(n_workers=-1)["workers"]) if measuring.client else 1
    chunks = chunks_of(measuring.plan.pending, n_workers)

    @task(name="measure", cache_policy=NO_CACHE, persist_result=False, task_run_name="measure-{number}")
    def measure(number: int, n_cases: int) -> None:  # noqa: ARG001 - Prefect shows it
        _submit_and_wait(measuring, chunks[number])

    @task(name="measure-alone", cache_policy=NO_CACHE, persist_result=False)
    def measure_alone(number: int, position: int) -> None:
        _submit_and_wait(measuring, Chunk(chunks[number].measurement, (chunks[number].cases[position],)))

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
        begun = time.perf_counter()
        try:
            with measuring.progress.shown():
                _measure_all(measuring, chunks, measure.submit, measure_alone.submit)
        except BaseException:
            measuring.stopped.set()  # before Prefect waits for the tasks at work
            raise
        measuring.seconds["measure"] = time.perf_counter() - begun
        publish()

    try:
        cohort_run(len(measuring.plan.cohort.participants), len(measuring.plan.pending))
    except Exception as error:
        if measuring.storage_error is not None:  # Prefect, too, fails in its own ways on a full disk
            raise measuring.storage_error from error
        raise


def _measure_all(
    measuring: Measuring, chunks: list[Chunk], submit: Callable[..., Any], submit_alone: Callable[..., Any]
) -> None:
    """Measure every chunk; the cases of one that failed are measured alone, and one that fails alone is recorded."""
    from prefect.futures import wait

    futures = [submit(number, len(chunk.cases)) for number, chunk in enumerate(chunks)]
    wait(futures)
    broken = [number for number, future in enumerate(futures) if not future.state.is_completed()]
    _raise_if_storage_failed([futures[number].state for number in broken])
    alone = {
        (number, position): submit_alone(number, position)
        for number in broken
        for position in range(len(chunks[number].cases))
    }
    wait(list(alone.values()))
    _raise_if_storage_failed([future.state for future in alone.values()])
    for (number, position), future in alone.items():
        if not future.state.is_completed():
            _commit_failure(measuring, chunks[number].measurement, chunks[number].cases[position], future.state)


def _submit_and_wait(measuring: Measuring, chunk: Chunk) -> None:
    """Submit a chunk to Dask and wait for it, or for the end of the run."""
    from distributed.scheduler import KilledWorker

    client = measuring.client
    if client is None:
        raise RuntimeError("a chunk must have workers, got no client")
    future = client.submit(
        run_chunk,
        [case.to_json() for case in chunk.cases],
        measuring.plan.settings[chunk.measurement].to_json(),
        str(measuring.out),
        WALL_LIMIT_S,
        pure=False,
        retries=0,
    )
    begun = time.monotonic()
    states: list[tuple[str, str]] | None = None
    while states is None:
        if measuring.stopped.is_set():
            future.cancel()
            raise StoppedError("the run is being stopped")
        try:
            with contextlib.suppress(TimeoutError):
                states = future.result(timeout=POLL_S)
        except StorageFailedError as error:
            measuring.storage_error = error
            measuring.stopped.set()
            raise
        except KilledWorker as death:
            if len(chunk.cases) == 1 and time.monotonic() - begun >= WALL_LIMIT_S:
                raise StepTimedOutError(f"a case must take at most {WALL_LIMIT_S:.0f} s") from death
            raise
    measuring.progress.advance(len(states), sum(status == "failed" for _, status in states))


def _raise_if_storage_failed(states: list[Any]) -> None:
    """Stop the run when the storage, not a case, failed."""
    for state in states:
        error = state.result(raise_on_failure=False)
        if isinstance(error, (StorageFailedError, StoppedError)):
            raise error


def _commit_failure(measuring: Measuring, measurement: str, case: Case, state: Any) -> None:
    """Record a case that could not be computed; it is due again in the next run."""
    error = state.result(raise_on_failure=False)
    settings: StepSettings = measuring.plan.settings[measurement]
    reason, detail = _failure_of(error)
    commit(
        measuring.out,
        Record(case.participant_id, step_key(case, settings), "failed", reason, detail, payload={}),
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
