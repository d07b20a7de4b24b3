"""``mask``: a source measured from a lesion mask in template space, counted in every label map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage

from cohorts.folder.source import LesionSource
from cohorts.images.mask import ImageProblemError, LesionMask, read_mask
from cohorts.store.findings import Findings, ScanFacts
from flows.cases.case import MapReference, OpenCase, Outcome
from flows.cases.label_maps import VASCULAR_MAP, planned_map, region_counts
from flows.cases.template_picture import template_picture
from flows.sources.interface import Method
from models.anatomy.template import labels_on_grid
from reports.figures.scan_picture import picture_files
from tasks.lesion import label_counts, measure_lesion
from tasks.scoring import LEAST_COVERAGE
from tasks.space.affines import voxel_sizes_mm

#: A lesion with less than this share inside the brain, or this near to it, lies in another space.
LEAST_SHARE_IN_BRAIN = 0.5
BRAIN_MARGIN_MM = 5.0


class MaskSource(LesionSource):
    """A source measured from a lesion mask in template space."""

    about: ClassVar[str] = "a lesion mask in template space, drawn by hand or by any program"
    lesion_file: ClassVar[str | None] = None
    is_given: ClassVar[bool] = True

    kind: Literal["mask"]
    modality: str = Field("lesion", description="Which rows of scans.tsv")

    @property
    def scans(self) -> tuple[str, ...]:
        """The mask."""
        return (self.modality,)

    @property
    def lesion_grid(self) -> str:
        """The template's space, whatever the voxels."""
        return "template"

    @property
    def stem(self) -> str:
        """Masks are called by their modality alone."""
        return self.modality

    @property
    def step(self) -> str:
        """Name of the step that measures it."""
        return f"measure-{self.modality}"

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing is declared; the limits of what is no mask of the template."""
        return {
            "least_coverage": LEAST_COVERAGE,
            "least_share_in_brain": LEAST_SHARE_IN_BRAIN,
            "brain_margin_mm": BRAIN_MARGIN_MM,
        }

    @property
    def phrase(self) -> str:
        """Which masks."""
        return f"masks of modality {self.modality}"

    def measure(self, case: OpenCase) -> Outcome:
        """Count one mask in every label map.

        Raises
        ------
        ImageProblemError
            The mask cannot be used.
        """
        file = case.first
        mask = read_mask(case.contents[file.modality], file.name)
        affine_bytes = mask.affine.astype("<f8").tobytes()
        counts = {}
        for reference in case.maps:
            grid = _grid(reference, mask.shape, affine_bytes)
            _check_place(mask, grid, file.name, is_vascular=reference.location == VASCULAR_MAP)
            n_lesion = label_counts(mask.indices, grid.flat, len(grid.n_region) - 1)
            table = planned_map(reference).table
            counts[reference.sha256] = region_counts(table, grid.n_region, {"n_lesion": n_lesion}, grid.coverage)
        findings = Findings(
            scans={file.modality: ScanFacts.of(mask)},
            lesion=measure_lesion(mask.indices, mask.shape, mask.affine),
            counts=counts,
        )
        shown = (planned_map(one) for one in case.maps if one.location != VASCULAR_MAP)
        pictures = [template_picture(mask.indices, mask.shape, mask.affine, one) for one in shown]
        return Outcome("ok", findings=findings, files=picture_files(case.case.prefix, pictures))


METHOD = Method(MaskSource, cpu_limit_s=120, memory_mib=400)


@dataclass(frozen=True, eq=False)
class _Grid:
    """A label map on one grid: flat labels, what lies near any of them, size and coverage of each."""

    flat: npt.NDArray[np.int16]
    near: npt.NDArray[np.bool_]
    n_region: npt.NDArray[np.int64]
    coverage: dict[int, float]
    least_covered: str

    @property
    def least_coverage(self) -> float:
        """Of any region."""
        return min(self.coverage.values())


@lru_cache(maxsize=8)
def _grid(reference: MapReference, shape: tuple[int, int, int], affine_bytes: bytes) -> _Grid:
    """Put a label map on a grid, once per worker and grid."""
    label_map = planned_map(reference)
    affine = np.frombuffer(affine_bytes).reshape(4, 4)
    on_grid = labels_on_grid(label_map, shape, affine)
    flat = on_grid.labels.reshape(-1, order="F")
    reach = 1 + 2 * np.ceil(BRAIN_MARGIN_MM / voxel_sizes_mm(affine)).astype(int)
    near = ndimage.maximum_filter(on_grid.labels > 0, size=tuple(reach)).reshape(-1, order="F")
    table = label_map.table.labels
    n_region = np.bincount(flat, minlength=table[-1].index + 1)
    coverage = {label.index: on_grid.coverage[label.index] if n_region[label.index] else 0.0 for label in table}
    least = min(table, key=lambda label: coverage[label.index])
    return _Grid(flat, near, n_region, coverage, least.name)


def _check_place(mask: LesionMask, grid: _Grid, name: str, *, is_vascular: bool) -> None:
    """Refuse a mask that cannot be in template space: a region is out of view, or the lesion lies outside the brain."""
    if not is_vascular and grid.least_coverage < LEAST_COVERAGE:
        raise ImageProblemError(
            "wrong_grid",
            f"{name} must cover every region of the label map, got {grid.least_coverage:.0%} of "
            f"{grid.least_covered} on a grid of {'x'.join(map(str, mask.shape))} voxels. Warp the mask to the "
            "template and keep its affine.",
        )
    if is_vascular and (in_brain := float(grid.near[mask.indices].mean())) < LEAST_SHARE_IN_BRAIN:
        raise ImageProblemError(
            "lesion_outside_brain",
            f"{name} must lie in the template's brain, got {in_brain:.0%} of the lesion within "
            f"{BRAIN_MARGIN_MM:g} mm of it. The mask is in another space: warp it to the template.",
        )
