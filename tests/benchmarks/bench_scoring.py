"""Our scoring stage beside a plain loop of nibabel and numpy over the same masks, in turns, in one run.

    python -m tests.benchmarks.bench_scoring COHORT WORK [--rounds 3]

The loop loads each mask, counts its lesion voxels in each label of the study's maps and multiplies the volume; it checks
nothing, keeps nothing and finds no component or diameter. Our stage does all of that through Prefect and Dask and
commits a record per patient. Printed: wall seconds of both, the ratio, and what orchestration costs per patient.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.console import Console

from flows.cluster import available_cpus, connect
from flows.plan import Plan, make_plan, map_location
from flows.prefect_server import embedded_server
from flows.progress import CaseProgress
from flows.steps import run_measure
from models.template import labels_on_grid, load_label_map


def plain_loop(plan: Plan) -> dict[str, tuple[float, list[list[float]]]]:
    """Volume and region fractions of every mask, one after the other."""
    config = plan.cohort.config
    maps = [
        load_label_map(map_location(config.regions_of(source), plan.cohort.folder)) for source in config.mask_sources
    ]
    grids: dict[tuple[tuple[int, ...], bytes], list[np.ndarray]] = {}
    results = {}
    for case in plan.cases.values():
        image = nib.load(case.path)
        mask = np.asanyarray(image.dataobj) > 0
        key = (image.shape, image.affine.tobytes())
        if key not in grids:
            grids[key] = [np.asarray(labels_on_grid(one, image.shape, image.affine).labels) for one in maps]
        fractions = []
        for labels in grids[key]:
            sizes = np.bincount(labels.ravel())
            hit = np.bincount(labels[mask], minlength=len(sizes))
            fractions.append((hit / np.maximum(sizes, 1)).tolist())
        volume_ml = mask.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000
        results[case.participant_id] = (float(volume_ml), fractions)
    return results


def our_stage(plan: Plan, out: Path) -> tuple[float, float]:
    """Seconds of the scoring stage alone, and with the start of Prefect and Dask."""
    begun = time.perf_counter()
    seconds: dict[str, float] = {}
    (out / "dask").mkdir(parents=True)
    with (
        embedded_server(out / "prefect") as server,
        connect(n_cpus=available_cpus(), address=None, work_dir=str(out / "dask")) as client,
    ):
        from flows.cohort import Measuring, run_flow

        server.wait_until_healthy()
        progress = CaseProgress(0, Console(quiet=True))
        run_flow("benchmark", Measuring(plan, out, client, progress, threading.Event(), seconds), lambda: None)
        whole = time.perf_counter() - begun
    return seconds["measure"], whole


def main() -> None:
    """Measure both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    plan = make_plan(arguments.cohort, arguments.work / "absent")
    n = len(plan.cases)
    loops, stages, wholes = [], [], []
    for _ in range(arguments.rounds):
        begun = time.perf_counter()
        plain = plain_loop(plan)
        loops.append(time.perf_counter() - begun)
        out = arguments.work / "stage"
        shutil.rmtree(out, ignore_errors=True)
        stage, whole = our_stage(plan, out)
        stages.append(stage)
        wholes.append(whole)
        print(f"plain loop {loops[-1]:.1f} s, our stage {stage:.1f} s, with start-up {whole:.1f} s", flush=True)
    begun, cpu = time.perf_counter(), time.process_time()
    bare = arguments.work / "bare"
    shutil.rmtree(bare, ignore_errors=True)
    for modality, case in plan.pending:
        record = run_measure(case, plan.settings[modality], bare)
        assert record.status != "ok" or record.payload["lesion"]["volume_ml"] == plain[case.participant_id][0]
    bare_s, bare_cpu = time.perf_counter() - begun, time.process_time() - cpu
    ratio = statistics.median(loop / stage for loop, stage in zip(loops, stages, strict=True))
    per_core = bare_s / available_cpus()
    print(
        f"{n} masks: plain loop {statistics.median(loops):.1f} s, our stage {statistics.median(stages):.1f} s: {ratio:.2f}x"
    )
    print(f"the same steps one after the other, without Prefect and Dask: {bare_s:.1f} s wall, {bare_cpu:.1f} s CPU")
    print(
        f"orchestration: {1000 * (statistics.median(stages) - per_core) / n:.2f} ms a patient over {available_cpus()} cores"
    )


if __name__ == "__main__":
    main()
