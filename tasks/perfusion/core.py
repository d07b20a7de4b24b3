"""Ischaemic core and hypoperfusion from perfusion maps: relative CBF against the other side, and Tmax.

A voxel is *core* where its CBF lies below a share of normal flow, *hypoperfused* where its Tmax exceeds a limit. Normal
flow is a mean over the unaffected side. Only *tissue* counts, in volumes, means, numerators and denominators alike:
artery, vein, fluid and old lesions are left out of it by the caller.

Counts of each region are returned, so that the rule by which a region is ischaemic (METHODS A.3: core in more than 10 %
of it) is applied later without opening an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from tasks.anatomy import HEMISPHERES, Side, other_side
from tasks.arrays import FloatingArray, Mask
from tasks.perfusion.normal_flow import SIDE_SIGN, CoreAnatomy, Reference, normal_cbf

SideSource = Literal["given", "tmax", "cbf", "none"]


@dataclass(frozen=True)
class CoreSettings:
    """What counts as core and hypoperfused.

    Attributes
    ----------
    reference : of normal flow. ``contralateral_hemisphere``: one mean; ``mirrored_region``: the mean of the same region
        on the other side, of the hemisphere outside all regions; ``mirrored_voxel``: the voxel across the mid-plane
    relative_cbf : core lies below this share of it
    core_tmax_s : core has Tmax above this as well; None asks nothing of it
    hypoperfusion_tmax_s : hypoperfused tissue has Tmax above this
    minimum_cluster_ml : smaller 26-connected pieces of core and of hypoperfusion are dropped; 0 keeps all

    Raises
    ------
    ValueError
        A value is out of range or the reference unknown.
    """

    reference: Reference = "contralateral_hemisphere"
    relative_cbf: float = 0.30  # Campbell et al., Stroke 2011;42:3435-3440 (31 %); DANET (METHODS A.3)
    core_tmax_s: float | None = None
    hypoperfusion_tmax_s: float = 6.0  # Olivot et al., Stroke 2009;40:469-475; Lansberg et al., Lancet Neurol 2012
    minimum_cluster_ml: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if self.reference not in get_args(Reference):
            problems.append(f"reference must be one of {', '.join(get_args(Reference))}, got {self.reference!r}.")
        if not 0 < self.relative_cbf < 1:
            problems.append(f"relative_cbf must be in (0, 1), got {self.relative_cbf}. Give a share, not per cent.")
        if not self.minimum_cluster_ml >= 0:
            problems.append(f"minimum_cluster_ml must be >= 0 ml, got {self.minimum_cluster_ml} ml.")
        if problems:
            raise ValueError(" ".join(problems))


@dataclass(frozen=True)
class RegionCount:
    """Voxels of one label: all on the grid, tissue, core and hypoperfused tissue."""

    index: int
    side: Side
    region: str
    n_voxels: int
    n_tissue: int
    n_core: int
    n_hypoperfused: int


@dataclass(frozen=True, eq=False)
class PerfusionCore:
    """Core and hypoperfusion of one series.

    Attributes
    ----------
    core, hypoperfused : bool arrays, on the affected side
    affected_side : ``left`` or ``right``; None where neither side is worse
    side_source : ``given``; ``tmax``, more hypoperfused volume; ``cbf``, more core where neither side is hypoperfused;
        ``none``
    reference_cbf : ml/100 g/min, mean of the unaffected side's tissue; None without a side
    core_ml, hypoperfused_ml : float
    other_side_hypoperfused_ml : float, of the unaffected side, no cluster dropped: noise, or disease on both sides
    mismatch_ratio : hypoperfused over core; None without core
    regions : one per label, in the order of the table
    reason : empty, or ``no_reference_tissue``
    """

    core: Mask
    hypoperfused: Mask
    affected_side: Side | None
    side_source: SideSource
    reference_cbf: float | None
    core_ml: float
    hypoperfused_ml: float
    other_side_hypoperfused_ml: float
    mismatch_ratio: float | None
    regions: tuple[RegionCount, ...]
    reason: str


def find_core(
    cbf: FloatingArray,
    tmax: FloatingArray,
    anatomy: CoreAnatomy,
    settings: CoreSettings,
    *,
    affected_side: Side | None = None,
) -> PerfusionCore:
    """Core, hypoperfusion, their volumes and the counts of every region.

    Parameters
    ----------
    cbf : array, ml/100 g/min or any unit proportional to it; NaN voxels are no tissue
    tmax : array, s; NaN is not hypoperfused
    anatomy : CoreAnatomy, arrays of the maps' shape
    settings : CoreSettings
    affected_side : ``left`` or ``right`` decides; None takes the side with more hypoperfused volume

    Raises
    ------
    ValueError
        Shapes differ, or the reference needs labels or mirrored voxels that are not there.
    """
    _check(cbf, tmax, anatomy, settings)
    tissue = anatomy.tissue & np.isfinite(cbf)
    sides: dict[Side, Mask] = {side: tissue & (anatomy.hemisphere == SIDE_SIGN[side]) for side in HEMISPHERES}
    is_late = tissue & (tmax > settings.hypoperfusion_tmax_s)
    if not all(part.any() for part in sides.values()):
        return _result(anatomy, tissue, {}, (None, "none"), reason="no_reference_tissue")
    cores = {side: _core_of(side, cbf, tmax, sides, anatomy, settings) for side in HEMISPHERES}
    source: SideSource = "given"
    side = affected_side
    if side is None:
        side, source = _worse_side({one: is_late & sides[one] for one in HEMISPHERES}), "tmax"
    if side is None:
        side, source = _worse_side(cores), "cbf"
    if side is None:
        return _result(anatomy, tissue, {}, (None, "none"))
    found = {
        "core": _without_specks(cores[side], anatomy.voxel_ml, settings.minimum_cluster_ml),
        "hypoperfused": _without_specks(is_late & sides[side], anatomy.voxel_ml, settings.minimum_cluster_ml),
        "other_side": is_late & sides[other_side(side)],
    }
    reference = float(cbf[sides[other_side(side)]].mean(dtype=np.float64))
    return _result(anatomy, tissue, found, (side, source), reference)


def _core_of(
    side: Side,
    cbf: FloatingArray,
    tmax: FloatingArray,
    sides: dict[Side, Mask],
    anatomy: CoreAnatomy,
    settings: CoreSettings,
) -> Mask:
    """Core on one side, against the other."""
    normal = normal_cbf(cbf, sides[side], sides[other_side(side)], anatomy, settings.reference)
    core = sides[side].copy()
    core[core] = cbf[core] < settings.relative_cbf * normal
    if settings.core_tmax_s is not None:
        core &= tmax > settings.core_tmax_s
    return np.asarray(core)


def _worse_side(masks: dict[Side, Mask]) -> Side | None:
    """The side with more voxels; None where both have the same."""
    counts = {side: int(mask.sum()) for side, mask in masks.items()}
    left, right = counts["left"], counts["right"]
    return None if left == right else ("left" if left > right else "right")


def _without_specks(mask: Mask, voxel_ml: float, minimum_ml: float) -> Mask:
    """The mask without its small components."""
    if not minimum_ml:
        return mask
    pieces, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    is_kept = np.bincount(pieces.ravel()) * voxel_ml >= minimum_ml
    is_kept[0] = False
    return np.asarray(is_kept[pieces])


def _result(
    anatomy: CoreAnatomy,
    tissue: Mask,
    found: dict[str, Mask],
    side: tuple[Side | None, SideSource],
    reference_cbf: float | None = None,
    reason: str = "",
) -> PerfusionCore:
    """Volumes and counts of what was found; 0 where nothing was."""
    nothing = np.zeros_like(tissue)
    core, late, other = (found.get(name, nothing) for name in ("core", "hypoperfused", "other_side"))
    core_ml, late_ml, other_ml = (float(mask.sum() * anatomy.voxel_ml) for mask in (core, late, other))
    regions: tuple[RegionCount, ...] = ()
    if anatomy.labels is not None and anatomy.table is not None:
        size = 1 + max(label.index for label in anatomy.table.labels)
        everywhere = np.ones_like(tissue)
        counts = [np.bincount(anatomy.labels[mask], minlength=size) for mask in (everywhere, tissue, core, late)]
        regions = tuple(
            RegionCount(label.index, label.side, label.region, *(int(count[label.index]) for count in counts))
            for label in anatomy.table.labels
        )
    return PerfusionCore(
        core=core,
        hypoperfused=late,
        affected_side=side[0],
        side_source=side[1],
        reference_cbf=reference_cbf,
        core_ml=core_ml,
        hypoperfused_ml=late_ml,
        other_side_hypoperfused_ml=other_ml,
        mismatch_ratio=late_ml / core_ml if core_ml else None,
        regions=regions,
        reason=reason,
    )


def _check(cbf: FloatingArray, tmax: FloatingArray, anatomy: CoreAnatomy, settings: CoreSettings) -> None:
    """Refuse what does not fit, every fault named."""
    arrays = {"tmax": tmax, "tissue": anatomy.tissue, "hemisphere": anatomy.hemisphere}
    arrays |= {name: getattr(anatomy, name) for name in ("labels", "mirrored") if getattr(anatomy, name) is not None}
    problems = [
        f"{name} must have the shape of cbf {cbf.shape}, got {array.shape}. Put all on the grid of the maps."
        for name, array in arrays.items()
        if array.shape != cbf.shape
    ]
    if settings.reference == "mirrored_voxel" and anatomy.mirrored is None:
        problems.append("mirrored must be given for reference mirrored_voxel, got none. Use mirrored_indices.")
    if settings.reference == "mirrored_region" and (anatomy.labels is None or anatomy.table is None):
        problems.append("labels and table must be given for reference mirrored_region, got none. Load a label map.")
    if problems:
        raise ValueError(" ".join(problems))
