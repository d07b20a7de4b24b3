"""A perfusion series and the patient's CT in one space, through the series' baseline: it is a CT of the same head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohorts.images.nifti import nifti_bytes
from cohorts.images.scan import ScanImage
from cohorts.images.transforms import transform_files
from flows.cases.native_scan import PreparedScan
from tasks.registration.rigid import RigidFit, align, displacement_mm, limited_scan, limits_of, prepare_reference
from tasks.space.resample import Grid, resample_image, resample_labels

#: By which the rigid alignment may move from where both registrations to the template put the CT: each is within 1 mm
#: on the phantom, and a stretch that one has and the other lacks adds a few; beyond, one of the two is wrong.
LARGEST_CORRECTION_MM = 15.0


@dataclass(frozen=True, eq=False)
class SameSpace:
    """The CT as the series' grid shows it, and the rigid transform.

    Attributes
    ----------
    ct : PreparedScan of the CT
    series_to_ct : (4, 4) float array, world of the series -> world of the CT, RAS, mm
    space : what the CT's space is called: its modality
    values : (X, Y, Z) float32 array, the CT on the series' grid, HU
    misfit, correction_mm : what is left after the alignment, and how far it moved the skull from its start
    """

    ct: PreparedScan
    space: str
    series_to_ct: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    misfit: float
    correction_mm: float


def same_space(series: PreparedScan, ct: PreparedScan, space: str) -> SameSpace | None:
    """Align the skulls, beginning where both registrations agree; None where that fails.

    Parameters
    ----------
    series : the baseline of the series, registered
    ct : the CT, registered
    space : what its space is called: its modality
    """
    baseline = series.image
    limits = limits_of(baseline.values, baseline.affine)
    reference = prepare_reference(limited_scan(baseline.values, baseline.affine, limits), limits)
    start = _rigid_part(ct.registration.matrix @ series.registration.moving_to_fixed, reference.points.mean(axis=0))
    fit: RigidFit = align(reference, limited_scan(ct.image.values, ct.image.affine, limits), start)
    correction = displacement_mm(reference.points, fit.matrix, start)
    if not np.isfinite(fit.misfit) or correction > LARGEST_CORRECTION_MM:
        return None
    values = resample_image(
        ct.image.values, ct.image.affine, Grid(series.shape, baseline.affine), fit.matrix, outside=-1000.0
    )
    return SameSpace(ct, space, fit.matrix, values, float(fit.misfit), correction)


def same_space_files(prefix: str, found: SameSpace, core: npt.NDArray[np.bool_], image: ScanImage) -> dict[str, bytes]:
    """The transform, and the core on the CT's grid.

    Parameters
    ----------
    prefix : of the step's files
    found : SameSpace
    core : (X, Y, Z) bool array on the series' grid
    image : whose grid that is
    """
    to_series = np.asarray(np.linalg.inv(found.series_to_ct), dtype=np.float64)
    facts = {"Type": "rigid", "Misfit": found.misfit, "CorrectionOfStart": found.correction_mm}
    files = transform_files(prefix, found.space, to_series, facts)
    on_ct = resample_labels(core, image.affine, Grid(found.ct.shape, found.ct.image.affine), to_series)
    files[f"{prefix}_space-{found.space}_label-core_mask.nii.gz"] = nifti_bytes(
        on_ct.astype(np.uint8), found.ct.image.affine
    )
    return files


def _rigid_part(matrix: npt.NDArray[np.float64], point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rotation nearest to an affine, with a shift that carries ``point`` where the affine does."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    rigid[:3, 3] = (matrix @ [*point, 1.0])[:3] - rigid[:3, :3] @ point
    return rigid
