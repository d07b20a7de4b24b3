"""``[[source]]`` of ``cohort.toml``: everything that scores (DESIGN: "the one idea"). This module knows no kind.

A *computed* source is measured from images by a step. What its step finds depends on its kind, its scans and its
settings: sources that agree in these share one *measurement*, a step's committed numbers, to which rules and laterality
are applied when tables are made. A kind is a subclass of ``Source`` (``flows.sources``); it says what it reads, how it
is measured, and what the tables and the pages say of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from cohorts.store.findings import Findings
from tasks.anatomy import LabelTable
from tasks.lesion import LesionMeasures
from tasks.modality import ScanContrast
from tasks.scoring import BUILT_IN_RULES, MOST_FLUID, RegionEvidence, Rule, Score

LateralityName = Literal["worst", "lesion_side", "clinical_side", "both"]
FormsName = Literal["reject", "sform", "qform"]
RegistrationName = Literal["affine", "refined", "network"]
ImageName = Literal["dwi", "ncct", "cta"]
#: What a source may give; the tables ask for nothing else.
Gives = Literal["regions", "score", "low_score_probability", "lesion", "volume", "features"]

#: Raises the mean Dice of regions from .690 to .710 on three CT; on DWI, where no regions are drawn, by .02 to .10 on
#: displaced phantoms, and takes nothing from those without displacement (tests/benchmarks/accuracy_refinement.py).
REGISTRATION: RegistrationName = "refined"
REGIONS_BY = "Regions by affine transform, by one refined, or by a network"

#: What draws regions in native space, of which label map, and on what it has learned to do so (``models.regions``).
REGION_NETWORK, NETWORK_MAP = "region-net", "classic"
NETWORK_CONTRASTS: tuple[ScanContrast, ...] = ("ct", "cta", "dwi")

#: How a scan shows the tissues, by what it is.
CONTRASTS: Mapping[ImageName, ScanContrast] = {"dwi": "dwi", "ncct": "ct", "cta": "cta"}

NAME = r"^[a-z0-9][a-z0-9_:.\-]*$"


class Part(BaseModel):
    """A section of ``cohort.toml``: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


@dataclass(frozen=True)
class MapUse:
    """A label map as the tables need it: its content digest and its label table."""

    sha256: str
    table: LabelTable


@dataclass(frozen=True)
class Feature:
    """One number of one region for the ``features`` table; None, with a reason, where it could not be taken.

    ``feature_class`` and ``mode`` are those of radiomics: pyradiomics' class, and what a value is compared with.
    """

    side: str
    region: str
    name: str
    value: float | None
    reason: str = "not_measurable"
    feature_class: str | None = None
    mode: str | None = None


class Source(Part):
    """What every source measured from images declares, and what the tables ask of its kind.

    A kind sets ``kind: Literal[...]`` and overrides what it does otherwise. Methods that end in the tables are pure:
    they open no image.
    """

    kind: str
    name: str = Field(pattern=NAME)
    regions: str | None = Field(None, description="Label map; default [template] regions")
    laterality: LateralityName = Field(
        "worst", description="Whose score counts: of the worse side, the lesion's, the clinical one, or both"
    )
    most_fluid: float = Field(MOST_FLUID, gt=0, le=1, description="Largest share of fluid of a region to be scored")
    description: str = Field("", description="Words of your own, for the pages")

    #: One line for people: what this kind is.
    about: ClassVar[str] = ""
    #: Keys that no default can stand for, with values as people write them.
    needed: ClassVar[Mapping[str, Any]] = {}
    #: Somebody else's software: where it fails, its rows say so, and the participant stays with what else there is.
    is_foreign: ClassVar[bool] = False
    findings: ClassVar[type[Findings]] = Findings
    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score"})
    #: The rules that it knows by name, and whether a study's own [[rule]] may stand in their place.
    rules: ClassVar[Mapping[str, Rule]] = BUILT_IN_RULES
    takes_declared_rules: ClassVar[bool] = True
    #: Distribution whose code computes its features.
    features_by: ClassVar[str] = "aspects-cohort"
    #: Frame times, units or vessels chosen by hand are in the JSON file beside its first scan.
    reads_sidecar: ClassVar[bool] = False

    @classmethod
    def kind_name(cls) -> str:
        """What ``cohort.toml`` calls the kind."""
        (name,) = get_args(cls.model_fields["kind"].annotation)
        return str(name)

    @classmethod
    def taken(cls) -> tuple[dict[str, Any], ...]:
        """The sources of this kind that a study has which declares none; none where a key has no default."""
        name = cls.kind_name()
        return () if cls.needed else ({"name": name.replace("_", "-"), "kind": name},)

    # what it reads and depends on

    @property
    def scans(self) -> tuple[str, ...]:
        """Modalities that the step reads: the first must be there, the others may be."""
        raise NotImplementedError

    @property
    def stem(self) -> str:
        """What its measurement is called where one study has one of them only."""
        return f"{self.kind.replace('_', '-')}-{self.scans[0]}"

    @property
    def step(self) -> str:
        """Name of the step that measures it; the same whatever the settings."""
        return self.stem

    @property
    def settings(self) -> dict[str, Any]:
        """What the step needs to know besides the label maps, JSON-able: what a measurement is, beside its scans."""
        return self.model_dump(exclude={"name", "regions", "laterality", "rule", "most_fluid", "description"})

    @property
    def weights(self) -> Mapping[str, str]:
        """Names of the trained weights that it cannot do without -> the method that they are trained for."""
        return {}

    @property
    def program(self) -> tuple[str, ...]:
        """The command that it runs, where whoever starts the run allows it; none of most."""
        return ()

    @property
    def asks(self) -> tuple[str, ...]:
        """The command by which that program says its version."""
        return ()

    def answered(self, version: str) -> Self:
        """The same source with the version that its program says.

        Raises
        ------
        ValueError
            It is not the one that the study declares.
        """
        return self

    @property
    def limits(self) -> dict[str, Any]:
        """What a case may take, JSON-able; it says nothing of the result, so that another value measures nothing."""
        return {}

    @property
    def lies_on(self) -> str:
        """Modality of the image that its findings lie on: whose quality is judged, and on which they are drawn."""
        return self.scans[0]

    @property
    def gated_as(self) -> ScanContrast | None:
        """Which limits of quality figures hold for its scans; None where they have none."""
        return None

    # from what was found to tables

    @property
    def is_scoring(self) -> bool:
        """Whether it says anything of a score; one that only describes has neither a rule nor rows of ``scores``."""
        return not self.gives.isdisjoint({"regions", "score", "low_score_probability"})

    @property
    def rule_name(self) -> str:
        """Name of the rule that turns its evidence into affected regions."""
        raise NotImplementedError

    def rule_choices(self, declared: Mapping[str, Rule]) -> Mapping[str, Rule]:
        """The rules that it may name."""
        return {**self.rules, **declared} if self.takes_declared_rules else self.rules

    def evidence(self, found: Any, use: MapUse) -> Iterator[RegionEvidence]:
        """What was measured of every region of a label map, in the order of its table; nothing without regions."""
        yield from ()

    def features(self, found: Any, use: MapUse) -> Iterator[Feature]:
        """Further numbers of regions for the ``features`` table."""
        yield from ()

    def lesion(self, found: Any) -> LesionMeasures | None:
        """The lesion that it draws; None where it draws none."""
        return None

    def lesion_columns(self, found: Any) -> Mapping[str, float | str | None]:
        """Columns of ``lesions`` besides those that follow from the lesion; all of them where a volume is stated."""
        return {}

    def score(self, found: Any) -> Score | None:
        """The score of a source that scores without regions; None lets the rule decide."""
        return None

    def low_score_probability(self, found: Any) -> float | None:
        """Chance of a low score; None where it gives none."""
        return None

    # in words

    @property
    def phrase(self) -> str:
        """What it takes for evidence, in words that follow "name: " in the methods chapter."""
        raise NotImplementedError


class OnScanSource(Source):
    """A source measured on one scan in native space, onto which the regions of the template come."""

    forms: FormsName = Field("reject", description="Which of qform and sform to trust where they disagree")
    registration: RegistrationName = Field(REGISTRATION, description=REGIONS_BY)

    @property
    def image_kind(self) -> ImageName:
        """What its scan is."""
        raise NotImplementedError

    @property
    def brings_regions(self) -> bool:
        """Whether it brings regions onto its scan, as all do that measure there."""
        return True

    @property
    def gated_as(self) -> ScanContrast:
        """Which limits of quality figures hold for its scan."""
        return CONTRASTS[self.image_kind]

    @property
    def weights(self) -> Mapping[str, str]:
        """The network that draws its regions, where it asks for one."""
        return {REGION_NETWORK: REGION_NETWORK} if self.registration == "network" else {}


class LesionSource(Source):
    """A source that draws a lesion: its regions are affected by the share that is lesion."""

    gives: ClassVar[frozenset[Gives]] = frozenset({"regions", "score", "lesion"})
    #: How the name of the file ends in which the step keeps the lesion, behind the prefix of its case; None where the
    #: first file that it reads is the lesion.
    lesion_file: ClassVar[str | None] = "label-lesion_mask.nii.gz"
    #: Whether the lesion is given to the program, as one drawn by hand, and not found by it.
    is_given: ClassVar[bool] = False
    rule: str = Field("wei", description="any, wei, danet, or the name of a [[rule]]")

    @property
    def rule_name(self) -> str:
        """As declared."""
        return self.rule

    @property
    def lesion_grid(self) -> str:
        """What the lesion is drawn on: the modality of a scan, or ``template``; lesions on one are comparable."""
        return self.lies_on

    def evidence(self, found: Findings, use: MapUse) -> Iterator[RegionEvidence]:
        """Share of every region that is lesion; voxels are those of the image that the lesion lies on."""
        counts = found.counts[use.sha256]
        voxel_ml = next(iter(found.scans.values())).voxel_volume_mm3 / 1000
        nothing = [None] * len(use.table.labels)
        rows = zip(
            use.table.labels,
            counts.n_region,
            counts.n_lesion,
            counts.coverage,
            counts.fluid_share or nothing,
            counts.atlas_dice or nothing,
            strict=True,
        )
        for label, n_region, n_lesion, coverage, fluid_share, atlas_dice in rows:
            fraction = n_lesion / n_region if n_region else None
            yield RegionEvidence(
                label.side,
                label.region,
                "fraction",
                fraction,
                coverage,
                n_region,
                n_lesion,
                n_lesion * voxel_ml,
                fluid_share,
                atlas_dice,
            )

    def lesion(self, found: Findings) -> LesionMeasures | None:
        """As measured."""
        return found.lesion


class ReadingsSource(Part):
    """Every reader and session of ``readings.tsv`` becomes a source ``reader:<id>`` (``reader:<id>:<session>``)."""

    name: Literal["readers"] = "readers"
    kind: Literal["readings"]
    laterality: LateralityName = "worst"
    description: str = ""
