"""What goes back to a PACS of one scan: drawn masks, and what sources say of it. Arrays lie on the original slices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pydicom
from highdicom.sr import CodedConcept

from cohorts.dicom.codes import derived_uid
from cohorts.dicom.original import Original
from cohorts.store.records import digest_of
from tasks.arrays import Mask

#: Objects of before another version of their writers are other objects.
FORMAT = "1"
Role = Literal["lesion", "regions"]


@dataclass(frozen=True, eq=False)
class Segment:
    """One drawn thing: its label and code, and (slices, rows, columns) bool planes."""

    label: str
    code: CodedConcept
    planes: Mask


@dataclass(frozen=True, eq=False)
class Segments:
    """What becomes one segmentation object.

    Attributes
    ----------
    name : of the measurement, or of the label map
    role : lesion for what was found, regions for anatomy
    segments : in their order; those without a voxel are left out when written
    is_drawn_by_hand : whether it was given to the program
    uses_network : whether trained weights drew it
    """

    name: str
    role: Role
    segments: tuple[Segment, ...]
    is_drawn_by_hand: bool = False
    uses_network: bool = False

    @property
    def present(self) -> tuple[Segment, ...]:
        """Those with a voxel."""
        return tuple(one for one in self.segments if one.planes.any())

    @property
    def digest(self) -> str:
        """Of everything that is written."""
        facts = [self.name, self.role, str(self.is_drawn_by_hand), str(self.uses_network)]
        parts = [
            f"{one.label}\0{hashlib.sha256(np.packbits(one.planes).tobytes()).hexdigest()}" for one in self.present
        ]
        return digest_of([*facts, *parts])


@dataclass(frozen=True)
class RegionResult:
    """Whether a region is affected; None where it could not be judged."""

    side: str
    region: str
    is_affected: bool | None


@dataclass(frozen=True)
class VolumeResult:
    """A measured volume, by the label of its segment."""

    label: str
    volume_ml: float


@dataclass(frozen=True)
class SourceResult:
    """What one source says.

    Attributes
    ----------
    name, measurement : of the source; of what it rests on, which is the name of its segments
    parameters : method, rule, label map and weights in words, one each
    score, score_left, score_right, scored_side : ASPECTS; None where there is none
    regions, volumes : as found
    """

    name: str
    measurement: str
    parameters: tuple[str, ...]
    score: int | None = None
    score_left: int | None = None
    score_right: int | None = None
    scored_side: str | None = None
    regions: tuple[RegionResult, ...] = ()
    volumes: tuple[VolumeResult, ...] = ()


@dataclass(frozen=True, eq=False)
class ScanResults:
    """Everything of one scan.

    Attributes
    ----------
    modality : as scans.tsv names it
    original : the slices
    segments : what was drawn
    sources : what is said
    version : of the program
    found_at : when the last of it was computed; the date of the objects, so that the same results are the same bytes
    """

    modality: str
    original: Original
    segments: tuple[Segments, ...]
    sources: tuple[SourceResult, ...]
    version: str
    found_at: datetime

    @property
    def series_uid(self) -> str:
        """Of the original series."""
        return str(self.original.slices[0].SeriesInstanceUID)

    def uid(self, what: str, digest: str) -> str:
        """Of an object, by what it holds."""
        return derived_uid(FORMAT, self.version, self.series_uid, what, digest)

    @property
    def digest(self) -> str:
        """Of all results."""
        return digest_of([[asdict(one) for one in self.sources], [one.digest for one in self.segments]])


def settle(dataset: pydicom.Dataset, results: ScanResults) -> None:
    """Put what highdicom takes from the clock and from chance in terms of the results: the same give the same bytes."""
    dataset.InstanceCreationDate = results.found_at.strftime("%Y%m%d")
    dataset.InstanceCreationTime = results.found_at.strftime("%H%M%S")
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = results.found_at.strftime("%Y%m%d%H%M%S")
    organisation = derived_uid(str(dataset.SOPInstanceUID), "dimensions")
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(keyword) or ():
            item.DimensionOrganizationUID = organisation


def numbered(segments: Sequence[Segment]) -> dict[str, int]:
    """Label -> segment number, which begins at 1."""
    return {one.label: number for number, one in enumerate(segments, start=1)}
