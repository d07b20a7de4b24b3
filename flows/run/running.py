"""One run from start to end: lock, plan, compute what is due, make the results, clean up.

What happens, in order, and what it costs when nothing changed: the cohort is read and its files' digests are looked up;
if the latest results answer exactly this, the run ends there, without Prefect or Dask.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cohorts.store.records import remove_leftovers
from flows.engine import prefect_server
from flows.engine.cluster import WORKERLESS_S, ClusterError, connect, devices_for, resources_offered
from flows.engine.devices import GPU
from flows.engine.environment import private_folder
from flows.engine.lock import run_lock
from flows.engine.progress import CaseProgress
from flows.engine.reconcile import crash_stale_runs_on
from flows.run.latest import RESULTS, latest_folder, settle
from flows.run.methods import COMPARISONS
from flows.run.overlaps import overlap_plan
from flows.run.plan import Plan, make_plan, stale_causes, with_records
from flows.run.publishing import RunFacts, is_current, latest_summary, publish_results
from flows.run.request import RunRequest
from flows.run.storage import check_share, storage_failures
from flows.sources.code import code_version, keep_manifest
from flows.sources.registry import METHODS

if TYPE_CHECKING:
    from distributed import Client


@dataclass
class RunOutcome:
    """How a run ended."""

    run_folder: Path
    summary: dict[str, Any]
    is_unchanged: bool
    n_computed: int
    n_reused: int
    causes: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 if every case is committed, 1 if some failed."""
        return 1 if self.summary["counts"]["failed"] else 0


def new_run_id() -> str:
    """Run id that sorts by time: ``YYYYMMDD-HHMMSS_xxxxxxxx``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}_{uuid.uuid4().hex[:8]}"


def run_cohort(request: RunRequest, console: Console) -> RunOutcome:
    """Run a cohort; resumes by itself, and does nothing if nothing changed.

    Raises
    ------
    CohortError
        The study must be fixed first.
    LockedError
        Another run is at work in the output folder.
    StorageFailedError, ClusterError, ServerFailedError, NothingMeasuredError, RefusedReportError
        As named.
    """
    started = time.perf_counter()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    with storage_failures(request.out, request.work), run_lock(request.out, request.command) as dead_owner:
        if dead_owner is not None:
            console.print(f"Taking over from {dead_owner.text}, which ended without a word.", highlight=False)
        plan = make_plan(request.cohort, request.out, labels=request.labels, commands=request.commands)
        for line in plan.chosen_lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        for settings in plan.settings.values():
            keep_manifest(request.out, code_version(METHODS[settings.kind]))
        for method in COMPARISONS:
            keep_manifest(request.out, code_version(method))
        causes = dict(stale_causes(plan, request.out))
        seconds = {"plan": time.perf_counter() - started}
        n_due, n_cases = len(plan.pending), len(plan.cases)
        if not n_due and not request.labels and is_current(plan, request.out):
            if dead_owner is not None:
                with prefect_started(request) as wait:
                    wait()  # what the dead owner left unfinished is set to Crashed
            summary = latest_summary(request.out) or {}
            seconds["total"] = time.perf_counter() - started
            folder = latest_folder(request.out) or request.out / RESULTS
            return RunOutcome(folder, summary, True, 0, n_cases, {}, seconds)
        check_share(request.out, request.work, plan)
        remove_leftovers(request.out)
        if moved := settle(request.out / RESULTS):
            console.print(moved, highlight=False, markup=False, soft_wrap=True)
        console.print(_due_text(n_cases, n_due, causes), highlight=False)
        due = frozenset(key for key in plan.cases if key not in plan.records)
        facts = RunFacts(new_run_id(), started_at, request.command, is_subset=bool(request.labels), computed=due)
        published: list[tuple[Path, dict[str, Any]]] = []

        def publish() -> None:
            published.append(_publish(plan, request, facts, seconds))

        _under_prefect(plan, request, facts, console, seconds, publish)
        folder, summary = published[0]
    seconds["total"] = time.perf_counter() - started
    return RunOutcome(folder, summary, False, n_due, n_cases - n_due, causes, seconds)


def _under_prefect(
    plan: Plan,
    request: RunRequest,
    facts: RunFacts,
    console: Console,
    seconds: dict[str, float],
    publish: Callable[[], None],
) -> None:
    """Start Prefect, and Dask where anything is due; run the flow, and leave no process behind."""
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        wait = stack.enter_context(prefect_started(request))
        n_due = len(plan.pending) or len(overlap_plan(plan, request.out).pending)
        client = stack.enter_context(workers_connected(request, n_due)) if n_due else None
        from flows.run.measuring import Measuring, run_flow

        _import_ahead()
        wait()
        seconds["start"] = time.perf_counter() - begun
        progress = CaseProgress(len(plan.pending), console)
        shared = Measuring(
            plan,
            request.out.resolve(),
            client,
            progress,
            threading.Event(),
            seconds,
            may_use_gpu=request.gpu != "none",
            n_workers=request.profile.n_workers if request.profile else 0,
            workerless_s=request.profile.queue_limit_s if request.profile else WORKERLESS_S,
        )
        run_flow(facts.run_id, shared, publish)


def _import_ahead() -> None:
    """Import what the results need, while the server starts on another core."""
    importlib.import_module("flows.run.pages")
    importlib.import_module("reports.document.document")
    importlib.import_module("reports.lint.lint")
    importlib.import_module("reports.statistics.analysis")


@contextlib.contextmanager
def workers_connected(request: RunRequest, n_cases: int | None = None) -> Iterator[Client]:
    """Connect to the workers of this run; those beyond this machine are looked at before they take a case.

    Without ``n_cases`` local ones are as many as may be.
    """
    is_elsewhere = request.dask_address is not None or request.profile is not None
    devices = () if is_elsewhere else devices_for(request.gpu)
    request.work.mkdir(parents=True, exist_ok=True)
    folder = private_folder(request.work / "dask")
    try:
        with (
            contextlib.ExitStack() as stack,
            connect(
                n_cpus=request.workers_for(n_cases),
                address=request.dask_address,
                work_dir=str(folder),
                allow_insecure=request.allow_insecure,
                devices=devices,
                tls=request.tls,
                profile=request.profile,
                n_cases=n_cases or 1,
            ) as client,
        ):
            if is_elsewhere:
                from flows.engine.worker_check import workers_checked

                stack.enter_context(workers_checked(client, (request.out, folder)))
            if request.gpu == "require" and GPU not in resources_offered(client):
                raise ClusterError(
                    f"--gpu require must find a worker with --resources GPU=1 at {request.workers_text}, got none. "
                    "Start one there, or use --gpu try."
                )
            yield client
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(
    plan: Plan, request: RunRequest, facts: RunFacts, seconds: dict[str, float]
) -> tuple[Path, dict[str, Any]]:
    """Make the results of what is now committed."""
    begun = time.perf_counter()
    folder, summary = publish_results(with_records(plan, request.out, with_failed=True), request.out, facts)
    seconds["results"] = time.perf_counter() - begun
    return folder, summary


@contextlib.contextmanager
def prefect_started(request: RunRequest) -> Iterator[Callable[[], object]]:
    """Run a Prefect server of our own, and give what blocks until it answers; it sets to Crashed what is unfinished.

    A scheduled night is on the server of ``serve`` already.
    """
    if request.is_scheduled:
        yield lambda: None
        return
    request.work.mkdir(parents=True, exist_ok=True)
    with prefect_server.embedded_server(request.work / "prefect") as server:
        yield lambda: crash_stale_runs_on(server)


def _due_text(n_cases: int, n_due: int, causes: dict[str, int]) -> str:
    """What the run will do and why, in one line."""
    if not n_due:
        return f"All {n_cases} measurements are done already; making tables and report."
    why = ", ".join(f"{count} {cause if cause == 'new' else cause + ' changed'}" for cause, count in causes.items())
    done = n_cases - n_due
    return f"{n_due} of {n_cases} measurements to make ({why})" + (f"; {done} are done already." if done else ".")
