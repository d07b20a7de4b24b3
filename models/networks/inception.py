"""The convolutions of Inception-v3 (Szegedy et al., CVPR 2016:2818-2826, arXiv 1512.00567), from nothing.

Without the layers that classify images and without the auxiliary head, which only training on ImageNet asks. An image
has at least 75 pixels along each side; maps of 2,048 channels come out, a thirty-second of the size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

N_OUT = 2048
Kernel = int | tuple[int, int]


def _convolution(n_in: int, n_out: int, kernel: Kernel, stride: int = 1, *, is_padded: bool = True) -> nn.Sequential:
    """A convolution with normalisation; padded so that the size stays, where it does not halve."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2) if is_padded else (0, 0)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, sides, stride, padding, bias=False),
        nn.BatchNorm2d(n_out, eps=0.001),
        nn.ReLU(inplace=True),
    )


def _path(n_in: int, *steps: tuple[int, Kernel]) -> nn.Sequential:
    """Convolutions one after the other: width and kernel of each."""
    layers = []
    for width, kernel in steps:
        layers.append(_convolution(n_in, width, kernel))
        n_in = width
    return nn.Sequential(*layers)


class _Branches(nn.Module):
    """What is said of the same maps side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, given: Tensor) -> Tensor:
        """(N, channels, X, Y) to the channels of all branches together."""
        return torch.cat([branch(given) for branch in self.branches], dim=1)


def _pooled(n_in: int, n_out: int) -> nn.Sequential:
    """A mean over the neighbours, then a convolution of single pixels."""
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), _convolution(n_in, n_out, 1))


def _fine(n_in: int, n_pooled: int) -> _Branches:
    """Figure 5 of the paper."""
    return _Branches(
        _convolution(n_in, 64, 1),
        _path(n_in, (48, 1), (64, 5)),
        _path(n_in, (64, 1), (96, 3), (96, 3)),
        _pooled(n_in, n_pooled),
    )


def _halved(n_in: int) -> _Branches:
    """Figure 10: to half of the size."""
    return _Branches(
        _convolution(n_in, 384, 3, 2, is_padded=False),
        nn.Sequential(_path(n_in, (64, 1), (96, 3)), _convolution(96, 96, 3, 2, is_padded=False)),
        nn.MaxPool2d(3, 2),
    )


def _factorised(n_in: int, width: int) -> _Branches:
    """Figure 6: rows and columns of seven."""
    row, column = (1, 7), (7, 1)
    return _Branches(
        _convolution(n_in, 192, 1),
        _path(n_in, (width, 1), (width, row), (192, column)),
        _path(n_in, (width, 1), (width, column), (width, row), (width, column), (192, row)),
        _pooled(n_in, 192),
    )


def _halved_again(n_in: int) -> _Branches:
    """To a quarter of the size."""
    return _Branches(
        nn.Sequential(_path(n_in, (192, 1)), _convolution(192, 320, 3, 2, is_padded=False)),
        nn.Sequential(
            _path(n_in, (192, 1), (192, (1, 7)), (192, (7, 1))), _convolution(192, 192, 3, 2, is_padded=False)
        ),
        nn.MaxPool2d(3, 2),
    )


def _wide(n_in: int) -> _Branches:
    """Figure 7: rows and columns of three side by side."""

    def split(n: int) -> _Branches:
        return _Branches(_convolution(n, 384, (1, 3)), _convolution(n, 384, (3, 1)))

    return _Branches(
        _convolution(n_in, 320, 1),
        nn.Sequential(_path(n_in, (384, 1)), split(384)),
        nn.Sequential(_path(n_in, (448, 1), (384, 3)), split(384)),
        _pooled(n_in, 192),
    )


def inception(n_channels: int) -> nn.Sequential:
    """The convolutions, (N, channels, X, Y) to (N, 2048, x, y).

    Parameters
    ----------
    n_channels : of the image
    """
    return nn.Sequential(
        _convolution(n_channels, 32, 3, 2, is_padded=False),
        _convolution(32, 32, 3, is_padded=False),
        _convolution(32, 64, 3),
        nn.MaxPool2d(3, 2),
        _convolution(64, 80, 1),
        _convolution(80, 192, 3, is_padded=False),
        nn.MaxPool2d(3, 2),
        _fine(192, 32),
        _fine(256, 64),
        _fine(288, 64),
        _halved(288),
        *(_factorised(768, width) for width in (128, 160, 160, 192)),
        _halved_again(768),
        _wide(1280),
        _wide(2048),
    )
