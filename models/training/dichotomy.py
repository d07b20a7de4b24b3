"""``dwi-dichotomy``: the chance of a low ASPECTS from diffusion MR, by a network that sees slices one after the other.

What is true of a synthetic patient is the score of its own infarct in its own regions, by the rule ``wei``. A batch
holds as many patients with a low score as others; it is drawn from the seed and the step's number alone, so that a
training that was killed goes on to the same weights. Patients are shown mirrored, turned, noisier and of another
contrast, as paper 5 does (flip, noise, 15 degrees either way) and a little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from cohorts.store.records import atomic_writer
from models.networks.recurrent import DichotomyNetwork, build_dichotomy
from models.training.dwi import CONTRAST
from models.training.learning import learned
from models.training.trainer import Plan
from tasks.anatomy import aspects_label_table
from tasks.arrays import AnyArray, Float32Array, FloatArray, Mask
from tasks.diffusion.slab import slab_of
from tasks.scoring import BUILT_IN_RULES, RegionEvidence, aspects_score
from tasks.segmentation import INFARCT

METHOD = "dwi-dichotomy"
LOW = 6  # a score of at most this is low: paper 5, groups 1 to 6 and 7 to 10
RULE = BUILT_IN_RULES["wei"]
LARGEST_TURN_DEG, LARGEST_NOISE = 15.0, 0.15  # the first is paper 5's, the other was chosen here
AUGMENTED = 0.5  # share of patients that are turned, and of those that are noisier


@dataclass(frozen=True, eq=False)
class Slabs:
    """Prepared patients.

    Attributes
    ----------
    patients : names, N
    slices : (N, 20, 80, 80) float16 array
    scores : (N,) int array, of the true infarct
    """

    patients: tuple[str, ...]
    slices: AnyArray
    scores: AnyArray

    @property
    def is_low(self) -> Mask:
        """(N,) bool array."""
        return np.asarray(self.scores <= LOW)


def true_score(classes: AnyArray, regions: AnyArray) -> int:
    """ASPECTS of the worse side, by the rule ``wei``.

    Parameters
    ----------
    classes : (X, Y, Z) uint8 array of ``tasks.segmentation.CLASSES``
    regions : (X, Y, Z) uint8 array of the label map ``classic``
    """
    score = aspects_score(affected_regions(classes, regions), laterality="worst").score
    assert score is not None  # of the worse side there is always one
    return score


def affected_regions(classes: AnyArray, regions: AnyArray) -> dict[tuple[str, str], bool]:
    """Side and region -> whether the infarct affects it, by the rule ``wei``; parameters as of ``true_score``."""
    affected: dict[tuple[str, str], bool] = {}
    for label in aspects_label_table().labels:
        own = classes[regions == label.index]
        n = int((own == INFARCT).sum())
        evidence = RegionEvidence(label.side, label.region, "fraction", n / max(1, len(own)), 1.0, len(own), n)
        affected[label.side, label.region] = bool(RULE.judge(evidence))
    return affected


def prepare(path: Path, kept: Path) -> Path:
    """Cut the slices of a pooled patient and keep them with its score; one that is kept already is left alone."""
    if not kept.is_file():
        with np.load(path, allow_pickle=False) as patient:
            slices = slab_of(patient["b_high"].astype(np.float32), patient["brain"].astype(bool))
            score = true_score(patient["classes"], patient["classic"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(kept) as temporary:
            np.savez_compressed(temporary, slices=slices.astype(np.float16), score=score)
    return kept


def read_slabs(paths: Sequence[Path]) -> Slabs:
    """Read prepared patients."""
    slices, scores = [], []
    for path in paths:
        with np.load(path, allow_pickle=False) as kept:
            slices.append(kept["slices"])
            scores.append(int(kept["score"]))
    return Slabs(tuple(path.stem for path in paths), np.stack(slices), np.array(scores))


def train_dichotomy(slabs: Slabs, out: Path, plan: Plan) -> DichotomyNetwork:
    """Train until the plan's last step, from the last checkpoint in ``out`` if there is one.

    Parameters
    ----------
    slabs : training patients, some with a low score and some without
    out : folder of the checkpoint and the log
    plan : Plan

    Returns
    -------
    The network with the running average of its weights, ready to be asked.
    """

    def loss_at(network: DichotomyNetwork, step: int) -> torch.Tensor:
        images, truth = batch_of(slabs, plan, step)
        return nn.functional.binary_cross_entropy_with_logits(network(images), truth)

    return learned(lambda: build_dichotomy(plan.preset), loss_at, out, plan)


def batch_of(slabs: Slabs, plan: Plan, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Slices (batch, 20, 80, 80) and whether each score is low, (batch,): by the seed and the step alone."""
    rng = np.random.default_rng((plan.seed, step))
    low, other = np.flatnonzero(slabs.is_low), np.flatnonzero(~slabs.is_low)
    n_low = plan.batch // 2
    drawn = np.concatenate([rng.choice(low, n_low), rng.choice(other, plan.batch - n_low)])
    images = np.stack([_varied(slabs.slices[at].astype(np.float32), rng) for at in drawn])
    return torch.from_numpy(images), torch.from_numpy(slabs.is_low[drawn].astype(np.float32))


def _varied(slices: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The same patient, mirrored, turned, noisier, of another contrast."""
    inside = slices != 0
    if rng.random() < 0.5:
        slices, inside = slices[:, ::-1], inside[:, ::-1]
    if rng.random() < AUGMENTED:
        turn = float(rng.uniform(-LARGEST_TURN_DEG, LARGEST_TURN_DEG))
        slices = ndimage.rotate(slices, turn, axes=(1, 2), reshape=False, order=1)
        inside = slices != 0
    slices = slices * np.float32(np.exp(rng.uniform(*np.log(CONTRAST))))
    if rng.random() < AUGMENTED:
        slices = slices + inside * rng.normal(0, rng.uniform(0, LARGEST_NOISE), slices.shape).astype(np.float32)
    return np.ascontiguousarray(slices, dtype=np.float32)


def youden_threshold(chance: FloatArray, truth: Mask) -> float:
    """The chance with the highest sum of sensitivity and specificity, to a thousandth; of equal ones nearest to a half.

    Parameters
    ----------
    chance : (n,) float array
    truth : (n,) bool array

    >>> youden_threshold(np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True]))
    0.5
    """
    candidates = np.unique(np.append(np.floor(chance * 1000) / 1000, 0.5))
    sums = [(chance[truth] >= one).mean() + (chance[~truth] < one).mean() for one in candidates]
    best = candidates[np.isclose(sums, max(sums))]
    return float(best[np.argmin(np.abs(best - 0.5))])
