"""The project's template prepared for registration: hands the arrays of ``models.anatomy.template`` to ``tasks``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import get_args

import numpy as np

from models.anatomy.template import load_label_map, load_template
from tasks.modality import ScanContrast
from tasks.registration.target import CONTRASTS, Target, TissueMaps, prepare_target

#: What is registered by the tissues of another contrast: of a perfusion CT, the mean of the frames before the bolus.
REGISTERED_AS: Mapping[ScanContrast, ScanContrast] = {"ctp": "ct"}
#: Of these contrasts the pallidum, which T1 and so the tissue maps show as white matter, is as dense as the putamen.
PALLIDUM_IS_GREY: frozenset[ScanContrast] = frozenset({"ct", "cta"})


def template_tissues(contrast: ScanContrast | None = None) -> TissueMaps:
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


def template_target(contrast: ScanContrast) -> Target:
    """The template prepared for one contrast; once per process.

    Raises
    ------
    ValueError
        The contrast is unknown.
    """
    if contrast not in get_args(ScanContrast):
        names = ", ".join(get_args(ScanContrast))
        raise ValueError(f"contrast must be one of {names}, got {contrast!r}. Name what the scan shows.")
    return _prepared(REGISTERED_AS.get(contrast, contrast))


@lru_cache(maxsize=len(CONTRASTS))
def _prepared(contrast: ScanContrast) -> Target:
    """One target per contrast, shared by the scans that show it."""
    return prepare_target(template_tissues(contrast), contrast)
