"""Normal tissue of a diffusion scan: where it is, how bright it is under the coil's shading, and how it scatters.

The *shading* is a quadratic in the logarithm of the signal. The *normalised signal* is the scan divided by it, 1 in
normal tissue; its *noise* is the robust standard deviation there, contrast between grey and white matter included.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.arrays import Float32Array, FloatArray, FloatingArray, Mask
from tasks.gaussian import MAD_TO_SIGMA

SMOOTHING_MM = 1.0  # sigma; less leaves false seeds of noise, more loses emboli (phantoms: 0.7, 1, 1.3)
#: Relative ADC of normal tissue, for the field and the noise: infarct lies below and fluid above (Helenius et al., AJNR
#: 2002;23:194-199: regional means of 0.62 to 1.09 around 0.8 x 10^-3 mm2/s).
NORMAL_ADC = (0.85, 1.3)
RIM_MM = 4.0  # from the mask's border: the rim is mixed with fluid
N_POINTS = 30_000  # voxels fitted: the ten coefficients need no more
N_TURNS = 8  # of the robust fit; the weights no longer change
#: Voxels further than this many robust standard deviations from the fit count nothing (Tukey's biweight is cut at
#: 4.685 for the efficiency at the normal distribution; less here, where an infarct may be a third of the voxels).
CUT_OFF = 3.0
#: Powers of the three axes in each term: all of degree 2 or less. A coil's field has no finer detail inside a head.
POWERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))


def normal_tissue(inside: Mask, relative_adc: Float32Array | None, spacing: FloatArray) -> Mask:
    """Brain away from its rim and, where ADC is known, neither infarct nor fluid."""
    normal = ndimage.binary_erosion(inside, ball(RIM_MM, spacing))
    if relative_adc is not None:
        normal &= (relative_adc > NORMAL_ADC[0]) & (relative_adc < NORMAL_ADC[1])
    return np.asarray(normal)


def normalised(dwi: Float32Array, inside: Mask, normal: Mask, spacing: FloatArray) -> tuple[Float32Array, float]:
    """The signal without shading, 1 in normal tissue, and the robust standard deviation there."""
    signal = smoothed(dwi / shading(dwi, normal), inside, spacing)
    values = signal[normal]
    middle, noise = float(np.median(values)), 0.0
    for _ in range(3):  # without ADC, infarct and fluid are among the values until they are cut off
        noise = MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
        values = values[np.abs(values - middle) <= 3 * noise]
        middle = float(np.median(values))
    return signal / np.float32(middle), noise / middle


def shading(image: Float32Array, normal: Mask) -> Float32Array:
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
    design = np.stack([_term(points[0], points[1], points[2], powers) for powers in POWERS], axis=1)
    logarithm: FloatArray = np.log(image.ravel()[where].astype(np.float64))
    weights = np.ones(len(where))
    coefficients: FloatingArray = np.zeros(len(POWERS))
    for _ in range(N_TURNS):
        weighted = design * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ design + 1e-9 * np.eye(len(POWERS)), weighted.T @ logarithm)
        residual = logarithm - design @ coefficients
        residual -= np.median(residual)
        spread = MAD_TO_SIGMA * np.median(np.abs(residual)) + 1e-9
        weights = np.maximum(0, 1 - (residual / (CUT_OFF * spread)) ** 2) ** 2
    x, y, z = np.ix_(*(axis.astype(np.float32) for axis in axes))
    total = np.zeros(image.shape, dtype=np.float32)
    for coefficient, powers in zip(coefficients, POWERS, strict=True):
        total += np.float32(coefficient) * _term(x, y, z, powers)
    return np.asarray(np.exp(total, out=total))


def smoothed(image: Float32Array, known: Mask, spacing: FloatArray) -> Float32Array:
    """Gaussian smoothing among the known voxels only; 0 elsewhere."""
    sigma = SMOOTHING_MM / spacing
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(known, image, 0).astype(np.float32), sigma)
    return np.asarray(np.where(known, total / np.maximum(weight, 1e-6), 0), dtype=np.float32)


def ball(radius_mm: float, spacing: FloatArray) -> Mask:
    """A ball in mm on the grid: flat where a slice is thicker than the radius."""
    reach = np.floor(radius_mm / spacing).astype(int)
    grid = np.ogrid[tuple(slice(-size, size + 1) for size in reach)]
    return np.asarray(sum((axis * step) ** 2 for axis, step in zip(grid, spacing, strict=True)) <= radius_mm**2)


def _term(x: FloatingArray, y: FloatingArray, z: FloatingArray, powers: tuple[int, int, int]) -> FloatingArray:
    """The product of powers of the coordinates."""
    return np.asarray(x ** powers[0] * y ** powers[1] * z ** powers[2])
