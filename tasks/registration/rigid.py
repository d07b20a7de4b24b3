"""Rigid alignment of two CT of the same head by its skull: robust Gauss-Newton, inverse compositional.

Values are limited to the range of bone before they are averaged on the working grid. Brain, contrast agent in thin
vessels and the head holder all fall to the lower limit, so that edges of bone decide; where no skull is left, the
outline of the brain does. The reference is smoothed and differentiated once, at points on its edges
(Baker and Matthews, Int J Comput Vis 2004;56:221-255); Cauchy weights keep vessels, metal and what only one image shows
from pulling. Coarse to fine, nothing random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, Mask
from tasks.gaussian import FWHM_PER_SIGMA, MAD_TO_SIGMA
from tasks.registration.solver import CAUCHY_WIDTH, DAMPING
from tasks.space.affines import voxel_sizes_mm
from tasks.space.rigid_motion import grid_centre
from tasks.space.working_grid import WorkingScan, to_working_grid

LimitsHu = tuple[float, float]

#: HU between which bone is compared: from above blood with contrast agent averaged over its voxel to metal. A cap below
#: dense bone would bend the averages over thick slices, and with them the pose (0.20 instead of 0.14 mm on phantoms).
BONE_LIMITS_HU: LimitsHu = (150.0, 1500.0)
#: The same where no skull is left: from fluid to grey matter, below which contrast agent changes little.
BRAIN_LIMITS_HU: LimitsHu = (0.0, 30.0)
SLAB_SKULL_HU = 400.0  # above any contrast agent's usual enhancement
SLAB_SKULL_ML = 20.0  # of dense bone: a slab of 4 cm has over 100 ml, a stripped head a few

#: In-plane smoothing (full width at half maximum, mm) and block of the grid at each level, coarse to fine.
RIGID_LEVELS = ((12.0, 2), (6.0, 1))
MOST_POINTS = 4000  # per level: 8,000 and 20,000 give the same poses within 0.01 mm on phantoms
EDGE_SHARE = 0.25  # of the 99th percentile of the gradient: where an edge begins
HEAD_RADIUS_MM = 80.0  # by which turns are scaled, so that all six parameters move the skull alike
MOST_STEPS = 12
SKULL_STOP_MM = 0.02  # movement of the skull below which a level ends
MINIMUM_BONE_SCALE = 0.01  # of a residual, in units of the limits' range: quantisation and interpolation
MINIMUM_OVERLAP_SHARE = 0.3  # of the points inside the moving image


@dataclass(frozen=True, eq=False)
class RigidLevel:
    """Sample points of the reference (N, 3), world, mm; its values (N,); and their change with the pose (N, 6)."""

    points: Float32Array
    values: Float32Array
    jacobian: Float32Array


@dataclass(frozen=True, eq=False)
class RigidReference:
    """A head to which others are aligned.

    Attributes
    ----------
    levels : coarse to fine
    centre : (3,) float array, world, mm, about which steps turn
    limits_hu : range of values that is compared
    points : (K, 3) float array, world, mm: edges over which displacements are averaged
    """

    levels: tuple[RigidLevel, ...]
    centre: FloatArray
    limits_hu: LimitsHu
    points: FloatArray


@dataclass(frozen=True, eq=False)
class RigidFit:
    """Where an alignment ended.

    Attributes
    ----------
    matrix : (4, 4) float array, world of the reference -> world of the moving image, RAS, mm
    misfit : float
        Root mean square of what is left at the edges, relative to the spread of the reference's own values: 0 for equal
        images, about 1.4 for unrelated ones.
    inside_share : float in [0, 1]
        Share of the reference's points inside the moving image.
    """

    matrix: Affine
    misfit: float
    inside_share: float


def limits_of(image: AnyArray, affine: Affine) -> LimitsHu:
    """The range of values that drives the alignment: bone, or the brain's outline where no skull is left."""
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    is_skull = np.count_nonzero(image > SLAB_SKULL_HU) * voxel_ml > SLAB_SKULL_ML
    return BONE_LIMITS_HU if is_skull else BRAIN_LIMITS_HU


def limited_scan(image: AnyArray, affine: Affine, limits_hu: LimitsHu) -> WorkingScan:
    """A CT on its working grid, limited to what drives the alignment."""
    return to_working_grid(image, affine, limits_hu)


def prepare_reference(scan: WorkingScan, limits_hu: LimitsHu) -> RigidReference:
    """Smooth, sample and differentiate the reference at each level.

    Parameters
    ----------
    scan : WorkingScan of `limited_scan`

    Raises
    ------
    ValueError
        The image has no edge.
    """
    centre = grid_centre(scan.values.shape, scan.affine)
    levels = []
    for fwhm_mm, block in RIGID_LEVELS:
        values, affine = _smoothed(scan, fwhm_mm, block, limits_hu)
        gradients = np.stack([np.gradient(values, axis=axis) for axis in range(3)])
        spacing = voxel_sizes_mm(affine)
        strength = np.sqrt(((gradients / spacing[:, None, None, None]) ** 2).sum(axis=0))
        threshold = EDGE_SHARE * float(np.percentile(strength, 99))
        voxels = np.argwhere(strength > threshold)
        if threshold <= 0 or len(voxels) < 100:
            raise ValueError("image must show a head, got no edge of bone or brain. Check its values in HU.")
        voxels = voxels[:: max(1, -(-len(voxels) // MOST_POINTS))]
        points = voxels @ affine[:3, :3].T + affine[:3, 3]
        slopes = gradients[:, *voxels.T].T @ np.linalg.inv(affine[:3, :3])
        turns = np.cross((points - centre) / HEAD_RADIUS_MM, slopes)
        levels.append(
            RigidLevel(
                points.astype(np.float32),
                values[tuple(voxels.T)],
                np.concatenate([turns, slopes], axis=1).astype(np.float32),
            )
        )
    spread = levels[-1].points[:: max(1, len(levels[-1].points) // 200)].astype(np.float64)
    return RigidReference(tuple(levels), centre, limits_hu, spread)


def align(reference: RigidReference, scan: WorkingScan, start: Affine | None = None) -> RigidFit:
    """Find the pose of another image of the same head.

    Parameters
    ----------
    reference : RigidReference
    scan : WorkingScan of `limited_scan` with the reference's limits, on any grid
    start : (4, 4) float array, world of the reference -> world of the scan; none starts from equal worlds
    """
    matrix = np.eye(4) if start is None else start
    fit = RigidFit(matrix, np.inf, 0.0)
    for level, (fwhm_mm, block) in zip(reference.levels, RIGID_LEVELS, strict=True):
        values, affine = _smoothed(scan, fwhm_mm, block, reference.limits_hu)
        to_voxel = np.asarray(np.linalg.inv(affine), dtype=np.float64)
        fit = _gauss_newton(level, values, to_voxel, fit.matrix, reference.centre)
    return fit


def displacement_mm(points: FloatArray, one: Affine, other: Affine) -> float:
    """Mean distance between where two matrices put the same points, mm."""
    difference = one - other
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())


def _gauss_newton(
    level: RigidLevel, values: Float32Array, to_voxel: Affine, matrix: Affine, centre: FloatArray
) -> RigidFit:
    """Steps at one level until the skull stands still."""
    spread = float(level.values.std())
    misfit, share = np.inf, 0.0
    for step in range(MOST_STEPS + 1):
        sampled, is_inside = _sampled(values, to_voxel @ matrix, level.points)
        share = float(is_inside.mean())
        if share < MINIMUM_OVERLAP_SHARE:
            return RigidFit(matrix, np.inf, share)
        residual = np.where(is_inside, sampled - level.values, np.float32(0))
        misfit = float(np.sqrt(np.square(residual).sum() / is_inside.sum())) / spread
        if step == MOST_STEPS:
            break
        scale = max(MINIMUM_BONE_SCALE, MAD_TO_SIGMA * float(np.median(np.abs(residual[is_inside]))))
        weight = is_inside / (1 + np.square(residual / np.float32(CAUCHY_WIDTH * scale)))
        weighted = level.jacobian * weight[:, None].astype(np.float32)
        normal = (weighted.T @ level.jacobian).astype(np.float64)
        normal += DAMPING * np.trace(normal) / 6 * np.eye(6)
        change = np.linalg.solve(normal, (weighted.T @ residual).astype(np.float64))
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_rotvec(change[:3] / HEAD_RADIUS_MM).as_matrix()
        turn[:3, 3] = centre + change[3:] - turn[:3, :3] @ centre
        matrix = matrix @ np.linalg.inv(turn)
        if float(np.linalg.norm(change)) < SKULL_STOP_MM:
            break
    return RigidFit(matrix, misfit, share)


def _sampled(values: Float32Array, to_voxel: Affine, points: Float32Array) -> tuple[Float32Array, Mask]:
    """Linear values at world points and whether each lies inside the grid (to half a voxel beyond its centres)."""
    positions = to_voxel[:3, :3].astype(np.float32) @ points.T + to_voxel[:3, 3:].astype(np.float32)
    shape = np.asarray(values.shape)[:, None]
    is_inside = np.all((positions >= -0.5) & (positions <= shape - 0.5), axis=0)
    sampled = ndimage.map_coordinates(values, positions, order=1, mode="nearest", prefilter=False)
    return np.asarray(sampled, dtype=np.float32), is_inside


def _smoothed(scan: WorkingScan, fwhm_mm: float, block: int, limits_hu: LimitsHu) -> tuple[Float32Array, Affine]:
    """Values in units of the limits' range, smoothed in the plane of the slices, every ``block``-th voxel of it."""
    low, high = limits_hu
    values, affine = scan.values, scan.affine
    planes = [axis for axis in range(3) if axis != scan.slice_axis]
    if block > 1:
        coarse = [block if axis in planes else 1 for axis in range(3)]
        values = _block_means(values, planes, block)
        to_fine = np.diag([*map(float, coarse), 1.0])
        to_fine[:3, 3] = (np.asarray(coarse) - 1) / 2
        affine = affine @ to_fine
    spacing = voxel_sizes_mm(affine)
    for axis in planes:
        sigma = fwhm_mm / FWHM_PER_SIGMA / spacing[axis]
        values = ndimage.gaussian_filter1d(values, sigma, axis=axis, mode="nearest", truncate=2.5)
    return (values - np.float32(low)) / np.float32(high - low), np.asarray(affine, dtype=np.float64)


def _block_means(values: Float32Array, axes: list[int], block: int) -> Float32Array:
    """Means of whole blocks along some axes; what is left over at the end is dropped."""
    for axis in axes:
        n_blocks = values.shape[axis] // block
        parts = [values.take(np.arange(n_blocks) * block + offset, axis=axis) for offset in range(block)]
        values = sum(parts[1:], parts[0]) / np.float32(block)
    return values
