"""The native slices that a person looks at to check one scan: the two ASPECTS levels with what was found on them.

Pictures follow the display convention of ``tasks.views.display_plane``: the patient's right is on the left, anterior is
up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.anatomy import CORTICAL_REGIONS, DEEP_REGIONS, LabelTable
from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, IntArray, IntegerArray, Mask
from tasks.space.affines import MIRROR
from tasks.views.display_plane import (
    HEAD,
    Framing,
    Outlines,
    PictureField,
    Turn,
    averaging,
    head_field,
    outlines,
    reduced,
    smooth_borders,
    turn_for_display,
)

#: Which regions a reader looks for at each level: Barber et al., Lancet 2000;355:1670-1674.
LEVELS = {"ganglionic": (*DEEP_REGIONS, *CORTICAL_REGIONS[:3]), "supraganglionic": CORTICAL_REGIONS[3:]}
NO_LEVEL = "largest section"  # of the brain, where no region is known
LEAST_GAIN = 1.0  # a second slice is shown where it adds at least one whole region to what the first shows
COMPARED_MM = 2.0  # areas to this step are enough to compare slices

MR_PERCENTILES = (1.0, 99.5)  # of the brain: the window of a scan without units
MR_LIMIT_SHARE = 0.5  # of the window, where the mirrored difference saturates: coils alone make a tenth
CT_LIMIT_SHARE = 0.125  # 10 HU of the usual window of 80: early ischaemia lowers grey matter by 2 to 8 HU
DIFFERENCE_PIXEL_MM = 2.0
DIFFERENCE_WIDTH_MM = 6.0  # half-base of the averaging in three dimensions: brings noise of 5 HU below 1 HU


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan with what is known about it, all on its native grid.

    Attributes
    ----------
    values : (X, Y, Z) array, any unit
    affine : (4, 4) float array, voxel -> world, RAS, mm
    brain : (X, Y, Z) bool array; all False where no brain was found
    labels : (X, Y, Z) integer array, 0 = no label; all 0 where nothing was registered
    fixed_to_moving : (4, 4) float array, template world -> scan world, mm, or None where nothing was registered
    lesion : (X, Y, Z) bool array, or None
    template : the template's brain, (X, Y, Z) bool array, and its affine; without it no registration is shown

    Raises
    ------
    ValueError
        The arrays are not volumes of one shape.
    """

    values: AnyArray
    affine: Affine
    brain: Mask
    labels: IntegerArray
    fixed_to_moving: Affine | None = None
    lesion: Mask | None = None
    template: tuple[Mask, Affine] | None = None

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.values, self.brain, self.labels, self.lesion) if array is not None}
        if len(shapes) != 1 or self.values.ndim != 3:
            raise ValueError(
                f"values, brain, labels and lesion must be volumes of one shape, got {sorted(shapes)}. "
                "Bring all to the scan's own grid."
            )


@dataclass(frozen=True, eq=False)
class KeySlice:
    """One native slice as it is shown.

    Attributes
    ----------
    level : ``ganglionic``, ``supraganglionic`` or ``largest section``
    number, n_slices : its place in the file, counted from 1 along the slice axis, and how many there are
    height_mm : world height of the middle of the picture
    pixel_mm : edge of a pixel
    grey : (H, W) uint8 array
    regions : label index -> its outlines, closed polylines of (n, 2) positions (x, y)
    places : label index -> a position inside the region, for its name
    brain, template_brain, lesion : outlines of the brain mask, of the template's brain on this slice, of the lesion
    difference : (h, w) float32 array over the same field, or None where nothing was registered
        Value less the value at the mirrored point, in the scan's unit, averaged; NaN outside the brain.
    """

    level: str
    number: int
    n_slices: int
    height_mm: float
    pixel_mm: float
    grey: npt.NDArray[np.uint8]
    regions: dict[int, Outlines]
    places: dict[int, tuple[float, float]]
    brain: Outlines
    template_brain: Outlines
    lesion: Outlines
    difference: Float32Array | None


@dataclass(frozen=True)
class KeySlices:
    """The slices from the lowest to the highest, the grey window and where the difference saturates, scan's unit."""

    slices: tuple[KeySlice, ...]
    window: tuple[float, float]
    difference_limit: float


def key_slices(
    scan: PreparedScan,
    table: LabelTable,
    window: tuple[float, float] | None = None,
    framing: Framing = HEAD,
) -> KeySlices:
    """Choose and cut the slices that show the ASPECTS levels best.

    At each level the first slice is the one that shows the regions best, each region weighing the same whatever its
    size; a second is added where it shows what the first misses, as on a tilted head.

    Parameters
    ----------
    scan : PreparedScan
    table : LabelTable
        Of the scan's labels.
    window : smallest and largest value shown, such as 0 to 80 HU; by percentiles of the brain where None
    framing : room around the brain, and how many slices

    Raises
    ------
    ValueError
        The window does not rise, or an affine cannot be inverted.
    """
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"window must rise, got {window[0]:g} to {window[1]:g}. Give the smaller value first.")
    limit_share = MR_LIMIT_SHARE if window is None else CT_LIMIT_SHARE
    window = window or _percentile_window(scan)
    display = displayed(scan, table, framing)
    field, averages, slices = display.field, _BrainAverages(display, window), []
    for level, k in display.chosen:
        plane = smooth_borders(display.labels[:, :, k], table, display.turn.spacing_mm[:2].tolist())
        grey = (field.averaged(display.values[:, :, k]) - window[0]) / (window[1] - window[0])
        points = np.argwhere(plane)
        of_point = plane[tuple(points.T)]
        found = {index: field.outlines(plane == index) for index in np.unique(of_point).tolist()}
        regions = {index: lines for index, lines in found.items() if lines}
        template, difference = _registered(display, k, scan.fixed_to_moving, scan.template, averages)
        slices.append(
            KeySlice(
                level,
                display.turn.stored_number(k),
                display.turn.shape[2],
                float((display.turn.affine @ [*field.middle_voxel, k, 1])[2]),
                field.pixel_mm,
                np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8),
                regions,
                {index: _inner_place(field, points[of_point == index]) for index in regions},
                field.outlines(display.brain[:, :, k]),
                template,
                () if scan.lesion is None else field.outlines(display.turn.turned(scan.lesion)[:, :, k]),
                difference,
            )
        )
    return KeySlices(tuple(slices), window, limit_share * (window[1] - window[0]))


@dataclass(frozen=True, eq=False)
class Display:
    """A scan turned for display, the slices chosen from the lowest to the highest, and the field they share."""

    turn: Turn
    values: AnyArray
    brain: Mask
    labels: IntegerArray
    chosen: tuple[tuple[str, int], ...]
    field: PictureField


def displayed(scan: PreparedScan, table: LabelTable, framing: Framing = HEAD) -> Display:
    """Turn a scan, choose its slices and frame the head."""
    turn = turn_for_display(scan.values.shape, scan.affine)
    values, brain, labels = turn.turned(scan.values), turn.turned(scan.brain), turn.turned(scan.labels)
    slices = _chosen_slices(brain, labels, turn, table, framing.most_per_level)
    chosen = tuple(sorted(slices, key=lambda item: item[1]))
    field = head_field([brain[:, :, k] for _, k in chosen], turn, framing)
    return Display(turn, values, brain, labels, chosen, field)


def _chosen_slices(
    brain: Mask, labels: IntegerArray, turn: Turn, table: LabelTable, most_per_level: int
) -> Iterator[tuple[str, int]]:
    """Level and slice, the best first: each slice adds most to the share of every region that is shown so far."""
    step = [max(1, round(COMPARED_MM / size)) for size in turn.spacing_mm[:2]]
    coarse = labels[:: step[0], :: step[1]]
    n_labels = table.labels[-1].index + 1
    areas = np.stack([np.bincount(coarse[:, :, k].ravel(), minlength=n_labels) for k in range(turn.shape[2])])
    shares = areas / np.maximum(areas.max(axis=0), 1)
    is_empty = True
    for level, regions in LEVELS.items():
        of_level = shares[:, [label.index for label in table.labels if label.region in regions]]
        shown = np.zeros(of_level.shape[1])
        for _ in range(most_per_level):
            gains = np.maximum(of_level - shown, 0).sum(axis=1)
            k = int(gains.argmax())
            if gains[k] < (LEAST_GAIN if shown.any() else 1e-9):
                break
            shown, is_empty = np.maximum(shown, of_level[k]), False
            yield level, k
    if is_empty:
        sections = brain.sum(axis=(0, 1))
        yield NO_LEVEL, int(sections.argmax()) if sections.any() else turn.shape[2] // 2


def _percentile_window(scan: PreparedScan) -> tuple[float, float]:
    """Percentiles of the brain, or of everything where there is none; never empty."""
    inside = scan.values[scan.brain] if scan.brain.any() else scan.values.ravel()
    low, high = np.percentile(inside[:: max(1, inside.size // 50_000)], MR_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def _inner_place(field: PictureField, points: IntArray) -> tuple[float, float]:
    """The voxel of a region nearest to its centre of mass, as a position: a bent region's name lies inside it."""
    nearest = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
    row, column = field.pixels(field.pixel_mm, nearest[:, None]).ravel() + 0.5
    return float(column), float(row)


def _registered(
    display: Display,
    k: int,
    fixed_to_moving: Affine | None,
    reference: tuple[Mask, Affine] | None,
    averages: _BrainAverages,
) -> tuple[Outlines, Float32Array | None]:
    """What a registration shows on a slice: the template brain's outline and the mirrored difference."""
    if fixed_to_moving is None or reference is None:
        return (), None
    field, affine = display.field, display.turn.affine
    brain, template_affine = reference
    across, down = field.weights(field.pixel_mm)
    shape = (down.shape[0], across.shape[0])
    places = np.linalg.inv(fixed_to_moving @ template_affine) @ affine @ field.voxels(field.pixel_mm, shape, k)
    share = ndimage.map_coordinates(brain.view(np.uint8), places[:3], output=np.float32, order=1)
    mirror = fixed_to_moving @ MIRROR @ np.linalg.inv(fixed_to_moving)
    return outlines(share.reshape(shape)), _mirrored_difference(k, np.linalg.inv(affine) @ mirror @ affine, averages)


def _mirrored_difference(k: int, mirror: Affine, averages: _BrainAverages) -> Float32Array:
    """Value less mirrored value on a slice; ``mirror`` carries displayed voxels to displayed voxels."""
    inside = averages.plane(k)[1] > 0.5
    difference = np.full(inside.shape, np.nan, dtype=np.float32)
    if inside.any():
        here = averages.display.field.voxels(DIFFERENCE_PIXEL_MM, inside.shape, k)[:, inside.ravel()]
        difference[inside] = averages.at(here) - averages.at(mirror @ here)
    return difference


class _BrainAverages:
    """Averages of the brain's values around a point; each slice is averaged once for all pictures of a scan."""

    def __init__(self, display: Display, window: tuple[float, float]) -> None:
        self.display, self.window = display, window
        self.weights = display.field.weights(DIFFERENCE_PIXEL_MM, DIFFERENCE_WIDTH_MM)
        self._planes: dict[int, Float32Array] = {}

    def plane(self, k: int) -> Float32Array:
        """The brain's values and the brain on one slice, both averaged within it, (2, rows, columns)."""
        if k not in self._planes:
            inside = self.display.brain[:, :, k]
            values = np.clip(self.display.values[:, :, k], *self.window) * inside
            self._planes[k] = np.stack([reduced(one, self.weights) for one in (values, inside)])
        return self._planes[k]

    def at(self, voxels: FloatArray) -> Float32Array:
        """Averages around displayed voxels; NaN where less than half of what is averaged is brain."""
        n_slices, step_mm = self.display.turn.shape[2], float(self.display.turn.spacing_mm[2])
        first, last = (int(np.clip(end, 0, n_slices - 1)) for end in (voxels[2].min(), voxels[2].max() + 1))
        centres_mm = (np.arange(first, last + 1, dtype=np.float64) + 0.5) * step_mm
        along = averaging(centres_mm, n_slices, step_mm, DIFFERENCE_WIDTH_MM)
        used = np.unique(along.indices).tolist()
        stack = np.tensordot(along.toarray()[:, used], np.stack([self.plane(k) for k in used], axis=1), (1, 1))
        places = np.vstack([voxels[2] - first, self.display.field.pixels(DIFFERENCE_PIXEL_MM, voxels)])
        total, share = (ndimage.map_coordinates(stack[:, part], places, order=1, cval=0.0) for part in (0, 1))
        return np.asarray(np.where(share > 0.5, total / np.maximum(share, 1e-6), np.nan), dtype=np.float32)
