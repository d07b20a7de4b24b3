"""What a CT perfusion series showed on the way to its maps, as a record holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from cohorts.store.findings import Found
from flows.cases.perfusion_panel import voxels_of
from tasks.perfusion.series import PerfusionSeries

Voxels = tuple[tuple[int, int, int], ...]


class Motion(Found):
    """How far every frame had moved, mm, and which were left out for it."""

    reference_frame: int
    displacement_mm: tuple[float, ...]
    rejected: Mapping[str, str]


class Arterial(Found):
    """Artery and vein; curves in HU over the usable frames, voxels as (i, j, k)."""

    is_manual: bool
    quality: float | None
    scaling: float | None
    vof_reason: str
    aif_hu: tuple[float, ...] | None
    vof_hu: tuple[float, ...] | None
    aif_voxels: Voxels
    vof_voxels: Voxels


class SeriesFound(Found):
    """What was measured of a series, as far as it came."""

    frame_times_s: tuple[float, ...]
    bolus: Mapping[str, Any] | None
    noise_hu: float | None
    in_plane_sigma_mm: float | None
    motion: Motion | None
    arterial: Arterial | None


def series_found(found: PerfusionSeries) -> SeriesFound:
    """The part of a record that tells of a series."""
    arterial, trace = found.arterial, found.trace
    return SeriesFound(
        frame_times_s=tuple(round(time, 4) for time in found.frame_order.frame_times_s),
        bolus=None if found.bolus is None else asdict(found.bolus),
        noise_hu=found.noise_hu,
        in_plane_sigma_mm=None if found.denoising is None else found.denoising.in_plane_sigma_mm,
        motion=None
        if trace is None
        else Motion(
            reference_frame=int(trace.reference_frame),
            displacement_mm=tuple(np.round(trace.displacement_mm, 3).tolist()),
            rejected={str(frame): reason for frame, reason in enumerate(trace.reasons) if reason},
        ),
        arterial=None
        if arterial is None
        else Arterial(
            is_manual=arterial.is_manual,
            quality=arterial.quality,
            scaling=arterial.scaling,
            vof_reason=arterial.vof_reason,
            aif_hu=_rounded(arterial.aif),
            vof_hu=_rounded(arterial.vof),
            aif_voxels=_listed(voxels_of(arterial.aif_voxels, found)),
            vof_voxels=_listed(voxels_of(arterial.vof_voxels, found)),
        ),
    )


def _rounded(curve: npt.NDArray[np.float64] | None) -> tuple[float, ...] | None:
    """A curve as a record keeps it."""
    return None if curve is None else tuple(np.round(curve, 3).tolist())


def _listed(voxels: npt.NDArray[np.int64] | None) -> Voxels:
    """Voxels as a record keeps them."""
    return () if voxels is None else tuple((i, j, k) for i, j, k in voxels.tolist())
