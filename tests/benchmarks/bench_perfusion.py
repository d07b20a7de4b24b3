"""Perfusion maps of a 256 x 256 x 16 x 45 series beside a loop over voxels and beside what the machine can do.

    python -m tests.benchmarks.bench_perfusion [--threads 2] [--rounds 5] [--noise-hu 2] [--device cuda]

The series is synthetic: int16 HU, 448,000 brain voxels with MTT 3-14 s and delays 0-6 s, white noise, frames 1 s apart.
Maps only: baseline, decomposition, deconvolution, the four maps; no file, mask or motion. Printed per method: wall and
CPU seconds (median and best of the rounds, after one to warm up), evaluations per voxel, and the peak memory of its own
process above that with the series loaded. The loop is the common way, one voxel after another, with the same
thresholds and the matrices of each threshold made beforehand; it runs on a subset, is extrapolated, and its CBF is
compared with ours. Below: this machine's copy bandwidth and float32 matrix product with as many threads, and the
seconds that reading the brain voxels once, and the matrix products alone, would take at those rates.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy.linalg import circulant
from threadpoolctl import threadpool_limits

from tasks.perfusion.deconvolution import (
    BlockCirculantSvd,
    Method,
    OscillationIndexSvd,
    StandardSvd,
    build_deconvolver,
    deconvolve,
)
from tasks.perfusion.maps import PerfusionSettings, perfusion_maps

SHAPE, N_FRAMES, N_BRAIN, N_BASELINE = (16, 256, 256), 45, 448_000, 5
TIMES_S = np.arange(float(N_FRAMES))
LOOP_VOXELS = 300
METHODS: dict[str, Method] = {m.name: m for m in (StandardSvd(), BlockCirculantSvd(), OscillationIndexSvd())}


def make_series(noise_hu: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series (T, Z, Y, X) int16 HU, brain mask, and AIF."""
    rng = np.random.default_rng(1)
    fine = np.arange(0, N_FRAMES, 0.1)
    since = np.clip(fine - 6, 0, None) / 4.5
    arterial = 300 * (since * np.exp(1 - since)) ** 3
    kinds = np.stack(
        [
            np.convolve(arterial, np.where(fine >= delay, np.exp(-(fine - delay) / mtt), 0))[: len(fine)][::10] * 0.1
            for mtt, delay in rng.uniform((3, 0), (14, 6), (500, 2))
        ],
        axis=1,
    )
    z, y, x = (np.linspace(-1, 1, size) for size in SHAPE)
    distance = (0.3 * z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).ravel()
    mask = np.zeros(SHAPE, dtype=bool)
    mask.reshape(-1)[np.argsort(distance, kind="stable")[:N_BRAIN]] = True
    which, flow = rng.integers(0, 500, N_BRAIN), rng.uniform(0.002, 0.012, N_BRAIN)
    series = np.full((N_FRAMES, *SHAPE), -1000, dtype=np.int16)
    for frame in range(N_FRAMES):
        series[frame][mask] = np.rint(35 + flow * kinds[frame, which] + rng.normal(0, noise_hu, N_BRAIN))
    return series, mask, np.asarray(arterial[::10])


def peak_memory_mib() -> float:
    """Peak resident memory of this process since it was last reset."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run_ours(name: str, noise_hu: float, n_threads: int, rounds: int, device: str | None) -> dict[str, float]:
    """Time the maps in this process."""
    series, mask, aif = make_series(noise_hu)
    settings = PerfusionSettings(method=METHODS[name])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again (Linux)
    before_mib = peak_memory_mib()
    walls, cpus = [], []
    with threadpool_limits(1):
        for _ in range(rounds + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            deconvolver = build_deconvolver(aif, TIMES_S, settings.method, n_baseline_frames=N_BASELINE)
            perfusion_maps(series, deconvolver, settings, mask=mask, device=device, n_threads=n_threads)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        peak_mib = peak_memory_mib()
        rank = deconvolve(series, deconvolver, voxels=np.flatnonzero(mask)).rank
    tried = np.array([deconvolver.ranks.index(int(one)) + 1 for one in np.unique(rank)])
    flop = 0.0
    for turn, kept in enumerate(deconvolver.ranks):
        share = 1 - np.isin(rank, deconvolver.ranks[:turn]).mean()
        products = 1 if len(deconvolver.ranks) == 1 else 2
        flop += 2 * N_BRAIN * share * kept * len(deconvolver.synthesis) * products
    return {
        "wall_s": statistics.median(walls[1:]),
        "best_s": min(walls[1:]),
        "cpu_s": statistics.median(cpus[1:]),
        "extra_mib": peak_mib - before_mib,
        "evaluations": float((tried * np.unique(rank, return_counts=True)[1]).sum() / N_BRAIN),
        "gflop": (flop + 2 * N_BRAIN * N_FRAMES * len(deconvolver.analysis)) / 1e9,
    }


def run_loop(name: str, noise_hu: float) -> tuple[float, float]:
    """Seconds for all brain voxels one by one, extrapolated, and the largest relative difference of CBF from ours."""
    series, mask, aif = make_series(noise_hu)
    method = METHODS[name]
    chosen = np.flatnonzero(mask)[:: N_BRAIN // LOOP_VOXELS][:LOOP_VOXELS]
    curves = series.reshape(N_FRAMES, -1)[:, chosen].astype(np.float64)
    deconvolver = build_deconvolver(aif, TIMES_S, method, n_baseline_frames=N_BASELINE)
    ours = deconvolve(series, deconvolver, voxels=chosen).peak_per_s
    n = 2 * N_FRAMES if name != "standard" else N_FRAMES
    padded = np.pad(aif, (0, N_FRAMES))
    smooth = (np.roll(padded, 1) + 4 * padded + np.roll(padded, -1)) / 6
    matrix = circulant(smooth) if name != "standard" else np.tril(circulant(smooth[:N_FRAMES]))
    thresholds = method.thresholds if isinstance(method, OscillationIndexSvd) else (method.threshold,)
    limit = method.limit if isinstance(method, OscillationIndexSvd) else np.inf
    with threadpool_limits(1):
        begun = time.perf_counter()
        inverses = [np.linalg.pinv(matrix, rcond=threshold) for threshold in thresholds]
        once = time.perf_counter() - begun
        peaks = []
        for curve in curves.T:
            enhancement = np.pad(curve - curve[:N_BASELINE].mean(), (0, n - N_FRAMES))
            for inverse in inverses:
                residue = inverse @ enhancement
                peak = residue.max()
                if np.abs(np.diff(residue, 2)).sum() / n / peak < limit:
                    break
            peaks.append(peak)
        seconds = time.perf_counter() - begun - once
    return once + seconds * N_BRAIN / len(chosen), float(np.abs(ours / np.array(peaks) - 1).max())


def machine(n_threads: int) -> tuple[float, float]:
    """Copy bandwidth (bytes read and written) in GB/s, and float32 matrix product in GFLOP/s."""
    source = np.ones((n_threads, 16 * 2**20), dtype=np.float32)
    target = np.empty_like(source)
    square = np.ones((n_threads, 1024, 1024), dtype=np.float32)
    product = np.empty_like(square)
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        copies, products = [], []
        for _ in range(10):
            begun = time.perf_counter()
            list(pool.map(lambda i: np.copyto(target[i], source[i]), range(n_threads)))
            copies.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            list(pool.map(lambda i: np.matmul(square[i], square[i], out=product[i]), range(n_threads)))
            products.append(time.perf_counter() - begun)
    return 2 * source.nbytes / min(copies) / 1e9, n_threads * 2 * 1024**3 / min(products) / 1e9


def main() -> None:
    """Measure each method in a process of its own, then the loop and the machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--noise-hu", type=float, default=2.0)
    parser.add_argument("--device", default=None)
    arguments = parser.parse_args()
    bandwidth, gemm = machine(arguments.threads)
    reading_s = N_BRAIN * N_FRAMES * 2 / (bandwidth * 1e9)
    context = multiprocessing.get_context("spawn")
    for name in METHODS:
        with context.Pool(1) as pool:
            options = (name, arguments.noise_hu, arguments.threads, arguments.rounds, arguments.device)
            ours = pool.apply(run_ours, options)
            loop_s, difference = pool.apply(run_loop, (name, arguments.noise_hu))
        print(
            f"{name}: wall {ours['wall_s']:.3f} s (best {ours['best_s']:.3f}), CPU {ours['cpu_s']:.3f} s,"
            f" {ours['evaluations']:.2f} evaluations a voxel, {ours['extra_mib']:.0f} MiB above the series"
        )
        print(
            f"  loop over voxels {loop_s:.0f} s (extrapolated from {LOOP_VOXELS}): {loop_s / ours['wall_s']:.0f}x;"
            f" largest relative difference of CBF {difference:.1e}"
        )
        print(
            f"  floors: reading {reading_s:.4f} s, {ours['gflop']:.1f} GFLOP of products {ours['gflop'] / gemm:.3f} s"
        )
    print(f"machine, {arguments.threads} threads: copy {bandwidth:.1f} GB/s, matrix product {gemm:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
