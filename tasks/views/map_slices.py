"""Perfusion maps on a scan's key slices, and the slices on which the arterial input and the venous output were read.

Slices, field and display convention are those of ``tasks.views.key_slices``: the patient's right is on the left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.anatomy import LabelTable
from tasks.arrays import AnyArray, Float32Array, FloatArray, FloatingArray, IntegerArray, Mask
from tasks.views.display_plane import Outlines, PictureField, reduced
from tasks.views.key_slices import Display, KeySlices, PreparedScan, displayed, key_slices

MAP_PIXEL_MM = 1.5  # perfusion resolves no finer: noise of CT needs averaging over 2 mm or more


@dataclass(frozen=True, eq=False)
class MapSlice:
    """What lies on one key slice.

    Attributes
    ----------
    maps : name -> (h, w) float32 array in pixels of ``MAP_PIXEL_MM``, the map's unit; NaN where most has none
    hypoperfused : outlines in pixels of the key slice
    """

    maps: dict[str, Float32Array]
    hypoperfused: Outlines


@dataclass(frozen=True, eq=False)
class PlaceSlice:
    """A slice with the voxels that a curve was read from.

    Attributes
    ----------
    number, n_slices : its place in the file, counted from 1, and how many there are
    grey : (h, w) uint8 array in pixels of ``MAP_PIXEL_MM``
    places : name -> (n, 2) float array, positions (x, y) of the voxels on this slice in its pixels
    """

    number: int
    n_slices: int
    grey: npt.NDArray[np.uint8]
    places: dict[str, FloatArray]


@dataclass(frozen=True)
class MapSlices:
    """The key slices from the lowest to the highest, what the maps show on each, and the slices of the curves."""

    key: KeySlices
    slices: tuple[MapSlice, ...]
    of_places: tuple[PlaceSlice, ...]


def map_slices(
    scan: PreparedScan,
    table: LabelTable,
    maps: Mapping[str, FloatingArray],
    window: tuple[float, float],
    hypoperfused: Mask | None = None,
    places: Mapping[str, IntegerArray] | None = None,
) -> MapSlices:
    """Cut maps at the slices that show the ASPECTS levels best.

    Parameters
    ----------
    scan : PreparedScan
        ``lesion`` is the core.
    table : LabelTable of the scan's labels
    maps : name -> (X, Y, Z) float array of the scan's shape, any unit, NaN where there is no tissue
    window : smallest and largest grey value
    hypoperfused : (X, Y, Z) bool array, or None
    places : name -> (n, 3) int array, stored voxel indices (i, j, k) that a curve was read from
        Each name is shown on the slice that holds most of its voxels.

    Raises
    ------
    ValueError
        A map or mask has not the scan's shape, or a voxel lies outside.
    """
    places = {name: np.asarray(found).reshape(-1, 3) for name, found in (places or {}).items()}
    _check(scan.values.shape, {**maps, "hypoperfused": hypoperfused}, places)
    key = key_slices(scan, table, window=window)
    display = displayed(scan, table)
    turn, field = display.turn, display.field
    turned = {name: turn.turned(values) for name, values in maps.items()}
    late = None if hypoperfused is None else turn.turned(hypoperfused)
    slices = tuple(
        MapSlice(
            {name: _average_of_known(values[:, :, k], field) for name, values in turned.items()},
            () if late is None else field.outlines(late[:, :, k]),
        )
        for _, k in display.chosen
    )
    to_displayed = np.linalg.inv(turn.affine) @ scan.affine
    voxels = {
        name: to_displayed @ np.vstack([found.T, np.ones(len(found))]) for name, found in places.items() if len(found)
    }
    return MapSlices(key, slices, _place_slices(display, voxels, window))


def _average_of_known(plane: FloatingArray, field: PictureField) -> Float32Array:
    """A map's slice averaged over what is known of each pixel; NaN where that is less than half."""
    weights = field.weights(MAP_PIXEL_MM)
    is_known = np.isfinite(plane)
    total, share = reduced(np.where(is_known, plane, 0), weights), reduced(is_known, weights)
    return np.asarray(np.where(share >= 0.5, total / np.maximum(share, 1e-6), np.nan), dtype=np.float32)


def _place_slices(
    display: Display, voxels: Mapping[str, FloatArray], window: tuple[float, float]
) -> tuple[PlaceSlice, ...]:
    """The slices with most voxels of each name, upwards; a slice of two names is shown once with both."""
    names_of: dict[int, list[str]] = defaultdict(list)
    levels = {name: np.rint(found[2]).astype(int) for name, found in voxels.items()}
    for name, level in levels.items():
        names_of[int(np.bincount(level).argmax())].append(name)
    field, made = display.field, []
    for k in sorted(names_of):
        grey = (reduced(display.values[:, :, k], field.weights(MAP_PIXEL_MM)) - window[0]) / (window[1] - window[0])
        positions = {
            name: field.pixels(MAP_PIXEL_MM, found[:, levels[name] == k])[::-1].T + 0.5
            for name, found in voxels.items()
            if (levels[name] == k).any()
        }
        made.append(
            PlaceSlice(
                display.turn.stored_number(k),
                display.turn.shape[2],
                np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8),
                positions,
            )
        )
    return tuple(made)


def _check(
    shape: tuple[int, ...],
    arrays: Mapping[str, AnyArray | None],
    places: Mapping[str, IntegerArray],
) -> None:
    """Refuse what does not fit, every fault named."""
    problems = [
        f"{name} must have the scan's shape {shape}, got {array.shape}. Put all on the grid of the maps."
        for name, array in arrays.items()
        if array is not None and array.shape != shape
    ]
    problems += [
        f"voxels of {name} must lie inside {shape}, got {found.min(axis=0)} to {found.max(axis=0)}. Give (i, j, k)."
        for name, found in places.items()
        if len(found) and ((found < 0) | (found >= shape)).any()
    ]
    if problems:
        raise ValueError(" ".join(problems))
