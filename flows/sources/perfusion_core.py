"""From maps of CT perfusion to the committed core: side, threshold, volumes and the counts of every label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from cohorts.images.derivatives import image_bytes
from flows.sources.interface import Case, Outcome, StepSettings, excluded
from flows.sources.native_scan import PreparedScan, native_counts
from flows.sources.perfusion_ct import same_space_files
from flows.sources.perfusion_maps import MAP_UNITS, Perfusion
from flows.sources.perfusion_panel import CoreFound, panel_files
from tasks.lesion import measure_lesion
from tasks.perfusion.core import CoreSettings, find_core
from tasks.perfusion.core_threshold import calibrate_threshold, sample_tissue
from tasks.perfusion.maps import PerfusionMaps
from tasks.perfusion.normal_flow import SIDE_SIGN, CoreAnatomy, mirrored_indices, other_side


def core_outcome(
    case: Case,
    scan: PreparedScan,
    perfusion: Perfusion,
    settings: StepSettings,
    kept: tuple[dict[str, Any], dict[str, bytes]],
) -> Outcome:
    """Find the core and count it; a refused series or scan ends with its reason and its panel.

    Parameters
    ----------
    case : names the files
    scan : the image on the grid of the maps, registered
    perfusion : Perfusion
    settings : label maps and what the source declares
    kept : payload and files so far, to which those of the core are added
    """
    payload, files = kept
    prefix = case.prefix
    series = perfusion.series
    stopped = [(series.reason, series.detail)] if series is not None else []
    stopped.append((scan.registration.reason, scan.registration.detail))
    reason, detail = next((one for one in stopped if one[0]), ("", ""))
    if reason:
        files |= panel_files(prefix, scan, settings.maps[0], perfusion, None, (reason, detail))
        return excluded(case, reason, detail, payload, files)
    anatomy = _anatomy(scan, perfusion, settings)
    found = _find(perfusion, anatomy, settings.parameters)
    core = found.core
    payload["perfusion"] |= {
        "affected_side": core.affected_side,
        "side_source": core.side_source,
        "other_side_hypoperfused_ml": core.other_side_hypoperfused_ml,
        "threshold": found.threshold,
    }
    if core.reason:
        detail = "both sides must hold tissue to compare, got one side without any. Check the slab and the brain mask."
        files |= panel_files(prefix, scan, settings.maps[0], perfusion, found, (core.reason, detail))
        return excluded(case, core.reason, detail, payload, files)
    has_tmax = "tmax" in perfusion.maps
    is_relative = series is not None and bool(series.relative_reason)
    payload["perfusion"]["core"] = {
        "hypoperfused_volume_ml": core.hypoperfused_ml if has_tmax else None,
        "mismatch_ratio": core.mismatch_ratio if has_tmax else None,
        "reference_cbf_ml_100g_min": None if is_relative else core.reference_cbf,
    }
    indices = np.flatnonzero(core.core.reshape(-1, order="F"))
    lesion = measure_lesion(indices, scan.shape, scan.image.affine, scan.registration.moving_to_fixed)
    payload["lesion"] = vars(lesion)
    parts = {"n_lesion": core.core, "n_hypoperfused": core.hypoperfused & perfusion.tissue}
    payload["counts"] = native_counts(scan, settings.maps, parts, perfusion.tissue, perfusion.is_covered)
    files |= panel_files(prefix, scan, settings.maps[0], perfusion, found, ("", ""))
    for name, mask in (("core", core.core), ("hypoperfused", core.hypoperfused)):
        files[f"{prefix}_label-{name}_mask.nii.gz"] = image_bytes(mask.astype(np.uint8), scan.image.affine)
    if perfusion.same_space is not None:
        space = settings.parameters["ct"]
        files |= same_space_files(prefix, space, perfusion.same_space, core.core, scan.image)
    return Outcome("ok", payload=payload, files=files)


def _anatomy(scan: PreparedScan, perfusion: Perfusion, settings: StepSettings) -> CoreAnatomy:
    """Sides by the template's mid-plane, and what the reference of normal flow needs besides."""
    affine = scan.image.affine
    to_template = scan.registration.moving_to_fixed @ affine
    i, j, k = np.ogrid[tuple(slice(size) for size in scan.shape)]
    x_mm = to_template[0, 0] * i + to_template[0, 1] * j + to_template[0, 2] * k + to_template[0, 3]
    label_map, on_grid = scan.labels(settings.maps[0])
    is_mirrored = settings.parameters["reference"] == "mirrored_voxel"
    return CoreAnatomy(
        tissue=perfusion.tissue & np.isfinite(perfusion.maps["cbf"]),
        hemisphere=np.sign(x_mm).astype(np.int8),
        voxel_ml=abs(float(np.linalg.det(affine[:3, :3]))) / 1000,
        labels=on_grid.labels,
        table=label_map.table,
        mirrored=mirrored_indices(scan.shape, affine, scan.registration.matrix) if is_mirrored else None,
    )


def _find(perfusion: Perfusion, anatomy: CoreAnatomy, parameters: Mapping[str, Any]) -> CoreFound:
    """The core and the threshold on the maps by which it was found."""
    cbf = perfusion.maps["cbf"]
    tmax = perfusion.maps.get("tmax", np.full_like(cbf, np.nan))
    names = ("reference", "relative_cbf", "core_tmax_s", "hypoperfusion_tmax_s", "minimum_cluster_ml")
    wanted = CoreSettings(**{name: parameters[name] for name in names})
    core, nominal = find_core(cbf, tmax, anatomy, wanted), wanted.relative_cbf
    found = CoreFound(core, wanted, anatomy, {"nominal": nominal, "on_maps": nominal})
    series, side = perfusion.series, core.affected_side
    if parameters.get("threshold") != "calibrated" or side is None or series is None:
        return found
    if series.curves is None or series.arterial is None or series.frame_times_s is None or perfusion.settings is None:
        raise ValueError("series must have maps before its threshold is calibrated. Call measure_series.")
    normal, affected = ((anatomy.tissue & (anatomy.hemisphere == SIDE_SIGN[one])).T for one in (other_side(side), side))
    maps = PerfusionMaps(*(perfusion.maps[name].T for name in MAP_UNITS))
    sample = sample_tissue(maps, series.curves.T, normal, affected, nominal)
    aif, times = series.arterial.scaled_aif, series.frame_times_s
    cut = calibrate_threshold(aif, times, sample, perfusion.settings, nominal=nominal)
    wanted = replace(wanted, relative_cbf=cut.on_maps)
    return CoreFound(find_core(cbf, tmax, anatomy, wanted, affected_side=side), wanted, anatomy, asdict(cut))
