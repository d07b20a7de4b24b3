"""``density_ratio``: a baseline without weights, each region's density on CT against the other side's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from pydantic import Field

from cohorts.folder.source import Feature, Gives, ImageName, MapUse, OnScanSource
from cohorts.store.findings import Findings, Found
from flows.cases.case import OpenCase, Outcome
from flows.cases.label_maps import VASCULAR_FILES, planned_map
from flows.cases.native_scan import begun, drawn, prepared, refused
from flows.cases.region_files import region_files
from flows.sources.interface import Method
from models.anatomy.template import mca_territory
from tasks.density.measure import CTA_DENSITY, NCCT_DENSITY, DensitySettings, measure_density, place_regions
from tasks.density.rule import BUILT_IN_DENSITY_RULES
from tasks.modality import ScanContrast
from tasks.scoring import RegionEvidence, Rule

DENSITY_SETTINGS: Mapping[ScanContrast, DensitySettings] = {"ct": NCCT_DENSITY, "cta": CTA_DENSITY}
#: Of ``DensityRow``; the ratio follows from the relative difference, which ``regions`` has.
FEATURES = ("n_voxels_used", "density_hu", "spread_hu", "low_density_share", "high_density_share", "difference_hu")


class DensityRow(Found):
    """One label's ``tasks.density.measure.RegionDensity``, and the share of it that the scan shows."""

    index: int
    n_voxels: int
    n_voxels_used: int
    density_hu: float | None
    spread_hu: float | None
    low_density_share: float | None
    high_density_share: float | None
    bias_hu: float | None = None
    difference_hu: float | None = None
    relative_difference: float | None = None
    ratio: float | None = None
    coverage: float
    fluid_share: float | None = None
    atlas_dice: float | None = None


class DensityFindings(Findings):
    """sha256 of a label map -> the density of every label, in the order of its table."""

    densities: Mapping[str, tuple[DensityRow, ...]] = {}


class DensityRatioSource(OnScanSource):
    """A baseline without weights: the density of each region on CT against the same region of the other side."""

    about: ClassVar[str] = "each region's density on CT against the other side; a baseline without weights"
    findings: ClassVar[type[Findings]] = DensityFindings
    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score", "features"})
    rules: ClassVar[Mapping[str, Rule]] = BUILT_IN_DENSITY_RULES
    takes_declared_rules: ClassVar[bool] = False

    kind: Literal["density_ratio"]
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    image: Literal["ncct", "cta"] = Field("ncct", description="What the scan is, which decides cuts and limits")

    @classmethod
    def taken(cls) -> tuple[dict[str, Any], ...]:
        """One on each CT."""
        return tuple(
            {"name": f"{image}-ratio", "kind": cls.kind_name(), "modality": image, "image": image}
            for image in ("ncct", "cta")
        )

    @property
    def scans(self) -> tuple[str, ...]:
        """The CT."""
        return (self.modality,)

    @property
    def stem(self) -> str:
        """The densities of one modality."""
        return f"ratio-{self.modality}"

    @property
    def image_kind(self) -> ImageName:
        """As declared."""
        return self.image

    @property
    def rule_name(self) -> str:
        """The cuts belong to the kind of image."""
        return f"{self.image}-ratio"

    @property
    def phrase(self) -> str:
        """What is compared."""
        return f"a baseline without weights on {self.modality}"

    def evidence(self, found: DensityFindings, use: MapUse) -> Iterator[RegionEvidence]:
        """Difference of every region from the other side."""
        for label, row in zip(use.table.labels, found.densities[use.sha256], strict=True):
            yield RegionEvidence(
                label.side,
                label.region,
                "relative_difference",
                row.relative_difference,
                row.coverage,
                fluid_share=row.fluid_share,
                atlas_dice=row.atlas_dice,
            )

    def features(self, found: DensityFindings, use: MapUse) -> Iterator[Feature]:
        """Densities of every region."""
        for label, row in zip(use.table.labels, found.densities[use.sha256], strict=True):
            for name in FEATURES:
                yield Feature(label.side, label.region, name, getattr(row, name))

    def measure(self, case: OpenCase) -> Outcome:
        """Densities of every region and of the same region of the other side, on one CT."""
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        findings, files = begun(case, scan, DensityFindings)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        densities = {}
        for reference in case.maps:
            label_map = planned_map(reference)
            own = (label_map.labels, label_map.table, label_map.affine)
            to_fixed = scan.registration.moving_to_fixed
            by_network = scan.working_labels(reference) if scan.is_by_network(reference) else None
            regions = place_regions(scan.working, own, mca_territory(), to_fixed, scan.warp, by_network)
            measured = measure_density(
                scan.working, scan.brain.mask, regions, scan.registration.matrix, DENSITY_SETTINGS[scan.contrast]
            )
            coverage = scan.labels(reference)[1].coverage
            placing = scan.placing(reference)
            densities[reference.sha256] = tuple(
                DensityRow(
                    **asdict(density),
                    coverage=coverage[index],
                    fluid_share=placing.fluid_share[number],
                    atlas_dice=placing.atlas_dice[number] if placing.atlas_dice else None,
                )
                for number, (index, density) in enumerate(measured.items())
            )
        files |= region_files(case.case.prefix, scan, case.maps) | drawn(case, scan)
        return Outcome("ok", findings=findings.adding(densities=densities), files=files)


METHOD = Method(
    DensityRatioSource,
    also_files=(
        "models/data/aspects_territory_dseg.nii.gz",
        "models/data/aspects_territory_dseg.tsv",
        *VASCULAR_FILES,
    ),
)
