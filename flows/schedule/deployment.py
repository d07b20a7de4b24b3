"""The process that waits for scheduled nights: ``python -m flows.schedule.deployment COHORT OUT CRON N_CPUS WORK``.

Imports Prefect at the top, so the process that starts it must have run ``prefect_server.set_environment``.
"""

from __future__ import annotations

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


class NightFailedError(RuntimeError):
    """A scheduled night ended with an exit code other than 0."""


@flow(name="aspects-nightly", persist_result=False)
def nightly_flow(cohort: str, out: str, n_cpus: int = 0, work_dir: str | None = None) -> State[None] | None:
    """Run one night; a night that finds another run at work ends as Busy."""
    end_with_parent(os.getppid())
    request = RunRequest(
        Path(cohort), Path(out), n_cpus=n_cpus, work_dir=Path(work_dir) if work_dir else None, command="aspects serve"
    )
    code = run_nightly(request, on_failure=None, on_change=None, console=Console(force_terminal=False))
    if code == EXIT_BUSY:
        return Completed(name="Busy", message="another run is at work in the output folder")
    if code:
        raise NightFailedError(f"the night ended with exit code {code}; see {out}/summary.json")
    return None


def main() -> None:
    """Wait for scheduled runs until told to stop."""
    cohort, out, cron, n_cpus, work_dir = sys.argv[1:]
    end_with_parent(os.getppid())
    nightly_flow.serve(
        name=Path(cohort).name,
        schedules=[Cron(cron, timezone=tzlocal.get_localzone_name())],
        parameters={"cohort": cohort, "out": out, "n_cpus": int(n_cpus), "work_dir": work_dir},
        pause_on_shutdown=False,  # a restart must not switch the schedule off
        print_starting_message=False,
        limit=1,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    main()
