"""``dwi_unet``: the lesion on diffusion MR by a 3D U-Net; the weights that ship know synthetic patients alone.

The system of paper 4 (Wei et al., Brain Communications fcag053): lesion, registered regions, the rule ``wei``, volume.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from cohorts.store.findings import Findings, Found
from flows.cases.case import OpenCase, Outcome
from flows.cases.dwi_input import dwi_input
from flows.cases.found_lesion import found_lesion
from flows.cases.native_scan import begun, refused
from flows.sources.diffusion import DiffusionSource
from flows.sources.interface import Method
from flows.sources.network_lesion import NetworkLesionSource, lesion_at, probability_file, stored_steps
from models.inference import loaded, probabilities
from models.weights import find_weights
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS
from tasks.space.network_grid import to_scan

PRESET = "small"


class Segmented(Found):
    """How the lesion was found: what the network was given, and where it drew the line."""

    adc_source: str | None
    adc_reason: str
    adc_detail: str
    threshold: float
    largest_probability: float


class SegmentedFindings(Findings):
    """The lesion, and how it was found."""

    segmented: Segmented | None = None


class DwiUnetSource(NetworkLesionSource, DiffusionSource):
    """The lesion on diffusion MR by a 3D U-Net, with ADC, with an ADC computed from b = 0, or from b-high alone."""

    about: ClassVar[str] = "the lesion on diffusion MR by a trained 3D U-Net"
    trained_for: ClassVar[str] = "dwi-unet"
    findings: ClassVar[type[Findings]] = SegmentedFindings

    kind: Literal["dwi_unet"]
    network: str = Field("dwi-unet", description="Name of the trained weights")
    threshold: float = Field(0.2, gt=0, lt=1, description="Least probability of a voxel of the lesion")
    threshold_without_adc: float = Field(0.9, gt=0, lt=1, description="The same where there is no ADC")

    @property
    def stem(self) -> str:
        """The lesion on one modality."""
        return f"unet-{self.modality}"

    @property
    def phrase(self) -> str:
        """What is taken for the lesion, and what the network learned from."""
        return (
            f"a 3D U-Net ({self.network}, {self.learned_from}) on {self.modality} and {self.adc}, voxels of "
            f"probability {self.threshold:g} and more ({self.threshold_without_adc:g} where there is no ADC)"
        )

    def measure(self, case: OpenCase) -> Outcome:
        """The lesion on diffusion MR, counted in every label map on the scan's own grid."""
        scan, stored_adc, b0, others = self.read(case)
        findings, files = begun(case, scan, SegmentedFindings)
        findings = findings.adding(scans=others)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        given = dwi_input(scan, stored_adc, b0, self.b_value_s_mm2)
        adc = given.found
        weights = find_weights(self.network)
        network = loaded(weights, weights.preset or PRESET, N_DWI_CHANNELS, len(CLASSES))
        on_grid = probabilities(network, given.channels, flip=self.flip)[INFARCT]
        affine = scan.image.affine
        probability = to_scan(on_grid, given.grid, scan.shape, affine) * scan.brain_mask
        stored = stored_steps(probability)
        threshold = self.threshold_without_adc if adc.values is None else self.threshold
        findings = findings.adding(
            segmented=Segmented(
                adc_source=adc.source,
                adc_reason=adc.reason,
                adc_detail=adc.detail,
                threshold=threshold,
                largest_probability=float(probability.max()),
            )
        )
        files |= probability_file(case, stored, affine)
        return found_lesion(case, scan, lesion_at(stored, threshold), findings, files)


METHOD = Method(DwiUnetSource, cpu_limit_s=600.0, memory_mib=2500, wants_gpu=True)
