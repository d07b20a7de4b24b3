"""DA-Net as it ships: two networks, one for deep regions and one for cortical ones, their curves and their cuts.

Cao et al., Hum Brain Mapp 2022 (doi 10.1002/hbm.25845), section 2.4, and "different models for cortical and subcortical
regions" (conclusion). One file of safetensors holds both. PyTorch is loaded when a network is first asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from models.classifier import card_facts, chance_of
from models.weights import Weights, load_weights
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS
from tasks.arrays import FloatArray
from tasks.density.pairs import PairedPatches

if TYPE_CHECKING:
    from models.networks.da_net import DanetPreset

#: Which regions each of the two networks knows.
NETWORKS: Mapping[str, tuple[str, ...]] = {"deep": DEEP_REGIONS, "cortical": CORTICAL_REGIONS}


@dataclass(frozen=True, eq=False)
class AsymmetryNetworks:
    """What can be asked about pairs of patches.

    Attributes
    ----------
    preset : of both networks
    networks : group -> network
    calibration : group -> slope and intercept of the logistic curve from logit to probability
    """

    preset: DanetPreset
    networks: Mapping[str, Any]
    calibration: Mapping[str, tuple[float, float]]

    def chances(self, patches: PairedPatches) -> FloatArray:
        """Chance that each side of each region is affected, (regions, 2), left and right; NaN where a side is missing.

        Parameters
        ----------
        patches : of the ten regions, in the order of ``tasks.anatomy.ASPECTS_REGIONS``
        """
        from models.networks.da_net import logits_of

        found = np.full((len(ASPECTS_REGIONS), 2), np.nan)
        for group in NETWORKS:
            at = np.flatnonzero(np.isin(ASPECTS_REGIONS, NETWORKS[group]) & patches.is_there.all(axis=1))
            logits = logits_of(self.networks[group], self.preset, patches.images[at], patches.masks[at])
            found[at] = chance_of(logits, self.calibration[group])
        return found


def arrays_of(networks: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of networks by group: a name for each parameter."""
    return {
        f"{group}.{name}": value.contiguous()
        for group, network in networks.items()
        for name, value in network.state_dict().items()
    }


@lru_cache(maxsize=2)
def load_asymmetry(weights: Weights) -> AsymmetryNetworks:
    """The networks of weights that were found, ready to be asked; once per process."""
    from models.networks.da_net import DANET_PRESETS, build_danet

    facts, stored = card_facts(weights), load_weights(weights)
    networks = {}
    for group in NETWORKS:
        network = build_danet(facts["preset"])
        own = {name.removeprefix(f"{group}."): value for name, value in stored.items() if name.startswith(f"{group}.")}
        network.load_state_dict(own)
        networks[group] = network.eval()
    return AsymmetryNetworks(DANET_PRESETS[facts["preset"]], networks, facts["calibration"])
