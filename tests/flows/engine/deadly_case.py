"""Run a cohort in which one case kills its worker, one stands still and one computes for ever; prints all states.

python deadly_case.py COHORT OUT DEADLY STANDING ENDLESS
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin
from rich.console import Console

from flows.cases.case import Case, SharedWork, StepSettings
from flows.engine.cluster import connect
from flows.engine.prefect_server import embedded_server
from flows.engine.progress import CaseProgress
from flows.run import measuring as cohort
from flows.run.plan import make_plan, with_records


class Deadly(WorkerPlugin):
    """Makes one participant fatal, one stand still and one endless, on every worker, also on those started again."""

    def __init__(self, deadly: str, standing: str, endless: str) -> None:
        self.deadly, self.standing, self.endless = deadly, standing, endless

    def setup(self, worker: Any) -> None:
        from flows.run import limits, steps
        from flows.run.methods import STEP_METHODS

        examine = steps.examine
        limits.STANDSTILL_S = 12.0
        STEP_METHODS["mask"] = replace(STEP_METHODS["mask"], cpu_limit_s=8.0)

        def spoilt(case: Case, settings: StepSettings, shared: SharedWork | None = None) -> Any:
            if case.participant_id == self.deadly:
                os._exit(1)
            if case.participant_id == self.standing:
                time.sleep(3600)
            while case.participant_id == self.endless:
                pass
            return examine(case, settings, shared)

        steps.examine = spoilt


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    plan = make_plan(folder, out)
    with embedded_server(out / "prefect") as server, connect(n_cpus=2, address=None, work_dir=str(out)) as client:
        client.register_plugin(Deadly(*sys.argv[3:6]))
        server.wait_until_healthy()
        progress = CaseProgress(0, Console(quiet=True))
        shared = cohort.Measuring(plan, out, client, progress, threading.Event(), {})
        cohort.run_flow("deadly", shared, lambda: None)
    records = with_records(plan, out, with_failed=True).records
    print(json.dumps({key[0]: [record.status, record.reason, record.detail] for key, record in records.items()}))


if __name__ == "__main__":
    main()
