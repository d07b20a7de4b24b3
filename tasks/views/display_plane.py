"""Pictures of slices: a scan turned for display, square pixels around the head, averages and outlines on them.

*Display convention*: pictures are cut as radiologists see them (``tasks.views.convention``): the patient's right is on
the left, anterior is up; a page of the other convention mirrors them whole. Left and up are those of the scan's affine,
so a picture never depends on the registration. A position in a picture is
(x, y) in pixels from its upper left corner: the centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import contourpy
import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.optimize import linear_sum_assignment

from tasks.anatomy import CORTICAL_REGIONS, HEMISPHERES, LabelTable
from tasks.arrays import Affine, AnyArray, Element, Float32Array, FloatArray, IntegerArray, Mask
from tasks.space.affines import voxel_sizes_mm

Outlines = tuple[FloatArray, ...]

WIDEST_PX, TALLEST_PX = 320, 400
FINEST_MM = 0.7  # finer pixels show noise of CT, not anatomy, and double the size of a page
HEAD_MARGIN_MM = 18.0  # around the brain: skull and scalp are 10 to 15 mm thick
MOST_PER_LEVEL = 2
OUTLINE_WIDTH_MM = 1.5  # half-base of the smoothing of outlines: rounds the steps of 1 mm of the label maps
BORDER_MM = 2.0  # standard deviation: calms teeth of a few voxels, and moves corners by about as much
EVERY_POINT = 3  # of an outline is kept, about every second pixel


@dataclass(frozen=True, eq=False)
class Turn:
    """How a volume is turned so that x runs to the patient's left, y to the back, and slices upwards.

    Attributes
    ----------
    order : stored axis of each displayed axis
    is_flipped : whether each displayed axis runs against the stored one
    shape : displayed shape
    affine : (4, 4) float array, displayed voxel -> world, RAS, mm
    """

    order: tuple[int, int, int]
    is_flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing_mm(self) -> FloatArray:
        """Voxel size along each displayed axis, mm."""
        return voxel_sizes_mm(self.affine)

    def turned(self, volume: npt.NDArray[Element]) -> npt.NDArray[Element]:
        """Return the volume with the displayed axes; nothing is copied."""
        return volume.transpose(self.order)[tuple(slice(None, None, -1 if flip else 1) for flip in self.is_flipped)]

    def stored_number(self, k: int) -> int:
        """A displayed slice's number in the file, counted from 1."""
        return self.shape[2] - k if self.is_flipped[2] else k + 1


def turn_for_display(shape: tuple[int, ...], affine: Affine) -> Turn:
    """Find the stored axes nearest to left-right, front-back and up-down.

    Parameters
    ----------
    shape : (X, Y, Z) of the volume
    affine : (4, 4) float array, voxel -> world, RAS, mm

    Raises
    ------
    ValueError
        The affine cannot be inverted.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ValueError("affine must be a finite and invertible (4, 4) array. Give the image's own affine.")
    direction = affine[:3, :3] / voxel_sizes_mm(affine)
    x, y, z = (int(axis) for axis in linear_sum_assignment(-np.abs(direction))[1])
    flips = (bool(direction[0, x] > 0), bool(direction[1, y] > 0), bool(direction[2, z] < 0))
    to_stored = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (stored, flip) in enumerate(zip((x, y, z), flips, strict=True)):
        to_stored[stored, axis] = -1 if flip else 1
        to_stored[stored, 3] = shape[stored] - 1 if flip else 0
    return Turn((x, y, z), flips, (shape[x], shape[y], shape[z]), affine @ to_stored)


@dataclass(frozen=True)
class Framing:
    """How slices are framed and chosen: mm around the brain, the finest pixel, and the most slices of one level."""

    margin_mm: float = HEAD_MARGIN_MM
    finest_mm: float = FINEST_MM
    most_per_level: int = MOST_PER_LEVEL


HEAD = Framing()


@dataclass(frozen=True, eq=False)
class PictureField:
    """The field that all pictures of a scan share: the head, in square pixels of the finest size that fits.

    Attributes
    ----------
    low_mm : upper left corner, (x, y) mm from the edge of the first displayed voxel
    size_mm : (x, y) extent
    n_voxels, spacing_mm : (x, y) of the displayed slices
    finest_mm : smallest pixel
    """

    low_mm: FloatArray
    size_mm: FloatArray
    n_voxels: tuple[int, int]
    spacing_mm: FloatArray
    finest_mm: float = FINEST_MM

    @property
    def pixel_mm(self) -> float:
        """Edge of a pixel."""
        return float(max(self.finest_mm, self.size_mm[0] / WIDEST_PX, self.size_mm[1] / TALLEST_PX))

    @property
    def middle_voxel(self) -> FloatArray:
        """The middle of the pictures in displayed voxels, (x, y)."""
        return np.asarray((self.low_mm + self.size_mm / 2) / self.spacing_mm - 0.5)

    def weights(self, pixel_mm: float, width_mm: float = 0.0) -> tuple[Any, Any]:
        """Sparse matrices that average a slice along x and along y to pixels of a size; see ``averaging``."""
        along_x, along_y = (
            averaging(
                self.low_mm[axis] + (np.arange(max(1, int(self.size_mm[axis] / pixel_mm + 1e-6))) + 0.5) * pixel_mm,
                self.n_voxels[axis],
                float(self.spacing_mm[axis]),
                max(pixel_mm, width_mm),
            )
            for axis in range(2)
        )
        return along_x, along_y

    @cached_property
    def _sharp(self) -> tuple[Any, Any]:
        return self.weights(self.pixel_mm)

    @cached_property
    def _soft(self) -> tuple[Any, Any]:
        return self.weights(self.pixel_mm, OUTLINE_WIDTH_MM)

    def averaged(self, plane: AnyArray) -> Float32Array:
        """A displayed slice (x, y) as a picture (row, column)."""
        return reduced(plane, self._sharp)

    def outlines(self, mask: AnyArray) -> Outlines:
        """The outlines of a mask on a displayed slice (x, y), without the steps of its voxels."""
        return outlines(reduced(mask, self._soft))

    def voxels(self, pixel_mm: float, shape: tuple[int, ...], k: int) -> FloatArray:
        """Displayed voxel coordinates of the pixels' centres on slice ``k``: (4, n), row by row, the last row ones."""
        rows, columns = np.indices(shape).reshape(2, -1)
        x, y = (
            (self.low_mm[axis] + (along + 0.5) * pixel_mm) / self.spacing_mm[axis] - 0.5
            for axis, along in enumerate((columns, rows))
        )
        return np.stack([x, y, np.full(x.shape, float(k)), np.ones(x.shape)])

    def pixels(self, pixel_mm: float, voxels: FloatArray) -> FloatArray:
        """(row, column) of displayed voxel coordinates, for interpolation: 0 is the centre of the first pixel."""
        x, y = (
            ((voxels[axis] + 0.5) * self.spacing_mm[axis] - self.low_mm[axis]) / pixel_mm - 0.5 for axis in range(2)
        )
        return np.stack([y, x])


def head_field(brain: Sequence[Mask], turn: Turn, framing: Framing = HEAD) -> PictureField:
    """The field around the brain on some displayed slices; all of the slice where there is no brain."""
    spacing = turn.spacing_mm[:2]
    n_voxels = turn.shape[:2]
    low, size = np.zeros(2), np.asarray(n_voxels * spacing)
    inside = np.logical_or.reduce(brain)
    if inside.any():
        for axis in range(2):
            along = np.flatnonzero(inside.any(axis=1 - axis)) * spacing[axis]
            end = min(size[axis], along[-1] + spacing[axis] + framing.margin_mm)
            low[axis] = max(0.0, along[0] - framing.margin_mm)
            size[axis] = end - low[axis]
    return PictureField(low, size, n_voxels, spacing, framing.finest_mm)


def averaging(centres_mm: FloatArray, n_voxels: int, spacing_mm: float, width_mm: float) -> Any:
    """Weights of voxels around each centre: a triangle of half-base ``width_mm``, at least linear interpolation.

    Parameters
    ----------
    centres_mm : (n,) array, from the edge of the first voxel
    n_voxels, spacing_mm : of the axis
    width_mm : half-base of the triangle

    Returns
    -------
    (n, n_voxels) float32 sparse matrix whose rows add up to 1, or to 0 outside the axis.
    """
    voxels_mm = (np.arange(n_voxels) + 0.5) * spacing_mm
    weights = np.clip(1 - np.abs(centres_mm[:, None] - voxels_mm) / max(width_mm, spacing_mm), 0, None)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return sparse.csr_matrix(weights.astype(np.float32))


def reduced(plane: AnyArray, weights: tuple[Any, Any]) -> Float32Array:
    """Average a displayed slice (x, y) to a picture (row, column)."""
    along_x, along_y = weights
    rows = along_y @ np.ascontiguousarray(plane.T, dtype=np.float32)  # images are stored with x running fastest
    return np.asarray((along_x @ np.ascontiguousarray(rows.T)).T, dtype=np.float32)


def outlines(share: Float32Array) -> Outlines:
    """Closed polylines, (n, 2) positions (x, y), where a share passes one half; the picture's edge closes them too."""
    lines = contourpy.contour_generator(z=np.pad(share, 1), name="serial").lines(0.5)
    found = []
    for line in lines:
        kept = np.asarray(line)[:-1:EVERY_POINT] - 0.5  # padding adds a pixel, the centre of a pixel lies half inside
        if len(kept) > 2:
            found.append(np.concatenate([kept, kept[:1]]))
    return tuple(found)


def smooth_borders(plane: IntegerArray, table: LabelTable, spacing_mm: Sequence[float]) -> IntegerArray:
    """A slice's labels with calm borders between cortical regions of one side.

    Where a slice lies almost in the plane between two levels, nearest-neighbour labels alternate from row to row; each
    pixel of such regions takes the label that prevails around it. Only what is drawn changes, never what is counted.

    Parameters
    ----------
    plane : (X, Y) integer array
    table : LabelTable of its labels
    spacing_mm : voxel size along X, Y
    """
    drawn = plane.copy()
    for side in HEMISPHERES:
        present = [one.index for one in table.labels if one.side == side and one.region in CORTICAL_REGIONS]
        present = [index for index in present if (plane == index).any()]
        if len(present) < 2:
            continue
        inside = np.isin(plane, present)
        widths = [BORDER_MM / size for size in spacing_mm]
        shares = [ndimage.gaussian_filter((plane == index).astype(np.float32), widths)[inside] for index in present]
        drawn[inside] = np.array(present, dtype=plane.dtype)[np.argmax(shares, axis=0)]
    return drawn
