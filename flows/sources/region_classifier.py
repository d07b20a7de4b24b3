"""``ncct_radiomics`` and ``cta_radiomics``: the chance that each region is affected, by a classifier of its features.

``cta_radiomics`` is the second half of paper 1 (Tao 2024, J X-Ray Sci Technol 32:17-30): features, t-test, Lasso,
support vector machine. ``ncct_radiomics`` is what paper 3 (Cao 2022, Hum Brain Mapp, doi 10.1002/hbm.25845) compares
with: features of a region and of its mirror-image, a random forest for each region. The weights that ship know
synthetic patients alone.

Features are stored; the classifier and its cuts are applied where tables are made.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.folder.source import Gives, ImageName, MapUse
from flows.cases.described_regions import DescribedRegion, Voxels
from flows.cases.label_maps import VASCULAR_FILES
from flows.sources.describing import DescribingSource, RadiomicsFindings
from flows.sources.interface import Method
from models.classifier import OWN_CUTS, columns_of, load_classifier, own_cuts
from models.weights import find_weights, has_patient_images
from tasks.anatomy import HEMISPHERES, other_side
from tasks.radiomics.features import LEARNED, FeatureSettings
from tasks.scoring import PROBABILITY_RULES, RegionEvidence, Rule
from tasks.segmentation import STEP_MM


class RegionClassifierSource(DescribingSource):
    """The chance that each region of a CT is affected."""

    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score", "features"})
    rules: ClassVar[Mapping[str, Rule]] = PROBABILITY_RULES
    takes_declared_rules: ClassVar[bool] = False
    #: How the classifier works, in words.
    works_by: ClassVar[str] = ""
    trained_for: ClassVar[str]  # the method of its weights

    regions: Literal["classic"] = "classic"
    classifier: str
    rule: str = Field(OWN_CUTS, description=f"{OWN_CUTS}, the cuts that come with the weights; or probability-50")

    @property
    def described_by(self) -> tuple[FeatureSettings, Voxels]:
        """As the classifier learned."""
        return LEARNED, "cubes"

    @property
    def weights(self) -> Mapping[str, str]:
        """The classifier, and perhaps a network for the regions."""
        return {self.classifier: self.trained_for, **super().weights}

    @property
    def settings(self) -> dict[str, Any]:
        """Features are the same for every classifier."""
        return {name: value for name, value in super().settings.items() if name != "classifier"}

    @property
    def rule_name(self) -> str:
        """As declared."""
        return self.rule

    def rule_choices(self, declared: Mapping[str, Rule]) -> Mapping[str, Rule]:
        """Those of probabilities, and the cuts of the weights; without weights there are none, and nothing to judge."""
        return {**super().rule_choices(declared), OWN_CUTS: own_cuts(self.classifier)}

    @property
    def phrase(self) -> str:
        """What is asked, of what, and what it learned from."""
        behind = (
            "trained on patients' scans" if has_patient_images(self.classifier) else "trained on synthetic patients"
        )
        return (
            f"{self.works_by} ({self.classifier}, {behind}) of {len(LEARNED.names)} radiomics features by "
            f"{self.features_by} {importlib.metadata.version(self.features_by)} of each region on {self.modality}, "
            f"on cubes of {STEP_MM:g} mm"
        )

    def evidence(self, found: RadiomicsFindings, use: MapUse) -> Iterator[RegionEvidence]:
        """The chance that each region is affected; None where it or the other side could not be described."""
        labels, described = use.table.labels, found.described[use.sha256]
        own = np.array([self._numbers(one, len(found.names)) for one in described])
        at = {(label.side, label.region): number for number, label in enumerate(labels)}
        other = np.full_like(own, np.nan)
        for number, label in enumerate(labels):
            across = at.get((other_side(label.side), label.region)) if label.side in HEMISPHERES else None
            if across is not None:
                other[number] = own[across]
        is_known = np.isfinite(own).any(axis=1) & np.isfinite(other).any(axis=1)
        chances = np.full(len(labels), np.nan)
        if is_known.any():
            classifier = load_classifier(find_weights(self.classifier))
            columns = columns_of(own[is_known], other[is_known], found.names, classifier.columns)
            regions = [label.region for label, known in zip(labels, is_known, strict=True) if known]
            chances[is_known] = classifier.probabilities(columns, regions)
        for label, one, chance in zip(labels, described, chances, strict=True):
            value = float(chance) if np.isfinite(chance) else None
            yield RegionEvidence(
                label.side, label.region, "probability", value, one.coverage, fluid_share=one.fluid_share
            )

    def _numbers(self, one: DescribedRegion, n: int) -> list[float]:
        """Features of a region, NaN where there are none."""
        if self._reason(one):
            return [np.nan] * n
        return [np.nan if value is None else value for value in one.values]


class NcctRadiomicsSource(RegionClassifierSource):
    """Radiomics and a random forest for each region of a CT without contrast agent."""

    about: ClassVar[str] = "chance of each region on plain CT by radiomics and random forests"
    works_by: ClassVar[str] = "a random forest for each region"

    kind: Literal["ncct_radiomics"]
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    trained_for: ClassVar[str] = "ncct-radiomics"
    classifier: str = Field("ncct-radiomics", description="Name of the trained weights")

    @property
    def image_kind(self) -> ImageName:
        """CT without contrast agent."""
        return "ncct"


class CtaRadiomicsSource(RegionClassifierSource):
    """Radiomics and a support vector machine on CT angiography."""

    about: ClassVar[str] = "chance of each region on CT angiography by radiomics and a support vector machine"
    works_by: ClassVar[str] = "a support vector machine"

    kind: Literal["cta_radiomics"]
    modality: str = Field("cta", description="Which rows of scans.tsv: scans as they came, in native space")
    trained_for: ClassVar[str] = "cta-radiomics"
    classifier: str = Field("cta-radiomics", description="Name of the trained weights")

    @property
    def image_kind(self) -> ImageName:
        """CT angiography."""
        return "cta"


NCCT = Method(NcctRadiomicsSource, also_files=VASCULAR_FILES)
CTA = Method(CtaRadiomicsSource)
