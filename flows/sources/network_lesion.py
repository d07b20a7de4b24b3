"""What every source shares that draws a lesion by a trained network: its weights, and the map of its probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cohorts.folder.source import LesionSource, OnScanSource
from cohorts.images.nifti import nifti_bytes
from flows.cases.case import OpenCase
from models.weights import has_patient_images
from tasks.arrays import Affine, Float32Array, Mask
from tasks.overlay import STORED_STEPS


class NetworkLesionSource(OnScanSource, LesionSource):
    """A lesion that a trained network draws on a scan."""

    trained_for: ClassVar[str]  # the method of its weights

    network: str
    threshold: float = Field(0.5, gt=0, lt=1, description="Least probability of a voxel of the lesion")
    flip: bool = Field(True, description="Also ask the network about the mirror image, and take the mean")

    @property
    def weights(self) -> Mapping[str, str]:
        """One network for the lesion, and perhaps one for the regions."""
        return {self.network: self.trained_for, **super().weights}

    @property
    def learned_from(self) -> str:
        """What stands behind the network, in words."""
        return "trained on patients' scans" if has_patient_images(self.network) else "trained on synthetic patients"


def stored_steps(probability: Float32Array) -> npt.NDArray[np.uint8]:
    """A map of probabilities as it is stored, in steps of ``STORED_STEPS``."""
    return np.rint(probability * STORED_STEPS).astype(np.uint8)


def lesion_at(stored: npt.NDArray[np.uint8], threshold: float) -> Mask:
    """Voxels of at least a probability."""
    return np.asarray(stored >= round(threshold * STORED_STEPS, 6))


def probability_file(case: OpenCase, stored: npt.NDArray[np.uint8], affine: Affine) -> dict[str, bytes]:
    """The map as a file beside the lesion's; a reader of NIfTI sees probabilities."""
    content = nifti_bytes(stored, affine, fields={"scl_slope": 1 / STORED_STEPS, "scl_inter": 0.0})
    return {f"{case.case.prefix}_label-lesion_probseg.nii.gz": content}
