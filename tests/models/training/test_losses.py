"""The loss of paper 2 by hand, part by part."""

from __future__ import annotations

import math

import monai.networks.nets  # noqa: F401  # binds a socket as it is first imported, which no unmarked test may do
import pytest
import torch

from models.training.losses import PaperLoss
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
