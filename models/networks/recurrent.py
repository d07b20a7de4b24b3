"""The networks of paper 5 (RRCNN): slices seen one by one, then together, to one logit of a low score.

Five blocks of 3 x 3 convolutions with a skip and a halving, the mean over what is left of a slice, an LSTM from below
upwards, one layer. Named comparators are those of the paper's Table 2: VGG16 and LSTM, Inception-v3 and LSTM, and a 3D
CNN. All start from nothing: no weights of ImageNet can be had without a network connection.

Input is (N, slices, X, Y), output (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.networks.inception import N_OUT, inception
from models.networks.unet import NetworkProfile
from tasks.arrays import AnyArray, FloatArray

#: Width and number of convolutions of each block of VGG16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D).
VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@dataclass(frozen=True)
class DichotomyPreset:
    """A network by its name.

    Attributes
    ----------
    kind : ``residual``, ``vgg``, ``inception`` or ``volume``
    widths : of the blocks
    hidden : of the LSTM; 0 without
    profile : as we train it, or as the paper
    """

    kind: Literal["residual", "vgg", "inception", "volume"]
    widths: tuple[int, ...]
    hidden: int
    profile: NetworkProfile = "corrected"


DICHOTOMY_PRESETS: Mapping[str, DichotomyPreset] = {
    "small": DichotomyPreset("residual", (16, 32, 48, 64, 64), 64),
    "tiny": DichotomyPreset("residual", (4, 8, 8), 8),
    "vgg16-lstm": DichotomyPreset("vgg", tuple(width for width, _ in VGG16), 256),
    "inception-lstm": DichotomyPreset("inception", (N_OUT,), 256),
    "cnn-3d": DichotomyPreset("volume", (16, 32, 64, 128), 0),
    "as-paper-small": DichotomyPreset("residual", (32, 64, 128, 256, 256), 256, "as-paper"),  # paper 5, section 2.3
}


class _Residual(nn.Module):
    """Two convolutions beside a skip, and a halving."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.skip = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.pool = nn.MaxPool2d(2)

    def forward(self, given: Tensor) -> Tensor:
        """(N, channels, X, Y) to half the size."""
        halved: Tensor = self.pool(torch.relu(self.path(given) + self.skip(given)))
        return halved


def _vgg() -> nn.Sequential:
    """The convolutions of VGG16, with normalisation, since they start from nothing."""
    layers: list[nn.Module] = []
    n_in = 1
    for width, n in VGG16:
        for _ in range(n):
            layers += [nn.Conv2d(n_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            n_in = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _volume(widths: tuple[int, ...]) -> nn.Sequential:
    """Convolutions in three dimensions."""
    layers: list[nn.Module] = []
    n_in = 1
    for width in widths:
        layers += [nn.Conv3d(n_in, width, 3, padding=1, bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool3d(2, ceil_mode=True))
        n_in = width
    return nn.Sequential(*layers)


class DichotomyNetwork(nn.Module):
    """Slices in, the logit of a low score out.

    Parameters
    ----------
    preset : of ``DICHOTOMY_PRESETS``
    """

    def __init__(self, preset: DichotomyPreset) -> None:
        super().__init__()
        widths = preset.widths
        if preset.kind == "residual":
            pairs = zip((1, *widths), widths, strict=False)
            self.encoder = nn.Sequential(*(_Residual(n_in, n_out) for n_in, n_out in pairs))
        else:
            by_kind: dict[str, Callable[[], nn.Sequential]] = {
                "vgg": _vgg,
                "inception": lambda: inception(1),
                "volume": lambda: _volume(widths),
            }
            self.encoder = by_kind[preset.kind]()
        self.is_volume = preset.kind == "volume"
        self.recurrent = nn.LSTM(widths[-1], preset.hidden, batch_first=True) if preset.hidden else None
        self.last = nn.Linear(preset.hidden or widths[-1], 1)

    def forward(self, slices: Tensor) -> Tensor:
        """(N, slices, X, Y) to (N,)."""
        if self.is_volume:
            seen = self.encoder(slices.unsqueeze(1)).mean(dim=(2, 3, 4))
        else:
            n, depth, height, width = slices.shape
            maps = self.encoder(slices.reshape(n * depth, 1, height, width))
            seen = maps.mean(dim=(2, 3)).reshape(n, depth, -1)
        if self.recurrent is not None:
            seen = self.recurrent(seen)[1][0][-1]  # the last state
        logit: Tensor = self.last(seen)[:, 0]
        return logit


def build_dichotomy(preset: str) -> DichotomyNetwork:
    """An untrained network.

    Raises
    ------
    ValueError
        The preset is unknown.
    """
    if preset not in DICHOTOMY_PRESETS:
        raise ValueError(f"preset must be one of {', '.join(DICHOTOMY_PRESETS)}, got {preset!r}.")
    return DichotomyNetwork(DICHOTOMY_PRESETS[preset])


def logits_of(network: DichotomyNetwork, slabs: AnyArray) -> FloatArray:
    """Mean logit of patients and their mirror images, (N,).

    Parameters
    ----------
    network : ready to be asked
    slabs : (N, 20, 80, 80) float array
    """
    found = []
    with torch.inference_mode():
        for one in slabs:
            both = torch.from_numpy(np.stack([one, one[:, ::-1]]).astype(np.float32))
            found.append(float(network(both).mean()))
    return np.array(found)
