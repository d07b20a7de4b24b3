"""What this process may use: cores and memory, of the machine or of the container or job that it runs in.

Control groups (cgroups, version 1 and 2) limit a process by its own group and by every group above it; schedulers of
clusters and container engines use them, and the machine's own size says nothing there.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from threadpoolctl import threadpool_limits

#: Share of the memory that this command, its server and its workers may hold together.
MEMORY_SHARE = 0.8
#: For this command and its server; tables and report of 10,000 patients take less.
PARENT_BYTES = 2**30
#: No default starts more workers than can have this much each.
LEAST_WORKER_BYTES = 2**30
#: No default starts more workers than have so many cases each: a start takes 6 CPU s, most cases less.
CASES_PER_WORKER = 4
#: For processes of which one runs on each core; libraries read it when they are loaded.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
#: What the kernel adds to a process's claim to be ended first where memory runs out (0 to 1000).
WORKER_OOM_SCORE, SERVER_OOM_SCORE = 800, 300


def available_cpus(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, and the quotas of its control groups."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [
        *(text.split() for text in _values(root, "", "cpu.max")),
        *zip(_values(root, "cpu", "cpu.cfs_quota_us"), _values(root, "cpu", "cpu.cfs_period_us"), strict=False),
    ]
    for quota, period in quotas:
        if quota.isdigit():  # "max" and -1 are no limit
            allowed = min(allowed, max(1, math.ceil(int(quota) / int(period))))
    return allowed


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process and its children may hold together: the machine's, or less by control group."""
    limits = [*_values(root, "", "memory.max"), *_values(root, "memory", "memory.limit_in_bytes")]
    return min([int(psutil.virtual_memory().total), *(int(text) for text in limits if text.isdigit())])


def worker_memory_bytes(memory: int, n_workers: int) -> int:
    """Limit of each of ``n_workers``, so that this command itself keeps what it needs of ``memory`` bytes."""
    return int(max(memory * MEMORY_SHARE - PARENT_BYTES, memory * MEMORY_SHARE / 2) / n_workers)


def default_workers(n_cpus: int, memory: int, n_cases: int | None = None) -> int:
    """One worker per core, or fewer where ``memory`` bytes or ``n_cases``, if known, do not feed so many."""
    worth = n_cpus if n_cases is None else math.ceil(n_cases / CASES_PER_WORKER)
    return max(1, min(n_cpus, worth, worker_memory_bytes(memory, 1) // LEAST_WORKER_BYTES))


def compute_with_one_thread() -> None:
    """Let this process, one of several, compute with one thread, by libraries that are loaded and that are not yet."""
    os.environ.update(ONE_THREAD)
    threadpool_limits(1)


def be_ended_first(score: int) -> None:
    """Let the kernel end this process before its parent where memory runs out."""
    with contextlib.suppress(OSError):  # not on Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text(str(score))


def _values(root: Path, controller: str, name: str) -> Iterator[str]:
    """Give a file's text in this process's control group and in every group above it, as far as they can be seen.

    Parameters
    ----------
    root : folder that holds ``proc`` and ``sys``
    controller : of version 1; empty for version 2
    name : of the file
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controllers if controller else "")
        if controller and not top.exists():
            top = root / "sys/fs/cgroup" / controller
        own = top / group.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(top):
                with contextlib.suppress(OSError):
                    yield (folder / name).read_text().strip()
