"""The ADC on a scan's own grid: as the scanner stored it, computed from b = 0, or none."""

from __future__ import annotations

from cohorts.images.scan import ScanImage
from flows.cases.native_scan import PreparedScan
from tasks.diffusion.adc import AdcMap, adc_on_grid
from tasks.space.resample import Grid


def scan_adc(scan: PreparedScan, adc: ScanImage | None, b0: ScanImage | None, b_value_s_mm2: float) -> AdcMap:
    """The ADC of a scan.

    Parameters
    ----------
    scan : of high b-value
    adc : as the scanner stores it, where there is one
    b0 : of b = 0, from which a missing ADC is computed
    b_value_s_mm2 : of ``scan``, used where ADC is computed
    """
    image = scan.image
    return adc_on_grid(
        image.values,
        Grid(scan.shape, image.affine),
        scan.brain_mask,
        stored=None if adc is None else (adc.values, adc.affine),
        b0=None if b0 is None else (b0.values, b0.affine),
        b_value_s_per_mm2=b_value_s_mm2,
    )
