"""The smooth shading of a receive coil on an MR scan: a quadratic in the logarithm, fitted to normal tissue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.diffusion import Image, Mask

N_POINTS = 30_000  # voxels fitted: the ten coefficients need no more
N_TURNS = 8  # of the robust fit; the weights no longer change
#: Voxels further than this many robust standard deviations from the fit count nothing (Tukey's biweight is cut at
#: 4.685 for the efficiency at the normal distribution; less here, where an infarct may be a third of the voxels).
CUT_OFF = 3.0
#: Powers of the three axes in each term: all of degree 2 or less. A coil's field has no finer detail inside a head.
POWERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))


def shading(image: Image, normal: Mask) -> Image:
    """The shading of a scan: its normal tissue as it would be without contrast, noise and lesion.

    Parameters
    ----------
    image : (X, Y, Z) float array, any unit
    normal : (X, Y, Z) bool array, voxels taken for normal tissue; some of them may be lesion

    Returns
    -------
    (X, Y, Z) float32 array, positive, in the image's unit

    Raises
    ------
    ValueError
        ``normal`` holds fewer positive voxels than the field has coefficients.
    """
    where = np.flatnonzero(normal & (image > 0))
    if len(where) < len(POWERS):
        raise ValueError(f"normal must hold >= {len(POWERS)} positive voxels, got {len(where)}. Check the brain mask.")
    where = where[:: max(1, len(where) // N_POINTS)]
    axes = [np.linspace(-1.0, 1.0, size) for size in image.shape]
    points = [axis[index] for axis, index in zip(axes, np.unravel_index(where, image.shape), strict=True)]
    design = np.stack([_term(points, powers) for powers in POWERS], axis=1)
    logarithm = np.log(image.ravel()[where].astype(np.float64))
    weights: npt.NDArray[Any] = np.ones(len(where))
    coefficients = np.zeros(len(POWERS))
    for _ in range(N_TURNS):
        weighted = design * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + 1e-9 * np.eye(len(POWERS)), weighted.T @ logarithm)
        residual = logarithm - design @ coefficients
        residual -= np.median(residual)
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-9  # of a normal distribution, from the median
        weights = np.maximum(0, 1 - (residual / (CUT_OFF * spread)) ** 2) ** 2
    grid = np.ix_(*(axis.astype(np.float32) for axis in axes))
    total = np.zeros(image.shape, dtype=np.float32)
    for coefficient, powers in zip(coefficients, POWERS, strict=True):
        total += np.float32(coefficient) * _term(grid, powers)
    return np.asarray(np.exp(total, out=total))


def _term(axes: Sequence[npt.NDArray[Any]], powers: tuple[int, ...]) -> Image:
    """The product of powers of the axes."""
    x, y, z = (axis**power for axis, power in zip(axes, powers, strict=True))
    return np.asarray(x * y * z)
