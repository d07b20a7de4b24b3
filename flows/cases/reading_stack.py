"""One scan as slices for readers: read, its brain found to frame it, and nothing else done to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohorts.images.grid import FormRule
from cohorts.images.scan import read_scan
from flows.cases.native_scan import CT_WINDOW_HU
from reports.figures.stack_picture import stack_json
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.modality import CT_MODALITIES
from tasks.space.working_grid import to_native_grid
from tasks.views.slice_stack import slice_stack


@dataclass(frozen=True)
class ScanToRead:
    """A file of the cohort and how it is read: what it is (a modality), and which of qform and sform to trust."""

    path: Path
    kind: str
    forms: FormRule = "reject"

    @property
    def is_ct(self) -> bool:
        """Whether its values are HU."""
        return self.kind in CT_MODALITIES


def encoded_stack(scan: ScanToRead) -> str:
    """The slices of a scan as a page holds them.

    Where no whole brain is found, the whole scan is shown.

    Raises
    ------
    ImageProblemError
        The scan cannot be read.
    """
    image = read_scan(scan.path.read_bytes(), scan.path.name, scan.kind, forms=scan.forms)
    working = (ct_working_scan if scan.is_ct else mr_working_scan)(image.values, image.affine)
    brain = extract_ct_brain(working, is_enhanced=scan.kind == "cta") if scan.is_ct else extract_mr_brain(working)
    mask = np.zeros(image.values.shape, dtype=bool) if brain.reason else to_native_grid(brain.mask, working)
    stack = slice_stack(image.values, image.affine, mask, CT_WINDOW_HU if scan.is_ct else None)
    return stack_json(stack, "HU" if scan.is_ct else "")
