"""How far two lesion masks on one grid agree: overlap, distance of their borders, volume, and lesions found.

The *border* of a mask are its voxels with a face to a voxel outside it, or to the end of the grid; distances are
between their centres, mm, with the spacing of each axis. These are the definitions of MONAI's ``compute_dice``,
``compute_surface_dice`` and ``compute_hausdorff_distance`` (without sub-voxels), against which they are tested; nothing
here needs PyTorch, so a worker compares masks without loading it.

What is not defined is None. Where both masks are empty, nothing can overlap or be missed: every number but the volume
difference (0) is None. Where one is empty, all of the other is missed: Dice, surface Dice and lesion F1 are 0, and
there is no distance to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from tasks.arrays import FloatArray, Mask
from tasks.lesion import NEIGHBOURS_26

Presence = Literal["both", "reference_empty", "candidate_empty", "both_empty"]

#: Borders this near to each other agree: chosen here, the voxel size of diffusion MR within a slice.
SURFACE_TOLERANCE_MM = 2.0
HD_PERCENTILE = 95.0


@dataclass(frozen=True)
class MaskOverlap:
    """Agreement of two masks.

    Attributes
    ----------
    presence : whether both masks have a voxel, and which has none
    dice : 2 |A and B| / (|A| + |B|)
    surface_dice : share of the border voxels of both masks that lie within the tolerance of the other's border
    hd95_mm : the larger of two 95th percentiles: of the distances from each border to the other
    volume_difference_ml : candidate - reference
    reference_volume_ml : of the reference
    lesion_f1 : found / (found + (missed + false) / 2), as the ISLES 2022 challenge counts: a lesion (26-connected) of
        the reference is found where any voxel of the candidate lies in it, one of the candidate is false where no voxel
        of the reference lies in it
    n_reference_lesions, n_candidate_lesions, n_found_lesions, n_false_lesions : the counts behind it
    """

    presence: Presence
    dice: float | None
    surface_dice: float | None
    hd95_mm: float | None
    volume_difference_ml: float
    reference_volume_ml: float
    lesion_f1: float | None
    n_reference_lesions: int
    n_candidate_lesions: int
    n_found_lesions: int
    n_false_lesions: int


def compare_masks(
    *,
    reference: Mask,
    candidate: Mask,
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float = SURFACE_TOLERANCE_MM,
) -> MaskOverlap:
    """Compare two masks on one grid.

    Parameters
    ----------
    reference, candidate : (X, Y, Z) bool arrays
    spacing_mm : voxel size along each axis, mm; the axes are perpendicular
    tolerance_mm : borders within this distance agree

    Raises
    ------
    ValueError
        The masks have different shapes, or are no volumes, or a length is not > 0 mm.
    """
    if reference.shape != candidate.shape or reference.ndim != 3:
        raise ValueError(
            f"reference and candidate must be volumes of one shape, got {reference.shape} and {candidate.shape}. "
            "Bring them to one grid."
        )
    if min(*spacing_mm, tolerance_mm) <= 0:
        raise ValueError(f"spacing_mm and tolerance_mm must be > 0 mm, got {spacing_mm} and {tolerance_mm}.")
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    either = reference | candidate
    if not either.any():
        return MaskOverlap("both_empty", None, None, None, 0.0, 0.0, None, 0, 0, 0, 0)
    box = ndimage.find_objects(either.view(np.uint8))[0]  # nothing outside it has a border or a lesion
    first, second = reference[box], candidate[box]
    sizes = int(first.sum()), int(second.sum())
    lesions = _lesions(first, second)
    difference_ml, reference_ml = (sizes[1] - sizes[0]) * voxel_ml, sizes[0] * voxel_ml
    if not all(sizes):
        presence: Presence = "candidate_empty" if sizes[0] else "reference_empty"
        return MaskOverlap(presence, 0.0, 0.0, None, difference_ml, reference_ml, 0.0, **lesions)
    spacing = np.array(spacing_mm)
    borders = _border(first) * spacing, _border(second) * spacing
    to_reference = cKDTree(borders[0]).query(borders[1])[0]
    to_candidate = cKDTree(borders[1]).query(borders[0])[0]
    n_near = np.count_nonzero(to_reference <= tolerance_mm) + np.count_nonzero(to_candidate <= tolerance_mm)
    found, false = lesions["n_found_lesions"], lesions["n_false_lesions"]
    missed = lesions["n_reference_lesions"] - found
    return MaskOverlap(
        presence="both",
        dice=2 * int((first & second).sum()) / sum(sizes),
        surface_dice=float(n_near / (to_reference.size + to_candidate.size)),
        hd95_mm=max(float(np.percentile(one, HD_PERCENTILE)) for one in (to_reference, to_candidate)),
        volume_difference_ml=difference_ml,
        reference_volume_ml=reference_ml,
        lesion_f1=found / (found + (missed + false) / 2),
        **lesions,
    )


def _lesions(reference: Mask, candidate: Mask) -> dict[str, int]:
    """How many lesions each mask has, how many of the reference are found, and how many of the candidate are false."""
    of_reference, n_reference = ndimage.label(reference, structure=NEIGHBOURS_26)
    of_candidate, n_candidate = ndimage.label(candidate, structure=NEIGHBOURS_26)
    shared = reference & candidate
    return {
        "n_reference_lesions": int(n_reference),
        "n_candidate_lesions": int(n_candidate),
        "n_found_lesions": int(np.unique(of_reference[shared]).size),
        "n_false_lesions": int(n_candidate) - int(np.unique(of_candidate[shared]).size),
    }


def _border(mask: Mask) -> FloatArray:
    """(n, 3) indices of the voxels of a mask with a face to what is outside it."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask)).astype(np.float64)
