"""The losses of two papers, paper 2 (Deep-ASPECTS, equation 2) and the code of paper 3 (DA-Net); and one of regions.

Paper 2: three times focal, and boundary, and generalised Dice. All three are MONAI's: focal (Lin et al., arXiv
1708.02002), boundary (Kervadec et al., Med Image Anal 2021;67:101851) and generalised Dice (Sudre et al., arXiv
1707.03237). The paper looks at slices, so distances to the boundary are taken in each slice, and at infarct against all
else, so the other classes are summed up.

The code of paper 3 (simonsf/ct-aspects, 76899f5: train_cortical.py, RankLoss.py, AvgLoss.py, WeightedMSE.py) has more
than its paper's weighted cross-entropy and attention: cross-entropy weighted by what is called as well, a rank loss
between the sides, and the mean product of both sides' probabilities.

Of regions: where single voxels tell next to nothing, as on plain CT, the mean over a region still does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.da_net import Compared, scaled_attention
from models.training.pool import IGNORED

#: Section 4: "alpha = 3, beta = 1 and gamma = 1 worked best", of focal, boundary and Dice.
FOCAL, BOUNDARY, DICE = 3.0, 1.0, 1.0


class PaperLoss:
    """3 focal + boundary + generalised Dice of the foreground in every slice.

    Parameters
    ----------
    foreground : the classes that are one, against all others
    """

    def __init__(self, foreground: Sequence[int]) -> None:
        from monai.losses.boundary_loss import BoundaryLoss
        from monai.losses.dice import GeneralizedDiceLoss
        from monai.losses.focal_loss import FocalLoss

        self._foreground = list(foreground)
        self._focal = FocalLoss(to_onehot_y=True, use_softmax=True)
        self._boundary = BoundaryLoss(include_background=False, to_onehot_y=True, softmax=True)
        self._dice = GeneralizedDiceLoss(softmax=True, to_onehot_y=True, batch=True)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits, (N, classes, X, Y, Z), by labels, (N, X, Y, Z); what is ignored is no foreground."""
        others = [index for index in range(logits.shape[1]) if index not in self._foreground]
        two: Tensor = torch.stack([logits[:, group].logsumexp(dim=1) for group in (others, self._foreground)], dim=1)
        slices = two.permute(0, 4, 1, 2, 3).flatten(0, 1)  # (N Z, 2, X, Y)
        wanted = torch.as_tensor(self._foreground, device=labels.device)
        truth = torch.isin(labels, wanted) & (labels != IGNORED)
        flat = truth.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(1).long()
        focal = two.shape[1] * self._focal(slices, flat)  # MONAI's mean is over classes too
        total: Tensor = FOCAL * focal + BOUNDARY * self._boundary(slices, flat) + DICE * self._dice(slices, flat)
        return total


LEAST_OF_REGION = 60  # voxels: half a ml of 2 mm, less says nothing


def share_loss(probability: Tensor, is_foreground: Tensor, is_known: Tensor, regions: Tensor) -> Tensor:
    """Cross-entropy of the mean probability of every region against the share of it that is foreground.

    Regions of which fewer than ``LEAST_OF_REGION`` voxels are shown, or of which any is not known, are left out.

    Parameters
    ----------
    probability : (N, X, Y, Z) float tensor, of the foreground
    is_foreground, is_known : (N, X, Y, Z) bool tensors
    regions : (N, X, Y, Z) int tensor, 0 outside of all

    Returns
    -------
    The mean over regions; 0 without any.
    """
    n_labels = int(regions.max()) + 1
    own = (regions + n_labels * torch.arange(len(regions), device=regions.device).reshape(-1, 1, 1, 1)).flatten()

    def summed(values: Tensor) -> Tensor:
        found = torch.zeros(n_labels * len(regions), dtype=probability.dtype, device=probability.device)
        return found.index_add(0, own, values.to(probability.dtype).flatten()).reshape(-1, n_labels)[:, 1:]

    size = summed(torch.ones_like(probability))
    is_counted = (size >= LEAST_OF_REGION) & (summed(~is_known) == 0)
    if not bool(is_counted.any()):
        return probability.sum() * 0
    size = size[is_counted]
    found = (summed(probability)[is_counted] / size).clamp(1e-5, 1 - 1e-5)
    return functional.binary_cross_entropy(found, summed(is_foreground)[is_counted] / size)


#: WeightedMSE.py and DenseNet.py: how sharply attention is told from none, over which share; dilations; power.
SHARPNESS, ATTENTION_FROM, DILATIONS, POWER = 100.0, 0.4, 20, 2
BY_CALL = 1.4  # train_cortical.py: weight of the cross-entropy weighted by calls, once both sides are called
MARGIN, LEAST_CALLED, UNAFFECTED_SHARE, BOTH = 0.5, 0.2, 1.5, 0.5  # RankLoss.py, and the weight of AvgLoss.py


class CodeLoss:
    """What the code of paper 3 goes down, of all patches of a batch; every patient weighs alike."""

    def __call__(self, found: Compared, is_affected: Tensor, masks: Tensor) -> Tensor:
        """The loss of (N, 2) logits by (N, 2) truth, and of attention by (N, 2, Z, Y, X) masks of 0 and 1."""
        chance = found.logits.sigmoid()
        by_truth = _weighted(chance, is_affected, is_affected)
        called = chance.detach().round()
        by_call = _weighted(chance, is_affected, called)
        ratio = (by_truth / by_call).detach()
        both = BY_CALL if bool((chance.detach().amax(dim=0) > 0.5).all()) else 0.0
        entropy = (by_truth * ratio + by_call * both) / (ratio + both)
        attention = sum(_off_region(found, masks, side) for side in (0, 1))
        total: Tensor = entropy + attention + _rank(chance, is_affected) + BOTH * chance.prod(dim=1).mean()
        return total


def _weighted(chance: Tensor, truth: Tensor, classes: Tensor) -> Tensor:
    """Sum over sides of cross-entropy in which a sample weighs as the share of the other class, and 1 in the mean."""
    share = classes.mean(dim=0)
    weights = torch.where(classes > 0.5, 1 - share, share) + 0.01
    return 2 * functional.binary_cross_entropy(chance, truth, weights / weights.mean(dim=0))


def _off_region(found: Compared, masks: Tensor, side: int) -> Tensor:
    """Squared attention outside of the region, the farther the dearer, in plane; up to ``DILATIONS`` voxels."""
    mask = masks[:, side : side + 1]
    size = (mask.shape[2], mask.shape[3], mask.shape[4])
    attention = functional.interpolate(found.attention[:, side : side + 1], size, mode="trilinear", align_corners=True)
    seen = torch.sigmoid(SHARPNESS * (scaled_attention(attention) - ATTENTION_FROM))
    inner = -functional.max_pool3d(-mask, (1, 3, 3), 1, (0, 1, 1))
    edge = mask - inner
    reached = sum(functional.max_pool3d(edge, (1, 2 * k + 1, 2 * k + 1), 1, (0, k, k)) for k in range(DILATIONS + 1))
    far = (DILATIONS + 2 - reached) / (DILATIONS + 2) * (1 - mask)
    weight = far**POWER
    off = ((seen - mask).clamp_min(0) * weight) ** 2
    return (off.sum(dim=(1, 2, 3, 4)) / weight.sum(dim=(1, 2, 3, 4)).clamp_min(1e-6)).mean()


def _rank(chance: Tensor, truth: Tensor) -> Tensor:
    """An affected side is to be ``MARGIN`` more likely than the other; two unaffected ones at most ``LEAST_CALLED``."""
    behind = (chance.flip(1) - chance + MARGIN).clamp_min(0) ** 2 * truth
    weight = truth.sum(dim=1)
    rank = (behind.sum(dim=1) * weight).sum() / (weight.sum() + 1e-3)
    neither = (truth.sum(dim=1) == 0).to(chance.dtype)
    above = ((chance - LEAST_CALLED).clamp_min(0) ** 2 * neither[:, None]).sum() / neither.sum().clamp_min(1)
    return rank + above / UNAFFECTED_SHARE
