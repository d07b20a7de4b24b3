"""How well ``dwi-unet`` does on held-out synthetic patients: anatomies and masks that no training saw.

    python -m tests.benchmarks.accuracy_dwi_synthetic POOL [--first N] [--weights NAME] [--folder FOLDER] [--table CSV]

POOL is a folder of such patients (``aspects train`` writes one). With ADC and with b-high alone: median Dice by volume
of the truth with a bootstrap interval over patients, false volume, agreement (ICC(A,1) by pingouin) of the volume and
of ASPECTS by true regions, rule ``wei``; and Dice by how far the infarct stands out at b-high (median signal over that
of normal grey and white matter), for a drawn infarct may be all but invisible. Infarcts that training leaves out
(``models.training.dwi.is_visible``) are counted apart.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
from scipy import stats

from flows.sources.dwi_unet import DwiUnetSource
from models.inference import Network, loaded, probabilities
from models.training.dwi import DWI_TASK, is_visible, without_adc
from models.training.judging import brain_box
from models.training.pool import pooled_files, read_patient
from models.weights import find_weights
from tasks.anatomy import aspects_label_table
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS
from tests.benchmarks.accuracy_baselines_dwi import dice

EDGES_ML = (0.0, 3.0, 16.0, 66.0, np.inf)  # METHODS A.6 T3
THIRD = 1 / 3  # of a cortical region: Wei et al., Brain Communications fcag053
TRUTH_ML = 0.1  # a smaller truth counts as none
EDGES_RATIO = (0.0, 1.2, 1.5, np.inf)  # of the infarct's signal
FIELDS = DwiUnetSource.model_fields
LINES = {"with ADC": FIELDS["threshold"].default, "b-high alone": FIELDS["threshold_without_adc"].default}


def score(mask: np.ndarray, regions: np.ndarray) -> int:
    """ASPECTS of the worse side: any lesion in a deep region, a third of a cortical one."""
    affected = {"left": 0, "right": 0}
    for label in aspects_label_table().labels:
        own = regions == label.index
        share = float((mask & own).sum() / max(1, own.sum()))
        affected[label.side] += share >= THIRD if label.group == "cortical" else share > 0
    return 10 - max(affected.values())


def report_synthetic(pool: Path, network: Network, first: int, kept: Path | None) -> None:
    """Medians by stratum, and agreement, with ADC and with b-high alone."""
    rows = []
    for path in pooled_files(pool)[:first]:
        patient = read_patient(path)
        box = brain_box(patient.brain, network.window)
        brain, truth = patient.brain[box], (patient.classes == INFARCT)[box]
        regions, b_high = patient.classic[box], patient.b_high[box].astype(np.float32)
        seen = {"with ADC": DWI_TASK.channels(patient, None), "b-high alone": without_adc(patient, None)}
        normal = np.isin(patient.classes[box], (CLASSES.index("grey"), CLASSES.index("white"))) & brain
        ratio = float(np.median(b_high[truth & brain]) / np.median(b_high[normal])) if (truth & brain).any() else np.nan
        for way, threshold in LINES.items():
            mask = (probabilities(network, seen[way][:, *box], flip=True)[INFARCT] >= threshold) & brain
            rows.append(
                {
                    "patient": path.stem,
                    "way": way,
                    "is_visible": is_visible(patient),
                    "ratio": ratio,
                    "slice_mm": patient.facts["slice_mm"],
                    "age_h": patient.facts["age_h"],
                    "truth_ml": truth.sum() * 0.008,
                    "found_ml": mask.sum() * 0.008,
                    "false_ml": (mask & ~truth).sum() * 0.008,
                    "dice": dice(mask, truth),
                    "true_score": score(truth, regions),
                    "found_score": score(mask, regions),
                }
            )
    table = pd.DataFrame(rows)
    if kept is not None:
        table.to_csv(kept, index=False)
    for way, part in table.groupby("way", sort=False):
        _summary(str(way), part)


def _summary(way: str, part: pd.DataFrame) -> None:
    """Print what one way gives."""
    empty = part[part["truth_ml"] < TRUTH_ML]
    print(
        f"{way}: {len(part)} patients; without infarct (n {len(empty)}) false volume: {_quantiles(empty['found_ml'])}"
    )
    for low, high in itertools.pairwise(EDGES_ML):
        at = part[(part["truth_ml"] >= max(low, TRUTH_ML)) & (part["truth_ml"] < high)]
        print(
            f"  {low:3g}-{high:3g} ml: n {len(at):3d}, Dice {_interval(at['dice'])}, false {_quantiles(at['false_ml'])}"
        )
    large = part[part["truth_ml"] >= 3]
    print(f"  3 ml and more: n {len(large)}, Dice {_interval(large['dice'])}")
    seen = large[large["is_visible"]]
    print(f"  of these visible: n {len(seen)}, Dice {_interval(seen['dice'])}")
    for low, high in itertools.pairwise(EDGES_RATIO):
        at = large[(large["ratio"] >= low) & (large["ratio"] < high)]
        print(f"  of these signal {low:g} to {high:g} of normal: n {len(at)}, Dice {_interval(at['dice'])}")
    for name, true, found in (("volume", "truth_ml", "found_ml"), ("ASPECTS", "true_score", "found_score")):
        long = part.melt(id_vars="patient", value_vars=[true, found], var_name="rater", value_name="value")
        icc = pingouin.intraclass_corr(long, targets="patient", raters="rater", ratings="value").set_index("Type")
        row = icc.loc["ICC(A,1)"]
        print(f"  ICC(A,1) of {name}: {row['ICC']:.3f} ({row['CI95'][0]:.2f} to {row['CI95'][1]:.2f})", flush=True)


def _interval(values: pd.Series) -> str:
    """Median and its bootstrap interval."""
    if len(values) < 2:
        return "-"
    found = stats.bootstrap((values.to_numpy(),), np.median, n_resamples=2000, method="percentile", rng=1)
    low, high = found.confidence_interval
    return f"{values.median():.3f} ({low:.3f} to {high:.3f})"


def _quantiles(values: pd.Series) -> str:
    """Median and 90th percentile, ml."""
    return "-" if values.empty else f"{values.median():.2f} ml, 90 % within {values.quantile(0.9):.2f} ml"


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--weights", default="dwi-unet")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--first", type=int)
    parser.add_argument("--table", type=Path, help="write a row for each patient and way")
    given = parser.parse_args()
    weights = find_weights(given.weights, given.folder)
    network = loaded(weights, "small", N_DWI_CHANNELS, len(CLASSES))
    report_synthetic(given.pool, network, given.first, given.table)


if __name__ == "__main__":
    main()
