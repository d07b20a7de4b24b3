"""One regular, perpendicular volume from a tilted or unevenly spaced stack.

Each slice is moved in its own plane to where it lies (gantry tilt is a shear: the slices keep their plane, which is the
plane that the radiographer chose), the matrix grows so that nothing is cut off, and along the normal the values are
interpolated linearly at even steps of the usual size. Linear, because higher orders ring at bone.
"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from cohorts.dicom.geometry import StackGeometry
from tasks.arrays import Affine, Float32Array, FloatArray
from tasks.space.affines import LPS_FROM_RAS

#: Sideways displacements below this share of a pixel are rounding of the written positions.
SUBPIXEL = 0.01


def stack_affine(geometry: StackGeometry, spacing_mm: tuple[float, float]) -> Affine:
    """Affine (column, row, slice) -> RAS mm of a stack on a regular grid; slices are spaced by their mean step."""
    step = geometry.offsets_mm[-1] / (len(geometry.offsets_mm) - 1)
    return _affine(geometry, spacing_mm, geometry.positions[0], step)


def on_grid(
    values: Float32Array, geometry: StackGeometry, spacing_mm: tuple[float, float], fill: float
) -> tuple[Float32Array, Affine]:
    """(slice, row, column) values on one regular grid, in the closest canonical orientation."""
    needs_resampling = {fault.reason for fault in geometry.faults} & {"gantry_tilt", "uneven_steps", "missing_slices"}
    if needs_resampling:
        values, affine = regular_volume(values, geometry, spacing_mm, fill)
    else:
        affine = stack_affine(geometry, spacing_mm)
    return canonical(values, affine)


def regular_volume(
    slices: Float32Array, geometry: StackGeometry, spacing_mm: tuple[float, float], fill: float
) -> tuple[Float32Array, Affine]:
    """Resample a stack to one regular volume.

    Parameters
    ----------
    slices : (N, rows, columns) float32 array, in the order of ``geometry``
    geometry : of the stack; its positions lie on one line
    spacing_mm : distance of rows, distance of columns, mm
    fill : value outside what was scanned, such as -1024 HU

    Returns
    -------
    (K, rows', columns') float32 array and the affine (column, row, slice) -> RAS mm. K covers the first to the last
    slice at steps as near to the usual one as that allows.
    """
    lateral = (geometry.positions - geometry.positions[0]) - geometry.offsets_mm[:, None] * geometry.normal
    shifts = np.stack([lateral @ geometry.column / spacing_mm[0], lateral @ geometry.row / spacing_mm[1]], axis=1)
    shifts[np.abs(shifts) < SUBPIXEL] = 0.0
    low = np.floor(shifts.min(axis=0)).astype(int)
    grow = np.ceil(shifts.max(axis=0)).astype(int) - low
    moved = np.full((len(slices), slices.shape[1] + grow[0], slices.shape[2] + grow[1]), fill, dtype=np.float32)
    for place, (image, shift) in enumerate(zip(slices, shifts, strict=True)):
        whole = np.floor(shift).astype(int)
        rest = shift - whole
        if rest.any():
            image = ndimage.shift(np.pad(image, ((0, 1), (0, 1)), constant_values=fill), rest, order=1, cval=fill)
        top, left = whole - low
        rows, columns = min(image.shape[0], moved.shape[1] - top), min(image.shape[1], moved.shape[2] - left)
        moved[place, top : top + rows, left : left + columns] = image[:rows, :columns]
    n_slices = max(round(geometry.offsets_mm[-1] / geometry.step_mm), 1) + 1
    wanted = np.linspace(0.0, geometry.offsets_mm[-1], n_slices)
    origin = geometry.positions[0] + low[0] * spacing_mm[0] * geometry.column + low[1] * spacing_mm[1] * geometry.row
    affine = _affine(geometry, spacing_mm, origin, wanted[1])
    return _interpolated(moved, geometry.offsets_mm, wanted), affine


def canonical(values: Float32Array, affine: Affine) -> tuple[Float32Array, Affine]:
    """(slice, row, column) to (X, Y, Z), axes flipped and permuted to point right, front and up."""
    image: Any = nib.as_closest_canonical(nib.Nifti1Image(values.transpose(2, 1, 0), affine))  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def _interpolated(slices: Float32Array, offsets: FloatArray, wanted: FloatArray) -> Float32Array:
    """Linear interpolation between neighbouring slices."""
    upper = np.clip(np.searchsorted(offsets, wanted), 1, len(offsets) - 1)
    weights = ((wanted - offsets[upper - 1]) / (offsets[upper] - offsets[upper - 1])).clip(0.0, 1.0)
    weights = np.where(np.abs(weights - np.round(weights)) < SUBPIXEL, np.round(weights), weights)
    volume = np.empty((len(wanted), *slices.shape[1:]), dtype=np.float32)
    for place, (above, weight) in enumerate(zip(upper, weights.astype(np.float32), strict=True)):
        volume[place] = slices[above - 1] * (1 - weight) + slices[above] * weight
    return volume


def _affine(geometry: StackGeometry, spacing_mm: tuple[float, float], origin: FloatArray, step_mm: float) -> Affine:
    """LPS axes and origin to a RAS affine."""
    affine = np.eye(4)
    affine[:3, 0] = geometry.row * spacing_mm[1]
    affine[:3, 1] = geometry.column * spacing_mm[0]
    affine[:3, 2] = geometry.normal * step_mm
    affine[:3, 3] = origin
    return LPS_FROM_RAS @ affine
