"""What every step on a scan in native space begins with: reading, brain, registration, labels - and what it keeps.

A scan that is refused on the way keeps what was measured until then, so that its page can show why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cohorts.scan_images import FormRule, ScanImage, read_scan
from cohorts.transforms import transform_files
from flows.cases import CaseFile, MapReference
from flows.measure_mask import planned_map
from models.register_template import template_target
from models.template import SPACE, GridLabels, LabelMap, labels_on_grid
from tasks.brain import Brain, ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.lesion import voxel_volume_mm3
from tasks.quality import Modality
from tasks.registration import Registration, register
from tasks.working_grid import WorkingScan, to_native_grid


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan with its brain and its place in the template; ``registration`` says whether it can be used.

    ``native`` is the brain on the scan's own grid where it is known better than from the working grid.
    """

    contrast: Modality
    image: ScanImage
    working: WorkingScan
    brain: Brain
    registration: Registration
    native: npt.NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.working.native_shape

    @property
    def brain_mask(self) -> npt.NDArray[np.bool_]:
        """(X, Y, Z) bool array on the native grid."""
        return to_native_grid(self.brain.mask, self.working) if self.native is None else self.native

    def labels(self, reference: MapReference) -> tuple[LabelMap, GridLabels]:
        """A label map and its labels on the native grid."""
        label_map = planned_map(reference)
        to_template = self.registration.moving_to_fixed @ self.image.affine
        return label_map, labels_on_grid(label_map, self.shape, to_template)


def read(file: CaseFile, content: bytes, image: str, forms: FormRule) -> ScanImage:
    """Read one file of a case as what it is declared to be: ``ncct``, ``cta``, ``dwi``, ``adc`` or ``dwi-b0``."""
    return read_scan(content, Path(file.path).name, image, forms=forms)


def prepare(image: ScanImage, contrast: Modality) -> PreparedScan:
    """Find the brain and register it to the template.

    Parameters
    ----------
    image : ScanImage, three axes
    contrast : what the template is made to look like
    """
    is_mr = contrast == "dwi"
    working = (mr_working_scan if is_mr else ct_working_scan)(image.values, image.affine)
    brain = (extract_mr_brain if is_mr else extract_ct_brain)(working)
    return PreparedScan(contrast, image, working, brain, register(working, brain, template_target(contrast)))


def facts(image: ScanImage) -> dict[str, Any]:
    """Grid and notes of a scan, as the ``scans`` table shows them."""
    return {
        "shape": list(image.values.shape),
        "spacing_mm": [round(size, 6) for size in image.spacing_mm],
        "orientation": image.orientation,
        "voxel_volume_mm3": voxel_volume_mm3(image.affine),
        "notes": list(image.notes),
        "numbers": {name: float(value) for name, value in image.numbers.items()},
    }


def registration_files(prefix: str, registration: Registration) -> Mapping[str, bytes]:
    """The transform as ITK and BIDS files, with its figures of merit; none where nothing was registered."""
    if registration.fixed_to_moving is None:
        return {}
    merits = {
        "Profile": registration.profile,
        "BrainDice": registration.brain_dice,
        "TissueCorrelation": registration.tissue_correlation,
        "Refused": registration.reason or None,
    }
    return transform_files(prefix, SPACE, registration.matrix, merits)
