"""Measures of one lesion mask: volume, components, diameter, side and how much of each label it fills.

A mask comes as the flat Fortran-order indices of its voxels on a grid (``shape``, ``affine``); ``affine`` is voxel ->
world, RAS, mm, so world x < 0 is the patient's left.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from tasks.arrays import Affine, FloatArray, IntArray, IntegerArray
from tasks.space.affines import voxel_sizes_mm, voxel_volume_mm3

LesionSide = Literal["left", "right", "both", "none"]

#: Sides whose volumes differ by no more than this share of their sum hold the lesion equally.
EQUAL_SIDES = 1e-9
#: Voxel centres nearer to the mid-plane than this lie on it.
ON_PLANE_MM = 1e-6
#: Voxels of one component share a face, an edge or a corner.
NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)
VOXEL_CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))


@dataclass(frozen=True)
class LesionMeasures:
    """What a lesion measures; volumes in ml, diameter in mm."""

    n_voxels: int
    volume_ml: float
    n_components: int
    max_diameter_mm: float
    volume_left_ml: float
    volume_right_ml: float
    side: LesionSide


def measure_lesion(
    indices: IntArray,
    shape: tuple[int, int, int],
    affine: Affine,
    world_to_template: Affine | None = None,
) -> LesionMeasures:
    """Measure a lesion; one without a voxel measures 0 and has the side ``none``.

    Volume is the voxel count times the affine determinant; components are 26-connected; the diameter is the greatest
    distance between two points of any one component, its voxels taken as solid boxes; a voxel belongs to the side of
    its centre, and one on the mid-plane (x = 0) half to each.

    Parameters
    ----------
    indices : (n,) int array, ascending flat Fortran-order indices of the lesion
    shape : voxels along each axis
    affine : (4, 4) float array, voxel -> world, RAS, mm
    world_to_template : (4, 4) float array or None
        Of a scan in native space, whose mid-plane is that of the template; None where the world is the template's.
    """
    if not len(indices):
        return LesionMeasures(0, 0.0, 0, 0.0, 0.0, 0.0, "none")
    coordinates = np.stack(np.unravel_index(indices, shape, order="F"))
    low = coordinates.min(axis=1)
    local = coordinates - low[:, None]
    box = np.zeros(local.max(axis=1) + 1, dtype=bool)
    box[tuple(local)] = True
    components, n_components = ndimage.label(box, structure=NEIGHBOURS_26)
    new_row = (np.diff(indices) != 1) | (local[0, 1:] == 0)
    is_row_end = np.concatenate(([True], new_row)) | np.concatenate((new_row, [True]))
    row_ends = local[:, is_row_end].T
    spacing = voxel_sizes_mm(affine)
    voxel_mm3 = voxel_volume_mm3(affine)
    across = affine[0] if world_to_template is None else (world_to_template @ affine)[0]
    x_mm = across[:3] @ coordinates + across[3]
    on_plane = np.abs(x_mm) < ON_PLANE_MM
    left = float(((x_mm < 0) & ~on_plane).sum() + on_plane.sum() / 2) * voxel_mm3 / 1000
    right = float(((x_mm > 0) & ~on_plane).sum() + on_plane.sum() / 2) * voxel_mm3 / 1000
    difference = (left - right) / (left + right)
    side: LesionSide = "both" if abs(difference) <= EQUAL_SIDES else ("left" if difference > 0 else "right")
    return LesionMeasures(
        n_voxels=len(indices),
        volume_ml=len(indices) * voxel_mm3 / 1000,
        n_components=int(n_components),
        max_diameter_mm=_largest_diameter(row_ends, components[tuple(row_ends.T)], spacing),
        volume_left_ml=left,
        volume_right_ml=right,
        side=side,
    )


def _largest_diameter(row_ends: IntArray, labels: npt.NDArray[np.int32], spacing: FloatArray) -> float:
    """Diameter of the widest component, mm, from the first and last voxels of its rows and their component.

    The largest component comes first, and one whose box is smaller than the widest so far is skipped.
    """
    ordered = row_ends[np.argsort(labels, kind="stable")]
    parts = np.split(ordered, np.cumsum(np.bincount(labels))[:-1])
    largest = 0.0
    for centres in sorted(parts, key=len, reverse=True):
        if len(centres):
            extent = (np.ptp(centres, axis=0) + 1) * spacing
            if np.sqrt((extent**2).sum()) > largest:
                largest = max(largest, _diameter(centres, spacing))
    return largest


def _diameter(centres: IntArray, spacing: FloatArray) -> float:
    """Diameter of a set of solid voxels, mm, from the (n, 3) indices of the first and last voxel of each row.

    The hull of solid voxels is the hull of their centres widened by one voxel, so the farthest pair of box corners
    belongs to two hull vertices of the centres; and only the ends of a row of voxels can be such vertices.
    """
    try:
        centres = centres[ConvexHull(centres).vertices]
    except QhullError:  # centres in one plane, or fewer than five: the hull of the boxes is never flat
        corners = (centres[:, None] + VOXEL_CORNERS).reshape(-1, 3)
        centres = centres[np.unique(ConvexHull(corners).vertices // len(VOXEL_CORNERS))]
    widened = [pdist(centres[:, [axis]], "cityblock") * spacing[axis] + spacing[axis] for axis in range(3)]
    alone = np.sqrt((spacing**2).sum())
    return float(max(alone, np.sqrt(sum(part**2 for part in widened)).max(initial=0.0)))


def label_counts(indices: IntArray, labels: IntegerArray, n_labels: int) -> IntArray:
    """Lesion voxels in each label.

    Parameters
    ----------
    indices : (n,) int array, flat Fortran-order indices of the lesion
    labels : (X, Y, Z) int array in Fortran order, or its flat view, 0 outside every label
    n_labels : largest label index

    Returns
    -------
    (n_labels + 1,) int array; entry 0 counts lesion voxels outside every label.
    """
    return np.bincount(labels.reshape(-1, order="F")[indices], minlength=n_labels + 1)
