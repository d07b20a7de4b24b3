"""Vendors' perfusion maps: the quantity in its unit, and nothing that is not the quantity.

Maps of CT perfusion often carry the anatomy in the same image: with a supplemental palette, stored values below the
first one that the palette maps are shown in grey and are no measurement (PS3.3 C.7.6.19). Outside what is mapped values
are NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from cohorts.dicom.attributes import text_of
from cohorts.dicom.headers import Frame, Header
from cohorts.images.mask import ImageProblemError
from tasks.arrays import Float32Array, Mask
from tasks.perfusion.blood import BRAIN_DENSITY_G_PER_ML

CANONICAL_UNITS = {"cbf": "ml/100 g/min", "cbv": "ml/100 g", "mtt": "s", "ttp": "s", "tmax": "s"}
_PER_MASS = 1.0 / BRAIN_DENSITY_G_PER_ML
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3}
#: Written unit, without blanks, brackets and points, in lower case -> factor to the canonical unit.
UNIT_FACTORS: Mapping[str, Mapping[str, float]] = {
    "cbf": {
        **dict.fromkeys(("ml/100g/min", "ml/min/100g", "ml/100gmin", "ml/min100g"), 1.0),
        **dict.fromkeys(("ml/100g/s", "ml/s/100g", "ml/100gs"), 60.0),
        **dict.fromkeys(("ml/100ml/min", "ml/min/100ml", "ml/100mlmin", "ml/min100ml"), _PER_MASS),
        **dict.fromkeys(("ml/100ml/s", "ml/s/100ml", "ml/100mls", "ml/s100ml"), 60.0 * _PER_MASS),
    },
    "cbv": {"ml/100g": 1.0, "ml/100ml": _PER_MASS, "%": _PER_MASS},
    "mtt": _SECONDS,
    "ttp": _SECONDS,
    "tmax": _SECONDS,
}
#: Medians beyond these were never seen in a brain, healthy or not, in the canonical unit: wide, to catch a factor of
#: 10.
PLAUSIBLE_MEDIANS = {
    "cbf": (2.0, 200.0),
    "cbv": (0.2, 20.0),
    "mtt": (0.5, 30.0),
    "ttp": (0.5, 90.0),
    "tmax": (0.0, 30.0),
}


def map_values(
    kind: str, header: Header, frame: Frame, stored: Float32Array, is_padding: Mask
) -> tuple[Float32Array, dict[str, float], tuple[str, ...]]:
    """Turn stored values of a perfusion map into its quantity.

    Parameters
    ----------
    kind : cbf, cbv, mtt, ttp or tmax
    header, frame : of one of its slices; all share mapping and palette
    stored : (N, rows, columns) stored values
    is_padding : (N, rows, columns) mask

    Returns
    -------
    (N, rows, columns) float32 array in the unit of ``CANONICAL_UNITS``, NaN where the image shows anatomy, padding or
    values below zero; the measured numbers; and warnings (``values_implausible``).

    Raises
    ------
    ImageProblemError
        ``unit_unknown``: the header gives no unit, or none that is known for this map. ``map_empty``: no voxel is
        mapped.
    """
    mapping = frame.mapping
    written = mapping.unit if mapping else frame.rescale_type or text_of(header.dataset, "Units")
    factor = UNIT_FACTORS[kind].get(re.sub(r"[\s().*]", "", written).lower())
    if factor is None:
        known = ", ".join(UNIT_FACTORS[kind])
        raise ImageProblemError(
            "unit_unknown",
            f"unit of the {kind} map must be one of {known}. Export it with a real-world value mapping, or import the "
            "source images and compute the map here.",
        )
    slope = mapping.slope if mapping else (1.0 if frame.slope is None else frame.slope)
    intercept = mapping.intercept if mapping else frame.intercept or 0.0
    is_mapped = ~is_padding & (stored >= first_mapped_value(header, frame))
    if mapping and mapping.last == mapping.last:
        is_mapped &= stored <= mapping.last
    values = (stored * slope + intercept) * factor
    is_mapped &= values >= 0
    if not (values[is_mapped] > 0).any():
        raise ImageProblemError("map_empty", f"{kind} map must hold values, got none above zero. Export it again.")
    median = float(np.median(values[is_mapped & (values > 0)]))
    numbers = {
        "unit_factor": factor,
        "n_map_voxels": int(is_mapped.sum()),
        "n_anatomy_voxels": int((~is_mapped).sum()),
        "median_of_map": median,
    }
    low, high = PLAUSIBLE_MEDIANS[kind]
    warnings = () if low <= median <= high else ("values_implausible",)
    return np.where(is_mapped, values, np.nan).astype(np.float32), numbers, warnings


def first_mapped_value(header: Header, frame: Frame) -> float:
    """The smallest stored value that is a measurement: of the supplemental palette, else of the mapping, else any."""
    descriptor = header.dataset.get("RedPaletteColorLookupTableDescriptor")
    candidates = [frame.mapping.first] if frame.mapping and frame.mapping.first == frame.mapping.first else []
    if descriptor is not None and text_of(header.dataset, "PixelPresentation").upper() in ("COLOR", "MIXED"):
        candidates.append(float(descriptor[1]))
    return max(candidates, default=-np.inf)
