"""The step of ``mask`` sources: a lesion mask in template space, counted in every label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cohorts.images.mask import ImageProblemError, LesionMask, read_mask
from flows.sources.interface import Case, MapReference, Outcome, StepSettings
from models.anatomy.template import LabelMap, labels_on_grid, load_label_map
from tasks.lesion import label_counts, measure_lesion

VASCULAR_MAP = "vascular"

#: A region cut off by more than this share at the border of the mask's grid cannot be scored.
LEAST_COVERAGE = 0.95
#: A lesion with less than this share inside the brain, or this near to it, lies in another space.
LEAST_SHARE_IN_BRAIN = 0.5
BRAIN_MARGIN_MM = 5.0

MASK_PARAMETERS: Mapping[str, float] = {
    "least_coverage": LEAST_COVERAGE,
    "least_share_in_brain": LEAST_SHARE_IN_BRAIN,
    "brain_margin_mm": BRAIN_MARGIN_MM,
}


def examine_mask(case: Case, contents: Mapping[str, bytes], settings: StepSettings) -> Outcome:
    """Read and measure one mask.

    Parameters
    ----------
    case : names the file
    contents : modality -> bytes of its file
    settings : the label maps

    Raises
    ------
    ImageProblemError
        The mask cannot be used.
    """
    file = case.files[0]
    name = Path(file.path).name
    mask = read_mask(contents[file.modality], name)
    affine_bytes = mask.affine.astype("<f8").tobytes()
    counts = {}
    for reference in settings.maps:
        grid = _grid(reference, mask.shape, affine_bytes)
        if reference.location != VASCULAR_MAP and grid.least_coverage < LEAST_COVERAGE:
            raise ImageProblemError(
                "wrong_grid",
                f"{name} must cover every region of the label map, got {grid.least_coverage:.0%} of "
                f"{grid.least_covered} on a grid of {'x'.join(map(str, mask.shape))} voxels. Warp the mask to the "
                "template and keep its affine.",
            )
        counts[reference.sha256] = region_counts(mask.indices, grid.flat, grid.n_region, grid.indices)
        if reference.location == VASCULAR_MAP:
            in_brain = float(grid.near[mask.indices].mean())
            if in_brain < LEAST_SHARE_IN_BRAIN:
                raise ImageProblemError(
                    "lesion_outside_brain",
                    f"{name} must lie in the template's brain, got {in_brain:.0%} of the lesion within "
                    f"{BRAIN_MARGIN_MM:g} mm of it. The mask is in another space: warp it to the template.",
                )
    measures = measure_lesion(mask.indices, mask.shape, mask.affine)
    payload = {
        "scans": {file.modality: _facts(mask)},
        "lesion": vars(measures),
        "counts": counts,
    }
    return Outcome("ok", payload=payload)


def region_counts(
    lesion: npt.NDArray[np.int64],
    flat_labels: npt.NDArray[np.int16],
    n_region: npt.NDArray[np.int64],
    label_indices: npt.NDArray[np.int64],
) -> dict[str, list[int]]:
    """Voxels of each label of a table, and lesion voxels in it, as a record stores them.

    Parameters
    ----------
    lesion : flat Fortran-order indices of the lesion
    flat_labels : labels on the same grid, flat in Fortran order
    n_region : voxels of each label, by its index
    label_indices : the labels of the table
    """
    n_lesion = label_counts(lesion, flat_labels, len(n_region) - 1)
    return {
        "labels": label_indices.tolist(),
        "n_region": n_region[label_indices].tolist(),
        "n_lesion": n_lesion[label_indices].tolist(),
    }


def _facts(mask: LesionMask) -> dict[str, Any]:
    """The grid of a mask, as the ``scans`` table shows it."""
    return {
        "shape": list(mask.shape),
        "spacing_mm": [round(size, 6) for size in mask.spacing_mm],
        "orientation": mask.orientation,
        "voxel_volume_mm3": mask.voxel_volume_mm3,
    }


@dataclass(frozen=True, eq=False)
class _Grid:
    """A label map on one grid: flat labels, what lies near any of them, region sizes and the least covered region."""

    flat: npt.NDArray[np.int16]
    near: npt.NDArray[np.bool_]
    n_region: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    least_coverage: float
    least_covered: str


@lru_cache(maxsize=8)
def _grid(reference: MapReference, shape: tuple[int, int, int], affine_bytes: bytes) -> _Grid:
    """Put a label map on a grid, once per worker and grid."""
    label_map = planned_map(reference)
    affine = np.frombuffer(affine_bytes).reshape(4, 4)
    on_grid = labels_on_grid(label_map, shape, affine)
    flat = on_grid.labels.reshape(-1, order="F")
    reach = 1 + 2 * np.ceil(BRAIN_MARGIN_MM / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))).astype(int)
    near = ndimage.maximum_filter(on_grid.labels > 0, size=tuple(reach)).reshape(-1, order="F")
    table = label_map.table.labels
    n_region = np.bincount(flat, minlength=table[-1].index + 1)
    coverage = {label.index: on_grid.coverage[label.index] if n_region[label.index] else 0.0 for label in table}
    least = min(table, key=lambda label: coverage[label.index])
    indices = np.array([label.index for label in table])
    return _Grid(flat, near, n_region, indices, coverage[least.index], least.name)


@lru_cache(maxsize=8)
def planned_map(reference: MapReference) -> LabelMap:
    """Load a label map and check that it is the one the run was planned with."""
    label_map = load_label_map(reference.location)
    if label_map.sha256 != reference.sha256:
        raise ValueError(
            f"label map {reference.location} must not change during a run, got {label_map.sha256[:12]} for "
            f"{reference.sha256[:12]}. Run again."
        )
    return label_map
