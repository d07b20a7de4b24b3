"""The steps of the baselines on scans in native space: ``density_ratio`` on CT, ``dwi_threshold`` on diffusion MR.

Both begin alike (``flows.prepare_scan``) and keep, besides their numbers: the transforms, a picture of the key slices
for the patient's page, and, of diffusion, the lesion mask. A refused scan keeps what was made until then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from cohorts.images import ImageProblemError
from flows.cases import Case, MapReference, Outcome, StepSettings
from flows.measure_mask import VASCULAR_MAP, region_counts
from flows.prepare_scan import PreparedScan, facts, prepare, read, registration_files
from models.template import load_template
from reports.scan_picture import scan_picture
from tasks import key_slices
from tasks.density import measure_density
from tasks.diffusion import adc_on_grid
from tasks.dwi_threshold import segment_dwi
from tasks.lesion import measure_lesion
from tasks.quality import Modality, measure_quality

PICTURE_SUFFIX = "_keyslices.json"
CT_WINDOW_HU = (0.0, 80.0)  # Tao 2024, section 2.1: width 80, level 40


def examine_density_ratio(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """Densities of every region and of the same region of the other side, on one CT."""
    file, parameters = case.files[0], settings.parameters
    contrast: Modality = "cta" if parameters["image"] == "cta" else "ct"
    scan = prepare(read(file, contents[file.modality], parameters["image"], parameters["forms"]), contrast)
    payload, files = _begun(case, scan, settings.maps[0], contrast)
    if not scan.registration.is_usable:
        return _refused(case, scan, payload, files)
    brain = scan.brain_mask
    densities = {}
    for reference in settings.maps:
        label_map, on_grid = scan.labels(reference)
        found = measure_density(scan.image.values, on_grid.labels, label_map.table, brain)
        densities[reference.sha256] = {
            str(index): asdict(density) | {"coverage": on_grid.coverage[index]} for index, density in found.items()
        }
    files |= _picture(case, scan, settings.maps[0])
    return Outcome("ok", payload=payload | {"densities": densities}, files=files)


def examine_dwi_threshold(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """The lesion on diffusion MR, counted in every label map on the scan's own grid."""
    parameters = settings.parameters
    images = {
        file.modality: read(file, contents[file.modality], _kind(file.modality, parameters), parameters["forms"])
        for file in case.files
    }
    first = case.files[0].modality
    scan = prepare(images[first], "dwi")
    payload, files = _begun(case, scan, settings.maps[0], "dwi")
    payload["scans"] |= {modality: facts(image) for modality, image in images.items()}
    if not scan.registration.is_usable:
        return _refused(case, scan, payload, files)
    ...
