"""The step that fits a classifier of regions, judges it and keeps both; it runs on a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cohorts.store.records import atomic_writer, write_bytes
from flows.training.describing import Description, describe_patient
from models.anatomy.template import load_label_map
from models.classifier import arrays_of, facts_of
from models.training.classifier_judging import judge, nested_area
from models.training.classifiers import CLASSIFIERS, SPECIFICITY, Fitted, fit, outside_area, with_operating_points
from models.training.described import RegionTable, read_described
from models.training.splits import Split
from tasks.radiomics.features import LEARNED

FITTED = "fitted.json"


def describe(paths: Sequence[Path], how: Description, kept: Sequence[Path]) -> int:
    """Describe some patients; gives how many."""
    for path, own in zip(paths, kept, strict=True):
        describe_patient(path, how, own)
    return len(paths)


def fit_classifier(method: str, described: Mapping[Split, tuple[Path, ...]], out: Path, seed: int) -> Path:
    """Fit a classifier on training patients, calibrate it on validation patients, and judge it on both and on test.

    Parameters
    ----------
    method : of ``CLASSIFIERS``
    described : side -> files of ``describe_patient``
    out : folder of the weights and of ``FITTED``, which is written last
    seed : of everything that is drawn

    Returns
    -------
    File of the weights.
    """
    from safetensors.numpy import save_file

    began = time.monotonic()
    recipe = CLASSIFIERS[method]
    labels = load_label_map(recipe.label_map).table
    tables = {split: read_described(paths, labels, LEARNED.names) for split, paths in described.items()}
    fitted = fit(recipe, tables["train"], seed)
    classifier = with_operating_points(fitted.classifier, tables["validation"])
    metrics = [
        {"split": split, **row} for split in ("validation", "test") for row in judge(classifier, tables[split], seed)
    ]
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{method}.safetensors"
    with atomic_writer(path) as temporary:
        save_file(arrays_of(classifier), temporary)
    told = {
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
        "seconds": round(time.monotonic() - began, 1),
    }
    write_bytes(out / FITTED, json.dumps(told).encode())
    return path


def _nested(fitted: Fitted, table: RegionTable, seed: int) -> dict[str, Any]:
    """How well it goes on patients of the training that a fold left out, and what was chosen how often."""
    rows = table.rows(())
    return {
        "area": nested_area(rows, fitted.nested, seed),
        "area_chosen_outside": outside_area(fitted, table, seed),
        "chosen": [[one.feature, one.mode, n] for one, n in fitted.chosen],
        "settings": dict(fitted.settings),
    }
