"""Steps of a training: plain functions that run on a Dask worker and know nothing of Prefect.

They take paths and small frozen records; arrays never travel. What is written is written under another name and then
renamed, so that a step that was killed is done again without harm.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cohorts.store.records import atomic_writer
from flows.engine.cluster import ClusterError
from models.training.anatomies import Anatomy, load_anatomy, prepare_anatomy, save_anatomy
from models.training.items import Item, Kind, examine_anatomy, examine_lesion
from models.training.pool import lesions_by_size, pooled_files, write_pool
from models.training.trainer import Plan

EXAMINE = {"anatomy": examine_anatomy, "lesion": examine_lesion}
CURVE_PATIENTS = 16  # validation patients of a learning curve; all of them are judged at the end
CURVE_POINTS, LEAST_BETWEEN = 12, 50  # of a curve, and steps between two


@dataclass(frozen=True)
class Found:
    """A file that was looked at: what it is, or why it cannot be used."""

    path: Path
    item: Item | None = None
    fault: str = ""


@dataclass(frozen=True)
class PoolPart:
    """Some patients of a pool.

    Attributes
    ----------
    folder : of the pool
    first, n : numbers of the patients
    anatomies : prepared ones
    lesions : masks and their volumes, ml
    seed : of the pool
    """

    folder: Path
    first: int
    n: int
    anatomies: tuple[Path, ...]
    lesions: tuple[tuple[Path, float], ...]
    seed: int


@dataclass(frozen=True)
class Material:
    """What a training learns from.

    Attributes
    ----------
    pools : side -> folder of synthetic patients; empty without
    patients : side -> files of a cohort's patients; empty without
    start : weights to start from; None to start from nothing
    """

    pools: Mapping[str, Path]
    patients: Mapping[str, tuple[Path, ...]]
    start: Path | None = None


def examine(kind: Kind, paths: Sequence[Path]) -> list[Found]:
    """Look at some files of one kind."""
    found = []
    for path in paths:
        try:
            found.append(Found(path, EXAMINE[kind](path)))
        except ValueError as error:
            found.append(Found(path, fault=str(error)))
        except Exception as error:  # of one file: it never hides what is wrong with the others
            fault = (
                f"it must be an image that can be looked at, got {type(error).__name__}: {error}. Please report this."
            )
            found.append(Found(path, fault=fault))
    return found


def prepare(path: Path, kept: Path) -> Path:
    """Prepare an anatomy and keep it; one that is kept already is left alone."""
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        anatomy = prepare_anatomy(path)
        with atomic_writer(kept) as temporary:
            save_anatomy(anatomy, temporary)
    return kept


def draw(part: PoolPart) -> int:
    """Write a part of a pool; gives how many patients it holds."""
    paths, volumes = zip(*part.lesions, strict=True)
    anatomies = _anatomies(part.anatomies)
    write_pool(part.folder, part.n, anatomies, lesions_by_size(paths, volumes), seed=part.seed, first=part.first)
    return part.n


@lru_cache(maxsize=1)
def _anatomies(paths: tuple[Path, ...]) -> tuple[Anatomy, ...]:
    """The anatomies of one side, read once per worker."""
    return tuple(load_anatomy(path) for path in paths)


def device_of(wants_gpu: bool, is_required: bool = False) -> str:
    """The device of PyTorch on this worker.

    Raises
    ------
    ClusterError
        A GPU is required and PyTorch cannot use one.
    """
    import torch

    if wants_gpu and torch.cuda.is_available():
        return "cuda"
    if is_required:
        raise ClusterError(
            f"--gpu require must find a CUDA device that PyTorch can use, got none with torch {torch.__version__}. "
            "Install the build for CUDA, or use --gpu try."
        )
    return "cpu"


def train(method: str, plan: Plan, material: Material, out: Path, device: tuple[bool, bool]) -> tuple[str, str]:
    """Train, or go on from the last checkpoint.

    Parameters
    ----------
    method : what is trained
    plan : Plan
    material : Material; the curve is that of validation patients of the cohort, where there is one
    out : folder of the checkpoint and the log
    device : whether a GPU is wanted, and whether it is required

    Returns
    -------
    File of the weights, device.
    """
    from models.inference import Network
    from models.training.judging import DEFAULT_THRESHOLD, count_patients, judged_at, metrics_of
    from models.training.methods import task_of
    from models.training.trainer import train as train_network

    where = device_of(*device)
    task = task_of(method)
    files = material.patients.get("validation") or pooled_files(material.pools["validation"])
    files = files[:CURVE_PATIENTS]
    if material.start is not None:
        out.mkdir(parents=True, exist_ok=True)
        with atomic_writer(out / "start.safetensors") as temporary:
            shutil.copyfile(material.start, temporary)

    def judge(network: Any, _step: int) -> dict[str, float]:
        counted = count_patients(Network(network, plan.patch), task, files, where)
        rows = metrics_of(judged_at(counted, DEFAULT_THRESHOLD), is_lesion=task.is_lesion)
        return {one.metric: one.median for one in rows if one.median is not None and one.stratum == rows[0].stratum}

    every = max(LEAST_BETWEEN, plan.n_steps // CURVE_POINTS)
    pool, cohort = material.pools.get("train"), material.patients.get("train", ())
    weights = train_network(task, pool, out, plan, judge, every, where, cohort)
    return str(weights), where


def judge(
    method: str, plan: Plan, weights: Path, files: Sequence[Path], device: tuple[bool, bool], shows_all: bool = True
) -> list[tuple[int, list[int], list[int]]]:
    """Judge some patients at every threshold.

    Parameters
    ----------
    method, plan, weights : of the training
    files : pooled patients
    device : whether a GPU is wanted, and whether it is required
    shows_all : else without what a scan may lack

    Returns
    -------
    Voxels of the truth, found and hit, of each patient.
    """
    from models.inference import Network
    from models.training.judging import count_patients
    from models.training.methods import task_of
    from models.training.trainer import network_from

    where = device_of(*device)
    task = task_of(method)
    if not shows_all:
        task = replace(task, channels=task.fewer or task.channels)
    module = network_from(weights, plan.preset, task.n_channels, task.n_classes).to(where)
    counted = count_patients(Network(module, plan.patch), task, files, where)
    return [(one.n_true, one.n_found.tolist(), one.n_hit.tolist()) for one in counted]
