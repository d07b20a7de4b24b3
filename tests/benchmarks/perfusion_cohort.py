"""Synthetic patients of CT perfusion with known core, and the whole chain of a run on each of them.

Ten patients have a lesion, of every territory the slab shows, between 8 and 120 ml of core on the template and on
either side; two are healthy. Heads differ in size and tilt. Noise of 2, 4 and 8 HU in voxels of 1.7 x 1.7 x 5 mm is
four times, once and a quarter of a usual dose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.anatomy.register_template import template_target, template_tissues
from models.anatomy.template import coverage_on_grid, load_label_map
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, LEFT, RIGHT, Side, other_side
from tasks.brain import ct_working_scan
from tasks.perfusion.core import CoreSettings, PerfusionCore, find_core
from tasks.perfusion.core_threshold import calibrate_threshold, sample_tissue
from tasks.perfusion.normal_flow import SIDE_SIGN, CoreAnatomy, mirrored_indices
from tasks.perfusion.series import PerfusionSeries, SeriesSettings, measure_series
from tasks.phantoms.curves import Residue
from tasks.phantoms.lesion import lesion_domain
from tasks.phantoms.perfusion import PerfusionPhantom, Protocol, simulate_perfusion
from tasks.phantoms.perfusion_head import PhantomHead, prepare_head
from tasks.phantoms.tissue import PhantomLesion, grow_ischaemia
from tasks.registration.affine import register
from tasks.space.resample import Grid, resample_labels
from tasks.space.rigid_motion import head_motion, pose_matrix

NOISE_HU = (2.0, 4.0, 8.0)
DRIFT_MM, JUMP_MM = 2.0, 3.0  # and as many degrees: a restless head
LABEL_MAP = "classic"
CORE_RULE = 0.10  # a region is ischaemic where core fills more of it (METHODS A.3)
COVERED = 0.5  # of a region: less of it in the slab and it is not judged


@dataclass(frozen=True)
class Lesion:
    """Where a lesion grows: territory, side, seed (template, mm), and its volumes on the template, ml."""

    name: str
    territory: str
    side: Side
    seed_mm: tuple[float, float, float]
    core_ml: float
    hypoperfused_ml: float


LESIONS: tuple[Lesion | None, ...] = (
    Lesion("whole MCA", "mca", LEFT, (-45, -15, 20), 120, 200),
    Lesion("anterior MCA", "mca", RIGHT, (42, 20, 18), 60, 130),
    Lesion("insula", "mca", LEFT, (-38, 2, 4), 25, 80),
    Lesion("posterior MCA", "mca", RIGHT, (48, -50, 22), 35, 100),
    Lesion("high MCA", "mca", LEFT, (-38, -20, 48), 30, 90),
    Lesion("striatum", "mca_deep", RIGHT, (24, 4, 4), 8, 16),
    Lesion("small cortical", "mca", LEFT, (-52, -22, 28), 12, 40),
    Lesion("ACA", "aca", RIGHT, (8, 40, 20), 18, 45),
    Lesion("PCA", "pca", LEFT, (-14, -80, 6), 15, 40),
    Lesion("middle MCA", "mca", RIGHT, (50, -10, 26), 80, 110),
    None,
    None,
)


@dataclass(frozen=True, eq=False)
class Found:
    """What one chain gave: the series, its core at the nominal and at the calibrated threshold, and both poses."""

    series: PerfusionSeries
    nominal: PerfusionCore | None = None
    calibrated: PerfusionCore | None = None
    threshold: float = np.nan
    registration_error_mm: float = np.nan
    registration_reason: str = ""


@lru_cache(maxsize=1)
def phantom_head() -> PhantomHead:
    """The template's head, once."""
    return prepare_head(template_tissues("ct"))


def grow(lesion: Lesion, rng: np.random.Generator) -> PhantomLesion:
    """A lesion of the list, grown in its territory."""
    vascular = load_label_map("vascular")
    index = next(
        one.index for one in vascular.table.labels if (one.side, one.region) == (lesion.side, lesion.territory)
    )
    brain = template_tissues("ct").brain > 0.5
    domain = lesion_domain(vascular.labels == index, brain, vascular.affine, side=lesion.side)
    voxels = np.argwhere(domain)
    wanted = (np.linalg.inv(vascular.affine) @ [*lesion.seed_mm, 1])[:3]
    x, y, z = voxels[((voxels - wanted) ** 2).sum(axis=1).argmin()]
    return grow_ischaemia(
        domain,
        seed=(int(x), int(y), int(z)),
        core_ml=lesion.core_ml,
        hypoperfused_ml=lesion.hypoperfused_ml,
        spacing_mm=(1, 1, 1),
        rng=rng,
    )


def make_patient(
    number: int, noise_hu: float, is_moving: bool, *, seed: int = 700, residue: Residue = "exponential"
) -> PerfusionPhantom:
    """One patient; the same number has the same lesion, head and truth at every noise and motion."""
    rng = np.random.default_rng([seed, number])
    protocol = Protocol(noise_hu=noise_hu, residue=residue)
    lesion = LESIONS[number]
    grown = None if lesion is None else grow(lesion, rng)
    size = rng.uniform(0.83, 0.93)
    pose = pose_matrix([*rng.uniform(-6, 6, 3), *rng.uniform(-5, 5, 3)], np.zeros(3)) @ np.diag([size, size, size, 1])
    motion = head_motion(protocol.frame_times_s, rng, drift_mm=DRIFT_MM, jump_mm=JUMP_MM)
    return simulate_perfusion(
        phantom_head(), protocol, rng, lesion=grown, template_to_scan=pose, motion=motion if is_moving else None
    )


def slab_grid(phantom: PerfusionPhantom) -> Grid:
    """The series' grid."""
    x, y, z = phantom.series.shape[:3]
    return Grid((x, y, z), phantom.affine)


def anatomy_of(tissue: np.ndarray, grid: Grid, template_to_scan: np.ndarray) -> CoreAnatomy:
    """Sides, regions and mirrored voxels on the slab through a pose."""
    label_map = load_label_map(LABEL_MAP)
    scan_to_template = np.linalg.inv(template_to_scan)
    labels = resample_labels(label_map.labels, label_map.affine, grid, scan_to_template)
    x_mm = np.tensordot((scan_to_template @ grid.affine)[0, :3], np.indices(grid.shape), axes=1)
    x_mm += (scan_to_template @ grid.affine)[0, 3]
    voxel_ml = abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1000
    mirrored = mirrored_indices(grid.shape, grid.affine, template_to_scan)
    return CoreAnatomy(tissue, np.sign(x_mm).astype(np.int8), voxel_ml, labels, label_map.table, mirrored)


def run_chain(
    phantom: PerfusionPhantom, settings: SeriesSettings, core: CoreSettings, *, is_registered: bool = True
) -> Found:
    """Series to core and regions; without registration the known pose takes its place."""
    found = measure_series(phantom.series, phantom.affine, phantom.frame_times_s.tolist(), settings)
    if found.reason or found.maps is None or found.tissue is None:
        return Found(found)
    truth_pose = phantom_pose(phantom, found)
    pose, error, reason = truth_pose, np.nan, ""
    if is_registered and found.baseline is not None and found.brain is not None:
        registration = register(ct_working_scan(found.baseline, phantom.affine), found.brain, template_target("ctp"))
        error = np.nan if registration.fixed_to_moving is None else _error_mm(registration.matrix, truth_pose, phantom)
        reason = registration.reason
        if reason in ("", "field_of_view_too_small"):  # a slab shows less of the brain than a head
            pose = registration.matrix
    anatomy = anatomy_of(found.tissue, slab_grid(phantom), pose)
    nominal = find_core(found.maps.cbf, found.maps.tmax, anatomy, core)
    threshold = calibrated_threshold(found, nominal, anatomy, settings, core)
    settings_on_maps = CoreSettings(**{**vars(core), "relative_cbf": threshold})
    calibrated = find_core(found.maps.cbf, found.maps.tmax, anatomy, settings_on_maps)
    return Found(found, nominal, calibrated, threshold, error, reason)


def calibrated_threshold(
    found: PerfusionSeries, core: PerfusionCore, anatomy: CoreAnatomy, settings: SeriesSettings, rule: CoreSettings
) -> float:
    """The share on these maps that stands for the nominal share of true flow."""
    side = core.affected_side
    if side is None or found.maps is None or found.curves is None or found.arterial is None:
        return rule.relative_cbf
    tissue = anatomy.tissue & np.isfinite(found.maps.cbf)
    normal = tissue & (anatomy.hemisphere == SIDE_SIGN[other_side(side)])
    affected = tissue & (anatomy.hemisphere == SIDE_SIGN[side])
    sample = sample_tissue(found.maps, np.moveaxis(found.curves, 3, 0), normal, affected, rule.relative_cbf)
    times = np.asarray(found.frame_times_s)
    return calibrate_threshold(
        found.arterial.scaled_aif, times, sample, settings.perfusion, nominal=rule.relative_cbf
    ).on_maps


def true_core(phantom: PerfusionPhantom, found: PerfusionSeries) -> np.ndarray:
    """The true core in the pose of the reference frame."""
    grid = slab_grid(phantom)
    back = phantom.template_to_scan @ np.linalg.inv(phantom_pose(phantom, found))
    return resample_labels(phantom.truth.core, phantom.affine, grid, back)


def phantom_pose(phantom: PerfusionPhantom, found: PerfusionSeries) -> np.ndarray:
    """Template to scan in the pose of the reference frame."""
    if found.trace is None:
        return phantom.template_to_scan
    grid = slab_grid(phantom)
    centre = grid.affine[:3, :3] @ ((np.asarray(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    return pose_matrix(phantom.motion[found.trace.reference_frame], centre) @ phantom.template_to_scan


def true_regions(phantom: PerfusionPhantom) -> dict[tuple[Side, str], float]:
    """Share of true core of every ASPECTS region that the slab covers."""
    label_map, grid = load_label_map(LABEL_MAP), slab_grid(phantom)
    tissue = phantom.truth.grey + phantom.truth.white > 0.5
    anatomy = anatomy_of(tissue, grid, phantom.template_to_scan)
    coverage = coverage_on_grid(label_map, grid.shape, np.linalg.inv(phantom.template_to_scan) @ grid.affine)
    shares = {}
    for label in label_map.table.labels:
        inside = tissue & (anatomy.labels == label.index)
        if coverage[label.index] >= COVERED and inside.any():
            shares[label.side, label.region] = float((phantom.truth.core & inside).sum() / inside.sum())
    return shares


def called_regions(core: PerfusionCore) -> dict[tuple[Side, str], float]:
    """Share of core found in every ASPECTS region."""
    return {
        (one.side, one.region): one.n_core / one.n_tissue if one.n_tissue else 0.0
        for one in core.regions
        if one.side in HEMISPHERES and one.region in ASPECTS_REGIONS
    }


def _error_mm(matrix: np.ndarray, truth: np.ndarray, phantom: PerfusionPhantom) -> float:
    """Mean distance between where two poses put the template's points that lie in the slab."""
    inside = np.argwhere(phantom.truth.brain)[::50]
    scan = inside @ phantom.affine[:3, :3].T + phantom.affine[:3, 3]
    template = np.c_[scan, np.ones(len(scan))] @ np.linalg.inv(truth).T
    return float(np.linalg.norm((template @ (matrix - truth).T)[:, :3], axis=1).mean())
