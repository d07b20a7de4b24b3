"""Whether scores by ``dwi-unet`` tell severe strokes from others as well as the lesions themselves do.

    python -m tests.benchmarks.accuracy_severity DATA ANATOMIES [--masks test|all] [--weights NAME] [--folder FOLDER]

DATA is the folder of the shared real data, ANATOMIES one of prepared anatomies that no training saw. Every real lesion
mask of a participant with an NIHSS (``soop``) is put into a synthetic patient and found again by the network, with
regions as a run places them (refined atlas). ASPECTS by rule ``wei`` of what was found is set beside that of the mask
in template space: AUC for NIHSS of 8 and more (METHODS A.6), paired difference by DeLong, agreement of both scores.
``test``: only masks that no training saw.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cohorts.images.nifti import nifti_bytes
from cohorts.images.scan import read_scan
from flows.cases.native_scan import prepare, refined
from models.anatomy.template import load_label_map
from models.inference import loaded
from models.training.anatomies import load_anatomy
from models.training.dwi import is_visible
from models.training.pool import read_lesion
from models.training.splits import lesion_split
from models.training.synthetic import Recipe, draw_patient, with_settings
from models.weights import find_weights
from reports.estimators.agreement import icc_a1
from reports.estimators.discrimination import auc, compare_aucs
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS, STEP_MM
from tasks.space.resample import Grid, resample_labels
from tests.benchmarks.accuracy_dwi_synthetic import LINES
from tests.benchmarks.accuracy_dwi_unet import probability_on
from tests.benchmarks.accuracy_regions import score

AFFINE = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
SEVERE_NIHSS = 8
LEAST_ML = 0.1  # found, below which a lesion is missed
WITH_MASK = {"no_infarct": 0.0, "grown": 0.0}


def found_scores(patient, network) -> tuple[int | None, int | None, float]:
    """ASPECTS of what the network finds, by the refined atlas and by the true regions, and its volume, ml."""
    image = read_scan(nifti_bytes(patient.b_high.astype(np.float32), AFFINE), "synthetic.nii.gz", "dwi", forms="sform")
    scan = refined(prepare(image, "dwi"))
    adc = patient.adc.astype(np.float32)
    found = probability_on((patient.b_high.astype(np.float32), AFFINE), adc, scan.brain_mask, network)
    lesion = found >= LINES["with ADC"]
    volume_ml = float(lesion.sum()) * STEP_MM**3 / 1000
    by_true = score(lesion, patient.regions["classic"])
    if not scan.registration.is_usable:
        return None, by_true, volume_ml
    return score(lesion, scan.atlas(load_label_map("classic"), Grid(scan.shape, AFFINE))), by_true, volume_ml


def report(data: Path, anatomies: Path, masks: str, network: object) -> None:
    """A row per mask, then the AUCs."""
    people = pd.read_csv(data / "soop" / "participants.tsv", sep="\t").set_index("participant_id")["nihss"].dropna()
    heads = [load_anatomy(path) for path in sorted(anatomies.glob("*.npz"))]
    classic = load_label_map("classic")
    recipe = with_settings(Recipe(), **WITH_MASK)
    rows = []
    for path in sorted((data / "soop" / "lesions").glob("*.nii.gz")):
        name = path.name.split("_")[0]
        if name not in people.index or (masks == "test" and lesion_split(name) != "test"):
            continue
        lesion, affine = read_lesion(path)
        if not lesion.any():
            continue
        labels = resample_labels(classic.labels, classic.affine, Grid(lesion.shape, affine), np.eye(4))
        number = int(name.removeprefix("sub-"))
        patient = draw_patient(heads[number % len(heads)], (lesion, affine), np.random.default_rng((9, number)), recipe)
        by_atlas, by_true, volume_ml = found_scores(patient, network)
        rows.append(
            {
                "severe": people[name] >= SEVERE_NIHSS,
                "mask": score(lesion > 0, labels),
                "drawn": score(patient.classes == INFARCT, patient.regions["classic"]),
                "found, true regions": by_true,
                "found, refined atlas": by_atlas,
                "volume_ml": volume_ml,
                "drawn_ml": float((patient.classes == INFARCT).sum()) * STEP_MM**3 / 1000,
                "visible": is_visible(patient),
            }
        )
    table = pd.DataFrame(rows)
    print(f"{len(table)} masks, {table['found, refined atlas'].isna().sum()} refused by the registration")
    table = table.dropna()
    missed = table[(table["volume_ml"] < LEAST_ML) & (table["drawn_ml"] >= LEAST_ML)]
    print(f"{len(missed)} lesions were missed, {(~missed['visible']).sum()} of them drawn too faint to be seen")
    for what, kept in (("all", table), ("visible lesions", table[table["visible"]])):
        print(f"{what}:")
        print_areas(kept)


def print_areas(table: pd.DataFrame) -> None:
    """AUC of every score, and its difference from that of the masks."""
    severe = table["severe"].to_numpy(int)
    for way in ("mask", "drawn", "found, true regions", "found, refined atlas"):
        one = auc(reference=severe, candidate=table[way].to_numpy(float), positive_when="low")
        interval = one.confidence_interval()
        line = f"{way:21s} n {len(table)}, severe {severe.sum()}: AUC {one.estimate:.3f}"
        line += f" ({interval.lower:.3f} to {interval.upper:.3f})"
        if way != "mask":
            agreed = icc_a1(reference=table["mask"], candidate=table[way]).estimate
            pair = compare_aucs(
                reference=severe,
                candidate_a=table[way].to_numpy(float),
                candidate_b=table["mask"].to_numpy(float),
                positive_when_a="low",
                positive_when_b="low",
            )
            between = pair.confidence_interval()
            line += f", minus the mask's {pair.estimate:+.3f} ({between.lower:+.3f} to {between.upper:+.3f})"
            line += f", ICC(A,1) with it {agreed:.3f}"
        print(line, flush=True)


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("--masks", choices=["test", "all"], default="test")
    parser.add_argument("--weights", default="dwi-unet")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    network = loaded(find_weights(given.weights, given.folder), "small", N_DWI_CHANNELS, len(CLASSES))
    report(given.data, given.anatomies, given.masks, network)


if __name__ == "__main__":
    main()
