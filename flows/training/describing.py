"""The regions of one synthetic patient's CT described as a source describes a scan's: what a classifier learns from.

Brain, registration and regions are found on the image as in a run, so that a classifier learns from regions that lie
where a run puts them, errors and all. What is true is taken from the patient: the share of each true region that is
infarct.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohorts.folder.source import CONTRASTS, ImageName
from cohorts.images.nifti import ImageProblemError, nifti_bytes
from cohorts.images.scan import read_scan
from cohorts.store.records import write_bytes
from flows.cases.case import MapReference
from flows.cases.described_regions import described_regions
from flows.cases.native_scan import PreparedScan, prepare, refined
from models.anatomy.template import load_label_map
from tasks.arrays import AnyArray, Float32Array
from tasks.radiomics.features import LEARNED
from tasks.segmentation import INFARCT, STEP_MM

#: Of a pool's grid, RAS.
AFFINE = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
#: Names of the images in a pool.
POOLED: dict[ImageName, str] = {"ncct": "ct", "cta": "cta"}


@dataclass(frozen=True)
class Description:
    """What is described of every patient.

    Attributes
    ----------
    image : ``ncct`` or ``cta``
    label_map : name of the packaged map whose regions are described
    """

    image: ImageName
    label_map: str


@dataclass(frozen=True, eq=False)
class Pooled:
    """What is read of a pooled patient.

    Attributes
    ----------
    image : (X, Y, Z) float32 array, HU, on the grid of ``AFFINE``
    classes, regions : (X, Y, Z) uint8 arrays, of ``tasks.segmentation.CLASSES`` and of a label map
    facts : of the patient
    """

    image: Float32Array
    classes: AnyArray
    regions: AnyArray
    facts: Mapping[str, Any]


def read_pooled(path: Path, image: ImageName, label_map: str) -> Pooled:
    """One image of a pooled patient, with what is true of it."""
    with np.load(path, allow_pickle=False) as patient:
        values = patient[POOLED[image]].astype(np.float32)
        return Pooled(values, patient["classes"], patient[label_map], json.loads(str(patient["facts"])))


def registered(values: Float32Array, name: str, image: ImageName) -> PreparedScan:
    """The image of a pooled patient, read, masked and registered as a run does it.

    Raises
    ------
    ImageProblemError
        It cannot be used.
    """
    own = read_scan(nifti_bytes(values, AFFINE), f"{name}.nii.gz", image, forms="sform")
    return refined(prepare(own, CONTRASTS[image]))


def describe_patient(path: Path, how: Description, kept: Path) -> Path:
    """Describe a pooled patient and keep it as JSON; one that is kept already is left alone.

    Kept are ``reason`` (why there is nothing, else empty), ``rows`` (a ``DescribedRegion`` for each label), ``shares``
    (of each true region that is infarct, in the same order) and ``facts`` of the patient.
    """
    if kept.is_file():
        return kept
    label_map = load_label_map(how.label_map)
    patient = read_pooled(path, how.image, how.label_map)
    indices = [label.index for label in label_map.table.labels]
    reason, rows = "", []
    try:
        scan = registered(patient.image, path.stem, how.image)
        reason = scan.registration.reason or ""
        if scan.registration.is_usable:
            reference = MapReference(how.label_map, label_map.sha256)
            rows = [one.model_dump() for one in described_regions(scan, reference, LEARNED, "cubes")]
    except ImageProblemError as error:
        reason = error.reason
    shares = infarct_shares(patient.classes, patient.regions, indices)
    content = {"reason": reason, "rows": rows, "shares": shares, "facts": patient.facts}
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(kept, json.dumps(content).encode())
    return kept


def infarct_shares(classes: np.ndarray, regions: np.ndarray, indices: Sequence[int]) -> list[float]:
    """Share of each region that is infarct; 0 of one that is not there.

    Parameters
    ----------
    classes : (X, Y, Z) uint8 array of ``tasks.segmentation.CLASSES``
    regions : (X, Y, Z) uint8 array
    indices : labels of the regions

    >>> infarct_shares(np.array([[[5, 2, 2, 5]]]), np.array([[[1, 1, 2, 0]]]), (1, 2, 3))
    [0.5, 0.0, 0.0]
    """
    size = max(indices) + 1
    whole = np.bincount(regions.ravel(), minlength=size)
    infarct = np.bincount(regions[classes == INFARCT], minlength=size)
    return [float(infarct[index] / max(1, whole[index])) for index in indices]
