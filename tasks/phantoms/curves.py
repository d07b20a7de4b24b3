"""Enhancement curves of the CT perfusion phantom: artery, vein, and tissue of every transit time and delay.

Tissue follows indicator-dilution theory (Meier and Zierler, J Appl Physiol 1954;6:731-744; Ostergaard et al., Magn
Reson Med 1996;36:715-725)::

    C(t) = rho / k_H * CBF / 6000 * integral of AIF(u) R(t - delay - u) du        [HU]

with CBF in ml/100 g/min, tissue density ``rho`` in g/ml, ``k_H`` the ratio of plasma shares of large and small vessels,
and the residue function ``R`` one minus the gamma distribution of transit times, whose mean is the MTT: of shape 1 it
is the exponential, of infinite shape the box. The arterial input is a gamma-variate (Thompson et al., Circ Res
1964;14:502-515) with a second, dispersed pass; veins carry it after a gamma-distributed transit through the brain, so
that both have the same area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import signal, special

from tasks.arrays import Float32Array, FloatArray
from tasks.perfusion.blood import BRAIN_DENSITY_G_PER_ML, HAEMATOCRIT_RATIO

Residue = Literal["exponential", "gamma", "box"]

#: Shape of the distribution of transit times: 4, chosen here, lies between the exponential and the box.
RESIDUE_SHAPES: dict[Residue, float] = {"exponential": 1.0, "gamma": 4.0, "box": np.inf}

STEP_S = 0.1  # of the time axis on which curves are computed, and of the delays that occur
TRANSIT_RATIO = 1.02  # of neighbouring transit times that occur
TRANSIT_LIMITS_S, LONGEST_DELAY_S = (1.5, 30.0), 15.0
#: Second pass of the bolus: share of its area, delay and dispersion; chosen for a plateau of a tenth of the peak.
SECOND_PASS_SHARE, SECOND_PASS_DELAY_S, SECOND_PASS_DISPERSION_S = 0.3, 10.0, 20.0
VENOUS_TRANSIT_S, VENOUS_TRANSIT_SHAPE = 6.0, 3.0  # artery to sinus: normal transit times and 2 s on the way


@dataclass(frozen=True)
class Bolus:
    """Arterial input: a gamma-variate that starts at ``arrival_s`` and reaches ``peak_hu``.

    ``alpha`` and ``beta_s`` as in Ostergaard et al. 1996: the peak comes ``alpha * beta_s`` after the start. 300 HU is
    usual at 70 to 80 kV.
    """

    arrival_s: float = 8.0
    peak_hu: float = 300.0
    alpha: float = 3.0
    beta_s: float = 1.5


@dataclass(frozen=True, eq=False)
class TissueCurves:
    """Curves of tissue of unit flow, for every transit time and delay that occurs.

    Attributes
    ----------
    bank : (T, M * D) float32 array, HU s: integral of AIF and residue at each frame, transit times by delays
    transit_times_s : (M,) float array
    n_delays : int
        Delays are 0, ``STEP_S``, 2 ``STEP_S``, ...
    """

    bank: Float32Array
    transit_times_s: FloatArray
    n_delays: int

    def nearest(self, mtt_s: FloatArray, delay_s: FloatArray) -> tuple[npt.NDArray[np.int32], FloatArray, FloatArray]:
        """Column of the bank nearest to each transit time and delay, and the two as the bank has them."""
        ratio = np.log(mtt_s / self.transit_times_s[0]) / np.log(TRANSIT_RATIO)
        row = np.clip(np.rint(ratio), 0, len(self.transit_times_s) - 1).astype(np.int32)
        column = np.clip(np.rint(delay_s / STEP_S), 0, self.n_delays - 1).astype(np.int32)
        return (
            row * np.int32(self.n_delays) + column,
            self.transit_times_s[row],
            np.asarray(column * STEP_S, dtype=np.float64),
        )


def arterial_curve(times_s: FloatArray, bolus: Bolus) -> FloatArray:
    """Enhancement of pure arterial blood, HU.

    Parameters
    ----------
    times_s : (T,) float array, >= 0 s
    """
    fine = _time_axis(times_s)
    return np.asarray(np.interp(times_s, fine, _arterial(fine, bolus)))


def venous_curve(times_s: FloatArray, bolus: Bolus) -> FloatArray:
    """Enhancement of pure venous blood, HU: the arterial curve after its transit through the brain.

    Parameters
    ----------
    times_s : (T,) float array, >= 0 s
    """
    fine = _time_axis(times_s)
    scale = VENOUS_TRANSIT_S / VENOUS_TRANSIT_SHAPE
    passed = special.gammainc(VENOUS_TRANSIT_SHAPE, np.append(fine, fine[-1] + STEP_S) / scale)
    venous = signal.fftconvolve(_arterial(fine, bolus), np.diff(passed))[: len(fine)]
    return np.asarray(np.interp(times_s, fine, venous))


def tissue_curves(times_s: FloatArray, bolus: Bolus, residue: Residue) -> TissueCurves:
    """Integrals of the arterial input and the residue function at the frames.

    Parameters
    ----------
    times_s : (T,) float array, >= 0 s
    """
    fine = _time_axis(times_s)
    arterial = _arterial(fine, bolus)
    low, high = TRANSIT_LIMITS_S
    transit = low * TRANSIT_RATIO ** np.arange(int(np.log(high / low) / np.log(TRANSIT_RATIO)) + 1)
    shape = RESIDUE_SHAPES[residue]
    if np.isinf(shape):
        left = np.clip((transit[:, None] - fine) / STEP_S + 0.5, 0, 1)  # the last sample counts by its share
    else:
        left = special.gammaincc(shape, shape * fine / transit[:, None])
    sums = signal.fftconvolve(arterial[None], left, axes=1)[:, : len(fine)]
    integrals = STEP_S * (sums - arterial * left[:, :1] / 2)  # trapezoidal rule; the input starts at 0
    n_delays = round(LONGEST_DELAY_S / STEP_S) + 1
    padded = np.pad(integrals, ((0, 0), (n_delays, 0)))
    whole = np.floor(times_s / STEP_S + 1e-9).astype(int)
    part = (times_s / STEP_S - whole)[:, None, None]
    position = n_delays + whole[:, None] - np.arange(n_delays)
    early, late = (padded[:, position + shift].transpose(1, 0, 2) for shift in (0, 1))
    bank = (early * (1 - part) + late * part).reshape(len(times_s), -1)
    return TissueCurves(bank.astype(np.float32), np.asarray(transit, dtype=np.float64), n_delays)


def tissue_factor(cbf: FloatArray) -> FloatArray:
    """HU per HU s of the integral, 1/s: ``rho / k_H * CBF / 6000``."""
    return np.asarray(BRAIN_DENSITY_G_PER_ML / HAEMATOCRIT_RATIO * cbf / 6000)


def _time_axis(times_s: FloatArray) -> FloatArray:
    return np.asarray(STEP_S * np.arange(int(np.ceil(times_s[-1] / STEP_S)) + 2))


def _arterial(fine: FloatArray, bolus: Bolus) -> FloatArray:
    """First and second pass on the fine time axis."""
    first = _gamma_variate(fine - bolus.arrival_s, bolus)
    later = _gamma_variate(fine - bolus.arrival_s - SECOND_PASS_DELAY_S, bolus)
    spread = np.exp(-fine / SECOND_PASS_DISPERSION_S) * STEP_S / SECOND_PASS_DISPERSION_S
    return np.asarray(first + SECOND_PASS_SHARE * signal.fftconvolve(later, spread)[: len(fine)])


def _gamma_variate(since_s: FloatArray, bolus: Bolus) -> FloatArray:
    """Gamma-variate with its peak at ``alpha * beta_s``."""
    relative = np.maximum(since_s, 0) / (bolus.alpha * bolus.beta_s)
    return np.asarray(bolus.peak_hu * relative**bolus.alpha * np.exp(bolus.alpha * (1 - relative)))
