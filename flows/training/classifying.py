"""The part of a training that is a classifier's: draw the pool, describe every patient, fit, publish."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from cohorts.folder.source import ImageName
from cohorts.store.records import atomic_writer, digest_of, write_bytes
from flows.run.plan import UsageError
from flows.sources.code import ROOT, version_of
from flows.training import steps
from flows.training.describing import Description
from flows.training.fitting import FITTED, describe, fit_classifier
from flows.training.inputs import Inputs, pool_parts
from flows.training.publishing import REPORT, data_of
from flows.training.work import Work
from models.training.cards import Training, classifier_card, write_card
from models.training.classifiers import CLASSIFIERS, OUTER
from models.training.described import AFFECTED
from models.training.splits import SPLITS, Split
from models.training.synthetic import Recipe
from reports.pages.classifier import ClassifierView, classifier_page

DESCRIBED_PART = 10  # patients that one task describes


def train_classifier(
    training: Work, inputs: Inputs, kept: Mapping[tuple[str, str], Path], pool: Path, made_by: Mapping[str, str]
) -> dict[str, Any]:
    """Draw, describe, fit and publish; what is kept already is not done again.

    Parameters
    ----------
    training : Work
    inputs : anatomies and lesions on their sides
    kept : (side, name) -> a prepared anatomy
    pool : folder of the synthetic patients
    made_by : ``training_digest`` and ``code``, as the card has them

    Returns
    -------
    The card.
    """
    request, recipe = training.request, CLASSIFIERS[training.request.method]
    sizes: dict[Split, int] = dict(zip(SPLITS, (request.n_pool, request.n_judged, request.n_judged), strict=True))
    drawn = []
    for split, n in sizes.items():
        heads = [path for (side, _), path in kept.items() if side == split]
        drawn += pool_parts(inputs, pool, split, n, request.seed, heads)
    training.say(f"Drawing {sum(sizes.values())} synthetic patients into {pool.name}, those not kept yet.")
    with training.timed("pool"):
        training.all_of("draw", [(steps.draw, (part,)) for part in drawn])
    how = Description(cast(ImageName, recipe.image), recipe.label_map)
    code = version_of(("flows.training.describing",), ROOT).digest
    folder = request.work / f"described-{digest_of({'pool': pool.name, 'how': asdict(how), 'code': code})[:12]}"
    patients = {split: [f"{number:06d}" for number in range(n)] for split, n in sizes.items()}
    files = {split: tuple(folder / split / f"{name}.json" for name in names) for split, names in patients.items()}
    training.say(f"Describing them in {folder.name}: about two seconds of one core each.")
    jobs: list[Any] = []
    for split, names in patients.items():
        for at in range(0, len(names), DESCRIBED_PART):
            some = slice(at, at + DESCRIBED_PART)
            jobs.append((describe, ([pool / split / f"{one}.npz" for one in names[some]], how, files[split][some])))
    with training.timed("describe"):
        training.all_of("describe", jobs)
    _check_enough(files)
    out = request.work / f"training-{made_by['training_digest'][:12]}"
    training.say("Fitting, with everything chosen inside folds of patients: minutes of one core.")
    with training.timed("fit"):
        (weights,) = training.all_of("fit", [(fit_classifier, (request.method, files, out, request.seed))])
    return _published(training, inputs, weights, made_by)


def _check_enough(files: Mapping[Split, tuple[Path, ...]]) -> None:
    """Refuse a pool in which too few could be described to fit, calibrate and judge by.

    Raises
    ------
    UsageError
        There are too few; it says how many and why the others are not there.
    """
    for split, paths in files.items():
        kept = [json.loads(path.read_bytes()) for path in paths]
        n_affected = sum(not one["reason"] and max(one["shares"]) > AFFECTED for one in kept)
        wanted = OUTER if split == "train" else 1
        if n_affected < wanted:
            reasons = ", ".join(
                f"{n} {reason}" for reason, n in Counter(one["reason"] for one in kept).items() if reason
            )
            raise UsageError(
                f"{wanted} patients or more of {split} must have an affected region and an image that can be used, got "
                f"{n_affected} of {len(kept)}" + (f" ({reasons})" if reasons else "") + ". Draw more: --pool, --judged."
            )


def _published(training: Work, inputs: Inputs, fitted: Path, made_by: Mapping[str, str]) -> dict[str, Any]:
    """Write weights, card and page; the card last but one, so that no card names weights that are not there."""
    request = training.request
    told = json.loads((fitted.parent / FITTED).read_bytes())
    weights = request.out / fitted.name
    with atomic_writer(weights) as temporary:
        shutil.copyfile(fitted, temporary)
    about = Training(
        method=request.method,
        profile=request.profile,
        n_channels=0,
        n_classes=2,
        plan=training.plan,
        recipe=Recipe(),
        seconds=told.pop("seconds"),
        code=made_by["code"],
    )
    card = classifier_card(weights, about, inputs.placed, data_of(request), told)
    card |= {"training_digest": made_by["training_digest"], "n_judged": request.n_judged}
    write_card(weights, card)
    view = ClassifierView(card, training.run_id, importlib.metadata.version("aspects-cohort"))
    write_bytes(request.out / REPORT, classifier_page(view).encode())
    return card
