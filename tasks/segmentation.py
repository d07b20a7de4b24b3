"""What segmentation networks see and say: the channels made of a scan, and the classes told apart.

Arrays lie on one grid of 2 mm (``tasks.space.network_grid``). Training and scoring share these functions, so that a
network is asked what it has learned.
"""

from __future__ import annotations

import numpy as np

from tasks.arrays import Float32Array, FloatArray, Mask
from tasks.diffusion.adc import normal_adc

#: Classes of the networks that draw an infarct; it comes last.
CLASSES = ("outside", "fluid", "grey", "white", "chronic", "infarct")
INFARCT = CLASSES.index("infarct")
N_DWI_CHANNELS = 3
STEP_MM = 2.0  # of the grid, along every axis
Window = tuple[int, int, int]  # voxels along x, y and z
#: What a network is shown at once: a brain as a rule (``models.training.trainer.Plan.patch``).
WINDOW: Window = (80, 96, 80)
N_REGION_CHANNELS = 6
PLACE_UNIT_MM = 40.0  # half of a template brain's width
CT_UNIT_HU = 10.0  # grey and white matter differ by about this
SIGNAL_LIMITS = (-2.5, 2.5)  # of the logarithm of the relative signal
LEAST_SIGNAL = 0.05  # relative; below it is noise
LARGEST_ADC = 4.5  # relative: free water has 3.0 / 0.8
USUAL_ADC = 0.8  # 10^-3 mm2/s, where normal tissue cannot be found (Helenius et al., AJNR 2002;23:194-199)


def dwi_channels(b_high: Float32Array, adc: Float32Array | None, brain: Mask) -> Float32Array:
    """The channels of diffusion MR, (3, X, Y, Z) float32: ``ln`` of b-high over its median in the brain; ADC over the
    patient's own normal one, less one; whether there is an ADC. Outside of the brain all are 0.

    Parameters
    ----------
    b_high : (X, Y, Z) float array, any unit
    adc : (X, Y, Z) float array, 10^-3 mm2/s, 0 where unknown; None without
    brain : (X, Y, Z) bool array
    """
    channels = np.zeros((N_DWI_CHANNELS, *brain.shape), np.float32)
    if not brain.any():
        return channels
    level = float(np.median(b_high[brain]))
    ratio = b_high / np.float32(level if level > 0 else 1.0)
    channels[0] = np.where(brain, np.clip(np.log(np.maximum(ratio, LEAST_SIGNAL)), *SIGNAL_LIMITS), 0)
    if adc is not None:
        usual = normal_adc(adc, brain) or USUAL_ADC
        channels[1] = np.where(brain, np.clip(adc / np.float32(usual), 0, LARGEST_ADC) - 1, 0)
        channels[2] = brain
    return channels


def region_channels(image: Float32Array, brain: Mask, to_template: FloatArray, contrast: str) -> Float32Array:
    """The channels of ``region-net``, (6, X, Y, Z) float32: the scan in units of its own contrast, 0 outside of the
    brain; whether it is MR; the brain; distance from the midline of the template, place along its y and z, in units of
    ``PLACE_UNIT_MM``.

    Parameters
    ----------
    image : (X, Y, Z) float array; HU of CT, any unit of b-high
    brain : (X, Y, Z) bool array
    to_template : (3, 4) or (4, 4) float array, voxel -> template world, RAS, mm
    contrast : ``dwi`` for diffusion MR, anything else for CT
    """
    channels = np.zeros((N_REGION_CHANNELS, *brain.shape), np.float32)
    if not brain.any():
        return channels
    channels[2] = brain
    channels[3:] = np.clip(template_places(to_template, brain.shape) / np.float32(PLACE_UNIT_MM), -2.5, 2.5)
    np.abs(channels[3], out=channels[3])
    if contrast == "dwi":
        channels[0] = dwi_channels(image, None, brain)[0]
        channels[1] = brain
        return channels
    middle = float(np.median(image[brain]))
    channels[0] = np.where(brain, np.clip((image - middle) / CT_UNIT_HU, *SIGNAL_LIMITS), 0)
    return channels


def template_places(to_template: FloatArray, shape: tuple[int, ...]) -> Float32Array:
    """Template world of every voxel, (3, X, Y, Z) float32, mm, RAS.

    Parameters
    ----------
    to_template : (3, 4) or (4, 4) float array, voxel -> template world
    shape : of the grid
    """
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    rows = np.asarray(to_template, np.float64)[:3]
    return np.stack([(row[0] * x + row[1] * y + row[2] * z + row[3]).astype(np.float32) for row in rows])
