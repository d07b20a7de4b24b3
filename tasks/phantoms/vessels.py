"""The large arteries of the head phantom: tubes along the courses that the arteries take in template space.

Way points are read off the template by anatomy (carotid canal, cavernous sinus, sylvian fissure, interhemispheric
fissure, cisterns), in mm of template space; inner diameters are those of adults on CT angiography, mm.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tasks.arrays import Affine, Float32Array, FloatArray
from tasks.space.resample import Grid

Point = tuple[float, float, float]

#: Artery -> (diameter in mm, way points on the right side); mirrored to the left.
PAIRED: dict[str, tuple[float, tuple[Point, ...]]] = {
    "internal carotid": (
        4.5,
        ((32, -12, -130), (30, -12, -80), (27, -10, -58), (24, 0, -48), (14, 2, -38), (12, 12, -26), (13, 2, -18)),
    ),
    "middle cerebral, M1": (3.0, ((13, 2, -18), (24, 4, -19), (36, 2, -16))),
    "middle cerebral, superior division": (2.2, ((36, 2, -16), (42, 6, -4), (44, 2, 10), (54, 0, 22), (58, -8, 38))),
    "middle cerebral, inferior division": (2.2, ((36, 2, -16), (43, -10, -6), (46, -28, 8), (56, -44, 14))),
    "anterior cerebral": (2.3, ((13, 2, -18), (3, 12, -16), (3, 32, -4), (3, 34, 14), (3, 16, 30), (3, -14, 38))),
    "posterior cerebral": (2.2, ((1, -16, -20), (16, -22, -14), (24, -36, -6), (16, -66, 2), (10, -86, 6))),
    "vertebral": (3.2, ((20, -38, -130), (18, -40, -84), (8, -40, -72), (1, -30, -54))),
}
#: Arteries in the mid-plane.
UNPAIRED: dict[str, tuple[float, tuple[Point, ...]]] = {"basilar": (3.4, ((0, -30, -54), (0, -24, -38), (0, -16, -20)))}


def vessel_share(grid: Grid) -> Float32Array:
    """Share of each voxel that is artery.

    Parameters
    ----------
    grid : Grid in template space, isotropic voxels along the world's axes

    Returns
    -------
    float32 array of the grid's shape, in [0, 1]; exact to about a tenth of a voxel's diameter at the wall.
    """
    share = np.zeros(grid.shape, dtype=np.float32)
    courses = [*PAIRED.values(), *((width, _mirrored(course)) for width, course in PAIRED.values()), *UNPAIRED.values()]
    for diameter_mm, course in courses:
        for start, end in pairwise(course):
            _add_tube(share, grid.affine, np.array([start, end], dtype=np.float64), diameter_mm / 2)
    return share


def _mirrored(course: tuple[Point, ...]) -> tuple[Point, ...]:
    """The same artery on the other side."""
    return tuple((-x, y, z) for x, y, z in course)


def _add_tube(
    share: Float32Array,
    affine: Affine,
    ends: FloatArray,
    radius_mm: float,
) -> None:
    """Fill one straight piece with round ends; its wall is as soft as a voxel is wide."""
    size_mm = affine[0, 0]
    voxels = (ends - affine[:3, 3]) / size_mm
    reach = radius_mm / size_mm + 2
    low = np.clip(np.floor(voxels.min(axis=0) - reach), 0, share.shape).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0) + reach) + 1, 0, share.shape).astype(int)
    box = tuple(slice(int(one), int(two)) for one, two in zip(low, high, strict=True))
    if share[box].size == 0:
        return
    points = np.stack(np.meshgrid(*(np.arange(one.start, one.stop) for one in box), indexing="ij"), axis=-1)
    along = voxels[1] - voxels[0]
    place = np.clip((points - voxels[0]) @ along / (along @ along), 0, 1)
    distance = np.linalg.norm(points - voxels[0] - place[..., None] * along, axis=-1)
    filled = np.clip(radius_mm / size_mm - distance + 0.5, 0, 1).astype(np.float32)
    share[box] = np.maximum(share[box], filled)
