"""The pairs of patches of one synthetic patient's CT, cut as a source cuts a scan's: what DA-Net learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cohorts.images.nifti import ImageProblemError
from flows.cases.case import MapReference
from flows.cases.region_pairs import can_be_scored, region_pairs
from flows.training.describing import infarct_shares, read_pooled, registered
from models.anatomy.template import load_label_map
from models.training.asymmetry import keep_pairs
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES
from tasks.density.pairs import PatchRecipe
from tasks.scoring import MOST_FLUID

LABEL_MAP = "classic"


def pair_patient(path: Path, recipe: PatchRecipe, kept: Path) -> Path:
    """Cut the pairs of a pooled patient and keep them with their truth; one that is kept already is left alone."""
    if kept.is_file():
        return kept
    label_map = load_label_map(LABEL_MAP)
    patient = read_pooled(path, "ncct", LABEL_MAP)
    index_of = {(label.side, label.region): label.index for label in label_map.table.labels}
    indices = [index_of[side, region] for region in ASPECTS_REGIONS for side in HEMISPHERES]
    shares = np.array(infarct_shares(patient.classes, patient.regions, indices)).reshape(-1, 2)
    patches, is_usable, reason = None, np.zeros(shares.shape, bool), ""
    try:
        scan = registered(patient.image, path.stem, "ncct")
        reason = scan.registration.reason or ""
        if scan.registration.is_usable:
            reference = MapReference(LABEL_MAP, label_map.sha256)
            patches = region_pairs(scan, reference, recipe)
            is_usable = can_be_scored(scan, reference, MOST_FLUID)
    except ImageProblemError as error:
        reason = error.reason
    keep_pairs(kept, patches, is_usable, shares, reason)
    return kept
