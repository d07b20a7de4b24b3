"""``dwi_threshold``: a baseline without weights, the lesion on diffusion MR by thresholds against normal tissue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.folder.source import ImageName, LesionSource, OnScanSource
from cohorts.images.nifti import nifti_bytes
from cohorts.store.findings import Findings, Found
from flows.sources.interface import Method, OpenCase, Outcome, excluded
from flows.sources.native_scan import begun, drawn, facts, native_counts, prepared, refused
from tasks.diffusion.adc import adc_on_grid
from tasks.diffusion.threshold import segment_dwi
from tasks.lesion import measure_lesion
from tasks.space.resample import Grid


class Diffusion(Found):
    """How the lesion was found: where the ADC came from, what normal tissue looks like, and what was left out."""

    adc_source: str | None
    adc_reason: str
    adc_detail: str
    adc_available: bool
    normal_adc: float | None
    normal_signal: float | None
    noise: float | None
    n_removed: Mapping[str, int]


class DiffusionFindings(Findings):
    """The lesion, and how it was found."""

    diffusion: Diffusion | None = None


class DwiThresholdSource(OnScanSource, LesionSource):
    """A baseline without weights: the lesion on diffusion MR by thresholds against the patient's own normal tissue."""

    about: ClassVar[str] = "the lesion on diffusion MR by thresholds; a baseline without weights"
    findings: ClassVar[type[Findings]] = DiffusionFindings

    kind: Literal["dwi_threshold"]
    modality: str = Field("dwi", description="Which rows of scans.tsv hold the image of b >= 800 s/mm2")
    adc: str = Field("adc", description="Which rows hold the ADC, where there is one")
    b0: str = Field("dwi-b0", description="Which rows hold the image of b = 0, from which a missing ADC is computed")
    b_value_s_mm2: float = Field(1000, gt=0, le=5000, description="b-value of the first, used where ADC is computed")

    @property
    def scans(self) -> tuple[str, ...]:
        """The image of high b-value, then ADC and b = 0."""
        return (self.modality, self.adc, self.b0)

    @property
    def stem(self) -> str:
        """The lesion on one modality."""
        return f"threshold-{self.modality}"

    @property
    def image_kind(self) -> ImageName:
        """Diffusion MR."""
        return "dwi"

    @property
    def phrase(self) -> str:
        """What is taken for the lesion."""
        return f"a baseline without weights, the lesion by thresholds on {self.modality} and {self.adc}"

    def measure(self, case: OpenCase) -> Outcome:
        """The lesion on diffusion MR, counted in every label map on the scan's own grid."""
        kinds = {self.adc: "adc", self.b0: "dwi-b0"}
        images = {
            file.modality: case.image(file, kinds.get(file.modality, "dwi"), self.forms) for file in case.case.files
        }
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        image = scan.image
        findings, files = begun(case, scan, DiffusionFindings)
        others = {modality: facts(one) for modality, one in images.items() if modality != case.first.modality}
        findings = findings.adding(scans=others)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        brain = scan.brain_mask
        given = {modality: (one.values, one.affine) for modality, one in images.items()}
        adc = adc_on_grid(
            image.values,
            Grid(scan.shape, image.affine),
            brain,
            stored=given.get(self.adc),
            b0=given.get(self.b0),
            b_value_s_per_mm2=self.b_value_s_mm2,
        )
        found = segment_dwi(image.values, adc.values, brain, image.affine, scan.registration.matrix)
        diffusion = Diffusion(
            adc_source=adc.source,
            adc_reason=adc.reason,
            adc_detail=adc.detail,
            adc_available=found.adc_available,
            normal_adc=found.normal_adc,
            normal_signal=found.normal_signal,
            noise=found.noise,
            n_removed=found.n_removed,
        )
        findings = findings.adding(diffusion=diffusion)
        if found.reason:
            files |= drawn(case, scan)
            return excluded(case.case, found.reason, found.detail, findings, files)
        indices = np.flatnonzero(found.mask.reshape(-1, order="F"))
        lesion = measure_lesion(indices, scan.shape, image.affine, scan.registration.moving_to_fixed)
        counts = native_counts(scan, case.maps, {"n_lesion": found.mask})
        files |= drawn(case, scan, found.mask, lesion)
        files[f"{case.case.prefix}_label-lesion_mask.nii.gz"] = nifti_bytes(found.mask.astype(np.uint8), image.affine)
        return Outcome("ok", findings=findings.adding(lesion=lesion, counts=counts), files=files)


METHOD = Method(DwiThresholdSource)
