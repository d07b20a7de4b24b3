"""Checks of a stack of slices: is it one volume on one regular grid, and if not, in which measured way.

A *step* is the distance of neighbouring slices along the slice normal, mm; *offset* is a slice's place along the normal
from the first one. Positions are those of the first voxel's centre in DICOM's patient coordinates (LPS, mm). A fault
has a reason code, its measured numbers and a declared action: ``reject``, or ``resample`` to one regular volume, in
space or in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cohorts.images.mask import ImageProblemError
from tasks.arrays import FloatArray

Action = Literal["reject", "resample"]

#: Slices nearer than this along the normal lie at one position: positions are written with two or more decimals.
SAME_POSITION_MM = 0.01
#: A slice may lie this far from the regular grid: scanners that write positions with one decimal move them by 0.05 mm.
GRID_TOLERANCE_MM = 0.1
#: The same for thick slices: partial volume hides a displacement of a twentieth of the step.
GRID_TOLERANCE_SHARE = 0.05
#: Sideways drift over the whole stack that rounded positions can explain; more is a sheared (tilted) stack.
DRIFT_TOLERANCE_MM = 0.5
#: A step this many times the usual one has lost a slice: half-way between one step and two.
MISSING_RATIO = 1.5
#: Direction cosines are written with six decimals, sometimes with four.
COSINE_TOLERANCE = 1e-3
#: Tilt tags are whole or half degrees and noisy: a smaller one with straight geometry says nothing.
TILT_TAG_TOLERANCE_DEG = 1.0
#: Slice thicknesses that differ by less are one thickness, rounded.
THICKNESS_TOLERANCE_MM = 0.05
#: Steps are told apart at this resolution when the commonest is looked for.
STEP_RESOLUTION_MM = 0.05
#: In-plane voxel sizes of head scans; what lies outside is a unit error (cm, um).
PIXEL_SPACING_RANGE_MM = (0.1, 10.0)

#: Every fault with the actions that may be declared for it, the default first.
ACTIONS: Mapping[str, tuple[Action, ...]] = MappingProxyType(
    {
        "gantry_tilt": ("resample", "reject"),
        "uneven_steps": ("resample", "reject"),
        "two_thicknesses": ("resample", "reject"),
        "duplicate_slices": ("resample", "reject"),
        "missing_slices": ("reject", "resample"),
        "single_slice": ("reject",),
        "identical_positions": ("reject",),
        "conflicting_slices": ("reject",),
        "incomplete_frames": ("reject",),
        "frame_times_missing": ("reject",),
        "clock_wrapped": ("resample", "reject"),
        "slice_times_differ": ("resample", "reject"),
        "duplicate_frames": ("resample", "reject"),
        "frames_uneven": ("resample", "reject"),
        "clocks_disagree": ("reject",),
        "frames_at_one_time": ("reject",),
        "frames_misaligned": ("reject",),
        "frame_interval_implausible": ("reject",),
        "frame_gap": ("reject",),
        "orientation_invalid": ("reject",),
        "orientation_varies": ("reject",),
        "spacing_invalid": ("reject",),
        "tilt_tag_only": ("reject",),
        "slices_not_on_line": ("reject",),
    }
)


@dataclass(frozen=True)
class Fault:
    """One fault of a stack: reason code, what must hold and what was found, and the measured numbers with their
    units.
    """

    reason: str
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)


class StackRefusedError(ImageProblemError):
    """A stack that becomes no volume: every fault, and the first one's reason."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults[0].reason, "; ".join(fault.text for fault in faults))
        self.faults = faults

    def __reduce__(self) -> Any:
        return type(self), (self.faults,)


@dataclass(frozen=True, eq=False)
class StackGeometry:
    """A stack of slices sorted along its normal.

    Attributes
    ----------
    order : (N,) int array; places of the slices in the input, along the normal
    offsets_mm : (N,) array, ascending, from the first slice along the normal
    positions : (N, 3) array, LPS mm, sorted
    row, column, normal : (3,) unit vectors, LPS: direction of increasing column index, of increasing row index, and
        their cross product
    step_mm : the usual step
    tilt_deg : angle between the line of the positions and the normal
    faults : all of them
    """

    order: npt.NDArray[np.intp]
    offsets_mm: FloatArray
    positions: FloatArray
    row: FloatArray
    column: FloatArray
    normal: FloatArray
    step_mm: float
    tilt_deg: float
    faults: tuple[Fault, ...]

    @property
    def is_regular(self) -> bool:
        """Whether the slices already lie on one regular, perpendicular grid."""
        return not self.faults


def check_stack(
    positions: npt.ArrayLike,
    orientation: npt.ArrayLike,
    spacing_mm: Sequence[float],
    thickness_mm: npt.ArrayLike | None = None,
    tilt_tag_deg: float | None = None,
) -> StackGeometry:
    """Sort slices along their normal and measure every fault of the stack.

    Parameters
    ----------
    positions : (N, 3) array, LPS mm
        One per slice, each position once, in any order.
    orientation : (6,) or (N, 6) array
        Direction cosines as DICOM's Image Orientation (Patient).
    spacing_mm : two numbers, mm
        Distance of rows, distance of columns.
    thickness_mm : (N,) array, mm, NaN where unknown, or None
    tilt_tag_deg : Gantry/Detector Tilt, degrees, None where absent

    Returns
    -------
    StackGeometry; ``faults`` names what is wrong, in the order of ``ACTIONS`` for faults of the stack as a whole.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    points = np.asarray(positions, dtype=np.float64)
    cosines = np.atleast_2d(np.asarray(orientation, dtype=np.float64))
    if points.ndim != 2 or points.shape[1] != 3 or cosines.shape[1] != 6 or len(cosines) not in (1, len(points)):
        raise ValueError(
            f"positions must be (N, 3) and orientation (6,) or (N, 6), got {points.shape} and {cosines.shape}. "
            "Give one position per slice."
        )
    faults = _orientation_faults(cosines) + _spacing_faults(spacing_mm)
    row, column, normal = _axes(np.median(cosines, axis=0))
    order = np.argsort(points @ normal, kind="stable")
    points = points[order]
    offsets = (points - points[0]) @ normal
    steps = np.diff(offsets)
    step, tilt = usual_step(steps), 0.0
    if len(points) < 2:
        faults.append(Fault("single_slice", "a volume must have at least 2 slices, got 1", {"n_slices": 1}))
    elif (steps < SAME_POSITION_MM).any():
        numbers = {"n_slices": len(points), "n_repeated": int((steps < SAME_POSITION_MM).sum())}
        faults.append(Fault("identical_positions", "every slice must have its own position", numbers))
    else:
        tilt, found = _line_faults(points, offsets, normal, tilt_tag_deg)
        thickness = None if thickness_mm is None else np.asarray(thickness_mm, dtype=np.float64)[order]
        faults += found + _step_faults(offsets, steps, thickness)
    return StackGeometry(order, offsets, points, row, column, normal, step, tilt, tuple(faults))


def usual_step(steps_mm: npt.ArrayLike) -> float:
    """Give the commonest step, the smallest of those equally common, and at least half the median; NaN of none.

    >>> usual_step([4.0, 4.0, 1.1, 7.0, 7.0])
    4.0
    """
    steps = np.asarray(steps_mm, dtype=np.float64)
    if not steps.size:
        return math.nan
    candidates = steps[steps >= np.median(steps) / 2]
    rounded = np.round(candidates / STEP_RESOLUTION_MM)
    values, counts = np.unique(rounded, return_counts=True)
    return float(np.median(candidates[rounded == values[counts.argmax()]]))


def _axes(cosines: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Perpendicular unit vectors from written cosines."""
    row = cosines[:3] / (np.linalg.norm(cosines[:3]) or 1.0)
    column = cosines[3:] - row * (row @ cosines[3:])
    column = column / (np.linalg.norm(column) or 1.0)
    return row, column, np.cross(row, column)


def _orientation_faults(cosines: FloatArray) -> list[Fault]:
    """Cosines that are no pair of perpendicular unit vectors, or that change within the stack."""
    row, column = cosines[:, :3], cosines[:, 3:]
    errors = np.concatenate(
        [np.abs((row**2).sum(1) - 1), np.abs((column**2).sum(1) - 1), np.abs((row * column).sum(1))]
    )
    worst = float(errors.max()) if np.isfinite(errors).all() else math.inf
    if worst > COSINE_TOLERANCE:
        text = "direction cosines must be two perpendicular unit vectors"
        return [Fault("orientation_invalid", text, {"largest_error": worst})]
    spread = float(np.ptp(cosines, axis=0).max())
    if spread > COSINE_TOLERANCE:
        text = "all slices must have one orientation"
        return [Fault("orientation_varies", text, {"largest_difference": spread})]
    return []


def _spacing_faults(spacing_mm: Sequence[float]) -> list[Fault]:
    """In-plane voxel sizes that no head scan has."""
    low, high = PIXEL_SPACING_RANGE_MM
    if all(low <= size <= high for size in spacing_mm):  # False for NaN
        return []
    numbers = {"row_distance_mm": float(spacing_mm[0]), "column_distance_mm": float(spacing_mm[1])}
    return [Fault("spacing_invalid", f"pixels must measure {low} to {high} mm", numbers)]


def _line_faults(
    points: FloatArray, offsets: FloatArray, normal: FloatArray, tilt_tag_deg: float | None
) -> tuple[float, list[Fault]]:
    """Angle between the line of the positions and the normal, and the faults of that line."""
    lateral = (points - points[0]) - offsets[:, None] * normal
    centred = offsets - offsets.mean()
    slope = (centred @ lateral) / (centred @ centred)  # sideways mm per mm along the normal
    tilt = math.degrees(math.atan(float(np.linalg.norm(slope))))
    drift = float(np.linalg.norm(slope)) * float(offsets[-1])
    residual = float(np.linalg.norm(lateral - lateral.mean(0) - centred[:, None] * slope, axis=1).max())
    numbers = {"tilt_deg": tilt, "drift_mm": drift}
    if tilt_tag_deg is not None:
        numbers["tilt_tag_deg"] = float(tilt_tag_deg)
    faults = []
    if residual > DRIFT_TOLERANCE_MM:
        text = f"slice positions must lie on one line within {DRIFT_TOLERANCE_MM} mm"
        faults.append(Fault("slices_not_on_line", text, {"largest_distance_mm": residual}))
    if drift > DRIFT_TOLERANCE_MM:
        how = "with" if tilt_tag_deg else "without"
        text = f"slices must be stacked along their normal, and are tilted ({how} the tilt attribute)"
        faults.append(Fault("gantry_tilt", text, numbers))
    elif tilt_tag_deg is not None and abs(tilt_tag_deg) > TILT_TAG_TOLERANCE_DEG:
        text = "the tilt attribute must agree with the positions, which show no tilt: which is right is not known"
        faults.append(Fault("tilt_tag_only", text, numbers))
    return tilt, faults


def _step_faults(offsets: FloatArray, steps: FloatArray, thickness: FloatArray | None) -> list[Fault]:
    """Missing slices, uneven steps and mixed thicknesses."""
    faults = []
    expected = np.full(len(steps), _lower_median(steps))
    if thickness is not None and np.isfinite(thickness).all():
        classes = np.unique(np.round(thickness / THICKNESS_TOLERANCE_MM) * THICKNESS_TOLERANCE_MM)
        if len(classes) > 1:
            low, high = float(thickness.min()), float(thickness.max())
            numbers = {"thinnest_mm": low, "thickest_mm": high, "n_thicknesses": len(classes)}
            faults.append(Fault("two_thicknesses", "all slices must have one thickness", numbers))
            expected = _expected_steps(steps, thickness)
    ratio = steps / expected
    n_missing = int((np.round(ratio[ratio > MISSING_RATIO]) - 1).clip(min=1).sum())
    numbers = {"smallest_step_mm": float(steps.min()), "largest_step_mm": float(steps.max())}
    if n_missing:
        faults.append(Fault("missing_slices", "no slice may be missing", {"n_missing": n_missing, **numbers}))
    regular = np.linspace(0.0, offsets[-1], len(offsets))
    usual = usual_step(steps)
    tolerance = max(GRID_TOLERANCE_MM, GRID_TOLERANCE_SHARE * usual)
    deviation = float(np.abs(offsets - regular).max())
    if deviation > tolerance and not n_missing:
        numbers |= {"usual_step_mm": usual, "largest_deviation_mm": deviation}
        faults.append(Fault("uneven_steps", f"slices must lie within {tolerance:.2f} mm of even steps", numbers))
    return faults


def _expected_steps(steps: FloatArray, thickness: FloatArray) -> FloatArray:
    """For every gap the usual step of slices of that thickness, between two thicknesses their mean."""
    half = np.zeros(len(thickness))
    for value in np.unique(thickness):
        inner = (thickness[:-1] == value) & (thickness[1:] == value)
        half[thickness == value] = (_lower_median(steps[inner]) if inner.any() else value) / 2
    return np.asarray(half[:-1] + half[1:])


def _lower_median(values: FloatArray) -> float:
    """The middle value, the smaller of the two middle ones."""
    return float(np.sort(values)[(len(values) - 1) // 2])
