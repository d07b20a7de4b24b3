"""The whole stage of CT perfusion on one 256 x 256 x 16 x 45 series: from stored frames to the four maps.

    python -m tests.benchmarks.bench_perfusion_series [--threads 1] [--rounds 3]

The series (0.85 x 0.85 x 5 mm, 1.5 s, 8 HU of noise, int16 as stored) is in memory; motion is traced and corrected,
bolus, masks, artery and vein are found, tissue is smoothed and deconvolved. The head is restless: nearly every frame is
resampled. Printed for both block-circulant methods: CPU and wall seconds (median and best of the rounds, after one to
warm up) and the peak memory of a process of its own above that with the series loaded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from threadpoolctl import threadpool_limits

from tasks.perfusion.deconvolution import BlockCirculantSvd
from tasks.perfusion.maps import PerfusionSettings
from tasks.perfusion.series import SeriesSettings, measure_series
from tests.benchmarks.bench_motion import phantom_series
from tests.benchmarks.bench_perfusion import peak_memory_mib

SETTINGS = {
    "oscillation index": SeriesSettings(),
    "truncated": SeriesSettings(perfusion=PerfusionSettings(method=BlockCirculantSvd())),
}


def run(name: str, n_threads: int, rounds: int) -> str:
    """Time one setting in this process."""
    phantom = phantom_series(3.0, 6.0)
    series = np.asfortranarray(np.rint(phantom.series).astype(np.int16))
    affine, times = phantom.affine, phantom.frame_times_s.tolist()
    del phantom
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(n_threads)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again (Linux)
    before_mib = peak_memory_mib()
    walls, cpus = [], []
    with threadpool_limits(n_threads):
        for _ in range(rounds + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            found = measure_series(series, affine, times, SETTINGS[name])
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    sigma_mm = None if found.denoising is None else found.denoising.in_plane_sigma_mm
    return (
        f"{name}: CPU {statistics.median(cpus[1:]):.2f} s (best {min(cpus[1:]):.2f}), "
        f"wall {statistics.median(walls[1:]):.2f} s (best {min(walls[1:]):.2f}), "
        f"{peak_memory_mib() - before_mib:.0f} MiB above the series; smoothing {sigma_mm} mm {found.reason}"
    )


def main() -> None:
    """Measure each setting in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name in SETTINGS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(run, (name, arguments.threads, arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
