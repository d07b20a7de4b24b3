"""A lesion in its brain as a body: three views along the scan's axes, shaded by the surfaces' normals.

As on slices, left and up are those of the scan's axes nearest to them (``Turn``): the head lies in both alike.
The brain is a veil that hides the more of the lesion the deeper it lies. Every view has the anterior or the superior
end up. Views *from the front* and *from above* have the sides of the slices (``tasks.views.convention``): the patient's
right is on the left, although who looks from above would see it on the right. Those *from the right* and *from the
left* are as one sees them. Light falls from the viewer and from the upper edge: a view mirrored whole keeps its light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, FloatArray, IntArray, Mask
from tasks.lesion import LesionSide
from tasks.views.display_plane import averaging, turn_for_display

ViewName = Literal["right", "left", "front", "above"]

CELL_MM = 1.75  # edge of a cell and of a pixel: near the blocks of the working grid, on which brains are found
BRAIN_STEP_MM = 1.75  # voxels that lie nearer are not all read: the brain is calmed further than that
BOX_MARGIN_MM = 5.0
#: Standard deviations, mm. Steps of thick slices are no anatomy: of the brain, surface and normals are those of the
#: calm body, half a percent smaller in area; of the lesion, which may be small, normals alone.
BRAIN_CALM_MM, LESION_CALM_MM = 3.0, 2.5
AMBIENT = 0.3  # brightness of what faces away from the light
LIGHT = (-0.8, -0.6, 0.0)  # towards it, along (depth, row, column): from the viewer and from above
FARTHEST_SHADE = 0.7  # of brightness that the farthest point of the field keeps
LEAST_VEIL, MOST_VEIL = 0.15, 0.75
LEAST_COVERED = 0.25  # of its fullest cell, from which a pixel counts as covered in part: one half is the edge
VEIL_MM = 30.0  # the depth at which the veil has gone 63 % of its way

#: (depth, row, column) -> the displayed axis, and whether it runs against it; x runs to the left, y back, z upwards.
_AXES = MappingProxyType(
    {
        "right": ((0, 2, 1), (False, True, True)),
        "left": ((0, 2, 1), (True, True, False)),
        "front": ((1, 2, 0), (False, True, False)),
        "above": ((2, 1, 0), (True, False, False)),
    }
)
_Box: TypeAlias = tuple[slice, slice, slice]
_EVERY: IntArray = np.ones(3, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class View:
    """One view; all arrays are (h, w) float32 in [0, 1], and 0 where there is nothing.

    Attributes
    ----------
    seen_from : where the viewer is
    brain, lesion : share of each pixel that the body covers; the lesion's as if nothing were before it
    brain_shade, lesion_shade : brightness of the surface
    veil : how much the brain's surface hides of the lesion
    """

    seen_from: ViewName
    brain: Float32Array
    lesion: Float32Array
    brain_shade: Float32Array
    lesion_shade: Float32Array
    veil: Float32Array


@dataclass(frozen=True)
class Rendering:
    """Views on square fields of one size and one scale: from the lesion's side, from the front, from above."""

    pixel_mm: float
    views: tuple[View, ...]


def rendering(brain: Mask, lesion: Mask, affine: Affine, side: LesionSide) -> Rendering | None:
    """Render a lesion in its brain; the order and direction of the stored axes do not matter.

    Parameters
    ----------
    brain : (X, Y, Z) bool array; without a voxel the lesion is shown alone
    lesion : (X, Y, Z) bool array
    affine : (4, 4) float array, voxel -> world, RAS, mm
    side : from which the first view is taken; the right for a lesion that both sides hold equally

    Returns
    -------
    Rendering, or None for a lesion without a voxel.

    Raises
    ------
    ValueError
        The masks are not volumes of one shape, or the affine cannot be inverted.
    """
    if brain.shape != lesion.shape or brain.ndim != 3:
        raise ValueError(
            f"brain and lesion must be volumes of one shape, got {brain.shape} and {lesion.shape}. "
            "Bring both to the scan's own grid."
        )
    turn = turn_for_display(brain.shape, affine)
    brain, lesion = turn.turned(brain), turn.turned(lesion)
    of_lesion, of_brain = _box(lesion), _box(brain)
    if of_lesion is None:
        return None
    spacing = turn.spacing_mm
    field = _field(of_lesion if of_brain is None else _hull(of_lesion, of_brain), spacing)
    inner, outer = _body(lesion, of_lesion, spacing, field, LESION_CALM_MM), None
    if of_brain is not None:
        steps = np.maximum(1, (BRAIN_STEP_MM / spacing + 1e-6).astype(int))
        outer = _body(brain, of_brain, spacing, field, BRAIN_CALM_MM, steps)
        outer = replace(outer, share=outer.calm)
    first: ViewName = "left" if side == "left" else "right"
    names: tuple[ViewName, ...] = (first, "front", "above")
    return Rendering(CELL_MM, tuple(_view(name, outer, inner, max(field.shape)) for name in names))


@dataclass(frozen=True, eq=False)
class _Body:
    """A body on cells of the field along the displayed axes: its share of each, and calm for the normals.

    ``start`` is the place of the first cell in a cube around the field; beyond the cells there is nothing.
    """

    share: Float32Array
    calm: Float32Array
    start: tuple[int, int, int]


def _box(mask: Mask) -> _Box | None:
    """The voxels' bounding box, or None without a voxel."""
    flat: Mask = np.logical_or.reduce(mask, axis=2)
    along: list[Mask] = [np.logical_or.reduce(flat, axis=axis) for axis in (1, 0)]
    if not along[0].any():
        return None
    first, second = (slice(int(one.argmax()), one.size - int(one[::-1].argmax())) for one in along)
    third: Mask = np.logical_or.reduce(mask[first, second], axis=(0, 1))
    return first, second, slice(int(third.argmax()), third.size - int(third[::-1].argmax()))


def _hull(one: _Box, other: _Box) -> _Box:
    """The box around two boxes."""
    x, y, z = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return x, y, z


@dataclass(frozen=True, eq=False)
class _Field:
    """The cells around both bodies: where they begin along each displayed axis, mm from the first voxel's edge."""

    low_mm: FloatArray
    shape: tuple[int, int, int]


def _field(box: _Box, spacing_mm: FloatArray) -> _Field:
    """Whole cells around a box of voxels, with its middle."""
    low = np.array([side.start for side in box]) * spacing_mm - BOX_MARGIN_MM
    high = np.array([side.stop for side in box]) * spacing_mm + BOX_MARGIN_MM
    n_cells = np.ceil(((high - low) / CELL_MM).round(6)).astype(int)
    x, y, z = n_cells.tolist()
    return _Field((low + high - CELL_MM * n_cells) / 2, (x, y, z))


def _body(
    mask: Mask, box: _Box, spacing_mm: FloatArray, field: _Field, calm_mm: float, steps: IntArray = _EVERY
) -> _Body:
    """Average a mask around the centre of each cell, reading every so many voxels along each axis.

    The fullest cell counts as full, so that a lesion smaller than a cell is seen.
    """
    reach, starts = 2 + round(2 * calm_mm / CELL_MM), []
    share = mask[box][:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    for side, spacing, low, n_cells, step in zip(box, spacing_mm, field.low_mm, field.shape, steps, strict=True):
        ends = (np.array([side.start, side.stop]) * spacing - low) / CELL_MM
        first, last = max(0, int(ends[0]) - reach), min(n_cells, int(ends[1]) + 1 + reach)
        n_read, read_mm = share.shape[0], step * spacing
        around = int(CELL_MM / read_mm) + 2  # voxels of nothing on both sides, for the averages at the box's edge
        origin = (side.start + 0.5) * spacing - (
            around + 0.5
        ) * read_mm  # the first voxel that is read keeps its centre
        centres = low + (np.arange(first, last) + 0.5) * CELL_MM - origin
        weights = averaging(centres, n_read + 2 * around, read_mm, CELL_MM)[:, around:-around]
        averaged = weights @ np.ascontiguousarray(share).reshape(n_read, -1)
        share = averaged.reshape(last - first, *share.shape[1:]).transpose(1, 2, 0)
        starts.append(first + (max(field.shape) - n_cells) // 2)
    share = np.ascontiguousarray(share) / max(float(share.max()), 1e-6)
    calm = ndimage.gaussian_filter(share, calm_mm / CELL_MM, mode="constant", truncate=2.0)
    return _Body(share, np.asarray(calm, dtype=np.float32), (starts[0], starts[1], starts[2]))


def _view(name: ViewName, brain: _Body | None, lesion: _Body | None, size: int) -> View:
    """Look at both bodies along one axis."""
    outer, inner = _surface(name, brain, size), _surface(name, lesion, size)
    beneath_mm = CELL_MM * np.clip(inner.depth - outer.depth, 0, None)
    veil = LEAST_VEIL + (MOST_VEIL - LEAST_VEIL) * (1 - np.exp(-beneath_mm / VEIL_MM))
    veil = np.where((inner.cover > 0) & (beneath_mm > 0), veil * outer.cover, 0)
    return View(name, outer.cover, inner.cover, outer.shade, inner.shade, veil.astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Surface:
    """The first surface of a body on the square field, (size, size): its cover, its depth in cells, its brightness."""

    cover: Float32Array
    depth: Float32Array
    shade: Float32Array


def _surface(name: ViewName, body: _Body | None, size: int) -> _Surface:
    """Find the surface that a viewer sees, and shade it."""
    cover, depth, shade = np.zeros((3, size, size), dtype=np.float32)
    if body is None:
        return _Surface(cover, depth, shade)
    order, is_flipped = _AXES[name]
    turned = tuple(slice(None, None, -1 if flip else 1) for flip in is_flipped)
    share, calm = (one.transpose(order)[turned] for one in (body.share, body.calm))
    before, top, left = (
        size - body.start[axis] - n if flip else body.start[axis]
        for axis, flip, n in zip(order, is_flipped, share.shape, strict=True)
    )
    peak = share.max(axis=0)
    rows, columns = np.nonzero(peak > LEAST_COVERED)
    level = np.minimum(peak, 0.5)
    index = (share >= level).argmax(axis=0)[rows, columns]
    here, nearer = share[index, rows, columns], share[np.maximum(index - 1, 0), rows, columns]
    within = np.clip((here - level[rows, columns]) / np.maximum(here - nearer, 1e-6), 0, 1)
    at = before + index - within
    place = (rows + top, columns + left)
    cover[place] = np.clip((peak[rows, columns] - LEAST_COVERED) / (1 - 2 * LEAST_COVERED), 0, 1)
    depth[place] = at
    facing = np.clip(_normals(calm, (index, rows, columns)) @ (np.array(LIGHT) / np.linalg.norm(LIGHT)), 0, 1)
    shade[place] = (AMBIENT + (1 - AMBIENT) * facing) * (1 - (1 - FARTHEST_SHADE) * at / size)
    return _Surface(cover, depth, shade)


def _normals(calm: Float32Array, places: tuple[IntArray, ...]) -> FloatArray:
    """Outward unit normals at some cells, (n, 3); none where the body is flat."""
    slopes = np.empty((places[0].size, 3))
    for axis, size in enumerate(calm.shape):
        ends = [list(places), list(places)]
        ends[0][axis], ends[1][axis] = np.maximum(places[axis] - 1, 0), np.minimum(places[axis] + 1, size - 1)
        slopes[:, axis] = calm[tuple(ends[0])] - calm[tuple(ends[1])]
    return np.asarray(slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-6))
