"""Both sides of the ten regions of a prepared CT as patches, as a network compares them."""

from __future__ import annotations

import numpy as np

from flows.cases.case import MapReference
from flows.cases.native_scan import PreparedScan
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES
from tasks.density.pairs import PairedPatches, PatchRecipe, paired_patches
from tasks.scoring import LEAST_COVERAGE


def region_pairs(scan: PreparedScan, reference: MapReference, recipe: PatchRecipe) -> PairedPatches:
    """Patches of the ten regions, in the order of ``ASPECTS_REGIONS``.

    Parameters
    ----------
    scan : PreparedScan, registered
    reference : label map
    recipe : PatchRecipe
    """
    label_map, on_grid = scan.labels(reference)
    index_of = {(label.side, label.region): label.index for label in label_map.table.labels}
    left, right = HEMISPHERES
    pairs = [(index_of[left, region], index_of[right, region]) for region in ASPECTS_REGIONS]
    return paired_patches(
        scan.image.values,
        scan.image.affine,
        scan.brain_mask,
        on_grid.labels,
        pairs,
        scan.registration.moving_to_fixed,
        recipe,
    )


def can_be_scored(scan: PreparedScan, reference: MapReference, most_fluid: float) -> np.ndarray:
    """Which sides of the ten regions are covered by the image and tissue, (10, 2) bool array.

    Parameters
    ----------
    scan, reference : as of ``region_pairs``
    most_fluid : largest share of fluid
    """
    label_map, on_grid = scan.labels(reference)
    fluid = scan.placing(reference).fluid_share
    found = {
        (label.side, label.region): on_grid.coverage[label.index] >= LEAST_COVERAGE and (share or 0.0) <= most_fluid
        for label, share in zip(label_map.table.labels, fluid, strict=True)
    }
    return np.array([[found[side, region] for side in HEMISPHERES] for region in ASPECTS_REGIONS])
