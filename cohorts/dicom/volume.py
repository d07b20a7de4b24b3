"""From a stack to a volume: the geometry checked, each fault met with its declared action, the voxels in their unit.

Regular stacks are converted by dcm2niix and compared voxel by voxel with our own reading; tilted, uneven, dynamic and
multi-frame stacks, which it refuses or alters, are written by our own reader. Volumes lie in the closest canonical
orientation (axes to the right, front and top), so left is left in every file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from cohorts.dicom.attributes import number_of
from cohorts.dicom.compare import compare_with_dcm2niix
from cohorts.dicom.contrast import HeadVoxels, has_contrast, head_voxels
from cohorts.dicom.dynamic import LOWEST_HU, Course, levelled, read_course
from cohorts.dicom.geometry import ACTIONS, Action, Fault, StackGeometry, StackRefusedError, check_stack
from cohorts.dicom.headers import Frame
from cohorts.dicom.maps import CANONICAL_UNITS, map_values
from cohorts.dicom.pixels import Slices, read_slices
from cohorts.dicom.resample import on_grid
from cohorts.dicom.stacks import Stack
from cohorts.images.mask import ImageProblemError
from cohorts.images.scan import as_adc, as_hounsfield
from tasks.arrays import Affine, Float32Array
from tasks.modality import CT_MODALITIES, MAP_MODALITIES
from tasks.space.affines import voxel_sizes_mm

DEFAULT_ACTIONS: Mapping[str, Action] = MappingProxyType({reason: actions[0] for reason, actions in ACTIONS.items()})


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume ready to be written.

    Attributes
    ----------
    kind : modality of scans.tsv
    values : (X, Y, Z) or (X, Y, Z, T) float32 array; HU, 10^-3 mm2/s, the unit of a map, or arbitrary
    affine : (4, 4) array, voxel -> world, RAS, mm
    unit : as written to the sidecar
    converter : dcm2niix, or aspects for our own reader
    faults : what was found and fixed by resampling
    notes, numbers : further findings and measured numbers
    doubts : why it may not be of its kind, those of the attributes included
    evidence : what showed its kind
    frame_times_s : start of every frame after the first one's, for CT perfusion
    """

    kind: str
    values: Float32Array
    affine: Affine
    unit: str
    converter: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    frame_times_s: tuple[float, ...] = ()
    doubts: tuple[str, ...] = ()
    evidence: str = ""


def build_volume(stack: Stack, actions: Mapping[str, Action] = DEFAULT_ACTIONS) -> Volume:
    """Check a stack and make it one volume.

    Parameters
    ----------
    stack : recognised, not refused
    actions : reason of a fault -> what to do; see ``geometry.ACTIONS``

    Raises
    ------
    StackRefusedError
        A fault whose action is ``reject``; all of them are named.
    ImageProblemError
        The voxels or their unit cannot be used: ``pixels_unreadable``, ``rescale_missing``, ``not_hounsfield``,
        ``hounsfield_unknown``, ``adc_unit_unknown``, ``unit_unknown``, ``map_empty``, ``constant_image``,
        ``conversion_differs``.
    """
    if stack.recognition.kind in CT_MODALITIES:
        _check_rescale(stack)
    ordered, geometry, faults = ordered_places(stack, actions)
    if stack.recognition.kind == "ctp":
        return _dynamic(read_course(ordered, geometry, actions), faults, stack.recognition.doubts)
    return _static(stack, ordered, geometry, faults)


def ordered_places(
    stack: Stack, actions: Mapping[str, Action] = DEFAULT_ACTIONS
) -> tuple[list[tuple[Frame, ...]], StackGeometry, tuple[Fault, ...]]:
    """The frames of a stack by place along the normal, its geometry, and what is wrong with it and resampled.

    Raises
    ------
    StackRefusedError
        A fault whose action is ``reject``; all of them are named.
    """
    places, found = _frames_per_place(stack)
    first = [place[0] for place in places]
    geometry = check_stack(
        [frame.position or () for frame in first],
        [frame.orientation or () for frame in first],
        first[0].spacing_mm or (0.0, 0.0),
        [frame.thickness_mm for frame in first],
        _tilt_tag(stack),
    )
    faults = (*found, *geometry.faults)
    rejected = tuple(fault for fault in faults if actions.get(fault.reason, "reject") == "reject")
    if rejected:
        raise StackRefusedError(rejected + tuple(fault for fault in faults if fault not in rejected))
    return [places[place] for place in geometry.order], geometry, faults


def _static(
    stack: Stack, places: list[tuple[Frame, ...]], geometry: StackGeometry, faults: tuple[Fault, ...]
) -> Volume:
    """One 3-D volume; several directions of diffusion, or volumes without any, become their geometric mean."""
    recognition, numbers, notes = stack.recognition, dict[str, float](), tuple[str, ...]()
    kind, doubts, evidence = recognition.kind, recognition.doubts, recognition.evidence
    phases = [read_slices([place[phase] for place in places]) for phase in range(len(places[0]))]
    slices = phases[0]
    if len(phases) > 1:
        if all(np.array_equal(slices.stored, other.stored) for other in phases[1:]):
            n_repeated = len(places) * (len(phases) - 1)
            faults = (Fault("duplicate_slices", "every slice must occur once", {"n_repeated": n_repeated}), *faults)
        elif kind in ("dwi", "dwi-b0"):
            mean = np.exp(np.mean([np.log(phase.values.clip(min=1e-6)) for phase in phases], axis=0))
            slices = Slices(mean.astype(np.float32), slices.stored, slices.is_padding)
            numbers["n_directions" if kind == "dwi" else "n_averaged"] = len(phases)
        else:
            text = "slices at one position must be copies, directions of diffusion or frames in time"
            raise StackRefusedError((Fault("conflicting_slices", text, {"n_at_one_position": len(phases)}),))
    converter, lost = "aspects", tuple[str, ...]()
    is_plain = geometry.is_regular and len(phases) == 1 and kind not in MAP_MODALITIES
    if is_plain and len({frame.path for place in places for frame in place}) == len(places):
        converter, lost = compare_with_dcm2niix(slices.values, [place[0] for place in places], geometry)
    values, fill = slices.values, 0.0
    if kind in MAP_MODALITIES:
        values, measured, notes = map_values(kind, stack.header, places[0][0], slices.stored, slices.is_padding)
        numbers, fill = numbers | measured, np.nan
    else:
        if kind in CT_MODALITIES:
            fill = LOWEST_HU
            values = values.clip(min=LOWEST_HU)
        is_outside = slices.is_outside
        values = np.where(is_outside, np.float32(fill), values)
        numbers["n_padding_voxels"] = int(is_outside.sum())
    volume, affine = on_grid(values, geometry, places[0][0].spacing_mm or (0.0, 0.0), fill)
    _check_constant(volume)
    if kind in CT_MODALITIES:
        volume, found, measured = as_hounsfield(volume, "series")
        notes, numbers = notes + found, numbers | measured
        inside = _head_voxels(volume, affine)
        is_seen = None if inside is None else has_contrast(inside.vessel_share)
        numbers |= {} if inside is None else inside.numbers
        if recognition.contrast is not None:
            kind, contradictions, evidence = recognition.contrast.weighed(is_seen)
            doubts += contradictions + (("noise_too_high",) if inside is not None and inside.is_noisy else ())
        elif is_seen not in (None, kind == "cta"):  # a rule of the site counts, and is contradicted aloud
            notes += ("contrast_evidence_disagrees",)
    elif kind == "adc":
        volume, notes, measured = as_adc(volume, "series")
        numbers |= measured
    notes = lost + notes
    return Volume(
        kind, volume, affine, unit_of(kind), converter, faults, notes, numbers, doubts=doubts, evidence=evidence
    )


def _dynamic(course: Course, faults: tuple[Fault, ...], doubts: tuple[str, ...]) -> Volume:
    """CT perfusion: (X, Y, Z, T) with the time of every frame."""
    whole, notes, numbers = as_hounsfield(course.values, "series")
    _check_constant(whole)
    return Volume(
        "ctp",
        whole,
        course.affine,
        unit_of("ctp"),
        "aspects",
        (*faults, *course.faults),
        course.notes + notes,
        {**numbers, **course.numbers},
        tuple(map(float, course.times_s)),
        doubts,
    )


def unit_of(kind: str) -> str:
    """Unit of a kind's values as the sidecar writes it."""
    if kind in CT_MODALITIES:
        return "HU"
    return "10^-3 mm2/s" if kind == "adc" else CANONICAL_UNITS.get(kind, "arbitrary")


def _frames_per_place(stack: Stack) -> tuple[tuple[tuple[Frame, ...], ...], tuple[Fault, ...]]:
    """Places with the same number of frames each, and what is wrong with their number or times."""
    counts = [len(place) for place in stack.places]
    if min(counts) == max(counts):
        return stack.places, ()
    numbers = {"smallest_number": min(counts), "largest_number": max(counts)}
    if stack.recognition.kind == "ctp":
        if even := levelled(stack.places):
            return even[0], (even[1],)
        text = "every position must have the same number of frames"
        return stack.places, (Fault("incomplete_frames", text, numbers),)
    single, n_repeated = [], 0
    for place in stack.places:
        stored = read_slices(place).stored if len(place) > 1 else None
        if stored is not None and not all(np.array_equal(stored[0], other) for other in stored[1:]):
            text = "slices at one position must be copies of each other"
            return stack.places, (Fault("conflicting_slices", text, numbers),)
        n_repeated += len(place) - 1
        single.append(place[:1])
    return tuple(single), (Fault("duplicate_slices", "every slice must occur once", {"n_repeated": n_repeated}),)


def _check_rescale(stack: Stack) -> None:
    """CT values are HU only with a rescale, and one that says nothing else."""
    frames = [frame for place in stack.places for frame in place]
    if any(not frame.slope or frame.intercept is None for frame in frames):
        raise ImageProblemError(
            "rescale_missing",
            "CT slices must have a rescale slope and intercept. Export the original series again.",
        )
    if any(frame.rescale_type not in ("", "HU") for frame in frames):
        raise ImageProblemError(
            "not_hounsfield", "CT slices must be rescaled to HU, and say another type. Export the original series."
        )


def _tilt_tag(stack: Stack) -> float | None:
    """Gantry/Detector Tilt, None where absent."""
    tilt = number_of(stack.header.dataset, "GantryDetectorTilt")
    return tilt if tilt == tilt else None


def _head_voxels(values: Float32Array, affine: Affine) -> HeadVoxels | None:
    """The inside of the skull of a volume in canonical orientation."""
    sizes = voxel_sizes_mm(affine)
    return head_voxels(values, (float(sizes[0]), float(sizes[1]), float(sizes[2])))


def _check_constant(values: Float32Array) -> None:
    """Refuse an empty image."""
    low, high = np.nanmin(values), np.nanmax(values)  # a map without any value was refused before
    if low == high:
        raise ImageProblemError("constant_image", "volume must hold an image, got one value. Export the series again.")
