"""Perfusion maps of a CT series: from deconvolved residues to CBF, CBV, MTT and Tmax in their clinical units.

CT enhancement is proportional to the iodine per ml of voxel, and only plasma carries iodine. With the haematocrits of
large and small vessels and the density of brain, the blood of ``kappa`` = (1 - Hct_large) / (1 - Hct_small)::

    CBV [ml/100 g]     = 100  kappa / density * area(tissue) / area(artery)
    CBF [ml/100 g/min] = 6000 kappa / density * maximum of the residue [1/s]
    MTT [s]            = 60 CBV / CBF                (central volume theorem)
    Tmax [s]           = time of the residue's maximum

CBV is the ratio of areas, signed and without regularisation; MTT so inherits the bias of CBF alone. Names follow the
OSIPI lexicon (CAPLEX).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.arrays import AnyArray, Float32Array, Mask
from tasks.perfusion.blood import BRAIN_DENSITY_G_PER_ML, LARGE_VESSEL_HAEMATOCRIT, SMALL_VESSEL_HAEMATOCRIT
from tasks.perfusion.deconvolution import GRID_INTERVAL_S, Deconvolver, Method, OscillationIndexSvd, deconvolve


@dataclass(frozen=True)
class PerfusionSettings:
    """How maps are made; kept beside them.

    Attributes
    ----------
    method : the deconvolution
    grid_interval_s : of its regular grid, s; shorter where frames are closer
    haematocrit_large, haematocrit_small : of large and small vessels, in [0, 1)
    density_g_ml : of brain

    Raises
    ------
    ValueError
        A haematocrit or the density is out of range.
    """

    method: Method = field(default_factory=OscillationIndexSvd)
    grid_interval_s: float = GRID_INTERVAL_S
    haematocrit_large: float = LARGE_VESSEL_HAEMATOCRIT
    haematocrit_small: float = SMALL_VESSEL_HAEMATOCRIT
    density_g_ml: float = BRAIN_DENSITY_G_PER_ML

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be in [0, 1), got {value}. Give a volume fraction."
            for name, value in (
                ("haematocrit_large", self.haematocrit_large),
                ("haematocrit_small", self.haematocrit_small),
            )
            if not 0 <= value < 1
        ]
        if not self.density_g_ml > 0:
            problems.append(
                f"density_g_ml must be > 0 g/ml, got {self.density_g_ml} g/ml. Brain is {BRAIN_DENSITY_G_PER_ML}."
            )
        if problems:
            raise ValueError(" ".join(problems))

    @property
    def kappa(self) -> float:
        """Ratio of the plasma shares of large and small vessels.

        >>> round(PerfusionSettings().kappa, 3)
        0.733
        """
        return (1 - self.haematocrit_large) / (1 - self.haematocrit_small)

    @property
    def blood_per_gram(self) -> float:
        """From tracer volume per ml of tissue to blood volume per g of brain, ml/g."""
        return self.kappa / self.density_g_ml


@dataclass(frozen=True, eq=False)
class PerfusionMaps:
    """Maps on the series' grid, NaN outside the mask.

    Attributes
    ----------
    cbf : float32 array, ml/100 g/min
    cbv : float32 array, ml/100 g; negative where noise outweighs a faint curve
    mtt : float32 array, s; NaN where ``cbf`` is not positive
    tmax : float32 array, s; negative where tissue leads the AIF
    """

    cbf: Float32Array
    cbv: Float32Array
    mtt: Float32Array
    tmax: Float32Array


def perfusion_maps(
    curves: AnyArray,
    deconvolver: Deconvolver,
    settings: PerfusionSettings,
    *,
    mask: Mask | None = None,
    device: str | None = None,
    n_threads: int = 1,
) -> PerfusionMaps:
    """The four maps of a series.

    Parameters
    ----------
    curves : (T, ...) array, time first, in the AIF's unit; HU as stored where the deconvolver takes the baseline off
    deconvolver : Deconvolver
    settings : PerfusionSettings
    mask : (...) bool array, voxels wanted; None takes all
    device, n_threads : as in ``tasks.perfusion.deconvolution.deconvolve``

    Raises
    ------
    ValueError
        The mask does not fit the curves, or the curves not the deconvolver.
    """
    shape = curves.shape[1:]
    if mask is not None and mask.shape != shape:
        raise ValueError(f"mask must have the shape of one frame {shape}, got {mask.shape}. Put time first in curves.")
    voxels = None if mask is None else np.flatnonzero(mask)
    residues = deconvolve(curves, deconvolver, voxels=voxels, device=device, n_threads=n_threads)
    cbf = residues.peak_per_s * np.float32(6000 * settings.blood_per_gram)
    cbv = residues.area_ratio * np.float32(100 * settings.blood_per_gram)
    mtt = np.divide(60 * cbv, cbf, out=np.full_like(cbf, np.nan), where=cbf > 0)
    tmax = np.where(np.isfinite(cbf), residues.peak_time_s, np.float32(np.nan))

    def on_grid(values: Float32Array) -> Float32Array:
        if voxels is None:
            return values.reshape(shape)
        volume = np.full(shape, np.nan, dtype=np.float32)
        volume.reshape(-1)[voxels] = values
        return volume

    return PerfusionMaps(on_grid(cbf), on_grid(cbv), on_grid(mtt), on_grid(tmax))
