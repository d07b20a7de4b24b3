"""``ncct_asymmetry``: the chance that each region of a plain CT is affected, by a network that compares both sides.

The system of paper 3 (DA-Net, Cao 2022, Hum Brain Mapp, doi 10.1002/hbm.25845): a pair of patches a region, the right
one flipped, one encoder for both, their features and the difference of these. Two networks, one for deep regions, one
for cortical ones. Probabilities are stored, and the cuts that come with the weights are applied where tables are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.folder.source import Gives, ImageName, MapUse, OnScanSource
from cohorts.store.findings import Findings, Found
from flows.cases.case import MapReference, OpenCase, Outcome
from flows.cases.label_maps import VASCULAR_FILES
from flows.cases.native_scan import PreparedScan, begun, drawn, prepared, refused
from flows.cases.region_pairs import region_pairs
from flows.sources.interface import Method
from models.asymmetry import load_asymmetry
from models.classifier import OWN_CUTS, own_cuts
from models.weights import find_weights, has_patient_images
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, other_side
from tasks.scoring import LEAST_COVERAGE, PROBABILITY_RULES, RegionEvidence, Rule


class ComparedRegion(Found):
    """One label's chance of being affected; None where it or the other side is not in the image."""

    coverage: float
    fluid_share: float | None
    probability: float | None


class AsymmetryFindings(Findings):
    """sha256 of a label map -> every label's chance, in the order of its table."""

    compared: Mapping[str, tuple[ComparedRegion, ...]] = {}


class NcctAsymmetrySource(OnScanSource):
    """The chance that each region of a CT without contrast agent is affected, by a network that compares both sides."""

    about: ClassVar[str] = "chance of each region on plain CT by a network that compares both sides"
    trained_for: ClassVar[str] = "ncct-asymmetry"
    findings: ClassVar[type[Findings]] = AsymmetryFindings
    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score"})
    rules: ClassVar[Mapping[str, Rule]] = PROBABILITY_RULES
    takes_declared_rules: ClassVar[bool] = False

    kind: Literal["ncct_asymmetry"]
    regions: Literal["classic"] = "classic"
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    network: str = Field("ncct-asymmetry", description="Name of the trained weights")
    rule: str = Field(OWN_CUTS, description=f"{OWN_CUTS}, the cuts that come with the weights; or probability-50")

    @property
    def scans(self) -> tuple[str, ...]:
        """The CT."""
        return (self.modality,)

    @property
    def stem(self) -> str:
        """The comparison of one modality's sides."""
        return f"asymmetry-{self.modality}"

    @property
    def image_kind(self) -> ImageName:
        """CT without contrast agent."""
        return "ncct"

    @property
    def weights(self) -> Mapping[str, str]:
        """Both networks in one file, and perhaps one that draws the regions."""
        return {self.network: self.trained_for, **super().weights}

    @property
    def rule_name(self) -> str:
        """As declared."""
        return self.rule

    def rule_choices(self, declared: Mapping[str, Rule]) -> Mapping[str, Rule]:
        """Those of probabilities, and the cuts of the weights; without weights there are none, and nothing to judge."""
        return {**super().rule_choices(declared), OWN_CUTS: own_cuts(self.network)}

    @property
    def phrase(self) -> str:
        """What is compared, by what, and what it learned from."""
        behind = "patients' scans" if has_patient_images(self.network) else "synthetic patients"
        return (
            f"a network for deep regions and one for cortical ones ({self.network}, trained on {behind}) that compare "
            f"each region on {self.modality} with the flipped one of the other side"
        )

    def evidence(self, found: AsymmetryFindings, use: MapUse) -> Iterator[RegionEvidence]:
        """The chance that each region is affected; None where the other side cannot be compared with."""
        rows = list(zip(use.table.labels, found.compared[use.sha256], strict=True))
        usable = {
            (label.side, label.region): one.coverage >= LEAST_COVERAGE and (one.fluid_share or 0.0) <= self.most_fluid
            for label, one in rows
        }
        for label, one in rows:
            is_paired = label.side in HEMISPHERES and all(
                usable.get((side, label.region), False) for side in (label.side, other_side(label.side))
            )
            value = one.probability if is_paired else None
            yield RegionEvidence(
                label.side, label.region, "probability", value, one.coverage, fluid_share=one.fluid_share
            )

    def measure(self, case: OpenCase) -> Outcome:
        """The chance of every region of every label map."""
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        findings, files = begun(case, scan, AsymmetryFindings)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        compared = {reference.sha256: compared_regions(scan, reference, self.network) for reference in case.maps}
        files |= drawn(case, scan)
        return Outcome("ok", findings=findings.adding(compared=compared), files=files)


def compared_regions(scan: PreparedScan, reference: MapReference, network: str) -> tuple[ComparedRegion, ...]:
    """Every label of a map, in the order of its table.

    Parameters
    ----------
    scan : PreparedScan, registered
    reference : label map
    network : name of the trained weights

    Raises
    ------
    WeightsMissingError
        They cannot be used.
    """
    networks = load_asymmetry(find_weights(network))
    chances = networks.chances(region_pairs(scan, reference, networks.preset.patches))
    at = {
        (side, region): (row, column)
        for row, region in enumerate(ASPECTS_REGIONS)
        for column, side in enumerate(HEMISPHERES)
    }
    label_map, on_grid = scan.labels(reference)
    fluid = scan.placing(reference).fluid_share
    found = []
    for label, share in zip(label_map.table.labels, fluid, strict=True):
        place = at.get((label.side, label.region))
        chance = np.nan if place is None else chances[place]
        found.append(
            ComparedRegion(
                coverage=on_grid.coverage[label.index],
                fluid_share=share,
                probability=float(chance) if np.isfinite(chance) else None,
            )
        )
    return tuple(found)


METHOD = Method(NcctAsymmetrySource, also_files=VASCULAR_FILES, cpu_limit_s=300.0, memory_mib=1200)
