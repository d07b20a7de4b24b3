"""What ``dwi-unet`` is given of one scan, in training as in scoring: b-high, ADC and brain on the network's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cohorts.images.scan import ScanImage
from flows.cases.adc import scan_adc
from flows.cases.native_scan import PreparedScan
from tasks.arrays import Float32Array, Mask
from tasks.diffusion.adc import AdcMap
from tasks.segmentation import dwi_channels
from tasks.space.network_grid import network_grid, to_network_grid
from tasks.space.resample import Grid


@dataclass(frozen=True, eq=False)
class DwiInput:
    """A scan as the network sees it.

    Attributes
    ----------
    found : the ADC and where it came from
    grid : of 2 mm around the brain
    b_high : (X, Y, Z) float32 array on it, the scan's unit
    adc : (X, Y, Z) float32 array, 10^-3 mm2/s, 0 where unknown; None without
    brain : (X, Y, Z) bool array
    """

    found: AdcMap
    grid: Grid
    b_high: Float32Array
    adc: Float32Array | None
    brain: Mask

    @property
    def channels(self) -> Float32Array:
        """Of the network; see ``tasks.segmentation.dwi_channels``."""
        return dwi_channels(self.b_high, self.adc, self.brain)


def dwi_input(scan: PreparedScan, adc: ScanImage | None, b0: ScanImage | None, b_value_s_mm2: float) -> DwiInput:
    """Bring a prepared scan and its ADC onto the grid of a network; parameters are those of ``scan_adc``."""
    image, brain = scan.image, scan.brain_mask
    found = scan_adc(scan, adc, b0, b_value_s_mm2)
    grid = network_grid(brain, image.affine)
    return DwiInput(
        found,
        grid,
        to_network_grid(image.values, image.affine, grid),
        None if found.values is None else to_network_grid(found.values, image.affine, grid),
        to_network_grid(brain.astype(np.float32), image.affine, grid) > 0.5,
    )
