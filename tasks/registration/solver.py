"""Robust Gauss-Newton alignment of a scan to a prepared template, inverse compositional.

At every step the residual ``scan(A x) - template(x)`` at the sample points is explained by a small warp *of the
template*, whose derivatives never change and are computed once (Baker and Matthews, Int J Comput Vis 2004;56:221-255);
the step is then inverted and composed into ``A``. Cauchy weights keep lesions, haemorrhage and faults of the mask from
pulling. Nothing is random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.gaussian import MAD_TO_SIGMA
from tasks.registration.target import BLOCK_POINTS, BRAIN_RADIUS_MM, Contrast, Level, Target
from tasks.space.boxes import occupied
from tasks.space.working_grid import WorkingScan

CAUCHY_WIDTH = 2.3849  # 95 % efficiency under normal errors (Holland and Welsch, Commun Stat 1977;6:813-827)
#: Weights of mask and tissue. A larger share of the tissue matches regions better and outlines worse; this is the
#: largest (of 0, 0.3, 1, 3, 10, 20, 30) that keeps the mean overlap of whole brains at 0.94 on three CT.
CHANNEL_WEIGHT = (1.0, 20.0)
#: Residual beyond which a point hardly costs more, in units of one edge. Fits of different starts are compared by one
#: scale; by squares, a start that hides a hemisphere of fluid outside the brain would win.
COST_SCALE = 0.5
MINIMUM_SCALE = 0.05  # of a channel's residual, in units of one edge: below it every residual is noise
MEDIAN_POINTS = slice(None, None, 3)  # a third of the points gives the scale of a residual
DAMPING = 1e-3  # of the mean diagonal of the normal matrix: keeps unobserved directions still
STOP_MM = 0.1  # mean movement of the brain below which a round ends
MINIMUM_POINT_SHARE = 0.25  # of the points inside the scan's field of view: fewer decide nothing

#: Rotations of the coarse search, degrees about x, y, z: none, and 25 either way about each axis. A single start finds
#: its way from about 60 degrees; several make that certain.
START_DEGREES = ((0, 0, 0), (25, 0, 0), (-25, 0, 0), (0, 25, 0), (0, -25, 0), (0, 0, 25), (0, 0, -25))
START_STEPS = 6
ROUND_STEPS = 15
N_KEPT_STARTS = 3  # go on until one is chosen

#: Columns: the twelve parameters; rows: the degrees of freedom that each kind of round may use.
_GENERATORS = np.zeros((7, 12))
for _row, (_i, _j) in enumerate(((1, 2), (2, 0), (0, 1))):
    _GENERATORS[_row, 3 * _i + _j], _GENERATORS[_row, 3 * _j + _i] = -1, 1
_GENERATORS[3:6, 9:12] = np.eye(3)
_GENERATORS[6, [0, 4, 8]] = 1
RIGID, SIMILARITY, AFFINE = _GENERATORS[:6], _GENERATORS, np.eye(12)


@dataclass(frozen=True, eq=False)
class MovingLevel:
    """A scan's channels at one level: ``mask + i * tissue`` as complex64 on the working grid, and world -> voxel."""

    channels: npt.NDArray[np.complex64]
    world_to_voxel: Affine


@dataclass(frozen=True, eq=False)
class Plan:
    """What a round may change: its degrees of freedom, the level's (2, N, n) jacobian of them, and how many steps."""

    freedom: FloatArray
    jacobian: Float32Array
    limit: int


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a round ended: the warp, its cost (mean robust loss over all points) and the steps taken."""

    warp: Affine
    cost: float
    n_steps: int


def moving_levels(scan: WorkingScan, mask: Mask, target: Target) -> tuple[MovingLevel, ...]:
    """Both channels of a scan on the box around its brain, smoothed like the template at each level.

    A level keeps no more voxels than it needs, one per width of its smoothing.
    """
    margin = np.ceil(3 * target.levels[0].sigma_mm / scan.spacing_mm).astype(int)
    seen = occupied(mask)
    first = [max(0, int(one[0] - extra)) for one, extra in zip(seen, margin, strict=True)]
    box = tuple(slice(start, int(one[-1] + extra) + 1) for start, one, extra in zip(first, seen, margin, strict=True))
    inside = mask[box]
    origin = np.eye(4)
    origin[:3, 3] = first
    smooth = [inside.astype(np.float32), _deviation(scan.values[box], inside, target.contrast)]
    to_world, spacing, sigma_mm = scan.affine @ origin, scan.spacing_mm, 0.0
    levels: list[MovingLevel] = []
    for level in target.levels[::-1]:  # each level smooths the finer one
        step = np.maximum(1, np.round(level.sigma_mm / spacing)).astype(int)
        added_mm = float(np.sqrt(level.sigma_mm**2 - sigma_mm**2))
        for axis in range(3):
            keep = (slice(None),) * axis + (slice(None, None, int(step[axis])),)
            sigma = added_mm / spacing[axis]
            smooth = [ndimage.gaussian_filter1d(one, sigma, axis, mode="nearest", truncate=3.0)[keep] for one in smooth]
        to_world, spacing, sigma_mm = to_world @ np.diag([*step, 1.0]), spacing * step, level.sigma_mm
        channels = np.empty(smooth[0].shape, dtype=np.complex64)
        channels.real, channels.imag = smooth
        levels.insert(0, MovingLevel(channels, np.asarray(np.linalg.inv(to_world), dtype=np.float64)))
    return tuple(levels)


def solve(moving: tuple[MovingLevel, ...], target: Target, start: Affine) -> Fit:
    """Coarse search from several rotations, then rigid and affine rounds, coarse to fine.

    Parameters
    ----------
    moving : one per level of the target
    start : (4, 4) array, fixed to moving: where the search begins (centroid on centroid)
    """
    search, centre = target.search, target.centre
    rigid, similarity = _plan(search, RIGID, START_STEPS), _plan(search, SIMILARITY, ROUND_STEPS)
    fits = []
    for degrees in START_DEGREES:
        turn = _about(centre, Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())
        fits.append(_round(moving[0], search, centre, start @ turn, rigid))
    kept = [
        _round(moving[0], search, centre, fit.warp, similarity)
        for fit in sorted(fits, key=lambda fit: fit.cost)[:N_KEPT_STARTS]
    ]
    best = min(kept, key=lambda fit: fit.cost)
    n_steps = sum(fit.n_steps for fit in [*fits, *kept])
    for one, level in zip(moving, target.levels, strict=True):
        best = _round(one, level, centre, best.warp, _plan(level, AFFINE, ROUND_STEPS))
        n_steps += best.n_steps
    return Fit(best.warp, best.cost, n_steps)


def _plan(level: Level, freedom: FloatArray, limit: int) -> Plan:
    """Fit a level's jacobian to some degrees of freedom, block by block."""
    if len(freedom) == level.jacobian.shape[-1]:
        return Plan(freedom, level.jacobian, limit)
    blocks = level.jacobian.reshape(-1, BLOCK_POINTS, level.jacobian.shape[-1])
    return Plan(freedom, (blocks @ freedom.T.astype(np.float32)).reshape(*level.jacobian.shape[:2], -1), limit)


def _round(moving: MovingLevel, level: Level, centre: FloatArray, warp: Affine, plan: Plan) -> Fit:
    """Gauss-Newton steps at one level with one set of degrees of freedom."""
    n_free = len(plan.freedom)
    cost, step = np.inf, 0
    for step in range(1, plan.limit + 1):
        sampled, is_inside = sample(moving.channels, moving.world_to_voxel @ warp, level.points)
        n_inside = int(np.count_nonzero(is_inside))
        if n_inside < MINIMUM_POINT_SHARE * len(is_inside):
            return Fit(warp, np.inf, step)
        normal, right, cost = np.zeros((n_free, n_free)), np.zeros(n_free), 0.0
        for channel, values in enumerate((sampled.real, sampled.imag)):
            residual = (values - level.values[channel]) * is_inside
            scale = max(
                MINIMUM_SCALE, MAD_TO_SIGMA * _median(np.abs(residual[MEDIAN_POINTS][is_inside[MEDIAN_POINTS]]))
            )
            squared = (residual / np.float32(CAUCHY_WIDTH * scale)) ** 2
            weight = is_inside * np.float32(CHANNEL_WEIGHT[channel] / scale**2) / (1 + squared)
            loss = np.log1p(np.square(residual / np.float32(COST_SCALE)))
            cost += CHANNEL_WEIGHT[channel] * float(loss.sum(dtype=np.float64)) / n_inside
            part, side = _normal_equations(plan.jacobian[channel], weight, residual)
            normal += part
            right += side
        normal += DAMPING * np.trace(normal) / n_free * np.eye(n_free)
        change = plan.freedom.T @ np.linalg.solve(normal, right)
        warp = warp @ np.linalg.inv(_small_warp(change, centre, is_linear=n_free == 12))
        if _movement_mm(change) < STOP_MM:
            break
    return Fit(warp, cost, step)


def _median(values: Float32Array) -> float:
    """The upper median: one partition, no checks."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def _normal_equations(
    jacobian: Float32Array, weight: Float32Array, residual: Float32Array
) -> tuple[FloatArray, FloatArray]:
    """J' W J and J' W r, in float64 over float32 blocks that are the same for every number of threads."""
    n = jacobian.shape[1]
    weighted = (jacobian * weight[:, None]).reshape(-1, BLOCK_POINTS, n)
    blocks = jacobian.reshape(-1, BLOCK_POINTS, n)
    sums = np.matmul(weighted.transpose(0, 2, 1), blocks)
    sides = np.matmul(weighted.transpose(0, 2, 1), residual.reshape(-1, BLOCK_POINTS, 1))
    return sums.sum(axis=0, dtype=np.float64), sides.sum(axis=0, dtype=np.float64)[:, 0]


def sample(
    channels: npt.NDArray[np.complex64], to_voxel: Affine, points: Float32Array
) -> tuple[npt.NDArray[np.complex64], Mask]:
    """Trilinear values at world points and whether each lies inside the grid (to half a voxel beyond its centres)."""
    is_inside: Mask = np.ones(len(points), dtype=bool)
    base: npt.NDArray[np.int32] = np.zeros(len(points), dtype=np.int32)
    shares = []
    x, y, z = points.T
    for row, size in zip(to_voxel[:3].astype(np.float32), channels.shape, strict=True):
        position = row[0] * x + row[1] * y + row[2] * z + row[3]  # no library product, which would use several threads
        is_inside &= (position >= -0.5) & (position <= size - 0.5)
        position = np.clip(position, 0, size - 1)
        corner = np.minimum(position.astype(np.int32), size - 2)
        shares.append(position - corner.astype(np.float32))
        base = base * size + corner
    flat = channels.ravel()
    along_y, along_x = channels.shape[2], channels.shape[1] * channels.shape[2]
    rows = []
    for offset in (0, along_y, along_x, along_x + along_y):
        low = flat.take(base + offset)
        rows.append(low + (flat.take(base + (offset + 1)) - low) * shares[2])
    front = rows[0] + (rows[1] - rows[0]) * shares[1]
    back = rows[2] + (rows[3] - rows[2]) * shares[1]
    return front + (back - front) * shares[0], is_inside


def _deviation(values: Float32Array, inside: Mask, contrast: Contrast) -> Float32Array:
    """What the tissue channel compares: deviation from the brain's median, in units of one edge, 0 outside."""
    median = float(np.median(values[inside]))
    scale = median if contrast.is_relative else 1.0
    low, high = contrast.limits
    limited = np.clip((values - np.float32(median)) / np.float32(scale), low, high) / np.float32(contrast.unit)
    return np.where(inside, limited, np.float32(0))


def _small_warp(change: FloatArray, centre: FloatArray, *, is_linear: bool) -> Affine:
    """The warp of one step about the centre: the rotation part is exact unless all twelve parameters are free."""
    linear = change[:9].reshape(3, 3) / BRAIN_RADIUS_MM
    if is_linear:
        matrix = np.eye(3) + linear
    else:
        turn = np.array([linear[2, 1] - linear[1, 2], linear[0, 2] - linear[2, 0], linear[1, 0] - linear[0, 1]]) / 2
        matrix = _rotation(turn) * np.exp(np.trace(linear) / 3)
    warp = _about(centre, matrix)
    warp[:3, 3] += change[9:]
    return warp


def _rotation(turn: FloatArray) -> FloatArray:
    """The rotation about an axis by its length in radians (Rodrigues)."""
    x, y, z = turn
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = float(np.linalg.norm(turn))
    turned: FloatArray = (
        np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / (2 * np.pi)) ** 2 / 2 * cross @ cross
    )
    return turned


def _about(centre: FloatArray, matrix: FloatArray) -> Affine:
    """A linear map about a centre as (4, 4)."""
    warp = np.eye(4)
    warp[:3, :3] = matrix
    warp[:3, 3] = centre - matrix @ centre
    return warp


def _movement_mm(change: FloatArray) -> float:
    """About how far a step moves the brain, mm: all parameters are movements at the brain's radius."""
    return float(np.sqrt((change**2).sum()))
