"""``radiomics``: describes every region of a CT by pyradiomics' features; no score, for no weights stand behind one.

The feature half of two published systems: Tao 2024 (J X-Ray Sci Technol 32:17-30) on CTA, and the comparison of Cao
2022 (Hum Brain Mapp, doi 10.1002/hbm.25845) on plain CT.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from cohorts.folder.source import Feature, Gives, ImageName, MapUse, OnScanSource
from cohorts.store.findings import Findings
from flows.cases.case import OpenCase, Outcome
from flows.cases.described_regions import DescribedRegion, Voxels, described_regions
from flows.cases.native_scan import begun, drawn, prepared, refused
from flows.sources.interface import Method
from tasks.anatomy import HEMISPHERES, other_side
from tasks.radiomics.feature_lists import FEATURE_LISTS, FeatureList, FeatureMode, class_of, held_against
from tasks.radiomics.features import MOST_GREY_LEVELS, FeatureSettings
from tasks.scoring import LEAST_COVERAGE
from tasks.segmentation import STEP_MM


class RadiomicsFindings(Findings):
    """Names of the features, and sha256 of a label map -> every label's, in the order of its table."""

    names: tuple[str, ...] = ()
    described: Mapping[str, tuple[DescribedRegion, ...]] = {}


class RadiomicsSource(OnScanSource):
    """Radiomics features of every region of a CT, in the brain, on the scan's own grid."""

    about: ClassVar[str] = "pyradiomics' features of each region on CT; no score, as no weights stand behind one"
    findings: ClassVar[type[Findings]] = RadiomicsFindings
    gives: ClassVar[frozenset[Gives]] = frozenset({"features"})
    features_by: ClassVar[str] = "pyradiomics-cuda"

    kind: Literal["radiomics"]
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    image: Literal["ncct", "cta"] = Field("ncct", description="What the scan is, which decides limits")
    feature_list: FeatureList = Field("pyradiomics2_105", description="Which features; Tao 2024 starts from these 105")
    feature_mode: FeatureMode = Field("absolute", description="A region's own values, or held against the other side's")
    # Tao 2024, section 2.1: width 80, level 40
    window_hu: tuple[float, float] = Field((0.0, 80.0), description="Values beyond are set to the nearer end")
    bin_width_hu: float = Field(5.0, gt=0, description="Width of grey levels; their edges are its multiples")
    voxels: Voxels = Field("own", description="own describes the scan's own voxels, cubes those of 2 mm made of it")

    @model_validator(mode="after")
    def _makes_grey_levels(self) -> RadiomicsSource:
        low, high = self.window_hu
        if not self.bin_width_hu <= high - low <= MOST_GREY_LEVELS * self.bin_width_hu:
            raise ValueError(
                f"window_hu must be low and high and hold 1 to {MOST_GREY_LEVELS} bins of bin_width_hu, got {low:g} to "
                f"{high:g} HU in bins of {self.bin_width_hu:g} HU"
            )
        return self

    @property
    def scans(self) -> tuple[str, ...]:
        """The CT."""
        return (self.modality,)

    @property
    def image_kind(self) -> ImageName:
        """As declared."""
        return self.image

    @property
    def settings(self) -> dict[str, Any]:
        """A mode is applied to stored values: another one measures nothing again."""
        return {name: value for name, value in super().settings.items() if name != "feature_mode"}

    @property
    def phrase(self) -> str:
        """What is described, and how."""
        low, high = self.window_hu
        where = "the scan's own grid" if self.voxels == "own" else f"cubes of {STEP_MM:g} mm"
        of_mode = {
            "absolute": "of each region itself",
            "contralateral_diff": "of each region minus those of the other side",
            "ratio": "of each region over those of the other side",
        }
        return (
            f"{len(FEATURE_LISTS[self.feature_list])} radiomics features ({self.feature_list}) by {self.features_by} "
            f"{importlib.metadata.version(self.features_by)} on {self.modality}, {of_mode[self.feature_mode]}, inside "
            f"the brain mask and on {where}, values held within {low:g} to {high:g} HU, grey levels of "
            f"{self.bin_width_hu:g} HU"
        )

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
        scan = prepared(case, case.first, self.image, self.forms, self.registration)
        findings, files = begun(case, scan, RadiomicsFindings)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        names = FEATURE_LISTS[self.feature_list]
        settings = FeatureSettings(names, self.bin_width_hu, self.window_hu)
        described = {
            reference.sha256: described_regions(scan, reference, settings, self.voxels) for reference in case.maps
        }
        files |= drawn(case, scan)
        return Outcome("ok", findings=findings.adding(names=names, described=described), files=files)


METHOD = Method(RadiomicsSource)
