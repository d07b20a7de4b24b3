"""What a training publishes: weights, their card, and a page of its own."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cohorts.store.hashing import file_sha256
from cohorts.store.records import atomic_writer, write_bytes
from flows.run.request import UsageError
from flows.training.inputs import Inputs
from flows.training.request import TrainRequest
from flows.training.work import Work
from models.training.cards import Data, Licence, Training, card_of, licences_of, operating_point, write_card
from models.training.items import Kind
from models.training.judging import EVERYONE, Counts, Metric, choose_threshold, judged_at, metrics_of
from models.training.methods import task_of
from models.training.synthetic import Recipe
from reports.pages.training import TrainingView, training_page

REPORT = "report.html"
LEAST_SHOWN = 5  # patients of a cohort in one stratum of volume; a median of fewer tells of persons


@dataclass(frozen=True, eq=False)
class Finished:
    """A network that is trained and judged.

    Attributes
    ----------
    weights : file in the work folder
    device : it was trained on
    counted : split -> patients at every threshold
    fewer : validation patients at every threshold, judged without what may be absent; empty where nothing may
    log : rows of the learning curve
    digest : of input, plan and code together
    code : digest of the code
    run_id : of this run
    """

    weights: Path
    device: str
    counted: Mapping[str, Sequence[Counts]]
    fewer: Sequence[Counts]
    log: Sequence[Mapping[str, float]]
    digest: str
    code: str
    run_id: str


def finished_as(request: TrainRequest, digest: str) -> dict[str, Any] | None:
    """The card that the output holds, if it is exactly this training's; None where there is none.

    Raises
    ------
    UsageError
        The output holds weights of another training.
    """
    weights = request.out / f"{request.method}.safetensors"
    path = weights.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_bytes())
        found, n_judged, sha256 = card["training_digest"], card["n_judged"], card["sha256"]
    except (ValueError, KeyError, TypeError):
        found = n_judged = sha256 = ""
    if found != digest:
        raise UsageError(
            f"{request.out} must be empty or hold this training, got {path.name} of another one (other data, options "
            "or code). Give another folder."
        )
    is_whole = weights.is_file() and file_sha256(weights) == sha256 and (request.out / REPORT).is_file()
    return card if is_whole and n_judged == request.n_judged else None


def publish(work: Work, inputs: Inputs, finished: Finished) -> dict[str, Any]:
    """Write weights, card and page; the card last but one, so that no card names weights that are not there.

    Returns
    -------
    The card.
    """
    request = work.request
    weights = request.out / finished.weights.name
    with atomic_writer(weights) as temporary:
        shutil.copyfile(finished.weights, temporary)
    threshold = choose_threshold(finished.counted["validation"])
    task = task_of(request.method)
    is_cohort = request.cohort is not None
    training = Training(
        method=request.method,
        profile=request.profile,
        n_channels=task.n_channels,
        n_classes=task.n_classes,
        plan=work.plan,
        recipe=Recipe() if request.is_synthetic else None,
        seconds=max((row["seconds"] for row in finished.log if "seconds" in row), default=0.0),
        device=finished.device,
        code=finished.code,
        start=work.start.card if work.start else None,
    )
    data = data_of(request)
    judged = {
        split: _without_few(
            metrics_of(judged_at(counted, threshold), request.seed, is_lesion=task.is_lesion), is_cohort
        )
        for split, counted in finished.counted.items()
    }
    n_validation = sum(one.n_true > 0 for one in finished.counted["validation"])
    point = operating_point(threshold, n_validation, is_cohort=is_cohort)
    if finished.fewer:
        point["threshold_fewer"] = choose_threshold(finished.fewer)
    card = card_of(weights, training, inputs.placed, data, judged, point)
    card |= {"training_digest": finished.digest, "n_judged": request.n_judged}
    write_card(weights, card)
    view = TrainingView(card, finished.log, finished.run_id, importlib.metadata.version("aspects-cohort"))
    write_bytes(request.out / REPORT, training_page(view).encode())
    return card


def data_of(request: TrainRequest) -> list[Data]:
    """The folders that a training learned from, with their licences."""
    folders: dict[Kind, Path | None] = {"anatomy": request.anatomies, "lesion": request.lesions}
    data = [
        Data(kind, folder.absolute().name, licences_of(folder, request.licences.get(kind, "")))
        for kind, folder in folders.items()
        if folder is not None
    ]
    if request.cohort is not None:
        data.append(Data("patient", "", (Licence(request.licences["patient"]),)))
    return data


def _without_few(metrics: Sequence[Metric], is_cohort: bool) -> list[Metric]:
    """The metrics; of a cohort, without those of a stratum of few patients."""
    return [
        replace(one, median=None, lower=None, upper=None)
        if is_cohort and one.stratum != EVERYONE and one.n < LEAST_SHOWN
        else one
        for one in metrics
    ]
