"""A perfusion series as JSON for the patient's page: maps on the key slices as coloured PNGs, curves, and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from reports.figures.map_colours import SCALES, MapScale, map_png
from reports.figures.scan_picture import ScanPicture, grey_png, outline_area, scan_picture, shown_size, svg_path
from tasks.anatomy import LabelTable, Side
from tasks.views.key_slices import PreparedScan
from tasks.views.map_slices import MAP_PIXEL_MM, MapSlice, PlaceSlice, map_slices

PERFUSION_SUFFIX = "_perfusion.json"
WINDOW_HU = (0.0, 80.0)  # Tao 2024, section 2.1: width 80, level 40


@dataclass(frozen=True, eq=False)
class PerfusionCurves:
    """Curves of a series over all its frames; NaN where a frame gives none.

    Attributes
    ----------
    times_s : (T,) increasing times
    aif, vof : (T,) arrays, HU over baseline, as measured, not scaled; None where none was found
    tissue_affected, tissue_other : (T,) arrays, HU over baseline, mean tissue of the affected and of the other side
        Where no side is affected, ``tissue_affected`` is that of the brain and ``tissue_other`` None.
    n_baseline_frames : leading usable frames before the bolus; None where not known
    arrival_s : when contrast agent arrives in the brain; None where not known
    is_usable : (T,) bool array, False for rejected frames; None uses all
    displacement_mm : (T,) array, from the reference frame; None where motion was not traced
    aif_voxels, vof_voxels : (n, 3) int arrays, stored voxel indices (i, j, k) on the scan's grid; None where given
        curves were used. Those of ``tasks.perfusion.vessels`` are flat indices of the frame it was given.

    Raises
    ------
    ValueError
        The times do not increase, or a curve has another length.
    """

    times_s: npt.ArrayLike
    aif: npt.ArrayLike | None = None
    vof: npt.ArrayLike | None = None
    tissue_affected: npt.ArrayLike | None = None
    tissue_other: npt.ArrayLike | None = None
    n_baseline_frames: int | None = None
    arrival_s: float | None = None
    is_usable: npt.ArrayLike | None = None
    displacement_mm: npt.ArrayLike | None = None
    aif_voxels: npt.NDArray[np.integer[Any]] | None = None
    vof_voxels: npt.NDArray[np.integer[Any]] | None = None

    def __post_init__(self) -> None:
        times = np.asarray(self.times_s, dtype=np.float64)
        names = ("aif", "vof", "tissue_affected", "tissue_other", "is_usable", "displacement_mm")
        given = {name: np.shape(getattr(self, name)) for name in names if getattr(self, name) is not None}
        problems = [
            f"{name} must have one value per frame, {times.shape}, got {shape}. Give NaN where a frame has none."
            for name, shape in given.items()
            if shape != times.shape
        ]
        if times.ndim != 1 or not len(times) or not (np.diff(times) > 0).all():
            problems.append(f"times_s must be increasing times, got {times}. Order the frames by time.")
        if problems:
            raise ValueError(" ".join(problems))


@dataclass(frozen=True)
class PerfusionFindings:
    """What was found, None where it was not; ``reason`` and ``detail`` say why a series was refused.

    Attributes
    ----------
    core_volume_ml, hypoperfused_volume_ml : float
    mismatch_ratio : hypoperfused over core; None without core
    affected_side : ``left``, ``right`` or None
    relative_cbf : core lies below this share of normal flow: the threshold applied to the map
    core_tmax_s, hypoperfusion_tmax_s : limits of Tmax, s; None where none was asked
    aif_quality : in [0, 1]
    vof_scaling : factor by which the AIF was raised before deconvolution
    notes : codes of what the reader should know, such as why the AIF was not raised
    reason : reason code of a refused series, else empty
    detail : what was found and what to do
    """

    core_volume_ml: float | None = None
    hypoperfused_volume_ml: float | None = None
    mismatch_ratio: float | None = None
    affected_side: Side | None = None
    relative_cbf: float | None = None
    core_tmax_s: float | None = None
    hypoperfusion_tmax_s: float | None = None
    aif_quality: float | None = None
    vof_scaling: float | None = None
    notes: Sequence[str] = field(default=())
    reason: str = ""
    detail: str = ""


class MapPlane(TypedDict):
    """The maps of one slice: base64 PNG by name, drawn from the grey picture's corner at ``size`` of its pixels."""

    maps: dict[str, str]
    size: list[float]
    hypoperfused: str
    core_mm2: float
    hypoperfused_mm2: float


class PlacePlane(TypedDict):
    """A slice on which curves were read: a picture of its own size, voxels as [x, y] by curve, and all each has."""

    slice: int
    n_slices: int
    width: int
    height: int
    pixel_mm: float
    grey: str
    places: dict[str, list[list[float]]]
    n_voxels: dict[str, int]


class CurvePicture(TypedDict):
    """The curves as lists of one number per frame, null where there is none."""

    times_s: list[float]
    aif: list[float | None]
    vof: list[float | None]
    tissue_affected: list[float | None]
    tissue_other: list[float | None]
    is_usable: list[bool]
    displacement_mm: list[float | None]
    n_baseline_frames: int | None
    arrival_s: float | None


class PerfusionPicture(TypedDict):
    """A series on the patient's page; ``maps`` runs beside ``base["planes"]``."""

    base: ScanPicture
    scales: list[MapScale]
    maps: list[MapPlane]
    vessels: list[PlacePlane]
    curves: CurvePicture | None
    findings: dict[str, Any]


def perfusion_picture(
    scan: PreparedScan,
    table: LabelTable,
    maps: Mapping[str, npt.NDArray[np.floating[Any]]],
    hypoperfused: npt.NDArray[np.bool_] | None = None,
    curves: PerfusionCurves | None = None,
    findings: PerfusionFindings = PerfusionFindings(),
    label_map: str = "",
) -> PerfusionPicture:
    """Encode a series, or what exists of a refused one; the same input gives the same bytes.

    Parameters
    ----------
    scan : PreparedScan
        The baseline image in HU with brain and labels on the maps' grid; ``lesion`` is the core, None without one.
    table : LabelTable of the scan's labels
    maps : any of ``cbf``, ``cbv``, ``mtt``, ``tmax`` -> (X, Y, Z) float array in the unit of ``SCALES``, NaN = no
        tissue
    hypoperfused : (X, Y, Z) bool array, or None
    curves : PerfusionCurves, or None for maps of a workstation
    findings : PerfusionFindings
    label_map : sha256 of the labels' map

    Raises
    ------
    ValueError
        A map is unknown or has another shape than the scan.
    """
    if unknown := sorted(set(maps) - set(SCALES)):
        raise ValueError(f"maps must be among {', '.join(SCALES)}, got {', '.join(unknown)}. Leave the others out.")
    voxels = {"aif": curves.aif_voxels, "vof": curves.vof_voxels} if curves is not None else {}
    places = {name: found for name, found in voxels.items() if found is not None}
    cut = map_slices(scan, table, maps, WINDOW_HU, hypoperfused, places)
    base = scan_picture(cut.key, table, "HU", label_map)
    scales = [scale for name, scale in SCALES.items() if name in maps]
    planes = [
        _map_plane(one, key.lesion, key.pixel_mm, scales) for one, key in zip(cut.slices, cut.key.slices, strict=True)
    ]
    return PerfusionPicture(
        base=base,
        scales=scales,
        maps=planes,
        vessels=[_place_plane(one, places) for one in cut.of_places],
        curves=None if curves is None else _curve_picture(curves),
        findings={name: _plain(value) for name, value in asdict(findings).items()},
    )


def _map_plane(one: MapSlice, core: Any, pixel_mm: float, scales: Sequence[MapScale]) -> MapPlane:
    """Encode the maps of one slice."""
    first = next(iter(one.maps.values()), None)
    return MapPlane(
        maps={scale["name"]: map_png(one.maps[scale["name"]], scale["low"], scale["high"]) for scale in scales},
        size=[] if first is None else shown_size(first, MAP_PIXEL_MM, pixel_mm),
        hypoperfused=svg_path(one.hypoperfused),
        core_mm2=round(outline_area(core) * pixel_mm**2, 1),
        hypoperfused_mm2=round(outline_area(one.hypoperfused) * pixel_mm**2, 1),
    )


def _place_plane(one: PlaceSlice, voxels: Mapping[str, npt.NDArray[np.integer[Any]]]) -> PlacePlane:
    """Encode a slice on which curves were read."""
    height, width = one.grey.shape
    return PlacePlane(
        slice=one.number,
        n_slices=one.n_slices,
        width=width,
        height=height,
        pixel_mm=MAP_PIXEL_MM,
        grey=grey_png(one.grey),
        places={name: np.round(found, 1).tolist() for name, found in one.places.items()},
        n_voxels={name: len(voxels[name]) for name in one.places},
    )


def _curve_picture(curves: PerfusionCurves) -> CurvePicture:
    """Curves as lists."""
    n_frames = len(np.asarray(curves.times_s))
    usable = np.ones(n_frames, dtype=bool) if curves.is_usable is None else np.asarray(curves.is_usable, dtype=bool)
    return CurvePicture(
        times_s=np.round(np.asarray(curves.times_s, dtype=np.float64), 3).tolist(),
        aif=_numbers(curves.aif),
        vof=_numbers(curves.vof),
        tissue_affected=_numbers(curves.tissue_affected),
        tissue_other=_numbers(curves.tissue_other),
        is_usable=usable.tolist(),
        displacement_mm=_numbers(curves.displacement_mm),
        n_baseline_frames=None if curves.n_baseline_frames is None else int(curves.n_baseline_frames),
        arrival_s=_plain(curves.arrival_s),
    )


def _numbers(curve: npt.ArrayLike | None) -> list[float | None]:
    """A curve to the hundredth, null where it is not finite; empty for none."""
    if curve is None:
        return []
    values = np.asarray(curve, dtype=np.float64)
    return [round(value, 2) if np.isfinite(value) else None for value in values.tolist()]


def _plain(value: Any) -> Any:
    """A number, text or list as JSON has it; null for what is not finite."""
    if isinstance(value, tuple):
        return list(value)
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
