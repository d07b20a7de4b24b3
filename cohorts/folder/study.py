"""``cohort.toml``: what a study is, which sources score it, by which rules, and how its columns are read.

Every model is frozen and rejects unknown keys. Names of rules, maps and columns are checked against each other here, so
that a wrong study stops before any work. Terms: a *source* scores patients (METHODS 0); a *rule* turns stored region
fractions into affected regions; a *dichotomy* splits a score or volume at a declared cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache, reduce
from operator import or_
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import Field, create_model, model_validator

from cohorts.folder.analysis_plan import AnalysisSection
from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.source import NAME, NETWORK_MAP, OnScanSource, Part, ReadingsSource, Source
from cohorts.folder.table_mapping import TableMapping
from cohorts.store.records import digest_of
from tasks.anatomy import ASPECTS_REGIONS
from tasks.modality import ScanContrast
from tasks.quality.gates import GATES, Gate, with_limits
from tasks.quality.guards import GUARD_THRESHOLDS
from tasks.scoring import BUILT_IN_RULES, RegionRule, fraction_rule
from tasks.scoring import Rule as RegionJudge
from tasks.views.convention import RADIOLOGICAL, Convention

Operator = Literal["ge", "gt", "le", "lt"]

CLASSIC = "classic"
BUILT_IN_MAPS = (CLASSIC, "territory")


class StudySection(Part):
    """``[study]``: name, seed and how the report introduces the cohort."""

    name: str = Field(min_length=1, description="Name printed on every page")
    description: str = Field("", description="One paragraph for the report's first page")
    synthetic: bool = Field(False, description="Marks every page as synthetic data")
    pictures: Convention = Field(
        RADIOLOGICAL, description="radiological: the patient's right is on the left of pictures; or neurological"
    )
    may_reidentify: bool = Field(
        False, description="Whether results may go back to the patients they are of (aspects export-dicom)"
    )
    seed: int = Field(20260101, ge=0, description="Seed of every bootstrap")
    bootstrap_resamples: int = Field(2000, ge=100, le=100_000, description="Resamples of every bootstrap interval")


class TemplateSection(Part):
    """``[template]``: the label map used by sources that do not name their own."""

    regions: str = Field("classic", description="classic, territory, or a label map file inside the cohort folder")


class FractionRule(Part):
    """A region counts as affected when its lesion fraction meets the cut of its group."""

    name: str = Field(pattern=NAME)
    kind: Literal["fraction"]
    deep: float = Field(ge=0, le=1, description="Cut for caudate, lentiform, internal capsule and insula")
    cortical: float = Field(ge=0, le=1, description="Cut for M1 to M6")
    operator: Literal["ge", "gt"] = Field("ge", description="fraction >= cut, or fraction > cut")
    minimum_voxels: int = Field(1, ge=1, description="Fewer lesion voxels in a region never count")

    @property
    def region_rule(self) -> RegionRule:
        """As regions are judged by it."""
        deep, cortical = (self.operator, self.deep), (self.operator, self.cortical)
        return fraction_rule(self.name, deep=deep, cortical=cortical, minimum_voxels=self.minimum_voxels)


class PerRegionRule(Part):
    """A cut of its own for each of the ten regions (regional lesion load)."""

    name: str = Field(pattern=NAME)
    kind: Literal["per_region"]
    cuts: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(description="Region name -> cut; all ten regions")
    operator: Literal["ge", "gt"] = "ge"
    minimum_voxels: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _all_regions(self) -> PerRegionRule:
        if set(self.cuts) != set(ASPECTS_REGIONS):
            raise ValueError(
                f"cuts must name exactly {', '.join(ASPECTS_REGIONS)}; "
                f"missing {sorted(set(ASPECTS_REGIONS) - set(self.cuts))}, "
                f"unknown {sorted(set(self.cuts) - set(ASPECTS_REGIONS))}"
            )
        return self

    @property
    def region_rule(self) -> RegionRule:
        """As regions are judged by it."""
        cuts = {region: (self.operator, cut) for region, cut in self.cuts.items()}
        return RegionRule(self.name, cuts, self.minimum_voxels)


Rule = Annotated[FractionRule | PerRegionRule, Field(discriminator="kind")]


class Grade(Part):
    """One severity grade: an inclusive range of the severity column."""

    name: str
    minimum: float
    maximum: float


class SeveritySection(Part):
    """``[severity]``: the column that grades severity, its grades, and the positive class of every ROC."""

    column: str = "nihss"
    positive_minimum: float = Field(8, description="column >= this is moderate-severe, the positive class")
    grades: tuple[Grade, ...] = (
        Grade(name="mild", minimum=0, maximum=7),  # Wei 2026, Study population: mild 0-7
        Grade(name="moderate", minimum=8, maximum=16),
        Grade(name="severe", minimum=17, maximum=42),
    )


class GateLimit(Part):
    """``[[gate]]``: a study's own limits of one quality figure; it replaces both default limits."""

    figure: str = Field(description="Quality figure, a column of the scans table")
    image: ScanContrast | None = Field(None, description="Which scans it holds for; default all")
    minimum: float | None = None
    maximum: float | None = None


class GuardsSection(Part):
    """``[guards]``: what a figure of plain CT must exceed for an old infarct, a bleeding or a clot to be suspected."""

    chronic_volume_ml: float = Field(
        GUARD_THRESHOLDS["chronic_volume_ml"], gt=0, description="Fluid in the place of tissue, for an old infarct"
    )
    haemorrhage_volume_ml: float = Field(
        GUARD_THRESHOLDS["haemorrhage_volume_ml"], gt=0, description="A piece as dense as blood"
    )
    hyperdense_mca_hu: float = Field(
        GUARD_THRESHOLDS["hyperdense_mca_hu"], gt=0, description="Density of the middle cerebral artery"
    )
    hyperdense_mca_ratio: float = Field(
        GUARD_THRESHOLDS["hyperdense_mca_ratio"], ge=1, description="The same over that of the other side"
    )

    @property
    def thresholds(self) -> dict[str, float]:
        """Figure -> what it must exceed."""
        return self.model_dump()


class Dichotomy(Part):
    """A declared cut: ``score OP cut`` is the test-positive side."""

    name: str = Field(pattern=NAME)
    on: Literal["score", "volume_ml"] = "score"
    cut: float
    operator: Operator = Field(description="The side called positive: value OP cut")
    source: str = Field("", description="Where the cut comes from")
    primary: bool = False


DEFAULT_DICHOTOMIES: tuple[Dichotomy, ...] = (
    Dichotomy(name="wei_le6", cut=6, operator="le", source="Wei 2026: score <= 6 marks moderate-severe", primary=True),
    Dichotomy(name="guideline_lt6", cut=6, operator="lt", source="AHA/ASA, cited by Wei 2026: thrombectomy if >= 6"),
    Dichotomy(name="danet_not_gt6", cut=6, operator="le", source="Cao 2022: > 6 against <= 6"),
    Dichotomy(name="gt4_fails", cut=4, operator="le", source="Kuang 2019: > 4 against <= 4"),
    Dichotomy(name="large_core_le5", cut=5, operator="le", source="HERMES stratum 0-5; large-core trials: up to 5"),
    Dichotomy(name="wei_volume", on="volume_ml", cut=27.86, operator="ge", source="Wei 2026: core >= 27.86 ml"),
    Dichotomy(name="large_core_50ml", on="volume_ml", cut=50, operator="ge", source="SELECT2 trial: core >= 50 ml"),
)


class EligibilitySection(Part):
    """``[eligibility]``: who enters the eligible analysis set (Wei 2026, Study population), each rule with a reason."""

    minimum_max_diameter_mm: float | None = Field(
        None, description="Lesions of at most this maximum diameter are lacunar (Wei 2026: 15 mm)"
    )
    minimum_mca_share: float | None = Field(None, ge=0, le=1, description="Least share of the lesion in MCA territory")
    maximum_aca_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of the lesion in ACA territory"
    )
    maximum_pca_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of the lesion in PCA and posterior-fossa territory"
    )
    maximum_volume_ml: float | None = Field(None, gt=0, description="Larger lesions are implausible")
    required_columns: tuple[str, ...] = Field((), description="Clinical columns that may not be n/a")

    @property
    def is_set(self) -> bool:
        """Whether any rule is declared."""
        return self != EligibilitySection()  # type: ignore[call-arg]

    @property
    def needs_lesion(self) -> bool:
        """Whether any rule is about the lesion."""
        return self.model_copy(update={"required_columns": ()}).is_set


class AgreementPair(Part):
    """One agreement question: a candidate source against a reference source."""

    reference: str
    candidate: str


class DrawnRegions(Part):
    """``[[drawn_regions]]``: regions drawn on scans, by hand or by a program, to hold those of sources against."""

    name: str = Field(pattern=NAME)
    modality: str = Field("ncct-regions", description="Which rows of scans.tsv hold the label images")
    scan: str = Field("ncct", description="Which rows hold the scan on which they were drawn")
    labels: str = Field(
        CLASSIC, description="What the numbers mean: classic, or a label table (.tsv) inside the cohort folder"
    )


class StudyConfig(Part):
    """The whole of ``cohort.toml``; ``study_model`` closes it over the kinds of source that there are."""

    study: StudySection
    template: TemplateSection = TemplateSection()  # type: ignore[call-arg]
    source: tuple[Source | ReadingsSource, ...] = Field(min_length=1)
    rule: tuple[Rule, ...] = ()
    clinical: tuple[ClinicalColumn, ...] = ()
    severity: SeveritySection | None = None
    outcome: str | None = Field(None, description="Ordinal outcome column, such as the 90-day mRS")
    clinical_side: str | None = Field(None, description="Column with the affected hemisphere, left or right")
    eligibility: EligibilitySection = EligibilitySection()  # type: ignore[call-arg]
    gate: tuple[GateLimit, ...] = ()
    guards: GuardsSection = GuardsSection()  # type: ignore[call-arg]
    dichotomy: tuple[Dichotomy, ...] = DEFAULT_DICHOTOMIES
    agreement: tuple[AgreementPair, ...] = Field((), description="Default: every pair of sources that give a score")
    drawn_regions: tuple[DrawnRegions, ...] = ()
    table: tuple[TableMapping, ...] = Field((), description="How tables of others are imported")
    analysis: AnalysisSection | None = Field(None, description="The questions declared before the numbers are seen")

    @property
    def computed_sources(self) -> tuple[Source, ...]:
        """The sources that are measured from images, in their order."""
        return tuple(source for source in self.source if not isinstance(source, ReadingsSource))

    @property
    def lesion_sources(self) -> tuple[Source, ...]:
        """The computed sources that draw a lesion, in their order."""
        return tuple(source for source in self.computed_sources if "lesion" in source.gives)

    @property
    def volume_sources(self) -> tuple[Source, ...]:
        """The computed sources that give a volume, of a lesion that they draw or state, in their order."""
        return tuple(source for source in self.computed_sources if not source.gives.isdisjoint({"lesion", "volume"}))

    @property
    def scan_sources(self) -> tuple[Source, ...]:
        """The computed sources that read scans, in their order."""
        return tuple(source for source in self.computed_sources if source.scans)

    @cached_property
    def measurements(self) -> dict[str, tuple[Source, ...]]:
        """Measurement -> the sources that share it, in their order.

        A measurement is called after its scans; where sources of one kind read the same scans with other settings, also
        after the first source that declares them.
        """
        settings: dict[str, dict[str, list[Source]]] = {}
        for source in self.computed_sources:
            settings.setdefault(source.stem, {}).setdefault(digest_of(source.settings), []).append(source)
        return {
            stem if len(variants) == 1 else f"{stem}:{sharing[0].name}": tuple(sharing)
            for stem, variants in settings.items()
            for sharing in variants.values()
        }

    @cached_property
    def measurement_of(self) -> dict[str, str]:
        """Name of a computed source -> the measurement that it rests on."""
        return {source.name: name for name, sharing in self.measurements.items() for source in sharing}

    @property
    def readings_source(self) -> ReadingsSource | None:
        """The readings source, if declared."""
        return next((source for source in self.source if isinstance(source, ReadingsSource)), None)

    def gates_of(self, image: ScanContrast) -> tuple[Gate, ...]:
        """The limits of quality figures for one kind of scan: the defaults, or the study's own."""
        own = {
            item.figure: (item.minimum, item.maximum) for item in self.gate if item.image is None or item.image == image
        }
        return with_limits(GATES[image], own)

    def regions_of(self, source: Source) -> str:
        """Name or path of the label map that ``source`` is measured with."""
        return source.regions or self.template.regions

    def rule_of(self, source: Source) -> RegionJudge:
        """The rule that ``source`` names, built in or declared."""
        return source.rule_choices(self._declared_rules)[source.rule_name]

    def regions_on(self, scan: str) -> tuple[OnScanSource, ...]:
        """The sources that bring regions onto the scans of these rows, each way of doing so once, by its first source.

        Sources that read a scan alike, register it alike and use one label map have the same regions.
        """
        ways: dict[tuple[str, ...], OnScanSource] = {}
        for source in self.computed_sources:
            if isinstance(source, OnScanSource) and source.brings_regions and source.lies_on == scan:
                way = (source.image_kind, source.forms, source.registration, self.regions_of(source))
                ways.setdefault(way, source)
        return tuple(ways.values())

    def _contradictions_of(self, drawn: DrawnRegions) -> list[str]:
        """What is wrong with declared regions."""
        problems = []
        if drawn.name in {source.name for source in self.source}:
            problems.append("its name is that of a source, give it another")
        if drawn.modality == drawn.scan:
            problems.append(f"modality and scan must differ, got {drawn.scan!r} for both")
        if drawn.modality in {modality for source in self.computed_sources for modality in source.scans}:
            problems.append(f"modality must hold its label images alone, got {drawn.modality!r}, which a source reads")
        if not self.regions_on(drawn.scan):
            problems.append(f"scan must be one onto which a source brings regions, got {drawn.scan!r}")
        return problems

    @property
    def analysis_digest(self) -> str | None:
        """sha256 of the declared questions and of what they rest on: classes, cuts, pairs, eligibility and outcome."""
        if self.analysis is None:
            return None
        resting_on = {"analysis", "severity", "outcome", "eligibility", "dichotomy", "agreement"}
        return digest_of(self.model_dump(mode="json", include=resting_on))

    @cached_property
    def _declared_rules(self) -> Mapping[str, RegionJudge]:
        """Name -> rule, of the study's own."""
        return {rule.name: rule.region_rule for rule in self.rule}

    @model_validator(mode="after")
    def _names_agree(self) -> StudyConfig:
        problems = _repeated("source", [source.name for source in self.source])
        problems += _repeated("drawn_regions", [drawn.name for drawn in self.drawn_regions])
        problems += [
            f"drawn_regions {drawn.name!r}: {rule}"
            for drawn in self.drawn_regions
            for rule in self._contradictions_of(drawn)
        ]
        problems += _repeated("table", [mapping.name for mapping in self.table])
        problems += _repeated("rule", [rule.name for rule in self.rule])
        problems += _repeated("dichotomy", [dichotomy.name for dichotomy in self.dichotomy])
        problems += _repeated("clinical column", [clinical.column for clinical in self.clinical])
        problems += [
            f"rule {rule.name!r} is built in: give yours another name"
            for rule in self.rule
            if rule.name in BUILT_IN_RULES
        ]
        problems += [
            f"source {source.name!r}: rule must be one of {', '.join(choices)}, got {source.rule_name!r}"
            for source in self.computed_sources
            if source.is_scoring and source.rule_name not in (choices := source.rule_choices(self._declared_rules))
        ]
        problems += [
            f"source {source.name!r}: names beginning with reader: are those of readers, give yours another"
            for source in self.computed_sources
            if source.name.startswith("reader:")
        ]
        problems += [
            f"source {source.name!r}: modality must not contain /, got {modality!r}"
            for source in self.computed_sources
            for modality in source.scans
            if "/" in modality
        ]
        problems += [
            f"source {source.name!r}: registration network knows the regions {NETWORK_MAP}, got "
            f"{self.regions_of(source)}: choose refined, or other regions"
            for source in self.computed_sources
            if isinstance(source, OnScanSource)
            and source.registration == "network"
            and self.regions_of(source) != NETWORK_MAP
        ]
        problems += [
            f"clinical column {item.column!r}: minimum and maximum need read_as integer or number, got {item.read_as}"
            for item in self.clinical
            if item.read_as not in NUMERIC and (item.minimum, item.maximum) != (None, None)
        ]
        columns = [clinical.column for clinical in self.clinical]
        named = {
            "outcome": self.outcome,
            "clinical_side": self.clinical_side,
            "severity column": self.severity.column if self.severity else None,
            **{f"eligibility required_columns {name}": name for name in self.eligibility.required_columns},
        }
        problems += [
            f"{what} must be a declared [[clinical]] column ({', '.join(columns) or 'none declared'}), got {name!r}"
            for what, name in named.items()
            if name is not None and name not in columns
        ]
        if self.clinical_side is None and any(source.laterality == "clinical_side" for source in self.source):
            problems.append("laterality 'clinical_side' needs clinical_side = \"<column>\"")
        if self.analysis is not None:
            known = (*self.measurement_of, *self.measurements)
            problems += self.analysis.contradictions(known, [dichotomy.name for dichotomy in self.dichotomy])
        if sum(dichotomy.primary for dichotomy in self.dichotomy) > 1:
            problems.append("at most one dichotomy may be primary")
        try:
            for image in GATES:
                self.gates_of(image)
        except ValueError as error:
            problems.append(f"gate: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


@lru_cache
def study_model(kinds: tuple[type[Source], ...]) -> type[StudyConfig]:
    """The model of a study whose sources may be of ``kinds``, or readings; ``kind`` tells them apart."""
    union: Any = reduce(or_, (*kinds, ReadingsSource))
    source: Any = (tuple[Annotated[union, Field(discriminator="kind")], ...], Field(min_length=1))
    return cast("type[StudyConfig]", create_model("StudyConfig", __base__=StudyConfig, source=source))


def kinds_of(model: type[StudyConfig]) -> tuple[type[Part], ...]:
    """The kinds of source that a study of this model may declare, readings included."""
    entry = get_args(model.model_fields["source"].annotation)[0]
    return get_args(get_args(entry)[0]) if get_origin(entry) is Annotated else get_args(entry)


def _repeated(what: str, names: list[str]) -> list[str]:
    """One problem per name that occurs twice."""
    return [
        f"{what} {name!r} is declared {names.count(name)} times"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
