"""The head phantom at its plainest: one CT or diffusion-like scan from a known pose, and what to compare with."""

from __future__ import annotations

import numpy as np

from models.anatomy.register_template import template_tissues
from models.anatomy.template import load_template
from tasks.phantoms.head import Acquisition, build_head, head_pose, sample_head, scan_grid
from tasks.phantoms.perfusion_head import prepare_head
from tasks.phantoms.scans import AIR_HU, TISSUE_HU
from tasks.space.resample import resample_labels
from tests.once_per_run import once_per_run

SHAPE, SPACING_MM = (112, 128, 34), (1.8, 1.8, 5.0)
SIGNAL = {"grey": 105, "white": 95, "csf": 35, "soft": 12}


@once_per_run
def head(neck_mm=0):
    """The head whose tissues are known."""
    return build_head(template_tissues(), neck_mm=neck_mm)


@once_per_run
def perfusion_head(contrast=None):
    """The head of perfusion phantoms."""
    return prepare_head(template_tissues(contrast))


@once_per_run
def _images():
    return {"ct": head().image(TISSUE_HU, AIR_HU), "dwi": head().image(SIGNAL, 0)}


def head_scan(modality="ct", degrees=(0, 0, 0), shift_mm=(0, 0, 0), scale=0.88, shape=SHAPE):
    """A scan of the phantom, its affine, its true brain mask, and the true template-to-scan transform (world, mm).

    Slices are thin, noise is normal with a standard deviation of 4. Every call gives arrays of its own.
    """
    return tuple(one.copy() for one in _head_scan(modality, degrees, shift_mm, scale, shape))


@once_per_run
def _head_scan(modality, degrees, shift_mm, scale, shape):
    images = _images()
    truth = head_pose(degrees, shift_mm, scale)
    acquisition = Acquisition(scan_grid(truth, shape, SPACING_MM), truth, 7)
    values = sample_head(images[modality], head(), acquisition, AIR_HU if modality == "ct" else 0, n_subslices=1)
    mask = resample_labels(head().brain, head().affine, acquisition.grid, np.linalg.inv(truth))
    values = values + np.random.default_rng(7).normal(0, 4, shape)
    values = values if modality == "ct" else np.abs(values)
    return values.astype(np.float32), acquisition.grid.affine, mask, truth


def mean_distance_mm(one, other):
    """Mean distance between where two transforms put the template's brain, mm."""
    template = load_template()
    points = np.argwhere(template.brain)[::5000] @ template.affine[:3, :3].T + template.affine[:3, 3]
    difference = one - other
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


def overlap(one, other):
    """Dice of two masks."""
    return 2 * (one & other).sum() / (one.sum() + other.sum())
