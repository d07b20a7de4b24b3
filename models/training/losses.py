"""The loss of paper 2 (Deep-ASPECTS, equation 2): three times focal, and boundary, and generalised Dice.

All three are MONAI's: focal (Lin et al., arXiv 1708.02002), boundary (Kervadec et al., Med Image Anal
2021;67:101851) and generalised Dice (Sudre et al., arXiv 1707.03237). The paper looks at slices, so distances to the
boundary are taken in each slice, and at infarct against all else, so the other classes are summed up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
