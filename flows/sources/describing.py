"""What every source shares that describes regions of a CT by pyradiomics' features: measuring, and modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from cohorts.folder.source import Feature, MapUse, OnScanSource
from cohorts.store.findings import Findings
from flows.cases.case import OpenCase, Outcome
from flows.cases.described_regions import DescribedRegion, Voxels, described_regions
from flows.cases.native_scan import begun, drawn, prepared, refused
from tasks.anatomy import HEMISPHERES, other_side
from tasks.radiomics.feature_lists import FeatureMode, class_of, held_against
from tasks.radiomics.features import FeatureSettings
from tasks.scoring import LEAST_COVERAGE


class RadiomicsFindings(Findings):
    """Names of the features, and sha256 of a label map -> every label's, in the order of its table."""

    names: tuple[str, ...] = ()
    described: Mapping[str, tuple[DescribedRegion, ...]] = {}


class DescribingSource(OnScanSource):
    """A source that describes every region of a CT by radiomics features, inside the brain."""

    findings: ClassVar[type[Findings]] = RadiomicsFindings
    features_by: ClassVar[str] = "pyradiomics-cuda"

    modality: str
    feature_mode: FeatureMode = Field("absolute", description="A region's own values, or held against the other side's")

    @property
    def described_by(self) -> tuple[FeatureSettings, Voxels]:
        """What is computed, and of which voxels."""
        raise NotImplementedError

    @property
    def scans(self) -> tuple[str, ...]:
        """The CT."""
        return (self.modality,)

    @property
    def settings(self) -> dict[str, Any]:
        """A mode is applied to stored values: another one measures nothing again."""
        return {name: value for name, value in super().settings.items() if name != "feature_mode"}

    def features(self, found: RadiomicsFindings, use: MapUse) -> Iterator[Feature]:
        """Features of every region, in the mode declared."""
        rows = list(zip(use.table.labels, found.described[use.sha256], strict=True))
        at = {(label.side, label.region): row for label, row in rows}
        for label, row in rows:
            across = at.get((other_side(label.side), label.region)) if label.side in HEMISPHERES else None
            reason = self._reason(row)
            if not reason and self.feature_mode != "absolute" and (across is None or self._reason(across)):
                reason = "other_side_not_described"
            for number, name in enumerate(found.names):
                value, why = (None, reason) if reason else self._value(row, across, number)
                yield Feature(label.side, label.region, name, value, why, class_of(name), self.feature_mode)

    def _reason(self, row: DescribedRegion) -> str:
        """Why a region has no features of its own; empty where it has."""
        if row.coverage < LEAST_COVERAGE:
            return "region_not_covered"
        return "region_not_tissue" if (row.fluid_share or 0.0) > self.most_fluid else row.reason

    def _value(self, row: DescribedRegion, across: DescribedRegion | None, number: int) -> tuple[float | None, str]:
        """One feature of a region that has some, and why it is None where it is."""
        own = row.values[number]
        if own is None:
            return None, "feature_not_finite"
        if self.feature_mode == "absolute" or across is None:
            return own, ""
        other = across.values[number]
        if other is None:
            return None, "feature_not_finite"
        value = held_against(own, other, self.feature_mode)
        return value, "" if value is not None else "other_side_is_zero"

    def measure(self, case: OpenCase) -> Outcome:
        """Features of every region of one CT."""
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        findings, files = begun(case, scan, RadiomicsFindings)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        settings, voxels = self.described_by
        described = {reference.sha256: described_regions(scan, reference, settings, voxels) for reference in case.maps}
        files |= drawn(case, scan)
        return Outcome("ok", findings=findings.adding(names=settings.names, described=described), files=files)
