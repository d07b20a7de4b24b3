"""A CT perfusion series from its frames to its maps: prepared, its vessels found, deconvolved.

Three stages, each of which can refuse the series; what the stages before it found stays in the result. *Prepare*:
frames in the order of time, motion corrected, frames that fit no pose left out, brain, bolus and the baseline before
it. *Vessels*: artery and vein, and from the vein's blood the voxels that are vessel. *Maps*: tissue smoothed and
deconvolved with the scaled arterial input. The core is found once the sides are known (``tasks.perfusion.core``).

Volumes are (X, Y, Z), slices along Z; series have time last with each frame contiguous, so that ``series.T`` is the
(T, Z, Y, X) of the deconvolution at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, Mask
from tasks.brain import Brain
from tasks.perfusion.bolus import MINIMUM_FRAMES, bolus_shape, frames_problem
from tasks.perfusion.deconvolution import build_deconvolver
from tasks.perfusion.denoising import Denoising, choose_sigma_mm, denoise
from tasks.perfusion.maps import PerfusionMaps, PerfusionSettings, perfusion_maps
from tasks.perfusion.masks import (
    CtpMasks,
    brain_on_series,
    ctp_masks,
    enhancement_area,
    extract_slab_brain,
    steady_voxels,
    vein_search,
)
from tasks.perfusion.motion import MotionTrace, correct_motion, trace_motion
from tasks.perfusion.preparation import (
    MINIMUM_BASELINE_FRAMES,
    BolusPassage,
    FrameOrder,
    baseline_mean,
    find_bolus,
    mean_curve,
    order_frames,
)
from tasks.perfusion.vessels import SHOWS_BLOOD, ArterialInput, arterial_input_of, find_arterial_input
from tasks.space.affines import voxel_sizes_mm

NOISE_VOXELS = 5000  # of tissue, evenly chosen: their median is then known to 0.2 %


@dataclass(frozen=True)
class SeriesSettings:
    """How a series is measured; kept beside its maps.

    Attributes
    ----------
    corrects_motion : whether frames are aligned and those that fit no pose left out
    minimum_frames : usable frames; fewer are refused
    denoising : Denoising
    perfusion : deconvolution and constants, ``tasks.perfusion.maps.PerfusionSettings``
    """

    corrects_motion: bool = True
    minimum_frames: int = MINIMUM_FRAMES
    denoising: Denoising = field(default_factory=Denoising)
    perfusion: PerfusionSettings = field(default_factory=PerfusionSettings)


@dataclass(frozen=True, eq=False)
class ManualInput:
    """Arterial and venous curves given by a reader, (T,) arrays, HU over baseline, one value per stored frame."""

    aif: FloatArray
    vof: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class PerfusionSeries:
    """What a series gave. Everything after the stage that refused it is None.

    Attributes
    ----------
    frame_order : FrameOrder
    trace : MotionTrace of the frames in the order of time; None also where motion is not corrected
    frame_times_s : (T,) float array, of the usable frames
    series : (X, Y, Z, T) float32 array, HU, usable frames in the pose of the reference frame
    is_covered : (X, Y, Z) bool array, voxels that every usable frame shows
    is_resampled : whether any frame was moved
    brain : Brain of the baseline, on the working grid
    brain_mask : (X, Y, Z) bool array
    bolus : BolusPassage
    baseline : (X, Y, Z) float32 array, HU
    arterial : ArterialInput; its voxels are flat C-order indices of (Z, Y, X)
    masks : CtpMasks
    tissue : (X, Y, Z) bool array, voxels that count: neither vessel nor fluid, shown by every frame, and steady
        (`tasks.perfusion.masks.steady_voxels`) where frames were moved: beside bone what is left of the motion looks
            late
    denoising : as in the settings, the width chosen where they leave it open
    curves : (X, Y, Z, T) float32 array, HU, as deconvolved
    maps : PerfusionMaps, (X, Y, Z) arrays, NaN outside the brain and where not every frame shows it
    noise_hu : standard deviation of one voxel of one frame before smoothing, median over tissue
    notes : ``frames_reordered``, ``frames_rejected``, and the ``vof_reason`` of the arterial input
    reason : empty, or of `tasks.perfusion.preparation`, `tasks.brain`, `tasks.perfusion.bolus` or
        `tasks.perfusion.vessels`
    detail : the rule, what was found and the remedy; empty without a reason
    """

    frame_order: FrameOrder
    trace: MotionTrace | None = None
    frame_times_s: FloatArray | None = None
    series: Float32Array | None = None
    is_covered: Mask | None = None
    is_resampled: bool = False
    brain: Brain | None = None
    brain_mask: Mask | None = None
    bolus: BolusPassage | None = None
    baseline: Float32Array | None = None
    arterial: ArterialInput | None = None
    masks: CtpMasks | None = None
    tissue: Mask | None = None
    denoising: Denoising | None = None
    curves: Float32Array | None = None
    maps: PerfusionMaps | None = None
    noise_hu: float | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""

    @property
    def relative_reason(self) -> str:
        """Empty, or why CBF and CBV are known relative to normal tissue only: the ``vof_reason``."""
        return "" if self.arterial is None else self.arterial.vof_reason


def measure_series(
    series: AnyArray,
    affine: Affine,
    frame_times_s: Sequence[float] | None,
    settings: SeriesSettings,
    *,
    manual: ManualInput | None = None,
    device: str | None = None,
) -> PerfusionSeries:
    """Maps of a series, or why there are none.

    Parameters
    ----------
    series : (X, Y, Z, T) array, HU, frames as stored; fastest with each frame contiguous
    affine : (4, 4) float array, voxel -> world, RAS, mm
    frame_times_s : one time per stored frame, s, in any order; None where unknown
    settings : SeriesSettings
    manual : curves in place of those found; they obey the same rules
    device : None deconvolves with numpy; a torch device with torch, to the same numbers

    Raises
    ------
    ValueError
        The series is not 4D, its slices do not lie along Z, or the manual curves have not one value per frame.
    """
    _check(series, affine, manual)
    order = order_frames(frame_times_s, series.shape[3])
    found = PerfusionSeries(order, notes=order.notes, reason=order.reason, detail=order.detail)
    if not found.reason:
        found = _prepare(series, affine, settings, found)
    if not found.reason:
        found = _find_vessels(affine, settings, found, manual)
    if not found.reason:
        found = _make_maps(affine, settings, found, device)
    return found


def _prepare(series: AnyArray, affine: Affine, settings: SeriesSettings, found: PerfusionSeries) -> PerfusionSeries:
    """Frames in order and in place, the brain, the bolus and the baseline."""
    times = np.array(found.frame_order.frame_times_s)
    ordered = series[..., found.frame_order.order] if "frames_reordered" in found.notes else series
    brain = extract_slab_brain(np.asarray(ordered[..., 0], dtype=np.float32), affine)
    if brain.reason:
        return replace(found, brain=brain, reason=brain.reason, detail=brain.detail)
    if settings.corrects_motion:
        trace = trace_motion(ordered, affine)
        corrected = correct_motion(ordered, affine, trace)
        usable, frames, is_covered = trace.is_usable, corrected.series, corrected.is_covered
        if not usable.all():
            frames = np.asfortranarray(frames[..., usable])
            found = replace(found, notes=(*found.notes, "frames_rejected"))
        times = times[usable]
        found = replace(found, trace=trace, is_resampled=bool(corrected.is_resampled.any()))
    else:
        frames = np.array(ordered, dtype=np.float32, order="F")
        is_covered = np.ones(frames.shape[:3], dtype=bool, order="F")
    found = replace(found, frame_times_s=times, series=frames, is_covered=is_covered)
    reason, detail = frames_problem(times, settings.minimum_frames)
    if reason:
        return replace(found, reason=reason, detail=detail)
    first = baseline_mean(frames, MINIMUM_BASELINE_FRAMES)
    brain = extract_slab_brain(first, affine)
    mask = brain_on_series(brain, first, affine)
    found = replace(found, brain=brain, brain_mask=mask)
    if brain.reason:
        return replace(found, reason=brain.reason, detail=brain.detail)
    bolus = find_bolus(mean_curve(frames, mask & is_covered), times.tolist())
    found = replace(found, bolus=bolus, reason=bolus.reason, detail=bolus.detail)
    n_baseline = bolus.n_baseline_frames
    return found if n_baseline is None else replace(found, baseline=baseline_mean(frames, n_baseline))


def _find_vessels(
    affine: Affine, settings: SeriesSettings, found: PerfusionSeries, manual: ManualInput | None
) -> PerfusionSeries:
    """Artery and vein, and the masks that follow from the vein's blood."""
    frames, times, baseline, brain, is_covered, n_baseline = _prepared(found)
    spacing = _spacing(affine)
    area = enhancement_area(frames, times.tolist(), n_baseline)
    masks = ctp_masks(baseline, area, brain, spacing)
    trusted = is_covered & steady_voxels(baseline, spacing) if found.is_resampled else is_covered
    if manual is not None:
        order = np.array(found.frame_order.order)
        kept = order if found.trace is None else order[found.trace.is_usable]
        vof = None if manual.vof is None else np.asarray(manual.vof, dtype=np.float64)[kept]
        aif = np.asarray(manual.aif, dtype=np.float64)[kept]
        arterial = arterial_input_of(aif, vof, times, minimum_frames=settings.minimum_frames)
    else:
        arterial = find_arterial_input(
            frames.T,
            times,
            (brain & trusted).T,
            n_baseline_frames=n_baseline,
            vein_mask=(vein_search(masks, spacing) & trusted).T,
            minimum_frames=settings.minimum_frames,
        )
    if arterial.aif is not None and arterial.vof is not None and arterial.vof_reason in SHOWS_BLOOD:
        blood = max(float(np.trapezoid(one, times)) for one in (arterial.aif, arterial.vof))
        masks = ctp_masks(baseline, area, brain, spacing, blood_area_hu_s=blood)
    notes = (*found.notes, arterial.vof_reason) if arterial.vof_reason else found.notes
    found = replace(found, arterial=arterial, masks=masks, tissue=masks.tissue & trusted, notes=notes)
    return replace(found, reason=arterial.reason, detail=arterial.detail) if arterial.reason else found


def _make_maps(affine: Affine, settings: SeriesSettings, found: PerfusionSeries, device: str | None) -> PerfusionSeries:
    """Tissue smoothed and deconvolved."""
    frames, times, _, brain, is_covered, n_baseline = _prepared(found)
    rise_hu = None if found.bolus is None else found.bolus.rise_hu
    if found.tissue is None or found.arterial is None or rise_hu is None:
        raise ValueError("vessels must be found before maps are made. Call measure_series.")
    denoising, spacing = settings.denoising, _spacing(affine)
    if denoising.in_plane_sigma_mm is None:
        sigma_mm = choose_sigma_mm(frames, spacing, found.tissue, rise_hu)
        denoising = replace(denoising, in_plane_sigma_mm=sigma_mm)
    curves = denoise(frames, times.tolist(), spacing, found.tissue, denoising)
    deconvolver = build_deconvolver(
        found.arterial.scaled_aif,
        times,
        settings.perfusion.method,
        grid_interval_s=settings.perfusion.grid_interval_s,
        n_baseline_frames=n_baseline,
    )
    maps = perfusion_maps(curves.T, deconvolver, settings.perfusion, mask=(brain & is_covered).T, device=device)
    maps = PerfusionMaps(maps.cbf.T, maps.cbv.T, maps.mtt.T, maps.tmax.T)
    return replace(
        found, denoising=denoising, curves=curves, maps=maps, noise_hu=_noise_hu(frames, times, found.tissue)
    )


def _prepared(found: PerfusionSeries) -> tuple[Float32Array, FloatArray, Float32Array, Mask, Mask, int]:
    """What `_prepare` found: series, times, baseline, brain, coverage, number of baseline frames."""
    n_baseline = None if found.bolus is None else found.bolus.n_baseline_frames
    series, times, baseline = found.series, found.frame_times_s, found.baseline
    brain, is_covered = found.brain_mask, found.is_covered
    if series is None or times is None or baseline is None or brain is None or is_covered is None or n_baseline is None:
        raise ValueError("series must be prepared before it is measured. Call measure_series.")
    return series, times, baseline, brain, is_covered, n_baseline


def _noise_hu(frames: Float32Array, times: FloatArray, tissue: Mask) -> float:
    """Noise of one voxel of one frame, by the second differences of some tissue curves."""
    inside = np.flatnonzero(tissue.T)
    chosen = inside[:: max(1, len(inside) // NOISE_VOXELS)]
    return float(np.median(bolus_shape(frames.T.reshape(len(times), -1)[:, chosen], times).noise_hu))


def _spacing(affine: Affine) -> list[float]:
    """Voxel size along X, Y, Z, mm."""
    return [float(size) for size in voxel_sizes_mm(affine)]


def _check(series: AnyArray, affine: Affine, manual: ManualInput | None) -> None:
    """Refuse what cannot be a series, every fault named."""
    problems = []
    if series.ndim != 4 or min(series.shape[:3]) < 2:
        problems.append(f"series must be (X, Y, Z, T) with two or more slices, got shape {series.shape}.")
    if int(np.abs(affine[2, :3]).argmax()) != 2:
        problems.append("affine must have slices along the third axis. Reorient the image to RAS first.")
    curves = () if manual is None else (("aif", manual.aif), ("vof", manual.vof))
    problems += [
        f"manual {name} must have one value per stored frame {series.shape[-1:]}, got shape {np.shape(curve)}."
        for name, curve in curves
        if curve is not None and np.shape(curve) != series.shape[-1:]
    ]
    if problems:
        raise ValueError(" ".join(problems))
