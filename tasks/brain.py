"""Brain extraction: the space inside the skull on CT, the brain on diffusion MR, by threshold and morphology.

CT follows the steps of Tao et al. (CTA and radiomics, J X-Ray Sci Technol 2024;32:17-30, section 2): opening, closing,
connected component, on the working grid (``tasks.space.working_grid``). A voxel also has to be enclosed by bone, which
parts brain from neck and face; a scan without skull (stripped before) has no bone and skips that rule. HU below 0 count
as 0, so that a scan stored with its negatives and one clipped at 0 give the same mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.arrays import Mask
from tasks.space.boxes import occupied
from tasks.space.working_grid import WorkingScan, to_working_grid

CT_LIMITS_HU = (0.0, 1500.0)  # air and fat as 0; above is metal
BONE_HU = (
    140.0  # block mean: above any blood clot (at most about 100 HU), below thin bone averaged with its soft tissue
)
DENSE_BONE_HU = 600.0  # block mean: above any vessel with contrast agent in it (at most about 500 HU)
BLOCK_TISSUE_HU = (3.0, 100.0)  # block mean, from cerebrospinal fluid to clotted blood
SKULL_ML = 50.0  # bone of a head scan is several hundred ml; calcifications of a stripped scan are a few
ENCLOSED_SIDES = 3  # of the four in-plane directions: one may be open (craniectomy, field of view)
OPENING_MM = 3.6  # parts the brain from orbit, scalp and nerve canals
CLOSING_MM = 7.0  # bridges sulci and the ventricles' narrow parts
MR_OPENING_MM = 5.0  # scalp and neck touch the brain more closely where no dark bone parts them
MR_THRESHOLD_SHARE = 0.8  # of Otsu's threshold, which parts bright tissue from all else: keeps the darker tissue
STRIPPED_ZERO_SHARE = 0.4  # of the voxels: a head fills more than half of its field of view, and noise is not 0
STRIPPED_THRESHOLD_SHARE = 0.25  # of Otsu's threshold where all that is left is brain: keeps dark fluid

#: Volumes outside which a mask is no whole brain, ml: intracranial volume of adults is 1,000 to 2,000 ml; a scan of the
#: upper half alone still has about half of it.
VOLUME_LIMITS_ML = (500.0, 2300.0)
#: Share of the brain's cross-section on a side face of the scan above which the brain goes on outside: a whole head
#: that only touches the edge stays below it, and a quarter of the brain lost at one side lies far above.
MAXIMUM_SIDE_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Brain:
    """A brain mask on the working grid and what it measures.

    Attributes
    ----------
    mask : (X, Y, Z) bool array on the working grid
    volume_ml : float
    has_skull : bool
        Whether bone surrounds the brain; always False on MR.
    open_share : float in [0, 1]
        Share of the mask's voxels on the first or last slice, relative to its largest slice: near 1 where the scan cuts
        through the middle of the brain, 0 where the brain ends inside the scan.
    side_share : float in [0, 1]
        The same for the four side faces: the brain goes on outside the field of view where it is large.
    reason : str
        Empty, or why the mask is no whole brain: ``no_brain_found``, ``brain_too_small``, ``brain_too_large``,
        ``brain_cut_at_side``.
    detail : str
        The reason with its measured value, the rule and the remedy; empty without a reason.
    """

    mask: Mask
    volume_ml: float
    has_skull: bool
    open_share: float
    side_share: float
    reason: str
    detail: str


def extract_ct_brain(scan: WorkingScan, *, is_enhanced: bool = False) -> Brain:
    """The space inside the skull on CT, plain or with contrast agent.

    Parameters
    ----------
    scan : WorkingScan
        HU, limited to ``CT_LIMITS_HU`` or clipped at 0 before; from ``ct_working_scan``.
    is_enhanced : bool
        Whether the vessels are bright (CT angiography). What is as bright as thin bone then leaves the mask only beside
        dense bone; vessels inside the brain stay, and of a sinus on the bone the part that the closing reaches.

    References
    ----------
    Tao et al., J X-Ray Sci Technol 2024;32:17-30, doi 10.3233/XST-230119 (order of the steps; sizes are chosen here).
    """
    values = np.moveaxis(scan.values, scan.slice_axis, 0)
    spacing = scan.spacing_mm[[scan.slice_axis, *(axis for axis in range(3) if axis != scan.slice_axis)]]
    bone = values > BONE_HU
    dense = values > DENSE_BONE_HU if is_enhanced else bone
    has_skull = float(dense.sum() * np.prod(spacing)) / 1000 > SKULL_ML
    tissue = (values > BLOCK_TISSUE_HU[0]) & (values < BLOCK_TISSUE_HU[1])
    if has_skull:
        tissue &= ~_grown_by_disk(bone, 1.0, np.ones(2))
        tissue &= _enclosing_sides(bone) >= ENCLOSED_SIDES
    mask = _largest_part(tissue, spacing, OPENING_MM)
    if has_skull:
        mask &= ~(bone & _grown_by_disk(dense, 1.0, np.ones(2))) if is_enhanced else ~bone
    return _measured(mask, scan, has_skull)


def extract_mr_brain(scan: WorkingScan) -> Brain:
    """The brain on diffusion MR (b0 or trace), with or without skull.

    Parameters
    ----------
    scan : WorkingScan
        Any unit, background near 0; from ``mr_working_scan``.
    """
    values = np.moveaxis(scan.values, scan.slice_axis, 0)
    spacing = scan.spacing_mm[[scan.slice_axis, *(axis for axis in range(3) if axis != scan.slice_axis)]]
    positive = values[values > 0]
    if not len(positive):
        return _measured(np.zeros(values.shape, dtype=bool), scan, False)
    is_stripped = 1 - len(positive) / values.size > STRIPPED_ZERO_SHARE
    limited = np.minimum(positive, np.percentile(positive, 99))
    parting = _otsu(limited)
    if (limited > parting).sum() * np.prod(spacing) / 1000 < VOLUME_LIMITS_ML[0]:
        parting = _otsu(np.minimum(limited, parting))  # what was parted from all else is a large bright infarct
    threshold = (STRIPPED_THRESHOLD_SHARE if is_stripped else MR_THRESHOLD_SHARE) * parting
    smoothed = values if is_stripped else ndimage.uniform_filter(values, (1, 3, 3))
    mask = _largest_part(smoothed > threshold, spacing, OPENING_MM if is_stripped else MR_OPENING_MM)
    return _measured(mask, scan, False)


def ct_working_scan(image: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> WorkingScan:
    """A CT on its working grid, HU, limited to ``CT_LIMITS_HU``."""
    return to_working_grid(image, affine, CT_LIMITS_HU)


def mr_working_scan(image: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> WorkingScan:
    """An MR scan on its working grid, in its own unit; negative values, which filters leave behind, count as 0."""
    return to_working_grid(image, affine, (0.0, float(np.finfo(np.float32).max)))


def _largest_part(tissue: Mask, spacing: npt.NDArray[np.float64], opening_mm: float) -> Mask:
    """Open, keep the largest 3-D component, grow it back within the tissue, close and fill slice by slice."""
    reach = np.floor(opening_mm / spacing + 1e-9).astype(int)
    opened = tissue
    for axis in range(3):
        opened = ~_widened(~opened, int(reach[axis]), axis, outside=True)
    components, n_components = ndimage.label(opened)
    if not n_components:
        return np.zeros(tissue.shape, dtype=bool)
    core = components == np.bincount(components.ravel())[1:].argmax() + 1
    pad = [int(np.ceil((opening_mm + CLOSING_MM) / size)) + 1 for size in spacing]
    box = tuple(
        slice(max(0, int(one[0]) - margin), int(one[-1]) + 1 + margin)
        for one, margin in zip(occupied(core), (1, *pad[1:]), strict=True)
    )
    part = core[box]
    for axis, size in enumerate(np.floor((opening_mm + spacing[1]) / spacing + 1e-9).astype(int)):
        part = _widened(part, int(size), axis)
    part = np.pad(part & tissue[box], [(0, 0), *((size, size) for size in pad[1:])])
    closed = ~_grown_by_disk(~_grown_by_disk(part, CLOSING_MM, spacing[1:]), CLOSING_MM, spacing[1:])
    mask = np.zeros(tissue.shape, dtype=bool)
    mask[box] = _filled(closed)[:, pad[1] : -pad[1], pad[2] : -pad[2]]
    return mask


def _widened(mask: Mask, reach: int, axis: int, *, outside: bool = False) -> Mask:
    """Dilation along one axis by ``reach`` voxels either way; a few passes over bits, whatever the reach."""
    if not reach:
        return mask
    size = mask.shape[axis]
    padded = np.pad(mask, [(reach, reach) if one == axis else (0, 0) for one in range(3)], constant_values=outside)
    window = [padded[(slice(None),) * axis + (slice(offset, offset + size),)] for offset in range(2 * reach + 1)]
    widened = window[0] | window[1]
    for one in window[2:]:
        widened |= one
    return np.asarray(widened)


def _grown_by_disk(mask: Mask, radius_mm: float, spacing_mm: npt.NDArray[np.float64]) -> Mask:
    """Dilation of every slice by a disk: row by row of the disk, each a widening along the last axis."""
    grown = np.zeros(mask.shape, dtype=bool)
    n_rows = int(np.floor(radius_mm / spacing_mm[0] + 1e-9))
    for offset in range(-n_rows, n_rows + 1):
        half = np.sqrt(max(0.0, radius_mm**2 - (offset * spacing_mm[0]) ** 2))
        widened = _widened(mask, int(np.floor(half / spacing_mm[1] + 1e-9)), 2)
        low, high = max(0, offset), mask.shape[1] + min(0, offset)
        grown[:, low:high] |= widened[:, low - offset : high - offset]
    return grown


def _filled(mask: Mask) -> Mask:
    """Fill what every slice encloses; the mask must leave a voxel free on all sides of a slice."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    parts, _ = ndimage.label(~mask, in_plane)
    return np.asarray(parts != parts[:, :1, :1])


def _measured(mask: Mask, scan: WorkingScan, has_skull: bool) -> Brain:
    """Put the slices back on their axis and measure."""
    volume_ml = float(mask.sum() * np.prod(scan.spacing_mm)) / 1000
    end_shares = [_face_share(mask, axis) for axis in range(3)]
    side_share = max(end_shares[1:])
    low, high = VOLUME_LIMITS_ML
    volume_rule = f"brain volume must be {low:g} to {high:g} ml, got {volume_ml:.0f} ml."
    reason, detail = "", ""
    if not mask.any():
        reason = "no_brain_found"
        detail = f"{volume_rule} Check that the scan is a head and its values are in the declared unit."
    elif volume_ml < low:
        reason, detail = "brain_too_small", f"{volume_rule} Check the field of view and the voxel size."
    elif volume_ml > high:
        reason, detail = "brain_too_large", f"{volume_rule} Check the voxel size and that the scan is a head."
    elif side_share > MAXIMUM_SIDE_SHARE:
        reason = "brain_cut_at_side"
        detail = (
            f"side_share must be <= {MAXIMUM_SIDE_SHARE:g} of the brain's cross-section, got {side_share:.2f}. "
            "Take a scan of the whole head."
        )
    on_axis = np.ascontiguousarray(np.moveaxis(mask, 0, scan.slice_axis))
    return Brain(on_axis, volume_ml, has_skull, end_shares[0], side_share, reason, detail)


def _face_share(mask: Mask, axis: int) -> float:
    """The mask's area on the first or last layer of an axis, relative to its largest layer."""
    areas = mask.sum(axis=tuple(one for one in range(3) if one != axis))
    return float(max(areas[0], areas[-1]) / max(1, areas.max()))


def _enclosing_sides(bone: Mask) -> npt.NDArray[np.int8]:
    """In how many of the four in-plane directions bone lies."""
    sides = np.zeros(bone.shape, dtype=np.int8)
    for axis in (1, 2):
        sides += np.logical_or.accumulate(bone, axis=axis)
        sides += np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis)
    return sides


def _otsu(values: npt.NDArray[np.float32]) -> float:
    """The threshold that maximises the variance between two classes (Otsu, IEEE Trans SMC 1979;9:62-66)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    total = np.cumsum(counts * centres)
    difference = total[:-1] / np.maximum(below, 1) - (total[-1] - total[:-1]) / np.maximum(above, 1)
    return float(edges[1 + np.argmax(below * above * difference**2)])
