"""The panel of CT perfusion on a patient's page, as a file of the step (``reports.figures.perfusion_picture``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.cases.case import MapReference
from flows.cases.label_maps import VASCULAR_MAP, planned_map
from flows.cases.native_scan import PreparedScan, shown
from flows.cases.perfusion_maps import RELATIVE_MAPS, Perfusion
from reports.figures.perfusion_picture import (
    PERFUSION_SUFFIX,
    WINDOW_HU,
    PerfusionCurves,
    PerfusionFindings,
    perfusion_picture,
)
from reports.figures.scan_picture import picture_files, scan_picture
from tasks.anatomy import other_side
from tasks.arrays import Float32Array, FloatArray
from tasks.perfusion.core import CoreSettings, PerfusionCore
from tasks.perfusion.normal_flow import SIDE_SIGN, CoreAnatomy
from tasks.perfusion.preparation import mean_curve
from tasks.perfusion.series import PerfusionSeries
from tasks.views.key_slices import key_slices


@dataclass(frozen=True, eq=False)
class CoreFound:
    """A core, the settings that found it, where it was looked for, and how its threshold came about."""

    core: PerfusionCore
    settings: CoreSettings
    anatomy: CoreAnatomy
    threshold: Mapping[str, Any]


def panel_files(
    prefix: str,
    scan: PreparedScan,
    references: Sequence[MapReference],
    perfusion: Perfusion,
    found: CoreFound | None,
    refusal: tuple[str, str],
) -> dict[str, bytes]:
    """The panel as the step keeps it.

    Parameters
    ----------
    prefix : of the step's files
    scan : the image on the maps' grid
    references : label maps; the panel is drawn with the first, key slices with each other one
    perfusion : maps, which may be none
    found : the core; None where the series was refused before
    refusal : reason and detail, empty where there is none
    """
    core, same = None if found is None else found.core, perfusion.same_space
    lesion, values = None if core is None else core.core, None if same is None else same.values
    first, *others = (one for one in references if one.location != VASCULAR_MAP)
    curves = None if perfusion.series is None else _curves(perfusion, perfusion.series, found)
    late = None if core is None or "tmax" not in perfusion.maps else core.hypoperfused
    findings = _findings(perfusion, found, refusal)
    table = planned_map(first).table
    drawn = shown(scan, first, lesion, values)
    picture = perfusion_picture(drawn, table, _drawn_maps(perfusion, found), late, curves, findings, first.sha256)
    pictures = [picture["base"]]
    for other in others:
        table = planned_map(other).table
        slices = key_slices(shown(scan, other, lesion, values), table, WINDOW_HU)
        pictures.append(scan_picture(slices, table, "HU", other.sha256))
    panel = json.dumps(picture, separators=(",", ":"), allow_nan=False).encode()
    return {f"{prefix}{PERFUSION_SUFFIX}": panel} | dict(list(picture_files(prefix, pictures).items())[1:])


def _drawn_maps(perfusion: Perfusion, found: CoreFound | None) -> Mapping[str, Float32Array]:
    """The maps; CBF and CBV over their mean in normal tissue where their absolute values are not known."""
    if perfusion.series is None or not perfusion.series.relative_reason:
        return perfusion.maps
    normal = perfusion.tissue
    if found is not None and found.core.affected_side is not None:
        normal = found.anatomy.tissue & (found.anatomy.hemisphere == SIDE_SIGN[other_side(found.core.affected_side)])
    drawn = {name: values for name, values in perfusion.maps.items() if name not in RELATIVE_MAPS}
    for name in RELATIVE_MAPS:
        if name in perfusion.maps and (mean := float(np.nanmean(perfusion.maps[name][normal]))) > 0:
            drawn[f"{name}_relative"] = perfusion.maps[name] / np.float32(mean)
    return drawn


def _findings(perfusion: Perfusion, found: CoreFound | None, refusal: tuple[str, str]) -> PerfusionFindings:
    """The numbers beside the maps."""
    arterial = None if perfusion.series is None else perfusion.series.arterial
    notes = () if perfusion.series is None else perfusion.series.notes
    has_tmax = "tmax" in perfusion.maps
    core = None if found is None else found.core
    return PerfusionFindings(
        core_volume_ml=None if core is None else core.core_ml,
        hypoperfused_volume_ml=core.hypoperfused_ml if core is not None and has_tmax else None,
        mismatch_ratio=core.mismatch_ratio if core is not None and has_tmax else None,
        affected_side=None if core is None else core.affected_side,
        relative_cbf=None if found is None else found.settings.relative_cbf,
        core_tmax_s=None if found is None else found.settings.core_tmax_s,
        hypoperfusion_tmax_s=found.settings.hypoperfusion_tmax_s if found is not None and has_tmax else None,
        aif_quality=None if arterial is None or arterial.reason else arterial.quality,
        vof_scaling=None if arterial is None or arterial.reason else arterial.scaling,
        notes=notes,
        reason=refusal[0],
        detail=refusal[1],
    )


def _curves(perfusion: Perfusion, series: PerfusionSeries, found: CoreFound | None) -> PerfusionCurves | None:
    """Curves over all frames in the order of time, NaN where a frame was rejected; None without frame times."""
    trace, bolus, arterial = series.trace, series.bolus, series.arterial
    times = np.array(series.frame_order.frame_times_s)
    if not len(times):
        return None
    usable = np.ones(len(times), dtype=bool) if trace is None else trace.is_usable
    tissue = perfusion.tissue if series.tissue is not None else series.brain_mask
    affected, other = tissue, None
    if found is not None and (side := found.core.affected_side) is not None:
        at = found.anatomy.hemisphere
        affected, other = (found.anatomy.tissue & (at == SIDE_SIGN[one]) for one in (side, other_side(side)))
    return PerfusionCurves(
        times_s=times,
        aif=None if arterial is None else _over_all(arterial.aif, usable),
        vof=None if arterial is None else _over_all(arterial.vof, usable),
        tissue_affected=_over_all(_mean(series, affected), usable),
        tissue_other=_over_all(_mean(series, other), usable),
        n_baseline_frames=None if bolus is None else bolus.n_baseline_frames,
        arrival_s=None if bolus is None else bolus.arrival_s,
        is_usable=usable,
        displacement_mm=None if trace is None else trace.displacement_mm,
        aif_voxels=None if arterial is None else voxels_of(arterial.aif_voxels, series),
        vof_voxels=None if arterial is None else voxels_of(arterial.vof_voxels, series),
    )


def _mean(series: PerfusionSeries, mask: npt.NDArray[np.bool_] | None) -> FloatArray | None:
    """Mean enhancement of a mask over the usable frames, HU."""
    n_baseline = None if series.bolus is None else series.bolus.n_baseline_frames
    if series.series is None or mask is None or not mask.any():
        return None
    curve = mean_curve(series.series, mask)
    return np.asarray(curve - curve[: n_baseline or 1].mean())


def _over_all(curve: FloatArray | None, usable: npt.NDArray[np.bool_]) -> FloatArray | None:
    """A curve of the usable frames over all frames."""
    if curve is None or len(curve) != np.count_nonzero(usable):
        return None
    whole = np.full(len(usable), np.nan)
    whole[usable] = curve
    return whole


def voxels_of(flat: npt.NDArray[np.int64], series: PerfusionSeries) -> npt.NDArray[np.int64] | None:
    """(n, 3) voxels (i, j, k) of a frame's flat indices of (Z, Y, X); None for none."""
    if not len(flat) or series.baseline is None:
        return None
    k, j, i = np.unravel_index(flat, series.baseline.shape[::-1])
    return np.column_stack([i, j, k])
