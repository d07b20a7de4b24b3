"""What is learned from prepared patients of a pool, not from the pool itself: classifiers of regions, a dichotomy.

Steps that run on a worker: prepare some patients, and fit, calibrate and judge on all. Of what is fitted the weights
are kept, and beside them ``FITTED``, which is written last: what the card says of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from cohorts.folder.source import ImageName
from cohorts.store.records import atomic_writer, write_bytes
from flows.training.describing import Description, describe_patient
from models.anatomy.template import load_label_map
from models.classifier import arrays_of, chance_of, facts_of
from models.networks.recurrent import logits_of
from models.training import dichotomy
from models.training.classifier_judging import judge, judge_patients, nested_area
from models.training.classifiers import (
    CLASSIFIERS,
    OUTER,
    SPECIFICITY,
    Fitted,
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
Files = Mapping[Split, tuple[Path, ...]]


def is_fitted(method: str) -> bool:
    """Whether a method is learned from prepared patients."""
    return method in CLASSIFIERS or method == dichotomy.METHOD


def ending_of(method: str) -> str:
    """Of the file of a prepared patient."""
    return ".json" if method in CLASSIFIERS else ".npz"


def code_of(method: str) -> tuple[str, ...]:
    """Modules that decide what is prepared."""
    return ("flows.training.describing",) if method in CLASSIFIERS else ("tasks.diffusion.slab", "tasks.scoring")


def prepare(method: str, paths: Sequence[Path], kept: Sequence[Path]) -> int:
    """Prepare some patients, those that are not kept yet; gives how many there are."""
    recipe = CLASSIFIERS.get(method)
    for path, own in zip(paths, kept, strict=True):
        if recipe is None:
            dichotomy.prepare(path, own)
        else:
            describe_patient(path, Description(cast(ImageName, recipe.image), recipe.label_map), own)
    return len(paths)


def usable(method: str, path: Path) -> tuple[bool, str]:
    """Whether a prepared patient shows what is to be learned, and why it cannot be used, else empty."""
    if method in CLASSIFIERS:
        kept = json.loads(path.read_bytes())
        return not kept["reason"] and max(kept["shares"]) > AFFECTED, kept["reason"]
    with np.load(path, allow_pickle=False) as patient:
        return int(patient["score"]) <= dichotomy.LOW, ""


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
    told = (_fit_classifier if method in CLASSIFIERS else _fit_dichotomy)(method, plan, files, path)
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
    metrics = [
        {"split": split, **row} for split in ("validation", "test") for row in judge(classifier, tables[split], seed)
    ]
    with atomic_writer(path) as temporary:
        save_file(arrays_of(classifier), temporary)
    return {
        "classifier": facts_of(classifier),
        "metrics": metrics,
        "nested": _nested(fitted, tables["train"], seed),
        "operating_point": {
            "cuts": dict(classifier.cuts),
            "chosen_on": f"{len(tables['validation'].patients)} synthetic validation patients",
            "criterion": f"least probability at which {SPECIFICITY:.0%} of a region's unaffected ones lie below",
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
    judged: tuple[Split, ...] = ("validation", "test")
    logits = {split: logits_of(network, slabs[split].slices) for split in judged}
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
