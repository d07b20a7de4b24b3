"""How an output folder grows over nights, without change and with one new patient a night, before and after pruning.

    python -m tests.benchmarks.growth_nights --work DIR [--patients 40] [--nights 30]

Every night measures synthetic patients with lesion masks and publishes tables, report and pages, as ``aspects run``
does, in one process without Prefect, whose database in ``OUT/work`` may be deleted between runs. Fewer nights than 30
are extrapolated: what a night adds grows with the patients, so that the sum follows a straight line through those
measured.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from numpy.polynomial import Polynomial
from rich.console import Console

from flows.commands.prune import prune
from flows.run.plan import make_plan, with_records
from flows.run.publishing import RunFacts, is_current, publish_results
from flows.run.running import new_run_id
from flows.run.steps import run_case
from tests.flows.conftest import BOXES, STUDY, TinyCohort

ALL_NIGHTS = 30
PARTS = ("results", "records", "derivatives")


def main() -> None:
    """Run the nights and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--nights", type=int, default=ALL_NIGHTS)
    parser.add_argument("--keep", type=int, default=7)
    asked = parser.parse_args()
    shutil.rmtree(asked.work, ignore_errors=True)
    cohort = TinyCohort(asked.work / "cohort", asked.work / "out")
    for number in range(1, asked.patients + asked.nights + 1):
        centre, half_width = BOXES[number % len(BOXES)]
        cohort.write_mask(number, centre, half_width)
    (cohort.folder / "cohort.toml").write_text(STUDY)
    _night(cohort, asked.patients)
    sizes = [sizes_mb(cohort.out)]
    print("night  patients", *PARTS, "MB", sep="\t", flush=True)
    _show(0, asked.patients, sizes[-1])
    _night(cohort, asked.patients)
    _show("same", asked.patients, sizes_mb(cohort.out))
    for night in range(1, asked.nights + 1):
        _night(cohort, asked.patients + night)
        sizes.append(sizes_mb(cohort.out))
        _show(night, asked.patients + night, sizes[-1])
    totals = np.array([sum(size.values()) for size in sizes])
    nights = np.arange(1, len(totals))
    a_night = Polynomial.fit(nights, np.diff(totals), deg=1 if len(nights) > 2 else 0)
    every = np.arange(1, ALL_NIGHTS + 1)
    whole = float(np.sum(a_night(every)))
    print(f"growth over {ALL_NIGHTS} nights with one new patient each: {whole:.1f} MB", flush=True)
    before = sum(sizes_mb(cohort.out).values())
    prune(cohort.out, asked.keep, Console(), is_agreed=True)
    after = sizes_mb(cohort.out)
    _show("pruned", asked.patients + asked.nights, after)
    kept = float(np.sum(a_night(every[-asked.keep :])))
    print(f"pruned after night {asked.nights}: {before:.1f} -> {sum(after.values()):.1f} MB", flush=True)
    print(f"of the growth over {ALL_NIGHTS} nights about {kept:.1f} MB stay with --keep {asked.keep}", flush=True)


def _night(cohort: TinyCohort, n: int) -> None:
    """One run."""
    cohort.write_tables(n)
    plan = make_plan(cohort.folder, cohort.out)
    if not plan.pending and is_current(plan, cohort.out):
        return
    for measurement, case in plan.pending:
        run_case(case, plan.settings[measurement], cohort.out)
    facts = RunFacts(new_run_id(), "2026-12-01T02:00:00+00:00", "aspects run")
    publish_results(with_records(plan, cohort.out, with_failed=True), cohort.out, facts)


def sizes_mb(out: Path) -> dict[str, float]:
    """MB of each part of an output folder; a file with several names counts once."""
    seen: set[int] = set()
    sizes = {}
    for part in PARTS:
        found = {path.lstat().st_ino: path.lstat().st_size for path in (out / part).rglob("*") if path.is_file()}
        sizes[part] = sum(size for inode, size in found.items() if inode not in seen) / 1e6
        seen |= set(found)
    return sizes


def _show(night: object, n: int, sizes: dict[str, float]) -> None:
    """One line."""
    print(night, n, *(f"{size:.2f}" for size in sizes.values()), f"{sum(sizes.values()):.2f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
