"""What ``region-net`` sees and learns: a scan of any contrast and its place in the template in, ten regions out.

The system of paper 3 draws its regions with a network (VB-Net; Cao et al., Hum Brain Mapp 2022, doi 10.1002/hbm.25845)
since an atlas is least sure in old brains. Here the network begins where the affine registration ends, coarse to fine:
it is told where in the template each voxel lies and sees the scan itself. In training the place is as wrong as a
registration may be, and a patient is shown as plain CT, as CT angiography or as diffusion MR, with the infarct in it,
each with the brain that is found on it: on CT all that the skull holds.

Both hemispheres are one to the network: the distance from the midline is given without its sign, and that sign tells
the side of what it found.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.training.pool import PooledPatient
from models.training.trainer import Task
from tasks.anatomy import ASPECTS_REGIONS
from tasks.arrays import Float32Array, FloatArray, Mask
from tasks.segmentation import N_REGION_CHANNELS, region_channels

AS_CT, AS_CTA = 0.5, 0.2  # shares of training patients that are shown as plain CT and as CT angiography
SMOOTHED = 0.5  # of both with less noise, as thick slices averaged to 2 mm have
#: Standard deviations of what a registration gets wrong; the means of affine transforms of real scans are below these.
WRONG_BY_MM, WRONG_BY_DEG, WRONG_BY_SHARE = 2.0, 2.0, 0.025
DEEP = ("caudate", "lentiform", "internal_capsule", "insula")


def _channels(patient: PooledPatient, rng: np.random.Generator | None) -> Float32Array:
    """Of a pooled patient: as CT with or without contrast agent, or as diffusion MR; as plain CT when judging."""
    to_template = patient.to_template if rng is None else misplaced(patient.to_template, patient.brain.shape, rng)
    shown = 0.0 if rng is None else rng.random()
    if shown >= AS_CT + AS_CTA:
        return region_channels(patient.b_high.astype(np.float32), patient.brain, to_template, "dwi")
    image = (patient.ct if shown < AS_CT else patient.cta).astype(np.float32)
    if rng is not None and rng.random() < SMOOTHED:
        image = ndimage.gaussian_filter(image, float(rng.uniform(0.3, 0.8)))
    return region_channels(image, patient.head, to_template, "ct")


def _head(patient: PooledPatient) -> Mask:
    """As found on CT, as which a patient is shown when judging."""
    return patient.head


def misplaced(to_template: FloatArray, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """A way to the template as wrong as a registration may be.

    Parameters
    ----------
    to_template : (3, 4) float array, voxel -> template world, mm
    shape : of the grid; turned and stretched about its middle
    rng : the same state gives the same error
    """
    turn = Rotation.from_euler("xyz", rng.normal(0, WRONG_BY_DEG, 3), degrees=True).as_matrix()
    wrong = turn @ np.diag(np.exp(rng.normal(0, WRONG_BY_SHARE, 3)))
    middle = to_template[:, :3] @ ((np.asarray(shape) - 1) / 2) + to_template[:, 3]
    shift = middle - wrong @ middle + rng.normal(0, WRONG_BY_MM, 3)
    return np.column_stack([wrong @ to_template[:, :3], wrong @ to_template[:, 3] + shift])


def _labels(patient: PooledPatient) -> npt.NDArray[np.uint8]:
    """The classic map's regions without their side: labels 1-10 lie right, 11-20 left."""
    labels = patient.classic
    return np.where(labels > len(ASPECTS_REGIONS), labels - len(ASPECTS_REGIONS), labels).astype(np.uint8)


REGION_TASK = Task(
    name="region-net",
    n_channels=N_REGION_CHANNELS,
    n_classes=1 + len(ASPECTS_REGIONS),
    channels=_channels,
    labels=_labels,
    foreground=tuple(range(1, 1 + len(ASPECTS_REGIONS))),
    weights=(0.5, *(1.5 if region in DEEP else 1.0 for region in ASPECTS_REGIONS)),
    judged_in=_head,
)
