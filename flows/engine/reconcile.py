"""Prefect runs whose owner died: they are set to Crashed when the next run starts, so that nothing stays RUNNING."""

from __future__ import annotations

from flows.engine.prefect_server import PrefectServer, read_no_settings_files

PAGE = 200  # the server's own limit; one run leaves at most some ten
FLOWS = ["aspects-cohort", "aspects-nightly", "aspects-training"]


def crash_stale_runs_on(server: PrefectServer) -> int:
    """Wait for a server of ours, and set what dead runs left unfinished there to Crashed.

    A database that the server opens but cannot use, as one of another version, is set aside.

    Returns
    -------
    How many flow runs were set.
    """
    read_no_settings_files()
    import prefect.client.orchestration  # noqa: F401  while the server starts
    from prefect.exceptions import PrefectHTTPStatusError

    server.wait_until_healthy()

    try:
        return crash_stale_runs()
    except PrefectHTTPStatusError:
        server.start_afresh()
        return 0


def crash_stale_runs() -> int:
    """Set every unfinished run of our flows to Crashed; the run lock guarantees that none of them is alive.

    Returns
    -------
    How many flow runs were set.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        TaskRunFilter,
        TaskRunFilterState,
        TaskRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
    from prefect.states import Crashed

    unfinished = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    reason = "its process ended without a word; the next run takes over"
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    n_set = 0
    with get_client(sync_client=True) as client:
        while task_runs := client.read_task_runs(
            flow_filter=ours,
            task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished))),
            sort=TaskRunSort.ID_DESC,
            limit=PAGE,
        ):
            for task_run in task_runs:
                client.set_task_run_state(task_run.id, Crashed(message=reason), force=True)
        while flow_runs := client.read_flow_runs(
            flow_filter=ours,
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished))),
            sort=FlowRunSort.ID_DESC,
            limit=PAGE,
        ):
            for flow_run in flow_runs:
                client.set_flow_run_state(flow_run.id, Crashed(message=reason), force=True)
            n_set += len(flow_runs)
    return n_set
