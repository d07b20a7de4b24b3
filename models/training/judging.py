"""How well a trained network draws: Dice, volume and false volume of each patient, by volume, with intervals.

A network of several regions is judged by all of them together: a voxel is right where it has its own region. Whole
volumes are judged, on the grid of the synthetic patients. *False volume* is what is found outside of the truth.
Dice is not defined where neither has a lesion; where one of both has none it is 0. The threshold on the probability is
chosen on validation patients: the one with the highest mean Dice among those at which patients without an infarct stay
nearly without (``MOST_FALSE_ML``); of equal ones the nearest to .5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.inference import Network, in_windows
from models.training.pool import BIN_ML, IGNORED, PooledPatient, read_patient
from models.training.trainer import Task
from tasks.arrays import Float32Array, FloatArray, IntArray, Mask
from tasks.segmentation import STEP_MM, Window
from tasks.space.boxes import VoxelBox, occupied
from tasks.space.network_grid import grid_size

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))  # .10 to .90
DEFAULT_THRESHOLD = 0.5
#: What may be found in nine of ten patients without an infarct. Dice alone asks for low thresholds, at which small
#: infarcts are found, and others where there are none.
MOST_FALSE_ML, OF_PATIENTS = 1.0, 0.9
METRICS = ("dice", "volume_error_ml", "false_ml")
N_RESAMPLES = 2000
INTERVAL_LEVEL = 0.95
VOXEL_ML = STEP_MM**3 / 1000
NO_INFARCT, EVERYONE, ALL = "no infarct", "with an infarct", "all"
STRATA = ("< 3 ml", "3 to 16 ml", "16 to 66 ml", "66 ml and more")


@dataclass(frozen=True, eq=False)
class Counts:
    """Voxels of one patient at every threshold of ``THRESHOLDS``, of all classes that a network is to find.

    Attributes
    ----------
    n_true : of the truth
    n_found, n_hit : (thresholds,) int arrays, of what was found, and of what was found rightly
    """

    n_true: int
    n_found: IntArray
    n_hit: IntArray

    @property
    def dice(self) -> FloatArray:
        """(thresholds,) float array; NaN where neither has a lesion."""
        total = self.n_found + self.n_true
        return np.where(total > 0, 2 * self.n_hit / np.maximum(total, 1), np.nan)


@dataclass(frozen=True)
class Judged:
    """One patient at one threshold; ``dice`` is NaN where neither has a lesion."""

    volume_ml: float
    found_ml: float
    dice: float
    false_ml: float

    @property
    def volume_error_ml(self) -> float:
        """What was found less the truth."""
        return self.found_ml - self.volume_ml

    @property
    def stratum(self) -> str:
        """By the true volume; limits belong to the larger stratum."""
        if self.volume_ml == 0:
            return NO_INFARCT
        return STRATA[sum(self.volume_ml >= edge for edge in BIN_ML)]


@dataclass(frozen=True)
class Metric:
    """Median over patients with a bootstrap percentile interval; None where there is none."""

    stratum: str
    metric: str
    n: int
    median: float | None
    lower: float | None
    upper: float | None


def foreground_probabilities(network: Network, task: Task, patient: PooledPatient, device: str = "cpu") -> Float32Array:
    """Probability of each class of the foreground in the whole volume, 0 outside of the brain.

    Only the box around the brain is asked for, as of a scan.

    Parameters
    ----------
    network : in the state for judging, on ``device``
    task : Task
    patient : PooledPatient
    device : of PyTorch

    Returns
    -------
    (classes, X, Y, Z) float32 array
    """
    brain = task.judged_in(patient)
    box = (slice(None), *brain_box(brain, network.window))
    images = torch.from_numpy(task.channels(patient, None)[box][None]).to(device)
    with torch.inference_mode():
        seen = in_windows(network, images)[0, list(task.foreground)]
    found = np.zeros((len(task.foreground), *brain.shape), np.float32)
    found[box] = seen.cpu().numpy()
    return found * brain


def brain_box(brain: Mask, least: Window) -> VoxelBox:
    """A box that holds the brain in its middle, as large as the grid around a scan's brain."""
    sides = []
    for axis, (size, seen) in enumerate(zip(brain.shape, occupied(brain), strict=True)):
        low, high = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, size)
        wanted = min(size, grid_size(high - low, least[axis]))
        first = min(max(0, (low + high - wanted) // 2), size - wanted)
        sides.append(slice(first, first + wanted))
    x, y, z = sides
    return x, y, z


def counts_of(found: Float32Array, truth: Mask) -> Counts:
    """Count a probability map against the truth at every threshold; a voxel is found where it is above.

    Parameters
    ----------
    found : (X, Y, Z) float array
    truth : (X, Y, Z) bool array
    """
    edges = np.asarray(THRESHOLDS, np.float32)
    bins = np.searchsorted(edges, found.ravel(), side="left")  # thresholds below the value
    above = np.bincount(bins, minlength=len(edges) + 1)[::-1].cumsum()[::-1][1:]
    hit = np.bincount(bins[truth.ravel()], minlength=len(edges) + 1)[::-1].cumsum()[::-1][1:]
    return Counts(int(truth.sum()), above.astype(np.int64), hit.astype(np.int64))


def count_patients(network: Network, task: Task, files: Sequence[Path], device: str = "cpu") -> list[Counts]:
    """Judge pooled patients at every threshold; what training ignores counts neither for nor against."""
    counted = []
    for path in files:
        patient = read_patient(path)
        labels = task.labels(patient)
        is_judged = labels != IGNORED
        found = foreground_probabilities(network, task, patient, device) * is_judged
        counted.append(
            _together([counts_of(one, labels == label) for one, label in zip(found, task.foreground, strict=True)])
        )
    return counted


def _together(classes: Sequence[Counts]) -> Counts:
    """The voxels of all classes of one patient."""
    return Counts(
        sum(one.n_true for one in classes),
        np.sum([one.n_found for one in classes], axis=0),
        np.sum([one.n_hit for one in classes], axis=0),
    )


def choose_threshold(counted: Sequence[Counts]) -> float:
    """The threshold with the highest mean Dice over patients with an infarct; .5 where there is nobody.

    Those at which more than ``MOST_FALSE_ML`` is found in more than one of ten patients without an infarct are passed
    over; the highest of all is chosen where that leaves none.

    Parameters
    ----------
    counted : of validation patients
    """
    rows = [one.dice for one in counted if one.n_true]
    if not rows:
        return DEFAULT_THRESHOLD
    mean: FloatArray = np.asarray(np.round(np.mean(rows, axis=0), 9))
    empty = [one.n_found * VOXEL_ML for one in counted if not one.n_true]
    if empty:
        is_clean = np.quantile(empty, OF_PATIENTS, axis=0) <= MOST_FALSE_ML
        is_clean[-1] = True
        mean[~is_clean] = -1
    best = np.flatnonzero(mean == mean.max())
    return THRESHOLDS[min(best, key=lambda at: abs(THRESHOLDS[at] - DEFAULT_THRESHOLD))]


def judged_at(counted: Sequence[Counts], threshold: float) -> list[Judged]:
    """Every patient at one threshold.

    Raises
    ------
    ValueError
        It is none of ``THRESHOLDS``.
    """
    if threshold not in THRESHOLDS:
        raise ValueError(f"threshold must be one of {', '.join(map(str, THRESHOLDS))}, got {threshold}.")
    at = THRESHOLDS.index(threshold)
    return [
        Judged(
            one.n_true * VOXEL_ML,
            int(one.n_found[at]) * VOXEL_ML,
            float(one.dice[at]),
            int(one.n_found[at] - one.n_hit[at]) * VOXEL_ML,
        )
        for one in counted
    ]


def metrics_of(judged: Sequence[Judged], seed: int = 0, *, is_lesion: bool = True) -> list[Metric]:
    """Every metric over all patients with an infarct, by stratum, and over those without.

    Parameters
    ----------
    judged : patients
    seed : of the resamples
    is_lesion : what was drawn is one; regions, which everybody has, are judged over all patients
    """
    rows = []
    for stratum in (EVERYONE, *STRATA, NO_INFARCT) if is_lesion else (ALL,):
        if stratum in (EVERYONE, ALL):
            group = [one for one in judged if one.volume_ml > 0]
        else:
            group = [one for one in judged if one.stratum == stratum]
        for name in METRICS:
            if stratum == NO_INFARCT and name != "false_ml":
                continue
            values = np.array([getattr(one, name) for one in group], dtype=np.float64)
            lower, upper = bootstrap_median(values, seed)
            median = float(np.median(values)) if len(values) else None
            rows.append(Metric(stratum, name, len(values), median, lower, upper))
    return rows


def bootstrap_median(values: FloatArray, seed: int = 0) -> tuple[float | None, float | None]:
    """Percentile interval of the median over patients; none where it would have no width.

    Parameters
    ----------
    values : (n,) float array
    seed : of the resamples
    """
    if len(values) < 2:
        return None, None
    rng = np.random.default_rng(seed)
    medians = np.median(values[rng.integers(len(values), size=(N_RESAMPLES, len(values)))], axis=1)
    lower, upper = np.quantile(medians, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    return (None, None) if math.isclose(lower, upper) else (float(lower), float(upper))
