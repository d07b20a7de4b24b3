"""A CT and a diffusion scan of the template itself, inside an invented skull, placed by a known affine."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.template import load_template

SHAPE, SPACING_MM = (112, 128, 34), (1.8, 1.8, 5.0)


@lru_cache(maxsize=1)
def _head_at_2_mm():
    """Brain mask, HU and diffusion signal of a whole head on the template's 2 mm grid."""
    template = load_template()
    step = (slice(None, None, 2),) * 3
    padding = ((12, 12), (12, 12), (12, 12))
    grey, white, csf, brain = (
        np.pad(np.asarray(one[step], dtype=np.float32), padding)
        for one in (template.grey, template.white, template.csf, template.brain)
    )
    affine = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ [12, 12, 12]
    inside = brain > 0.5
    distance = ndimage.distance_transform_edt(~inside) * 2
    hu = np.where(inside, 37 * grey + 28 * white + 10 * csf, -1000.0)
    hu[(distance > 0) & (distance <= 3)] = 8  # fluid
    hu[(distance > 3) & (distance <= 9)] = 900  # bone
    hu[(distance > 9) & (distance <= 13)] = 40  # scalp
    signal = np.where(inside, 105 * grey + 95 * white + 35 * csf, 0.0)
    signal[(distance > 9) & (distance <= 13)] = 12
    return inside, hu.astype(np.float32), signal.astype(np.float32), affine


def head_scan(modality="ct", degrees=(0, 0, 0), shift_mm=(0, 0, 0), scale=0.88, shape=SHAPE):
    """A scan of the phantom, its affine, its true brain mask, and the true template-to-scan transform (world, mm)."""
    inside, hu, signal, affine = _head_at_2_mm()
    truth = np.eye(4)
    truth[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * scale
    truth[:3, 3] = shift_mm
    grid = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])  # LPS, as CT comes
    centre = truth @ [0, -18, 8, 1]
    grid[:3, 3] = centre[:3] - grid[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    to_source = np.linalg.inv(affine) @ np.linalg.inv(truth) @ grid
    values = ndimage.affine_transform(
        hu if modality == "ct" else signal,
        to_source,
        output_shape=shape,
        order=1,
        cval=-1000 if modality == "ct" else 0,
    )
    mask = ndimage.affine_transform(inside.astype(np.uint8), to_source, output_shape=shape, order=0) > 0
    noise = np.random.default_rng(7).normal(0, 4, shape)
    values = values + noise if modality == "ct" else np.abs(values + noise)
    return values.astype(np.float32), grid, mask, truth


def mean_distance_mm(one, other):
    """Mean distance between where two transforms put the template's brain, mm."""
    template = load_template()
    points = np.argwhere(template.brain)[::5000] @ template.affine[:3, :3].T + template.affine[:3, 3]
    difference = one - other
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


def overlap(one, other):
    """Dice of two masks."""
    return 2 * (one & other).sum() / (one.sum() + other.sum())
