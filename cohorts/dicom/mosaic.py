"""Siemens mosaics: all slices of a volume as tiles of one image, as diffusion and functional MR were long written.

The header's position is that of the whole mosaic as if it were one slice; how many tiles there are, and in which
direction they follow each other, stands in the private CSA header alone. Without it a mosaic has no place.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.tag import Tag

from cohorts.dicom.attributes import number_of, numbers_in, text_of
from tasks.arrays import AnyArray

CSA_IMAGE_HEADER = Tag(0x0029, 0x1010)
#: More tiles than any head has slices are a damaged header.
MOST_TILES = 1024


@dataclass(frozen=True)
class Mosaic:
    """Tiles of a mosaic: how many along each side, their (rows, columns), and the place of each first pixel, LPS mm."""

    per_side: int
    shape: tuple[int, int]
    positions: tuple[tuple[float, ...], ...]
    b_value: float | None


def is_mosaic(dataset: pydicom.Dataset) -> bool:
    """Whether an image calls itself a mosaic."""
    return "MOSAIC" in text_of(dataset, "ImageType").upper().split()


def read_mosaic(dataset: pydicom.Dataset) -> Mosaic | None:
    """Where the tiles of a mosaic lie; None where the header does not say.

    References
    ----------
    nibabel, "Siemens mosaic format" (nipy.org/nibabel/dicom/dicom_mosaic.html).
    """
    csa = _csa(dataset)
    position = numbers_in(dataset.get("ImagePositionPatient"), 3)
    cosines = numbers_in(dataset.get("ImageOrientationPatient"), 6)
    spacing = numbers_in(dataset.get("PixelSpacing"), 2)
    n_tiles, normal = int(csa.get("n_tiles") or 0), csa.get("normal")
    step = number_of(dataset, "SpacingBetweenSlices")
    if position is None or cosines is None or spacing is None or normal is None or not step > 0:
        return None
    if not 1 <= n_tiles <= MOST_TILES:
        return None
    per_side = math.ceil(math.sqrt(n_tiles))
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not rows or rows % per_side or columns % per_side:
        return None
    shape = rows // per_side, columns // per_side
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    first = np.array(position) + row * spacing[1] * (columns - shape[1]) / 2
    first = first + column * spacing[0] * (rows - shape[0]) / 2
    positions = tuple(tuple(map(float, first + place * step * np.array(normal))) for place in range(n_tiles))
    return Mosaic(per_side, shape, positions, csa.get("b_value"))


def tiles_of(image: AnyArray, per_side: int) -> AnyArray:
    """(rows, columns) of a mosaic to (tiles, rows, columns), empty ones at the end included.

    >>> tiles_of(np.arange(16).reshape(4, 4), 2)[1].tolist()
    [[2, 3], [6, 7]]
    """
    rows, columns = image.shape[0] // per_side, image.shape[1] // per_side
    blocks = image.reshape(per_side, rows, per_side, columns).swapaxes(1, 2)
    return np.asarray(blocks.reshape(per_side * per_side, rows, columns))


def _csa(dataset: pydicom.Dataset) -> dict[str, Any]:
    """What the CSA header says of the tiles; nothing where it is absent or damaged."""
    element = dataset.get(CSA_IMAGE_HEADER)
    if element is None or not isinstance(element.value, bytes):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel warns on import that it reads Siemens' series alone
        from nibabel.nicom import csareader
    try:
        read = csareader.read(element.value)  # type: ignore[no-untyped-call]
        return {
            "n_tiles": csareader.get_n_mosaic(read),  # type: ignore[no-untyped-call]
            "normal": csareader.get_slice_normal(read),  # type: ignore[no-untyped-call]
            "b_value": _number(csareader.get_scalar(read, "B_value")),  # type: ignore[no-untyped-call]
        }
    except Exception:  # whatever a damaged private header does to its reader
        return {}


def _number(value: Any) -> float | None:
    """A number, None where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
