"""Networks that see a scan slice by slice, or coarsely, in the shape in which all networks are asked here.

Input is (N, channels, X, Y, Z), output (N, classes, X, Y, Z), logits.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

#: Deep-ASPECTS (paper 2), section 4: "All the scans were rescaled to 224x224".
PAPER_SIZE = 224


class SliceNetwork(nn.Module):
    """A network of two dimensions that is asked about every slice, enlarged to a square.

    Parameters
    ----------
    network : (N, channels, size, size) -> (N, classes, size, size), logits
    n_seen : the first of the channels, which alone it sees
    size : of the square, pixels
    """

    def __init__(self, network: nn.Module, n_seen: int, size: int = PAPER_SIZE) -> None:
        super().__init__()
        self.network, self.size, self._n_seen = network, size, n_seen

    def forward(self, given: Tensor) -> Tensor:
        """Logits of every voxel."""
        n, _, x, y, z = given.shape
        slices = given[:, : self._n_seen].permute(0, 4, 1, 2, 3).flatten(0, 1)  # (N Z, C, X, Y)
        side = max(x, y)
        left, front = (side - x) // 2, (side - y) // 2
        square = functional.pad(slices, (front, side - y - front, left, side - x - left))
        large = functional.interpolate(square, (self.size, self.size), mode="bilinear")
        logits = self.network(large)
        small = functional.adaptive_avg_pool2d(logits.float(), (side, side))
        cut = small[:, :, left : left + x, front : front + y]
        return cut.reshape(n, z, *cut.shape[1:]).permute(0, 2, 3, 4, 1)


class CoarseNetwork(nn.Module):
    """A network of three dimensions that is asked about means of two voxels along every axis.

    Parameters
    ----------
    network : (N, channels, X/2, Y/2, Z/2) -> (N, classes, X/2, Y/2, Z/2), logits; every size is even
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, given: Tensor) -> Tensor:
        """Logits of every voxel, by linear interpolation."""
        logits = self.network(functional.avg_pool3d(given, 2))
        return functional.interpolate(logits, scale_factor=2, mode="trilinear")
