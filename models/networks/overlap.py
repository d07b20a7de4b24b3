"""The networks of ``ncct-overlap``: those of paper 2 by their names, and ours.

The paper's tables 1, 2 and 5 set a U-Net with EfficientNet's encoder beside TransUNet, U-Net++ and LinkNet. Its U-Net
has 42.1 million parameters, TransUNet 105, U-Net++ 42.9, LinkNet 41.2, and the last two EfficientNet's encoder as well.
Which of its sizes is not said, but can be counted: MONAI's U-Net has 41.8 million with B6, 29.6 with B5. All start from
nothing: weights of ImageNet are not fetched. The paper's see a slice alone. PyTorch is loaded when a network is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks.segmentation import WINDOW

N_SEEN_BY_PAPER = 1  # of the channels: the slice
Make = Callable[[int, int], Any]


@dataclass(frozen=True)
class OverlapPreset:
    """A network by its name.

    Attributes
    ----------
    profile : ``corrected`` as we train it, ``as-paper`` as paper 2 describes it
    make : number of channels, of classes -> network
    window : that its training shows it at once, voxels along x, y and z
    about : which network it is
    """

    profile: Literal["corrected", "as-paper"]
    make: Make
    window: tuple[int, int, int]
    about: str


def _of_slices(make: Make) -> Make:
    """The paper's way: a network of two dimensions on every slice alone."""

    def made(_n_channels: int, n_classes: int) -> Any:
        from models.networks.slices import SliceNetwork

        return SliceNetwork(make(N_SEEN_BY_PAPER, n_classes), N_SEEN_BY_PAPER)

    return made


def _efficient(backbone: str) -> Make:
    """MONAI's U-Net with EfficientNet's encoder, without the layers that classify images, which nothing asks."""

    def make(n_channels: int, n_classes: int) -> Any:
        from monai.networks.nets.flexible_unet import FlexibleUNet
        from torch import nn

        network = FlexibleUNet(n_channels, n_classes, backbone)
        for unused in ("_conv_head", "_bn1", "_fc"):
            setattr(network.encoder, unused, nn.Identity())
        return network

    return make


def _plus_plus(features: tuple[int, ...]) -> Make:
    """MONAI's U-Net++; its last output alone, without the layers of those that deep supervision asks."""

    def make(n_channels: int, n_classes: int) -> Any:
        from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus
        from torch import nn

        class Last(nn.Module):
            """The one output of a list of one."""

            def __init__(self) -> None:
                super().__init__()
                self.network = BasicUNetPlusPlus(2, n_channels, n_classes, features, norm="batch")
                for level in (1, 2, 3):
                    setattr(self.network, f"final_conv_0_{level}", nn.Identity())

            def forward(self, given: Any) -> Any:
                """Logits."""
                return self.network(given)[-1]

        return Last()

    return make


def _linknet(n_channels: int, n_classes: int) -> Any:
    """As published, on ResNet-18."""
    from models.networks.linknet import LinkNet

    return LinkNet(n_channels, n_classes)


def _transunet(n_channels: int, n_classes: int) -> Any:
    """A small one."""
    from models.networks.transunet import TransUNet

    return TransUNet(n_channels, n_classes, (32, 64, 128, 256), n_hidden=256, n_layers=4, n_heads=8)


def _ours(widths: tuple[int, ...], kernel: tuple[int, int, int], pool: tuple[int, int, int]) -> Make:
    """A U-Net with instance normalisation, since a batch on a CPU is one patient."""

    def make(n_channels: int, n_classes: int) -> Any:
        from monai.networks.nets.dynunet import DynUNet

        n = len(widths)
        return DynUNet(
            3, n_channels, n_classes, [kernel] * n, [(1, 1, 1), *[pool] * (n - 1)], [pool] * (n - 1), list(widths)
        )

    return make


def _coarsely(make: Make) -> Make:
    """At half of the resolution."""

    def made(n_channels: int, n_classes: int) -> Any:
        from models.networks.slices import CoarseNetwork

        return CoarseNetwork(make(n_channels, n_classes))

    return made


SLAB = (80, 96, 16)  # slices of a head
SQUARE = (96, 112, 8)  # slices that are a batch
OVERLAP_PRESETS: Mapping[str, OverlapPreset] = {
    "overlap-coarse": OverlapPreset(
        "corrected",
        _coarsely(_ours((16, 32, 64, 96), (3, 3, 3), (2, 2, 2))),
        WINDOW,
        "U-Net of three dimensions on voxels of 4 mm",
    ),
    "overlap-slices": OverlapPreset(
        "corrected",
        _ours((24, 48, 72, 96, 128), (3, 3, 1), (2, 2, 1)),
        SLAB,
        "U-Net on slices with their neighbours and the other side",
    ),
    "unet-b0": OverlapPreset("as-paper", _of_slices(_efficient("efficientnet-b0")), SQUARE, "U-Net, EfficientNet B0"),
    "unet-b6": OverlapPreset("as-paper", _of_slices(_efficient("efficientnet-b6")), SQUARE, "U-Net, EfficientNet B6"),
    "unet-plus-plus": OverlapPreset(
        "as-paper", _of_slices(_plus_plus((32, 32, 64, 128, 256, 32))), SQUARE, "U-Net++ without EfficientNet"
    ),
    "linknet": OverlapPreset("as-paper", _of_slices(_linknet), SQUARE, "LinkNet, ResNet-18"),
    "transunet": OverlapPreset("as-paper", _of_slices(_transunet), SQUARE, "like TransUNet, four layers of 256"),
}
