"""Infarcts on diffusion MR without training: bright on b-high, low in ADC, brighter than the mirrored place.

Everything is relative to the patient's own normal tissue. The *signal* is b-high divided by a smooth field fitted to
normal tissue (the coil's shading), so that normal tissue is 1; *noise* is its robust standard deviation there
(``tasks.diffusion.normal_tissue``); the *relative ADC* is ADC over the commonest ADC of the brain. Since b-high is
``S0 exp(-b ADC)``, the logarithm of the signal already holds the drop in ADC once; the *evidence* adds it a second
time, so that a bright voxel needs less of it when its ADC is low, and long T2 alone does not reach it.

A lesion starts at *seeds*, where every sign is clear, grows over tissue that is brighter than normal and not fluid, and
is cut at a share of its own brightness, where an unsharp border lies. What fails a rule is counted under its name.
Without ADC there is only brightness: the cuts are stricter, and seeds at the brain's border and at the skull base,
where signal piles up, do not count.

The constants come from the papers named beside them or were chosen on 70 synthetic heads of six kinds with slices of 2
and 5 mm (``dwi_phantom`` of the tests), by mean Dice and by false volume where there is no lesion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.diffusion.adc import normal_adc
from tasks.diffusion.normal_tissue import ball, normal_tissue, normalised, smoothed
from tasks.gaussian import MAD_TO_SIGMA
from tasks.lesion import NEIGHBOURS_26
from tasks.space.affines import MIRROR, voxel_sizes_mm
from tasks.space.resample import Grid, resample_image

#: Typical excess of an infarct in its first days: 0.13 + 0.11 in log10 of ADC and T2 part at 0 to 63 h is 1.74 times
#: normal (Eastwood et al., AJNR 2003;24:680-687). A scan whose noise hides less than that is refused.
MAXIMUM_NOISE = 0.74 / 3
#: Between the two excesses that begin and extend a lesion without ADC, and above what a coil does to two halves.
NORMAL_OVER_MIRROR = 1.3
#: Normal tissue must be at least this share of the brain: an infarct of one hemisphere and fluid leave more.
MINIMUM_NORMAL_SHARE = 0.2
MIRROR_REACH_MM = 4.0  # the two halves of a head differ by this much after an affine; the brightest place within counts
#: The least relative ADC of tissue: fat and bone, where both signals are near the noise, lie below (infarct: 0.4 up).
LEAST_ADC = 0.3
#: Relative ADC above which tissue is half fluid: (0.8 + 3.0) / 2 over 0.8 is 2.4; chosen lower, 1.1 to 1.5 alike.
GROW_ADC = 1.2
#: Weight of the drop in relative ADC in the evidence: b ADC of normal tissue, 1,000 s/mm2 x 0.8 x 10^-3 mm2/s.
ADC_WEIGHT = 0.8
SULCUS_CLOSING_MM = 3.5  # a sulcus of fluid inside an infarct is drawn as infarct
TOP_PERCENTILE = 90.0  # brightness of a lesion's core, without its few brightest voxels


@dataclass(frozen=True)
class Cuts:
    """The operating point: signal as excess over normal tissue (0.2 = 20 % brighter), ADC relative to normal tissue.

    Attributes
    ----------
    seed_excess, grow_excess : least excess of a seed, of a voxel to grow over
    seed_evidence, grow_evidence : least ``ln(signal) + ADC_WEIGHT max(0, 1 - relative ADC)``; without ADC, the first
    seed_noises, grow_noises : the same in multiples of the evidence's own scatter in normal tissue; the larger counts
    seed_adc : largest relative ADC of a seed
    asymmetry : least excess of a seed over the brightest signal around the mirrored place
    seed_depth_mm : least distance of a seed from the mask's border, mm
    lowest_seed_mm : least height of a seed in template space, mm
    seed_ml : least volume of a part's seeds, ml
    core_share : a lesion ends where ``ln(signal)`` falls to this share of its core's
    minimum_ml : least volume of a connected part, ml
    """

    seed_excess: float
    grow_excess: float
    seed_evidence: float
    grow_evidence: float
    seed_noises: float
    grow_noises: float
    seed_adc: float
    asymmetry: float
    seed_depth_mm: float
    lowest_seed_mm: float
    seed_ml: float
    core_share: float
    minimum_ml: float


#: With ADC. ``seed_adc`` is 0.58 of 0.8 x 10^-3 mm2/s: 0.62 marks the core (Purushotham et al., Int J Stroke
#: 2015;10:348-353) and finds too little of a lesion alone (Gosch et al., Front Neurol 2023;14:1203241: median Dice
#: 0.43), so that a lower one only starts it. ``grow_noises``: a thousandth of normal tissue passes. ``minimum_ml``:
#: nine voxels of 1.5 x 1.5 x 5 mm. ``seed_ml``: three voxels of 2 mm. The others: phantoms.
CUTS = Cuts(
    seed_excess=0.2,
    grow_excess=0.1,
    seed_evidence=0.45,
    grow_evidence=0.3,
    seed_noises=4.0,
    grow_noises=3.0,
    seed_adc=0.72,
    asymmetry=0.25,
    seed_depth_mm=0.0,
    lowest_seed_mm=-np.inf,
    seed_ml=0.025,
    core_share=0.4,
    minimum_ml=0.1,
)
#: Without ADC. ``seed_excess`` lies above long T2 alone (1.7 times S0 at an ADC raised by 0.3 is 1.26). Air spaces
#: touch the frontal and temporal lobes below -10 mm in template space, where few ASPECTS voxels lie, and pile-up along
#: the brain's border is shallower than 8 mm; a lesion may grow to both. The scatter of normal tissue counts less, since
#: a large lesion is part of it. The others: phantoms.
CUTS_WITHOUT_ADC = Cuts(
    seed_excess=0.45,
    grow_excess=0.3,
    seed_evidence=-np.inf,
    grow_evidence=-np.inf,
    seed_noises=4.0,
    grow_noises=1.5,
    seed_adc=np.inf,
    asymmetry=0.4,
    seed_depth_mm=8.0,
    lowest_seed_mm=-10.0,
    seed_ml=0.05,
    core_share=0.4,
    minimum_ml=0.5,
)


@dataclass(frozen=True, eq=False)
class DwiLesion:
    """An infarct mask and the normal tissue that it was measured against.

    Attributes
    ----------
    mask : (X, Y, Z) bool array on the grid of b-high; empty where there is no infarct, which is a valid result
    adc_available : bool
        False where b-high alone was used, at stricter cuts.
    volume_ml : float
    normal_adc : float, 10^-3 mm2/s; null without ADC
    normal_signal : float, median b-high of normal tissue, in the scan's unit; null where none was found
    noise : float, robust standard deviation of normal tissue after the field's removal, 1 = normal; null likewise
    n_removed : bright components that are no infarct, by the first rule that they fail: ``adc_not_low``,
        ``symmetric``, ``at_border``, ``skull_base``, ``too_small``
    reason : str
        Empty, or why there is no result: ``normal_tissue_not_found``, ``noise_too_high``.
    detail : str
        The reason with its measured value, the rule and the remedy.
    """

    mask: Mask
    adc_available: bool
    volume_ml: float
    normal_adc: float | None
    normal_signal: float | None
    noise: float | None
    n_removed: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""


def segment_dwi(
    dwi: Float32Array,
    adc: Float32Array | None,
    brain_mask: Mask,
    affine: Affine,
    fixed_to_moving: Affine,
    cuts: Cuts | None = None,
) -> DwiLesion:
    """Segment infarcts.

    Parameters
    ----------
    dwi : (X, Y, Z) float32 array, b-high, any unit
    adc : (X, Y, Z) float32 array on the same grid, 10^-3 mm2/s, 0 where unknown; None without (``adc_on_grid``)
    brain_mask : (X, Y, Z) bool array
    affine : (4, 4) float array, voxel -> world, RAS, mm
    fixed_to_moving : (4, 4) float array, template world -> scan world, for the mirrored place and the skull base
    cuts : ``CUTS`` with ADC and ``CUTS_WITHOUT_ADC`` without, unless given

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if dwi.shape != brain_mask.shape or (adc is not None and adc.shape != dwi.shape):
        shapes = (brain_mask.shape, None if adc is None else adc.shape)
        raise ValueError(
            f"brain_mask and adc must have the shape of dwi {dwi.shape}, got {shapes}. Resample them first."
        )
    chosen = cuts or (CUTS if adc is not None else CUTS_WITHOUT_ADC)
    box = _box(brain_mask)
    inside = brain_mask[box]
    local = affine.copy()
    local[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
    spacing = voxel_sizes_mm(affine)
    relative, peak = None, None
    if adc is not None:
        peak = normal_adc(adc[box], inside)
        known = inside & (adc[box] != 0)
        relative = smoothed(adc[box], known, spacing) / np.float32(peak or np.nan)
    empty = np.zeros(dwi.shape, dtype=bool)
    to_template = np.linalg.inv(fixed_to_moving) @ local
    mirror = fixed_to_moving @ MIRROR @ np.linalg.inv(fixed_to_moving)
    normal = normal_tissue(inside, relative, spacing)
    if relative is None:
        normal &= ~_is_brighter_than_mirror(dwi[box], inside, Grid(inside.shape, local), mirror)
    share = float(normal.sum() / max(1, inside.sum()))
    if share < MINIMUM_NORMAL_SHARE or not (dwi[box][normal] > 0).mean() > 0.5:
        detail = (
            f"normal tissue must be >= {MINIMUM_NORMAL_SHARE:g} of the brain, got {share:.2f}. "
            "Check the brain mask and that ADC and b-high belong together."
        )
        return DwiLesion(empty, adc is not None, 0.0, peak, None, None, {}, "normal_tissue_not_found", detail)
    level = float(np.median(dwi[box][normal]))
    signal, noise = normalised(dwi[box], inside, normal, spacing)
    if noise > MAXIMUM_NOISE:
        detail = f"noise must be <= {MAXIMUM_NOISE:.2f} of normal tissue, got {noise:.2f}. Take a scan with less noise."
        return DwiLesion(empty, adc is not None, 0.0, peak, level, noise, {}, "noise_too_high", detail)
    seeds = {
        "symmetric": _excess_over_mirror(signal, inside, Grid(signal.shape, local), mirror) > chosen.asymmetry,
        "at_border": _is_deep(inside, chosen.seed_depth_mm, spacing),
        "skull_base": _height_mm(to_template, signal.shape) > chosen.lowest_seed_mm,
    }
    found, n_removed = _lesion((signal, relative), (inside, normal), seeds, chosen, spacing)
    mask = empty
    mask[box] = found
    volume_ml = float(found.sum() * np.prod(spacing)) / 1000
    return DwiLesion(mask, adc is not None, volume_ml, peak, level, noise, n_removed)


def _box(mask: Mask) -> tuple[slice, slice, slice]:
    """The smallest box around a mask; one voxel of an empty one."""
    found = ndimage.find_objects(mask.view(np.uint8))
    x, y, z = found[0] if found else (slice(0, 1),) * 3
    return x, y, z


def _is_brighter_than_mirror(dwi: Float32Array, inside: Mask, grid: Grid, mirror: Affine) -> Mask:
    """Voxels that ADC cannot tell from normal tissue but the other hemisphere can: a field fitted to a large infarct
    would take its brightness for the coil's.
    """
    smooth = smoothed(dwi, inside, voxel_sizes_mm(grid.affine))
    across = resample_image(smooth, grid.affine, grid, mirror)
    return np.asarray((across > 0) & (smooth > NORMAL_OVER_MIRROR * across))


def _excess_over_mirror(signal: Float32Array, inside: Mask, grid: Grid, mirror: Affine) -> Float32Array:
    """Signal minus the brightest signal around the mirrored place, which counts at least as normal."""
    spacing = voxel_sizes_mm(grid.affine)
    size = tuple(2 * int(MIRROR_REACH_MM / step) + 1 for step in spacing)
    brightest = ndimage.maximum_filter(np.where(inside, signal, 0), size=size)
    mirrored = resample_image(brightest, grid.affine, grid, mirror)
    return np.asarray(signal - np.maximum(mirrored, 1))


def _lesion(
    maps: tuple[Float32Array, Float32Array | None],
    masks: tuple[Mask, Mask],
    rules: Mapping[str, Mask],
    cuts: Cuts,
    spacing: FloatArray,
) -> tuple[Mask, dict[str, int]]:
    """Grow from seeds, cut at a share of the core, close, and count what fails each rule."""
    signal, relative = maps
    inside, normal = masks
    voxel_ml = float(np.prod(spacing)) / 1000
    brightness = np.log(np.maximum(signal, 0.05))
    evidence, is_low = brightness, np.ones(signal.shape, dtype=bool)
    if relative is not None:
        evidence = brightness + ADC_WEIGHT * np.maximum(0, 1 - relative)
        is_low = relative < cuts.seed_adc
    middle = float(np.median(evidence[normal]))
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(evidence[normal] - middle)))
    is_seed = signal > 1 + cuts.seed_excess
    is_seed &= evidence > middle + max(cuts.seed_evidence, cuts.seed_noises * scatter)
    grow = inside & (signal > 1 + cuts.grow_excess)
    grow &= evidence > middle + max(cuts.grow_evidence, cuts.grow_noises * scatter)
    if relative is not None:
        grow &= (relative > LEAST_ADC) & (relative < GROW_ADC)
    parts, n_parts = ndimage.label(grow, NEIGHBOURS_26)
    keep = np.arange(n_parts + 1) > 0
    n_removed = {}
    for name, passes in {"": is_seed, "adc_not_low": is_low, **rules}.items():
        is_seed = is_seed & passes
        left = keep & (np.bincount(parts[is_seed], minlength=n_parts + 1) >= max(1, round(cuts.seed_ml / voxel_ml)))
        if name:
            n_removed[name] = int(keep.sum() - left.sum())
        keep = left
    lesion = keep[parts]
    parts *= lesion
    for index, box in enumerate(ndimage.find_objects(parts), start=1):
        if box is not None:
            part = parts[box] == index
            core = float(np.percentile(brightness[box][part], TOP_PERCENTILE))
            lesion[box] &= ~(part & (brightness[box] < cuts.core_share * core))
    lesion = _closed(lesion, spacing) & inside
    parts, n_parts = ndimage.label(lesion, NEIGHBOURS_26)
    keep = np.bincount(parts.ravel(), minlength=n_parts + 1) * voxel_ml >= cuts.minimum_ml
    keep[0] = False
    n_removed["too_small"] = int(n_parts - keep.sum())
    return np.asarray(keep[parts]), n_removed


def _is_deep(inside: Mask, depth_mm: float, spacing: FloatArray) -> Mask:
    """Voxels at least so far from the mask's border."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    return np.asarray(depth > depth_mm)


def _closed(mask: Mask, spacing: FloatArray) -> Mask:
    """Close gaps and fill holes."""
    kernel = ball(SULCUS_CLOSING_MM, spacing)
    pad = [(size, size) for size in kernel.shape]
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask, pad), kernel))
    return np.asarray(closed[tuple(slice(low, -low) for low, _ in pad)])


def _height_mm(place: Affine, shape: tuple[int, ...]) -> Float32Array:
    """Height of each voxel in template space, mm."""
    x, y, z = np.ix_(*(np.arange(size, dtype=np.float32) for size in shape))
    return np.asarray(place[2, 0] * x + place[2, 1] * y + place[2, 2] * z + place[2, 3], dtype=np.float32)
