"""DA-Net's network: the two sides of one region through one encoder, held against each other, and where it looks.

Cao et al., Hum Brain Mapp 2022 (doi 10.1002/hbm.25845), section 2.4 and figure 1c: a DenseNet of four dense blocks with
convolutions of 1 x 3 x 3 and 3 x 1 x 1, shared by the left patch and the flipped right one; a side is judged by its own
maps and by their difference from the other side's. The paper's encoder pools between blocks and sees the image; the
authors' code (simonsf/ct-aspects, 76899f5) halves by strided convolutions and sees the region's mask as well, in
patches of 7 x 130 x 110. Neither says how many parameters there are.

The paper's patches of 80 x 160 x 120 voxels cannot be slices of 5 mm, which would be 400 mm high: with ``as-paper``
they are cubes of 0.5 mm, in the window of 5 to 55 HU; with ``as-code`` it is 0 to 60 HU. As we train, they are as large
as the code's, of 4 x 2 x 2 mm, in a window around each brain's own median, and a side is judged by the mean of its map
over the region's mask, where the paper takes the mean over the patch and asks the map to be like the mask.

Arrays are (N, channels, Z, Y, X); in plane voxels are an order finer than across slices, so sizes are halved in plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.arrays import AnyArray, FloatArray
from tasks.density.pairs import PatchRecipe

DanetProfile = Literal["as-paper", "as-code", "corrected"]
PAIRS_AT_ONCE = 10  # pairs that are asked about at once: the regions of a patient


@dataclass(frozen=True)
class DanetPreset:
    """A network by its name.

    Attributes
    ----------
    profile : as the paper, as its code, or as we train it
    layers : of each dense block
    growth : maps that a layer adds
    n_channels : 1 sees the image, 2 the mask of the region too
    halves_by : what makes maps smaller between two blocks
    dropout : in every layer
    patches : what it is shown
    pools_in : where a side's map is averaged to its logit
    attention : weight of the error of its attention in the loss
    """

    profile: DanetProfile
    layers: tuple[int, ...]
    growth: int
    n_channels: int
    halves_by: Literal["pooling", "stride"]
    patches: PatchRecipe
    dropout: float = 0.0
    pools_in: Literal["patch", "mask"] = "patch"
    attention: float = 1.0


DANET_PRESETS: Mapping[str, DanetPreset] = {
    "da-net-as-paper": DanetPreset(
        "as-paper", (4, 10, 12, 8), 32, 1, "pooling", PatchRecipe((80, 160, 120), (0.5, 0.5, 0.5), 50.0, 30.0)
    ),
    "da-net-as-code": DanetPreset(
        "as-code", (4, 10, 12, 8), 32, 2, "stride", PatchRecipe((7, 130, 110), (5.0, 0.5, 0.5), 60.0, 30.0), 0.1
    ),
    "da-net-small": DanetPreset(
        "corrected", (2, 3, 3, 2), 12, 2, "pooling", PatchRecipe((9, 32, 28), (4.0, 2.0, 2.0), 50.0), pools_in="mask"
    ),
    "da-net-tiny": DanetPreset(
        "corrected", (1, 1), 4, 2, "pooling", PatchRecipe((5, 8, 8), (8.0, 8.0, 8.0), 50.0), pools_in="mask"
    ),
}


@dataclass(frozen=True, eq=False)
class Compared:
    """What the network says of pairs of patches.

    Attributes
    ----------
    logits : (N, 2) of an affected left and right side
    attention : (N, 2, Z, Y, X) class activation maps of both, whose means over the patch or the region are the logits
    """

    logits: Tensor
    attention: Tensor


def _layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """Batch normalisation, ReLU, and a convolution in plane and one across."""
    return nn.Sequential(
        nn.BatchNorm3d(n_in),
        nn.ReLU(inplace=True),
        nn.Conv3d(n_in, n_out, (1, 3, 3), padding=(0, 1, 1), bias=False),
        nn.Conv3d(n_out, n_out, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.Dropout3d(dropout),
    )


class _Block(nn.Module):
    """A dense block: every layer sees all maps before it."""

    def __init__(self, n_in: int, n_layers: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layer(n_in + at * growth, growth, dropout) for at in range(n_layers))
        self.n_out = n_in + n_layers * growth

    def forward(self, given: Tensor) -> Tensor:
        """All maps."""
        for layer in self.layers:
            given = torch.cat([given, layer(given)], dim=1)
        return given


def _transition(n_in: int, halves_by: str) -> nn.Sequential:
    """Half as many maps of half the size in plane."""
    normed = [nn.BatchNorm3d(n_in), nn.ReLU(inplace=True)]
    if halves_by == "stride":
        return nn.Sequential(*normed, nn.Conv3d(n_in, n_in // 2, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1), bias=False))
    pool = nn.AvgPool3d((1, 2, 2), ceil_mode=True)
    return nn.Sequential(*normed, nn.Conv3d(n_in, n_in // 2, 1, bias=False), pool)


class AsymmetryNetwork(nn.Module):
    """Two patches in, two logits and two maps of attention out.

    Parameters
    ----------
    preset : of ``DANET_PRESETS``
    """

    def __init__(self, preset: DanetPreset) -> None:
        super().__init__()
        width = 2 * preset.growth
        parts: list[nn.Module] = [
            nn.Conv3d(preset.n_channels, width, (1, 3, 3), (1, 2, 2), padding=(0, 1, 1), bias=False)
        ]
        for at, n_layers in enumerate(preset.layers):
            block = _Block(width, n_layers, preset.growth, preset.dropout)
            parts.append(block)
            width = block.n_out
            if at + 1 < len(preset.layers):
                parts.append(_transition(width, preset.halves_by))
                width //= 2
        self.encoder = nn.Sequential(*parts, nn.BatchNorm3d(width), nn.ReLU(inplace=True))
        self.classifier = nn.Conv3d(2 * width, 1, 1)
        self.pools_in_mask = preset.pools_in == "mask"

    def forward(self, left: Tensor, right: Tensor) -> Compared:
        """Compare patches.

        Parameters
        ----------
        left, right : (N, channels, Z, Y, X), image and mask; the right ones flipped, so that both look alike
        """
        of_left, of_right = self.encoder(left), self.encoder(right)
        maps = [
            self.classifier(torch.cat([own, own - other], dim=1))
            for own, other in ((of_left, of_right), (of_right, of_left))
        ]
        attention = torch.cat(maps, dim=1)
        if not self.pools_in_mask:
            return Compared(attention.mean(dim=(2, 3, 4)), attention)
        masks = at_size_of(torch.stack([left[:, 1], right[:, 1]], dim=1), attention)
        share = masks.sum(dim=(2, 3, 4)).clamp_min(1e-3)
        return Compared((attention * masks).sum(dim=(2, 3, 4)) / share, attention)


def build_danet(preset: str) -> AsymmetryNetwork:
    """An untrained network.

    Raises
    ------
    ValueError
        The preset is unknown.
    """
    if preset not in DANET_PRESETS:
        raise ValueError(f"preset must be one of {', '.join(DANET_PRESETS)}, got {preset!r}.")
    return AsymmetryNetwork(DANET_PRESETS[preset])


def danet_loss(
    found: Compared, is_affected: Tensor, masks: Tensor, share_affected: float, attention: float = 1.0
) -> Tensor:
    """Weighted cross-entropy and the squared error of the attention (section 2.5).

    A sample weighs as much as the share of the other class; attention is scaled from 0 to 1 in each patch, which the
    paper leaves open, and held against the region's mask.

    Parameters
    ----------
    found : Compared
    is_affected : (N, 2) float tensor, 0 or 1, left and right
    masks : (N, 2, Z', Y', X') float tensor, 0 to 1, of the region in each patch
    share_affected : of all samples of the training
    attention : weight of its error
    """
    weights = is_affected * (1 - share_affected) + (1 - is_affected) * share_affected
    entropy = functional.binary_cross_entropy_with_logits(found.logits, is_affected, weights)
    scaled = scaled_attention(found.attention)
    return entropy + attention * functional.mse_loss(scaled, at_size_of(masks, scaled))


def scaled_attention(attention: Tensor) -> Tensor:
    """Maps (N, sides, Z, Y, X) from 0 to 1 in each patch."""
    low, high = attention.amin((2, 3, 4), keepdim=True), attention.amax((2, 3, 4), keepdim=True)
    return (attention - low) / (high - low).clamp_min(1e-6)


def at_size_of(masks: Tensor, maps: Tensor) -> Tensor:
    """Masks averaged to the size of maps, (N, 2, Z, Y, X) each."""
    z, y, x = maps.shape[2:]
    return functional.adaptive_avg_pool3d(masks, (z, y, x))


def seen_by(preset: DanetPreset, images: AnyArray, masks: AnyArray) -> tuple[Tensor, Tensor]:
    """Left and right input of a network, (N, channels, Z, Y, X) each.

    Parameters
    ----------
    preset : of the network
    images, masks : (N, 2, Z, Y, X) arrays, of ``tasks.density.pairs``
    """
    both = np.stack([images, masks][: preset.n_channels], axis=2).astype(np.float32)
    given = torch.from_numpy(both)
    return given[:, 0], given[:, 1]


def logits_of(network: AsymmetryNetwork, preset: DanetPreset, images: AnyArray, masks: AnyArray) -> FloatArray:
    """Logits of affected sides, (N, 2), left and right; parameters as of ``seen_by``."""
    found = [np.zeros((0, 2))]
    with torch.inference_mode():
        for at in range(0, len(images), PAIRS_AT_ONCE):
            some = slice(at, at + PAIRS_AT_ONCE)
            found.append(network(*seen_by(preset, images[some], masks[some])).logits.numpy())
    return np.concatenate(found).astype(np.float64)
