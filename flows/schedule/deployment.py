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

from flows.engine.prefect_server import end_with_parent
from flows.run.running import RunRequest
from flows.schedule.nightly import EXIT_BUSY, run_nightly

NIGHT = "ASPECTS_NIGHT"


class NightFailedError(RuntimeError):
    """A scheduled night ended with an exit code other than 0."""


@flow(name="aspects-nightly", persist_result=False)
def nightly_flow() -> State[None] | None:
    """Run one night; a night that finds another run at work ends as Busy."""
    end_with_parent(os.getppid())
    night = json.loads(os.environ[NIGHT])
    request = RunRequest(
        cohort=Path(night["cohort"]),
        out=Path(night["out"]),
        n_cpus=night["n_cpus"],
        work_dir=Path(night["work_dir"]),
        gpu=night["gpu"],
        is_scheduled=True,
        command="aspects serve",
    )
    code = run_nightly(request, on_failure=None, on_change=None, console=Console(force_terminal=False))
    if code == EXIT_BUSY:
        return Completed(name="Busy", message="another run is at work in the output folder")
    if code:
        raise NightFailedError(f"the night ended with exit code {code}; see {request.out}/summary.json")
    return None


def main() -> None:
    """Wait for scheduled runs until told to stop."""
    night, cron = sys.argv[1:]
    end_with_parent(os.getppid())
    os.environ[NIGHT] = night
    nightly_flow.serve(
        name=Path(json.loads(night)["cohort"]).name,
        schedules=[Cron(cron, timezone=tzlocal.get_localzone_name())],
        pause_on_shutdown=False,  # a restart must not switch the schedule off
        print_starting_message=False,
        limit=1,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    main()
