"""A synthetic head: a template's tissues inside a synthetic skull, put into a scanner in a known pose.

A *head* is the share of each tissue in every voxel of a grid in template space; an image is the sum of shares times
the tissues' values, so that partial volume is right wherever tissues mix. A *pose* carries template world to scan
world (RAS, mm). What scanners make of it is in ``tasks.phantoms.scans``.

What is simple: the head is as symmetric as the template, and its face is an oval without bone or teeth. Results on it
say that the parts fit together, not how well they work in patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.registration.target import TissueMaps
from tasks.space.resample import Grid, resample_image

PADDING_MM = 24.0  # room for skull and scalp on every side
#: Outer borders of the layers around the brain, mm of template space; adult skulls are 5-8 mm, scalps 3-6 mm thick.
LAYERS_MM = (("fluid", 3.0), ("bone", 9.0), ("soft", 13.0))
HEAD_CENTRE_MM = (0.0, -18.0, 8.0)  # middle of the template's brain: where a scan is centred
SUBSLICE_MM = 2.5  # a thick slice is the mean of slices of at most this thickness


@dataclass(frozen=True, eq=False)
class Head:
    """The tissues of a head on a grid in template space.

    Attributes
    ----------
    shares : tissue -> (X, Y, Z) float32 array in [0, 1]
        ``grey``, ``white``, ``csf``, ``fluid``, ``bone`` and ``soft``; what they leave of a voxel is air.
    brain : (X, Y, Z) bool array
    depth_mm : (X, Y, Z) float32 array, mm
        Distance of brain voxels from the surface of the brain, 0 outside.
    affine : (4, 4) float array, voxel -> template world, RAS, mm
    """

    shares: Mapping[str, Float32Array]
    brain: Mask
    depth_mm: Float32Array
    affine: Affine

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        nx, ny, nz = self.brain.shape
        return Grid((nx, ny, nz), self.affine)

    def image(self, values: Mapping[str, float], outside: float) -> Float32Array:
        """Sum of shares times values; ``outside`` is the value of air."""
        total = np.full(self.brain.shape, outside, dtype=np.float32)
        for tissue, value in values.items():
            total += self.shares[tissue] * np.float32(value - outside)
        return total


@dataclass(frozen=True, eq=False)
class Acquisition:
    """How a head is scanned.

    Attributes
    ----------
    grid : Grid of the scan; slices lie along the third axis
    pose : (4, 4) float array, template world -> scan world, RAS, mm
    seed : of the noise
    """

    grid: Grid
    pose: Affine
    seed: int


def build_head(maps: TissueMaps, *, step: int = 2, neck_mm: float = 0.0) -> Head:
    """Put skull, scalp and, if asked for, face and neck around a template's brain.

    Parameters
    ----------
    maps : TissueMaps on a 1 mm grid
    step : take every ``step``-th voxel of the maps: the grid of the head has voxels of ``step`` mm
    neck_mm : how far the neck goes on below the lowest slice of the maps and its padding, mm
    """
    voxels, low = round(PADDING_MM / step), round((PADDING_MM + neck_mm) / step)
    padding = ((voxels, voxels), (voxels, voxels), (low, voxels))
    taken = (slice(None, None, step),) * 3
    grey, white, csf, brain = (
        np.pad(np.asarray(one[taken], dtype=np.float32), padding)
        for one in (maps.grey, maps.white, maps.csf, maps.brain)
    )
    affine = maps.affine @ np.diag([step, step, step, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ [voxels, voxels, low]
    inside = brain > 0.5
    distance = ndimage.distance_transform_edt(~inside) * step
    shares = {"grey": grey * inside, "white": white * inside, "csf": csf * inside}
    inner = 0.0
    for tissue, outer in LAYERS_MM:
        shares[tissue] = ((distance > inner) & (distance <= outer)).astype(np.float32)
        inner = outer
    if neck_mm:
        _add_neck(shares, distance, affine)
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) * np.float32(step)
    return Head(shares, inside, depth, affine)


def head_pose(
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scale: float | tuple[float, float, float] = 0.88,
) -> Affine:
    """Template world -> scan world: scaled along the head's own axes, turned about x, y and z, shifted.

    Parameters
    ----------
    scale : size relative to the template, which is an eighth larger than an adult's brain
    """
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * np.asarray(scale)
    pose[:3, 3] = shift_mm
    return pose


def scan_grid(
    pose: Affine, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], *, above_mm: float = 0.0
) -> Grid:
    """An axial LPS grid, as scanners store CT, centred on a head; ``above_mm`` moves it up."""
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    centre = (pose @ [*HEAD_CENTRE_MM, 1.0])[:3] + np.array([0.0, 0.0, above_mm])
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


def sample_head(
    image: Float32Array, head: Head, acquisition: Acquisition, outside: float, n_subslices: int = 0
) -> Float32Array:
    """An image of the head on the scan's grid, averaged over the thickness of its slices.

    Parameters
    ----------
    image : (X, Y, Z) float32 array on the head's grid
    outside : value beyond the head's grid
    n_subslices : slices that are averaged to one; 0 takes as many as ``SUBSLICE_MM`` asks for
    """
    grid = acquisition.grid
    nx, ny, nz = grid.shape
    n = n_subslices or max(1, int(np.ceil(np.linalg.norm(grid.affine[:3, 2]) / SUBSLICE_MM - 1e-6)))
    finer = np.diag([1.0, 1.0, 1.0 / n, 1.0])
    finer[2, 3] = (1 - n) / (2 * n)
    fine = Grid((nx, ny, nz * n), grid.affine @ finer)
    to_template: Affine = np.asarray(np.linalg.inv(acquisition.pose), dtype=np.float64)
    sampled = resample_image(image, head.affine, fine, to_template, outside=outside)
    return sampled if n == 1 else sampled.reshape(nx, ny, nz, n).mean(axis=3)


def _add_neck(shares: dict[str, Float32Array], distance_mm: FloatArray, affine: Affine) -> None:
    """Face and neck below the skull as ovals with cord, vertebrae and airway, in place of air; sizes of an adult's."""
    x, y, z = (affine[axis, axis] * np.arange(size) + affine[axis, 3] for axis, size in enumerate(distance_mm.shape))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    is_outside = distance_mm > LAYERS_MM[1][1]
    to_spine = np.hypot(x, y + 45)  # the template's brain stem ends here
    is_face = (np.hypot(x / 62, (y + 8) / 76) < 1) & (z < -28) & (z > -100)
    is_neck = (np.hypot(x / 62, (y + 25) / 62) < 1) & (z < -45)
    is_airway = (np.hypot(x, y - 8) < 9) & (z < -60)
    is_canal = (to_spine < 9) & (z < -70) & (distance_mm > 0)
    is_vertebra = (to_spine >= 9) & (np.hypot(x, y + 35) < 24) & (z < -81) & is_outside
    is_soft = (is_face | is_neck) & ~is_airway & is_outside
    for tissue, where in {"soft": is_soft, "bone": is_vertebra, "fluid": is_canal}.items():
        for other in ("fluid", "bone", "soft"):
            shares[other][where] = other == tissue
