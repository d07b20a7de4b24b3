"""Whether the task at work on this thread of a Dask worker is still wanted: Dask itself cannot stop what runs."""

from __future__ import annotations

import sys


def is_cancelled() -> bool:
    """Whether this task was cancelled, as where the run stops; False outside of a worker."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return False
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"
