"""What a start costs: a run of three masks from nothing, the same again, and commands that only look.

    python -m tests.benchmarks.bench_start [CHECKOUT ...] [--turns 3] [--cpus 2] [--only run]

Each CHECKOUT is a folder with the program, such as a worktree of an older commit; without one it is this one. They are
measured in turns, so that what else the machine does meets all alike. Seconds are of the whole command with every
process that it started: on the clock, and of CPU time (user and system). Printed are medians, and ratios to the first.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.flows.conftest import BOXES, STUDY, TinyCohort

N_MASKS = 3
#: Linux's prctl: processes whose parent ended are waited for by this one, and so counted.
PR_SET_CHILD_SUBREAPER = 36
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT], metavar="CHECKOUT")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=0, help="0: as the command chooses")
    parser.add_argument("--only", nargs="*", default=[], metavar="COMMAND", help="such as run, again, --help, plan")
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    found: dict[str, dict[Path, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        cohort = _cohort(Path(folder))
        for _ in range(asked.turns):
            for checkout in asked.checkouts:
                shutil.rmtree(cohort.out, ignore_errors=True)
                for name, arguments in _commands(cohort, asked.cpus).items():
                    if not asked.only or name in asked.only:
                        found[name][checkout].append(_seconds(checkout.resolve(), arguments))
    print("command", "checkout", "wall s", "CPU s", "ratio of wall", "ratio of CPU", sep="\t")
    for name, of in found.items():
        first: tuple[float, float] | None = None
        for checkout, turns in of.items():
            wall, cpu = (statistics.median(values) for values in zip(*turns, strict=True))
            first = first or (wall, cpu)
            ratios = f"{wall / first[0]:.2f}\t{cpu / first[1]:.2f}"
            print(f"{name}\t{checkout}\t{wall:.2f}\t{cpu:.2f}\t{ratios}", flush=True)


def _cohort(folder: Path) -> TinyCohort:
    """Three participants with a mask each."""
    cohort = TinyCohort(folder / "cohort", folder / "out")
    for number, (centre_mm, half_width_mm) in enumerate(BOXES[:N_MASKS], start=1):
        cohort.write_mask(number, centre_mm, half_width_mm)
    cohort.write_tables(N_MASKS)
    (cohort.folder / "cohort.toml").write_text(STUDY)
    return cohort


def _commands(cohort: TinyCohort, n_cpus: int) -> dict[str, list[str]]:
    """What is measured, in this order: the first run makes what the others look at."""
    cohort_folder, out = str(cohort.folder), str(cohort.out)
    run = ["run", cohort_folder, out, "--n-cpus", str(n_cpus)]
    return {
        "run": run,
        "again": run,
        "--help": ["--help"],
        "sources": ["sources"],
        "check": ["check", cohort_folder],
        "dry run": [*run, "--dry-run"],
        "status": ["status", cohort_folder, out],
    }


def _seconds(checkout: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds of one command: on the clock, and of CPU with every process that it started."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "flows", *arguments], cwd=checkout, env=environment, capture_output=True, text=True
    )
    wall = time.perf_counter() - begun
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"aspects {' '.join(arguments)} must end, got {done.returncode}:\n{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
