"""Non-contrast CT of invented patients: the template bent by a random smooth warp that is not the same on both sides,
sulci and ventricles widened unevenly, beam hardening, correlated noise, and infarcts of known regions and depth.

What a left/right comparison meets in real heads is put in on purpose: folding that differs between the sides, fluid of
different width, a density tilt across the head, old infarcts, and affine registration that cannot follow the warp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.template import load_label_map, load_template
from tasks.anatomy import ASPECTS_REGIONS

GREY_HU, WHITE_HU, FLUID_HU = 37.0, 28.0, 8.0
PADDING = 16  # voxels of 1 mm around the template, for skull and scalp
SUBSLICES = 3  # samples through a slice: thick slices mix tissues


@dataclass(frozen=True, eq=False)
class Patient:
    """An invented scan and what is true of it.

    ``affected`` holds region -> drop of grey matter in HU, on ``side``; empty where nothing is affected.
    """

    values: np.ndarray
    affine: np.ndarray
    template_to_scan: np.ndarray
    side: str
    affected: dict[str, float]
    old_infarct: str | None


@lru_cache(maxsize=1)
def _anatomy():
    """Tissue shares, fluid widened by 3 mm, skull distance and labels on the padded template grid."""
    template = load_template()
    pad = ((PADDING, PADDING),) * 3
    grey, white, csf = (np.pad(one, pad) for one in (template.grey, template.white, template.csf))
    brain = np.pad(template.brain, pad)
    wide = np.where(brain, ndimage.grey_dilation(csf, footprint=_ball(3)), 0).astype(np.float32)
    distance = ndimage.distance_transform_edt(~brain)
    depth = ndimage.distance_transform_edt(brain).astype(np.float32)
    labels = np.pad(load_label_map("territory").labels, pad)
    affine = template.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ ([PADDING] * 3)
    return grey, white, csf, wide, brain, distance, depth, labels, affine


def _ball(radius):
    grid = np.ogrid[tuple(slice(-radius, radius + 1) for _ in range(3))]
    return sum(axis**2 for axis in grid) <= radius**2


def smooth_field(rng, shape, fwhm_mm, step=6):
    """A Gaussian random field of standard deviation 1 on a 1 mm grid, made on a coarse grid and enlarged."""
    coarse = [size // step + 2 for size in shape]
    field = ndimage.gaussian_filter(rng.normal(size=coarse), fwhm_mm / 2.355 / step, mode="wrap")
    field /= field.std()
    zoomed = ndimage.zoom(field.astype(np.float32), step, order=1, grid_mode=True, mode="nearest")
    return zoomed[tuple(slice(0, size) for size in shape)]


def make_patient(
    seed,
    *,
    affected=None,
    side=None,
    warp_mm=None,
    tilt_hu=None,
    noise_hu=None,
    shape=(200, 240, 30),
    spacing=(0.9, 0.9, 5.0),
):
    """One invented patient; ``affected`` (region -> drop in HU) and ``side`` are drawn where not given."""
    rng = np.random.default_rng(seed)
    grey, white, csf, wide, brain, distance, depth, labels, affine = _anatomy()
    warp_mm = rng.uniform(1.5, 3.5) if warp_mm is None else warp_mm
    tilt_hu = rng.uniform(0, 1) if tilt_hu is None else tilt_hu
    noise_hu = rng.uniform(3, 6) if noise_hu is None else noise_hu
    if side is None:
        side = ("left", "right")[rng.integers(2)]
    if affected is None:
        n = int(rng.choice([0, 0, 1, 2, 3, 4, 6, 9]))
        base = rng.uniform(2, 8)
        affected = {
            str(region): float(np.clip(base + rng.normal(), 2, 9))
            for region in rng.choice(ASPECTS_REGIONS, n, replace=False)
        }
    widening = np.clip(0.35 + 0.2 * smooth_field(rng, csf.shape, 40), 0, 1)  # older patients, unevenly
    fluid = csf + widening * (wide - csf)
    scale = (1 - fluid) / np.maximum(1 - csf, 0.05)
    hu = (GREY_HU * grey + WHITE_HU * white) * np.minimum(scale, 1) + FLUID_HU * fluid
    hu += np.where(brain, 0.5 * smooth_field(rng, csf.shape, 30) * (1 - fluid), 0)  # tissue differs a little by place
    offset = 10 if side == "left" else 0
    for region, drop in affected.items():
        inside = labels == offset + 1 + ASPECTS_REGIONS.index(region)
        if region.startswith("m"):  # a random half-space keeps 60 to 100 % of a cortical region
            position = np.argwhere(inside) @ rng.normal(size=3)
            kept = position <= np.quantile(position, rng.uniform(0.6, 1))
            part = np.zeros_like(inside)
            part[inside] = kept
        else:
            part = inside
        soft = ndimage.gaussian_filter(part.astype(np.float32), 2)
        hu -= drop * soft * (grey + 0.7 * white) * np.minimum(scale, 1)
    old = None
    if rng.uniform() < 0.15:  # an old infarct on either side
        old_side = ("left", "right")[rng.integers(2)]
        old = str(rng.choice(ASPECTS_REGIONS))
        index = (10 if old_side == "left" else 0) + 1 + ASPECTS_REGIONS.index(old)
        centre = rng.permutation(np.argwhere(labels == index))[0]
        radius = rng.uniform(5, 10)
        grid = np.ogrid[tuple(slice(0, size) for size in hu.shape)]
        near = sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) < radius**2
        hu = np.where(near & brain, FLUID_HU + 2, hu)
        old = f"{old_side}_{old}"
    x_mm = affine[0, 0] * np.arange(hu.shape[0])[:, None, None] + affine[0, 3]
    tilt = rng.normal(0, tilt_hu) * x_mm / 60 + rng.normal(0, tilt_hu / 2) * smooth_field(rng, hu.shape, 90)
    hu = hu + tilt + 3 * np.exp(-depth / 8)  # beam hardening under the bone
    hu = np.where(brain, hu, -1000.0)
    hu[(distance > 0) & (distance <= 3)] = FLUID_HU
    hu[(distance > 3) & (distance <= 9)] = 900
    hu[(distance > 9) & (distance <= 13)] = 40

    truth = np.eye(4)
    angles = rng.normal(0, 6, 3)
    stretch = rng.uniform(0.82, 0.95) * (1 + rng.normal(0, 0.03, 3))
    truth[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(stretch)
    truth[:3, 3] = rng.normal(0, 5, 3)
    grid = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    grid[:3, 3] = (truth @ [0, -18, 8, 1])[:3] - grid[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    sub = np.diag([1, 1, 1 / SUBSLICES, 1.0])
    sub[2, 3] = -(SUBSLICES - 1) / 2 / SUBSLICES
    to_source = np.linalg.inv(affine) @ np.linalg.inv(truth) @ grid @ sub
    fine = (*shape[:2], shape[2] * SUBSLICES)
    index = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in fine), indexing="ij", sparse=True)
    coordinates = [
        (row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]).astype(np.float32)
        + _stretched(_bend(rng, tuple(size // 2 for size in fine), warp_mm), fine)
        for row in to_source[:3]
    ]
    values = ndimage.map_coordinates(hu.astype(np.float32), coordinates, order=1, cval=-1000)
    values = values.reshape(*shape, SUBSLICES).mean(axis=3)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (0.7, 0.7, 0))
    values += noise_hu / noise.std() * noise
    return Patient(values.astype(np.float32), grid, truth, side if affected else "", affected, old)


def _bend(rng, shape, warp_mm):
    """Displacement along one axis on half the grid, mm: a wide and a narrow component."""
    return warp_mm * smooth_field(rng, shape, 14, step=3) + warp_mm / 3 * smooth_field(rng, shape, 6, step=2)


def _stretched(field, shape):
    return ndimage.zoom(field, [big / small for big, small in zip(shape, field.shape, strict=True)], order=1)
