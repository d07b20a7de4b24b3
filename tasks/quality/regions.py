"""Whether a region lies where it should: how much of it looks like fluid, and whether network and atlas agree.

An atlas that is brought onto an old brain lays the caudate into its wide ventricles; a region of fluid says nothing of
an infarct.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.arrays import Float32Array, IntegerArray, Mask
from tasks.modality import MR_CONTRASTS, ScanContrast

#: Midway between fluid (8 HU) and white matter (28 HU), as ``tasks.density.measure`` leaves fluid out.
FLUID_BELOW_HU = 18.0
#: Of the brain's median at b-high: tissue has about 1, fluid .1 to .35 (ADC 3.0 against .8, T2 two to four times).
FLUID_BELOW_SIGNAL = 0.6
LEAST_BLOCKS = 10  # of a region: fewer say nothing
Shares = tuple[float | None, ...]


@dataclass(frozen=True)
class Placing:
    """Whether the labels of a map lie where they should, one figure a label in the order of its table.

    Attributes
    ----------
    fluid_share : share of the label that looks like fluid; None of a label too small to say
    atlas_dice : Dice of a network's label with the registered atlas's; None where the atlas itself was used
    """

    fluid_share: Shares
    atlas_dice: Shares | None = None


def looks_like_fluid(values: Float32Array, brain: Mask, contrast: ScanContrast) -> Mask:
    """Where a scan shows fluid, (X, Y, Z) bool.

    Parameters
    ----------
    values : (X, Y, Z) float32 array on the working grid, HU or signal
    brain : (X, Y, Z) bool array
    contrast : what the scan is
    """
    if contrast not in MR_CONTRASTS:
        return np.asarray(values < FLUID_BELOW_HU)
    median = float(np.median(values[brain])) if brain.any() else 0.0
    return np.asarray(values < FLUID_BELOW_SIGNAL * median)


def fluid_shares(labels: IntegerArray, fluid: Mask, indices: tuple[int, ...]) -> Shares:
    """Share of each label that is fluid; None of a label with fewer than ``LEAST_BLOCKS``."""
    whole = np.bincount(labels.ravel(), minlength=max(indices) + 1)
    wet = np.bincount(labels[fluid], minlength=max(indices) + 1)
    return tuple(float(wet[one] / whole[one]) if whole[one] >= LEAST_BLOCKS else None for one in indices)


def label_dices(one: IntegerArray, other: IntegerArray, indices: tuple[int, ...]) -> Shares:
    """Dice of each label of two maps on one grid; None where neither has it."""
    n = max(indices) + 1
    common = np.bincount(one[one == other], minlength=n)
    sizes = np.bincount(one.ravel(), minlength=n) + np.bincount(other.ravel(), minlength=n)
    return tuple(float(2 * common[index] / sizes[index]) if sizes[index] else None for index in indices)
