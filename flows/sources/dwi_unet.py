"""``dwi_unet``: the lesion on diffusion MR by a 3D U-Net; the weights that ship know synthetic patients alone.

The system of paper 4 (Wei et al., Brain Communications fcag053): lesion, registered regions, the rule ``wei``, volume.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from cohorts.folder.source import ImageName, LesionSource, OnScanSource
from cohorts.images.nifti import nifti_bytes
from cohorts.store.findings import Findings, Found
from flows.sources.dwi_input import dwi_input
from flows.sources.interface import Method, OpenCase, Outcome
from flows.sources.native_scan import begun, drawn, facts, native_counts, prepared, refused
from models.inference import loaded, probabilities
from models.weights import find_weights, has_patient_images
from tasks.lesion import measure_lesion
from tasks.segmentation import CLASSES, INFARCT, N_DWI_CHANNELS
from tasks.space.network_grid import to_scan

PRESET = "small"
#: A probability is stored as a whole number of two hundredths: finer than its own scatter, and a byte a voxel.
STORED_STEPS = 200


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


class DwiUnetSource(OnScanSource, LesionSource):
    """The lesion on diffusion MR by a 3D U-Net, with ADC, with an ADC computed from b = 0, or from b-high alone."""

    about: ClassVar[str] = "the lesion on diffusion MR by a trained 3D U-Net"
    findings: ClassVar[type[Findings]] = SegmentedFindings

    kind: Literal["dwi_unet"]
    modality: str = Field("dwi", description="Which rows of scans.tsv hold the image of b >= 800 s/mm2")
    adc: str = Field("adc", description="Which rows hold the ADC, where there is one")
    b0: str = Field("dwi-b0", description="Which rows hold the image of b = 0, from which a missing ADC is computed")
    b_value_s_mm2: float = Field(1000, gt=0, le=5000, description="b-value of the first, used where ADC is computed")
    network: str = Field("dwi-unet", description="Name of the trained weights")
    threshold: float = Field(0.5, gt=0, lt=1, description="Least probability of a voxel of the lesion")
    flip: bool = Field(True, description="Also ask the network about the mirror image, and take the mean")

    @property
    def scans(self) -> tuple[str, ...]:
        """The image of high b-value, then ADC and b = 0."""
        return (self.modality, self.adc, self.b0)

    @property
    def weights(self) -> tuple[str, ...]:
        """One network for the lesion, and perhaps one for the regions."""
        return (self.network, *super().weights)

    @property
    def stem(self) -> str:
        """The lesion on one modality."""
        return f"unet-{self.modality}"

    @property
    def image_kind(self) -> ImageName:
        """Diffusion MR."""
        return "dwi"

    @property
    def phrase(self) -> str:
        """What is taken for the lesion, and what the network learned from."""
        behind = "trained on patients' scans" if has_patient_images(self.network) else "trained on synthetic patients"
        return (
            f"a 3D U-Net ({self.network}, {behind}) on {self.modality} and {self.adc}, voxels of "
            f"probability {self.threshold:g} and more"
        )

    def measure(self, case: OpenCase) -> Outcome:
        """The lesion on diffusion MR, counted in every label map on the scan's own grid."""
        kinds = {self.adc: "adc", self.b0: "dwi-b0"}
        images = {
            file.modality: case.image(file, kinds.get(file.modality, "dwi"), self.forms) for file in case.case.files
        }
        scan = prepared(case, case.first, self.image_kind, self.forms, self.registration)
        image, brain = scan.image, scan.brain_mask
        findings, files = begun(case, scan, SegmentedFindings)
        others = {modality: facts(one) for modality, one in images.items() if modality != case.first.modality}
        findings = findings.adding(scans=others)
        if not scan.registration.is_usable:
            return refused(case, scan, findings, files)
        given = dwi_input(scan, images.get(self.adc), images.get(self.b0), self.b_value_s_mm2)
        adc = given.found
        network = loaded(find_weights(self.network), PRESET, N_DWI_CHANNELS, len(CLASSES))
        on_grid = probabilities(network, given.channels, flip=self.flip)[INFARCT]
        probability = to_scan(on_grid, given.grid, scan.shape, image.affine) * brain
        stored = np.rint(probability * STORED_STEPS).astype(np.uint8)
        mask = stored >= self.threshold * STORED_STEPS
        findings = findings.adding(
            segmented=Segmented(
                adc_source=adc.source,
                adc_reason=adc.reason,
                adc_detail=adc.detail,
                threshold=self.threshold,
                largest_probability=float(probability.max()),
            )
        )
        indices = np.flatnonzero(mask.reshape(-1, order="F"))
        lesion = measure_lesion(indices, scan.shape, image.affine, scan.registration.moving_to_fixed)
        counts = native_counts(scan, case.maps, {"n_lesion": mask})
        files |= drawn(case, scan, mask, lesion)
        prefix = case.case.prefix
        files[f"{prefix}_label-lesion_mask.nii.gz"] = nifti_bytes(mask.astype(np.uint8), image.affine)
        files[f"{prefix}_label-lesion_probseg.nii.gz"] = nifti_bytes(
            stored, image.affine, fields={"scl_slope": 1 / STORED_STEPS, "scl_inter": 0.0}
        )
        return Outcome("ok", findings=findings.adding(lesion=lesion, counts=counts), files=files)


METHOD = Method(DwiUnetSource, cpu_limit_s=600.0, memory_mib=2500, wants_gpu=True)
