"""Maps of CT perfusion as a step holds them, whether made from a series or by a workstation, and as it keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cohorts.images.derivatives import map_files
from flows.cases.perfusion_ct import SameSpace
from tasks.arrays import Float32Array, Mask
from tasks.perfusion.maps import PerfusionSettings
from tasks.perfusion.series import PerfusionSeries

RELATIVE_MAPS = ("cbf", "cbv")  # that the scaling of the arterial input multiplies
MAP_UNITS = {"cbf": "ml/100 g/min", "cbv": "ml/100 g", "mtt": "s", "tmax": "s"}


@dataclass(frozen=True, eq=False)
class Perfusion:
    """What the core is found from.

    Attributes
    ----------
    maps : ``cbf`` and, where there are, ``cbv``, ``mtt``, ``tmax`` -> (X, Y, Z) float32 array in ``MAP_UNITS``, NaN
        where nothing was measured; empty where the series was refused
    tissue : (X, Y, Z) bool array: brain without vessels and fluid
    is_covered : (X, Y, Z) bool array, voxels that every usable frame shows
    series, settings : where the maps come from a series, and how they were made; None for a workstation's
    same_space : a CT of the patient aligned with the series; None where there is none
    """

    maps: Mapping[str, Float32Array]
    tissue: Mask
    is_covered: Mask
    series: PerfusionSeries | None = None
    settings: PerfusionSettings | None = None
    same_space: SameSpace | None = None


def perfusion_of(found: PerfusionSeries, settings: PerfusionSettings) -> Perfusion:
    """What a series gave, which need not be all."""
    shape = (0, 0, 0) if found.series is None else found.series.shape[:3]
    maps = {} if found.maps is None else {name: getattr(found.maps, name) for name in MAP_UNITS}
    covered = np.zeros(shape, dtype=bool) if found.is_covered is None else found.is_covered
    tissue = np.zeros(shape, dtype=bool) if found.tissue is None else found.tissue
    return Perfusion(maps, tissue, covered, found, settings)


def kept_maps(
    prefix: str, perfusion: Perfusion, affine: npt.NDArray[np.float64], parameters: Mapping[str, Any]
) -> dict[str, bytes]:
    """The maps as files, each with its unit, ``arbitrary`` where only ratios are known, and how it was made."""
    files: dict[str, bytes] = {}
    is_relative = perfusion.series is not None and bool(perfusion.series.relative_reason)
    for name, values in perfusion.maps.items():
        unit = "arbitrary" if is_relative and name in RELATIVE_MAPS else MAP_UNITS[name]
        files |= map_files(f"{prefix}_{name}", values, affine, {"Units": unit, "Settings": dict(parameters)})
    return files
