"""All slices of a scan as a reader scrolls them: from the lowest slice of the brain to the top of the scan.

Nothing that a program found is drawn on them and nothing is registered, so that what readers see does not depend on
what they are compared with. Pictures follow the display convention of ``tasks.views.display_plane``. Grey values keep a
scale, so that a page can window them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays import Affine, AnyArray, Float32Array, Mask
from tasks.views.display_plane import Framing, averaging, head_field, turn_for_display

READER_FRAMING = Framing(finest_mm=0.5)
#: Thinner slices are averaged to slices of this thickness: ASPECTS is read on 5 mm, and noise falls by averaging.
THICK_MM, THIN_BELOW_MM = 5.0, 4.0
CT_RANGE_HU = (-40.0, 215.0)  # one HU per grey level: all of the brain, clots and calcium; bone is white
MR_PERCENTILE = 99.9  # of the head: brighter is white
GREY_LEVELS = 255


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Slices from the lowest to the highest.

    Attributes
    ----------
    slices : tuple of (H, W) uint8 arrays
    value_range : values of grey 0 and 255, in the scan's unit
    window : smallest and largest value shown at first, in the scan's unit
    pixel_mm : edge of a pixel
    thickness_mm : from slice to slice
    is_averaged : whether each slice is the average of thinner ones
    """

    slices: tuple[npt.NDArray[np.uint8], ...]
    value_range: tuple[float, float]
    window: tuple[float, float]
    pixel_mm: float
    thickness_mm: float
    is_averaged: bool


def slice_stack(
    values: AnyArray, affine: Affine, brain: Mask, window: tuple[float, float] | None, framing: Framing = READER_FRAMING
) -> SliceStack:
    """Cut a scan into pictures.

    Parameters
    ----------
    values : (X, Y, Z) array, HU where ``window`` is given, any unit otherwise
    affine : (4, 4) float array, voxel -> world, RAS, mm
    brain : (X, Y, Z) bool array; where it is empty, the whole scan is shown
    window : HU shown at first; None for a scan without units, whose window is that of its brain
    framing : room around the brain and the finest pixel

    Raises
    ------
    ValueError
        Values and brain have different shapes, or the affine cannot be inverted.
    """
    if values.shape != brain.shape or values.ndim != 3:
        raise ValueError(
            f"values and brain must be volumes of one shape, got {values.shape} and {brain.shape}. "
            "Bring both to the scan's own grid."
        )
    turn = turn_for_display(values.shape, affine)
    shown, inside = turn.turned(values), turn.turned(brain)
    field = head_field([np.asarray(inside.any(axis=2))], turn, framing)
    n_slices, step_mm = shown.shape[2], float(turn.spacing_mm[2])
    first = int(inside.any(axis=(0, 1)).argmax())  # to the top: a mask that ends too low hides nothing
    is_averaged = step_mm < THIN_BELOW_MM and (n_slices - first) * step_mm > THICK_MM
    if is_averaged:
        n_thick = int((n_slices - first) * step_mm / THICK_MM)
        centres_mm = np.asarray(first * step_mm + (np.arange(n_thick) + 0.5) * THICK_MM, dtype=np.float64)
        along = averaging(centres_mm, n_slices, step_mm, THICK_MM)
        planes = [_thick(shown, along[[row]]) for row in range(n_thick)]
    else:
        planes = [shown[:, :, k] for k in range(first, n_slices)]
    low, high = CT_RANGE_HU if window is not None else _signal_range(values)
    grey = [np.clip((field.averaged(plane) - low) / (high - low), 0, 1) for plane in planes]
    return SliceStack(
        tuple(np.rint(GREY_LEVELS * one).astype(np.uint8) for one in grey),
        (low, high),
        window or _brain_window(values, brain, (low, high)),
        field.pixel_mm,
        THICK_MM if is_averaged else step_mm,
        is_averaged,
    )


def _thick(shown: AnyArray, weights: Any) -> Float32Array:
    """A weighted average of slices; ``weights`` is one row of a sparse matrix."""
    total = np.zeros(shown.shape[:2], dtype=np.float32)
    for k, weight in zip(weights.indices, weights.data, strict=True):
        total += weight * shown[:, :, k]
    return total


def _signal_range(values: AnyArray) -> tuple[float, float]:
    """From 0, or the darkest value below it, to nearly the brightest; never empty."""
    low = float(min(0.0, values.min()))
    lit = values[values > low]
    high = float(np.percentile(lit[:: max(1, lit.size // 500_000)], MR_PERCENTILE)) if lit.size else low
    return low, max(high, low + 1e-6)


def _brain_window(values: AnyArray, brain: Mask, limits: tuple[float, float]) -> tuple[float, float]:
    """Percentiles of the brain where there is one, else the whole range."""
    if not brain.any():
        return limits
    inside = values[brain]
    low, high = np.percentile(inside[:: max(1, inside.size // 50_000)], (1.0, 99.8))
    return (float(low), float(high)) if high > low else limits
