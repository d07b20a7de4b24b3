"""A CBF map from a workstation brought to ml/100 g/min, or refused where that cannot be known.

A map is a volume of numbers with a written unit. Pictures of a map (colours) hold no numbers, and a map without a unit
may be per minute or per second, per mass or per volume, scaled by ten or relative: a factor of up to 600 that the 30 %
rule survives but volumes of absolute thresholds do not. Grey matter of the converted map must be plausible, which
catches a unit that is written but wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.arrays import AnyArray, Float32Array, Mask
from tasks.perfusion.blood import BRAIN_DENSITY_G_PER_ML

ZeroMeaning = Literal["no_measurement", "no_flow"]

#: Time and amount of tissue as written -> factor to ml/100 g/min.
PER_TIME: Mapping[str, float] = {"min": 1.0, "s": 60.0}
PER_TISSUE: Mapping[str, float] = {
    "100g": 1.0,
    "g": 100.0,
    "100ml": 1.0 / BRAIN_DENSITY_G_PER_ML,
    "ml": 100.0 / BRAIN_DENSITY_G_PER_ML,
}
#: Median of grey matter, ml/100 g/min: healthy adults have about 50 to 80; an ischaemic or aged hemisphere and a
#: method's own bias lie within, a factor of 10 or 60 does not.
GREY_LIMITS = (20.0, 120.0)
GREY_PERCENTILE = 75.0  # of the whole brain, about the median of grey matter, which is half of it
COLOUR_CHANNELS = (3, 4)


@dataclass(frozen=True, eq=False)
class VendorCbf:
    """A converted CBF map. Map and numbers are null where it was refused before they were known.

    Attributes
    ----------
    cbf : (X, Y, Z) float32 array, ml/100 g/min, NaN where nothing was measured
    factor : from the map's own unit to ml/100 g/min
    grey_median : ml/100 g/min, the median of grey matter, or its stand-in (75th percentile of all that was measured)
    zero_share : share of the voxels asked for that are exactly zero; large where a workstation blanks vessels or fluid
    reason : empty, or ``colour_map``, ``wrong_dimensions``, ``cbf_unit_unknown``, ``map_empty``, ``cbf_implausible``
    detail : the rule, what was found and the remedy; empty without a reason
    """

    cbf: Float32Array | None
    factor: float | None = None
    grey_median: float | None = None
    zero_share: float | None = None
    reason: str = ""
    detail: str = ""


def cbf_unit_factor(unit: str | None) -> float | None:
    """Factor from a written unit to ml/100 g/min; none where the unit is no flow or not known.

    Spelling is free: order of time and tissue, case, blanks, brackets, ``sec``, exponents, and a leading scale of the
    stored numbers (``0.1 ml/100 g/min``).

    Examples
    --------
    >>> cbf_unit_factor("mL/100 g/min"), cbf_unit_factor("ml 100g^-1 min^-1"), cbf_unit_factor("0.1 ml/min/100 g")
    (1.0, 1.0, 0.1)
    >>> round(cbf_unit_factor("ml/100ml/s"), 3), cbf_unit_factor("%"), cbf_unit_factor(None)
    (57.692, None, None)
    """
    text = re.sub(r"[\s()\[\]*·_^]|\.(?!\d)", "", (unit or "").lower()).replace("⁻¹", "-1")
    text = re.sub(r"sec(onds?)?", "s", re.sub(r"min(utes?)?", "min", text)).replace("cm3", "ml").replace("cc", "ml")
    found = re.fullmatch(r"(?P<scale>\d*\.?\d+(?:e-?\d+)?)?ml(?P<rest>.+)", text)
    if found is None:
        return None
    scale = float(found["scale"] or 1.0)
    for tissue, per_tissue in PER_TISSUE.items():
        for time, per_time in PER_TIME.items():
            spellings = {f"/{a}{joint}{b}" for a, b in ((tissue, time), (time, tissue)) for joint in ("/", "")}
            spellings |= {f"{a}-1{joint}{b}-1" for a, b in ((tissue, time), (time, tissue)) for joint in (".", "")}
            if found["rest"].lstrip(".") in spellings:
                return scale * per_tissue * per_time
    return None


def convert_cbf(
    values: AnyArray,
    unit: str | None,
    *,
    scaling: tuple[float, float] = (1.0, 0.0),
    brain: Mask | None = None,
    grey: Mask | None = None,
    zero_means: ZeroMeaning = "no_measurement",
) -> VendorCbf:
    """Bring a CBF map to ml/100 g/min.

    Parameters
    ----------
    values : (X, Y, Z) array of stored numbers; a last axis of length 1 is dropped
    unit : as written in the header, the sidecar or the cohort's settings
    scaling : slope and intercept from stored numbers to the unit, where the reader has not applied them
    brain, grey : (X, Y, Z) bool arrays: where zeros are counted and plausibility is judged; none takes every voxel
        above zero
    zero_means : whether a voxel of exactly zero was blanked (as many workstations do with vessels and fluid) or has no
        flow; blanked voxels become NaN and are never core

    Raises
    ------
    ValueError
        A mask has another shape than the map, or ``zero_means`` is unknown.
    """
    if zero_means not in ("no_measurement", "no_flow"):
        raise ValueError(f"zero_means must be no_measurement or no_flow, got {zero_means!r}.")
    if refused := _no_map(values):
        return refused
    stored = values.reshape(values.shape[:3])
    for name, mask in (("brain", brain), ("grey", grey)):
        if mask is not None and mask.shape != stored.shape:
            raise ValueError(f"{name} must have the map's shape {stored.shape}, got {mask.shape}. Resample the mask.")
    factor = cbf_unit_factor(unit)
    if factor is None:
        return VendorCbf(
            None, reason="cbf_unit_unknown",
            detail=f"unit of the CBF map must be a flow such as ml/100 g/min or ml/100 ml/s, got {unit!r}. Write it in "
            "the sidecar's Units, or give the 4D series instead.",
        )  # fmt: skip
    slope, intercept = scaling
    cbf = (stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)) * np.float32(factor)
    asked = np.ones(cbf.shape, dtype=bool) if brain is None else brain
    is_zero = stored == 0
    zero_share = float(is_zero[asked].mean()) if asked.any() else 0.0
    is_measured = np.isfinite(cbf) & (cbf >= 0)
    if zero_means == "no_measurement":
        is_measured &= ~is_zero
    cbf[~is_measured] = np.nan
    positive = cbf[asked & is_measured & (cbf > 0)]
    if not positive.size:
        return VendorCbf(
            cbf, factor, None, zero_share, "map_empty",
            "CBF map must hold values above zero in the brain, got none. Export it again.",
        )  # fmt: skip
    grey_values = positive[:0] if grey is None else cbf[grey & is_measured]
    typical = float(np.median(grey_values)) if grey_values.size else float(np.percentile(positive, GREY_PERCENTILE))
    low, high = GREY_LIMITS
    if low <= typical <= high:
        return VendorCbf(cbf, factor, typical, zero_share)
    return VendorCbf(
        cbf, factor, typical, zero_share, "cbf_implausible",
        f"CBF of grey matter must be {low:g} to {high:g} ml/100 g/min, got {typical:.3g} ml/100 g/min with the unit "
        f"{unit!r}. Check the unit and the scale of the stored numbers.",
    )  # fmt: skip


def _no_map(values: AnyArray) -> VendorCbf | None:
    """Refuse colours and what is no volume."""
    is_colour = values.dtype.fields is not None or (values.ndim > 2 and values.shape[-1] in COLOUR_CHANNELS
                                                    and (values.ndim == 4 or values.dtype == np.uint8))  # fmt: skip
    if is_colour:
        return VendorCbf(
            None, reason="colour_map",
            detail=f"CBF map must hold one number per voxel, got colours ({values.dtype}, shape {values.shape}). "
            "Export the map as numbers, or give the 4D series.",
        )  # fmt: skip
    if values.ndim != 3 and not (values.ndim == 4 and values.shape[3] == 1):
        return VendorCbf(
            None, reason="wrong_dimensions",
            detail=f"CBF map must be a volume (X, Y, Z), got shape {values.shape}. Give one 3D image.",
        )  # fmt: skip
    return None
