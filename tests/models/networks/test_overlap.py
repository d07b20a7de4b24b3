"""Networks of paper 2 and 3: parameters beside the papers', a pass forward and back, and what each looks at."""

from __future__ import annotations

import monai.networks.nets  # noqa: F401  # binds a socket as it is first imported, which no unmarked test may do
import pytest
import torch
from torch import nn

from models.inference import Network, probabilities, ready
from models.networks.build import build_network
from models.networks.da_net import DANET_PRESETS, Compared, build_danet, danet_loss
from models.networks.overlap import OVERLAP_PRESETS
from models.networks.slices import CoarseNetwork, SliceNetwork
from models.networks.unet import stored_state

#: Million parameters; in paper 2, table 5: U-Net 42.1, TransUNet 105, U-Net++ 42.9, LinkNet 41.2. LinkNet on ResNet-18
#: has 11.5 in its own paper (arXiv 1707.03718, table II).
PARAMETERS_M = {
    "overlap-coarse": 1.140,
    "overlap-slices": 1.084,
    "unet-b0": 5.367,
    "unet-plus-plus": 2.410,
    "linknet": 11.528,
    "transunet": 8.175,
    "da-net-as-paper": 3.499,
    "da-net-as-code": 5.741,
    "da-net-small": 0.051,
    "da-net-tiny": 0.001,
}
BIG = "unet-b6"  # seconds to make: 41.84 million parameters by tests.benchmarks.overfit_networks


def _parameters_m(network):
    return sum(one.numel() for one in network.parameters()) / 1e6


def _has_learned_from(network):
    gradients = [one.grad for one in network.parameters()]
    assert all(one is not None and bool(torch.isfinite(one).all()) for one in gradients)
    return sum(float(one.abs().sum()) for one in gradients) > 0


@pytest.mark.parametrize("preset", [name for name in OVERLAP_PRESETS if name != BIG])
def test_a_preset_does_one_pass_forward_and_one_back(preset):
    torch.manual_seed(0)
    network = build_network(preset, 10, 6)
    assert _parameters_m(network) == pytest.approx(PARAMETERS_M[preset], abs=5e-4)
    if isinstance(network, SliceNetwork):
        network.size = 32
    z = 16 if isinstance(network, CoarseNetwork) else 2
    logits = network(torch.randn(1, 10, 16, 32, z))
    assert logits.shape == (1, 6, 16, 32, z)
    nn.functional.cross_entropy(logits, torch.zeros(1, 16, 32, z, dtype=torch.long)).backward()
    assert _has_learned_from(network)


def test_every_slice_is_seen_alone_and_only_by_the_first_channel():
    """Another third slice, or another second channel, changes nothing but the third slice."""
    torch.manual_seed(1)
    network = SliceNetwork(nn.Conv2d(1, 2, 3, padding=1), 1, size=32)
    given = torch.randn(2, 3, 12, 16, 5)
    other = given.clone()
    other[:, 0, :, :, 2] += 1
    other[:, 1:] = 7
    changed = (network(other) - network(given)).abs().amax(dim=(0, 1, 2, 3))
    assert changed[2] > 0.01
    assert changed[[0, 1, 3, 4]].max() == 0


def test_a_slice_keeps_its_place():
    """A bright voxel stays where it is, within a voxel's half, on the way to a square of 64 and back."""
    network = SliceNetwork(nn.Identity(), 1, size=64)
    given = torch.zeros(1, 1, 24, 32, 1)
    given[0, 0, 5, 20, 0] = 1
    (found,) = network(given)
    weights = found[0, :, :, 0] / found.sum()
    x, y = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    assert (float((weights * x).sum()), float((weights * y).sum())) == pytest.approx((5, 20), abs=0.01)


def test_a_coarse_network_is_asked_about_means_of_eight_voxels():
    given = torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    asked = []
    network = CoarseNetwork(nn.Identity())
    network.network.register_forward_hook(lambda _module, inputs, _output: asked.append(inputs[0]))
    found = network(given)
    assert asked[0].flatten().tolist() == [10.5, 12.5, 18.5, 20.5, 42.5, 44.5, 50.5, 52.5]
    assert found.shape == given.shape
    assert found[0, 0, 0, 0, 0] == 10.5


def test_what_is_stored_has_each_layer_once():
    network = build_network("overlap-coarse", 10, 6)
    stored = stored_state(network.state_dict())
    assert len({value.data_ptr() for value in stored.values()}) == len(stored) < len(network.state_dict())


@pytest.mark.parametrize("preset", ["overlap-coarse", "linknet"])
def test_a_preset_made_ready_says_what_it_said(preset):
    torch.manual_seed(2)
    network = build_network(preset, 10, 6).eval()
    if preset == "linknet":
        network.size = 32
    given = torch.randn(10, 32, 32, 16)
    with torch.inference_mode():
        truth = network(given[None]).softmax(dim=1)[0].numpy()
    found = probabilities(Network(ready(network), (32, 32, 16)), given.numpy())
    assert abs(found - truth).max() < 1e-4


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match=r"preset must be one of small, .*overlap-coarse, .*, got 'huge'"):
        build_network("huge", 10, 6)
    with pytest.raises(ValueError, match=r"preset must be one of da-net-as-paper, .*, got 'huge'"):
        build_danet("huge")


@pytest.mark.parametrize("preset", DANET_PRESETS)
def test_a_pair_of_patches_is_compared(preset):
    """Exchanged patches give exchanged answers, the means of their attention; like patches the same answer."""
    torch.manual_seed(3)
    network = build_danet(preset)
    assert _parameters_m(network) == pytest.approx(PARAMETERS_M[preset], abs=5e-4)
    n_channels = DANET_PRESETS[preset].n_channels
    left, right = torch.randn(2, 2, n_channels, 3, 18, 18)
    left[:, 1:] = right[:, 1:] = 1  # a region that fills the patch
    found = network(left, right)
    loss = danet_loss(found, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.rand(2, 2, 3, 18, 18), 0.25)
    loss.backward()
    assert _has_learned_from(network)
    network.eval()
    with torch.inference_mode():
        found, exchanged, alike = network(left, right), network(right, left), network(left, left)
    torch.testing.assert_close(exchanged.logits, found.logits.flip(1))
    torch.testing.assert_close(found.attention.mean(dim=(2, 3, 4)), found.logits)
    torch.testing.assert_close(alike.logits[:, 0], alike.logits[:, 1])
    kernels = {one.kernel_size for one in network.encoder.modules() if isinstance(one, nn.Conv3d)}
    assert {(1, 3, 3), (3, 1, 1)} <= kernels <= {(1, 3, 3), (3, 1, 1), (1, 1, 1)}


def test_the_loss_of_the_asymmetry_network_by_hand():
    """Logits 0: ln 2 a sample, weighed .75 where affected and .25 where not; attention 0 and 1 where .5 is wanted."""
    attention = torch.tensor([2.0, 4.0]).reshape(1, 1, 1, 1, 2).expand(1, 2, 1, 1, 2)
    found = Compared(torch.zeros(1, 2), attention)
    loss = danet_loss(found, torch.tensor([[1.0, 0.0]]), torch.full((1, 2, 1, 2, 2), 0.5), 0.25)
    assert float(loss) == pytest.approx(torch.log(torch.tensor(2.0)).item() * (0.75 + 0.25) / 2 + 0.25)
