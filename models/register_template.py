"""The project's template prepared for registration: hands the arrays of ``models.template`` to ``tasks``."""

from __future__ import annotations

from functools import lru_cache

from models.template import load_template
from tasks.registration_target import CONTRASTS, Modality, Target, TissueMaps, prepare_target


def template_tissues() -> TissueMaps:
    """The template's tissue maps, brain mask and affine as the registration takes them."""
    template = load_template()
    return TissueMaps(template.grey, template.white, template.csf, template.brain, template.affine)


@lru_cache(maxsize=len(CONTRASTS))
def template_target(modality: Modality) -> Target:
    """The template prepared for one modality; once per process.

    Parameters
    ----------
    modality : ``ct``, ``dwi`` or ``b0``
    """
    return prepare_target(template_tissues(), modality)
