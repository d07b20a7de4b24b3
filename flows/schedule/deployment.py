"""The process that waits for scheduled nights: ``python -m flows.schedule.deployment NIGHT CRON``.

NIGHT is a JSON object of what each night runs. It reaches the nights by the environment, never as parameters of a flow
run: nobody who may ask Prefect for a run can turn it to other folders. Imports Prefect at the top, so the process that
starts it must be one with a ``PrefectServer``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tzlocal
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.schedules import Cron
from prefect.states import Completed
from prefect.types.entrypoint import EntrypointType
from rich.console import Console

from flows.commands.failures import EXIT_LOCKED
from flows.engine.prefect_server import end_with_parent
from flows.run.request import RunRequest
from flows.schedule.hooks import Hooks
from flows.schedule.nightly import night

NIGHT = "ASPECTS_NIGHT"


class NightFailedError(RuntimeError):
    """A scheduled night ended with an exit code other than 0."""


@flow(name="aspects-nightly", persist_result=False)
def nightly_flow() -> State[None] | None:
    """Run one night; a night that finds another run at work ends as Busy."""
    end_with_parent(os.getppid())
    asked = json.loads(os.environ[NIGHT])
    request = RunRequest(
        cohort=Path(asked["cohort"]),
        out=Path(asked["out"]),
        n_cpus=asked["n_cpus"],
        work_dir=Path(asked["work_dir"]),
        gpu=asked["gpu"],
        allow_commands=asked["allow_commands"],
        is_scheduled=True,
        command="aspects serve",
    )
    log = asked["log"]
    hooks = Hooks(asked["on_failure"], asked["on_change"], asked["busy_limit_h"], None if log is None else Path(log))
    ended = night(request, hooks, Console(force_terminal=False))
    if ended.exit_code == EXIT_LOCKED:
        return Completed(name="Busy", message="another run is at work in the output folder")
    if ended.exit_code:
        raise NightFailedError(f"the night ended with exit code {ended.exit_code}; see {request.out}/summary.json")
    return None


def main() -> None:
    """Wait for scheduled runs until told to stop."""
    asked, cron = sys.argv[1:]
    end_with_parent(os.getppid())
    os.environ[NIGHT] = asked
    nightly_flow.serve(
        name=Path(json.loads(asked)["cohort"]).name,
        schedules=[Cron(cron, timezone=tzlocal.get_localzone_name())],
        pause_on_shutdown=False,  # a restart must not switch the schedule off
        print_starting_message=False,
        limit=1,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    main()
