"""The working grid: a scan averaged over blocks of about 2 mm, on which brain extraction and registration compute.

Blocks keep the axes of the scan, so a thick slice stays one slice and nothing is interpolated. ``affine`` is voxel ->
world, RAS, mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, Mask
from tasks.space.affines import voxel_sizes_mm

#: Edge of a block, mm: half the cortex's thickness is lost below it, and a head then has under a million blocks.
BLOCK_MM = 1.8


@dataclass(frozen=True, eq=False)
class WorkingScan:
    """A scan on its working grid.

    Attributes
    ----------
    values : (X, Y, Z) float32 array, in the scan's unit
    affine : (4, 4) float array, voxel of the working grid -> world, RAS, mm
    factors : native voxels per block along each axis
    native_shape : voxels of the scan along each axis
    """

    values: Float32Array
    affine: Affine
    factors: tuple[int, int, int]
    native_shape: tuple[int, int, int]

    @property
    def spacing_mm(self) -> FloatArray:
        """Block size along each axis, mm."""
        return voxel_sizes_mm(self.affine)

    @property
    def slice_axis(self) -> int:
        """The array axis nearest to the world's vertical axis."""
        return int(np.argmax(np.abs(self.affine[2, :3]) / self.spacing_mm))


def to_working_grid(image: AnyArray, affine: Affine, limits: tuple[float, float]) -> WorkingScan:
    """Average a scan over blocks of about ``BLOCK_MM``.

    Parameters
    ----------
    image : (X, Y, Z) array; a value that is not finite counts as the lower limit
    affine : (4, 4) float array, voxel -> world, RAS, mm
    limits : values are clipped to these before averaging, in the scan's unit

    Raises
    ------
    ValueError
        The image is no volume or the affine is singular.
    """
    if image.ndim != 3 or min(image.shape) < 2:
        raise ValueError(f"image must be a volume of at least 2 voxels along each axis, got shape {image.shape}.")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError("affine must be a finite and invertible (4, 4) array. Give the image's own affine.")
    spacing = voxel_sizes_mm(affine)
    factors = [
        int(np.clip(round(BLOCK_MM / size), 1, size_voxels))
        for size, size_voxels in zip(spacing, image.shape, strict=True)
    ]
    low, high = limits
    values: AnyArray = np.nan_to_num(image, nan=low) if image.dtype.kind == "f" else image
    values = np.clip(values, low, high, dtype=np.float32, casting="unsafe")
    for axis in np.argsort(image.strides)[::-1]:  # the slowest axis first: whole rows are added
        values = _block_sums(values, int(axis), factors[axis])
    mean = np.ascontiguousarray(values)
    mean *= np.float32(1 / np.prod(factors))
    to_native = np.diag([*factors, 1.0])
    to_native[:3, 3] = (np.asarray(factors) - 1) / 2
    nx, ny, nz = image.shape
    working_affine = np.asarray(affine, dtype=np.float64) @ to_native
    return WorkingScan(mean, working_affine, (factors[0], factors[1], factors[2]), (nx, ny, nz))


def to_native_grid(mask: Mask, scan: WorkingScan) -> Mask:
    """A mask of the working grid on the scan's own voxels: every voxel takes its block's value.

    Parameters
    ----------
    mask : (X, Y, Z) bool array on the working grid
    scan : WorkingScan
        The scan that the mask belongs to.

    Returns
    -------
    bool array of the scan's native shape
    """
    native = mask
    for axis, (factor, size) in enumerate(zip(scan.factors, scan.native_shape, strict=True)):
        native = np.repeat(native, factor, axis=axis).take(np.arange(size), axis=axis) if factor > 1 else native
    return native


def _block_sums(values: Float32Array, axis: int, factor: int) -> Float32Array:
    """Sums of ``factor`` neighbours along one axis; the last block repeats the last voxel."""
    if factor == 1:
        return values
    if missing := -values.shape[axis] % factor:
        width = [(0, missing if one == axis else 0) for one in range(3)]
        values = np.pad(values, width, mode="edge")
    blocks = [values[(slice(None),) * axis + (slice(offset, None, factor),)] for offset in range(factor)]
    total = blocks[0] + blocks[1]
    for block in blocks[2:]:
        total += block
    return total
