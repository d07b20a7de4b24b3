"""Run a cohort in which one case kills its worker and one hangs; prints every case's state. Started by a test.

python deadly_case.py COHORT OUT DEADLY HANGING
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin
from rich.console import Console

from flows.engine.cluster import connect
from flows.engine.prefect_server import embedded_server
from flows.engine.progress import CaseProgress
from flows.run import measuring as cohort
from flows.run.plan import make_plan, with_records
from flows.sources.interface import Case, StepSettings


class Deadly(WorkerPlugin):
    """Makes one participant fatal and one endless, on every worker, also on those started again."""

    def __init__(self, deadly: str, hanging: str) -> None:
        self.deadly, self.hanging = deadly, hanging

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask gives it by name
        from flows.run import steps

        examine = steps.examine

        def spoilt(case: Case, settings: StepSettings) -> Any:
            if case.participant_id == self.deadly:
                os._exit(1)
            if case.participant_id == self.hanging:
                time.sleep(3600)
            return examine(case, settings)

        steps.examine = spoilt


def main() -> None:
    folder, out, deadly, hanging = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    out.mkdir(parents=True)
    cohort.WALL_LIMIT_S = 15.0
    plan = make_plan(folder, out)
    with embedded_server(out / "prefect") as server, connect(n_cpus=2, address=None, work_dir=str(out)) as client:
        client.register_plugin(Deadly(deadly, hanging))
        server.wait_until_healthy()
        progress = CaseProgress(0, Console(quiet=True))
        shared = cohort.Measuring(plan, out, client, progress, threading.Event(), {})
        cohort.run_flow("deadly", shared, lambda: None)
    records = with_records(plan, out, with_failed=True).records
    print(json.dumps({key[0]: [record.status, record.reason] for key, record in records.items()}))


if __name__ == "__main__":
    main()
