"""3D U-Nets for segmentation, by profile: ``corrected`` as we train it, ``as-paper`` as paper 4 describes it.

Both are MONAI's; a *preset* gives the widths. Input is (N, channels, X, Y, Z), output (N, classes, X, Y, Z), logits;
every spatial size must be a multiple of ``divisor``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MULTIPLE = 16  # of voxels along each axis: every preset halves its input four times at most
TWICE = "skip_layers."  # the nested view of layers that have names of their own
NetworkProfile = Literal["corrected", "as-paper"]


@dataclass(frozen=True)
class UNetPreset:
    """Widths of the levels from fine to coarse, and the normalisation.

    ``corrected``: instance normalisation, since a batch on a CPU is one patient. ``as-paper``: batch normalisation,
    3 x 3 x 3 convolutions, two a level, 2 x 2 x 2 pooling (Wei et al., Brain Communications fcag053, Methods).
    """

    widths: tuple[int, ...]
    profile: NetworkProfile = "corrected"

    @property
    def divisor(self) -> int:
        """Every spatial size of the input is a multiple of this."""
        return int(2 ** (len(self.widths) - 1))


PRESETS: Mapping[str, UNetPreset] = {
    "small": UNetPreset((16, 32, 48, 64, 96)),
    "tiny": UNetPreset((8, 16, 32)),
    "as-paper-small": UNetPreset((16, 32, 48, 64, 96), "as-paper"),
}


def build_unet(preset: str, n_channels: int, n_classes: int) -> Any:
    """An untrained network.

    Raises
    ------
    ValueError
        The preset is unknown.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}.")
    chosen = PRESETS[preset]
    if chosen.profile == "as-paper":
        from monai.networks.nets.basic_unet import BasicUNet

        features: Sequence[int] = (*chosen.widths, chosen.widths[0])
        return BasicUNet(3, n_channels, n_classes, features, norm="batch", act="relu")
    from monai.networks.nets.dynunet import DynUNet

    n_levels = len(chosen.widths)
    return DynUNet(
        3,
        n_channels,
        n_classes,
        kernel_size=[3] * n_levels,
        strides=[1] + [2] * (n_levels - 1),
        upsample_kernel_size=[2] * (n_levels - 1),
        filters=list(chosen.widths),
    )


def stored_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of a network's state: MONAI's DynUNet names most of its layers twice, here each has one name."""
    return {name: value for name, value in state.items() if TWICE not in name}


def load_state(network: Any, stored: Mapping[str, Any]) -> None:
    """Take a stored state into a network.

    Raises
    ------
    RuntimeError
        The state is of another network.
    """
    found = network.load_state_dict(stored, strict=False)
    missing = [name for name in found.missing_keys if TWICE not in name]
    if missing or found.unexpected_keys:
        raise RuntimeError(
            f"weights must be of this network, got {len(missing)} layers without weights and "
            f"{len(found.unexpected_keys)} weights without a layer. Give the weights of this preset."
        )
