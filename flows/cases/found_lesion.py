"""What follows once a lesion is found on a scan in native space: it is measured, counted, drawn and kept."""

from __future__ import annotations

import numpy as np

from cohorts.images.nifti import nifti_bytes
from cohorts.store.findings import Findings
from flows.cases.case import OpenCase, Outcome
from flows.cases.native_scan import PreparedScan, drawn, native_counts
from flows.cases.region_files import region_files
from tasks.arrays import Mask
from tasks.lesion import measure_lesion


def found_lesion(
    case: OpenCase, scan: PreparedScan, lesion: Mask, findings: Findings, files: dict[str, bytes]
) -> Outcome:
    """The outcome of a case whose lesion was found: measures, counts in every label map, picture, mask, regions.

    Parameters
    ----------
    case : OpenCase
    scan : on which it lies, registered
    lesion : (X, Y, Z) bool array, in the order of the scan's file
    findings, files : what is known and written so far
    """
    affine = scan.image.affine
    indices = np.flatnonzero(lesion.reshape(-1, order="F"))
    measures = measure_lesion(indices, scan.shape, affine, scan.registration.moving_to_fixed)
    counts = native_counts(scan, case.maps, {"n_lesion": lesion})
    mask = nifti_bytes(lesion.astype(np.uint8), affine)
    files = files | region_files(case.case.prefix, scan, case.maps)
    files |= drawn(case, scan, lesion, measures) | {f"{case.case.prefix}_label-lesion_mask.nii.gz": mask}
    return Outcome("ok", findings=findings.adding(lesion=measures, counts=counts), files=files)
