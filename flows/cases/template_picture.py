"""The picture of a lesion mask in template space: slices of the template with the label map's regions and the lesion.

There is no image of the patient. What does not depend on the patient is drawn once per label map and process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.anatomy.template import LabelMap, labels_on_grid, load_template
from reports.figures.scan_picture import ScanPicture, scan_picture, svg_path
from tasks.views.display_plane import Framing, PictureField
from tasks.views.key_slices import PreparedScan, displayed, key_slices

#: The template has no skull; pixels of 1.1 mm show its anatomy, and keep a file below 40 kB.
FRAMING = Framing(margin_mm=5.0, finest_mm=1.1, most_per_level=1)
WINDOW_SHARES = (0.3, 1.15)  # of the brightest percentile: fluid is dark, and white matter does not drown the outlines


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The template with a label map's regions: picture without lesion, its field, and each slice's world positions."""

    picture: ScanPicture
    field: PictureField
    slices: tuple[npt.NDArray[np.float64], ...]


def template_picture(
    indices: npt.NDArray[np.int64],
    shape: tuple[int, int, int],
    affine: npt.NDArray[np.float64],
    label_map: LabelMap,
) -> ScanPicture:
    """Draw a lesion at both ASPECTS levels of the template.

    Parameters
    ----------
    indices : (n,) int array, flat Fortran-order indices of the lesion
    shape : voxels along each axis
    affine : (4, 4) float64 array, voxel -> template world, RAS, mm
    label_map : whose regions are outlined

    Returns
    -------
    ScanPicture
        JSON-able; ``lesion`` is empty on a slice that the lesion does not cross.
    """
    drawn = _drawn(label_map)
    lesion = np.zeros(shape, dtype=np.uint8, order="F")
    lesion.reshape(-1, order="F")[indices] = 1
    low, high = _reach(indices, shape)
    planes: list[Any] = []
    places = _voxels(label_map, affine.tobytes())
    for plane, voxels in zip(drawn.picture["planes"], places, strict=True):
        near = ((voxels > low) & (voxels < high)).all(axis=0)
        share = np.zeros(voxels.shape[1], np.float32)
        share[near] = ndimage.map_coordinates(lesion, voxels[:, near], output=np.float32, order=1)
        on_slice = share.reshape(drawn.field.n_voxels)
        planes.append({**plane, "lesion": svg_path(drawn.field.outlines(on_slice)) if on_slice.any() else ""})
    return cast("ScanPicture", {**drawn.picture, "planes": planes})


def _reach(
    indices: npt.NDArray[np.int64], shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Open limits (3, 1) of the voxel coordinates at which linear interpolation sees a lesion; none without one."""
    if not len(indices):
        return np.zeros((3, 1)), np.zeros((3, 1))
    at = np.stack(np.unravel_index(indices, shape, order="F"))
    return at.min(axis=1, keepdims=True) - 1.0, at.max(axis=1, keepdims=True) + 1.0


@lru_cache(maxsize=8)
def _voxels(label_map: LabelMap, affine: bytes) -> tuple[npt.NDArray[np.float64], ...]:
    """Mask voxels (3, n) of each slice's positions; the masks of a cohort mostly share one grid."""
    to_voxel = np.linalg.inv(np.frombuffer(affine).reshape(4, 4))
    return tuple((to_voxel @ world).round(6)[:3] for world in _drawn(label_map).slices)


@lru_cache(maxsize=8)
def _drawn(label_map: LabelMap) -> _Drawn:
    """Draw the template and the regions, one slice of each level."""
    template = load_template()
    labels = labels_on_grid(label_map, template.t1.shape, template.affine).labels
    scan = PreparedScan(template.t1, template.affine, template.brain, labels)
    low, high = (share * float(np.percentile(template.t1[template.brain], 99)) for share in WINDOW_SHARES)
    found = key_slices(scan, label_map.table, (low, high), FRAMING)
    picture = scan_picture(found, label_map.table, "", label_map.sha256)
    display = displayed(scan, label_map.table, FRAMING)
    slices = []
    for _, k in display.chosen:
        x, y = np.indices(display.field.n_voxels).reshape(2, -1)
        slices.append(display.turn.affine @ np.stack([x, y, np.full(x.shape, k), np.ones(x.shape)]))
    planes = [{**plane, "brain": ""} for plane in picture["planes"]]  # nothing was registered that could be checked
    whole: Any = {**picture, "space": "template", "planes": planes}
    return _Drawn(whole, display.field, tuple(slices))
