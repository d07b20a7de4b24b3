"""Cores and memory of a container or job, of both versions of control groups, not of the machine."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from flows.engine.limits import (
    LEAST_WORKER_BYTES,
    PARENT_BYTES,
    available_cpus,
    default_workers,
    memory_bytes,
    worker_memory_bytes,
)

GIB = 2**30


def tree(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """Write a tree of ``/proc`` and ``/sys`` as a process in a control group sees it."""
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"memory.max": f"{GIB}\n"}, GIB),  # version 2, seen from within a container
        ("0::/user/job\n", {"user/memory.max": f"{GIB}\n", "user/job/memory.max": "max\n"}, GIB),  # the group above
        ("0::/user/job\n", {"user/memory.max": "max\n", "user/job/memory.max": f"{GIB // 2}\n"}, GIB // 2),
        ("5:cpu,cpuacct:/x\n4:memory:/slurm/job\n", {"memory/slurm/job/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("4:memory:/docker/id\n", {"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),  # the host's path is not seen
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),  # version 1: no limit
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_memory_is_the_least_of_machine_group_and_groups_above(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None
) -> None:
    assert memory_bytes(tree(tmp_path, cgroup, files)) == (expected or psutil.virtual_memory().total)
    assert memory_bytes(tmp_path / "no-proc") == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/job\n", {"job/cpu.max": "100000 100000\n"}),
        ("0::/job\n", {"cpu.max": "50000 100000\n", "job/cpu.max": "max 100000\n"}),
        ("3:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000"}),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "90000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
    ],
)
def test_a_quota_of_one_core_gives_one_worker(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    assert available_cpus(tree(tmp_path, cgroup, files)) == 1


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    no_limit = tree(tmp_path, "0::/\n3:cpu:/\n", {"cpu.max": "max 100000\n", "cpu/cpu.cfs_quota_us": "-1\n"})
    assert available_cpus(no_limit) == available_cpus(tmp_path / "no-proc")


@pytest.mark.parametrize(("memory_gib", "n_workers"), [(1, 1), (2, 4), (4, 2), (24, 2), (512, 128)])
def test_the_workers_leave_the_parent_its_part(memory_gib: int, n_workers: int) -> None:
    memory = memory_gib * GIB
    held = worker_memory_bytes(memory, n_workers) * n_workers
    assert memory - held >= min(PARENT_BYTES, memory / 2)


def test_a_small_container_with_many_cores_gets_few_workers() -> None:
    assert default_workers(64, 4 * GIB) == 2  # (4 x .8 - 1) GiB feeds two workers of one GiB
    assert default_workers(64, GIB // 2) == 1
    assert default_workers(2, 24 * GIB) == 2
    assert worker_memory_bytes(4 * GIB, 2) >= LEAST_WORKER_BYTES


@pytest.mark.parametrize(
    ("n_cases", "expected"), [(0, 1), (1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3), (13, 4), (1000, 4), (None, 4)]
)
def test_a_few_cases_are_not_worth_a_worker_for_each_core(n_cases: int | None, expected: int) -> None:
    assert default_workers(4, 24 * GIB, n_cases) == expected
