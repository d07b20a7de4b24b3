"""What the comparison of two lesions, or of regions with those of a source, found, as its record holds it."""

from __future__ import annotations

from cohorts.store.findings import Findings, Found
from tasks.anatomy import Side
from tasks.overlap import MaskOverlap


class OverlapFindings(Findings):
    """How two lesions agree; None where they could not be compared."""

    overlap: MaskOverlap | None = None


class RegionOverlap(Found):
    """How one region agrees that was drawn twice."""

    side: Side
    region: str
    overlap: MaskOverlap


class RegionOverlapFindings(Findings):
    """How the regions agree that both know, in the order of the given table."""

    regions: tuple[RegionOverlap, ...] = ()
