"""``dwi_unet``: the lesion on diffusion MR by a 3D U-Net; the weights that ship know synthetic patients alone.

The system of paper 4 (Wei et al., Brain Communications fcag053): lesion, registered regions, the rule ``wei``, volume.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.images.nifti import nifti_bytes
from cohorts.store.findings import Findings, Found
from flows.cases.case import OpenCase, Outcome
from flows.cases.dwi_input import dwi_input
from flows.cases.found_lesion import found_lesion
from flows.cases.native_scan import begun, refused
from flows.sources.diffusion import DiffusionSource
from flows.sources.interface import Method
from models.inference import loaded, probabilities
from models.weights import find_weights, has_patient_images
from tasks.overlay import STORED_STEPS
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


class DwiUnetSource(DiffusionSource):
    """The lesion on diffusion MR by a 3D U-Net, with ADC, with an ADC computed from b = 0, or from b-high alone."""

    about: ClassVar[str] = "the lesion on diffusion MR by a trained 3D U-Net"
    findings: ClassVar[type[Findings]] = SegmentedFindings

    kind: Literal["dwi_unet"]
    network: str = Field("dwi-unet", description="Name of the trained weights")
    threshold: float = Field(0.15, gt=0, lt=1, description="Least probability of a voxel of the lesion")
    threshold_without_adc: float = Field(0.7, gt=0, lt=1, description="The same where there is no ADC")
    flip: bool = Field(True, description="Also ask the network about the mirror image, and take the mean")

    @property
    def weights(self) -> tuple[str, ...]:
        """One network for the lesion, and perhaps one for the regions."""
        return (self.network, *super().weights)

    @property
    def stem(self) -> str:
        """The lesion on one modality."""
        return f"unet-{self.modality}"

    @property
    def phrase(self) -> str:
        """What is taken for the lesion, and what the network learned from."""
        behind = "trained on patients' scans" if has_patient_images(self.network) else "trained on synthetic patients"
        return (
            f"a 3D U-Net ({self.network}, {behind}) on {self.modality} and {self.adc}, voxels of "
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
        network = loaded(find_weights(self.network), PRESET, N_DWI_CHANNELS, len(CLASSES))
        on_grid = probabilities(network, given.channels, flip=self.flip)[INFARCT]
        affine = scan.image.affine
        probability = to_scan(on_grid, given.grid, scan.shape, affine) * scan.brain_mask
        stored = np.rint(probability * STORED_STEPS).astype(np.uint8)
        threshold = self.threshold_without_adc if adc.values is None else self.threshold
        mask = stored >= round(threshold * STORED_STEPS, 6)
        findings = findings.adding(
            segmented=Segmented(
                adc_source=adc.source,
                adc_reason=adc.reason,
                adc_detail=adc.detail,
                threshold=threshold,
                largest_probability=float(probability.max()),
            )
        )
        files[f"{case.case.prefix}_label-lesion_probseg.nii.gz"] = nifti_bytes(
            stored, affine, fields={"scl_slope": 1 / STORED_STEPS, "scl_inter": 0.0}
        )
        return found_lesion(case, scan, mask, findings, files)


METHOD = Method(DwiUnetSource, cpu_limit_s=600.0, memory_mib=2500, wants_gpu=True)
