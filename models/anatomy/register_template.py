"""The project's template prepared for registration: hands the arrays of ``models.anatomy.template`` to ``tasks``."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from models.anatomy.template import load_label_map, load_template
from tasks.registration.target import Modality, Target, TissueMaps, prepare_target

#: Scan -> the contrast with which it is registered. Of a perfusion CT it is the mean of the frames before the bolus.
SCAN_CONTRASTS: dict[str, Modality] = {
    "ct": "ct",
    "ncct": "ct",
    "ctp": "ct",
    "cta": "cta",
    "dwi": "dwi",
    "b0": "b0",
}


#: Of these contrasts the pallidum, which T1 and so the tissue maps show as white matter, is as dense as the putamen.
PALLIDUM_IS_GREY: frozenset[Modality] = frozenset({"ct", "cta"})


def template_tissues(contrast: Modality | None = None) -> TissueMaps:
    """The template's tissue maps, brain mask and affine as the registration takes them.

    Parameters
    ----------
    contrast : for CT, all that is not fluid in the lentiform nucleus is grey matter; None for the maps as they are
    """
    template = load_template()
    grey, white = template.grey, template.white
    if contrast in PALLIDUM_IS_GREY:
        label_map = load_label_map("classic")
        lentiform = np.isin(
            label_map.labels, [one.index for one in label_map.table.labels if one.region == "lentiform"]
        )
        grey, white = np.where(lentiform, grey + white, grey), np.where(lentiform, np.float32(0), white)
    return TissueMaps(grey, white, template.csf, template.brain, template.affine)


def template_target(modality: str) -> Target:
    """The template prepared for one modality; once per process.

    Parameters
    ----------
    modality : one of ``SCAN_CONTRASTS``

    Raises
    ------
    ValueError
        The modality is unknown.
    """
    if modality not in SCAN_CONTRASTS:
        raise ValueError(
            f"modality must be one of {', '.join(SCAN_CONTRASTS)}, got {modality!r}. Name what the scan shows."
        )
    return _prepared(SCAN_CONTRASTS[modality])


@lru_cache(maxsize=len(SCAN_CONTRASTS))
def _prepared(contrast: Modality) -> Target:
    """One target per contrast, shared by the scans that show it."""
    return prepare_target(template_tissues(contrast), contrast)
