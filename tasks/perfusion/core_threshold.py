"""What a share of true flow becomes on CBF maps: the core's threshold, calibrated by simulation.

Truncated deconvolution smooths the residue. Normal tissue, whose blood passes in a few seconds, loses a quarter to a
half of its flow; slow tissue loses less, and noise adds to faint flow. A voxel of 30 % true flow so reads as 35 to 45 %
of normal, and a threshold of 30 % on the maps finds too little core.

The size of the shift follows from the series itself. Two tissues are simulated with its AIF, frames and noise and put
through the same deconvolution: normal tissue, its volume that of the normal reference and its flow such that its map
reads what the reference reads; and tissue at the border of the core, the nominal share of that flow, its volume that of
the voxels whose map lies near the threshold. The ratio of the second's reading to the first's is the threshold.

It is a choice and not the default. Published thresholds were mostly found on maps as measured (Campbell et al., Stroke
2011;42:3435-3440; they vary with the software: Kamalian et al., Stroke 2011;42:1923-1928); to apply those as they were
meant, leave this out. It needs a residue to be assumed: where the true one is sharper (a box for a gamma distribution)
normal tissue loses next to nothing, and a threshold raised for it takes penumbra for core. And it means flow against
the mean of a hemisphere: penumbral white matter at less than half of its own normal flow lies below 30 % of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from tasks.arrays import AnyArray, FloatArray, Mask
from tasks.perfusion.bolus import bolus_shape
from tasks.perfusion.deconvolution import build_deconvolver
from tasks.perfusion.maps import PerfusionMaps, PerfusionSettings, perfusion_maps

#: Shape of the gamma distribution of transit times: 1 is a mixed compartment (an exponential residue), infinity equal
#: transit times (a box), the extremes by which methods are tested (Østergaard et al., Magn Reson Med 1996;36:715-725).
#: 4 lies between them.
RESIDUE_SHAPE = 4.0
#: Voxels whose map lies within this factor of the nominal threshold are at the border: the shift is less than it.
BORDER_FACTOR = 1.5
TRANSIT_TIMES_S = np.geomspace(1.0, 30.0, 35)  # of normal tissue, tried: 4 s is usual, steps of 10 %
N_REPEATS = 256  # of the noise: the mean of the maximum is then known to 1 %
SIMULATED_STEP_S = 0.05  # of the time axis of the simulated curves
NOISE_SEED = 20030117  # of the simulated noise, fixed so that a series has one threshold


@dataclass(frozen=True)
class TissueSample:
    """What the maps read in normal tissue and near the threshold.

    Attributes
    ----------
    normal_cbf, normal_cbv : ml/100 g/min and ml/100 g, means of the normal reference
    border_cbv : ml/100 g, median of the voxels near the nominal threshold; None where there are none
    noise_hu : standard deviation of one frame of one voxel, as the curves are deconvolved
    """

    normal_cbf: float
    normal_cbv: float
    border_cbv: float | None
    noise_hu: float


@dataclass(frozen=True)
class CoreThreshold:
    """A threshold on maps and how it came about.

    Attributes
    ----------
    nominal : share of true flow
    on_maps : share of the reference's mean on the maps
    normal_cbf : true flow of normal tissue that explains the reference, ml/100 g/min
    normal_recovery, border_recovery : flow on the maps over true flow
    reason : empty, or ``no_border_tissue`` or ``no_normal_volume`` (no positive blood volume in normal tissue: the maps
        are noise), with which ``on_maps`` is nominal
    """

    nominal: float
    on_maps: float
    normal_cbf: float
    normal_recovery: float
    border_recovery: float
    reason: str


def sample_tissue(maps: PerfusionMaps, curves: AnyArray, normal: Mask, affected: Mask, nominal: float) -> TissueSample:
    """Read the maps for ``calibrate_threshold``.

    Parameters
    ----------
    maps : PerfusionMaps
    curves : (T, ...) array, as deconvolved, any baseline
    normal, affected : (...) bool arrays, tissue of the unaffected and of the affected side
    nominal : the core's share of normal flow
    """
    normal_cbf = float(maps.cbf[normal].mean(dtype=np.float64))
    limits = nominal * normal_cbf / BORDER_FACTOR, nominal * normal_cbf * BORDER_FACTOR
    border = affected & (maps.cbf > limits[0]) & (maps.cbf < limits[1]) & (maps.cbv > 0)
    inside = np.asarray(curves.reshape(len(curves), -1)[:, np.flatnonzero(normal)], dtype=np.float32)
    return TissueSample(
        normal_cbf=normal_cbf,
        normal_cbv=float(maps.cbv[normal].mean(dtype=np.float64)),
        border_cbv=float(np.median(maps.cbv[border])) if border.any() else None,
        noise_hu=float(np.median(bolus_shape(inside, np.arange(len(inside), dtype=np.float64)).noise_hu)),
    )


def calibrate_threshold(
    aif: FloatArray,
    frame_times_s: FloatArray,
    sample: TissueSample,
    settings: PerfusionSettings,
    *,
    nominal: float = 0.30,
    residue_shape: float = RESIDUE_SHAPE,
) -> CoreThreshold:
    """The share of the reference's reading at which true flow is the nominal share of normal.

    Parameters
    ----------
    aif : (T,) array, HU over baseline, scaled as for the maps
    frame_times_s : (T,) array, s
    sample : TissueSample
    settings : PerfusionSettings of the maps
    nominal : share of true flow, in (0, 1)
    residue_shape : > 0, of the gamma distribution of transit times; infinite is the box

    Raises
    ------
    ValueError
        The share is out of range, or the AIF cannot be inverted.
    """
    if not 0 < nominal < 1:
        raise ValueError(f"nominal must be in (0, 1), got {nominal}. Give a share, not per cent.")
    if not (sample.normal_cbv > 0 and sample.normal_cbf > 0):
        return CoreThreshold(nominal, nominal, np.nan, np.nan, np.nan, "no_normal_volume")
    times = np.asarray(frame_times_s, dtype=np.float64)
    deconvolver = build_deconvolver(aif, times, settings.method, grid_interval_s=settings.grid_interval_s)

    def read(cbf: FloatArray, mtt_s: FloatArray) -> FloatArray:
        """Mean CBF on maps of simulated tissue."""
        flow_per_s = cbf / (6000 * settings.blood_per_gram)
        curves = np.repeat(flow_per_s * _unit_curves(aif, times, mtt_s, residue_shape), N_REPEATS, axis=1)
        curves += np.random.default_rng(NOISE_SEED).normal(0, sample.noise_hu, curves.shape)
        maps = perfusion_maps(curves, deconvolver, settings)
        return np.asarray(maps.cbf.reshape(-1, N_REPEATS).mean(axis=1, dtype=np.float64))

    flows = 60 * sample.normal_cbv / TRANSIT_TIMES_S[::-1]
    readings = np.maximum.accumulate(read(flows, TRANSIT_TIMES_S[::-1]))
    normal_cbf = float(np.exp(np.interp(sample.normal_cbf, readings, np.log(flows))))
    normal_recovery = sample.normal_cbf / normal_cbf
    if sample.border_cbv is None:
        return CoreThreshold(nominal, nominal, normal_cbf, normal_recovery, np.nan, "no_border_tissue")
    border_cbf = nominal * normal_cbf
    border_mtt_s = np.array([60 * sample.border_cbv / border_cbf])
    border_reading = float(read(np.array([border_cbf]), border_mtt_s)[0])
    return CoreThreshold(
        nominal, border_reading / sample.normal_cbf, normal_cbf, normal_recovery, border_reading / border_cbf, ""
    )


def _unit_curves(aif: FloatArray, times: FloatArray, mtt_s: FloatArray, residue_shape: float) -> FloatArray:
    """Curves of tissue of unit flow (1/s), (T, n): the AIF, linear between frames, convolved with residues."""
    fine = np.arange(times[0], times[-1] + SIMULATED_STEP_S, SIMULATED_STEP_S)
    since = fine - times[0] + SIMULATED_STEP_S / 2
    arterial = np.interp(fine, times, aif) * SIMULATED_STEP_S
    columns = []
    for mtt in mtt_s:
        is_box = np.isinf(residue_shape)
        residue = (since < mtt) * 1.0 if is_box else gammaincc(residue_shape, since / (mtt / residue_shape))
        columns.append(np.interp(times, fine, np.convolve(arterial, residue)[: len(fine)]))
    return np.stack(columns, axis=1)
