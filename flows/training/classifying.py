"""The part of a training that learns from prepared patients: draw the pool, prepare every patient, fit, publish."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohorts.store.records import atomic_writer, digest_of, write_bytes
from flows.run.request import UsageError
from flows.sources.code import ROOT, version_of
from flows.training import steps
from flows.training.fitting import FITTED, PREPARED, Files, fit_on, least_of, prepare
from flows.training.inputs import Inputs, pool_parts
from flows.training.publishing import REPORT, data_of
from flows.training.work import Work
from models.training.cards import Training, classifier_card, write_card
from models.training.splits import SPLITS, Split
from models.training.synthetic import Recipe
from reports.pages.classifier import ClassifierView, classifier_page

PREPARED_PART = 10  # patients that one task prepares


def train_classifier(
    training: Work, inputs: Inputs, kept: Mapping[tuple[str, str], Path], pool: Path, made_by: Mapping[str, str]
) -> dict[str, Any]:
    """Draw, prepare, fit and publish; what is kept already is not done again.

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
    request = training.request
    method = request.method
    sizes: dict[Split, int] = dict(zip(SPLITS, (request.n_pool, request.n_judged, request.n_judged), strict=True))
    drawn = []
    for split, n in sizes.items():
        heads = [path for (side, _), path in kept.items() if side == split]
        drawn += pool_parts(inputs, pool, split, n, request.seed, heads)
    training.say(f"Drawing {sum(sizes.values())} synthetic patients into {pool.name}, those not kept yet.")
    with training.timed("pool"):
        training.all_of("draw", [(steps.draw, (part,)) for part in drawn])
    own = PREPARED[method]
    made_of = {"pool": pool.name, "method": method, "code": version_of(own.code, ROOT).digest}
    if training.plan.preset:  # what a network is shown may depend on it
        made_of["preset"] = training.plan.preset
    folder = request.work / f"prepared-{digest_of(made_of)[:12]}"
    names = {split: [f"{number:06d}" for number in range(n)] for split, n in sizes.items()}
    files = {split: tuple(folder / split / f"{one}{own.ending}" for one in each) for split, each in names.items()}
    training.say(f"Preparing them in {folder.name}: up to two seconds of one core each.")
    jobs: list[Any] = []
    for split, each in names.items():
        for at in range(0, len(each), PREPARED_PART):
            some = slice(at, at + PREPARED_PART)
            pooled = [pool / split / f"{one}.npz" for one in each[some]]
            jobs.append((prepare, (method, training.plan, pooled, files[split][some])))
    with training.timed("prepare"):
        training.all_of("prepare", jobs)
    _check_enough(method, files)
    out = request.work / f"training-{made_by['training_digest'][:12]}"
    training.say("Fitting: minutes of one core.")
    with training.timed("fit"):
        (weights,) = training.all_of("fit", [(fit_on, (method, training.plan, files, out))])
    return _published(training, inputs, weights, made_by)


def _check_enough(method: str, files: Files) -> None:
    """Refuse a pool in which too few show what is to be learned.

    Raises
    ------
    UsageError
        There are too few; it says how many, and why others are not there.
    """
    own = PREPARED[method]
    for split, paths in files.items():
        found = [own.told(path) for path in paths]
        n_shown = sum(is_shown for is_shown, _ in found)
        if n_shown < (wanted := least_of(split)):
            refused = Counter(reason for _, reason in found if reason)
            why = f" ({', '.join(f'{n} {reason}' for reason, n in refused.items())})" if refused else ""
            raise UsageError(
                f"{wanted} patients or more of {split} must have {own.shown}, got {n_shown} of {len(paths)}{why}. Draw "
                "more: --pool, --judged."
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
