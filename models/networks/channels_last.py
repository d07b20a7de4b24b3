"""A trained network as it is asked on a CPU: channels last in memory, float32, the same numbers.

PyTorch's own layers copy a map back and forth between two layouts around every instance normalisation. Its kernel for
channels last does not, but adds up a whole map in float32, one voxel after the other, as OpenVINO's does: probabilities
of ``dwi-unet`` are then wrong by up to .014. Here means come from PyTorch's pairwise sum, and
squares are summed by matrix products of a slab each, after the mean was taken off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class _InstanceNorm(nn.Module):
    """Instance normalisation in place: what it is given, a convolution's result, is nobody else's."""

    def __init__(self, layer: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, given: Tensor) -> Tensor:
        """(N, C, X, Y, Z) of mean 0 and variance 1 along space, scaled and shifted."""
        slabs = given.permute(0, 2, 3, 4, 1).flatten(2, 3)  # (N, X, Y Z, C)
        n_voxels = slabs.shape[1] * slabs.shape[2]
        slabs -= (slabs.flatten(1, 2).sum(dim=1) / n_voxels)[:, None, None]
        squares = (slabs.transpose(2, 3) @ slabs).diagonal(dim1=2, dim2=3).sum(dim=1)
        scale = self.weight * torch.rsqrt(squares / n_voxels + self.eps)
        torch.addcmul(self.bias, slabs, scale[:, None, None], out=slabs)
        n, channels, x, y, z = given.shape
        return slabs.view(n, x, y, z, channels).permute(0, 4, 1, 2, 3)


class _Pointwise(nn.Module):
    """A convolution of 1 x 1 x 1 as the matrix product that it is."""

    def __init__(self, layer: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(layer.weight.flatten(1)), layer.bias

    def forward(self, given: Tensor) -> Tensor:
        """(N, classes, X, Y, Z)."""
        return functional.linear(given.permute(0, 2, 3, 4, 1), self.weight, self.bias).permute(0, 4, 1, 2, 3)


def channels_last(network: nn.Module) -> nn.Module:
    """The network itself, changed for asking; it cannot be trained any more.

    Parameters
    ----------
    network : takes and gives (N, channels, X, Y, Z) float32; every instance normalisation follows a convolution
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.InstanceNorm3d) and layer.affine and not layer.track_running_stats:
                setattr(parent, name, _InstanceNorm(layer))
            elif isinstance(layer, nn.Conv3d) and _is_pointwise(layer):
                setattr(parent, name, _Pointwise(layer))
    return laid_out(network).requires_grad_(False)


def laid_out(network: nn.Module) -> nn.Module:
    """The network with channels last, where all of its convolutions have three dimensions."""
    if any(one.dim() == 4 for one in network.parameters()):
        return network
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def _is_pointwise(layer: nn.Conv3d) -> bool:
    """Whether every voxel is looked at alone."""
    plain = (layer.kernel_size, layer.stride, tuple(layer.padding), layer.groups)
    return plain == ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1)
