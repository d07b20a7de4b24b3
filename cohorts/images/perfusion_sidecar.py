"""What a perfusion scan's sidecar and header say besides its voxels: frame times, unit, vessels chosen by a reader.

Frame times are never assumed: the sidecar gives them one by one (``VolumeTiming`` as this program writes it, or BIDS's
``FrameTimesStart``), or the header gives an interval together with its unit. A NIfTI file whose time unit is unknown
says 1 whatever the interval was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohorts.images.nifti import ImageProblemError, peek_header
from tasks.arrays import FloatArray, IntArray

TIMING_KEYS = ("VolumeTiming", "FrameTimesStart")
UNIT_KEY = "Units"
CURVE_KEYS = {"aif": "ArterialInputFunction", "vof": "VenousOutputFunction"}
VOXEL_KEYS = {"aif": "ArterialInputVoxels", "vof": "VenousOutputVoxels"}
SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, eq=False)
class ChosenVessel:
    """Artery or vein as a reader chose it: a curve, HU over baseline, or voxels (n, 3) of the stored image."""

    curve: FloatArray | None = None
    voxels: IntArray | None = None


def read_sidecar(content: bytes | None, name: str) -> Mapping[str, Any]:
    """A sidecar's keys; none where there is no sidecar.

    Raises
    ------
    ImageProblemError
        ``sidecar_unreadable``.
    """
    if content is None:
        return {}
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ImageProblemError(
            "sidecar_unreadable", f"{name}: sidecar must be a JSON object, got: {error}. Fix or delete it."
        ) from error
    if not isinstance(body, dict):
        raise ImageProblemError(
            "sidecar_unreadable",
            f"{name}: sidecar must be a JSON object, got {type(body).__name__}. Fix it.",
        )
    return body


def frame_times(sidecar: Mapping[str, Any], image: bytes, name: str) -> tuple[list[float] | None, str]:
    """Time of every stored frame, s, and where it is written; None where neither sidecar nor header says.

    Parameters
    ----------
    sidecar : from `read_sidecar`
    image : bytes of the NIfTI file, whose header may give the interval
    name : of the image, for messages

    Raises
    ------
    ImageProblemError
        ``sidecar_unreadable``: the times are no list of numbers.
    """
    for key in TIMING_KEYS:
        if key in sidecar:
            return _numbers(sidecar[key], key, name).tolist(), key
    header = peek_header(image, name)
    interval, shape = float(header["pixdim"][4]), header.get_data_shape()
    factor = SECONDS_PER_UNIT.get(header.get_xyzt_units()[1])
    if factor is None or len(shape) < 4 or not np.isfinite(interval) or interval <= 0:
        return None, ""
    return [frame * interval * factor for frame in range(int(shape[3]))], "header"


def map_unit(sidecar: Mapping[str, Any]) -> str | None:
    """The unit of a map as written; None where there is none."""
    unit = sidecar.get(UNIT_KEY)
    return unit if isinstance(unit, str) and unit.strip() else None


def chosen_vessels(sidecar: Mapping[str, Any], shape: tuple[int, ...], name: str) -> dict[str, ChosenVessel]:
    """``aif`` and ``vof`` as a reader chose them, where the sidecar holds them.

    Parameters
    ----------
    sidecar : from `read_sidecar`
    shape : (X, Y, Z, T) of the image
    name : of the image, for messages

    Raises
    ------
    ImageProblemError
        ``sidecar_unreadable``: a curve has not one value per frame, or a voxel lies outside the image.
    """
    chosen = {}
    for vessel, key in CURVE_KEYS.items():
        if key in sidecar:
            curve = _numbers(sidecar[key], key, name)
            if len(curve) != shape[3]:
                raise ImageProblemError(
                    "sidecar_unreadable",
                    f"{key} of {name} must have one value per frame, got {len(curve)} for {shape[3]}. Correct it.",
                )
            chosen[vessel] = ChosenVessel(curve=curve)
    for vessel, key in VOXEL_KEYS.items():
        if key in sidecar and vessel not in chosen:
            voxels = _numbers(sidecar[key], key, name, n_columns=3).astype(np.int64)
            if not len(voxels) or (voxels < 0).any() or (voxels >= shape[:3]).any():
                raise ImageProblemError(
                    "sidecar_unreadable",
                    f"{key} of {name} must be voxels inside {'x'.join(map(str, shape[:3]))}, counted from 0, got "
                    f"{voxels.tolist()[:3]}. Correct it.",
                )
            chosen[vessel] = ChosenVessel(voxels=voxels)
    if "vof" in chosen and "aif" not in chosen:
        raise ImageProblemError(
            "sidecar_unreadable",
            f"sidecar of {name} must give {CURVE_KEYS['aif']} or {VOXEL_KEYS['aif']} with a vein, got the vein alone. "
            "Add the artery.",
        )
    return chosen


def _numbers(value: Any, key: str, name: str, n_columns: int | None = None) -> FloatArray:
    """A list of finite numbers, or of rows of them."""
    wanted = "a list of numbers" if n_columns is None else f"a list of rows of {n_columns} numbers"
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(())
    rows = (1,) if n_columns is None else (2,)
    if found.ndim not in rows or not np.isfinite(found).all() or (n_columns and found.shape[-1] != n_columns):
        raise ImageProblemError(
            "sidecar_unreadable", f"{key} of {name} must be {wanted}, got {str(value)[:60]!r}. Correct the sidecar."
        )
    return found
