"""The steps of the baselines on scans in native space: ``density_ratio`` on CT, ``dwi_threshold`` on diffusion MR.

Both begin alike (``flows.sources.native_scan``) and keep, besides their numbers: the transforms, a picture of the key
slices for the patient's page, and, of diffusion, the lesion mask. A refused scan keeps what was made until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from cohorts.images.derivatives import image_bytes
from flows.sources.interface import Case, MapReference, Outcome, StepSettings, excluded
from flows.sources.mask import VASCULAR_MAP, planned_map
from flows.sources.native_scan import (
    PreparedScan,
    facts,
    native_counts,
    prepare,
    quality_figures,
    read,
    registration_files,
    shown,
)
from models.anatomy.template import load_template, mca_territory
from reports.figures.scan_picture import picture_files, scan_picture
from tasks.density.measure import CTA_DENSITY, NCCT_DENSITY, DensitySettings, measure_density, place_regions
from tasks.diffusion.adc import adc_on_grid
from tasks.diffusion.threshold import segment_dwi
from tasks.lesion import measure_lesion
from tasks.quality.figures import Modality
from tasks.space.resample import Grid
from tasks.views.key_slices import key_slices

DENSITY_SETTINGS: Mapping[str, DensitySettings] = {"ct": NCCT_DENSITY, "cta": CTA_DENSITY}
CT_WINDOW_HU = (0.0, 80.0)  # Tao 2024, section 2.1: width 80, level 40


def examine_density_ratio(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """Densities of every region and of the same region of the other side, on one CT."""
    file, parameters = case.files[0], settings.parameters
    contrast: Modality = "cta" if parameters["image"] == "cta" else "ct"
    image = read(file, contents[file.modality], parameters["image"], parameters["forms"])
    scan = prepare(image, contrast, parameters["registration"])
    payload, files = _begun(case, scan, settings.maps[0])
    if not scan.registration.is_usable:
        return _refused(case, scan, settings, payload, files)
    template, territory = load_template(), mca_territory()
    densities = {}
    for reference in settings.maps:
        label_map = planned_map(reference)
        maps = (label_map.labels, label_map.table, territory)
        regions = place_regions(scan.working, maps, template.affine, scan.registration.moving_to_fixed, scan.warp)
        found = measure_density(
            scan.working, scan.brain.mask, regions, scan.registration.matrix, DENSITY_SETTINGS[contrast]
        )
        coverage = scan.labels(reference)[1].coverage
        densities[reference.sha256] = [
            asdict(density) | {"coverage": coverage[index]} for index, density in found.items()
        ]
    files |= _pictures(case, scan, settings.maps)
    return Outcome("ok", payload=payload | {"densities": densities}, files=files)


def examine_dwi_threshold(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """The lesion on diffusion MR, counted in every label map on the scan's own grid."""
    parameters = settings.parameters
    kinds = {parameters["adc"]: "adc", parameters["b0"]: "dwi-b0"}
    images = {
        file.modality: read(file, contents[file.modality], kinds.get(file.modality, "dwi"), parameters["forms"])
        for file in case.files
    }
    image = images[case.files[0].modality]
    scan = prepare(image, "dwi", parameters["registration"])
    payload, files = _begun(case, scan, settings.maps[0])
    payload["scans"] = {modality: facts(one) for modality, one in images.items()} | payload["scans"]
    if not scan.registration.is_usable:
        return _refused(case, scan, settings, payload, files)
    brain = scan.brain_mask
    given = {modality: (one.values, one.affine) for modality, one in images.items()}
    adc = adc_on_grid(
        image.values,
        Grid(scan.shape, image.affine),
        brain,
        stored=given.get(parameters["adc"]),
        b0=given.get(parameters["b0"]),
        b_value_s_per_mm2=parameters["b_value_s_mm2"],
    )
    found = segment_dwi(image.values, adc.values, brain, image.affine, scan.registration.matrix)
    payload["diffusion"] = {
        "adc_source": adc.source,
        "adc_reason": adc.reason,
        "adc_detail": adc.detail,
        **{name: getattr(found, name) for name in ("adc_available", "normal_adc", "normal_signal", "noise")},
        "n_removed": dict(found.n_removed),
    }
    if found.reason:
        files |= _pictures(case, scan, settings.maps)
        return excluded(case, found.reason, found.detail, payload, files)
    indices = np.flatnonzero(found.mask.reshape(-1, order="F"))
    counts = native_counts(scan, settings.maps, {"n_lesion": found.mask})
    lesion = measure_lesion(indices, scan.shape, image.affine, scan.registration.moving_to_fixed)
    files |= _pictures(case, scan, settings.maps, found.mask)
    files[f"{case.prefix}_label-lesion_mask.nii.gz"] = image_bytes(found.mask.astype(np.uint8), image.affine)
    return Outcome("ok", payload=payload | {"lesion": vars(lesion), "counts": counts}, files=files)


def _begun(case: Case, scan: PreparedScan, reference: MapReference) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What every scan keeps, usable or not: its grid, its quality figures and its transform."""
    modality = case.files[0].modality
    payload: dict[str, Any] = {
        "scans": {modality: facts(scan.image, scan.notes)},
        "quality": {modality: quality_figures(scan, reference)},
    }
    return payload, dict(registration_files(case.prefix, scan))


def _refused(
    case: Case, scan: PreparedScan, settings: StepSettings, payload: dict[str, Any], files: dict[str, bytes]
) -> Outcome:
    """A scan that the brain mask or the registration refuses, with a picture of what there is."""
    files |= _pictures(case, scan, settings.maps)
    return excluded(case, scan.registration.reason, scan.registration.detail, payload, files)


def _pictures(
    case: Case, scan: PreparedScan, references: Sequence[MapReference], lesion: npt.NDArray[np.bool_] | None = None
) -> dict[str, bytes]:
    """The key slices for the patient's page with each label map; without regions where nothing was registered."""
    window, unit = (None, "") if scan.contrast == "dwi" else (CT_WINDOW_HU, "HU")
    pictures = []
    for reference in references:
        if reference.location != VASCULAR_MAP:
            table = planned_map(reference).table
            slices = key_slices(shown(scan, reference, lesion), table, window)
            pictures.append(scan_picture(slices, table, unit, reference.sha256))
    return picture_files(case.prefix, pictures)
