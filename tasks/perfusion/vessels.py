"""The arterial input function (AIF) and the venous output function (VOF) of a CT perfusion series.

A voxel with a share of artery or vein enhances more than tissue, whose blood is 4-5 % of it. Contrast reaches arteries
before tissue and tissue before veins, so vessels are told apart by when their curve rises. Arteries are ranked by peak,
width, rise and noise (after Rempp et al., Radiology 1994;193:637-641); the best are clustered by the shape of their
curves, and the AIF is the mean of the largest cluster (cf. Mouridsen et al., Magn Reson Med 2006;55:524-531).

Arteries are thinner than voxels, large sinuses are not: the AIF is scaled up to the area of the VOF (partial-volume
correction), both areas taken over the same part of the bolus. The scaling follows the ratio of the areas between 1 and
``MAXIMUM_SCALING`` and stays at the nearer limit outside; it never lowers the AIF. It multiplies CBF and CBV alike, so
that where the ratio is not credible both are still known relative to each other, and MTT and Tmax as they are; a
``vof_reason`` says that their absolute values are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from tasks.arrays import FloatArray, IntArray, Mask
from tasks.perfusion.bolus import (
    MINIMUM_CONTRAST_TO_NOISE,
    MINIMUM_FRAMES,
    BolusShape,
    bolus_problem,
    bolus_shape,
    frames_problem,
)

#: A vessel enhances at least this many times as much as the median voxel: about an eighth of it is vessel.
VESSEL_ENHANCEMENT = 3.0
N_CANDIDATES = (
    5000  # of highest peak: 0.6 ml of vessels per 5000 voxels of 0.5 x 0.5 x 0.5 mm, far above the N_BEST kept
)
N_BEST = 100  # ranked best, to be clustered
N_VOXELS = 20  # of a vessel's curve: noise falls to less than a quarter; more would reach into thinner branches
FULLEST_SHARE = 0.75  # of a cluster's highest peak: thinner branches and edges of a sinus are diluted
CLUSTER_DISTANCE = 0.1  # one minus the correlation of two curves of one vessel; at a contrast to noise of 10, 0.05
#: VOF over AIF area that gives absolute values. An artery that fills a share f of its voxels, beside tissue with 4 % of
#: blood, has 1 / (f + 0.04 (1 - f)) of the vein's area: at 10, f is 0.06 and over a third of the curve is the tissue's
#: own late blood; pure tissue has 25. All blood passes both vessels, so that a vein in whole voxels has no less than
#: the artery: below a half it is no sinus, or the artery's curve is not its own.
MINIMUM_RATIO, MAXIMUM_SCALING = 0.5, 10.0
#: A vein of which the curve holds true so far: its area is one of pure blood, over the frames that there are.
SHOWS_BLOOD = ("", "vof_bolus_truncated", "vof_scaling_out_of_range")
_ONLY_RELATIVE = "CBF and CBV are known relative to normal tissue only."


@dataclass(frozen=True, eq=False)
class ArterialInput:
    """An AIF and what it rests on.

    Attributes
    ----------
    aif : (T,) float array, HU over baseline, mean of its voxels, not scaled; None where refused
    vof : (T,) float array, HU over baseline; None where no vein was found or given
    aif_voxels, vof_voxels : (n,) int array, flat C-order indices in a frame; empty where curves were given
    scaling : factor by which the AIF is raised to the VOF's area, 1 to ``MAXIMUM_SCALING``; 1 without a VOF
    quality : float in [0, 1]; the product of the voxels' mean correlation with the AIF, the share of its peak above the
        least contrast to noise, and the share by which it has fallen at the end; 0 where refused
    is_manual : whether the curves were given
    reason : empty, or ``too_few_frames``, ``frames_out_of_order``, ``bolus_before_start``, ``no_arterial_input``,
        ``bolus_truncated``, ``two_bolus_peaks``
    vof_reason : empty, or why the scaling, and with it every absolute value, is not known: ``no_venous_output``,
        ``vof_bolus_truncated``, ``vof_two_bolus_peaks``, ``vof_bolus_before_start``, ``vof_before_aif``,
        ``vof_scaling_out_of_range``
    detail : every reason with its measured value, the rule and the remedy
    """

    aif: FloatArray | None
    vof: FloatArray | None
    aif_voxels: IntArray
    vof_voxels: IntArray
    scaling: float
    quality: float
    is_manual: bool
    reason: str
    vof_reason: str
    detail: str

    @property
    def scaled_aif(self) -> FloatArray:
        """The AIF for deconvolution, HU.

        Raises
        ------
        ValueError
            There is none.
        """
        if self.aif is None:
            raise ValueError(f"arterial input must have a curve, got none ({self.reason}). Leave the series out.")
        return self.aif * self.scaling


def find_arterial_input(
    series: npt.NDArray[np.generic],
    times_s: FloatArray,
    mask: Mask,
    *,
    n_baseline_frames: int,
    vein_mask: Mask | None = None,
    minimum_frames: int = MINIMUM_FRAMES,
) -> ArterialInput:
    """AIF and VOF found by themselves.

    Parameters
    ----------
    series : (T, ...) array, time first, HU
    times_s : (T,) float array
    mask : (...) bool array, brain with its vessels, where the artery is looked for
    n_baseline_frames : leading frames before the bolus
    vein_mask : (...) bool array, where the vein is looked for; None takes ``mask``
    minimum_frames : fewer are refused

    Returns
    -------
    ArterialInput; its ``reason`` says why none is credible.

    Raises
    ------
    ValueError
        A mask does not have the shape of a frame.
    """
    for name, one in (("mask", mask), ("vein_mask", vein_mask)):
        if one is not None and one.shape != series.shape[1:]:
            raise ValueError(f"{name} must have the shape of one frame {series.shape[1:]}, got {one.shape}.")
    times = np.asarray(times_s, dtype=np.float64)
    reason, detail = frames_problem(times, minimum_frames)
    if reason:
        return _refusal(reason, detail)
    bright = _bright_voxels(series, mask, n_baseline_frames)
    reason, detail = bolus_problem(bright.tissue, times)
    if reason == "bolus_before_start":
        return _refusal(reason, detail)
    tissue_rise_s = bolus_shape(bright.tissue[:, None], times).rise_s[0]
    arteries = _best_cluster(bright.curves, times, lambda shape: shape.rise_s < tissue_rise_s, _artery_rank)
    if not len(arteries):
        rule = f"An artery must enhance by {bright.least_hu:.0f} HU, {VESSEL_ENHANCEMENT:g} times the median voxel"
        value = f"and before tissue, got none among {len(bright.voxels)} voxels so bright"
        return _refusal("no_arterial_input", f"{rule}, {value}. Check that the slab holds an artery.")
    venous = bright if vein_mask is None else _bright_voxels(series, vein_mask, n_baseline_frames, bright.least_hu)
    veins = _best_cluster(venous.curves, times, lambda shape: _is_vein(shape, tissue_rise_s), _vein_rank)
    vof = venous.curves[:, veins].mean(axis=1) if len(veins) else None
    members = bright.curves[:, arteries]
    found = arterial_input_of(members.mean(axis=1), vof, times, minimum_frames=minimum_frames)
    agreement = np.mean([np.corrcoef(one, members.mean(axis=1))[0, 1] for one in members.T])
    return ArterialInput(
        aif=found.aif,
        vof=found.vof,
        aif_voxels=bright.voxels[arteries],
        vof_voxels=venous.voxels[veins],
        scaling=found.scaling,
        quality=float(found.quality * max(0.0, agreement)),
        is_manual=False,
        reason=found.reason,
        vof_reason=found.vof_reason,
        detail=found.detail,
    )


def arterial_input_of(
    aif: npt.NDArray[np.floating],
    vof: npt.NDArray[np.floating] | None,
    times_s: FloatArray,
    *,
    minimum_frames: int = MINIMUM_FRAMES,
) -> ArterialInput:
    """AIF and VOF from given curves: the manual override, under the same rules.

    Parameters
    ----------
    aif : (T,) array, HU over baseline
    vof : (T,) array, HU over baseline; None leaves the AIF as it is
    times_s : (T,) float array
    minimum_frames : fewer are refused

    Returns
    -------
    ArterialInput; its ``reason`` says why the curve is not credible.
    """
    times = np.asarray(times_s, dtype=np.float64)
    reason, detail = frames_problem(times, minimum_frames)
    if not reason:
        reason, detail = bolus_problem(aif, times)
    if reason:
        return _refusal("no_arterial_input" if reason == "no_bolus" else reason, detail)
    scaling, vof_reason, detail = vof_scaling(aif, vof, times)
    shape = bolus_shape(aif[:, None], times)
    clearness = 1 - MINIMUM_CONTRAST_TO_NOISE * float(shape.noise_hu[0] / shape.peak_hu[0])
    fallen = float(np.clip(1 - aif[-3:].mean() / shape.peak_hu[0], 0, 1))
    none = np.empty(0, dtype=np.int64)
    return ArterialInput(
        aif=np.asarray(aif, dtype=np.float64),
        vof=None if vof is None else np.asarray(vof, dtype=np.float64),
        aif_voxels=none,
        vof_voxels=none,
        scaling=scaling,
        quality=clearness * fallen,
        is_manual=True,
        reason="",
        vof_reason=vof_reason,
        detail=detail,
    )


def vof_scaling(
    aif: npt.NDArray[np.floating], vof: npt.NDArray[np.floating] | None, times_s: FloatArray
) -> tuple[float, str, str]:
    """Area of the VOF over that of the AIF within 1 to ``MAXIMUM_SCALING``, as (factor, reason, detail).

    The factor never jumps: where the ratio is not credible it stays what it is beside that, and the reason says so. The
    vein runs late by the lag between the two rises, so the AIF's area leaves out as much time at its end.
    """
    if vof is None:
        return 1.0, "no_venous_output", f"A vein must enhance after tissue, got none. {_ONLY_RELATIVE}"
    rise_s = bolus_shape(np.stack([aif, vof], axis=1), times_s).rise_s
    lag_s = float(rise_s[1] - rise_s[0])
    delay_s = max(0.0, float(np.nan_to_num(lag_s)))
    same_part = np.interp(times_s - delay_s, times_s, aif) * (times_s - delay_s >= times_s[0])
    area = float(np.trapezoid(same_part, times_s))
    ratio = float(np.trapezoid(vof, times_s)) / area if area > 0 else 0.0
    factor = min(max(1.0, ratio), MAXIMUM_SCALING)
    reason, detail = bolus_problem(vof, times_s)
    if reason:
        return factor, "no_venous_output" if reason == "no_bolus" else f"vof_{reason}", f"{detail} {_ONLY_RELATIVE}"
    if not lag_s > 0:
        rule = f"The vein must rise after the artery, got {lag_s:.1f} s. Choose another vein."
        return factor, "vof_before_aif", f"{rule} {_ONLY_RELATIVE}"
    if not MINIMUM_RATIO <= ratio <= MAXIMUM_SCALING:
        rule = f"VOF area over AIF area must be {MINIMUM_RATIO:g} to {MAXIMUM_SCALING:g}, got {ratio:.1f}."
        return factor, "vof_scaling_out_of_range", f"{rule} Choose a larger artery and vein. {_ONLY_RELATIVE}"
    return factor, "", ""


@dataclass(frozen=True, eq=False)
class _Vessels:
    """The brightest voxels of a mask: curves over baseline, (T, n), and flat indices; with the mask's mean curve."""

    curves: FloatArray
    voxels: IntArray
    tissue: FloatArray
    least_hu: float


def _bright_voxels(
    series: npt.NDArray[np.generic], mask: Mask, n_baseline_frames: int, least_hu: float | None = None
) -> _Vessels:
    """Voxels that enhance by ``least_hu``, taken from the mask's median where not given."""
    inside = np.flatnonzero(mask)
    values = series.reshape(len(series), -1)[:, inside]
    baseline = values[:n_baseline_frames].mean(axis=0)
    peak = values.max(axis=0) - baseline
    least = VESSEL_ENHANCEMENT * float(np.median(peak)) if least_hu is None else least_hu
    bright = np.flatnonzero(peak >= least)
    bright = bright[np.argsort(-peak[bright], kind="stable")[:N_CANDIDATES]]
    tissue = values.mean(axis=1, dtype=np.float64)
    tissue -= tissue[:n_baseline_frames].mean()
    return _Vessels(values[:, bright] - baseline[bright], inside[bright], tissue, least)


def _best_cluster(
    curves: FloatArray,
    times_s: FloatArray,
    is_wanted: Callable[[BolusShape], Mask],
    rank: Callable[[BolusShape, FloatArray], FloatArray],
) -> IntArray:
    """Columns of the vessel: those that rise when wanted, ranked, the best of them clustered by shape."""
    if not curves.size:
        return np.empty(0, dtype=np.int64)
    padded = np.pad(curves, ((1, 1), (0, 0)), mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    shape = bolus_shape(smooth, times_s)
    noise = bolus_shape(curves, times_s).noise_hu
    wanted = np.flatnonzero(is_wanted(shape) & (shape.peak_hu > MINIMUM_CONTRAST_TO_NOISE * noise))
    if len(wanted) < 2:
        return wanted
    order = rank(BolusShape(*(getattr(shape, one)[wanted] for one in shape.__dataclass_fields__)), smooth[:, wanted])
    best = wanted[np.argsort(order, kind="stable")[:N_BEST]]
    clusters = fcluster(linkage(smooth[:, best].T, "average", "correlation"), CLUSTER_DISTANCE, "distance")
    cluster = best[clusters == np.bincount(clusters).argmax()]
    is_full = shape.peak_hu[cluster] >= FULLEST_SHARE * shape.peak_hu[cluster].max()
    return np.asarray(cluster[is_full][:N_VOXELS])


def _is_vein(shape: BolusShape, tissue_rise_s: float) -> Mask:
    """Late curves that fall again; any late curve where none falls. What motion leaves beside bone jumps and stays."""
    is_late = np.asarray(shape.rise_s > tissue_rise_s)
    is_whole = is_late & np.isfinite(shape.fall_s)
    return is_whole if is_whole.any() else is_late


def _artery_rank(shape: BolusShape, _curves: FloatArray) -> FloatArray:
    """Rank sum, low for a high, narrow, early and smooth curve; a width that cannot be read counts as the widest."""
    from scipy.stats import rankdata  # slow to import, and only CT perfusion needs it

    width = np.where(np.isnan(shape.width_s), np.inf, shape.width_s)
    scores = (-shape.peak_hu, width, shape.rise_s, shape.noise_hu / shape.peak_hu)
    return np.asarray(sum(rankdata(one) for one in scores))


def _vein_rank(_shape: BolusShape, curves: FloatArray) -> FloatArray:
    """Low for a large area: the sinus that fills its voxels."""
    return np.asarray(-curves.sum(axis=0))


def _refusal(reason: str, detail: str) -> ArterialInput:
    """An arterial input that was not found, with its reason."""
    none = np.empty(0, dtype=np.int64)
    return ArterialInput(None, None, none, none, 1.0, 0.0, False, reason, "", detail)
