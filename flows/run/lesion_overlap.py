"""The step that compares two lesions of one participant on one grid; a step like any other, though no source."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from cohorts.folder.source import Gives, Source
from cohorts.images.mask import ImageProblemError, read_mask
from cohorts.store.findings import Findings
from cohorts.store.overlap_findings import OverlapFindings
from flows.cases.case import OpenCase, Outcome
from flows.sources.interface import Method
from tasks.overlap import SURFACE_TOLERANCE_MM, compare_masks
from tasks.space.axis_order import axis_order, in_axis_order

#: What the two files of a case are called.
REFERENCE, CANDIDATE = "reference", "candidate"


class LesionOverlap(Source):
    """Settings of the comparison; no study declares it."""

    findings: ClassVar[type[Findings]] = OverlapFindings
    gives: ClassVar[frozenset[Gives]] = frozenset()

    kind: Literal["lesion_overlap"] = "lesion_overlap"
    name: str = "lesion-overlap"
    tolerance_mm: float = Field(SURFACE_TOLERANCE_MM, gt=0, description="Borders within this distance agree")

    @property
    def scans(self) -> tuple[str, ...]:
        """Both masks."""
        return (REFERENCE, CANDIDATE)

    @property
    def stem(self) -> str:
        """One name for all pairs: what is compared is in the digest of the input."""
        return "lesion-overlap"

    def measure(self, case: OpenCase) -> Outcome:
        """Compare two masks.

        Raises
        ------
        ImageProblemError
            A mask cannot be read, or the two have other voxels: ``grids_differ``.
        """
        masks = {
            file.modality: read_mask(case.contents[file.modality], file.name, may_be_empty=True)
            for file in case.case.files
        }
        reference, candidate = masks[REFERENCE], masks[CANDIDATE]
        way = axis_order(candidate, reference)
        if not way.is_same_grid:
            shapes = " and ".join("x".join(map(str, one.shape)) for one in (reference, candidate))
            raise ImageProblemError(
                "grids_differ",
                f"two lesions must lie on the same voxels to be compared, got grids of {shapes}, whose voxels lie "
                f"up to {way.largest_distance:.3g} voxels apart. Resample one to the other by nearest neighbour.",
            )
        overlap = compare_masks(
            reference=reference.filled,
            candidate=in_axis_order(candidate.filled, way),
            spacing_mm=reference.spacing_mm,
            tolerance_mm=self.tolerance_mm,
        )
        return Outcome("ok", findings=OverlapFindings(overlap=overlap))


METHOD = Method(LesionOverlap)
#: As every run compares.
DEFAULT = LesionOverlap.model_validate({})
