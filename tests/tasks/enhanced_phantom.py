"""What a contrast agent adds to a CT of the head: arteries, venous sinuses and grey matter, drawn on any scan.

Courses are synthetic after common anatomy in template coordinates (RAS, mm); venous sinuses and cortical veins run on
the brain's surface against the bone, where they can spoil a mask. Nothing is drawn on bone.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from models.anatomy.template import load_template
from tasks.space.resample import Grid, resample_image
from tests.once_per_run import once_per_run

PAD = 14  # voxels of 1 mm around the template: room for vessels outside the brain

#: Course of each artery on the right, and its radius, mm.
ARTERIES = (
    (((27, -22, -40), (16, -8, -28), (13, 2, -17)), 2.5),  # internal carotid
    (((13, 2, -17), (25, 3, -15), (38, 3, -15)), 1.6),  # middle cerebral, M1
    (((38, 3, -15), (41, -2, 0), (43, -20, 13), (50, -40, 20)), 1.3),
    (((38, 3, -15), (38, 14, 0), (43, 18, 12), (52, 5, 30)), 1.3),
    (((13, 2, -17), (3, 14, -12), (2, 36, 8), (2, 20, 32), (2, -25, 46)), 1.2),  # anterior cerebral
    (((10, -38, -68), (0, -34, -45), (0, -24, -16), (18, -26, -12), (20, -60, -3)), 1.5),  # vertebral to posterior
)
STRAIGHT_SINUS = (((0, -36, 6), (0, -60, 4), (0, -98, -8)), 2.0)
CHOROID_PLEXUS = (((24, -38, 6), (20, -36, 18), (12, -18, 20)), 2.5)
SAGITTAL_RADIUS_MM, TRANSVERSE_RADIUS_MM, CORTICAL_RADIUS_MM = 4.0, 4.0, 1.2


def add_contrast_agent(values, affine, fixed_to_moving, artery_hu=500.0, vein_hu=350.0, blocked_side=None):
    """A CT with contrast agent in it.

    ``values`` in HU (X, Y, Z), ``fixed_to_moving`` template -> scan world; grey matter gains about 8 HU and white 4;
    ``blocked_side`` ("left" or "right") leaves out the middle cerebral artery of that side.
    """
    grid, to_template = Grid(values.shape, affine), np.linalg.inv(fixed_to_moving)
    inside, arteries, veins, (mca_left, mca_right), template_affine = _vessels()
    blocked = {"left": mca_left, "right": mca_right, None: np.zeros_like(mca_left)}[blocked_side]
    hu = values.astype(np.float32)
    brain = resample_image(inside, template_affine, grid, to_template)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    smooth = ndimage.gaussian_filter(np.clip(hu, 0, 60), 2 / spacing, truncate=2)
    enhanced = hu + np.where(hu < 80, brain * np.clip((smooth - 18) * 0.42, 0, 10), 0)
    for share, vessel_hu in ((veins, vein_hu), (np.clip(arteries - blocked, 0, 1), artery_hu)):
        there = resample_image(share, template_affine, grid, to_template)
        drawn = there * vessel_hu + (1 - there) * enhanced
        enhanced = np.where((hu < 100) & (there > 0), np.maximum(drawn, enhanced), enhanced)
    return enhanced.astype(np.float32)


@once_per_run
def _vessels():
    """Shares in [0, 1] on the padded template grid: brain, arteries, veins, both middle cerebral arteries."""
    template = load_template()
    inside = np.pad(template.brain, PAD)
    affine = template.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, PAD)
    to_voxel = np.linalg.inv(affine)
    surface = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    world = surface @ affine[:3, :3].T + affine[:3, 3]

    def both(tubes):
        return [(np.array(course) * [side, 1, 1], radius) for course, radius in tubes for side in (-1, 1)]

    midline = world[(np.abs(world[:, 0]) < 1) & ((world[:, 2] > 0) | (world[:, 1] < -80))]
    outer = midline[np.linalg.norm(midline - [0, -18, 5], axis=1) > 62]
    angle = np.arctan2(outer[:, 2] - 5, outer[:, 1] + 18)
    ring = [outer[(angle > a) & (angle <= a + 0.1)] for a in np.arange(0.2, 3.4, 0.1)]
    sagittal = [one[np.linalg.norm(one - [0, -18, 5], axis=1).argmax()] + [0, 0, 2] for one in ring if len(one)]

    def nearest(point):
        return world[np.linalg.norm(world - point, axis=1).argmin()]

    transverse = [nearest(one) for one in ((4, -105, -8), (30, -95, -18), (52, -75, -26), (60, -52, -32))]
    cortical = [
        ([nearest((75 * np.sin(a), y, 5 + 85 * np.cos(a))) for a in np.linspace(0.2, 1.5, 9)], CORTICAL_RADIUS_MM)
        for y in (-80, -60, -40, -20, 0, 20, 40)
    ]
    veins = [
        (np.array(sagittal), SAGITTAL_RADIUS_MM),
        *both([(transverse, TRANSVERSE_RADIUS_MM), *cortical, CHOROID_PLEXUS]),
        (np.array(STRAIGHT_SINUS[0]), STRAIGHT_SINUS[1]),
    ]

    def draw(tubes):
        return _draw(tubes, inside.shape, to_voxel)

    middle = both(ARTERIES[1:4])
    return (
        inside.astype(np.float32),
        draw(both(ARTERIES)),
        draw(veins),
        tuple(draw([tube for tube in middle if tube[0][-1, 0] * side > 0]) for side in (-1, 1)),
        affine,
    )


def _draw(tubes, shape, to_voxel):
    """Tubes as shares of 1 mm voxels: 1 inside, falling to 0 within one voxel of the wall."""
    share = np.zeros(shape, dtype=np.float32)
    for course, radius in tubes:
        course = np.asarray(course, dtype=float) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        for one, other in itertools.pairwise(course):
            low = np.maximum(0, np.floor(np.minimum(one, other) - radius - 1)).astype(int)
            high = np.minimum(shape, np.ceil(np.maximum(one, other) + radius + 2)).astype(int)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            points = np.stack(
                np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1
            )
            along = np.clip(((points - one) @ (other - one)) / max(1e-9, (other - one) @ (other - one)), 0, 1)
            distance = np.linalg.norm(points - one - along[..., None] * (other - one), axis=-1)
            share[box] = np.maximum(share[box], np.clip(radius + 0.5 - distance, 0, 1))
    return share
