"""An anatomy in a random pose on the grid: tissues, regions, and the way to the template."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from models.training.anatomies import CODE, STEP, Anatomy, upsampled
from models.training.synthetic import grid
from models.training.synthetic.grid import smooth
from models.training.synthetic.recipe import Recipe
from tasks.arrays import Float32Array, FloatArray, Mask
from tasks.segmentation import STEP_MM

OFFSETS = (-0.25, 0.25)  # of the points along each axis of a voxel


def thinned(codes: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Cortex next to fluid becomes fluid in places, as in an old brain."""
    fluid = np.isin(codes, (CODE["csf"], CODE["ventricle"]))
    where = _some(ndimage.binary_dilation(fluid) & np.isin(codes, (CODE["grey"], CODE["white"], CODE["caudate"])), rng)
    taken = codes.copy()
    taken[where] = np.where(codes[where] == CODE["grey"], CODE["csf"], CODE["ventricle"])
    return taken


def filled(codes: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Fluid next to cortex becomes cortex in places: narrow sulci, as in a young or a swollen brain."""
    near = ndimage.binary_dilation(codes == CODE["grey"], iterations=int(rng.integers(1, 3)))
    where = _some(near & (codes == CODE["csf"]), rng)
    taken = codes.copy()
    taken[where] = CODE["grey"]
    return taken


def _some(rim: Mask, rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], ...]:
    """Indices of a rim, where a coarse random field says so that is alike on both sides."""
    coarse = ndimage.gaussian_filter(rng.standard_normal(tuple(size // 8 + 2 for size in rim.shape)), 1.5)
    coarse = coarse / coarse.std() + rng.uniform(-1.5, 0.8)
    index = np.nonzero(rim)
    from_middle = np.abs(index[0] - index[0].mean()).astype(int) if len(index[0]) else index[0]
    chosen = coarse[tuple(axis // 8 for axis in (from_middle, *index[1:]))] > 0
    return tuple(axis[chosen] for axis in index)


def places_of(anatomy: Anatomy, drawn: Recipe, rng: np.random.Generator, is_flipped: bool) -> Float32Array:
    """Voxel of the anatomy of every voxel of the grid: pose, then a smooth deformation, much alike on both sides."""
    brain = np.isin(anatomy.tissues[::4, ::4, ::4], [CODE[name] for name in ("grey", "white", "cerebellar_grey")])
    centre = np.argwhere(brain).mean(axis=0) * 4
    angles = [rng.uniform(*drawn.tilt_deg), rng.uniform(*drawn.rotation_deg), rng.uniform(*drawn.rotation_deg)]
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    linear = turn @ np.diag(STEP_MM / rng.uniform(*drawn.scale, 3))
    if is_flipped:
        linear = np.diag([-1.0, 1.0, 1.0]) @ linear
    middle = (np.asarray(grid.GRID_SHAPE) - 1) / 2
    offset = centre + rng.uniform(*drawn.shift_mm, 3) - linear @ middle
    x, y, z = np.ogrid[: grid.GRID_SHAPE[0], : grid.GRID_SHAPE[1], : grid.GRID_SHAPE[2]]
    places = np.stack([row[0] * x + row[1] * y + row[2] * z + at for row, at in zip(linear, offset, strict=True)])
    places = places.astype(np.float32)
    coarse, fine = rng.uniform(0, drawn.coarse_mm), rng.uniform(0, drawn.fine_mm)
    mirror = np.diag([-1.0, 1.0, 1.0])  # of the anatomy, about the middle of its brain
    way = np.linalg.solve(linear, mirror @ linear)
    start = np.linalg.solve(linear, mirror @ (offset - centre) + centre - offset)
    alike = 1 - drawn.one_sided
    for axis in range(3):
        field = smooth(rng, 32.0, coarse) + smooth(rng, 14.0, fine)
        across = ndimage.affine_transform(field, way, start, order=1, mode="nearest") * mirror[axis, axis]
        places[axis] += (field + np.float32(alike) * across) / np.float32(np.hypot(1, alike))
    return places


def sampled(codes: npt.NDArray[np.uint8], places: Float32Array) -> list[npt.NDArray[np.uint8]]:
    """Tissue at eight points of every voxel of the grid: partial volume without blur."""
    flat = np.pad(codes, 1, constant_values=CODE["air"]).ravel()  # air around it
    sizes = [size + 2 for size in codes.shape]
    middle = tuple(size // 2 for size in places.shape[1:])
    step = [float(np.gradient(places[(axis, *_line(middle, axis))])[middle[axis]]) for axis in range(3)]
    by_axis = []
    for axis in range(3):
        both = [places[axis] + np.float32(1 + offset * step[axis]) for offset in OFFSETS]
        by_axis.append([np.rint(np.clip(one, 0, sizes[axis] - 1, out=one), out=one).astype(np.int32) for one in both])
    taken = []
    for x in by_axis[0]:
        for y in by_axis[1]:
            row = (x * sizes[1] + y) * sizes[2]
            taken += [flat[row + z] for z in by_axis[2]]
    return taken


def _line(middle: tuple[int, ...], axis: int) -> tuple[int | slice, ...]:
    """The line of voxels through the middle along an axis."""
    return tuple(slice(None) if one == axis else at for one, at in enumerate(middle))


def carried(labels: npt.NDArray[np.uint8], places: Float32Array, is_flipped: bool) -> npt.NDArray[np.uint8]:
    """Labels at the middle of every voxel; sides change where the patient is a mirror image."""
    index = [np.rint(one).astype(np.int32) for one in places]
    inside = np.logical_and.reduce([(at >= 0) & (at < size) for at, size in zip(index, labels.shape, strict=True)])
    at = tuple(np.clip(one, 0, size - 1) for one, size in zip(index, labels.shape, strict=True))
    carried = np.where(inside, labels[at], 0).astype(np.uint8)
    if is_flipped:  # labels 1-10 right, 11-20 left
        carried = np.where(carried == 0, 0, np.where(carried > 10, carried - 10, carried + 10)).astype(np.uint8)
    return carried


def template_places(anatomy: Anatomy, places: Float32Array) -> Float32Array:
    """Template world of every voxel of the grid, mm."""
    return upsampled(_read(anatomy.to_template, places, STEP), places.shape[1:])


def _read(fields: Float32Array, places: Float32Array, step: int) -> Float32Array:
    """Smooth fields, kept at every ``step``-th voxel of the anatomy, at every second voxel of the grid."""
    at = places[:, ::STEP, ::STEP, ::STEP] / np.float32(step)
    return np.stack([ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in fields])


def affine_to_template(template_mm: Float32Array, tissue: Float32Array, is_flipped: bool) -> FloatArray:
    """The affine transform nearest to the way to the template over the brain, (3, 4); of mirror images as they look."""
    at = np.argwhere(tissue[::3, ::3, ::3] > 0.5) * 3
    goal = template_mm[:, at[:, 0], at[:, 1], at[:, 2]].astype(np.float64)
    if is_flipped:
        goal[0] *= -1
    return np.asarray(np.linalg.lstsq(np.column_stack([at, np.ones(len(at))]), goal.T, rcond=None)[0].T)


_NEAR_AIR: dict[str, Float32Array] = {}


def near_air(anatomy: Anatomy, places: Float32Array) -> Float32Array:
    """How near to air-filled spaces of the skull base each voxel lies, 0 to 1."""
    if anatomy.name not in _NEAR_AIR:
        coarse = anatomy.tissues[::4, ::4, ::4]
        head = ndimage.binary_fill_holes(ndimage.binary_closing(coarse > 0, iterations=2))
        cavity = ndimage.binary_erosion(head, iterations=2) & ((coarse == 0) | (coarse == CODE["mucosa"]))
        distance = ndimage.distance_transform_edt(~cavity) * 4.0 if cavity.any() else np.full(coarse.shape, 99.0)
        _NEAR_AIR[anatomy.name] = np.exp(-((distance / 11.0) ** 2)).astype(np.float32)
    return np.asarray(upsampled(_read(_NEAR_AIR[anatomy.name][None], places, 4), places.shape[1:])[0], np.float32)


def pushed(
    places: Float32Array, template_mm: Float32Array, infarct: Float32Array, by: Float32Array
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Places, ways to the template and an infarct, moved by a displacement that says where each voxel came from.

    Parameters
    ----------
    by : (3, X, Y, Z) float32 array, voxels; what lies at a voxel came from there minus this
    """
    where = (np.abs(by) > 0.02).any(axis=0)
    at = np.argwhere(where).T - by[:, where]
    moved = [np.array(places), np.array(template_mm), np.array(infarct)[None]]
    for one in moved:
        for axis, values in enumerate(one.copy()):
            one[axis][where] = ndimage.map_coordinates(values, at, order=1, mode="nearest")
    return moved[0], moved[1], moved[2][0]


def inside_skull(share: Float32Array) -> Mask:
    """The inside of the skull in one piece, of the share of brain, fluid and dura in every voxel."""
    inside = ndimage.binary_opening(share > 0.5, iterations=2)
    labels, n = ndimage.label(inside)
    if n > 1:
        inside = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(inside)
