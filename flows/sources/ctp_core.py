"""The steps of CT perfusion: ``ctp_core`` on a 4D series, ``cbf_map`` on a workstation's map.

Both come to maps on a grid, from which ``flows.sources.perfusion_core`` finds and counts the core. They keep the
transforms, the maps with their sidecars, the masks and the panel of the patient's page; a refused series keeps what was
made until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes.util import find_library
from dataclasses import asdict, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from cohorts.images.nifti import ImageProblemError
from cohorts.images.perfusion_sidecar import chosen_vessels, frame_times, map_unit, read_sidecar
from cohorts.images.scan import ScanImage
from flows.sources.interface import SIDECAR_OF, Case, Outcome, StepSettings, excluded
from flows.sources.native_scan import PreparedScan, facts, prepare, quality_figures, read, registration_files
from flows.sources.perfusion_core import core_outcome
from flows.sources.perfusion_ct import same_space
from flows.sources.perfusion_maps import Perfusion, kept_maps, perfusion_of
from flows.sources.perfusion_panel import voxels_of
from models.anatomy.register_template import template_target
from tasks.brain import ct_working_scan
from tasks.perfusion.deconvolution import BlockCirculantSvd, OscillationIndexSvd, StandardSvd
from tasks.perfusion.denoising import Denoising
from tasks.perfusion.maps import PerfusionSettings
from tasks.perfusion.masks import ctp_masks
from tasks.perfusion.preparation import MINIMUM_BASELINE_FRAMES, baseline_mean
from tasks.perfusion.quality import series_quality
from tasks.perfusion.series import ManualInput, PerfusionSeries, SeriesSettings, measure_series
from tasks.perfusion.vendor_maps import convert_cbf
from tasks.registration.affine import register
from tasks.space.resample import Grid, resample_image, resample_labels

METHODS = {"oscillation_index": OscillationIndexSvd, "block_circulant": BlockCirculantSvd, "standard": StandardSvd}
#: Share of a map's measured voxels that must lie in the brain of the CT it is registered by. Workstations mask maps to
#: the brain, of which slices and smoothing leave some at the edge; chosen here.
LEAST_SHARE_IN_BRAIN = 0.8


def examine_ctp_core(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """Maps and core of one CT perfusion series."""
    file, parameters = case.files[0], settings.parameters
    name = Path(file.path).name
    sidecar = read_sidecar(contents.get(SIDECAR_OF.format(file.modality)), name)
    stored = read(file, contents[file.modality], "ctp", parameters["forms"])
    times, written_in = frame_times(sidecar, contents[file.modality], name)
    manual = _manual_input(sidecar, stored, times, name)
    image = _slices_along_z(stored)
    making = _series_settings(parameters)
    device = deconvolution_device()
    found = measure_series(image.values, image.affine, times, making, manual=manual, device=device)
    payload: dict[str, Any] = {
        "scans": {file.modality: facts(stored) | {"notes": [*stored.notes, *found.notes]}},
        "perfusion": {"frame_times_from": written_in, "device": device or "cpu", "series": _series_facts(found)},
    }
    scan = _registered(found, image.affine)
    if scan is None:
        return excluded(case, found.reason, found.detail, payload, {})
    figures = quality_figures(scan, settings.maps[0]) | asdict(series_quality(found))
    payload["quality"] = {file.modality: figures}
    files = dict(registration_files(case.prefix, scan))
    perfusion = perfusion_of(found, making.perfusion)
    if scan.registration.is_usable and (ct := _ct(case, contents, parameters)) is not None:
        aligned = same_space(scan, ct) if ct.registration.is_usable else None
        perfusion = replace(perfusion, same_space=aligned)
        payload["scans"][parameters["ct"]] = facts(ct.image)
        payload["perfusion"]["ct"] = {
            "reason": "" if aligned else ct.registration.reason or "skulls_do_not_fit",
            "misfit": None if aligned is None else aligned.misfit,
            "correction_mm": None if aligned is None else aligned.correction_mm,
        }
    files |= kept_maps(case.prefix, perfusion, image.affine, parameters)
    return core_outcome(case, scan, perfusion, settings, (payload, files))


def examine_cbf_map(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """Core on a workstation's CBF map, registered by a CT in the same space."""
    parameters = settings.parameters
    by_modality = {file.modality: file for file in case.files}
    file, ct_file = case.files[0], by_modality.get(parameters["ct"])
    cbf = read(file, contents[file.modality], "cbf", parameters["forms"])
    name = Path(file.path).name
    sidecar = read_sidecar(contents.get(SIDECAR_OF.format(file.modality)), name)
    payload: dict[str, Any] = {"scans": {file.modality: facts(cbf)}, "perfusion": {"unit": map_unit(sidecar)}}
    if ct_file is None:
        detail = (
            f"map must have a CT in its own space, got none of modality {parameters['ct']!r}. List the workstation's "
            "average or baseline CT in scans.tsv, or name its modality as ct in the source."
        )
        return excluded(case, "ct_missing", detail, payload, {})
    ct = prepare(read(ct_file, contents[ct_file.modality], "ncct", parameters["forms"]), "ct")
    payload["scans"][ct_file.modality] = facts(ct.image)
    payload["quality"] = {ct_file.modality: quality_figures(ct, settings.maps[0])}
    files = dict(registration_files(case.prefix, ct))
    if ct.registration.reason:
        return excluded(case, ct.registration.reason, ct.registration.detail, payload, files)
    grid = Grid(_three(cbf.values.shape), cbf.affine)
    same = np.eye(4)
    brain = resample_labels(ct.brain_mask, ct.image.affine, grid, same)
    converted = convert_cbf(cbf.values, map_unit(sidecar), brain=brain, zero_means=parameters["zero_means"])
    payload["perfusion"] |= {"factor": converted.factor, "grey_median": converted.grey_median}
    if converted.cbf is None or converted.reason:
        return excluded(case, converted.reason, converted.detail, payload, files)
    measured = np.isfinite(converted.cbf) & (converted.cbf > 0)
    share = float(brain[measured].mean())
    if share < LEAST_SHARE_IN_BRAIN:
        detail = (
            f"map must lie in the brain of the CT, got {share:.0%} of its measured voxels. They are in different "
            "spaces: give the CT that the workstation exported with the map."
        )
        return excluded(case, "map_outside_ct", detail, payload, files)
    on_map = resample_image(ct.image.values, ct.image.affine, grid, same, outside=-1000.0)
    working = ct_working_scan(on_map, cbf.affine)
    scan = replace(
        ct, contrast="ctp", image=ScanImage(on_map, cbf.affine, cbf.notes, cbf.numbers), working=working, native=brain
    )
    nothing = np.zeros(on_map.shape, dtype=np.float32)
    masks = ctp_masks(on_map, nothing, brain, cbf.spacing_mm, blood_area_hu_s=np.inf)
    maps = {"cbf": converted.cbf}
    tmax_file = by_modality.get(parameters["tmax"])
    if tmax_file is not None:
        tmax = read(tmax_file, contents[tmax_file.modality], "tmax", parameters["forms"])
        payload["scans"][tmax_file.modality] = facts(tmax)
        maps["tmax"] = resample_image(tmax.values, tmax.affine, grid, same, outside=float("nan"))
    elif parameters["core_tmax_s"] is not None:
        detail = f"core_tmax_s needs a Tmax map, got none of modality {parameters['tmax']!r}. Add it, or leave it out."
        return excluded(case, "tmax_missing", detail, payload, files)
    perfusion = Perfusion(maps, masks.tissue, np.ones(on_map.shape, dtype=bool))
    files |= kept_maps(case.prefix, perfusion, cbf.affine, {"UnitOfTheMap": map_unit(sidecar), **parameters})
    return core_outcome(case, scan, perfusion, settings, (payload, files))


def _ct(case: Case, contents: Mapping[str, bytes], parameters: Mapping[str, Any]) -> PreparedScan | None:
    """The patient's CT where there is one that can be read; its own source says what is wrong with it."""
    file = next((file for file in case.files if file.modality == parameters["ct"]), None)
    if file is None:
        return None
    try:
        return prepare(read(file, contents[file.modality], "ncct", parameters["forms"]), "ct")
    except ImageProblemError:
        return None


@lru_cache(maxsize=1)
def deconvolution_device() -> str | None:
    """``cuda`` where a GPU's driver and torch are installed and work; None computes with numpy, to the same numbers."""
    if find_library("cuda") is None or find_spec("torch") is None:
        return None
    return "cuda" if import_module("torch").cuda.is_available() else None


def _series_settings(parameters: Mapping[str, Any]) -> SeriesSettings:
    """What a source declares about the maps."""
    return SeriesSettings(
        corrects_motion=parameters["motion_correction"],
        minimum_frames=parameters["minimum_frames"],
        denoising=Denoising(parameters["in_plane_sigma_mm"], parameters["temporal_sigma_s"]),
        perfusion=PerfusionSettings(
            method=METHODS[parameters["deconvolution"]](),
            haematocrit_large=parameters["haematocrit_large"],
            haematocrit_small=parameters["haematocrit_small"],
            density_g_ml=parameters["density_g_ml"],
        ),
    )


def _manual_input(
    sidecar: Mapping[str, Any], image: ScanImage, times: Sequence[float] | None, name: str
) -> ManualInput | None:
    """Vessels that a reader chose, as curves; voxels are read on the frames as stored, over the first in time."""
    chosen = chosen_vessels(sidecar, image.values.shape, name)
    if "aif" not in chosen:
        return None
    first = np.argsort(times if times is not None else np.arange(image.values.shape[3]))[:MINIMUM_BASELINE_FRAMES]
    curves = {}
    for vessel, given in chosen.items():
        if given.voxels is not None:
            curve = image.values[tuple(given.voxels.T)].mean(axis=0, dtype=np.float64)
            curves[vessel] = curve - curve[first].mean()
        elif given.curve is not None:
            curves[vessel] = given.curve
    return ManualInput(curves["aif"], curves.get("vof"))


def _slices_along_z(image: ScanImage) -> ScanImage:
    """The image with its third axis nearest to the vertical; as it came where it is."""
    if int(np.abs(image.affine[2, :3]).argmax()) == 2:
        return image
    axes = nib.orientations.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    values = nib.orientations.apply_orientation(image.values, axes)  # type: ignore[no-untyped-call]
    turn = nib.orientations.inv_ornt_aff(axes, image.values.shape[:3])  # type: ignore[no-untyped-call]
    return replace(image, values=np.asfortranarray(values), affine=image.affine @ turn)


def _registered(found: PerfusionSeries, affine: npt.NDArray[np.float64]) -> PreparedScan | None:
    """The series as a scan: its baseline, its brain, its place in the template; None where it did not come so far.

    Where no baseline was found the first frames stand for it, so that the page can show what was refused.
    """
    if found.series is None or found.brain is None or found.brain_mask is None:
        return None
    baseline = baseline_mean(found.series, MINIMUM_BASELINE_FRAMES) if found.baseline is None else found.baseline
    working = ct_working_scan(baseline, affine)
    registration = register(working, found.brain, template_target("ctp"))
    return PreparedScan("ctp", ScanImage(baseline, affine), working, found.brain, registration, native=found.brain_mask)


def _series_facts(found: PerfusionSeries) -> dict[str, Any]:
    """What the series showed on the way to its maps, JSON-able."""
    arterial = found.arterial
    return {
        "frame_times_s": [round(time, 4) for time in found.frame_order.frame_times_s],
        "bolus": None if found.bolus is None else asdict(found.bolus),
        "noise_hu": found.noise_hu,
        "in_plane_sigma_mm": None if found.denoising is None else found.denoising.in_plane_sigma_mm,
        "motion": None
        if found.trace is None
        else {
            "reference_frame": int(found.trace.reference_frame),
            "displacement_mm": np.round(found.trace.displacement_mm, 3).tolist(),
            "rejected": {str(frame): reason for frame, reason in enumerate(found.trace.reasons) if reason},
        },
        "arterial": None
        if arterial is None
        else {
            "is_manual": arterial.is_manual,
            "quality": arterial.quality,
            "scaling": arterial.scaling,
            "vof_reason": arterial.vof_reason,
            "aif_hu": None if arterial.aif is None else np.round(arterial.aif, 3).tolist(),
            "vof_hu": None if arterial.vof is None else np.round(arterial.vof, 3).tolist(),
            "aif_voxels": _listed(voxels_of(arterial.aif_voxels, found)),
            "vof_voxels": _listed(voxels_of(arterial.vof_voxels, found)),
        },
    }


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of a volume."""
    x, y, z = shape
    return x, y, z


def _listed(voxels: npt.NDArray[np.int64] | None) -> list[list[int]]:
    """Voxels as JSON has them."""
    return [] if voxels is None else voxels.tolist()
