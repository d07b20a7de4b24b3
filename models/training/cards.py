"""The card of trained weights: what they learned from, how, how well, and what is known not to work.

It lies beside the weights as ``NAME.json``, and ``models.weights.find_weights`` asks it whether they may score. Folders
are named, never placed: a card says the same on every machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cohorts.store.hashing import file_sha256
from cohorts.store.records import write_bytes
from models.training.items import Kind
from models.training.judging import INTERVAL_LEVEL, MOST_FALSE_ML, N_RESAMPLES, Metric
from models.training.ncct import LEAST_LOWERING_HU
from models.training.pool import BIN_ML
from models.training.splits import SPLITS, Placed
from models.training.synthetic import Recipe
from models.training.trainer import Plan

LICENCE_FILES = ("LICENSE*", "LICENCE*", "COPYING*")
TITLE_LINES = 3  # of a licence: its name, version and address
KNOWN_LIMITS = (
    "Trained and judged on synthetic patients drawn from the anatomies and lesions named here: figures on real scans "
    "are to be measured, and are lower.",
    "The threshold was chosen on synthetic validation patients.",
    "One machine gives the same weights again; other processors, thread counts and GPUs round otherwise.",
    "Research use only; never a diagnosis.",
)
COHORT_LIMITS = (
    "Patients' images are behind these weights, and a network may give away what it learned from: pass them on only as "
    "the licence or consent named here allows.",
    "Judged on patients of the same cohort, on the network's grid of 2 mm: figures at another site, scanner or reader "
    "are to be measured, and are lower.",
    "Of the cohort's patients only the lesion was drawn: voxels of the brain outside it were learned as any other "
    "class.",
    *KNOWN_LIMITS[2:],
)
CLASSIFIER_LIMITS = (
    KNOWN_LIMITS[0],
    "The cuts were chosen on synthetic validation patients.",
    "Regions lay where the refined atlas put them; those of a network lie elsewhere.",
)
#: What is known of one method besides.
LIMITS_OF: Mapping[str, tuple[str, ...]] = {
    "ncct-overlap": (
        f"Infarcts that lower density by less than {LEAST_LOWERING_HU:g} HU were not learned, and count nowhere here.",
        "Every layer started from nothing: no weights of ImageNet stand behind an encoder.",
    ),
}


@dataclass(frozen=True)
class Licence:
    """A licence as it was found or given.

    Attributes
    ----------
    title : its first lines, or what the user said
    file : name of the file; empty where the user said it
    sha256 : of the file
    """

    title: str
    file: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Training:
    """What a card tells of a training beside its weights.

    Attributes
    ----------
    method : name of the method
    profile : ``corrected`` or ``as-paper``
    n_classes : that the network tells apart
    plan : Plan
    recipe : of the synthetic patients; None without any
    seconds : of training, resumed parts included
    device : it was trained on
    code : digest of the code
    start : card of the weights that it started from
    """

    method: str
    profile: str
    n_channels: int
    n_classes: int
    plan: Plan
    recipe: Recipe | None
    seconds: float
    device: str = "cpu"
    code: str = ""
    start: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Data:
    """One folder of anatomies or lesions, or the patients of a cohort, whose folder is not named."""

    kind: Kind
    folder: str
    licences: tuple[Licence, ...]


def licences_of(folder: Path, given: str = "") -> tuple[Licence, ...]:
    """Licences of a folder: as the user says, else every licence file in it, else in the folder above."""
    if given:
        return (Licence(given),)
    return tuple(_found(folder)) or tuple(_found(folder.absolute().parent))


def _found(folder: Path) -> Iterator[Licence]:
    """Licence files by name."""
    for path in sorted({path for pattern in LICENCE_FILES for path in folder.glob(pattern) if path.is_file()}):
        lines = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        yield Licence(", ".join(lines[:TITLE_LINES]), path.name, file_sha256(path))


def operating_point(threshold: float, n_validation: int, *, is_cohort: bool = False) -> dict[str, Any]:
    """The threshold and how it was chosen."""
    who = (
        "validation patients of the cohort with a lesion"
        if is_cohort
        else "synthetic validation patients with an infarct"
    )
    return {
        "threshold": threshold,
        "chosen_on": f"{n_validation} {who}",
        "criterion": "highest mean Dice at which nine of ten patients without a lesion have at most "
        f"{MOST_FALSE_ML:g} ml; of equal ones the nearest to 0.5",
    }


def card_of(
    weights: Path,
    training: Training,
    placed: Sequence[Placed],
    data: Sequence[Data],
    judged: Mapping[str, Sequence[Metric]],
    point: Mapping[str, Any],
) -> dict[str, Any]:
    """What a card says.

    Parameters
    ----------
    weights : file of the weights
    training : Training
    placed : every anatomy, lesion and patient with its side
    data : the folders they came from
    judged : split -> metrics
    point : as ``operating_point`` gives it
    """
    has_patients = any(one.kind == "patient" for one in data) or bool((training.start or {}).get("has_patient_images"))
    return {
        "name": weights.stem,
        "sha256": file_sha256(weights),
        "state": "trained-here",
        "is_trained": True,
        "method": training.method,
        "preset": training.plan.preset,
        "profile": training.profile,
        "n_channels": training.n_channels,
        "n_classes": training.n_classes,
        "seed": training.plan.seed,
        "n_steps": training.plan.n_steps,
        "seconds": round(training.seconds, 1),
        "hours": round(training.seconds / 3600, 3),
        "device": training.device,
        "operating_point": dict(point),
        "metrics": [{"split": split, **asdict(one)} for split, rows in judged.items() for one in rows],
        "interval": f"{INTERVAL_LEVEL:.0%} percentile bootstrap of the median over patients, {N_RESAMPLES} resamples",
        "strata_ml": list(BIN_ML),
        "data": [_data(one, placed) for one in data],
        "plan": asdict(training.plan),
        "recipe": None if training.recipe is None else asdict(training.recipe),
        "has_patient_images": has_patients,
        "started_from": None if training.start is None else _started_from(training.start),
        "code": training.code,
        "made_with": {name: importlib.metadata.version(name) for name in ("aspects-cohort", "torch", "monai")},
        "known_limits": [*(COHORT_LIMITS if has_patients else KNOWN_LIMITS), *LIMITS_OF.get(training.method, ())],
    }


def classifier_card(
    weights: Path,
    training: Training,
    placed: Sequence[Placed],
    data: Sequence[Data],
    fitted: Mapping[str, Any],
) -> dict[str, Any]:
    """What the card of a classifier says.

    Parameters
    ----------
    weights, placed, data : as of ``card_of``
    training : Training, of which method, profile, plan, recipe, seconds and code count
    fitted : ``classifier``, ``metrics``, ``nested``, ``operating_point``, ``n_patients`` as it was fitted
    """
    return {
        "name": weights.stem,
        "sha256": file_sha256(weights),
        "state": "trained-here",
        "is_trained": True,
        "method": training.method,
        "profile": training.profile,
        "seed": training.plan.seed,
        "seconds": round(training.seconds, 1),
        **fitted,
        "interval": "95% percentile bootstrap over patients",
        "data": [_data(one, placed) for one in data],
        "recipe": None if training.recipe is None else asdict(training.recipe),
        "has_patient_images": False,
        "started_from": None,
        "code": training.code,
        "made_with": {
            name: importlib.metadata.version(name)
            for name in ("aspects-cohort", "scikit-learn", "torch" if fitted.get("preset") else "pyradiomics-cuda")
        },
        "known_limits": [*CLASSIFIER_LIMITS, *KNOWN_LIMITS[2:]],
    }


def write_card(weights: Path, content: Mapping[str, Any]) -> Path:
    """Write a card beside its weights."""
    path = weights.with_suffix(".json")
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return path


def _started_from(card: Mapping[str, Any]) -> dict[str, Any]:
    """What stands behind the weights of the start: data, licences, and what stood behind them in turn."""
    return {key: card.get(key) for key in ("name", "sha256", "has_patient_images", "data", "started_from")}


def _data(one: Data, placed: Sequence[Placed]) -> dict[str, Any]:
    """Counts and digests of one kind; anatomies are named, of masks there are too many."""
    items = [each for each in placed if each.item.kind == one.kind]
    digests = "\n".join(sorted(each.item.sha256 for each in items))
    body: dict[str, Any] = {
        "kind": "cohort" if one.kind == "patient" else one.kind,
        "folder": one.folder,
        "n": {split: sum(each.split == split for each in items) for split in SPLITS},
        "sha256_of_digests": hashlib.sha256(digests.encode()).hexdigest(),
        "licences": [asdict(each) for each in one.licences] or "none was found or given",
    }
    if one.kind == "patient":  # neither named nor placed: their number, and a digest that only who has them can make
        del body["folder"]
        body["n_with_lesion"] = {
            split: sum(each.split == split and each.item.volume_ml > 0 for each in items) for split in SPLITS
        }
    if one.kind == "anatomy":
        body["anatomies"] = [
            {
                "name": each.item.name,
                "split": each.split,
                "sha256": each.item.sha256,
                "ventricles_ml": round(each.item.volume_ml, 1),
            }
            for each in items
        ]
    return body
