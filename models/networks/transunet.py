"""A network like TransUNet in two dimensions: convolutions, a transformer over the coarsest map, a U-Net's way back.

After Chen et al. (arXiv 2102.04306), figure 1: a convolutional encoder, every place of its last map (here at a
sixteenth of the size, as there) a token with a learned place, transformer layers, and an upsampling decoder with skip
connections. Theirs has a ResNet-50 of 512 + 1,024 maps and twelve layers of 768 (105 million parameters) and starts
from ImageNet; the presets here are smaller, and start from nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TOKENS = 14  # along each axis, of places that are learned: 224 / 16


def _convs(n_in: int, n_out: int) -> nn.Sequential:
    """Twice convolution, batch normalisation, ReLU."""
    layers: list[nn.Module] = []
    for before in (n_in, n_out):
        layers += [nn.Conv2d(before, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class TransUNet(nn.Module):
    """(N, channels, X, Y) -> (N, classes, X, Y), logits; sizes are multiples of 16.

    Parameters
    ----------
    n_channels, n_classes : of input and output
    widths : of the four levels of convolutions; each halves the size
    n_hidden : width of a token
    n_layers, n_heads : of the transformer
    """

    divisor = 16

    def __init__(
        self, n_channels: int, n_classes: int, widths: tuple[int, ...], n_hidden: int, n_layers: int, n_heads: int
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _convs(n_in, n_out) for n_in, n_out in zip((n_channels, *widths[:-1]), widths, strict=True)
        )
        self.embed = nn.Conv2d(widths[-1], n_hidden, 1)
        self.places = nn.Parameter(torch.zeros(1, n_hidden, TOKENS, TOKENS))
        nn.init.trunc_normal_(self.places, std=0.02)
        layer = nn.TransformerEncoderLayer(
            n_hidden, n_heads, 4 * n_hidden, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(
            layer, n_layers, norm=nn.LayerNorm(n_hidden), enable_nested_tensor=False
        )
        self.back = _convs(n_hidden, widths[-1])
        below = (*widths[1:], widths[-1])
        self.decoder = nn.ModuleList(_convs(n_in + n_out, n_out) for n_in, n_out in zip(below, widths, strict=True))
        self.end = nn.Conv2d(widths[0], n_classes, 1)

    def forward(self, given: Tensor) -> Tensor:
        """Logits."""
        maps, found = [], given
        for block in self.encoder:
            maps.append(block(found))
            found = functional.max_pool2d(maps[-1], 2)
        tokens = self.embed(found)
        tokens = tokens + functional.interpolate(self.places, tokens.shape[2:], mode="bilinear")
        seen = self.transformer(tokens.flatten(2).transpose(1, 2))
        found = self.back(seen.transpose(1, 2).unflatten(2, tokens.shape[2:]))
        for block, skip in zip(reversed(self.decoder), reversed(maps), strict=True):
            large = functional.interpolate(found, scale_factor=2, mode="bilinear")
            found = block(torch.cat([large, skip], dim=1))
        logits: Tensor = self.end(found)
        return logits
