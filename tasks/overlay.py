"""The scoring function of Deep-ASPECTS (paper 2, section 4): a map of an infarct's probability laid over the regions.

"These overlapped regions are considered affected": by any voxel as the paper, or by a share, which is a rule's matter
(``tasks.scoring``). Counted is at every threshold at once, so that another one asks no network again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.arrays import IntegerArray

#: A probability is stored as a whole number of two hundredths: finer than its own scatter, and a byte a voxel.
STORED_STEPS = 200
OVERLAY_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # .05 to .95


@dataclass(frozen=True)
class Overlaid:
    """What lies over one region.

    Attributes
    ----------
    n_above : voxels of at least each of ``OVERLAY_THRESHOLDS``
    mean_probability : over the region; None of one without a voxel
    """

    n_above: tuple[int, ...]
    mean_probability: float | None


def overlay(stored: npt.NDArray[np.uint8], labels: IntegerArray, indices: Sequence[int]) -> tuple[Overlaid, ...]:
    """Lay a map of probabilities over regions.

    Parameters
    ----------
    stored : (X, Y, Z) uint8 array, probability in steps of ``STORED_STEPS``
    labels : (X, Y, Z) int array on the same grid
    indices : labels of the regions, > 0

    Returns
    -------
    What lies over each region, in the order of ``indices``.

    Raises
    ------
    ValueError
        The grids differ.

    Examples
    --------
    >>> probability = np.array([[[0, 100, 200]]], np.uint8)
    >>> one = overlay(probability, np.ones((1, 1, 3), int), [1])[0]
    >>> one.n_above[OVERLAY_THRESHOLDS.index(0.5)], one.mean_probability
    (2, 0.5)
    """
    if stored.shape != labels.shape:
        raise ValueError(f"labels must lie on the grid of the probabilities, {stored.shape}, got {labels.shape}.")
    width = STORED_STEPS + 1
    inside = labels > 0
    flat = labels[inside].astype(np.int64) * width + stored[inside]
    size = (max(indices, default=0) + 1) * width
    counts = np.bincount(flat[flat < size], minlength=size).reshape(-1, width)[list(indices)]
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    edges = [round(threshold * STORED_STEPS) for threshold in OVERLAY_THRESHOLDS]
    total = counts @ np.arange(width)
    return tuple(
        Overlaid(tuple(row[edges].tolist()), float(summed / STORED_STEPS / row[0]) if row[0] else None)
        for row, summed in zip(above, total, strict=True)
    )
