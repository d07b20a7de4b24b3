"""Guards of a plain CT: an old infarct, a haemorrhage, a hyperdense middle cerebral artery, told from an acute infarct.

Each is a figure of the scan; a flag follows from the stored figures by thresholds that a study may set, so that another
threshold opens no image. Scanners differ by several HU in the density of all tissue, so fluid and blood are told by
their distance from the median of the scan's own: at the usual 34 HU, fluid is below 20 and blood above 47.

*Old infarct*: fluid in the place of tissue, with none across; ventricles and sulci have their like on the other side.
*Haemorrhage*: one piece as dense as blood, inside the brain. Calcium is denser at its core or has its like across;
falx, tentorium and veins are too thin. *Hyperdense artery*: the densest stretch of M1 and the beginning of M2.

What is not found: old infarcts that are only half fluid, blood along the skull, in sulci or below the tentorium, spots
in an infarct, and what lies alike on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, IntegerArray, Mask
from tasks.brain import Brain
from tasks.phantoms.scans import AIR_HU
from tasks.phantoms.vessels import PAIRED
from tasks.quality.figures import Atlas
from tasks.registration.affine import Registration
from tasks.space.affines import MIRROR, voxel_sizes_mm
from tasks.space.resample import Grid, resample_image, resample_labels
from tasks.space.working_grid import WorkingScan

#: Of these blocks the median is the tissue's density: neither fluid nor bone, blood or calcium.
GUARD_TISSUE_HU = (20.0, 60.0)
GUARD_SMOOTHING_MM = 1.5  # standard deviation: noise of 5 HU in blocks of 2 mm becomes 1
EDGE_MM = 5.0  # from the skull: sulci, veins, and blocks shared with bone
FLUID_FROM_TISSUE_HU, BLOOD_FROM_TISSUE_HU = -14.0, 13.0  # from the tissue's median
CALCIUM_HU = 100.0  # denser than any clotted blood
MOST_CALCIUM = 0.1  # share of a piece
#: Where the two sides of a head differ after an affine transform: fluid so near to the mirrored place is its like.
ACROSS_FLUID_MM, ACROSS_BLOOD_MM = 6.0, 4.0
THIN_FLUID_MM, THIN_BLOOD_MM = 3.0, 1.9  # half the thickness of what is no piece: sulci; falx, tentorium and veins
POSTERIOR_FOSSA = "posterior_fossa"  # bands between the petrous bones are as dark as fluid
TOUCHED = 0.3  # of a block by what is resampled
MOST_LIKE = 0.3  # share of a piece that has its like across
VENTRICLE_REACH_MM = 9.0  # one ventricle is wider than the other
VENTRICLE_MM = 10.0  # half of a lateral ventricle's width: blood breaks into them
HIGHEST_MM = 70.0  # of the template: slices above share the vertex with bone
#: M1 and the beginning of M2 in the Sylvian fissure, right side, template mm.
MCA_COURSE_MM = (*PAIRED["middle cerebral, M1"][1], PAIRED["middle cerebral, superior division"][1][1])
MCA_REACH_MM = 6.0  # of the artery from its course in the template
MCA_STEP_MM, MCA_STEPS = 3.0, 4  # the densest stretch is this long: elongated
BONE_REACH_MM = 3.0


@dataclass(frozen=True)
class Guard:
    """A flag: it is raised where every one of its figures lies above its threshold."""

    name: str
    title: str
    figures: tuple[str, ...]

    @property
    def flag(self) -> str:
        """Column of the scans table."""
        return f"{self.name}_suspected"


GUARDS = (
    Guard("chronic", "Old infarct", ("chronic_volume_ml",)),
    Guard("haemorrhage", "Haemorrhage", ("haemorrhage_volume_ml",)),
    Guard("hyperdense_mca", "Hyperdense middle cerebral artery", ("hyperdense_mca_hu", "hyperdense_mca_ratio")),
)
#: Chosen on synthetic patients (``tests/benchmarks/guards_figures.py``), but for the artery's density, more than 43 HU:
#: Koo et al., Cerebrovasc Dis 2000;10:419-423. Their ratio of the sides, more than 1.2, is of a region drawn on the
#: artery; the densest blocks of two corridors differ less.
GUARD_THRESHOLDS: Mapping[str, float] = {
    "chronic_volume_ml": 1.5,
    "haemorrhage_volume_ml": 1.0,
    "hyperdense_mca_hu": 43.0,
    "hyperdense_mca_ratio": 1.1,
}


def suspected(
    guard: Guard, figures: Mapping[str, float | None], thresholds: Mapping[str, float] = GUARD_THRESHOLDS
) -> bool | None:
    """Whether a flag is raised; None where a figure was not measured.

    Examples
    --------
    >>> suspected(GUARDS[0], {"chronic_volume_ml": 6.2}), suspected(GUARDS[1], {})
    (True, None)
    """
    values = [figures.get(figure) for figure in guard.figures]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return all(value > thresholds[figure] for value, figure in zip(known, guard.figures, strict=True))


@dataclass(frozen=True)
class Guards:
    """Figures of one plain CT; null where nothing was registered.

    Attributes
    ----------
    chronic_volume_ml : float
        Largest piece of fluid in the place of supratentorial tissue with none across.
    haemorrhage_volume_ml : float
        Largest piece as dense as blood.
    hyperdense_mca_hu : float
        Density of the densest 12 mm of the artery, of the denser side; null where it is not in view on both sides.
    hyperdense_mca_ratio : float
        The same over that of the other side.
    """

    chronic_volume_ml: float | None = None
    haemorrhage_volume_ml: float | None = None
    hyperdense_mca_hu: float | None = None
    hyperdense_mca_ratio: float | None = None


@dataclass(frozen=True, eq=False)
class _Head:
    """The brain's box of a scan: blocks and what belongs to them, (X, Y, Z)."""

    values: Float32Array
    inside: Mask
    from_tissue: Float32Array
    grid: Grid
    to_template: Affine
    spacing_mm: tuple[float, float, float]

    @property
    def mirror(self) -> Affine:
        """World -> the mirrored place's world."""
        return np.asarray(np.linalg.inv(self.to_template) @ MIRROR @ self.to_template)

    @property
    def block_ml(self) -> float:
        """Volume of a block."""
        return float(np.prod(self.spacing_mm)) / 1000

    @cached_property
    def inner(self) -> Mask:
        """What lies away from the skull."""
        return np.asarray(ndimage.distance_transform_edt(self.inside, sampling=self.spacing_mm) > EDGE_MM)

    def labelled(self, territories: Atlas, *, is_fossa: bool = False) -> Mask:
        """Territories of the cerebrum, or those of the posterior fossa."""
        labels = [one.index for one in territories.table.labels if (one.region == POSTERIOR_FOSSA) == is_fossa]
        return resample_labels(np.isin(territories.labels, labels), territories.affine, self.grid, self.to_template)

    @cached_property
    def places(self) -> Float32Array:
        """Template world of every block, (3, X, Y, Z), mm."""
        matrix = (self.to_template @ self.grid.affine).astype(np.float32)
        at = np.indices(self.values.shape, dtype=np.float32)
        return np.asarray(np.tensordot(matrix[:3, :3], at, 1) + matrix[:3, 3].reshape(3, 1, 1, 1))

    def near(self, mask: Mask, reach_mm: float) -> Mask:
        """What lies within a distance of a mask."""
        if not mask.any():
            return mask
        return np.asarray(ndimage.distance_transform_edt(~mask, sampling=self.spacing_mm) <= reach_mm)

    def without_thin(self, mask: Mask, half_mm: float) -> Mask:
        """A mask without what is thinner than twice a distance."""
        core = ndimage.distance_transform_edt(mask, sampling=self.spacing_mm) > half_mm
        return mask & self.near(np.asarray(core), half_mm)


def measure_guards(scan: WorkingScan, brain: Brain, registration: Registration, territories: Atlas) -> Guards:
    """The figures of one plain CT.

    Parameters
    ----------
    scan, brain, registration : of the scan; nothing is measured without a usable registration
    territories : the arterial territories in template space, which leave out the ventricles
    """
    if not registration.is_usable:
        return Guards()
    head = _head(scan, brain, registration)
    density, ratio = _hyperdense_mca(head)
    return Guards(_chronic_ml(head, territories), _haemorrhage_ml(head, territories), density, ratio)


def _head(scan: WorkingScan, brain: Brain, registration: Registration) -> _Head:
    """The brain's box; bright vessels and blood are holes of the brain mask."""
    slices = np.moveaxis(brain.mask, scan.slice_axis, 0)
    whole = np.stack([ndimage.binary_fill_holes(one) for one in slices])
    inside = np.ascontiguousarray(np.moveaxis(whole, 0, scan.slice_axis))
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    corner = np.eye(4)
    corner[:3, 3] = [one.start for one in box]
    values, inside = np.ascontiguousarray(scan.values[box]), np.ascontiguousarray(inside[box])
    affine = scan.affine @ corner
    x, y, z = values.shape
    sizes = voxel_sizes_mm(affine)
    sigma = GUARD_SMOOTHING_MM / sizes
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    smooth = ndimage.gaussian_filter(np.where(inside, values, 0).astype(np.float32), sigma) / np.maximum(weight, 0.05)
    of_tissue = values[inside & (values > GUARD_TISSUE_HU[0]) & (values < GUARD_TISSUE_HU[1])]
    level = np.float32(np.median(of_tissue) if len(of_tissue) else np.nan)
    spacing = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    return _Head(values, inside, smooth - level, Grid((x, y, z), affine), registration.moving_to_fixed, spacing)


def _chronic_ml(head: _Head, territories: Atlas) -> float:
    """Largest piece of fluid where the template has tissue and the other side none of it."""
    fluid = head.inside & (head.from_tissue < FLUID_FROM_TISSUE_HU)
    across = resample_image(fluid.astype(np.float32), head.grid.affine, head.grid, head.mirror) > TOUCHED
    tissue, fossa, inner = head.labelled(territories), head.labelled(territories, is_fossa=True), head.inner
    ventricles = inner & ~tissue & ~fossa
    alone = fluid & tissue & inner & ~head.near(across, ACROSS_FLUID_MM) & ~head.near(ventricles, VENTRICLE_REACH_MM)
    pieces, n = ndimage.label(head.without_thin(alone, THIN_FLUID_MM))
    return _largest(np.bincount(pieces.ravel(), minlength=n + 1)[1:], head)


def _haemorrhage_ml(head: _Head, territories: Atlas) -> float:
    """Largest piece as dense as blood, but for calcium and what has its like across."""
    dense = head.inside & (head.from_tissue > BLOOD_FROM_TISSUE_HU)
    fossa = head.labelled(territories, is_fossa=True)
    cerebrum = head.near(head.labelled(territories), VENTRICLE_MM) & ~fossa
    inner = dense & cerebrum & head.inner & (head.places[2] < HIGHEST_MM)
    pieces, n = ndimage.label(head.without_thin(inner, THIN_BLOOD_MM))
    if not n:
        return 0.0
    sizes = np.bincount(pieces.ravel(), minlength=n + 1)
    calcium, like = (
        np.bincount(pieces[where], minlength=n + 1)
        for where in (head.values > CALCIUM_HU, _has_like(head, dense, pieces))
    )
    sizes[(calcium > MOST_CALCIUM * sizes) | (like > MOST_LIKE * sizes)] = 0
    return _largest(sizes[1:], head)


def _has_like(head: _Head, dense: Mask, pieces: IntegerArray) -> Mask:
    """Where something dense, of another piece, lies at the mirrored place; a piece across the mid-plane is no like."""
    other = int(pieces.max()) + 1
    marked = np.where(dense & (pieces == 0), other, pieces).astype(np.int16)
    across = resample_labels(marked, head.grid.affine, head.grid, head.mirror)
    distance, at = ndimage.distance_transform_edt(across == 0, sampling=head.spacing_mm, return_indices=True)
    nearest = across[tuple(at)]
    return np.asarray((distance <= ACROSS_BLOOD_MM) & (nearest > 0) & (nearest != pieces))


def _hyperdense_mca(head: _Head) -> tuple[float | None, float | None]:
    """Density of the artery's densest stretch on the denser side, and over that of the other side."""
    is_free = ~head.near(~head.inside | (head.values > CALCIUM_HU), BONE_REACH_MM)
    places = head.places
    sides = []
    for sign in (-1.0, 1.0):
        along, distance = _beside_course(places * np.array([sign, 1, 1], np.float32).reshape(3, 1, 1, 1))
        step = (along / MCA_STEP_MM).astype(int)
        own = is_free & (distance < MCA_REACH_MM) & (along > 0)
        densest = np.full(int(step.max()) + 1, -np.inf)
        np.maximum.at(densest, step[own], head.values[own])
        stretches = np.convolve(
            np.where(np.isfinite(densest), densest, AIR_HU), np.full(MCA_STEPS, 1 / MCA_STEPS), "valid"
        )
        sides.append(float(stretches.max()))
    low, high = sorted(sides)
    return (high, high / low) if low > 0 else (None, None)


def _beside_course(places: Float32Array) -> tuple[Float32Array, Float32Array]:
    """How far along the right artery's course each place lies, and its distance from it, (X, Y, Z), mm."""
    course = np.array(MCA_COURSE_MM, np.float32)
    along = np.zeros(places.shape[1:], np.float32)
    distance = np.full(places.shape[1:], np.inf, np.float32)
    before = np.float32(0)
    for start, way in zip(course, np.diff(course, axis=0), strict=False):
        length = np.linalg.norm(way)
        from_start = places - start.reshape(3, 1, 1, 1)
        share = np.clip(np.tensordot(way / length, from_start, 1), 0, length)
        off = np.linalg.norm(from_start - share * (way / length).reshape(3, 1, 1, 1), axis=0)
        is_nearer = off < distance
        along[is_nearer], distance[is_nearer] = before + share[is_nearer], off[is_nearer]
        before += length
    return along, distance


def _largest(blocks: IntegerArray, head: _Head) -> float:
    """The largest of pieces, ml."""
    return float(blocks.max(initial=0)) * head.block_ml
