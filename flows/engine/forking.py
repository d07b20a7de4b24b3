"""One process that has imported what local workers need, and of which each worker is a copy.

To import it takes seconds of a core, for every worker and for every one that is started again; here it is done once for
a command. It is the fork server of Python's ``multiprocessing``, which Dask's nannies ask for workers.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver

from flows.engine.cluster import START_METHOD
from flows.engine.limits import ONE_THREAD
from flows.engine.prefect_server import child_environment

#: What a worker of a run imports; one of a training, too, needs nearly all of it.
PRELOADED = ("distributed.nanny", "flows.engine.worker_start", "flows.run.steps")


def begin_to_import() -> None:
    """Start the process, if it does not run yet; it imports while this one goes on."""
    if START_METHOD != "forkserver":
        return
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    # libraries count threads when they are loaded; and no module of the user's working folder may be imported
    wanted = {**child_environment(), **ONE_THREAD, "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in wanted if os.environ.get(name) != wanted[name]}
    os.environ.update(wanted)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
