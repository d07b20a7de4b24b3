"""What was drawn on a scan, a lesion or regions, brought to its voxels, and whether it is of this scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cohorts.images.mask import LesionMask
from cohorts.images.nifti import ImageProblemError
from cohorts.images.scan import ScanImage
from flows.cases.native_scan import PreparedScan
from tasks.arrays import Element, Mask
from tasks.space.axis_order import axis_order, in_axis_order
from tasks.space.resample import Grid

#: What has less than this share within this distance of the scan's brain was drawn on another scan.
LEAST_SHARE_IN_BRAIN = 0.5
BRAIN_MARGIN_MM = 5.0
NO_SCAN = (
    "mask must have the scan on which it was drawn, got none of modality {!r} that can be used. List it in scans.tsv, "
    "mend what is said of its row, or name its modality as scan in the source."
)


def on_voxels_of(
    scan: ScanImage, values: npt.NDArray[Element], grid: Grid, *, reason: str, what: str, scan_name: str
) -> npt.NDArray[Element]:
    """Values in the order of a scan's file, without interpolating.

    Parameters
    ----------
    scan : ScanImage
    values : (X, Y, Z) array in the order of their own file
    grid : of the values
    reason, what, scan_name : for the message

    Returns
    -------
    (X, Y, Z) array of the scan's shape

    Raises
    ------
    ImageProblemError
        ``reason``: the values have other voxels than the scan.
    """
    way = axis_order(grid, scan.grid)
    if not way.is_same_grid:
        wanted, found = _in_words(scan.grid), _in_words(grid)
        apart = f", and lie up to {way.largest_distance:.2g} voxels apart" if way.has_same_shape else ""
        got = f"{found if found != wanted else 'as many'}{apart}"
        raise ImageProblemError(
            reason,
            f"{what} must have the voxels of {scan_name}, {wanted}, got {got}. Save "
            "it with the grid of this scan, or resample it to the scan by nearest neighbour.",
        )
    return np.ascontiguousarray(in_axis_order(values, way))


def lesion_on(scan: ScanImage, mask: LesionMask, name: str, scan_name: str) -> Mask:
    """A lesion mask in the order of its scan's file, (X, Y, Z).

    Raises
    ------
    ImageProblemError
        ``mask_not_on_scan``: it has other voxels than the scan.
    """
    return on_voxels_of(scan, mask.filled, mask, reason="mask_not_on_scan", what=name, scan_name=scan_name)


def outside_of_brain(lesion: Mask, scan: PreparedScan, name: str) -> str:
    """Why a lesion was not drawn on a scan; empty where it lies in the brain.

    Parameters
    ----------
    lesion : (X, Y, Z) bool array on the scan
    scan : PreparedScan
    name : of the scan's file
    """
    if (share := share_in_brain(lesion, scan)) >= LEAST_SHARE_IN_BRAIN:
        return ""
    return (
        f"mask must lie in the brain of {name}, got {share:.0%} of the lesion within {BRAIN_MARGIN_MM:g} mm of it. It "
        "belongs to another scan, or its voxels are stored in another order than its header says: draw or export it "
        "on this scan again."
    )


def share_in_brain(drawn: Mask, scan: PreparedScan) -> float:
    """Share of what was drawn that lies in the brain of the scan or near to it; 1 of nothing."""
    if not drawn.any():
        return 1.0
    distance = ndimage.distance_transform_edt(~scan.brain_mask, sampling=scan.image.spacing_mm)
    return float((distance[drawn] <= BRAIN_MARGIN_MM).mean())


def _in_words(grid: Grid) -> str:
    """Shape, spacing and axes of a grid."""
    spacing = " x ".join(f"{size:.4g}" for size in grid.spacing_mm)
    return f"{'x'.join(map(str, grid.shape))} of {spacing} mm ({grid.orientation})"
