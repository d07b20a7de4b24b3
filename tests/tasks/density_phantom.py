"""Non-contrast CT of synthetic patients, on which the choices of ``tasks.density.measure`` were made.

The template is bent by a random smooth warp that is not the same on both sides; sulci and ventricles are widened
unevenly; beam hardening, correlated noise, infarcts of known regions and depth, and old infarcts are put in. So
everything is there that a left/right comparison meets in real heads: folding that differs between the sides, fluid of
different width, a density tilt across the head, and affine registration that cannot follow the warp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.anatomy.template import load_label_map, load_template
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, aspects_label_table
from tests.once_per_run import once_per_run

GREY_HU, WHITE_HU, FLUID_HU = 37.0, 28.0, 8.0  # common values at 120 kV
SHAPE, SPACING_MM = (200, 240, 30), (0.9, 0.9, 5.0)
SUBSLICES = 3  # samples through a slice: thick slices mix tissues
PADDING = 16  # voxels of 1 mm around the template, for skull and scalp
N_AFFECTED = (0, 0, 1, 2, 3, 4, 6, 9)  # regions, drawn alike: a quarter of the patients has no infarct
OLD_INFARCT_SHARE = 0.15
INDEX = {(label.side, label.region): label.index for label in aspects_label_table().labels}


@dataclass(frozen=True, eq=False)
class Patient:
    """A synthetic scan, HU, and what is true of it.

    ``affected`` holds region -> drop of grey matter in HU, on ``side``; empty where nothing is affected.
    """

    values: np.ndarray
    affine: np.ndarray
    side: str
    affected: dict[str, float]


class Anatomy(NamedTuple):
    """The padded template: tissue shares, fluid grown by 3 mm, distances to the brain's edge (mm), labels."""

    grey: np.ndarray
    white: np.ndarray
    fluid: np.ndarray
    wide_fluid: np.ndarray
    outside_mm: np.ndarray
    depth_mm: np.ndarray
    labels: np.ndarray
    affine: np.ndarray


@once_per_run
def anatomy():
    """Load the template, once per process."""
    template = load_template()
    brain = np.pad(template.brain, PADDING)
    fluid = np.pad(template.csf, PADDING)
    grown = ndimage.grey_dilation(fluid, footprint=_distance_from((3, 3, 3), (7, 7, 7)) <= 3)
    affine = template.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ ([PADDING] * 3)
    return Anatomy(
        np.pad(template.grey, PADDING),
        np.pad(template.white, PADDING),
        fluid,
        np.where(brain, grown, 0).astype(np.float32),
        ndimage.distance_transform_edt(~brain),
        ndimage.distance_transform_edt(brain),
        np.pad(load_label_map("territory").labels, PADDING),
        affine,
    )


def make_patient(seed):
    """Create a patient."""
    rng = np.random.default_rng(seed)
    side = str(rng.choice(["left", "right"]))
    regions = rng.choice(ASPECTS_REGIONS, rng.choice(N_AFFECTED), replace=False)
    drops = np.clip(rng.uniform(2, 8) + rng.normal(size=len(regions)), 2, 9)
    affected = {str(region): float(drop) for region, drop in zip(regions, drops, strict=True)}
    grid, truth = _pose(rng)
    values = _scan(_head(rng, side, affected), grid, truth, rng)
    return Patient(values.astype(np.float32), grid, side if affected else "", affected)


def _head(rng, side, affected):
    """HU on the padded template grid."""
    body = anatomy()
    shape = body.grey.shape
    fluid = body.fluid + np.clip(0.35 + 0.2 * _field(rng, shape, 40), 0, 1) * (body.wide_fluid - body.fluid)
    tissue = np.minimum((1 - fluid) / np.maximum(1 - body.fluid, 0.05), 1)
    hu = (GREY_HU * body.grey + WHITE_HU * body.white) * tissue + FLUID_HU * fluid
    hu += 0.5 * _field(rng, shape, 30) * (1 - fluid)  # tissue differs a little from place to place
    for region, drop in affected.items():
        part = ndimage.gaussian_filter(_part(rng, side, region).astype(np.float32), 2)
        hu -= drop * part * (body.grey + 0.7 * body.white) * tissue
    if rng.uniform() < OLD_INFARCT_SHARE:
        voxels = np.argwhere(body.labels == rng.integers(1, 21))
        hu[_distance_from(voxels[rng.integers(len(voxels))], shape) < rng.uniform(5, 10)] = FLUID_HU + 2
    x_mm = body.affine[0, 0] * np.arange(shape[0])[:, None, None] + body.affine[0, 3]
    tilt_hu = rng.uniform(0, 1)
    hu += rng.normal(0, tilt_hu) * x_mm / 60 + rng.normal(0, tilt_hu / 2) * _field(rng, shape, 90)
    hu += 3 * np.exp(-body.depth_mm / 8)  # beam hardening under the bone
    hu[body.outside_mm > 0] = FLUID_HU
    hu[body.outside_mm > 3] = 900
    hu[body.outside_mm > 9] = 40
    hu[body.outside_mm > 13] = -1000
    return hu.astype(np.float32)


def _part(rng, side, region):
    """A whole deep region, or the 60 to 100 % of a cortical one on one side of a random plane."""
    inside = anatomy().labels == INDEX[side, region]
    if region in CORTICAL_REGIONS:
        along = np.argwhere(inside) @ rng.normal(size=3)
        inside[inside] = along <= np.quantile(along, rng.uniform(0.6, 1))
    return inside


def _pose(rng):
    """A CT grid (LPS) around a head of random size, tilt and place; template -> scan, world."""
    truth = np.eye(4)
    stretch = rng.uniform(0.82, 0.95) * (1 + rng.normal(0, 0.03, 3))
    truth[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 6, 3), degrees=True).as_matrix() * stretch
    truth[:3, 3] = rng.normal(0, 5, 3)
    grid = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    grid[:3, 3] = (truth @ [0, -18, 8, 1])[:3] - grid[:3, :3] @ ((np.asarray(SHAPE) - 1) / 2)
    return grid, truth


def _scan(hu, grid, truth, rng):
    """Bend, sample through thick slices, add noise."""
    fine = (*SHAPE[:2], SHAPE[2] * SUBSLICES)
    thin = np.diag([1, 1, 1 / SUBSLICES, 1.0])
    thin[2, 3] = -(SUBSLICES - 1) / 2 / SUBSLICES
    to_source = np.linalg.inv(anatomy().affine) @ np.linalg.inv(truth) @ grid @ thin
    index = np.ogrid[tuple(slice(0, size) for size in fine)]
    warp_mm = rng.uniform(1.5, 3.5)  # beyond the affine part; narrow folds bend by a third of it
    coordinates = []
    for row in to_source[:3]:
        half = tuple(size // 2 for size in fine)
        bend = warp_mm * _field(rng, half, 14, step=3) + warp_mm / 3 * _field(rng, half, 6, step=2)
        bend = ndimage.zoom(bend, [big / small for big, small in zip(fine, half, strict=True)], order=1)
        straight = sum(factor * axis for factor, axis in zip(row[:3], index, strict=True)) + row[3]
        coordinates.append((straight + bend).astype(np.float32))
    values = ndimage.map_coordinates(hu, coordinates, order=1, cval=-1000)
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE), (0.7, 0.7, 0))
    return values.reshape(*SHAPE, SUBSLICES).mean(axis=3) + rng.uniform(3, 6) / noise.std() * noise


def _field(rng, shape, fwhm, step=6):
    """A Gaussian random field of standard deviation 1; width in voxels, made on a coarse grid and enlarged."""
    field = ndimage.gaussian_filter(rng.normal(size=[size // step + 2 for size in shape]), fwhm / 2.355 / step)
    zoomed = ndimage.zoom((field / field.std()).astype(np.float32), step, order=1, grid_mode=True, mode="nearest")
    return zoomed[tuple(slice(0, size) for size in shape)]


def _distance_from(centre, shape):
    """Distance of every voxel from one of them, voxels."""
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    return np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)))
