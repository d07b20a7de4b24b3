"""Every network by the name of its preset."""

from __future__ import annotations

from typing import Any

from models.networks.overlap import OVERLAP_PRESETS
from models.networks.unet import PRESETS, build_unet


def build_network(preset: str, n_channels: int, n_classes: int) -> Any:
    """An untrained network: (N, channels, X, Y, Z) -> (N, classes, X, Y, Z), logits.

    Raises
    ------
    ValueError
        The preset is unknown.
    """
    if preset in PRESETS:
        return build_unet(preset, n_channels, n_classes)
    if preset not in OVERLAP_PRESETS:
        raise ValueError(f"preset must be one of {', '.join((*PRESETS, *OVERLAP_PRESETS))}, got {preset!r}.")
    return OVERLAP_PRESETS[preset].make(n_channels, n_classes)
