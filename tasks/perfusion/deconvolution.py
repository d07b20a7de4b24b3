"""Deconvolution of tissue curves by singular value decomposition, all voxels at once.

A tissue curve is the arterial input function (AIF) convolved with the *residue* F R(t): flow times the share of tracer
still in the tissue at time t. On a regular grid, with both curves linear between the points, this is a matrix product
(Østergaard et al., Magn Reson Med 1996;36:715-725), inverted with the small singular values left out. Three methods:

* ``StandardSvd``: the causal matrix. A tissue that leads the AIF, or follows late, is misread.
* ``BlockCirculantSvd``: curves padded with zeros to twice their length and the matrix closed to a circle, so that a
  delay only shifts the residue, early ones to its end.
* ``OscillationIndexSvd``: the same; each voxel takes the smallest threshold whose residue oscillates less than a limit.

The matrix is decomposed once. Baseline, resampling and singular vectors are folded into one small matrix from frames to
*coefficients*, sorted by singular value; a threshold then is how many coefficients are kept, the *rank*. Arithmetic on
voxels is float32, through numpy or torch by the same code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import circulant, toeplitz

from tasks.arrays import AnyArray, Float32Array, FloatArray, IntArray

# The oscillation index depends on the interval: on frames 2 s apart it rejects sharp residues that pass on the same
# frames interpolated to 1 s (simulated flow of 60 ml/100 g/min, MTT 4 s: 23 against 41), and Tmax moves in whole steps.
GRID_INTERVAL_S = 1.0
CHUNK_VOXELS = 2048  # residues of a chunk, 2048 x 90 x 4 bytes, stay in a core's second-level cache
DEVICE_CHUNK_VOXELS = 262_144  # a GPU wants long rows; 0.2 GB
MAXIMUM_GRID_POINTS = 1000  # 17 minutes at 1 s: no perfusion series is longer, a misread frame time is


@dataclass(frozen=True)
class OscillationIndexSvd:
    """Block-circulant, the threshold of each voxel by its oscillation index.

    Attributes
    ----------
    limit : of the oscillation index, the mean absolute second difference relative to the peak
    thresholds : relative to the largest singular value, ascending; the last is taken where none is calm
    """

    name: Literal["oscillation_index"] = "oscillation_index"
    limit: float = 0.035  # Wu et al., Magn Reson Med 2003;50:164-174
    thresholds: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))  # 5 to 95 %


@dataclass(frozen=True)
class BlockCirculantSvd:
    """Block-circulant with one threshold, relative to the largest singular value."""

    name: Literal["block_circulant"] = "block_circulant"
    threshold: float = 0.10  # Wu et al., Magn Reson Med 2003;50:164-174


@dataclass(frozen=True)
class StandardSvd:
    """Causal with one threshold, relative to the largest singular value."""

    name: Literal["standard"] = "standard"
    threshold: float = 0.20  # Østergaard et al., Magn Reson Med 1996;36:715-725


Method = OscillationIndexSvd | BlockCirculantSvd | StandardSvd


@dataclass(frozen=True, eq=False)
class Deconvolver:
    """The inverse of one AIF, ready for any number of curves of ``n_frames`` frames.

    Attributes
    ----------
    analysis : (n_coefficients + 1, n_frames) float32 array
        From a curve to its coefficients, by falling singular value; the last row gives its area over that of the AIF.
    synthesis : (n_lags, n_coefficients) float32 array, from coefficients to the residue, 1/s
    ranks : coefficients kept at each threshold tried, falling
    oscillation_limit : the index below which a residue is taken; infinite where there is only one threshold
    interval_s : of the regular grid
    n_grid : its points; lags from ``n_grid`` on are early arrivals, lag - n_lags
    """

    analysis: Float32Array
    synthesis: Float32Array
    ranks: tuple[int, ...]
    oscillation_limit: float
    interval_s: float
    n_grid: int


@dataclass(frozen=True, eq=False)
class Residues:
    """What the residue of each voxel says.

    Attributes
    ----------
    peak_per_s : (N,) float32 array, the residue's maximum: flow, ml of blood per ml of tissue per second
    peak_time_s : (N,) float32 array, when it is reached; negative where tissue leads the AIF
    area_ratio : (N,) float32 array, area of the curve over that of the AIF: volume, ml of blood per ml of tissue
    rank : (N,) int16 array, coefficients kept
    """

    peak_per_s: Float32Array
    peak_time_s: Float32Array
    area_ratio: Float32Array
    rank: npt.NDArray[np.int16]


def build_deconvolver(
    aif: AnyArray,
    frame_times_s: AnyArray,
    method: Method,
    *,
    grid_interval_s: float = GRID_INTERVAL_S,
    n_baseline_frames: int = 0,
) -> Deconvolver:
    """Decompose the convolution with one AIF.

    Parameters
    ----------
    aif : (T,) array, enhancement over baseline, any unit that the curves share
    frame_times_s : (T,) array, s, increasing; intervals may differ
    method : Method
    grid_interval_s : of the regular grid onto which curves are resampled linearly; where frames are closer somewhere,
        their shortest interval is taken, so that none is lost
    n_baseline_frames : leading frames whose mean is taken off every curve; 0 where curves are enhancement already

    Raises
    ------
    ValueError
        Times do not increase, lengths differ, the AIF has no area, or the grid would be too long.
    """
    aif, times = np.asarray(aif, dtype=np.float64), np.asarray(frame_times_s, dtype=np.float64)
    interval = _check(aif, times, grid_interval_s, n_baseline_frames)
    n_grid = int(np.floor((times[-1] - times[0]) / interval + 1e-6)) + 1
    grid_s = times[0] + interval * np.arange(n_grid)
    resampling = np.stack([np.interp(grid_s, times, frame) for frame in np.eye(len(times))], axis=1)
    is_circulant = not isinstance(method, StandardSvd)
    on_grid = np.pad(resampling @ aif, (0, n_grid if is_circulant else 1))
    on_grid = (np.roll(on_grid, 1) + 4 * on_grid + np.roll(on_grid, -1)) / 6  # of two piecewise linear curves
    matrix = circulant(on_grid) if is_circulant else toeplitz(on_grid[:n_grid], np.zeros(n_grid))
    left, singular, right = np.linalg.svd(interval * matrix)
    thresholds = method.thresholds if isinstance(method, OscillationIndexSvd) else (method.threshold,)
    ranks = sorted({int((singular >= threshold * singular[0]).sum()) for threshold in thresholds}, reverse=True)
    analysis = (left[:n_grid, : ranks[0]] / singular[: ranks[0]]).T @ resampling
    weights = _trapezoid_weights(times)
    analysis = np.vstack((analysis, weights / (weights @ aif)))
    if n_baseline_frames:
        analysis[:, :n_baseline_frames] -= analysis.sum(axis=1, keepdims=True) / n_baseline_frames
    return Deconvolver(
        analysis=analysis.astype(np.float32),
        synthesis=right[: ranks[0]].T.astype(np.float32),
        ranks=tuple(ranks),
        oscillation_limit=method.limit if isinstance(method, OscillationIndexSvd) else np.inf,
        interval_s=interval,
        n_grid=n_grid,
    )


def deconvolve(
    curves: AnyArray,
    deconvolver: Deconvolver,
    *,
    voxels: IntArray | None = None,
    device: str | None = None,
    n_threads: int = 1,
) -> Residues:
    """Residues of many curves.

    Parameters
    ----------
    curves : (T, ...) array of any real type, time first; N voxels in C order
    deconvolver : Deconvolver
    voxels : (N,) int array, flat indices of the voxels wanted; None takes all
    device : None computes with numpy; a torch device (``"cpu"``, ``"cuda"``) with torch
    n_threads : of numpy, each with its own voxels; a BLAS with threads of its own should be held to one

    Raises
    ------
    ValueError
        The curves do not have the deconvolver's frames.
    ModuleNotFoundError
        A device is named and torch is not installed.
    """
    n_frames = deconvolver.analysis.shape[1]
    if len(curves) != n_frames:
        raise ValueError(f"curves must have {n_frames} frames first, got shape {curves.shape}. Put time first.")
    flat = curves.reshape(n_frames, -1)
    n_voxels = flat.shape[1] if voxels is None else len(voxels)
    xp = np if device is None else importlib.import_module("torch")
    solve = _solver(deconvolver, xp, device or "cpu")
    peak, area = np.empty(n_voxels, np.float32), np.empty(n_voxels, np.float32)
    lag, rank = np.empty(n_voxels, np.int16), np.empty(n_voxels, np.int16)

    def run(part: slice) -> None:
        chunk = flat[:, part] if voxels is None else flat.take(voxels[part], axis=1)  # a third of the time of [:, ...]
        peak[part], lag[part], area[part], rank[part] = solve(chunk)

    parts = _parts(n_voxels, CHUNK_VOXELS if device is None else DEVICE_CHUNK_VOXELS)
    with ThreadPoolExecutor(n_threads if device is None else 1) as pool:
        list(pool.map(run, parts))
    lags = np.where(lag < deconvolver.n_grid, lag, lag - len(deconvolver.synthesis))
    return Residues(peak, lags.astype(np.float32) * np.float32(deconvolver.interval_s), area, rank)


def _solver(deconvolver: Deconvolver, xp: Any, device: str) -> Callable[[AnyArray], tuple[Any, Any, Any, Any]]:
    """The work on one chunk, in numpy or torch (``xp``): both answer to the same names."""

    def put(array: AnyArray) -> Any:
        return xp.asarray(array, dtype=xp.float32, device=device)

    def get(array: Any) -> AnyArray:
        return np.asarray(array if xp is np else array.cpu())

    analysis, synthesis = put(deconvolver.analysis.T), put(deconvolver.synthesis)
    bending = put(np.diff(deconvolver.synthesis.astype(np.float64), 2, axis=0))
    limit = deconvolver.oscillation_limit * len(deconvolver.synthesis)

    def solve(chunk: AnyArray) -> tuple[Any, Any, Any, Any]:
        values = put(chunk if xp is np else np.asarray(chunk, dtype=np.float32)).T @ analysis
        n = len(values)
        voxels = active = xp.arange(n, device=device)
        peak = xp.empty(n, dtype=xp.float32, device=device)
        lag, kept = xp.empty_like(voxels), xp.empty_like(voxels)
        for rank in deconvolver.ranks:
            coefficients = values[active, :rank]
            residue = coefficients @ synthesis[:, :rank].T
            top_lag = xp.argmax(residue, axis=1)
            top = residue[voxels[: len(active)], top_lag]
            if rank != deconvolver.ranks[-1]:
                bends = coefficients @ bending[:, :rank].T
                is_calm = xp.abs(bends, out=bends).sum(axis=1) < limit * top
            else:
                is_calm = xp.ones_like(active, dtype=xp.bool)
            done = active[is_calm]
            peak[done], lag[done], kept[done] = top[is_calm], top_lag[is_calm], rank
            active = active[~is_calm]
            if not len(active):
                break
        return get(peak), get(lag), get(values[:, -1]), get(kept)

    return solve


def _parts(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size``."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _trapezoid_weights(times: FloatArray) -> FloatArray:
    """Weights that integrate a curve over its frame times by the trapezoidal rule, s."""
    gaps = np.diff(times)
    return np.asarray((np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2)


def _check(aif: AnyArray, times: AnyArray, grid_interval_s: float, n_baseline_frames: int) -> float:
    """Refuse what cannot be inverted, every fault named; else the interval of the grid, s."""
    problems = []
    if times.ndim != 1 or len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        problems.append("frame_times_s must be two or more finite, increasing times. Sort the frames and check them.")
        interval = np.nan
    else:
        interval = min(float(grid_interval_s), float(np.diff(times).min()))
        if not 0 < interval <= times[-1] - times[0] or (times[-1] - times[0]) / interval > MAXIMUM_GRID_POINTS:
            problems.append(
                f"grid_interval_s must give 2 to {MAXIMUM_GRID_POINTS} points, got {interval:g} s over"
                f" {times[-1] - times[0]:g} s. Give the interval, or check the frame times."
            )
    if aif.shape != times.shape:
        problems.append(f"aif must have one value per frame ({times.size}), got shape {aif.shape}. Give its curve.")
    elif not problems and not _trapezoid_weights(times) @ aif > 0:
        problems.append("aif must have a finite area > 0. Give an artery's enhancement over its baseline.")
    if not 0 <= n_baseline_frames < max(1, times.size):
        problems.append(f"n_baseline_frames must be in [0, {times.size}), got {n_baseline_frames}. Count the frames.")
    if problems:
        raise ValueError(" ".join(problems))
    return interval
