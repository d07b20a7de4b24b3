"""The regions of every label map on a scan, kept as a label image: what was counted is what can be shown elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cohorts.images.nifti import nifti_bytes
from cohorts.tables.storage import tsv_text
from flows.cases.case import MapReference
from flows.cases.label_maps import VASCULAR_MAP
from flows.cases.native_scan import PreparedScan

MAP_CHARACTERS = 8  # of a label map's digest, as in the names of pictures


def regions_stem(prefix: str, map_sha256: str) -> str:
    """Name, without suffix, of the regions of a label map (BIDS: a segmentation named by its atlas)."""
    return f"{prefix}_seg-{map_sha256[:MAP_CHARACTERS]}_dseg"


def region_files(prefix: str, scan: PreparedScan, references: Sequence[MapReference]) -> dict[str, bytes]:
    """Label images on the scan's voxels, with the table of their labels.

    Parameters
    ----------
    prefix : of the step's files
    scan : registered
    references : label maps; vascular territories are left out
    """
    files = {}
    for reference in references:
        if reference.location == VASCULAR_MAP:
            continue
        label_map, on_grid = scan.labels(reference)
        kind = np.min_scalar_type(label_map.table.labels[-1].index)
        stem = regions_stem(prefix, reference.sha256)
        rows = [{"index": one.index, "name": one.name} for one in label_map.table.labels]
        files[f"{stem}.nii.gz"] = nifti_bytes(on_grid.labels.astype(kind), scan.image.affine)
        files[f"{stem}.tsv"] = tsv_text(rows).encode()
    return files
