"""The loss of paper 2 by hand, part by part."""

from __future__ import annotations

import math

import monai.networks.nets  # noqa: F401  # binds a socket as it is first imported, which no unmarked test may do
import pytest
import torch

from models.training.losses import LEAST_OF_REGION, PaperLoss, share_loss
from models.training.pool import IGNORED


@pytest.fixture
def line():
    """One slice of five pixels in a row, the infarct on the third; three classes, of which the last is the infarct.

    All logits are 0 but the infarct's, ln 2: its probability is 2 / (1 + 1 + 2) = .5 everywhere.
    """
    logits = torch.zeros(1, 3, 5, 1, 1)
    logits[:, 2] = math.log(2)
    labels = torch.zeros(1, 5, 1, 1, dtype=torch.long)
    labels[0, 2] = 2
    return logits, labels


def test_focal_boundary_and_dice_of_five_pixels(line):
    """Focal: .5^2 ln 2 in every pixel. Boundary: distances 2, 1, 0, 1, 2 times .5. Generalised Dice by hand."""
    logits, labels = line
    loss = PaperLoss((2,))
    two = torch.zeros(1, 2, 5, 1)
    truth = torch.tensor([0, 0, 1, 0, 0]).reshape(1, 1, 5, 1)
    assert 2 * float(loss._focal(two, truth)) == pytest.approx(0.25 * math.log(2))
    assert float(loss._boundary(two, truth)) == pytest.approx(0.5 * (2 + 1 + 0 + 1 + 2) / 5)
    # weights 1 / n^2: background 1/16, infarct 1; overlaps 2 and .5; sums 4 + 2.5 and 1 + 2.5
    dice = 1 - 2 * (2 / 16 + 0.5) / (6.5 / 16 + 3.5)
    assert float(loss._dice(two, truth)) == pytest.approx(dice, abs=1e-4)
    assert float(loss(logits, labels)) == pytest.approx(3 * 0.25 * math.log(2) + 0.6 + dice, abs=1e-4)


def test_distances_are_taken_in_each_slice(line):
    """A second slice without infarct has no boundary: half the boundary's loss remains."""
    logits, labels = line
    loss = PaperLoss((2,))
    seen = []
    loss._boundary.register_forward_hook(lambda _module, _inputs, output: seen.append(float(output)))
    loss(logits.expand(1, 3, 5, 1, 2), torch.cat([labels, torch.zeros_like(labels)], dim=3))
    assert seen == [pytest.approx(0.3)]


def test_other_classes_are_summed_up_and_what_is_ignored_is_none(line):
    logits, labels = line
    loss = PaperLoss((2,))
    others = labels.clone()
    others[0, 0], others[0, 1] = 1, IGNORED
    assert float(loss(logits, others)) == pytest.approx(float(loss(logits, labels)))


def test_a_better_answer_has_less_loss(line):
    logits, labels = line
    better = logits.clone()
    better[0, 2, 2] += 3
    assert PaperLoss((2,))(better, labels) < PaperLoss((2,))(logits, labels)


def test_the_loss_of_shares_by_hand():
    """Two regions of 100 voxels: .3 said of one of which .1 is infarct, .2 of one without; a third is too small."""
    regions = torch.zeros(1, 250, 1, 1, dtype=torch.long)
    regions[0, :100], regions[0, 100:200], regions[0, 200 : 200 + LEAST_OF_REGION - 1] = 1, 12, 5
    probability = torch.full((1, 250, 1, 1), 0.9)
    probability[0, :100], probability[0, 100:200] = 0.3, 0.2
    truth = torch.zeros(1, 250, 1, 1, dtype=torch.bool)
    truth[0, 40:50] = truth[0, 210:] = True
    known = torch.ones_like(truth)
    first = -0.1 * math.log(0.3) - 0.9 * math.log(0.7)
    second = -math.log(0.8)
    assert float(share_loss(probability, truth, known, regions)) == pytest.approx((first + second) / 2)
    known[0, 3] = False  # of one voxel of the first region nobody knows what it is
    assert float(share_loss(probability, truth, known, regions)) == pytest.approx(second)
    assert float(share_loss(probability, truth, ~known & False, regions)) == 0


def test_regions_of_two_patients_are_not_one():
    """What is said of region 1 is .3 in one patient, .5 in the other; neither has an infarct."""
    regions = torch.ones(2, 100, 1, 1, dtype=torch.long)
    probability = torch.stack([torch.full((100, 1, 1), one) for one in (0.3, 0.5)])
    nothing = torch.zeros(2, 100, 1, 1, dtype=torch.bool)
    by_hand = -(math.log(0.7) + math.log(0.5)) / 2
    assert float(share_loss(probability, nothing, ~nothing, regions)) == pytest.approx(by_hand)


def test_the_mean_over_a_region_goes_to_its_share():
    """Gradient descent on logits of a region a quarter of which is infarct ends where the mean is a quarter."""
    logits = torch.full((1, 100, 1, 1), -4.0, requires_grad=True)
    truth = torch.zeros(1, 100, 1, 1, dtype=torch.bool)
    truth[0, :25] = True
    for _ in range(400):
        loss = share_loss(logits.sigmoid(), truth, torch.ones_like(truth), torch.ones(truth.shape, dtype=torch.long))
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 20 * gradient).detach().requires_grad_()
    assert float(logits.detach().sigmoid().mean()) == pytest.approx(0.25, abs=0.005)
