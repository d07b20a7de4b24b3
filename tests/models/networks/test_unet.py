"""Every preset learns: one pass forward and one back; the paper's has batch normalisation, ours none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.networks.unet import PRESETS, build_unet


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_does_one_pass_forward_and_one_back(preset):
    torch.manual_seed(0)
    network = build_unet(preset, 3, 6)
    size = 2 * PRESETS[preset].divisor
    logits = network(torch.randn(2, 3, size, size, size))
    assert logits.shape == (2, 6, size, size, size)
    nn.functional.cross_entropy(logits, torch.zeros(2, size, size, size, dtype=torch.long)).backward()
    gradients = [one.grad for one in network.parameters()]
    assert all(one is not None and bool(torch.isfinite(one).all()) for one in gradients)
    assert sum(float(one.abs().sum()) for one in gradients) > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_only_the_papers_profile_has_batch_normalisation(preset):
    layers = [type(one) for one in build_unet(preset, 3, 6).modules()]
    is_paper = PRESETS[preset].profile == "as-paper"
    assert (nn.BatchNorm3d in layers) == is_paper
    assert (nn.InstanceNorm3d in layers) != is_paper
    assert (nn.MaxPool3d in layers) == is_paper
    kernels = {one.kernel_size for one in build_unet(preset, 3, 6).modules() if isinstance(one, nn.Conv3d)}
    assert kernels == {(3, 3, 3), (1, 1, 1)}


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match=r"preset must be one of small, .*, got 'huge'"):
        build_unet("huge", 3, 6)
