"""What each part of the synthetic patients and of the recipe of ``dwi-unet`` is worth: trainings that leave one out.

    python -m tests.benchmarks.ablations_dwi OUT ANATOMIES LESIONS JUDGED DATA [--steps 600] [--patients 120]
        [--preset tiny] [--patch 80 96 80] [--first 60] [--only NAME ...]

ANATOMIES holds prepared anatomies (``aspects train`` keeps them in ``work/anatomies``), LESIONS masks in template
space, JUDGED a pool of patients whose anatomies and masks no variant is drawn from (``work/pool-.../test``), DATA the
shared real data. Every variant is trained from nothing, with the same seed, steps and number of patients, and judged at
.5 without the mirror image: median Dice of the visible infarcts of 3 ml and more and of smaller ones, mean paired
difference from the whole recipe with a bootstrap interval over patients, false volume where there is none; and the real
scans. What was finished is not trained again. One training each: differences of a few hundredths may be chance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy import stats

from models.inference import Network, probabilities
from models.training import dwi, trainer
from models.training.anatomies import load_anatomy
from models.training.items import participant_of
from models.training.judging import brain_box
from models.training.methods import plan_for
from models.training.pool import lesions_by_size, pooled_files, read_lesion, read_patient, write_pool
from models.training.splits import lesion_split
from models.training.synthetic import Recipe, with_settings
from models.training.trainer import Plan, network_from, train
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS, WINDOW
from tasks.space.affines import voxel_volume_mm3
from tests.benchmarks.accuracy_baselines_dwi import dice
from tests.benchmarks.accuracy_dwi_unet import probability_on, real_cases

VOXEL_ML = 0.008


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes
    ----------
    recipe : settings of the synthetic patients that differ
    plan : what differs in the plan
    profile : of the network and plan
    n_anatomies : 0 for all
    switched : makes what else differs hold while it trains
    """

    recipe: Mapping[str, float] = field(default_factory=dict)
    plan: Mapping[str, float] = field(default_factory=dict)
    profile: str = "corrected"
    n_anatomies: int = 0
    switched: Callable[[], AbstractContextManager[object]] = nullcontext


VARIANTS: Mapping[str, Variant] = {
    "whole": Variant(),
    "one anatomy": Variant(n_anatomies=1),
    "three anatomies": Variant(n_anatomies=3),
    "no fade": Variant(recipe={"fade": 0.0}),
    "no distractors": Variant(recipe={"old_lesion": 0.0, "leukoaraiosis": 0.0, "haemorrhage": 0.0}),
    "no artefacts": Variant(
        recipe={"artefacts": 0.0}, switched=lambda: patch.multiple(dwi, PILED_UP=0.0, PILED_UP_ALONE=0.0)
    ),
    "grown lesions alone": Variant(recipe={"grown": 1.0}),
    "no mirror image": Variant(switched=lambda: patch.object(trainer, "MIRRORED", 0.0)),
    "always an ADC": Variant(switched=lambda: patch.object(dwi, "NO_ADC", 0.0)),
    "Tversky .3 .7": Variant(plan={"false_positive": 0.3, "false_negative": 0.7}),
    "as paper": Variant(profile="as-paper"),
}


def trained(name: str, given: argparse.Namespace) -> tuple[Path, Plan]:
    """Weights of a variant; patients are shared by those that draw the same ones."""
    variant = VARIANTS[name]
    sizes = lesions_of(given.lesions)
    heads = [one for one in sorted(given.anatomies.glob("*.npz")) if one.name.split("-")[0] not in judged_heads(given)]
    heads = heads[: variant.n_anatomies or None]
    recipe = with_settings(Recipe(), **variant.recipe)
    drawn = "-".join([str(len(heads)), *(f"{key}{value:g}" for key, value in variant.recipe.items())])
    pool = given.out / f"pool-{drawn}"
    if len(pooled_files(pool)) < given.patients:
        write_pool(pool, given.patients, tuple(load_anatomy(one) for one in heads), sizes, recipe=recipe, seed=1)
    size = {"n_steps": given.steps, "pool": given.patients, "pool_at_start": given.patients, "n_threads": given.threads}
    preset = given.preset if variant.profile == "corrected" else "small"
    plan = replace(plan_for(variant.profile, preset, **size), **variant.plan, patch=tuple(given.patch))
    if variant.profile == "as-paper":  # the same number of patients seen: a step has four
        plan = replace(plan, n_steps=given.steps // plan.batch)
    with variant.switched():
        return train(dwi.DWI_TASK, pool, given.out / name.replace(" ", "-"), plan), plan


def lesions_of(folder: Path) -> tuple[tuple[Path, ...], ...]:
    """Masks that ``aspects train`` learns from, by size."""
    paths = [one for one in sorted(folder.glob("*.nii.gz")) if lesion_split(participant_of(one.name)) == "train"]
    volumes = []
    for path in paths:
        values, affine = read_lesion(path)
        volumes.append(float((values > 0).sum() * voxel_volume_mm3(affine)) / 1000)
    return lesions_by_size(paths, volumes)


def judged_heads(given: argparse.Namespace) -> set[str]:
    """Names of the anatomies of the judged patients."""
    return {str(read_patient(path).facts["anatomy"]) for path in pooled_files(given.judged)[: given.first]}


def judged(network: Network, files: Sequence[Path]) -> list[dict[str, float]]:
    """Truth, found volume and Dice of each patient, with ADC and with b-high alone."""
    rows = []
    for path in files:
        one = read_patient(path)
        box = brain_box(one.brain, network.window)
        brain, truth = one.brain[box], (one.classes == INFARCT)[box]
        row = {"truth_ml": float(truth.sum()) * VOXEL_ML, "visible": float(dwi.is_visible(one))}
        for way, channels in (("adc", dwi.DWI_TASK.channels), ("alone", dwi.without_adc)):
            mask = (probabilities(network, channels(one, None)[:, *box])[INFARCT] > 0.5) & brain
            row |= {f"{way}_ml": float(mask.sum()) * VOXEL_ML, f"{way}_dice": dice(mask, truth)}
        rows.append(row)
    return rows


def on_real(network: Network, data: Path) -> str:
    """Dice where there is a manual mask, else volume."""
    words = []
    for name, way, prepared, adc, truth in real_cases(data):
        image = (prepared.dwi.values, prepared.dwi.affine)
        mask = probability_on(image, adc, prepared.brain, network) > 0.5
        volume = f"{mask.sum() * voxel_volume_mm3(prepared.dwi.affine) / 1000:.2f} ml"
        words.append(f"{name} {way} " + (volume if truth is None else f"Dice {dice(mask, truth):.2f}, {volume}"))
    return "; ".join(words)


def summary(name: str, rows: Sequence[Mapping[str, float]], whole: Sequence[Mapping[str, float]]) -> str:
    """Medians of one variant, and its differences from the whole recipe."""
    parts = [f"{name:20s}"]
    for way in ("adc", "alone"):
        for words, low, high in ((">= 3 ml", 3.0, np.inf), ("< 3 ml", 0.1, 3.0)):
            at = [n for n, one in enumerate(rows) if one["visible"] and low <= one["truth_ml"] < high]
            own = np.array([rows[n][f"{way}_dice"] for n in at])
            text = f"{way} {words} (n {len(at)}) {np.median(own):.3f}"
            if whole is not rows:
                change = own - np.array([whole[n][f"{way}_dice"] for n in at])
                found = stats.bootstrap((change,), np.mean, n_resamples=2000, method="percentile", rng=1)
                lower, upper = found.confidence_interval
                text += f" [{change.mean():+.3f}, {lower:+.3f} to {upper:+.3f}]"
            parts.append(text)
        empty = [one[f"{way}_ml"] for one in rows if one["truth_ml"] == 0]
        parts.append(f"none (n {len(empty)}) 90 % within {np.quantile(empty, 0.9):.2f} ml")
    return ", ".join(parts)


def main() -> None:
    """Read the arguments, train, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "anatomies", "lesions", "judged", "data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--patch", type=int, nargs=3, default=WINDOW, help="voxels of 2 mm; smaller ones learn faster")
    parser.add_argument("--first", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    given = parser.parse_args()
    for name in given.only:
        kept = given.out / f"{name.replace(' ', '-')}.json"
        if not kept.is_file():
            weights, plan = trained(name, given)
            network = Network(network_from(weights, plan.preset, N_DWI_CHANNELS, len(CLASSES)), plan.patch)
            rows = judged(network, pooled_files(given.judged)[: given.first])
            kept.write_text(json.dumps({"rows": rows, "real": on_real(network, given.data)}))
        found = json.loads(kept.read_text())
        whole = given.out / "whole.json"
        base = json.loads(whole.read_text())["rows"] if name != "whole" and whole.is_file() else found["rows"]
        print(summary(name, found["rows"], found["rows"] if name == "whole" else base), flush=True)
        print(f"{'':20s}{found['real']}", flush=True)


if __name__ == "__main__":
    main()
