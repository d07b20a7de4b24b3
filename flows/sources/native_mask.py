"""``native_mask``: a lesion drawn on a scan in native space, by hand or by any program, with the scan it was drawn on.

It is the reference of a site and of public sets. The mask must have the voxels of its scan: the same grid, or the same
voxels with axes in another order or direction. A mask without a voxel says that there is no lesion, and measures 0 ml.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from cohorts.folder.source import CONTRASTS, ImageName, LesionSource, OnScanSource
from cohorts.images.mask import LesionMask, read_mask
from cohorts.store.findings import Findings, ScanFacts
from flows.cases.case import OpenCase, Outcome, excluded
from flows.cases.drawn_on_scan import BRAIN_MARGIN_MM, LEAST_SHARE_IN_BRAIN, NO_SCAN
from flows.cases.given_mask import measured_mask
from flows.sources.interface import Method
from tasks.space.axis_order import SAME_VOXEL


class NativeMaskSource(OnScanSource, LesionSource):
    """A source measured from a lesion mask in native space, with the scan it was drawn on."""

    about: ClassVar[str] = "a lesion mask drawn on a scan in native space, by hand or by any program"
    is_given: ClassVar[bool] = True

    kind: Literal["native_mask"]
    modality: str = Field("dwi-lesion", description="Which rows of scans.tsv hold the mask")
    scan: str = Field("dwi", description="Which rows hold the scan on which it was drawn")
    image: ImageName | None = Field(None, description="What that scan is; by default what its rows are called")

    @model_validator(mode="after")
    def _scan_is_known(self) -> Self:
        if self.image is None and self.scan not in CONTRASTS:
            raise ValueError(
                f"image must be given where scan is not {', '.join(CONTRASTS)}, got scan {self.scan!r}. Say what the "
                "scan is."
            )
        if self.scan == self.modality:
            raise ValueError(f"modality and scan must differ, got {self.scan!r} for both. Name the rows of each.")
        return self

    @property
    def scans(self) -> tuple[str, ...]:
        """The mask, then its scan: a participant without a mask is none of this source."""
        return (self.modality, self.scan)

    @property
    def stem(self) -> str:
        """The lesion drawn in these rows."""
        return f"native-{self.modality}"

    @property
    def settings(self) -> dict[str, Any]:
        """What is declared, and the limits of what is no mask of the scan."""
        return super().settings | {
            "least_share_in_brain": LEAST_SHARE_IN_BRAIN,
            "brain_margin_mm": BRAIN_MARGIN_MM,
            "same_voxel": SAME_VOXEL,
        }

    @property
    def lies_on(self) -> str:
        """The scan."""
        return self.scan

    @property
    def image_kind(self) -> ImageName:
        """As declared; by default what its rows are called."""
        return self.image or cast(ImageName, self.scan)

    @property
    def phrase(self) -> str:
        """Which masks, on which scan."""
        return f"masks of modality {self.modality}, drawn on {self.scan}"

    def measure(self, case: OpenCase) -> Outcome:
        """Count a mask in every label map, on the grid of its scan.

        Raises
        ------
        ImageProblemError
            The mask or its scan cannot be used.
        """
        name = case.first.name
        mask = read_mask(case.contents[self.modality], name, forms=self.forms, may_be_empty=True)
        file = case.file(self.scan)
        if file is None:
            detail = NO_SCAN.format(self.scan)
            return excluded(case.case, "scan_of_mask_missing", detail, _found(mask, self.modality), {})
        return measured_mask(case, mask, name, file, self, _found(mask, self.modality))


METHOD = Method(NativeMaskSource)


def _found(mask: LesionMask, modality: str) -> Findings:
    """The grid of the mask's own file, as the ``scans`` table shows it."""
    return Findings(scans={modality: ScanFacts.of(mask)})
