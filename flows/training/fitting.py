"""What is learned from prepared patients of a pool, not from the pool itself: classifiers of regions, a dichotomy.

Steps that run on a worker: prepare some patients, and fit, calibrate and judge on all. Of what is fitted the weights
are kept, and beside them ``FITTED``, which is written last: what the card says of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from cohorts.folder.source import ImageName
from cohorts.store.records import atomic_writer, write_bytes
from flows.training.describing import Description, describe_patient
from flows.training.pairing import pair_patient
from models import asymmetry as networks_of_regions
from models.anatomy.template import load_label_map
from models.classifier import arrays_of, chance_of, facts_of
from models.networks.da_net import DANET_PRESETS
from models.networks.recurrent import logits_of
from models.training import asymmetry, dichotomy
from models.training.classifier_judging import judge, judge_patients, judge_rows, nested_area
from models.training.classifiers import (
    CLASSIFIERS,
    OUTER,
    SPECIFICITY,
    Fitted,
    cuts_of,
    fit,
    outside_area,
    platt,
    with_operating_points,
)
from models.training.described import AFFECTED, RegionTable, read_described
from models.training.splits import Split
from models.training.trainer import Plan
from tasks.radiomics.features import LEARNED

FITTED = "fitted.json"
CUTS = f"least probability at which {SPECIFICITY:.0%} of a region's unaffected ones lie below"
JUDGED: tuple[Split, ...] = ("validation", "test")
Files = Mapping[Split, tuple[Path, ...]]


@dataclass(frozen=True)
class Prepared:
    """What a method that is fitted makes of a patient first.

    Attributes
    ----------
    ending : of the file
    code : modules that decide what is in it
    make : method, plan, pooled patient, file to keep
    told : file -> whether the patient shows what is to be learned, and why the image cannot be used, else empty
    shown : what that is, in words
    """

    ending: str
    code: tuple[str, ...]
    make: Callable[[str, Plan, Path, Path], Path]
    told: Callable[[Path], tuple[bool, str]]
    shown: str


def _describe(method: str, _plan: Plan, path: Path, kept: Path) -> Path:
    recipe = CLASSIFIERS[method]
    return describe_patient(path, Description(cast(ImageName, recipe.image), recipe.label_map), kept)


def _described(path: Path) -> tuple[bool, str]:
    kept = json.loads(path.read_bytes())
    return not kept["reason"] and max(kept["shares"]) > AFFECTED, kept["reason"]


def _cut(_method: str, _plan: Plan, path: Path, kept: Path) -> Path:
    return dichotomy.prepare(path, kept)


def _is_low(path: Path) -> tuple[bool, str]:
    with np.load(path, allow_pickle=False) as patient:
        return int(patient["score"]) <= dichotomy.LOW, ""


def _pair(_method: str, plan: Plan, path: Path, kept: Path) -> Path:
    return pair_patient(path, DANET_PRESETS[plan.preset].patches, kept)


def _paired(path: Path) -> tuple[bool, str]:
    with np.load(path, allow_pickle=False) as patient:
        reason = str(patient["reason"])
        return not reason and bool((patient["shares"] > AFFECTED)[patient["is_there"]].any()), reason


_REGION = "an affected region and an image that can be used"
_DESCRIBED = Prepared(".json", ("flows.training.describing",), _describe, _described, _REGION)
PREPARED: Mapping[str, Prepared] = {
    **dict.fromkeys(CLASSIFIERS, _DESCRIBED),
    dichotomy.METHOD: Prepared(
        ".npz", ("tasks.diffusion.slab", "tasks.scoring"), _cut, _is_low, "a score of 6 or less"
    ),
    asymmetry.ASYMMETRY: Prepared(".npz", ("flows.training.pairing",), _pair, _paired, _REGION),
}


def prepare(method: str, plan: Plan, paths: Sequence[Path], kept: Sequence[Path]) -> int:
    """Prepare some patients, those that are not kept yet; gives how many there are."""
    for path, own in zip(paths, kept, strict=True):
        PREPARED[method].make(method, plan, path, own)
    return len(paths)


def least_of(split: Split) -> int:
    """How many patients must show it."""
    return OUTER if split == "train" else 1


def fit_on(method: str, plan: Plan, files: Files, out: Path) -> Path:
    """Fit on training patients, calibrate on validation patients, and judge on both and on test.

    Parameters
    ----------
    method : as above
    plan : Plan; of a classifier the seed counts
    files : side -> files of ``prepare``
    out : folder of the weights and of ``FITTED``

    Returns
    -------
    File of the weights.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{method}.safetensors"
    fits = {dichotomy.METHOD: _fit_dichotomy, asymmetry.ASYMMETRY: _fit_asymmetry}
    told = fits.get(method, _fit_classifier)(method, plan, files, path)
    write_bytes(out / FITTED, json.dumps(told | {"seconds": round(time.monotonic() - began, 1)}).encode())
    return path


def _fit_classifier(method: str, plan: Plan, files: Files, path: Path) -> dict[str, Any]:
    """A classifier of regions."""
    from safetensors.numpy import save_file

    recipe, seed = CLASSIFIERS[method], plan.seed
    labels = load_label_map(recipe.label_map).table
    tables = {split: read_described(paths, labels, LEARNED.names) for split, paths in files.items()}
    fitted = fit(recipe, tables["train"], seed)
    classifier = with_operating_points(fitted.classifier, tables["validation"])
    metrics = [{"split": split, **row} for split in JUDGED for row in judge(classifier, tables[split], seed)]
    with atomic_writer(path) as temporary:
        save_file(arrays_of(classifier), temporary)
    return {
        "classifier": facts_of(classifier),
        "metrics": metrics,
        "nested": _nested(fitted, tables["train"], seed),
        "operating_point": {
            "cuts": dict(classifier.cuts),
            "chosen_on": f"{len(tables['validation'].patients)} synthetic validation patients",
            "criterion": CUTS,
        },
        "n_patients": {split: len(one.patients) for split, one in tables.items()},
        "n_refused": {split: one.n_refused for split, one in tables.items()},
    }


def _nested(fitted: Fitted, table: RegionTable, seed: int) -> dict[str, Any]:
    """How well it goes on patients of the training that a fold left out, and what was chosen how often."""
    rows = table.rows(())
    return {
        "area": nested_area(rows, fitted.nested, seed),
        "area_chosen_outside": outside_area(fitted, table, seed),
        "chosen": [[one.feature, one.mode, n] for one, n in fitted.chosen],
        "settings": dict(fitted.settings),
    }


def _fit_dichotomy(_method: str, plan: Plan, files: Files, path: Path) -> dict[str, Any]:
    """The network of low scores; its training goes on from its checkpoint."""
    from safetensors.torch import save_file

    slabs = {split: dichotomy.read_slabs(paths) for split, paths in files.items()}
    network = dichotomy.train_dichotomy(slabs["train"], path.parent, plan)
    logits = {split: logits_of(network, slabs[split].slices) for split in JUDGED}
    truth = {split: one.is_low for split, one in slabs.items()}
    curve = platt(logits["validation"], truth["validation"])
    chances = {split: chance_of(one, curve) for split, one in logits.items()}
    threshold = dichotomy.youden_threshold(chances["validation"], truth["validation"])
    with atomic_writer(path) as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    return {
        "classifier": {"kind": "rrcnn", "preset": plan.preset, "calibration": list(curve)},
        "preset": plan.preset,
        "metrics": [
            {"split": split, **row}
            for split, chance in chances.items()
            for row in judge_patients(chance, truth[split], threshold, plan.seed)
        ],
        "operating_point": {
            "threshold": threshold,
            "chosen_on": f"{len(truth['validation'])} synthetic validation patients",
            "criterion": "highest sum of sensitivity and specificity; of equal ones the nearest to a half",
        },
        "n_patients": {split: len(one.scores) for split, one in slabs.items()},
        "n_low": {split: int(one.is_low.sum()) for split, one in slabs.items()},
        "n_score_0": {split: int((one.scores == 0).sum()) for split, one in slabs.items()},
        "n_refused": dict.fromkeys(slabs, 0),
        "n_steps": plan.n_steps,
    }


def _fit_asymmetry(_method: str, plan: Plan, files: Files, path: Path) -> dict[str, Any]:
    """The networks of deep and of cortical regions; their training goes on from its checkpoints."""
    from safetensors.torch import save_file

    tables = {split: asymmetry.read_pairs(paths) for split, paths in files.items()}
    preset = DANET_PRESETS[plan.preset]
    for group in networks_of_regions.NETWORKS:
        asymmetry.refuse_one_class(tables["validation"], group, "validation")
    networks = {
        group: asymmetry.train_group(tables["train"], group, path.parent / group, plan, tables["validation"])
        for group in networks_of_regions.NETWORKS
    }
    rows, logits = {}, {}
    for split in JUDGED:
        rows[split], place = tables[split].rows()
        logits[split] = asymmetry.logits_of_all(networks, preset, tables[split])[place]
    is_of = {
        (split, group): np.isin(rows[split].regions, regions)
        for split in JUDGED
        for group, regions in networks_of_regions.NETWORKS.items()
    }
    curves = {}
    chance = {split: np.zeros(len(one)) for split, one in logits.items()}
    for group in networks_of_regions.NETWORKS:
        own = is_of["validation", group]
        curves[group] = platt(logits["validation"][own], rows["validation"].is_affected[own])
        for split in JUDGED:
            own = is_of[split, group]
            chance[split][own] = chance_of(logits[split][own], curves[group])
    cuts = cuts_of(rows["validation"], chance["validation"])
    with atomic_writer(path) as temporary:
        save_file(networks_of_regions.arrays_of(networks), temporary)
    return {
        "classifier": {
            "kind": "da-net",
            "preset": plan.preset,
            "calibration": {group: list(curve) for group, curve in curves.items()},
            "cuts": cuts,
        },
        "preset": plan.preset,
        "metrics": [
            {"split": split, **row}
            for split in JUDGED
            for row in judge_rows(rows[split], chance[split], cuts, plan.seed)
        ],
        "operating_point": {
            "cuts": cuts,
            "chosen_on": f"{len(tables['validation'].patients)} synthetic validation patients",
            "criterion": CUTS,
        },
        "n_patients": {split: len(one.patients) for split, one in tables.items()},
        "n_refused": {split: one.n_refused for split, one in tables.items()},
        "n_steps": plan.n_steps,
    }
