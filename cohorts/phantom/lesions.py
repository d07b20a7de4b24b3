"""Where and how the phantom cohort's lesions are painted: the anatomy, and planned lesions turned into masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cohorts.phantom.patients import PlannedLesion
from tasks.anatomy import HEMISPHERES, LabelTable, Side, aspects_label_table
from tasks.arrays import Affine, Float32Array, FloatArray, IntegerArray, Mask
from tasks.lesion import NEIGHBOURS_26
from tasks.phantoms.lesion import grow_emboli, grow_lacune, grow_lesion, lesion_domain, recede, watershed_depth
from tasks.scoring import BUILT_IN_RULES

#: Territory of a lesion kind -> regions of the territory map that make it up.
TERRITORY_REGIONS = {"mca": ("mca", "mca_deep"), "perforators": ("mca_deep",), "aca": ("aca",), "pca": ("pca",)}
PERFORATORS = "mca_deep"
WATERSHED_MARGIN_MM = 12.0  # chosen here: how far a person's watershed may step back from the atlas's
LARGEST_SHARE = 0.75  # of a territory that one lesion may fill
PERFORATOR_REACH_MM = 4.0  # lenticulostriate infarcts reach this far beyond the deep nuclei into the corona radiata
N_EMBOLI = (3, 7)

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class PhantomAnatomy:
    """The anatomy in which lesions are grown, all on one 1 mm grid.

    Attributes
    ----------
    territories : (X, Y, Z) int array; 0 = no territory, so that ventricles are spared
    table : LabelTable of ``territories``, with the regions mca, mca_deep, aca and pca of both sides
    aspects : (X, Y, Z) int array, 1-10 right, 11-20 left in the order of ``ASPECTS_REGIONS``
    brain : (X, Y, Z) bool array
    affine : (4, 4) float array, voxel -> world, RAS, mm

    Raises
    ------
    ValueError
        Arrays of different shapes, voxels that are not 1 mm along the axes, or a territory or region without a voxel.
    """

    territories: IntegerArray
    table: LabelTable
    aspects: IntegerArray
    brain: Mask
    affine: Affine

    def __post_init__(self) -> None:
        arrays = {"territories": self.territories, "aspects": self.aspects}
        problems = [
            f"{name} must have the shape of brain, got {array.shape} and {self.brain.shape}. Put them on one grid."
            for name, array in arrays.items()
            if array.shape != self.brain.shape
        ]
        if not np.allclose(self.affine[:3, :3], np.eye(3)):
            problems.append(f"affine must be a 1 mm RAS grid, got axes {self.affine[:3, :3].tolist()}. Resample it.")
        labels = {(label.side, label.region): label.index for label in self.table.labels}
        present = set(np.unique(self.territories).tolist())
        problems += [
            f"territories must hold {side}_{region}, got no voxel of it. Check the label table."
            for side in HEMISPHERES
            for region in sorted(set().union(*TERRITORY_REGIONS.values()))
            if labels.get((side, region)) not in present
        ]
        if missing := sorted(set(range(1, 21)) - set(np.unique(self.aspects).tolist())):
            problems.append(f"aspects must hold the labels 1 to 20, got none of {missing}. Give an ASPECTS map.")
        if problems:
            raise ValueError(" ".join(problems))

    def cropped(self) -> PhantomAnatomy:
        """The same anatomy on the bounding box of the brain, with the affine moved along."""
        box = ndimage.find_objects(self.brain.astype(np.uint8))[0]
        return PhantomAnatomy(
            self.territories[box], self.table, self.aspects[box], self.brain[box], _affine_of(box, self.affine)
        )


class LesionPainter:
    """Turns planned lesions into masks; keeps each territory's domain between patients.

    Parameters
    ----------
    anatomy : the grid on which masks are painted
    """

    def __init__(self, anatomy: PhantomAnatomy) -> None:
        self.anatomy = anatomy
        self._indices = {(label.side, label.region): label.index for label in anatomy.table.labels}
        self._aspects = {(label.side, label.region): label.index for label in aspects_label_table().labels}
        self._region_sizes = np.bincount(anatomy.aspects.ravel(), minlength=len(self._aspects) + 1)
        self._domains: dict[tuple[str, Side], tuple[Box, Mask, Float32Array]] = {}

    def paint(self, lesion: PlannedLesion, rng: np.random.Generator) -> Mask:
        """Return the (X, Y, Z) bool mask of a planned lesion."""
        mask = np.zeros(self.anatomy.brain.shape, dtype=bool)
        for side in lesion.sides:
            box, part = self._paint_side(lesion, side, lesion.volume_ml / len(lesion.sides), rng)
            mask[box] |= part
        return mask

    def affected_regions(self, mask: Mask) -> dict[tuple[str, str], bool]:
        """(side, region) -> affected on the ASPECTS map under the rule ``wei``: what readers are judged by."""
        counts = np.bincount(self.anatomy.aspects[mask], minlength=len(self._region_sizes))
        rule = BUILT_IN_RULES["wei"]
        return {
            (side, region): rule.is_affected(
                region=region, fraction=counts[index] / self._region_sizes[index], n_lesion_voxels=int(counts[index])
            )
            for (side, region), index in self._aspects.items()
        }

    def _paint_side(
        self, lesion: PlannedLesion, side: Side, volume_ml: float, rng: np.random.Generator
    ) -> tuple[Box, Mask]:
        """The part of a lesion in one hemisphere, in the bounding box of its territory."""
        kind = lesion.kind
        spacing_mm = (1.0, 1.0, 1.0)
        box, territory, depth_mm = self._domain(kind.territory, side)
        seeds = self._seed_region(lesion, side, box)
        domain = recede(territory, depth_mm, margin_mm=WATERSHED_MARGIN_MM, spacing_mm=spacing_mm, rng=rng)
        domain = _largest_component(domain)
        if not (domain & seeds).any() or volume_ml > LARGEST_SHARE * float(domain.sum()) / 1000:
            domain = territory  # the watershed stepped over the seeds, or left too little room
        seeds = domain & seeds
        volume_ml = min(volume_ml, LARGEST_SHARE * float(domain.sum()) / 1000)
        if kind.shape == "emboli":
            n_emboli = int(rng.integers(*N_EMBOLI, endpoint=True))
            return box, grow_emboli(domain, n_emboli=n_emboli, volume_ml=volume_ml, spacing_mm=spacing_mm, rng=rng)
        i, j, k = np.argwhere(seeds)[rng.integers(np.count_nonzero(seeds))].tolist()
        if lesion.diameter_mm is not None:
            return box, grow_lacune(
                domain, seed=(i, j, k), diameter_mm=lesion.diameter_mm, spacing_mm=spacing_mm, rng=rng
            )
        return box, grow_lesion(domain, seed=(i, j, k), volume_ml=volume_ml, spacing_mm=spacing_mm, rng=rng)

    def _seed_region(self, lesion: PlannedLesion, side: Side, box: Box) -> Mask:
        """Voxels where a lesion may start, as far as its plan says."""
        if lesion.seed_region is None:
            return self.anatomy.brain[box]
        return np.asarray(self.anatomy.aspects[box] == self._aspects[side, lesion.seed_region])

    def _domain(self, name: str, side: Side) -> tuple[Box, Mask, Float32Array]:
        """Bounding box, tissue and depth below the watershed of one territory; perforators have no watershed."""
        if (name, side) not in self._domains:
            territory = self._regions(side, TERRITORY_REGIONS[name])
            margin = int(PERFORATOR_REACH_MM) + 1  # to see what lies beyond
            box = tuple(
                slice(max(0, axis.start - margin), axis.stop + margin)
                for axis in ndimage.find_objects(territory.astype(np.uint8))[0]
            )
            territory, end_arteries = territory[box], self._regions(side, (PERFORATORS,))[box]
            if name == "perforators":
                near = ndimage.distance_transform_edt(~territory) <= PERFORATOR_REACH_MM
                territory = end_arteries = near & self._regions(side, TERRITORY_REGIONS["mca"])[box]
            affine = _affine_of(box, self.anatomy.affine)
            domain = _largest_component(lesion_domain(territory, self.anatomy.brain[box], affine, side=side))
            depth_mm = watershed_depth(domain, self.anatomy.territories[box] > 0, (1.0, 1.0, 1.0))
            depth_mm[end_arteries] = np.inf
            self._domains[name, side] = (box, domain, depth_mm)
        return self._domains[name, side]

    def _regions(self, side: Side, regions: tuple[str, ...]) -> Mask:
        """Voxels of some regions of the territory map."""
        return np.isin(self.anatomy.territories, [self._indices[side, region] for region in regions])


def _affine_of(box: Box, affine: Affine) -> FloatArray:
    """Affine of a part of a grid."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
    return moved


def _largest_component(mask: Mask) -> Mask:
    """The largest 26-connected component; nothing of nothing."""
    components, n_components = ndimage.label(mask, structure=NEIGHBOURS_26)
    if n_components < 2:
        return mask
    return np.asarray(components == np.bincount(components.ravel())[1:].argmax() + 1)
