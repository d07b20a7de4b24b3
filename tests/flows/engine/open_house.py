"""A Prefect server and a local cluster as a run has them, until standard input ends; says where they are. For tests.

python open_house.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from flows.engine.cluster import connect, resources_offered
from flows.engine.prefect_server import embedded_server
from flows.engine.reconcile import crash_stale_runs_on


def seen() -> dict[str, str]:
    """What a worker finds in its surroundings."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    facts = {name: os.environ.get(name, "unset") for name in names}
    return facts | {"oom": Path("/proc/self/oom_score_adj").read_text().strip()}


def main() -> None:
    folder = Path(sys.argv[1])
    with (
        embedded_server(folder / "prefect") as server,
        connect(n_cpus=1, address=None, work_dir=str(folder / "dask"), devices=("GPU-nowhere",)) as client,
    ):
        crash_stale_runs_on(server)
        facts = {
            "api": server.api_url,
            "port": server.port,
            "credentials": server.credentials,
            "scheduler": client.scheduler.address,
            "home": str(server.home),
            "offered": sorted(resources_offered(client)),
            "with_gpu": client.submit(seen, resources={"GPU": 1}, pure=False).result(),
            "everywhere": sorted(client.run(seen).values(), key=str),
            "allowed_failures": client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures),
        }
        print(json.dumps(facts), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
