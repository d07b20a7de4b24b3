"""What ``ncct-overlap`` sees and learns: CT without contrast agent in, six classes out, the infarct last.

The first network of paper 2 (Deep-ASPECTS, Upadhyay et al.); its second, which draws the regions, is ``region-net``.
In training the way to the template is as wrong as a registration may be, and so is the mirror-image found by it; noise,
rotation, shift and flip, as the paper names them, are drawn with every synthetic patient.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.training.pool import IGNORED, PooledPatient
from models.training.regions import SMOOTHED, misplaced
from models.training.trainer import Task
from tasks.arrays import Float32Array, Mask
from tasks.density.channels import N_NCCT_CHANNELS, ncct_channels
from tasks.segmentation import CLASSES, INFARCT

#: Least lowering of density to be learned: tissue of synthetic heads differs from that of the other side by
#: 1 to 3 HU anyway (standard deviation after smoothing by 4 mm, twelve patients).
LEAST_LOWERING_HU = 2.0

#: Of each class in the cross-entropy. An infarct is less than a hundredth of a head and hard to see: with 1.2, as on
#: diffusion MR, and misses no dearer than false voxels, 1,200 steps learned to find nothing.
WEIGHTS = (0.5, 0.8, 0.8, 0.8, 1.0, 3.0)


def _channels(patient: PooledPatient, rng: np.random.Generator | None) -> Float32Array:
    """Of a pooled patient; ``rng`` misplaces the template, and smooths as thick slices averaged to 2 mm do."""
    image = patient.ct.astype(np.float32)
    if rng is None:
        return ncct_channels(image, patient.head, patient.to_template)
    to_template = misplaced(patient.to_template, image.shape, rng)
    if rng.random() < SMOOTHED:
        image = ndimage.gaussian_filter(image, float(rng.uniform(0.3, 0.8)))
    return ncct_channels(image, patient.head, to_template)


def _labels(patient: PooledPatient) -> npt.NDArray[np.uint8]:
    """The classes; an infarct that CT does not show is nobody's to learn, and counts nowhere."""
    if float(patient.facts.get("lowering_hu", np.inf)) >= LEAST_LOWERING_HU:
        return patient.classes
    return np.where(patient.classes == INFARCT, IGNORED, patient.classes).astype(np.uint8)


def _regions(patient: PooledPatient) -> npt.NDArray[np.uint8]:
    """The ten regions of both sides, as ``density_ratio`` compares them."""
    return patient.territory


def _head(patient: PooledPatient) -> Mask:
    """As found on CT: all that the skull holds."""
    return patient.head


NCCT_TASK = Task(
    name="ncct-overlap",
    n_channels=N_NCCT_CHANNELS,
    n_classes=len(CLASSES),
    channels=_channels,
    labels=_labels,
    foreground=(INFARCT,),
    weights=WEIGHTS,
    judged_in=_head,
    regions=_regions,
)
