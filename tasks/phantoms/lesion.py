"""Phantom infarcts: grow one lesion of a given volume inside a vascular territory.

An infarct spreads from the centre of the hypoperfused tissue towards its rim, faster where collateral flow is poor, and
stops where another artery takes over or where there is no tissue. So does a front that starts at a seed and crosses
tissue of uneven slowness (``tasks.phantoms.arrival``): the lesion is the set of voxels that it reaches first. Voxels in
order of arrival are connected by construction, any volume can be cut off exactly, and a slowness that varies smoothly
gives a border that is smooth at the scale of a few voxels and irregular at the scale of the lesion.

The *domain* is the tissue a front may cross; nothing outside it is ever lesion. Everything is synthetic geometry: no
patient's lesion is copied.
"""

from __future__ import annotations

import contextlib

import numpy as np
from scipy import ndimage, special

from tasks.anatomy import LEFT, Side
from tasks.arrays import Affine, Float32Array, FloatArray, IntArray, Mask
from tasks.lesion import NEIGHBOURS_26
from tasks.phantoms.arrival import Spacing, arrival_times, smooth_field

REACH = 3.0  # the front is solved on this many times the lesion's voxels: room for fingers, little wasted
CORRELATION_SHARE = 0.5  # correlation length of the slowness over the radius of a ball of the lesion's volume
MOST_TRIES = 200  # places tried for one embolus before the domain counts as full
GAP_VOXELS = 2  # emboli lie at least this far apart, so that each is its own component


def lesion_domain(territory: Mask, brain: Mask, affine: Affine, *, side: Side, spared: Mask | None = None) -> Mask:
    """Tissue that a lesion of one hemisphere may fill.

    Parameters
    ----------
    territory, brain : (X, Y, Z) bool arrays
    affine : (4, 4) float array, voxel -> world, RAS, mm, axis-aligned along x
    side : ``left`` (world x < 0) or ``right`` (world x > 0); voxels on the mid-plane belong to neither
    spared : (X, Y, Z) bool array, such as the ventricles
    """
    x_mm = affine[0, 0] * np.arange(territory.shape[0]) + affine[0, 3]
    on_side = (x_mm < 0) if side == LEFT else (x_mm > 0)
    domain: Mask = territory & brain & on_side[:, None, None]
    return domain if spared is None else domain & ~spared


def watershed_depth(domain: Mask, brain: Mask, spacing_mm: Spacing) -> Float32Array:
    """Distance of each domain voxel to the nearest brain tissue outside the domain, mm; 0 outside the domain."""
    outside = brain & ~domain
    if not outside.any():
        return np.where(domain, np.inf, 0).astype(np.float32)
    depth = ndimage.distance_transform_edt(~outside, sampling=spacing_mm)
    return np.where(domain, depth, 0).astype(np.float32)


def recede(
    domain: Mask,
    depth_mm: Float32Array,
    *,
    margin_mm: float,
    spacing_mm: Spacing,
    rng: np.random.Generator,
) -> Mask:
    """Draw the watershed of one person: the border steps back by a smooth random depth of 0 to ``margin_mm``.

    Watersheds differ between people and with collateral flow; a border that is the same in every patient (and, in an
    atlas, often a plane) would show in every large lesion. Only borders with other brain tissue move (``depth_mm`` of
    `watershed_depth`), never the brain's surface.
    """
    coarse_mm = np.full(3, 4.0)
    coarse_shape = tuple(int(n * size // 4) + 2 for n, size in zip(domain.shape, spacing_mm, strict=True))
    coarse = smooth_field(coarse_shape, 10 / coarse_mm, rng)  # 10 mm: a gyrus
    rim = np.nonzero(domain & (depth_mm <= margin_mm))
    field = ndimage.map_coordinates(coarse, np.stack(rim) * (np.asarray(spacing_mm) / coarse_mm)[:, None], order=1)
    receded = domain.copy()
    receded[rim] = depth_mm[rim] > margin_mm * special.ndtr(field)
    return receded


def grow_lesion(
    domain: Mask,
    *,
    seed: tuple[int, int, int],
    volume_ml: float,
    spacing_mm: Spacing,
    rng: np.random.Generator,
    roughness: float = 0.6,
) -> Mask:
    """Grow one connected lesion from ``seed``.

    Parameters
    ----------
    domain : (X, Y, Z) bool array, tissue that the lesion may fill
    seed : voxel inside the domain where the lesion starts
    volume_ml : target volume, ml; met to a few voxels
    spacing_mm : voxel size along each axis, mm
    rng : the same generator state gives the same lesion
    roughness : standard deviation of the logarithm of the slowness; 0 gives a ball cut by the domain

    Returns
    -------
    (X, Y, Z) bool array, one 26-connected component that holds ``seed``.

    Raises
    ------
    ValueError
        The seed lies outside the domain, or the connected domain cannot hold the volume.

    References
    ----------
    Sethian JA. A fast marching level set method for monotonically advancing fronts. PNAS 1996;93:1591-1595.
    """
    n_voxels = round(volume_ml * 1000 / float(np.prod(spacing_mm)))
    if n_voxels < 1:
        raise ValueError(f"volume_ml must fill at least one voxel, got {volume_ml} ml. Ask for a larger lesion.")
    if not domain[seed]:
        raise ValueError(f"seed must lie inside the domain, got {seed} outside it. Draw the seed from the domain.")
    box, reachable = _reachable(domain, seed, n_voxels, spacing_mm)
    local_seed = tuple(int(position - axis.start) for position, axis in zip(seed, box, strict=True))
    radius_mm = (3000 * volume_ml / (4 * np.pi)) ** (1 / 3)
    arrival = arrival_times(reachable, local_seed, spacing_mm, CORRELATION_SHARE * radius_mm, roughness, rng)
    lesion = np.zeros(domain.shape, dtype=bool)
    lesion[box] = _first_to_arrive(arrival, reachable, local_seed, n_voxels)
    return lesion


def grow_emboli(
    domain: Mask, *, n_emboli: int, volume_ml: float, spacing_mm: Spacing, rng: np.random.Generator
) -> Mask:
    """Scatter ``n_emboli`` separate lesions over the domain, of unequal size and ``volume_ml`` together.

    Sizes follow a Dirichlet distribution with parameter 1.5: a few larger ones and crumbs, each at least 20 voxels.

    Raises
    ------
    ValueError
        The domain has no room left for one of them.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    shares = np.sort(rng.dirichlet(np.full(n_emboli, 1.5)))[::-1]
    least_ml = min(20 * voxel_ml, volume_ml / n_emboli)
    volumes_ml = least_ml + shares * (volume_ml - n_emboli * least_ml)
    lesion, free = np.zeros(domain.shape, dtype=bool), domain.copy()
    voxels = np.flatnonzero(domain)
    for part_ml in volumes_ml:
        part = _grow_somewhere(free, voxels, float(part_ml), spacing_mm, rng)
        lesion |= part
        box = tuple(
            slice(max(0, int(axis.min()) - GAP_VOXELS), int(axis.max()) + GAP_VOXELS + 1) for axis in np.nonzero(part)
        )
        free[box] &= ~ndimage.binary_dilation(part[box], NEIGHBOURS_26, iterations=GAP_VOXELS)
    return lesion


def grow_lacune(
    domain: Mask, *, seed: tuple[int, int, int], diameter_mm: float, spacing_mm: Spacing, rng: np.random.Generator
) -> Mask:
    """Grow a lacune: a small ellipsoid of random direction, its other axes 0.6 to 0.9 of the longest.

    The occlusion of one perforating artery leaves an ovoid lesion along that artery. Solid voxels included, no extent
    exceeds ``diameter_mm`` (a lesion of at most 15 mm counts as lacunar); the volume is whatever results.

    Raises
    ------
    ValueError
        The seed lies outside the domain, or the diameter is under three voxels.
    """
    if not domain[seed]:
        raise ValueError(f"seed must lie inside the domain, got {seed} outside it. Draw the seed from the domain.")
    voxel_mm = float(np.linalg.norm(spacing_mm))
    if diameter_mm < 3 * voxel_mm:
        raise ValueError(f"diameter_mm must be >= {3 * voxel_mm:.3g} mm (three voxels), got {diameter_mm:g} mm.")
    longest = (diameter_mm - voxel_mm) / 2  # centres: half a voxel's diagonal is added at either end
    semi_axes = longest * np.array([1.0, *rng.uniform(0.6, 0.9, 2)])
    direction, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    offsets_mm = [(np.arange(n) - at) * size for n, at, size in zip(domain.shape, seed, spacing_mm, strict=True)]
    box = tuple(slice(*(np.flatnonzero(np.abs(axis) <= longest)[[0, -1]] + [0, 1])) for axis in offsets_mm)
    grid = np.stack(np.meshgrid(*(axis[part] for axis, part in zip(offsets_mm, box, strict=True)), indexing="ij"), -1)
    ellipsoid = (((grid @ direction) / semi_axes) ** 2).sum(axis=-1) <= 1
    lesion = np.zeros(domain.shape, dtype=bool)
    local_seed = tuple(int(position - axis.start) for position, axis in zip(seed, box, strict=True))
    lesion[box] = _component_at(ellipsoid & domain[box], local_seed)
    return lesion


def _grow_somewhere(
    free: Mask, voxels: IntArray, volume_ml: float, spacing_mm: Spacing, rng: np.random.Generator
) -> Mask:
    """Grow a lesion from the first random voxel that is free and has room around it."""
    for index in rng.choice(voxels, MOST_TRIES):
        i, j, k = (int(axis) for axis in np.unravel_index(index, free.shape))
        if not free[i, j, k]:
            continue
        with contextlib.suppress(ValueError):  # too little room here
            return grow_lesion(free, seed=(i, j, k), volume_ml=volume_ml, spacing_mm=spacing_mm, rng=rng)
    raise ValueError(f"the domain must have room for {volume_ml:.3g} ml more, got none. Ask for smaller emboli.")


def _component_at(mask: Mask, seed: tuple[int, ...]) -> Mask:
    """The 26-connected component of ``mask`` that holds ``seed``."""
    components, _ = ndimage.label(mask, structure=NEIGHBOURS_26)
    return np.asarray(components == components[seed]) & mask


def _reachable(
    domain: Mask, seed: tuple[int, int, int], n_voxels: int, spacing_mm: Spacing
) -> tuple[tuple[slice, ...], Mask]:
    """The connected domain in the smallest ball around the seed that has room to choose, in the ball's box."""
    spacing = np.asarray(spacing_mm)
    farthest_mm = float(np.linalg.norm(np.asarray(domain.shape) * spacing))
    radius_mm = (REACH * n_voxels * float(spacing.prod()) * 3 / (4 * np.pi)) ** (1 / 3) + float(spacing.max())
    while True:
        reach = np.ceil(radius_mm / spacing).astype(int)
        box = tuple(slice(max(0, at - r), at + r + 1) for at, r in zip(seed, reach.tolist(), strict=True))
        near = domain[box]
        offsets = [
            ((np.arange(size) + axis.start - at) * step) ** 2
            for size, axis, at, step in zip(near.shape, box, seed, spacing_mm, strict=True)
        ]
        ball = offsets[0][:, None, None] + offsets[1][:, None] + offsets[2] <= radius_mm**2
        part = _component_at(near & ball, tuple(at - axis.start for at, axis in zip(seed, box, strict=True)))
        room = int(part.sum())
        is_everything = radius_mm >= farthest_mm
        if room >= 2 * n_voxels or (is_everything and room >= n_voxels):
            return box, part
        if is_everything:
            raise ValueError(
                f"the domain around the seed must hold {n_voxels} voxels, got {room}. Ask for a smaller lesion."
            )
        radius_mm *= 1.25


def _first_to_arrive(arrival: FloatArray, domain: Mask, seed: tuple[int, ...], n_voxels: int) -> Mask:
    """The first ``n_voxels`` voxels of the front that hang together with the seed.

    On the blocks they all do; after interpolation a few may not, so that the count is raised by what fell away.
    """
    flat = np.flatnonzero(domain)
    ordered = flat[np.argsort(arrival, kind="stable")]

    def first(voxels: IntArray) -> Mask:
        lesion = np.zeros(domain.shape, dtype=bool)
        lesion.ravel()[voxels] = True
        lesion[seed] = True
        return _component_at(lesion, seed)

    count = n_voxels
    lesion = first(ordered[:count])
    while (missing := n_voxels - int(lesion.sum())) > 0 and count < len(ordered):
        count += missing
        lesion = first(ordered[:count])
    if missing < 0:  # a pocket joined at once: take the latest away again
        lesion = first(ordered[lesion.ravel()[ordered]][:n_voxels])
    return lesion
