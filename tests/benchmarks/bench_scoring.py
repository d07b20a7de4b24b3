"""Our scoring stage beside a plain loop of nibabel and numpy over the same masks, in turns, in one run.

    python -m tests.benchmarks.bench_scoring COHORT WORK [--rounds 3]

The loop loads each mask, counts its lesion voxels in each label of the study's maps and multiplies the volume; it
checks nothing, keeps nothing and finds no component or diameter. Our stage does all of that through Prefect and Dask
and commits a record per patient. Printed: wall seconds of both, the ratio, and what orchestration costs per patient.
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

from flows.engine.cluster import connect
from flows.engine.limits import available_cpus
from flows.engine.prefect_server import embedded_server
from flows.engine.progress import CaseProgress
from flows.run.plan import Plan, make_plan, map_location
from flows.run.steps import run_case
from models.anatomy.template import labels_on_grid, load_label_map
from tasks.space.affines import voxel_volume_mm3


def plain_loop(plan: Plan) -> dict[str, tuple[float, list[list[float]]]]:
    """Volume and region fractions of every mask, one after the other; region sizes are counted once per grid."""
    config = plan.cohort.config
    maps = [
        load_label_map(map_location(config.regions_of(source), plan.cohort.folder))
        for source in config.computed_sources
    ]
    grids: dict[tuple[tuple[int, ...], bytes], list[tuple[np.ndarray, np.ndarray]]] = {}
    results = {}
    for case in plan.cases.values():
        image = nib.load(case.files[0].path)
        mask = np.asanyarray(image.dataobj) > 0
        key = (image.shape, image.affine.tobytes())
        if key not in grids:
            labels = [np.asarray(labels_on_grid(one, image.shape, image.affine).labels) for one in maps]
            grids[key] = [(one, np.bincount(one.ravel())) for one in labels]
        fractions = []
        for labels_here, sizes in grids[key]:
            hit = np.bincount(labels_here[mask], minlength=len(sizes))
            fractions.append((hit / np.maximum(sizes, 1)).tolist())
        volume_ml = mask.sum() * voxel_volume_mm3(image.affine) / 1000
        results[case.participant_id] = (float(volume_ml), fractions)
    return results


def our_stage(plan: Plan, out: Path) -> float:
    """Seconds of the scoring stage on fresh workers, Prefect and Dask included, their start excluded."""
    from flows.run.measuring import Measuring, run_flow

    seconds: dict[str, float] = {}
    (out / "dask").mkdir(parents=True)
    with connect(n_cpus=available_cpus(), address=None, work_dir=str(out / "dask")) as client:
        progress = CaseProgress(0, Console(quiet=True))
        run_flow("benchmark", Measuring(plan, out, client, progress, threading.Event(), seconds), lambda: None)
    return seconds["measure"]


def main() -> None:
    """Measure both in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    plan = make_plan(arguments.cohort, arguments.work / "absent")
    n, n_cpus = len(plan.cases), available_cpus()
    loops, stages = [], []
    with embedded_server(arguments.work / "prefect") as server:
        server.wait_until_healthy()
        for _ in range(arguments.rounds):
            begun = time.perf_counter()
            plain = plain_loop(plan)
            loops.append(time.perf_counter() - begun)
            out = arguments.work / "stage"
            shutil.rmtree(out, ignore_errors=True)
            stages.append(our_stage(plan, out))
            print(f"plain loop {loops[-1]:.1f} s, our stage {stages[-1]:.1f} s", flush=True)
    bare = arguments.work / "bare"
    shutil.rmtree(bare, ignore_errors=True)
    begun, cpu = time.perf_counter(), time.process_time()
    for modality, case in plan.pending:
        record = run_case(case, plan.settings[modality], bare)
        if record.status == "ok":
            assert record.payload.lesion.volume_ml == plain[case.participant_id][0]
    bare_s, bare_cpu = time.perf_counter() - begun, time.process_time() - cpu
    loop, stage = statistics.median(loops), statistics.median(stages)
    ratio = statistics.median(one / other for one, other in zip(loops, stages, strict=True))
    print(f"{n} masks: plain loop {loop:.1f} s, our stage {stage:.1f} s on {n_cpus} cores: {ratio:.2f}x")
    print(f"the same steps one after the other, without Prefect and Dask: {bare_s:.1f} s wall, {bare_cpu:.1f} s CPU")
    print(f"orchestration: {1000 * (stage - bare_s / n_cpus) / n:.2f} ms a patient, over {n_cpus} cores")


if __name__ == "__main__":
    main()
