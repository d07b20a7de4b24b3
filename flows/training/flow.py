"""The Prefect flow of a training: look at the input, prepare, divide and audit, draw the pool, train, judge, publish.

What is done is kept by its content below ``OUT/work``: prepared anatomies and patients, pools, and the checkpoint of
exactly this training. A command that was killed goes on from there, to the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console

from cohorts.folder.problems import Problem
from cohorts.store.records import digest_of, remove_leftovers
from flows.engine.lock import run_lock
from flows.run.measuring import StoppedError
from flows.run.request import PreflightError, UsageError
from flows.run.running import new_run_id, prefect_started, workers_connected
from flows.run.storage import storage_failures
from flows.sources.code import ROOT, version_of
from flows.training import steps
from flows.training.classifying import train_classifier
from flows.training.cohort import Candidates, candidates_of, study_of, write_excluded
from flows.training.fitting import PREPARED
from flows.training.inputs import (
    Inputs,
    files_of,
    inputs_of,
    kept_anatomy,
    needed,
    patients_digest,
    pool_digest,
    pool_parts,
    refuse_leaks,
)
from flows.training.patients import keep_patient
from flows.training.publishing import Finished, finished_as, publish
from flows.training.request import TrainRequest, check_usage
from flows.training.start import start_of
from flows.training.steps import Material
from flows.training.work import Work, result_of
from flows.training.workers import Workers
from models.training.checkpoints import read_log
from models.training.items import Kind
from models.training.judging import Counts
from models.training.kept import BrokenFileError
from models.training.methods import patients_needed, plan_for, task_of, with_cohort, with_start
from models.training.splits import SPLITS, write_splits

JUDGED_PART = 10  # patients that one task judges
CODE = {
    "prepare": ("models.training.anatomies",),
    "pool": ("models.training.pool",),
    "patients": ("flows.training.patients",),
}
SPLITS_FILE, EXCLUDED_FILE = "splits.tsv", "excluded.tsv"


@dataclass
class Trained:
    """How a training ended."""

    weights: Path
    card: dict[str, Any]
    is_unchanged: bool
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


def train_network(request: TrainRequest, console: Console) -> Trained:
    """Train as asked; goes on by itself, and does nothing if the output holds exactly this.

    Raises
    ------
    UsageError
        The method, profile or preset is not known, or the output folder holds other weights.
    CohortError
        The input must be fixed first.
    PreflightError
        The weights to start from cannot be used, or a file that an earlier run kept is broken.
    LockedError, StorageFailedError, ClusterError, ServerFailedError
        As of any run.
    """
    try:
        check_usage(request)
        plan = plan_for(
            request.profile,
            request.preset,
            request.method,
            n_steps=request.n_steps,
            pool=request.n_pool,
            seed=request.seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    start = start_of(request, plan)
    if start is not None:
        plan = with_start(plan, start.sha256)
    if request.cohort is not None:
        plan = with_cohort(plan, request.share)
    files = files_of(request)
    study = study_of(request, request.cohort) if request.cohort is not None else None
    with storage_failures(request.out, request.work), run_lock(request.out, request.run.command) as dead_owner:
        if dead_owner is not None:
            console.print(f"Taking over from {dead_owner.text}, which ended without a word.", highlight=False)
        request.work.mkdir(parents=True, exist_ok=True)
        remove_leftovers(request.out)
        with prefect_started(request.run) as wait, workers_connected(request.run) as client:
            wait()
            workers = Workers(client, may_use_gpu=request.run.gpu != "none")
            try:
                return _run_flow(Work(request, plan, workers, console, new_run_id(), start, study), files)
            except BrokenFileError as error:
                raise PreflightError(str(error)) from error


def _run_flow(training: Work, files: dict[Kind, list[Path]]) -> Trained:
    """Run everything as tasks of one Prefect flow."""
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    @flow(
        name="aspects-training",
        flow_run_name=training.run_id,
        validate_parameters=False,
        persist_result=False,
        task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=training.workers.n_cpu + 2)),
    )
    def train(method: str, n_steps: int) -> Trained:  # noqa: ARG001 - Prefect shows them
        try:
            return _all_parts(training, files)
        except BaseException:
            training.workers.stopped.set()  # before Prefect waits for the tasks at work
            raise

    return train(training.request.method, training.plan.n_steps)


def _all_parts(training: Work, files: dict[Kind, list[Path]]) -> Trained:
    """One part after the other; the pool is drawn while the network trains."""
    request, work = training.request, training.request.work
    code = {part: version_of(modules, ROOT).digest for part, modules in CODE.items()}
    if training.device[1]:  # now, and not after the pool
        training.workers.run(steps.device_of, True, True, trains=True)
    with training.timed("inputs"):
        inputs = _examined(training, files, code["patients"])
        _write_sides(request, inputs)
        refuse_leaks(inputs)
    for warning in inputs.warnings:
        training.say(f"Warning: {warning.text}")
    n = {kind: sum(one.item.kind == kind for one in inputs.placed) for kind in ("anatomy", "lesion", "patient")}
    counted = [f"{n['anatomy']} anatomies and {n['lesion']} lesions"] if request.is_synthetic else []
    counted += [f"{n['patient']} patients of the cohort"] if request.cohort is not None else []
    training.say(f"{' and '.join(counted)} divided; nothing lies on two sides.")
    learning = version_of(("models.training.methods",), ROOT).digest
    pool = pool_digest(request, inputs, code["pool"]) if request.is_synthetic else ""
    made_of = {"pool": pool, "plan": asdict(training.plan), "method": request.method, "code": learning}
    digest = digest_of(made_of | {"patients": patients_digest(inputs)})
    if (card := finished_as(request, digest)) is not None:
        return Trained(request.out / f"{request.method}.safetensors", card, True, training.seconds, inputs.warnings)
    if request.method in PREPARED:
        with training.timed("anatomies"):
            kept = _prepared(training, inputs, code["prepare"])
        made_by = {"training_digest": digest, "code": learning}
        card = train_classifier(training, inputs, kept, work / f"pool-{pool[:12]}", made_by)
        weights = request.out / f"{request.method}.safetensors"
        return Trained(weights, card, False, training.seconds, inputs.warnings)
    out = work / f"training-{digest[:12]}"
    patients: dict[str, tuple[Path, ...]] = (
        {split: inputs.patients(split) for split in SPLITS} if request.cohort is not None else {}
    )
    material = Material({}, patients, training.start.path if training.start else None)
    judged = {split: patients.get(split, ()) for split in SPLITS[1:]}
    if request.is_synthetic:
        with training.timed("anatomies"):
            kept = _prepared(training, inputs, code["prepare"])
        folder = work / f"pool-{pool[:12]}"
        material = replace(material, pools={split: folder / split for split in SPLITS})
        weights, device = _pool_and_training(training, inputs, kept, material, out)
        if not patients:
            judged = {
                split: tuple(folder / split / f"{number:06d}.npz" for number in range(request.n_judged))
                for split in SPLITS[1:]
            }
    else:
        weights, device = _training(training, material, out)
    with training.timed("judge"):
        counted_at: dict[str, list[Counts]] = {split: _judged(training, weights, judged[split]) for split in judged}
        has_fewer = task_of(request.method).fewer is not None
        fewer = _judged(training, weights, judged["validation"], shows_all=False) if has_fewer else []
    log = list(read_log(weights.parent))
    finished = Finished(weights, device, counted_at, fewer, log, digest, learning, training.run_id)
    card = publish(training, inputs, finished)
    return Trained(request.out / weights.name, card, False, training.seconds, inputs.warnings)


def _write_sides(request: TrainRequest, inputs: Inputs) -> None:
    """The sides; with patients in the work folder, since they name them."""
    if request.cohort is None:
        write_splits(inputs.placed, request.out / SPLITS_FILE)
        return
    write_splits(inputs.placed, request.work / SPLITS_FILE)


def _examined(training: Work, files: dict[Kind, list[Path]], code: str) -> Inputs:
    """Look at every file, in as many parts as there are workers, and prepare every patient."""
    jobs: list[tuple[Kind, Sequence[Path]]] = []
    n_parts = 2 * training.workers.n_cpu
    for kind, paths in files.items():
        size = max(1, -(-len(paths) // n_parts))
        jobs += [(kind, paths[first : first + size]) for first in range(0, len(paths), size)]
    found = training.all_of("examine", [(steps.examine, job) for job in jobs])
    kinds = {path: kind for kind, paths in files.items() for path in paths}
    request = training.request
    candidates: Candidates | None = None
    patients = []
    if training.study is not None:
        candidates = candidates_of(training.study, request.work)
        folder = request.work / "patients"
        training.say(f"Preparing {len(candidates.cases)} patients, those not kept yet: seconds of one core each.")
        patients = training.all_of(
            "patient", [(keep_patient, (case, candidates.labelling, folder, code)) for case in candidates.cases]
        )
        left_out = [one.excluded for one in patients if one.excluded is not None]
        write_excluded((*candidates.excluded, *left_out), request.work / EXCLUDED_FILE)
    return inputs_of(request, [one for part in found for one in part], kinds, candidates, patients)


def _prepared(training: Work, inputs: Inputs, code: str) -> dict[tuple[str, str], Path]:
    """Register every anatomy that is not kept yet; name of each -> its file."""
    placed = [one for split in SPLITS for one in inputs.of("anatomy", split)]
    kept: dict[tuple[str, str], Path] = {}
    kept |= {(one.split, one.item.name): kept_anatomy(training.request.work, one, code) for one in placed}
    jobs = [
        (steps.prepare, (inputs.path_of(one), kept[one.split, one.item.name]))
        for one in placed
        if not kept[one.split, one.item.name].is_file()
    ]
    if jobs:
        training.say(f"Preparing {len(jobs)} anatomies: about two minutes of one core each.")
        training.all_of("prepare", jobs)
    return kept


def _training(training: Work, material: Material, out: Path) -> tuple[Path, str]:
    """Train where nothing has to be drawn."""
    with training.timed("train"), training.lines_of(out):
        job = (training.request.method, training.plan, material, out, training.device)
        ((weights, device),) = training.all_of("train", [(steps.train, job)], trains=True)
    return Path(weights), device


def _pool_and_training(
    training: Work, inputs: Inputs, kept: dict[tuple[str, str], Path], material: Material, out: Path
) -> tuple[Path, str]:
    """Draw the patients, and train on the first of them while the others are drawn, where a worker is free."""
    request, plan = training.request, training.plan
    folder = material.pools["train"].parent
    n_judged = 0 if material.patients else request.n_judged  # a cohort's own patients judge
    parts = {
        split: pool_parts(
            inputs, folder, split, n, request.seed, [path for (side, _), path in kept.items() if side == split]
        )
        for split, n in zip(SPLITS, (patients_needed(plan), n_judged, n_judged), strict=True)
    }
    head = needed(plan, plan.pool_at_start) if training.workers.can_draw_meanwhile else len(parts["train"])
    first, rest = parts["validation"] + parts["train"][:head], parts["train"][head:] + parts["test"]
    training.say(f"Drawing {sum(part.n for part in first + rest)} synthetic patients into {folder.name}.")
    with training.timed("pool at start"):
        training.all_of("draw", [(steps.draw, (part,)) for part in first])
    submit = training.task("train", trains=True)
    begun = time.perf_counter()
    at_work = submit.submit(steps.train, (request.method, plan, material, out, training.device))
    with training.lines_of(out):
        if training.workers.can_draw_meanwhile:
            at_work.add_done_callback(training.stop_if_failed)
            try:
                training.all_of("draw", [(steps.draw, (part,)) for part in rest], draws=True)
            except StoppedError:
                result_of(at_work, "training")  # a training that failed has stopped the pool: its error counts
                raise
            training.seconds["pool"] = time.perf_counter() - begun
            weights, device = result_of(at_work, "training")
        else:
            weights, device = result_of(at_work, "training")
            training.all_of("draw", [(steps.draw, (part,)) for part in rest])
    training.seconds["train"] = time.perf_counter() - begun
    return Path(weights), device


def _judged(training: Work, weights: Path, files: Sequence[Path], *, shows_all: bool = True) -> list[Counts]:
    """Judge one side's patients."""
    method, plan, device = training.request.method, training.plan, training.device
    jobs = [
        (steps.judge, (method, plan, weights, files[at : at + JUDGED_PART], device, shows_all))
        for at in range(0, len(files), JUDGED_PART)
    ]
    found = training.all_of("judge", jobs, trains=training.workers.has_gpu)
    return [Counts(n_true, np.asarray(n_found), np.asarray(n_hit)) for part in found for n_true, n_found, n_hit in part]
