"""How an output folder grows over nights, without change and with one new patient a night, before and after pruning.

    python -m tests.benchmarks.growth_nights --work DIR [--patients 40] [--nights 30]

Every night is a real ``aspects run`` of synthetic patients with lesion masks. Fewer nights than 30 are extrapolated:
what a night adds grows with the patients, so that the sum is taken from a straight line through the nights measured.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.polynomial import Polynomial

from tests.flows.conftest import BOXES, STUDY, TinyCohort

ALL_NIGHTS = 30
PARTS = ("results", "records", "derivatives", "work")


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
    sizes = [_sizes(cohort.out)]
    print("night  patients", *PARTS, "MB", sep="\t", flush=True)
    _show(0, asked.patients, sizes[-1])
    _night(cohort, asked.patients)
    _show("same", asked.patients, _sizes(cohort.out))
    for night in range(1, asked.nights + 1):
        _night(cohort, asked.patients + night)
        sizes.append(_sizes(cohort.out))
        _show(night, asked.patients + night, sizes[-1])
    totals = np.array([sum(size.values()) for size in sizes])
    nights = np.arange(1, len(totals))
    a_night = Polynomial.fit(nights, np.diff(totals), deg=1 if len(nights) > 2 else 0)
    every = np.arange(1, ALL_NIGHTS + 1)
    whole = float(np.sum(a_night(every)))
    print(f"growth over {ALL_NIGHTS} nights with one new patient each: {whole:.1f} MB", flush=True)
    before = sum(_sizes(cohort.out).values())
    subprocess.run([sys.executable, "-m", "flows", "prune", cohort.out, "--keep", str(asked.keep), "--yes"], check=True)
    after = _sizes(cohort.out)
    _show("pruned", asked.patients + asked.nights, after)
    kept = float(np.sum(a_night(every[-asked.keep :])))
    print(f"pruned after night {asked.nights}: {before:.1f} -> {sum(after.values()):.1f} MB", flush=True)
    print(f"of the growth over {ALL_NIGHTS} nights about {kept:.1f} MB stay with --keep {asked.keep}", flush=True)


def _night(cohort: TinyCohort, n: int) -> None:
    """One run."""
    cohort.write_tables(n)
    arguments = ("run", str(cohort.folder), str(cohort.out), "--n-cpus", "1")
    subprocess.run([sys.executable, "-m", "flows", *arguments], check=True, stdout=subprocess.DEVNULL)


def _sizes(out: Path) -> dict[str, float]:
    """MB of each part of an output folder."""
    return {
        part: sum(path.lstat().st_size for path in (out / part).rglob("*") if path.is_file()) / 1e6 for part in PARTS
    }


def _show(night: object, n: int, sizes: dict[str, float]) -> None:
    """One line."""
    print(night, n, *(f"{size:.2f}" for size in sizes.values()), f"{sum(sizes.values()):.2f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
