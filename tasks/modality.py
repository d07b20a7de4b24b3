"""What an image is, and what its tissues look like: two ideas that share some words.

A *modality* is what a file is, as ``scans.tsv`` and the import write it. A *contrast* is how a scan shows the tissues:
by it a scan is registered to the template, and limits of its quality figures hold. A plain CT has the modality ``ncct``
and the contrast ``ct``; the mean of the first frames of a ``ctp`` looks like a ``ct`` but has limits of its own.
"""

from __future__ import annotations

from typing import Literal

Modality = Literal[
    "ncct", "cta", "ctp", "ct", "dwi", "b0", "dwi-b0", "adc", "mr", "cbf", "cbv", "mtt", "ttp", "tmax"
]  # fmt: skip
ScanContrast = Literal["ct", "cta", "ctp", "dwi", "b0"]

CT_MODALITIES: tuple[Modality, ...] = ("ncct", "cta", "ctp", "ct")
DYNAMIC_MODALITIES: tuple[Modality, ...] = ("ctp",)
SIGNAL_MODALITIES: tuple[Modality, ...] = ("dwi", "b0", "dwi-b0")
MAP_MODALITIES: tuple[Modality, ...] = ("cbf", "cbv", "mtt", "ttp", "tmax")
MR_CONTRASTS: tuple[ScanContrast, ...] = ("dwi", "b0")
