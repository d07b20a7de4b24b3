"""How perfusion maps are coloured: a fixed range for each, so that patients can be compared by eye, and one palette.

The palette is viridis (van der Walt and Smith 2015): its lightness rises evenly, and people with the common forms of
colour blindness read it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from reports.figures.scan_picture import png

PALETTE = "viridis"
N_COLOURS = 64  # steps of 1 to 2 % of the range are not seen, and the files are half as large as with 256


class MapScale(TypedDict):
    """How a map is coloured: values at or beyond an end have the end's colour."""

    name: str
    title: str
    unit: str
    low: float
    high: float


#: Name -> scale. Ends chosen from what the values mean, not from any series.
SCALES: Mapping[str, MapScale] = MappingProxyType(
    {
        scale["name"]: scale
        for scale in (
            # healthy grey matter has 50 to 80 (``tasks.perfusion.vendor_maps``), deconvolution loses a quarter to a
            # half of it
            MapScale(name="cbf", title="CBF", unit="ml/100 g/min", low=0.0, high=60.0),
            # grey matter has about 4; vessels begin at 8 (``tasks.perfusion.masks``, Kudo et al., AJNR 2003;24:419-426)
            MapScale(name="cbv", title="CBV", unit="ml/100 g", low=0.0, high=6.0),
            # of normal tissue, which is the middle, where the artery gives no absolute values
            MapScale(name="cbf_relative", title="CBF", unit="times normal", low=0.0, high=2.0),
            MapScale(name="cbv_relative", title="CBV", unit="times normal", low=0.0, high=2.0),
            # tissue at risk begins at 12 to 13.5 (Kamalian et al., AJNR 2012;33:545-549)
            MapScale(name="mtt", title="MTT", unit="s", low=0.0, high=15.0),
            # the limit of hypoperfusion, 6 s (``tasks.perfusion.core``), is the middle
            MapScale(name="tmax", title="Tmax", unit="s", low=0.0, high=12.0),
        )
    }
)


@lru_cache(maxsize=1)
def palette() -> tuple[tuple[int, int, int], ...]:
    """The colours of the scale from low to high, 8 bit red, green and blue."""
    from matplotlib import colormaps  # slow to import, and only who draws maps needs it

    found = colormaps[PALETTE](np.linspace(0, 1, N_COLOURS), bytes=True)[:, :3].tolist()
    return tuple((red, green, blue) for red, green, blue in found)


def map_png(values: npt.NDArray[np.floating[Any]], low: float, high: float) -> str:
    """A map as palette PNG, base64: clipped to its range, transparent where it is NaN."""
    is_known = np.isfinite(values)
    share = np.clip((np.where(is_known, values, low) - low) / (high - low), 0, 1)
    index = np.where(is_known, np.rint(share * (N_COLOURS - 1)), N_COLOURS).astype(np.uint8)
    picture = Image.fromarray(index)
    picture.putpalette(bytes(channel for colour in (*palette(), (0, 0, 0)) for channel in colour))
    return png(picture, transparency=N_COLOURS)
