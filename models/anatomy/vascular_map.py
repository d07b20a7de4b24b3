"""Approximate territories of the cerebral arteries on the template, from stated landmarks.

The real borders vary widely between people; these are the usual sulci. ``mca`` is the cortical territory of the middle
cerebral artery with its white matter; ``mca_deep`` that of its lenticulostriate branches (striatum, capsule, the corona
radiata above them); ``pca`` holds the anterior choroidal artery's hippocampus too; ``posterior_fossa`` is cerebellum
and brainstem. The lateral ventricles belong to no territory.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from models.anatomy.landmarks import (
    RightHalf,
    anterior_border,
    deep_regions,
    largest,
    lateral_ventricle,
    mirrored,
    posterior_border,
    right_half,
)
from models.anatomy.template import LabelMap
from tasks.anatomy import HEMISPHERES, Label, LabelTable
from tasks.arrays import Mask

TERRITORIES = ("aca", "mca", "mca_deep", "pca", "posterior_fossa")


def vascular_label_table() -> LabelTable:
    """The table of the territories: labels 1-5 right, 6-10 left, in the order of ``TERRITORIES``."""
    left, right = HEMISPHERES
    return LabelTable(
        tuple(
            Label(offset + position, f"{side}_{region}", side, region, "other")
            for side, offset in ((right, 0), (left, len(TERRITORIES)))
            for position, region in enumerate(TERRITORIES, start=1)
        )
    )


def build_vascular_territories() -> LabelMap:
    """Build the ``vascular`` map on the template grid."""
    half = right_half()
    parts = {
        "posterior_fossa": _posterior_fossa(half),
        "mca_deep": _lenticulostriate(half),
        "pca": _posterior(half),
        "aca": _anterior(half),
        "mca": half.brain,
    }
    right = np.zeros(half.brain.shape, dtype=np.int16)
    free = half.brain & ~lateral_ventricle(half)
    for region, part in parts.items():  # the first territory to claim a voxel has it
        right[largest(free & part)] = TERRITORIES.index(region) + 1
        free &= ~part
    return mirrored("vascular", right, vascular_label_table())


def _posterior_fossa(half: RightHalf) -> Mask:
    """Cerebellum below the tentorium, which falls from its apex at y = -50 to all sides; brainstem below z = -16."""
    along_midline = np.interp(half.y, [-95, -80, -50, -34], [-22, -13, 2, -10])
    cerebellum = (half.y < -34) & (half.z < along_midline - 0.55 * half.x)
    brainstem = (half.x < 18) & (half.y < -12) & (half.z < -16)
    return np.asarray(half.brain & (cerebellum | brainstem))


def _lenticulostriate(half: RightHalf) -> Mask:
    """Caudate, lentiform, capsule and the corona radiata above them."""
    deep = deep_regions(half, radiata_top_mm=26.0)
    nuclei = deep["caudate"] | deep["lentiform"] | deep["internal_capsule"]
    return np.asarray(ndimage.binary_closing(nuclei, iterations=4))


def _posterior(half: RightHalf) -> Mask:
    """Thalamus, medial temporal lobe and occipital lobe behind the parieto-occipital sulcus."""
    x, y, z = half.x, half.y, half.z
    thalamus = (x < 24) & (y > -43) & (y < 4) & (z < np.where(y > -5, 8, 17))
    lateral = posterior_border(half)
    parieto_occipital = np.interp(y, [-80, -42], [45, 10])
    occipital = (y < -42) & (z < parieto_occipital) & (x < lateral)
    temporal = (y >= -42) & (y < -12) & (z < -4) & (x < np.minimum(lateral, np.interp(y, [-42, -12], [52, 36])))
    return np.asarray(half.brain & (thalamus | occipital | temporal))


def _anterior(half: RightHalf) -> Mask:
    """The medial surface up to the superior frontal and intraparietal sulci, and the corpus callosum."""
    below = np.interp(half.y, [-42, 4, 5], [8, 8, -40])
    return np.asarray(half.brain & (half.x < anterior_border(half)) & (half.z > below))
