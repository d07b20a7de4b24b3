"""``ncct-asymmetry``: DA-Net's two networks, fitted on pairs of patches of prepared patients.

What is true of a synthetic patient is the share of each true region that is infarct: more than a tenth is affected
(Cao 2022, ground truth). Profiles: ``corrected`` draws as many pairs with an affected side as others, and shows them
moved, noisier and of another contrast; ``as-paper`` and ``as-code`` draw all alike, the latter by the loss of the code
(``losses.CodeLoss``), moved by five voxels, at a rate that falls by .7 every six epochs, and never forgets a gradient:
the code calls ``backward`` and ``step`` and no ``zero_grad``, so that every step goes down the sum of all gradients so
far. A killed training of that profile begins its sum again. The paper names no optimiser; it gets the code's.

Pairs of all patients lie in memory: 0.5 MiB a patient as we train, 90 with the paper's patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cohorts.store.records import atomic_writer
from models.asymmetry import NETWORKS
from models.networks.da_net import (
    DANET_PRESETS,
    AsymmetryNetwork,
    DanetPreset,
    build_danet,
    danet_loss,
    logits_of,
    seen_by,
)
from models.training.classifier_judging import area
from models.training.described import AFFECTED, Rows
from models.training.learning import learned
from models.training.losses import CodeLoss
from models.training.trainer import Plan
from tasks.anatomy import ASPECTS_REGIONS
from tasks.arrays import AnyArray, FloatArray, IntArray, Mask
from tasks.density.pairs import OUTSIDE, PairedPatches

ASYMMETRY = "ncct-asymmetry"
MOVED, MOVED_APART = 2, 1  # voxels in plane, of both sides alike and of each by itself
CODE_MOVED = 5  # config.py: random_translation
STRETCHED, NOISE_AT_MOST, LARGEST_OFFSET = (0.8, 1.2), 0.15, 0.1  # of the window from -1 to 1
RATE_FALLS, EVERY_EPOCHS = 0.7, 6  # train_cortical.py: adjust_learning_rate


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs of patches of prepared patients.

    Attributes
    ----------
    patients : names, P
    images : (P, 10, 2, Z, Y, X) float16 array, left and right
    masks : (P, 10, 2, Z, Y, X) bool array
    is_there : (P, 10, 2) bool array, sides that are covered and tissue
    is_affected : (P, 10, 2) bool array
    n_refused : patients whose image could not be used; they are not among the P
    """

    patients: tuple[str, ...]
    images: AnyArray
    masks: Mask
    is_there: Mask
    is_affected: Mask
    n_refused: int = 0

    def pairs(self, group: str) -> tuple[IntArray, IntArray]:
        """Patient and region of every pair of a group whose sides are both there."""
        is_own = np.isin(ASPECTS_REGIONS, NETWORKS[group])
        patient, region = np.nonzero(self.is_there.all(axis=2) & is_own)
        return patient.astype(np.int64), region.astype(np.int64)

    def rows(self) -> tuple[Rows, tuple[AnyArray, ...]]:
        """Every side of a pair that is there, a row each, without columns; and its place in the arrays."""
        is_pair = np.asarray(self.is_there.all(axis=2))
        place = np.nonzero(np.broadcast_to(is_pair[..., None], self.is_there.shape))
        patient, region, side = place
        named = np.array(ASPECTS_REGIONS)[region]
        nothing = np.zeros((len(patient), 0))
        rows = Rows((), nothing, named, self.is_affected[place], patient.astype(np.int64), 10 * side + region)
        return rows, place


def keep_pairs(kept: Path, patches: PairedPatches | None, is_usable: Mask, shares: FloatArray, reason: str) -> None:
    """Keep a prepared patient.

    Parameters
    ----------
    kept : file
    patches : of the ten regions; None of a scan that cannot be used
    is_usable : (10, 2) bool array, sides that are covered and tissue
    shares : (10, 2) float array, of each true region that is infarct
    reason : why there are none
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    images = np.zeros(0, np.float16) if patches is None else patches.images.astype(np.float16)
    masks = np.zeros(0, bool) if patches is None else patches.masks
    is_there = np.zeros((len(ASPECTS_REGIONS), 2), bool) if patches is None else patches.is_there & is_usable
    with atomic_writer(kept) as temporary:
        np.savez_compressed(temporary, images=images, masks=masks, is_there=is_there, shares=shares, reason=reason)


def read_pairs(paths: Sequence[Path]) -> PairTable:
    """Read prepared patients.

    Raises
    ------
    ValueError
        Nobody's scan could be used.
    """
    names, found = [], []
    for path in paths:
        with np.load(path, allow_pickle=False) as kept:
            if not str(kept["reason"]):
                names.append(path.stem)
                found.append([kept[one] for one in ("images", "masks", "is_there", "shares")])
    if not found:
        raise ValueError(f"at least one patient must have patches, got none of {len(paths)}. Draw others.")
    images, masks, is_there, shares = (np.stack(each) for each in zip(*found, strict=True))
    return PairTable(tuple(names), images, masks, is_there, shares > AFFECTED, len(paths) - len(names))


def train_group(
    table: PairTable, group: str, out: Path, plan: Plan, judged: PairTable | None = None
) -> AsymmetryNetwork:
    """Train the network of one group, from its last checkpoint if there is one.

    Parameters
    ----------
    table : training patients, some with an affected region of the group
    group : of ``NETWORKS``
    out : folder of the checkpoint and the log
    plan : Plan
    judged : patients for the learning curve

    Returns
    -------
    The network, ready to be asked.
    """
    preset = DANET_PRESETS[plan.preset]
    drawn = Drawn(table, group, plan)
    loss_of = CodeLoss() if preset.profile == "as-code" else None

    def loss_at(network: AsymmetryNetwork, step: int) -> torch.Tensor:
        images, masks, affected = drawn.batch(step)
        found = network(*seen_by(preset, images, masks))
        truth, regions = torch.from_numpy(affected.astype(np.float32)), torch.from_numpy(masks.astype(np.float32))
        if loss_of is not None:
            return loss_of(found, truth, regions)
        return danet_loss(found, truth, regions, drawn.share, preset.attention)

    def rate(step: int) -> float:
        epoch = step * plan.batch // drawn.n_pairs
        return plan.learning_rate * RATE_FALLS ** (epoch // EVERY_EPOCHS)

    def judge(network: AsymmetryNetwork) -> Mapping[str, float]:
        assert judged is not None
        patient, region = judged.pairs(group)
        logits = logits_of(network, preset, judged.images[patient, region], judged.masks[patient, region])
        found = area(judged.is_affected[patient, region].ravel(), logits.ravel())
        return {"auc": found} if np.isfinite(found) else {}

    return learned(
        lambda: build_danet(plan.preset),
        loss_at,
        out,
        plan,
        rate=None if preset.profile == "corrected" else rate,
        forgets=loss_of is None,
        judge=None if judged is None else judge,
    )


class Drawn:
    """Batches of pairs of one group, by the seed and the step alone.

    Attributes
    ----------
    n_pairs : in the table
    share : of the sides in a batch that are affected, as a rule
    """

    def __init__(self, table: PairTable, group: str, plan: Plan) -> None:
        self._table, self._plan, self._preset = table, plan, DANET_PRESETS[plan.preset]
        self._patient, self._region = table.pairs(group)
        affected: Mask = np.asarray(table.is_affected)[self._patient, self._region]
        self._shown = np.flatnonzero(affected.any(axis=1))
        self._others = np.flatnonzero(~affected.any(axis=1))
        refuse_one_class(table, group, "train")
        self.n_pairs = len(affected)
        self._is_balanced = self._preset.profile == "corrected"
        self.share = float(affected[self._shown].mean() / 2 if self._is_balanced else affected.mean())

    def batch(self, step: int) -> tuple[AnyArray, AnyArray, Mask]:
        """Images and masks, (batch, 2, Z, Y, X), and which sides are affected, (batch, 2)."""
        rng = np.random.default_rng((self._plan.seed, step))
        n = self._plan.batch
        if self._is_balanced:
            drawn = np.concatenate([rng.choice(self._shown, n // 2), rng.choice(self._others, n - n // 2)])
        else:
            drawn = rng.integers(self.n_pairs, size=n)
        at = self._patient[drawn], self._region[drawn]
        images, masks = self._table.images[at].astype(np.float32), self._table.masks[at].astype(np.float32)
        for one in range(n):
            _vary(images[one], masks[one], self._preset, rng)
        return images, masks, self._table.is_affected[at]


def refuse_one_class(table: PairTable, group: str, split: str) -> None:
    """Refuse patients of whom nothing can be learned.

    Raises
    ------
    ValueError
        All regions of the group are affected, or none is.
    """
    patient, region = table.pairs(group)
    affected = np.asarray(table.is_affected[patient, region].max(axis=1))
    if not 0 < affected.sum() < len(affected):
        raise ValueError(
            f"{split} patients must have affected and unaffected {group} regions, got {int(affected.sum())} of "
            f"{len(affected)} affected. Draw more: --pool, --judged."
        )


def _vary(images: AnyArray, masks: AnyArray, preset: DanetPreset, rng: np.random.Generator) -> None:
    """The same pair, moved, of another contrast and noisier, in place; as in the paper, as it is."""
    if preset.profile == "as-paper":
        return
    is_code = preset.profile == "as-code"
    both = rng.integers(-CODE_MOVED, CODE_MOVED + 1, 2) if is_code else rng.integers(-MOVED, MOVED + 1, 2)
    for side in range(2):
        own = both if is_code else both + rng.integers(-MOVED_APART, MOVED_APART + 1, 2)
        y, x = int(own[0]), int(own[1])
        images[side], masks[side] = _moved(images[side], y, x, OUTSIDE), _moved(masks[side], y, x, 0.0)
    if not is_code:
        images *= np.float32(np.exp(rng.uniform(*np.log(STRETCHED))))
        images += np.float32(rng.uniform(-LARGEST_OFFSET, LARGEST_OFFSET))
        images += rng.uniform(0, NOISE_AT_MOST) * rng.standard_normal(images.shape, np.float32)
        np.clip(images, -1, 1, out=images)


def _moved(values: AnyArray, y: int, x: int, outside: float) -> AnyArray:
    """(Z, Y, X) moved by voxels in plane; what comes in is ``outside``."""
    moved = np.full_like(values, outside)
    height, width = values.shape[1:]
    to_y, to_x = slice(max(0, y), height + min(0, y)), slice(max(0, x), width + min(0, x))
    from_y, from_x = slice(max(0, -y), height + min(0, -y)), slice(max(0, -x), width + min(0, -x))
    moved[:, to_y, to_x] = values[:, from_y, from_x]
    return moved


def logits_of_all(networks: Mapping[str, Any], preset: DanetPreset, table: PairTable) -> FloatArray:
    """Logits of every side, (P, 10, 2); NaN of pairs that are not there.

    Parameters
    ----------
    networks : group -> network
    preset : of both
    table : PairTable
    """
    found = np.full(table.is_there.shape, np.nan)
    for group, network in networks.items():
        at = table.pairs(group)
        found[at] = logits_of(network, preset, table.images[at], table.masks[at])
    return found
