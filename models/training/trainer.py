"""The training of a segmentation network on a pool of patients: resumable, one process, one seed.

A *task* says what a network sees and learns: channels from a pooled patient, and labels. Every batch is drawn from the
seed and the step's number alone, so that a training that was killed goes on from its last checkpoint to the same
weights. A checkpoint holds weights, optimiser, their running average and the step; what ships is the average.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cohorts.store.hashing import file_sha256
from cohorts.store.records import atomic_writer
from models.networks.build import build_network
from models.networks.channels_last import laid_out
from models.networks.unet import load_state, stored_state
from models.training.checkpoints import Learner, keep_checkpoint, log_row, resumed
from models.training.losses import PaperLoss, share_loss
from models.training.pool import IGNORED, NOT_FOREGROUND, PooledPatient, awaited, read_patient
from models.training.posed import posed
from tasks.arrays import Float32Array, Mask
from tasks.segmentation import WINDOW
from tasks.space.boxes import occupied

WITH_FOREGROUND = 0.5  # share of patches that hold a voxel of the foreground
MIRRORED = 0.5  # share of patches that are shown left-right exchanged
MOMENTUM = 0.9  # of SGD; PyTorch's own for a cyclic rate
HALF_CYCLE, LEAST_RATE = 200, 0.1  # steps of a cyclic rate's way up, and where it starts as a share: chosen here
Channels = Callable[[PooledPatient, np.random.Generator | None], Float32Array]
Labels = Callable[[PooledPatient], npt.NDArray[np.uint8]]


def _brain(patient: PooledPatient) -> Mask:
    """As found on diffusion MR."""
    return patient.brain


@dataclass(frozen=True)
class Task:
    """What a network learns.

    Attributes
    ----------
    name : of the method
    n_channels, n_classes : of the network
    channels : pooled patient, generator (None when judging) -> (C, X, Y, Z) float32 array
    labels : pooled patient -> (X, Y, Z) uint8 array
    foreground : classes that the Dice loss counts
    weights : of each class in the cross-entropy
    judged_in : pooled patient -> (X, Y, Z) bool array, the brain of the scan that is shown when judging
    fewer : like ``channels``, of a scan without what may be absent; None where nothing may
    regions : pooled patient -> (X, Y, Z) uint8 array, whose shares of foreground a plan may count besides
    """

    name: str
    n_channels: int
    n_classes: int
    channels: Channels
    labels: Labels
    foreground: tuple[int, ...]
    weights: tuple[float, ...]
    judged_in: Callable[[PooledPatient], Mask] = _brain
    fewer: Channels | None = None
    regions: Labels | None = None

    @property
    def is_lesion(self) -> bool:
        """Whether one thing is drawn, which not everybody has."""
        return len(self.foreground) == 1


@dataclass(frozen=True)
class Plan:
    """How long and how a network is trained.

    ``false_positive`` and ``false_negative`` weigh the Tversky loss (Salehi et al., MLMI 2017:379-387); with .5 each it
    is Dice. ``average`` is the decay of the running average of the weights. Step ``n`` draws from the first
    ``pool_at_start + n pool_per_step`` patients of ``pool``, so that training starts while the pool is still written,
    and comes to the same weights as with a full one. ``start_sha256`` is the digest of weights to start from, which lie
    in the training's folder as ``start.safetensors``. ``cohort_share`` is the share of patients that come from a
    cohort, not from the pool. ``loss`` ``paper-2`` is ``models.training.losses.PaperLoss``. ``by_region`` weighs
    ``models.training.losses.share_loss``, which is added.
    """

    preset: str = "small"
    n_steps: int = 4000
    batch: int = 1
    pool: int = 1500
    pool_at_start: int = 100
    pool_per_step: float = 0.2
    patch: tuple[int, int, int] = WINDOW
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    false_positive: float = 0.5
    false_negative: float = 0.5
    average: float = 0.998
    seed: int = 0
    checkpoint_s: float = 120.0
    n_threads: int = 1
    mixed: bool = True
    warm_up: int = 100
    start_sha256: str = ""
    cohort_share: float = 0.0
    loss: Literal["tversky", "paper-2"] = "tversky"
    by_region: float = 0.0
    optimiser: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "cyclic"] = "cosine"


def train(
    task: Task,
    pool: Path | None,
    out: Path,
    plan: Plan,
    judge: Callable[[Any, int], Mapping[str, float]] | None = None,
    judge_every: int = 500,
    device: str = "cpu",
    cohort: Sequence[Path] = (),
) -> Path:
    """Train until the plan's last step, from the last checkpoint in ``out`` if there is one.

    Parameters
    ----------
    task : Task
    pool : folder of synthetic patients, which may be written meanwhile; None where all are a cohort's
    out : folder of checkpoint, log and final weights
    plan : Plan
    judge : network, step -> metrics, on validation patients
    judge_every : steps between two of them
    device : of PyTorch; the batches are the same on every device, the sums are rounded otherwise
    cohort : files of a cohort's patients

    Returns
    -------
    The file of the averaged weights, safetensors.
    """
    from safetensors.torch import save_file

    torch.set_num_threads(plan.n_threads)
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    network = build_network(plan.preset, task.n_channels, task.n_classes)
    network = laid_out(network.to(device))
    averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = _optimiser(network, plan)
    if plan.start_sha256:
        _start(out, network, averaged, plan)
    learner = Learner(network, optimiser, averaged)
    step, seconds = resumed(out, learner, asdict(plan))
    loss_of = PaperLoss(task.foreground) if plan.loss == "paper-2" else _Loss(task, plan, device)
    kind = torch.device(device).type
    is_mixed = plan.mixed and computes_bfloat16(kind)
    began = kept = time.monotonic()
    losses: list[float] = []
    network.train()
    while step < plan.n_steps:
        images, labels, regions = (one.to(device) for one in _batch(task, pool, cohort, plan, step))
        for group in optimiser.param_groups:
            group["lr"] = rate_at(plan, step)
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=is_mixed):
            logits = network(images)
        loss = loss_of(logits.float(), labels)
        if plan.by_region:
            loss = loss + plan.by_region * _by_region(task, logits.float(), labels, regions)
        learner.learn(loss)
        step += 1
        learner.average(min(plan.average, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        is_last = step == plan.n_steps
        if step % 50 == 0 or is_last:
            log_row(out, {"step": step, "loss": float(np.mean(losses)), "seconds": seconds + time.monotonic() - began})
            losses.clear()
        if judge is not None and (step % judge_every == 0 or is_last):
            own = {name: value.detach().clone() for name, value in network.state_dict().items()}
            network.load_state_dict(averaged)
            network.eval()
            log_row(out, {"step": step, **judge(network, step)})
            network.load_state_dict(own)
            network.train()
        if time.monotonic() - kept > plan.checkpoint_s or is_last:
            keep_checkpoint(out, learner, step, seconds + time.monotonic() - began, asdict(plan))
            kept = time.monotonic()
    path = out / f"{task.name}.safetensors"
    with atomic_writer(path) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in stored_state(averaged).items()}, temporary)
    return path


def computes_bfloat16(kind: str) -> bool:
    """Whether a device has instructions for bfloat16; without them PyTorch emulates it, fifty times slower.

    Parameters
    ----------
    kind : of device, ``cpu`` or ``cuda``
    """
    if kind == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _start(out: Path, network: nn.Module, averaged: dict[str, torch.Tensor], plan: Plan) -> None:
    """Weights of an earlier training.

    Raises
    ------
    ValueError
        The file is not the plan's.
    """
    from safetensors.torch import load_file

    path = out / "start.safetensors"
    if (found := file_sha256(path)) != plan.start_sha256:
        raise ValueError(f"{path} must have sha256 {plan.start_sha256[:12]}, got {found[:12]}. Copy it again.")
    load_state(network, load_file(path))
    averaged.update({name: value.detach().clone() for name, value in network.state_dict().items()})


def _optimiser(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """By the plan's name."""
    if plan.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), plan.learning_rate, MOMENTUM, weight_decay=plan.weight_decay)
    return torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)


def rate_at(plan: Plan, step: int) -> float:
    """Warm-up, then half a cosine to a hundredth; or up and down in straight lines (Smith, WACV 2017:464-472)."""
    if plan.schedule == "cyclic":
        away = abs(step % (2 * HALF_CYCLE) / HALF_CYCLE - 1)  # from the middle of a cycle
        return plan.learning_rate * (LEAST_RATE + (1 - LEAST_RATE) * (1 - away))
    if step < plan.warm_up:
        return plan.learning_rate * (step + 1) / plan.warm_up
    share = (step - plan.warm_up) / max(1, plan.n_steps - plan.warm_up)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def _batch(
    task: Task, pool: Path | None, cohort: Sequence[Path], plan: Plan, step: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Patches of random patients, their labels and regions: by the seed and the step alone."""
    rng = np.random.default_rng((plan.seed, step))
    images, labels, regions = [], [], []
    n_drawn = min(plan.pool, int(plan.pool_at_start + plan.pool_per_step * step))
    for _ in range(plan.batch):
        if cohort and (pool is None or rng.random() < plan.cohort_share):
            patient = posed(read_patient(cohort[int(rng.integers(len(cohort)))]), rng, plan.patch)
        elif pool is not None:
            patient = read_patient(awaited(pool, int(rng.integers(n_drawn))))
        else:
            raise ValueError("patients must be of a pool or of a cohort, got neither. Give one of them.")
        labelled = task.labels(patient)
        at = _corner(patient, np.isin(labelled, task.foreground), plan.patch, rng)
        box = tuple(slice(one, one + size) for one, size in zip(at, plan.patch, strict=True))
        turn = -1 if rng.random() < MIRRORED else 1
        images.append(task.channels(patient, rng)[(slice(None), *box)][:, ::turn])
        labels.append(labelled[box][::turn])
        if plan.by_region and task.regions is not None:
            regions.append(task.regions(patient)[box][::turn])
    given = torch.from_numpy(np.ascontiguousarray(np.stack(images), dtype=np.float32))
    numbers = (np.stack(one).astype(np.int64) if one else np.zeros(0, np.int64) for one in (labels, regions))
    own_labels, own_regions = (torch.from_numpy(one) for one in numbers)
    return given.to(memory_format=torch.channels_last_3d), own_labels, own_regions


def _by_region(task: Task, logits: torch.Tensor, labels: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Loss of the shares of regions that are foreground."""
    foreground = list(task.foreground)
    probability = logits.softmax(dim=1)[:, foreground].sum(dim=1)
    wanted = torch.as_tensor(foreground, device=labels.device)
    return share_loss(probability, torch.isin(labels, wanted), labels != IGNORED, regions)


def _corner(
    patient: PooledPatient, foreground: npt.NDArray[np.bool_], patch: Sequence[int], rng: np.random.Generator
) -> list[int]:
    """A random corner near the brain; every second patch holds a voxel of the foreground, where there is one."""
    corner = []
    wanted = np.flatnonzero(foreground) if rng.random() < WITH_FOREGROUND else np.empty(0, int)
    held = np.unravel_index(wanted[rng.integers(len(wanted))], foreground.shape) if len(wanted) else None
    for axis, (size, seen) in enumerate(zip(patch, occupied(patient.brain), strict=True)):
        total = patient.brain.shape[axis]
        low, high = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, total)
        first, last = sorted((high - size, low))
        first, last = max(0, min(first - 4, total - size)), min(total - size, max(last + 4, 0))
        first, last = min(first, last), max(first, last)
        if held is not None:
            first = max(first, min(int(held[axis]) - size + 1, total - size))
            last = max(first, min(last, int(held[axis])))
        corner.append(int(rng.integers(first, last + 1)))
    return corner


class _Loss:
    """Weighted cross-entropy over all classes and Tversky over the foreground's.

    Where only it is known that a voxel is none of the foreground (``NOT_FOREGROUND``), the cross-entropy is that of the
    summed probability of all other classes, the likelihood of what is known: the marginal loss of Shi et al. (Med
    Image Anal 2021;70:101979). Such a voxel weighs as much as these classes in the mean.
    """

    def __init__(self, task: Task, plan: Plan, device: str) -> None:
        self._weights = torch.tensor(task.weights, device=device)
        self._foreground = list(task.foreground)
        self._others = [index for index in range(task.n_classes) if index not in task.foreground]
        self._alpha, self._beta = plan.false_positive, plan.false_negative

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        is_merged = labels == NOT_FOREGROUND
        if not bool(is_merged.any()):
            return nn.functional.cross_entropy(logits, labels, self._weights, ignore_index=IGNORED)
        is_known = ~is_merged & (labels != IGNORED)
        known = labels.masked_fill(is_merged, IGNORED)
        loss = nn.functional.cross_entropy(logits, known, self._weights, ignore_index=IGNORED, reduction="sum")
        weight = self._weights[self._others].mean()
        unlikely = logits.logsumexp(dim=1) - logits[:, self._others].logsumexp(dim=1)
        total = self._weights[labels[is_known]].sum() + weight * is_merged.sum()
        return (loss + weight * unlikely[is_merged].sum()) / total

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self._cross_entropy(logits, labels)
        probability = logits.softmax(dim=1) * (labels != IGNORED).unsqueeze(1)
        parts = []
        for index in self._foreground:
            truth = (labels == index).float()
            given = probability[:, index]
            if not bool(truth.any()):  # nothing to overlap: what is said is only wrong
                parts.append(given.sum() / (given.sum() + 200.0))
                continue
            hit = (given * truth).sum()
            wrong = self._alpha * (given * (1 - truth)).sum() + self._beta * ((1 - given) * truth).sum()
            parts.append(1 - (hit + 1) / (hit + wrong + 1))
        return loss + torch.stack(parts).mean() if parts else loss


def network_from(path: Path, preset: str, n_channels: int, n_classes: int) -> Any:
    """A trained network, ready to judge.

    Raises
    ------
    ValueError
        The preset is unknown.
    """
    from safetensors.torch import load_file

    network = build_network(preset, n_channels, n_classes)
    load_state(network, load_file(path))
    network.eval()
    return network
