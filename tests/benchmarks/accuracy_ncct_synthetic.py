"""How well ``ncct-overlap`` draws on held-out synthetic patients, by contrast, volume and noise.

    python -m tests.benchmarks.accuracy_ncct_synthetic POOL [--first N] [--weights NAME] [--folder FOLDER]
        [--map territory]

POOL is a folder of patients whose anatomies and masks no training saw (``aspects train`` keeps one in its work folder).
Printed by how much less dense the infarct is (HU), by its volume and by the noise of the scan: median Dice at the
network's own threshold with a bootstrap interval over patients, area under the ROC curve over voxels of the brain, the
false volume; and over the regions of these patients, with the anatomy's own regions, the area of the mean probability
and its sensitivity where .95 of unaffected regions are below; the mean difference from the other side beside both.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.inference import Network, loaded, probabilities
from models.training.classifier_judging import area
from models.training.judging import brain_box
from models.training.ncct import NCCT_TASK
from models.training.pool import pooled_files, read_patient
from models.weights import find_weights
from tasks.density.channels import CHANNELS, N_NCCT_CHANNELS
from tasks.segmentation import CLASSES, INFARCT, STEP_MM
from tests.benchmarks.accuracy_baselines_dwi import dice
from tests.benchmarks.accuracy_dwi_synthetic import TRUTH_ML, _interval, _quantiles

VOXEL_ML = STEP_MM**3 / 1000
AFFECTED = 0.10  # share of a region that is infarct: METHODS A.3
SPECIFICITY = 0.95
EDGES = {
    "lowering_hu": (1, 2, 3, 5, 9, 13),
    "truth_ml": (TRUTH_ML, 3, 16, 66, 1000),
    "noise_hu": (0, 1.5, 3, 6),
}


@dataclass(frozen=True)
class Told:
    """Regions of one patient: which are affected, and what network and difference say of each."""

    is_affected: np.ndarray
    network: np.ndarray
    difference: np.ndarray


def asked_network(name: str, folder: Path | None) -> tuple[Network, float]:
    """A network of plain CT, and the threshold that comes with it."""
    found = find_weights(name, folder)
    threshold = float(json.loads(found.path.with_suffix(".json").read_text())["operating_point"]["threshold"])
    return loaded(found, found.preset, N_NCCT_CHANNELS, len(CLASSES)), threshold


def judge(path: Path, network: Network, threshold: float, label_map: str) -> tuple[dict[str, float | str], Told]:
    """One patient."""
    patient = read_patient(path)
    box = brain_box(patient.head, network.window)
    brain, truth = patient.head[box], (patient.classes == INFARCT)[box] & patient.head[box]
    channels = NCCT_TASK.channels(patient, None)[:, *box]
    found = probabilities(network, channels, flip=True)[INFARCT] * brain
    difference = -channels[CHANNELS.index("difference")]
    mask = found >= threshold
    row: dict[str, float | str] = {
        "patient": path.stem,
        "lowering_hu": float(patient.facts["lowering_hu"]),
        "noise_hu": float(patient.facts["ct_noise_hu"]),
        "truth_ml": float(truth.sum()) * VOXEL_ML,
        "found_ml": float(mask.sum()) * VOXEL_ML,
        "false_ml": float((mask & ~truth).sum()) * VOXEL_ML,
        "dice": dice(mask, truth),
        "area": area(truth[brain], found[brain]),
        "area_difference": area(truth[brain], difference[brain]),
    }
    regions = getattr(patient, label_map)[box]
    size = np.bincount(regions.ravel(), minlength=21)[1:]
    known = size > 0

    def means(values: np.ndarray) -> np.ndarray:
        return (np.bincount(regions.ravel(), values.ravel(), minlength=21)[1:] / np.maximum(1, size))[known]

    return row, Told(means(truth.astype(float)) > AFFECTED, means(found), means(difference * brain))


def of_regions(told: Sequence[Told]) -> str:
    """Area and sensitivity over the regions of some patients."""
    truth = np.concatenate([one.is_affected for one in told])
    if not 0 < truth.sum() < len(truth):
        return "-"
    parts = []
    for name in ("network", "difference"):
        values = np.concatenate([getattr(one, name) for one in told])
        cut = np.quantile(values[~truth], SPECIFICITY)
        parts.append(f"{name} {area(truth, values):.3f}, sensitivity {float((values[truth] > cut).mean()):.2f}")
    return f"{int(truth.sum())} of {len(truth)} regions: " + "; ".join(parts)


def report(pool: Path, network: Network, threshold: float, first: int | None, label_map: str) -> None:
    """Print every stratum."""
    judged = [judge(path, network, threshold, label_map) for path in pooled_files(pool)[:first]]
    table, told = pd.DataFrame([row for row, _ in judged]), [one for _, one in judged]
    empty = table[table["truth_ml"] < TRUTH_ML]
    print(f"{len(table)} patients; without infarct (n {len(empty)}) found: {_quantiles(empty['found_ml'])}")
    print(f"all regions, {of_regions(told)}")
    with_infarct = table["truth_ml"] >= TRUTH_ML
    for name, edges in EDGES.items():
        for low, high in itertools.pairwise(edges):
            chosen = with_infarct & (table[name] >= low) & (table[name] < high)
            at = table[chosen]
            if len(at) < 2:
                continue
            print(
                f"{name} {low:g} to {high:g}: n {len(at)}, Dice {_interval(at['dice'])}, false "
                f"{_quantiles(at['false_ml'])}, voxels {at['area'].median():.3f} (difference "
                f"{at['area_difference'].median():.3f})\n  {of_regions([told[one] for one in np.flatnonzero(chosen)])}",
                flush=True,
            )


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--first", type=int)
    parser.add_argument("--weights", default="ncct-overlap")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--map", default="territory", choices=("classic", "territory"))
    given = parser.parse_args()
    network, threshold = asked_network(given.weights, given.folder)
    report(given.pool, network, threshold, given.first, given.map)


if __name__ == "__main__":
    main()
