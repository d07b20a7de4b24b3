"""A network that knows only places: one class in a ball on each side of the template."""

from __future__ import annotations

import torch

from tasks.anatomy import ASPECTS_REGIONS
from tasks.segmentation import N_REGION_CHANNELS, PLACE_UNIT_MM

LENTIFORM = ASPECTS_REGIONS.index("lentiform") + 1
CENTRE_MM, RADIUS_MM = (25.0, 5.0, 0.0), 12.0


class ByPlace(torch.nn.Module):
    """Class ``LENTIFORM`` in a ball of the template, sides alike; a probability that falls off over 2 mm."""

    def forward(self, channels):
        assert channels.shape[1] == N_REGION_CHANNELS
        places = channels[:, 3:] * PLACE_UNIT_MM
        centre = torch.tensor(CENTRE_MM).reshape(1, 3, 1, 1, 1)
        inside = RADIUS_MM - (places - centre).square().sum(dim=1).sqrt()
        logits = torch.zeros(len(channels), 1 + len(ASPECTS_REGIONS), *channels.shape[2:])
        logits[:, 1:] = -50.0
        logits[:, LENTIFORM] = inside
        return logits
