"""The step that compares regions drawn on a scan with those that a source brings onto it; a step like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage

from cohorts.folder.source import Gives, ImageName, OnScanSource, Part
from cohorts.images.labels import read_labels
from cohorts.images.nifti import ImageProblemError
from cohorts.store.findings import Findings, ScanFacts
from cohorts.store.overlap_findings import RegionOverlap, RegionOverlapFindings
from flows.cases.case import OpenCase, Outcome, excluded
from flows.cases.drawn_on_scan import BRAIN_MARGIN_MM, LEAST_SHARE_IN_BRAIN, on_voxels_of, share_in_brain
from flows.cases.native_scan import PreparedScan, prepared
from flows.sources.interface import Method
from tasks.anatomy import LabelTable, Side
from tasks.overlap import SURFACE_TOLERANCE_MM, compare_masks

AXES = ("left to right", "back to front", "bottom to top")
#: Along an axis on which the regions spread less (standard deviation), as one region and its like of the other side do
#: from back to front, their order says nothing.
LEAST_SPREAD_MM = 5.0


class GivenLabel(Part):
    """What one number of a given label image means."""

    index: int
    side: Side
    region: str


class RegionComparison(OnScanSource):
    """Settings of the comparison; no study declares it. Scan and registration are those of the source compared."""

    findings: ClassVar[type[Findings]] = RegionOverlapFindings
    gives: ClassVar[frozenset[Gives]] = frozenset()

    kind: Literal["region_overlap"] = "region_overlap"
    name: str = "region-overlap"
    modality: str = Field("ncct-regions", description="Which rows of scans.tsv hold the label images")
    scan: str = Field("ncct", description="Which rows hold the scan on which they were drawn")
    image: ImageName = Field("ncct", description="What that scan is")
    given: tuple[GivenLabel, ...] = Field((), description="What the numbers of the label images mean")
    tolerance_mm: float = Field(SURFACE_TOLERANCE_MM, gt=0, description="Borders within this distance agree")

    @property
    def scans(self) -> tuple[str, ...]:
        """The label image, then its scan."""
        return (self.modality, self.scan)

    @property
    def stem(self) -> str:
        """One name for all comparisons: what is compared is in the digest of input and settings."""
        return "region-overlap"

    @property
    def image_kind(self) -> ImageName:
        """As the source reads it."""
        return self.image

    def measure(self, case: OpenCase) -> Outcome:
        """Compare every region that both know.

        Raises
        ------
        ImageProblemError
            The label image or its scan cannot be used, or they have other voxels: ``labels_not_on_scan``; or it has a
            number that the table does not name: ``label_without_row``.
        """
        labels = read_labels(case.contents[self.modality], case.first.name, forms=self.forms)
        findings = RegionOverlapFindings(scans={self.modality: ScanFacts.of(labels)})
        _check_all_named(labels.labels, self.given, case.first.name)
        file = next(file for file in case.case.files if file.modality == self.scan)
        image = case.image(file, self.image_kind, self.forms)
        reason = "labels_not_on_scan"
        drawn = on_voxels_of(image, labels.labels, labels, reason=reason, what=case.first.name, scan_name=file.name)
        scan = prepared(case, file, self.image_kind, self.forms, self.registration)
        if not scan.registration.is_usable:
            return excluded(case.case, scan.registration.reason, scan.registration.detail, findings, {})
        if (share := share_in_brain(drawn > 0, scan)) < LEAST_SHARE_IN_BRAIN:
            detail = (
                f"labels must lie in the brain of {file.name}, got {share:.0%} of them within {BRAIN_MARGIN_MM:g} mm "
                "of it. They belong to another scan: put the right file in its place."
            )
            return excluded(case.case, "labels_outside_scan", detail, findings, {})
        label_map, on_grid = scan.labels(case.maps[0])
        pairs = _shared(self.given, label_map.table)
        if along := _turned(drawn, on_grid.labels, pairs, scan):
            detail = (
                f"regions must lie in the order of the atlas, got the opposite order from {' and from '.join(along)}. "
                "The voxels are stored in another direction than the header says, or the label table names other "
                "numbers: save the labels on this scan again, or correct the table."
            )
            return excluded(case.case, "labels_turned_round", detail, findings, {})
        regions = tuple(
            RegionOverlap(
                side=label.side,
                region=label.region,
                overlap=compare_masks(
                    reference=drawn == label.index,
                    candidate=on_grid.labels == index,
                    spacing_mm=image.spacing_mm,
                    tolerance_mm=self.tolerance_mm,
                ),
            )
            for label, index in pairs.items()
        )
        return Outcome("ok", findings=findings.adding(regions=regions))


METHOD = Method(RegionComparison)


def given_labels(table: LabelTable) -> tuple[GivenLabel, ...]:
    """A label table as settings hold it."""
    return tuple(GivenLabel(index=one.index, side=one.side, region=one.region) for one in table.labels)


def _check_all_named(labels: npt.NDArray[np.int16], given: tuple[GivenLabel, ...], name: str) -> None:
    """Refuse a label image with a number that the table does not have."""
    counts = np.bincount(labels.ravel())
    counts[[0, *(one.index for one in given if one.index < counts.size)]] = 0
    if (unknown := np.flatnonzero(counts)).size:
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if unknown.size > 5 else "")
        raise ImageProblemError(
            "label_without_row",
            f"{name} must hold labels of the label table alone, got {shown} in {int(counts.sum())} voxels. Add the "
            "rows to the table (labels of [[drawn_regions]]), or set these voxels to 0.",
        )


def _shared(given: tuple[GivenLabel, ...], table: LabelTable) -> dict[GivenLabel, int]:
    """The given labels that a table knows too -> its index."""
    known = {(label.side, label.region): label.index for label in table.labels}
    return {one: known[one.side, one.region] for one in given if (one.side, one.region) in known}


def _turned(
    drawn: npt.NDArray[np.int16],
    placed: npt.NDArray[np.int16],
    pairs: Mapping[GivenLabel, int],
    scan: PreparedScan,
) -> list[str]:
    """Axes of the template along which the regions come in the opposite order: their centres correlate below 0."""
    both = [
        (one.index, index) for one, index in pairs.items() if (drawn == one.index).any() and (placed == index).any()
    ]
    if len(both) < 2:
        return []
    centres = [
        np.array(ndimage.center_of_mass(labels > 0, labels, [pair[place] for pair in both]))
        for place, labels in enumerate((drawn, placed))
    ]
    to_template = (scan.registration.moving_to_fixed @ scan.image.affine)[:3, :3]
    first, second = (one @ to_template.T for one in centres)
    return [
        name
        for axis, name in enumerate(AXES)
        if min(first[:, axis].std(), second[:, axis].std()) >= LEAST_SPREAD_MM
        and np.corrcoef(first[:, axis], second[:, axis])[0, 1] < 0
    ]
