"""``dwi_threshold``: a baseline without weights, the lesion on diffusion MR by thresholds against normal tissue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from cohorts.store.findings import Findings, Found
from flows.cases.adc import scan_adc
from flows.cases.case import OpenCase, Outcome, excluded
from flows.cases.found_lesion import found_lesion
from flows.cases.native_scan import begun, drawn, refused
from flows.sources.diffusion import DiffusionSource
from flows.sources.interface import Method
from tasks.diffusion.threshold import segment_dwi


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


class DwiThresholdSource(DiffusionSource):
    """A baseline without weights: the lesion on diffusion MR by thresholds against the patient's own normal tissue."""

    about: ClassVar[str] = "the lesion on diffusion MR by thresholds; a baseline without weights"
    findings: ClassVar[type[Findings]] = DiffusionFindings

    kind: Literal["dwi_threshold"]

    @property
    def stem(self) -> str:
        """The lesion on one modality."""
        return f"threshold-{self.modality}"

    @property
    def phrase(self) -> str:
        """What is taken for the lesion."""
        return f"a baseline without weights, the lesion by thresholds on {self.modality} and {self.adc}"

    def measure(self, case: OpenCase) -> Outcome:
        """The lesion on diffusion MR, counted in every label map on the scan's own grid."""
        scan, stored, b0, others = self.read(case)
        findings, files = begun(case, scan, DiffusionFindings)
        findings = findings.adding(scans=others)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        image = scan.image
        adc = scan_adc(scan, stored, b0, self.b_value_s_mm2)
        found = segment_dwi(image.values, adc.values, scan.brain_mask, image.affine, scan.registration.matrix)
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
        return found_lesion(case, scan, found.mask, findings, files)


METHOD = Method(DwiThresholdSource)
