"""``[[source]]`` of ``cohort.toml``: everything that scores (DESIGN: "the one idea").

A *computed* source is measured from images by a step. Sources that differ only in label map, rule or laterality share
one *measurement*: a step's committed numbers, to which rules are applied when tables are made.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.modality import ScanContrast
from tasks.perfusion.bolus import MINIMUM_FRAMES
from tasks.perfusion.normal_flow import Reference

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
    def reads_sidecar(self) -> bool:
        """Whether the step reads the JSON files beside its scans."""
        return False

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
    def gated_as(self) -> ScanContrast:
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
    def gated_as(self) -> ScanContrast:
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


class _PerfusionCore(_Computed):
    """What both ways to an ischaemic core from CT perfusion declare; see ``tasks.perfusion.core.CoreSettings``."""

    modality: str
    rule: str = Field("danet", description="any, wei, danet, or the name of a [[rule]]; danet: more than 10 % is core")
    reference: Reference = Field("contralateral_hemisphere", description="What normal flow is taken from")
    relative_cbf: float = Field(0.3, gt=0, lt=1, description="Core has less than this share of normal flow")
    core_tmax_s: float | None = Field(None, gt=0, description="Core has Tmax above this as well; none asks nothing")
    hypoperfusion_tmax_s: float = Field(6.0, gt=0, description="Hypoperfused tissue has Tmax above this")
    minimum_cluster_ml: float = Field(0.0, ge=0, description="Smaller pieces of core and hypoperfusion are dropped")
    forms: FormsName = Field("reject", description="Which of qform and sform to trust where they disagree")

    @property
    def gated_as(self) -> ScanContrast:
        """Which limits of quality figures hold for its scans."""
        return "ctp"

    @property
    def measurement(self) -> str:
        """What its sources share: the core on one modality."""
        return f"core-{self.modality}"

    @property
    def step(self) -> str:
        """Name of the step that measures it."""
        return self.measurement

    @property
    def reads_sidecar(self) -> bool:
        """Frame times, the unit of a map and vessels chosen by hand are there."""
        return True


class CtpCoreSource(_PerfusionCore):
    """Ground truth: the ischaemic core on a CT perfusion series (Cao et al. 2022, doi 10.1002/hbm.25845)."""

    kind: Literal["ctp_core"]
    modality: str = Field("ctp", description="Which rows of scans.tsv: the 4D series, frame times in its sidecar")
    threshold: Literal["nominal", "calibrated"] = Field(
        "nominal", description="relative_cbf on the maps as measured, or corrected for what deconvolution loses"
    )
    deconvolution: Literal["oscillation_index", "block_circulant", "standard"] = "oscillation_index"
    motion_correction: bool = True
    minimum_frames: int = Field(MINIMUM_FRAMES, ge=10, description="Usable frames; a series with fewer is refused")
    in_plane_sigma_mm: float | None = Field(
        None, ge=0, description="Smoothing within slices; none lets the noise choose, 0 leaves it out"
    )
    temporal_sigma_s: float = Field(0.0, ge=0, description="Smoothing over time; 0 leaves it out")
    haematocrit_large: float = Field(0.45, ge=0, lt=1, description="Of large vessels")
    haematocrit_small: float = Field(0.25, ge=0, lt=1, description="Of small vessels")
    density_g_ml: float = Field(1.04, gt=0, description="Of brain")
    ct: str = Field("ncct", description="Which rows hold a CT of the patient, onto which the core is drawn where given")

    @property
    def scans(self) -> tuple[str, ...]:
        """Modalities that the step reads: the first must be there, the others may be."""
        return (self.modality, self.ct)


class CbfMapSource(_PerfusionCore):
    """Ground truth: the ischaemic core on a workstation's CBF map, with a CT in the same space as the map."""

    kind: Literal["cbf_map"]
    modality: str = Field("cbf", description="Which rows of scans.tsv hold the CBF map; its unit in the sidecar")
    tmax: str = Field("tmax", description="Which rows hold Tmax in seconds, where there is one")
    ct: str = Field("ncct", description="Which rows hold a CT in the map's own space, by which it is registered")
    zero_means: Literal["no_measurement", "no_flow"] = Field(
        "no_measurement", description="Whether a voxel of exactly zero was blanked by the workstation or has no flow"
    )

    @property
    def scans(self) -> tuple[str, ...]:
        """Modalities that the step reads: the first must be there, the others may be."""
        return (self.modality, self.ct, self.tmax)


class ReadingsSource(Part):
    """Every reader and session of ``readings.tsv`` becomes a source ``reader:<id>`` (``reader:<id>:<session>``)."""

    name: Literal["readers"] = "readers"
    kind: Literal["readings"]
    laterality: LateralityName = "worst"
    description: str = ""


LesionSource = MaskSource | DwiThresholdSource | CtpCoreSource | CbfMapSource
ComputedSource = MaskSource | DensityRatioSource | DwiThresholdSource | CtpCoreSource | CbfMapSource
Source = Annotated[ComputedSource | ReadingsSource, Field(discriminator="kind")]
