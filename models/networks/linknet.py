"""LinkNet in two dimensions: a residual encoder whose maps are added to the decoder's, not stacked beside them.

Chaurasia and Culurciello, VCIP 2017:1-4 (arXiv 1707.03718), figures 1 to 3: four encoder blocks of two residual blocks
each (ResNet-18), four decoder blocks that narrow to a quarter, double the size and widen again.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)  # section 3, as ResNet-18


def _conv(n_in: int, n_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


def _up(n_in: int, n_out: int) -> nn.Sequential:
    """A transposed convolution that doubles the size, batch normalisation, ReLU."""
    up = nn.ConvTranspose2d(n_in, n_out, 3, 2, 1, output_padding=1, bias=False)
    return nn.Sequential(up, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """Two convolutions beside a way around them."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(n_in, n_out, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out))
        self.around: nn.Module = nn.Identity()
        if (n_in, stride) != (n_out, 1):
            self.around = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, given: Tensor) -> Tensor:
        """The sum of both ways."""
        total: Tensor = self.second(self.first(given)) + self.around(given)
        return total.relu()


class LinkNet(nn.Module):
    """(N, channels, X, Y) -> (N, classes, X, Y), logits; sizes are multiples of 32.

    Parameters
    ----------
    n_channels, n_classes : of input and output
    widths : of the encoder's blocks
    """

    divisor = 32

    def __init__(self, n_channels: int, n_classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.begin = nn.Sequential(_conv(n_channels, widths[0], 7, 2), nn.MaxPool2d(3, 2, 1))
        before = (widths[0], *widths[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(_Residual(n_in, n_out, 1 if at == 0 else 2), _Residual(n_out, n_out, 1))
            for at, (n_in, n_out) in enumerate(zip(before, widths, strict=True))
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(
                _conv(n_out, n_out // 4, 1),
                _conv(n_out // 4, n_out // 4) if at == 0 else _up(n_out // 4, n_out // 4),
                _conv(n_out // 4, n_in, 1),
            )
            for at, (n_in, n_out) in enumerate(zip(before, widths, strict=True))
        )
        half = widths[0] // 2
        self.end = nn.Sequential(_up(widths[0], half), _conv(half, half), nn.ConvTranspose2d(half, n_classes, 2, 2))

    def forward(self, given: Tensor) -> Tensor:
        """Logits."""
        found = self.begin(given)
        maps = []
        for block in self.encoder:
            maps.append(found)
            found = block(found)
        for block, link in zip(reversed(self.decoder), reversed(maps), strict=True):
            found = block(found) + link
        logits: Tensor = self.end(found)
        return logits
