"""``[[source]]`` of ``cohort.toml``: everything that scores (DESIGN: "the one idea").

A *computed* source is measured from images by a step. Sources that differ only in label map, rule or laterality share
one *measurement*: a step's committed numbers, to which rules are applied when tables are made.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.quality import Modality

LateralityName = Literal["worst", "lesion_side", "clinical_side", "both"]
FormsName = Literal["reject", "sform", "qform"]
RegistrationName = Literal["affine", "refined"]

#: Raises the mean Dice of regions from .690 to .710 on three CT; on DWI, where no regions are drawn, by .02 to .10 on
#: displaced phantoms, and takes nothing from those without displacement (tests/benchmarks/accuracy_refinement.py).
REGISTRATION: RegistrationName = "refined"

NAME = r"^[a-z0-9][a-z0-9_:.\-]*$"


class Part(BaseModel):
    """A section of ``cohort.toml``: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class _Computed(Part):
    """What every source measured from images declares."""

    name: str = Field(pattern=NAME)
    regions: str | None = Field(None, description="Label map; default [template] regions")
    laterality: LateralityName = Field("worst", description="Which side's score counts (METHODS A.6 S2)")
    description: str = ""

    @property
    def measured_with(self) -> dict[str, Any]:
        """What the step needs to know besides the label maps: the same for all sources of one measurement."""
        return self.model_dump(exclude={"name", "regions", "laterality", "rule", "description"})


class MaskSource(_Computed):
    """A source measured from a lesion mask in template space."""

    kind: Literal["mask"]
    modality: str = Field("lesion", description="Which rows of scans.tsv")
    rule: str = Field("wei", description="any, wei, danet, or the name of a [[rule]]")

    @property
    def gated_as(self) -> None:
        """Masks have no quality figures."""

    @property
    def measurement(self) -> str:
        """What its sources share: the masks of one modality."""
        return self.modality

    @property
    def step(self) -> str:
        """Name of the step that measures it."""
        return f"measure-{self.modality}"

    @property
    def scans(self) -> tuple[str, ...]:
        """Modalities that the step reads: the first must be there, the others may be."""
        return (self.modality,)


class DensityRatioSource(_Computed):
    """A baseline without weights: the density of each region on CT against the same region of the other side."""

    kind: Literal["density_ratio"]
    modality: str = Field("ncct", description="Which rows of scans.tsv: scans as they came, in native space")
    image: Literal["ncct", "cta"] = Field("ncct", description="What the scan is, which decides cuts and limits")
    forms: FormsName = Field("reject", description="Which of qform and sform to trust where they disagree")
    registration: RegistrationName = Field(REGISTRATION, description="Regions by affine transform or refined")

    @property
    def gated_as(self) -> Modality:
        """Which limits of quality figures hold for its scans."""
        return "cta" if self.image == "cta" else "ct"

    @property
    def rule(self) -> str:
        """Name of its rule: the cuts belong to the kind of image."""
        return f"{self.image}-ratio"

    @property
    def measurement(self) -> str:
        """What its sources share: the densities of one modality."""
        return f"ratio-{self.modality}"

    @property
    def step(self) -> str:
        """Name of the step that measures it."""
        return self.measurement

    @property
    def scans(self) -> tuple[str, ...]:
        """Modalities that the step reads: the first must be there, the others may be."""
        return (self.modality,)


class DwiThresholdSource(_Computed):
    """A baseline without weights: the lesion on diffusion MR by thresholds against the patient's own normal tissue."""

    kind: Literal["dwi_threshold"]
    modality: str = Field("dwi", description="Which rows of scans.tsv hold the image of b >= 800 s/mm2")
    adc: str = Field("adc", description="Which rows hold the ADC, where there is one")
    b0: str = Field("dwi-b0", description="Which rows hold the image of b = 0, from which a missing ADC is computed")
    b_value_s_mm2: float = Field(1000, gt=0, le=5000, description="b-value of the first, used where ADC is computed")
    rule: str = Field("wei", description="any, wei, danet, or the name of a [[rule]]")
    forms: FormsName = Field("reject", description="Which of qform and sform to trust where they disagree")
    registration: RegistrationName = Field(REGISTRATION, description="Regions by affine transform or refined")

    @property
    def gated_as(self) -> Modality:
        """Which limits of quality figures hold for its scans."""
        return "dwi"

    @property
    def measurement(self) -> str:
        """What its sources share: the lesion on one modality."""
        return f"threshold-{self.modality}"

    @property
    def step(self) -> str:
        """Name of the step that measures it."""
        return self.measurement

    @property
    def scans(self) -> tuple[str, ...]:
        """Modalities that the step reads: the first must be there, the others may be."""
        return (self.modality, self.adc, self.b0)


class ReadingsSource(Part):
    """Every reader and session of ``readings.tsv`` becomes a source ``reader:<id>`` (``reader:<id>:<session>``)."""

    name: Literal["readers"] = "readers"
    kind: Literal["readings"]
    laterality: LateralityName = "worst"
    description: str = ""


ComputedSource = MaskSource | DensityRatioSource | DwiThresholdSource
LesionSource = MaskSource | DwiThresholdSource
Source = Annotated[ComputedSource | ReadingsSource, Field(discriminator="kind")]
