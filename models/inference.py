"""What a trained network says of one scan: probabilities of every class on the network's grid.

A network is asked in windows of the size of its training's patches, which its card names: one as a rule, since patches
hold a brain. Its instance normalisation takes means over all that it is shown, so that what it learned holds for about
that size alone: one that had learned patches of 128 x 160 x 128 mm and was asked about whole brains at once found 20 ml
of infarct where it found next to nothing in windows. A head that is a little larger than the window is shown at once
all the same (``shown_at_once``): cut in two it would take twice as long, and be two heads with half a brain each.

A network is loaded once per process and asked about one patient at a time, the mirror image after the image: two in one
batch take as long a patient and three times the memory. Numbers are float32 on every path, equal to those of float64
within ``TOLERANCE``: no bfloat16, which is fast on some CPUs and slow on others, and no TF32 on a GPU. OpenVINO is 1.4
times as fast as ours on a CPU, but beyond the tolerance (``tests.benchmarks.bench_inference``). PyTorch is loaded when
a network is first asked: nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from models.networks.build import build_network
from models.networks.unet import MULTIPLE, load_state
from models.weights import Weights, WeightsMissingError, load_weights
from tasks.arrays import Float32Array
from tasks.segmentation import WINDOW, Window

#: Largest difference of a probability between any two paths (CPU, GPU, any number of threads) and float64.
TOLERANCE = 1e-4
OVERLAP = 0.25  # of two windows
LARGER = 1.2  # than its window, along each axis: what a network is still shown at once


@dataclass(frozen=True, eq=False)
class Network:
    """A network that can be asked.

    Attributes
    ----------
    module : of PyTorch: (N, C, X, Y, Z) -> (N, classes, X, Y, Z), logits
    window : what it is shown at once
    """

    module: Any
    window: Window = WINDOW


@lru_cache(maxsize=4)
def loaded(weights: Weights, preset: str, n_channels: int, n_classes: int) -> Network:
    """The trained network, ready to be asked; once per process, on a GPU where this process may use one.

    Raises
    ------
    WeightsMissingError
        They are damaged, or of another network.
    """
    state = load_weights(weights)
    try:
        module = build_network(preset, n_channels, n_classes)
        load_state(module, state)
    except (ValueError, RuntimeError) as error:
        wanted = f"a network {preset} of {n_channels} channels and {n_classes} classes"
        found = " ".join(str(error).split())
        raise WeightsMissingError(f"weights {weights.name} must be of {wanted}, got: {found[:300]}") from error
    return Network(ready(module), weights.window)


def ready(module: Any) -> Any:
    """A module with its weights, made ready to be asked; it cannot be trained any more."""
    import torch

    from models.networks.channels_last import channels_last

    module.eval()
    if not torch.cuda.is_available():
        return channels_last(module)
    torch.backends.cudnn.allow_tf32 = False
    return module.cuda()


def probabilities(network: Network, channels: Float32Array, *, flip: bool = False) -> Float32Array:
    """Probabilities of every class.

    Parameters
    ----------
    network : Network
    channels : (C, X, Y, Z) float32 array; sizes below its window are filled up with zeros
    flip : also ask for the mirror image along x, and take the mean

    Returns
    -------
    (classes, X, Y, Z) float32 array, sum 1 over the classes
    """
    import torch

    device = next((one.device for one in network.module.parameters()), torch.device("cpu"))
    given = torch.from_numpy(np.ascontiguousarray(channels[None], dtype=np.float32)).to(device)
    with torch.inference_mode():
        found = in_windows(network, given)
        if flip:
            found += in_windows(network, given.flip(2)).flip(2)
            found /= 2
    return np.ascontiguousarray(found[0].cpu().numpy())


def in_windows(network: Network, given: Any) -> Any:
    """Probabilities of one image: at once, or in overlapping windows weighted towards their middles.

    Parameters
    ----------
    network : in the state for judging
    given : (N, C, X, Y, Z) float32 tensor on the network's device

    Returns
    -------
    (N, classes, X, Y, Z) float32 tensor
    """
    import torch
    from monai.inferers.utils import sliding_window_inference

    def of_window(part: Any) -> Any:
        return network.module(part.contiguous(memory_format=torch.channels_last_3d)).float().softmax(dim=1)

    window = shown_at_once(given.shape[2:], network.window)
    return sliding_window_inference(given, window, 1, of_window, overlap=OVERLAP, mode="gaussian")


def shown_at_once(shape: Sequence[int], window: Window) -> Window:
    """What of an image is shown at once, along each axis: its window, or all of it where it is not much larger.

    Parameters
    ----------
    shape : of the image, voxels
    window : of the network

    >>> shown_at_once((60, 100, 97), (80, 96, 80))
    (80, 112, 80)
    """
    x, y, z = (
        whole if size > least and (whole := -(-size // MULTIPLE) * MULTIPLE) <= LARGER * least else least
        for size, least in zip(shape, window, strict=True)
    )
    return x, y, z
