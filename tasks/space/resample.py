"""Resampling by one composed affine: images linearly, labels by nearest neighbour.

A *grid* is a shape and an affine (voxel -> world, RAS, mm). A transform carries world points of the output grid to the
world of the input; with ``Registration.matrix`` a scan comes onto the template grid, with
``Registration.moving_to_fixed`` a label map comes onto the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import nibabel as nib
import numpy as np
import numpy.typing as npt

from tasks.arrays import Affine, AnyArray, Element, Float32Array
from tasks.space.affines import voxel_sizes_mm, voxel_volume_mm3


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie.

    Attributes
    ----------
    shape : voxels along each axis
    affine : (4, 4) float array, voxel -> world, RAS, mm

    Raises
    ------
    ValueError
        The shape is not three positive sizes, or the affine is not finite and invertible.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        problems = []
        if len(self.shape) != 3 or min(self.shape) < 1:
            problems.append(f"shape must be three sizes > 0, got {self.shape}. Give the shape of one volume.")
        if not _is_invertible(self.affine):
            problems.append("affine must be a finite and invertible (4, 4) array. Give the image's own affine.")
        if problems:
            raise ValueError(" ".join(problems))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Size of a voxel along each axis, mm."""
        x, y, z = voxel_sizes_mm(self.affine).tolist()
        return x, y, z

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel, mm3."""
        return voxel_volume_mm3(self.affine)

    @property
    def orientation(self) -> str:
        """Axis codes, such as LAS."""
        return "".join(nib.aff2axcodes(self.affine))  # type: ignore[no-untyped-call]


def resample_image(
    image: AnyArray, affine: Affine, grid: Grid, grid_to_image: Affine, *, outside: float = 0.0
) -> Float32Array:
    """Linear interpolation of an image on another grid.

    Parameters
    ----------
    image : (X, Y, Z) array, any unit; a value that is not finite spreads to the voxels that touch it
    affine : (4, 4) float array of the image, voxel -> world, RAS, mm
    grid : Grid
    grid_to_image : (4, 4) float array, world of the grid -> world of the image, RAS, mm
    outside : value of voxels whose centre lies beyond the image, in the image's unit

    Returns
    -------
    float32 array of the grid's shape

    Raises
    ------
    ValueError
        The image is no volume, or a matrix cannot be inverted.
    """
    _check(image, affine, grid_to_image)
    values = np.asarray(image, dtype=np.float32)
    return np.asarray(_resample(values, affine, grid, grid_to_image, ("linear", outside)), dtype=np.float32)


def resample_labels(
    labels: npt.NDArray[Element], affine: Affine, grid: Grid, grid_to_labels: Affine
) -> npt.NDArray[Element]:
    """Nearest-neighbour labels on another grid: every value of the result is a value of the input, or 0 outside it.

    Parameters
    ----------
    labels : (X, Y, Z) bool or integer array
    affine : (4, 4) float array of the labels, voxel -> world, RAS, mm
    grid : Grid
    grid_to_labels : (4, 4) float array, world of the grid -> world of the labels, RAS, mm

    Returns
    -------
    Array of the grid's shape and of the labels' type

    Raises
    ------
    ValueError
        The labels are no volume, or a matrix cannot be inverted.
    TypeError
        The labels are not stored as integers.
    """
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers or bool, got {labels.dtype}. Round them where they are read.")
    _check(labels, affine, grid_to_labels)
    stored = labels.view(np.uint8) if labels.dtype.kind == "b" else labels
    moved = _resample(stored, affine, grid, grid_to_labels, ("nearest", 0))
    return cast(npt.NDArray[Element], moved.astype(labels.dtype, copy=False))


def _resample(image: AnyArray, affine: Affine, grid: Grid, transform: Affine, how: tuple[str, float]) -> AnyArray:
    """Resample in voxel coordinates: one affine from the grid's voxels to the image's, free of either orientation."""
    import SimpleITK as sitk  # noqa: N813 - only here: training must be importable without it

    interpolator, outside = how
    to_voxel = np.linalg.inv(affine) @ transform @ grid.affine
    to_voxel = to_voxel.round(9)  # rounding noise must not put the first voxel of a shared grid outside
    source = sitk.GetImageFromArray(np.ascontiguousarray(image.transpose(2, 1, 0)))
    between = sitk.AffineTransform(to_voxel[:3, :3].ravel().tolist(), to_voxel[:3, 3].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(size) for size in grid.shape])
    resampler.SetTransform(between)
    resampler.SetInterpolator(sitk.sitkLinear if interpolator == "linear" else sitk.sitkNearestNeighbor)
    resampler.SetDefaultPixelValue(float(outside))
    moved: AnyArray = sitk.GetArrayFromImage(resampler.Execute(source))
    return moved.transpose(2, 1, 0)


def _check(image: AnyArray, affine: Affine, transform: Affine) -> None:
    """Refuse what is no volume or cannot be inverted, every fault named."""
    problems = []
    if image.ndim != 3 or min(image.shape) < 1:
        problems.append(f"image must be a volume (X, Y, Z), got shape {image.shape}. Give one 3D image.")
    for name, matrix in (("affine", affine), ("transform", transform)):
        if not _is_invertible(matrix):
            problems.append(f"{name} must be a finite and invertible (4, 4) array. Give world coordinates in mm.")
    if problems:
        raise ValueError(" ".join(problems))


def _is_invertible(matrix: Affine) -> bool:
    """Whether a (4, 4) affine is finite and can be inverted."""
    return matrix.shape == (4, 4) and bool(np.isfinite(matrix).all()) and abs(np.linalg.det(matrix[:3, :3])) > 1e-9
