"""Nonlinear refinement of an affine registration: a smooth displacement of the template, found by Gauss-Newton.

The affine result leaves a few millimetres between a brain and the template, most of all at wide ventricles and
fissures. Here every point of a lattice over the template looks for the shift that explains the residual of mask and
tissue in a Gaussian window around it (Lucas and Kanade, IJCAI 1981:674-679), with the channels, gradients and robust
weights of ``tasks.registration.solver``. Where a window holds no edge, damping keeps the lattice still; smoothing the
whole displacement after every step keeps it from folding. Nothing is random.

A template point ``x`` lies in the scan at ``matrix @ (x + displacement(x))``, and a scan point ``y`` in the template at
``z + inverse(z)`` with ``z = matrix^-1 @ y``. World coordinates are RAS, mm. Functions resample once, as
``tasks.space.resample`` does for the affine transform alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from tasks.arrays import Affine, AnyArray, Element, Float32Array, FloatArray
from tasks.brain import Brain
from tasks.gaussian import MAD_TO_SIGMA
from tasks.registration.affine import Registration
from tasks.registration.solver import (
    CAUCHY_WIDTH,
    CHANNEL_WEIGHT,
    MINIMUM_SCALE,
    MovingLevel,
    moving_levels,
    sample,
)
from tasks.registration.target import Level, Target
from tasks.space.affines import voxel_sizes_mm
from tasks.space.resample import Grid
from tasks.space.working_grid import WorkingScan

#: Window, damping and smoothing: of eleven settings the one with the least error on phantoms of the template (5 mm
#: slices, noise, infarct, white matter disease and cupping), six warped by a known 3 mm and three not warped at all.
WINDOW_MM = 12.0  # sigma
WINDOW_DAMPING = 0.1  # of the mean information in a window
FIELD_SMOOTHING_MM = 6.0  # sigma, of the whole displacement after every step
N_STEPS = 6  # at each of the two finer levels; ten gain 0.05 mm on the phantoms
N_INVERSIONS = 12  # fixed-point steps; each reduces the rest by the steepest gradient, at most about one half
PAD = 3  # lattice points around the brain, in which the displacement fades
SYMMETRIC = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # elements of a normal matrix


@dataclass(frozen=True, eq=False)
class Refinement:
    """A displacement of the template's points beneath an affine transform, and its inverse.

    Attributes
    ----------
    matrix : (4, 4) float array, template world -> scan world, RAS, mm
        The affine transform that is refined.
    displacement : (X, Y, Z, 3) float32 array, mm, RAS
        Template point -> template point, before ``matrix``.
    inverse : (X, Y, Z, 3) float32 array, mm, RAS
        What takes a displaced point back.
    affine : (4, 4) float array
        Voxel of both arrays -> template world, RAS, mm.
    mean_mm, largest_mm : float
        Length of the displacement inside the template brain, and its largest anywhere.
    smallest_volume_ratio : float
        Of the lattice's cells, displaced over plain.
    reason : str
        Empty, or ``refinement_folded``: use the affine transform.
    detail : str
        The reason with its measured value, the rule and the remedy; empty without a reason.
    """

    matrix: Affine
    displacement: Float32Array
    inverse: Float32Array
    affine: Affine
    mean_mm: float
    largest_mm: float
    smallest_volume_ratio: float
    reason: str
    detail: str


def refine(scan: WorkingScan, brain: Brain, target: Target, registration: Registration) -> Refinement:
    """Refine an affine registration; the same input gives the same bytes, whatever the number of threads.

    Parameters
    ----------
    scan, brain, target : what was registered
    registration : Registration
        Its result.

    Raises
    ------
    ValueError
        Nothing was registered.
    """
    matrix = registration.matrix
    displacement, affine = np.zeros((2, 2, 2, 3), dtype=np.float32), target.affine
    for level, moving in zip(target.levels[1:], moving_levels(scan, brain.mask, target)[1:], strict=True):
        points, lattice = _lattice(level)
        displacement, affine = _on_lattice(displacement, affine, lattice), lattice.affine
        for _ in range(N_STEPS):
            displacement = _step(displacement, points, affine, level, (moving, matrix))
    to_voxel: FloatArray = np.asarray(np.linalg.inv(affine[:3, :3]), dtype=np.float64)
    gradients = [np.stack([*np.gradient(displacement[..., axis])], axis=-1) @ to_voxel for axis in range(3)]
    ratio = float(np.linalg.det(np.stack(gradients, axis=-2) + np.eye(3)).min())
    length = np.linalg.norm(displacement, axis=-1)
    folded = f"smallest_volume_ratio must be > 0, got {ratio:.2f}. Use the affine transform and check the scan by eye."
    return Refinement(
        matrix=matrix,
        displacement=displacement,
        inverse=_inverted(displacement, to_voxel),
        affine=affine,
        mean_mm=float(length[points].mean()),
        largest_mm=float(length.max()),
        smallest_volume_ratio=ratio,
        reason="" if ratio > 0 else "refinement_folded",
        detail="" if ratio > 0 else folded,
    )


def labels_to_template(
    labels: npt.NDArray[Element], affine: Affine, grid: Grid, refinement: Refinement
) -> npt.NDArray[Element]:
    """Labels drawn on a scan on the template's grid, nearest neighbour.

    Parameters
    ----------
    labels : (X, Y, Z) integer or bool array on the scan
    affine : (4, 4) float array of the labels, voxel -> scan world, RAS, mm
    grid : Grid
        The template's.
    refinement : Refinement
    """
    chain = _to_template(affine, grid, refinement)
    moved = _resample(_stored(labels), grid, chain)
    return cast(npt.NDArray[Element], moved.astype(labels.dtype, copy=False))


def _to_template(affine: Affine, grid: Grid, refinement: Refinement) -> tuple[Affine, Float32Array, Affine]:
    """Template voxel -> lattice, displacement, lattice -> voxel of the scan."""
    onward = np.linalg.inv(affine) @ refinement.matrix @ refinement.affine
    to_lattice = np.linalg.inv(refinement.affine) @ grid.affine
    return to_lattice, _in_voxels(refinement.displacement, refinement), onward


def _in_voxels(field: Float32Array, refinement: Refinement) -> Float32Array:
    """A displacement in voxels of its lattice."""
    return np.asarray(field @ np.linalg.inv(refinement.affine[:3, :3]).T, dtype=np.float32)


def _lattice(level: Level) -> tuple[tuple[npt.NDArray[np.intp], ...], Grid]:
    """The index of each of a level's points on a lattice with some room around them, and that lattice."""
    to_voxel = np.linalg.inv(level.lattice)
    index = np.rint(level.points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(np.intp)
    first = index.min(axis=0) - PAD
    shift = np.eye(4)
    shift[:3, 3] = first
    nx, ny, nz = (int(size) for size in index.max(axis=0) + 1 + PAD - first)
    return tuple((index - first).T), Grid((nx, ny, nz), level.lattice @ shift)


def _on_lattice(field: Float32Array, affine: Affine, lattice: Grid) -> Float32Array:
    """A displacement on another lattice, linear."""
    to_old = np.linalg.inv(affine) @ lattice.affine
    parts = [
        ndimage.affine_transform(
            field[..., axis], to_old[:3, :3], to_old[:3, 3], lattice.shape, order=1, mode="nearest"
        )
        for axis in range(3)
    ]
    return np.stack(parts, axis=-1)


def _step(
    field: Float32Array,
    points: tuple[npt.NDArray[np.intp], ...],
    affine: Affine,
    level: Level,
    side: tuple[MovingLevel, Affine],
) -> Float32Array:
    """One Gauss-Newton step of all lattice points, then the smoothing."""
    moving, matrix = side
    places = np.asfortranarray(level.points + field[points])
    sampled, is_inside = sample(moving.channels, moving.world_to_voxel @ matrix, places)
    sums: Float32Array = np.zeros((9, *field.shape[:3]), dtype=np.float32)
    for channel, values in enumerate((sampled.real, sampled.imag)):
        residual = (values - level.values[channel]) * is_inside
        spread = float(np.median(np.abs(residual[is_inside]))) if is_inside.any() else 0.0
        scale = max(MINIMUM_SCALE, MAD_TO_SIGMA * spread)
        squared = (residual / np.float32(CAUCHY_WIDTH * scale)) ** 2
        weight = is_inside * np.float32(CHANNEL_WEIGHT[channel] / scale**2) / (1 + squared)
        gradient = level.jacobian[channel, :, 9:].T
        for row, (i, j) in enumerate(SYMMETRIC):
            sums[row][points] += weight * gradient[i] * gradient[j]
        for i in range(3):
            sums[6 + i][points] += weight * gradient[i] * residual
    spacing = voxel_sizes_mm(affine)
    window = [ndimage.gaussian_filter(one, WINDOW_MM / spacing, truncate=3.0)[points] for one in sums]
    normal: FloatArray = np.empty((len(places), 3, 3))
    for row, (i, j) in enumerate(SYMMETRIC):
        normal[:, i, j] = normal[:, j, i] = window[row]
    normal += WINDOW_DAMPING * float(np.trace(normal, axis1=1, axis2=2).mean()) / 3 * np.eye(3)
    changed = field.copy()
    changed[points] -= np.linalg.solve(normal, np.stack(window[6:], axis=1)[..., None])[..., 0].astype(np.float32)
    smooth = [
        ndimage.gaussian_filter(changed[..., axis], FIELD_SMOOTHING_MM / spacing, truncate=3.0) for axis in range(3)
    ]
    return np.stack(smooth, axis=-1)


def _inverted(field: Float32Array, to_voxel: Affine) -> Float32Array:
    """The displacement that takes displaced points back, by fixed-point steps."""
    inverse = np.zeros_like(field)
    grid = np.indices(field.shape[:3]).astype(np.float32)
    for _ in range(N_INVERSIONS):
        places = grid + np.moveaxis(inverse @ to_voxel.T.astype(np.float32), -1, 0)
        parts = [ndimage.map_coordinates(field[..., axis], places, order=1, mode="nearest") for axis in range(3)]
        inverse = -np.stack(parts, axis=-1)
    return inverse


def _stored(labels: AnyArray) -> AnyArray:
    """Labels as SimpleITK takes them."""
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers or bool, got {labels.dtype}. Round them where they are read.")
    return labels.view(np.uint8) if labels.dtype.kind == "b" else labels


def _resample(labels: AnyArray, grid: Grid, chain: tuple[Affine, Float32Array, Affine]) -> AnyArray:
    """Nearest labels, in voxel coordinates: to the lattice, displaced there, and on to the labels, in one step."""
    to_lattice, field, onward = chain
    composite = sitk.CompositeTransform(3)
    for one in (onward, field, to_lattice):  # the last one added comes first
        if one.ndim == 2:
            composite.AddTransform(sitk.AffineTransform(one[:3, :3].ravel().tolist(), one[:3, 3].tolist()))
        else:
            vectors = sitk.GetImageFromArray(np.ascontiguousarray(one.transpose(2, 1, 0, 3), np.float64), isVector=True)
            composite.AddTransform(sitk.DisplacementFieldTransform(vectors))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(size) for size in grid.shape])
    resampler.SetTransform(composite)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    source = sitk.GetImageFromArray(np.ascontiguousarray(labels.transpose(2, 1, 0)))
    moved: AnyArray = sitk.GetArrayFromImage(resampler.Execute(source))
    return moved.transpose(2, 1, 0)
