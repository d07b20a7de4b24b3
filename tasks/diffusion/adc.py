"""The apparent diffusion coefficient (ADC) on the grid of the diffusion-weighted scan, and whether its scale is right.

*b-high* is the scan with diffusion weighting of b = 800 to 1,500 s/mm2, *b0* the one without. ADC is in 10^-3 mm2/s; 0
means unknown, as scanners store it outside the head. ``affine`` is voxel -> world, RAS, mm.

The scale is checked on the patient's own normal tissue, and an ADC that fails is refused, never fixed: a b0 stored k
times too bright adds ``ln(k) / b`` to every ADC, a wrong b-value multiplies every ADC, and one measured number cannot
tell which it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.arrays import Affine, Float32Array, Mask
from tasks.space.resample import Grid, resample_image

AdcSource = Literal["stored", "computed", ""]

#: Where the commonest ADC of a brain must lie, 10^-3 mm2/s: regional means of healthy adults are 0.62 (lowest of white
#: matter) to 1.09 (highest of cortex); Helenius et al., AJNR 2002;23:194-199.
NORMAL_ADC_LIMITS = (0.6, 1.1)
#: The peak is looked for in this range, 10^-3 mm2/s: free water at body temperature has 3.0, and negative values arise
#: where b0 is darker than b-high.
ADC_RANGE = (-2.0, 4.0)
ADC_BIN = 0.02  # 10^-3 mm2/s: a fifth of the difference between white matter and cortex
PEAK_SMOOTHING_BINS = 5  # 0.1 x 10^-3 mm2/s: grey and white matter make one peak
#: Share of the brain in which ADC must be known: noise and signal loss leave a few per cent unknown, a scan of another
#: part of the head leaves more.
MINIMUM_OVERLAP = 0.8
MINIMUM_PEAK_VOXELS = 100  # fewer make no peak


@dataclass(frozen=True, eq=False)
class AdcMap:
    """An ADC on the grid of b-high.

    Attributes
    ----------
    values : (X, Y, Z) float32 array, 10^-3 mm2/s, 0 where unknown; None where it is refused
    source : ``stored`` (a map of the scanner), ``computed`` (from b0 and b-high), or empty without ADC
    normal_adc : float, 10^-3 mm2/s
        The commonest value in the brain; null where it was not measured.
    overlap : float in [0, 1]
        Share of the brain with a known ADC; null where it was not measured.
    reason : str
        Empty, or why there is no ADC: ``adc_missing`` (neither a map nor b0), ``b_value_missing``,
        ``adc_does_not_overlap``, ``adc_scale_implausible``.
    detail : str
        The reason with its measured value and the remedy. Also tells why a stored map was passed over.
    """

    values: Float32Array | None
    source: AdcSource
    normal_adc: float | None
    overlap: float | None
    reason: str
    detail: str


def compute_adc(b0: Float32Array, b_high: Float32Array, b_value_s_per_mm2: float) -> Float32Array:
    """ADC of two scans on one grid: ``ln(S0 / Sb) / b``.

    Parameters
    ----------
    b0, b_high : (X, Y, Z) arrays in one unit
    b_value_s_per_mm2 : diffusion weighting of ``b_high``, s/mm2

    Returns
    -------
    (X, Y, Z) float32 array, 10^-3 mm2/s; 0 where either signal is not positive.

    Raises
    ------
    ValueError
        The shapes differ or the b-value is not positive.

    References
    ----------
    Stejskal EO, Tanner JE. J Chem Phys 1965;42:288-292.
    """
    problems = []
    if b0.shape != b_high.shape:
        problems.append(f"b0 must have the shape of b_high {b_high.shape}, got {b0.shape}. Resample it first.")
    if not (np.isfinite(b_value_s_per_mm2) and b_value_s_per_mm2 > 0):
        problems.append(
            f"b_value_s_per_mm2 must be > 0 s/mm2, got {b_value_s_per_mm2:g} s/mm2. Read the scan's header."
        )
    if problems:
        raise ValueError(" ".join(problems))
    is_known = (b0 > 0) & (b_high > 0)
    ratio = np.ones(b0.shape, dtype=np.float32)
    np.divide(b0, b_high, out=ratio, where=is_known)
    return np.asarray(np.log(ratio) * np.float32(1000 / b_value_s_per_mm2), dtype=np.float32)


def adc_on_grid(
    b_high: Float32Array,
    grid: Grid,
    brain_mask: Mask,
    *,
    stored: tuple[Float32Array, Affine] | None = None,
    b0: tuple[Float32Array, Affine] | None = None,
    b_value_s_per_mm2: float | None = None,
) -> AdcMap:
    """The ADC of a patient on the grid of b-high: the stored map, else one computed from b0.

    A stored map that is refused gives way to a computed one.

    Parameters
    ----------
    b_high : (X, Y, Z) float32 array
    grid : Grid of ``b_high``
    brain_mask : (X, Y, Z) bool array on that grid
    stored : ADC and its affine, 10^-3 mm2/s
    b0 : the scan without diffusion weighting and its affine
    b_value_s_per_mm2 : diffusion weighting of ``b_high``, s/mm2

    Raises
    ------
    ValueError
        The shapes differ, or an image cannot be resampled.
    """
    if b_high.shape != grid.shape or brain_mask.shape != grid.shape:
        raise ValueError(
            f"b_high and brain_mask must have the grid's shape {grid.shape}, got {b_high.shape} and {brain_mask.shape}."
        )
    refused: list[AdcMap] = []
    if stored is not None:
        found = _checked(_on_grid(stored, grid), brain_mask, "stored")
        if not found.reason:
            return found
        refused.append(found)
    if b0 is not None and b_value_s_per_mm2 is None:
        detail = "b_value_s_per_mm2 must be known to compute an ADC from b0, got none. Give it with the scan."
        refused.append(AdcMap(None, "", None, None, "b_value_missing", detail))
    elif b0 is not None and b_value_s_per_mm2 is not None:
        found = _checked(compute_adc(_on_grid(b0, grid), b_high, b_value_s_per_mm2), brain_mask, "computed")
        if not found.reason:
            return replace(found, detail=" ".join(one.detail for one in refused))
        refused.append(found)
    if not refused:
        detail = "an ADC map or a b0 scan must be given to use ADC, got neither. Give one of them."
        return AdcMap(None, "", None, None, "adc_missing", detail)
    return replace(refused[0], detail=" ".join(one.detail for one in refused))


def normal_adc(adc: Float32Array, brain_mask: Mask) -> float | None:
    """The commonest ADC of the brain, 10^-3 mm2/s: normal tissue even where fluid or infarct fill a third of it.

    Parameters
    ----------
    adc : (X, Y, Z) array, 0 where unknown
    brain_mask : (X, Y, Z) bool array

    Returns
    -------
    The peak of the smoothed histogram; None where fewer than ``MINIMUM_PEAK_VOXELS`` are known.
    """
    known = adc[brain_mask & (adc != 0)]
    low, high = ADC_RANGE
    counts, edges = np.histogram(known, bins=round((high - low) / ADC_BIN), range=ADC_RANGE)
    if counts.sum() < MINIMUM_PEAK_VOXELS:
        return None
    smooth = counts.astype(np.float64)
    for _ in range(2):
        smooth = np.convolve(smooth, np.ones(PEAK_SMOOTHING_BINS), mode="same")
    peak = int(smooth.argmax())
    return float((edges[peak] + edges[peak + 1]) / 2)


def _on_grid(image: tuple[Float32Array, Affine], grid: Grid) -> Float32Array:
    """An image on the grid, 0 outside; as it is where it already lies there."""
    values, affine = image
    if values.shape == grid.shape and np.allclose(affine, grid.affine, atol=1e-4):
        return values
    return resample_image(values, affine, grid, np.eye(4))


def _checked(adc: Float32Array, brain_mask: Mask, source: AdcSource) -> AdcMap:
    """Refuse an ADC that misses the brain or whose commonest value is no brain's."""
    n_brain = int(brain_mask.sum())
    overlap = float(((adc != 0) & brain_mask).sum() / max(1, n_brain))
    if overlap < MINIMUM_OVERLAP:
        detail = (
            f"the {source} ADC must cover >= {MINIMUM_OVERLAP:g} of the brain, got {overlap:.2f}. "
            "Check that the scans belong together."
        )
        return AdcMap(None, source, None, overlap, "adc_does_not_overlap", detail)
    peak = normal_adc(adc, brain_mask)
    low, high = NORMAL_ADC_LIMITS
    if peak is None or not low <= peak <= high:
        median = float(np.median(adc[brain_mask & (adc != 0)]))
        shown = "none" if peak is None else f"{peak:.2f}"
        detail = (
            f"the commonest {source} ADC of the brain must be {low:g} to {high:g} x 10^-3 mm2/s, got {shown} (median "
            f"{median:.2f}). Check that b0 and b-high are stored on one scale, and the b-value."
        )
        return AdcMap(None, source, peak, overlap, "adc_scale_implausible", detail)
    return AdcMap(adc, source, peak, overlap, "", "")
