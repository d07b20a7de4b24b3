"""How well a registered scan looks like the template inside the brain, judged where disease does not spoil it.

An infarct, a haemorrhage or a dark cerebellum changes the contrast of its place and nothing else, a wrong pose that of
the whole brain. So the correlation of scan and synthetic scan is taken in each of 18 *parts* of the template brain (two
sides, three along either other axis), and the best third of them is averaged: a whole hemisphere may be lesion, and
of the other some parts are poor in anyone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tasks.arrays import Affine
from tasks.registration.solver import MovingLevel, sample
from tasks.registration.target import Level, Target

#: Planes between the parts, template world mm: the mid-plane; thirds of the brain's length; below the basal ganglia and
#: above the thalamus.
CUTS_MM = ((0.0,), (-50.0, 5.0), (-10.0, 25.0))
#: The middle of the three: 4 mm of smoothing leave sulci and nuclei, and little of noise and of the folds that differ
#: between people. On phantoms the gap between right and wrong poses is twice that of 2 mm.
PYRAMID_LEVEL = 1
LEAST_PART_SHARE = 0.25  # of the mean part's points in both brains: fewer correlate by chance
INSIDE = 0.5  # of a smoothed mask


def tissue_agreement(moving: tuple[MovingLevel, ...], target: Target, warp: Affine) -> float:
    """Mean correlation of the tissue channel over the best third of the brain's parts.

    Parameters
    ----------
    moving : levels of the scan, of ``tasks.registration.solver.moving_levels``
    target : the template prepared for the scan's modality
    warp : (4, 4) array, template world -> scan world

    Returns
    -------
    float in [-1, 1]; 0 where no part is in view.
    """
    level, seen = target.levels[PYRAMID_LEVEL], moving[PYRAMID_LEVEL]
    sampled, is_inside = sample(seen.channels, seen.world_to_voxel @ warp, level.points)
    brain = level.values[0] > INSIDE
    both = is_inside & (sampled.real > INSIDE) & brain
    parts = _parts(level)
    least = LEAST_PART_SHARE * brain.sum() / (parts.max() + 1)
    found = [
        _correlation(sampled.imag[chosen], level.values[1][chosen])
        for part in range(parts.max() + 1)
        if (chosen := both & (parts == part)).sum() >= least
    ]
    best = sorted(found, reverse=True)[: math.ceil(len(found) / 3)]
    return float(np.mean(best)) if best else 0.0


def _parts(level: Level) -> npt.NDArray[np.intp]:
    """Number of the part in which each point of a level lies."""
    parts = np.zeros(len(level.points), dtype=np.intp)
    for axis, cuts in enumerate(CUTS_MM):
        parts = parts * (len(cuts) + 1) + np.digitize(level.points[:, axis], cuts)
    return parts


def _correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Pearson's correlation; 0 where either is constant."""
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
