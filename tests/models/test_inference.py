"""What a network says: probabilities that sum to one, the same on every path, and a mirror image's mirror image."""

import copy

import monai.networks.nets  # noqa: F401  # binds a socket as it is first imported, which no unmarked test may do
import numpy as np
import pytest
import torch
from torch import nn

from models.inference import TOLERANCE, Network, probabilities, ready
from models.networks.channels_last import channels_last
from models.networks.unet import build_unet, load_state
from models.weights import find_weights, load_weights

SIZE = (64, 80, 64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return Network(build_unet("tiny", 3, 6).eval(), (16, 24, 16))


@pytest.fixture(scope="module")
def channels():
    return np.random.default_rng(4).standard_normal((3, 16, 24, 16)).astype(np.float32)


def test_probabilities_sum_to_one(network, channels):
    found = probabilities(network, channels)
    assert found.shape == (6, 16, 24, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


def test_with_the_flip_the_mirror_image_gives_the_mirror_image(network, channels):
    plain = probabilities(network, channels, flip=True)
    mirrored = probabilities(network, channels[:, ::-1], flip=True)
    np.testing.assert_allclose(mirrored[:, ::-1], plain, atol=1e-5)
    assert np.abs(probabilities(network, channels[:, ::-1])[:, ::-1] - probabilities(network, channels)).max() > 1e-3


def test_the_flip_is_the_mean_of_both(network, channels):
    both = (probabilities(network, channels) + probabilities(network, channels[:, ::-1])[:, ::-1]) / 2
    np.testing.assert_allclose(probabilities(network, channels, flip=True), both, atol=1e-6)


def test_a_head_a_little_larger_than_the_window_is_shown_at_once():
    """A window of 40 sees up to 48 = 40 x 1.2, in whole sixteens; one of 16 nothing more, for 32 is twice as much."""
    shown = []

    class Told(nn.Module):
        def forward(self, given):
            shown.append(tuple(given.shape[2:]))
            return given

    for shape, window, wanted in [
        ((12, 20, 16), (16, 32, 16), [(16, 32, 16)]),
        ((16, 41, 16), (16, 40, 16), [(16, 48, 16)]),
        ((16, 49, 16), (16, 40, 16), [(16, 40, 16)] * 2),
        ((17, 40, 16), (16, 40, 16), [(16, 40, 16)] * 2),
    ]:
        shown.clear()
        found = probabilities(Network(Told(), window), np.ones((2, *shape), np.float32))
        assert shown == wanted
        assert found.shape == (2, *shape)
        np.testing.assert_allclose(found, 0.5, atol=1e-6)


def test_the_number_of_threads_does_not_change_the_answer(network, channels):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = probabilities(network, channels)
        torch.set_num_threads(2)
        np.testing.assert_allclose(probabilities(network, channels), one, atol=1e-5)
    finally:
        torch.set_num_threads(before)


def double_precision(network, channels):
    """Probabilities by torch's own layers in float64."""
    with torch.inference_mode():
        found = copy.deepcopy(network).double()(torch.from_numpy(channels[None]).double())
    return found.softmax(dim=1)[0].numpy()


@pytest.fixture(
    scope="module", params=[("dwi-unet", "small", 3, 6), ("region-net", "small", 6, 11)], ids=lambda given: given[0]
)
def shipped(request):
    """A shipped network with torch's own layers, an input with a brain in an empty box, and the answer in float64."""
    name, preset, n_channels, n_classes = request.param
    network = build_unet(preset, n_channels, n_classes)
    load_state(network, load_weights(find_weights(name)))
    x, y, z = np.ogrid[-1:1:64j, -1:1:80j, -1:1:64j]  # of SIZE
    inside = x**2 + y**2 + z**2 < 0.6
    made = np.random.default_rng(5).standard_normal((n_channels, *inside.shape)).astype(np.float32) * inside
    return network.eval(), made, double_precision(network.eval(), made)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_shipped_networks_say_what_they_say_in_double_precision(shipped, n_threads):
    network, made, truth = shipped
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        found = probabilities(Network(channels_last(copy.deepcopy(network)), SIZE), made)
    finally:
        torch.set_num_threads(before)
    assert np.abs(found - truth).max() < TOLERANCE / 5
    far = np.abs(np.diff(np.sort(truth, axis=0)[-2:], axis=0)[0]) > TOLERANCE
    np.testing.assert_array_equal(found.argmax(axis=0)[far], truth.argmax(axis=0)[far])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same(shipped):
    network, made, truth = shipped
    on_gpu = Network(ready(copy.deepcopy(network)), SIZE)
    assert next(on_gpu.module.parameters()).is_cuda
    assert np.abs(probabilities(on_gpu, made) - truth).max() < TOLERANCE


@pytest.mark.parametrize("preset", ["small", "tiny", pytest.param("as-paper-small", marks=pytest.mark.extended)])
def test_every_preset_made_ready_says_the_same(preset):
    torch.manual_seed(6)
    network = build_unet(preset, 3, 6).eval()
    made = np.random.default_rng(7).standard_normal((3, *SIZE)).astype(np.float32)
    found = probabilities(Network(ready(copy.deepcopy(network)), SIZE), made, flip=True)
    truth = (double_precision(network, made) + double_precision(network, made[:, ::-1].copy())[:, ::-1]) / 2
    assert np.abs(found - truth).max() < TOLERANCE


def test_a_mean_far_from_zero_costs_no_precision():
    """Mean 1000 and standard deviation 1 in 120,000 voxels: E[x^2] - E[x]^2 in float32 would be off by 10 %."""
    layer = nn.InstanceNorm3d(2, affine=True)
    values = 1000 + np.random.default_rng(8).standard_normal((1, 2, 40, 60, 50)).astype(np.float32)
    wide = values.astype(np.float64)
    axes = (2, 3, 4)
    deviation = np.sqrt(wide.var(axis=axes, keepdims=True) + layer.eps)
    truth = (wide - wide.mean(axis=axes, keepdims=True)) / deviation
    given = torch.from_numpy(values).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        found = channels_last(nn.Sequential(layer))(given).numpy()
    np.testing.assert_allclose(found, truth, atol=2e-4)  # float32 holds 1000 to 3e-5


def test_a_network_is_shown_windows_of_the_size_of_its_patches():
    """Where one window alone reaches, the answer is that window's: means are taken over it, not over the whole scan."""
    torch.manual_seed(9)
    network = Network(build_unet("tiny", 3, 6).eval(), SIZE)
    made = np.random.default_rng(10).standard_normal((3, 96, 112, 96)).astype(np.float32)
    made[:, SIZE[0] :] += 3  # what the first window does not see
    first = made[:, : SIZE[0], : SIZE[1], : SIZE[2]]
    found = probabilities(network, made)
    np.testing.assert_allclose(found[:, :32, :32, :32], probabilities(network, first)[:, :32, :32, :32], atol=TOLERANCE)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=TOLERANCE)
