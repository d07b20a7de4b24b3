"""Weights of ``ncct-asymmetry`` made by hand, of which is known what they say."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from cohorts.store.hashing import file_sha256
from models.asymmetry import arrays_of
from models.networks.da_net import build_danet
from tasks.anatomy import ASPECTS_REGIONS

CALIBRATION = {"deep": (2.0, -0.5), "cortical": (1.0, 0.25)}
CUTS = dict.fromkeys(ASPECTS_REGIONS, 0.6) | {"m2": 0.8}


def darker_than_the_other_side(slope):
    """A network whose logit is a slope times how much darker a region is than the other side's, in HU.

    The first of its maps is the image, shifted to be positive so that no ReLU cuts it; all else is 0.
    """
    network = build_danet("da-net-tiny")
    with torch.no_grad():
        for one in network.parameters():
            one.zero_()
        maps = [one for one in network.encoder.modules() if isinstance(one, torch.nn.Conv3d)]
        maps[0].weight[0, 0, 0, 1, 1] = 1  # of the image; every second voxel in plane
        (halving,) = [one for one in maps if one.kernel_size == (1, 1, 1)]
        halving.weight[0, 0] = 1
        norms = [one for one in network.encoder.modules() if isinstance(one, torch.nn.BatchNorm3d)]
        for norm, shift in ((norms[1], 1.0), (norms[3], 0.0)):  # of the halving, and the last
            norm.weight[0], norm.bias[0] = (1 + norm.eps) ** 0.5, shift
        network.classifier.weight[0, network.classifier.in_channels // 2] = -25.0 * slope  # of the difference
    return network.eval()


def write_asymmetry(folder: Path, deep: float, cortical: float) -> None:
    """Write ``ncct-asymmetry``: networks of these slopes, calibrated, with cuts."""
    networks = {"deep": darker_than_the_other_side(deep), "cortical": darker_than_the_other_side(cortical)}
    path = folder / "ncct-asymmetry.safetensors"
    save_file(arrays_of(networks), path)
    facts = {"kind": "da-net", "preset": "da-net-tiny", "calibration": CALIBRATION, "cuts": CUTS}
    card = {"sha256": file_sha256(path), "state": "trained-here", "is_trained": True, "classifier": facts}
    path.with_suffix(".json").write_text(json.dumps(card))
