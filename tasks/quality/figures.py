"""Quality figures of a scan: what of the brain is in view, how it was registered, noise, streaks, contrast agent.

Figures are numbers and are stored; whether a figure excludes a scan is decided later, from the stored numbers
(``tasks.quality.gates``). A figure that does not apply (HU on MR) or cannot be measured is null. World coordinates are
RAS, mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tasks.anatomy import ASPECTS_REGIONS, LabelTable
from tasks.arrays import Affine, Float32Array, Mask
from tasks.brain import Brain
from tasks.modality import MR_CONTRASTS, ScanContrast
from tasks.quality.noise import brain_noise, filled, interior
from tasks.registration.affine import Registration
from tasks.space.affines import voxel_sizes_mm
from tasks.space.working_grid import WorkingScan

SUPRAGANGLIONIC_REGIONS = ("m4", "m5", "m6")  # Barber et al., Lancet 2000;355:1670-1674
GANGLIONIC_REGIONS = tuple(region for region in ASPECTS_REGIONS if region not in SUPRAGANGLIONIC_REGIONS)
COVERAGE_STEP = 2  # every second voxel of the 1 mm label map: the smallest region still has some 600 points
METAL_HU = 3000.0  # denser than cortical bone (up to about 2,000 HU); 12-bit scanners end at 3,071
BONELESS_FLOOR_MM = 0.0  # of the template: above the commissures the space inside the skull holds no bone,
CREST_MM = 10.0  # but for the frontal and occipital crests, and calcified falx, within about this of its outline
#: The densest 0.2 % of some 600 ml of brain above that plane are 1.2 ml: calcified pineal gland and plexus have less
#: (0.5 ml in the phantom), enhanced arteries and inner veins more.
CONTRAST_PERCENTILE = 99.8
#: Above the brain's median. Clotted blood reaches 90 HU, 56 above brain; enhanced arteries of 2 to 3 mm, averaged over
#: slices of 5 mm, measure 64 in the phantom, over 1 mm 91.
CONTRAST_HU = 60.0
MINIMUM_BRAIN_ML = 50.0  # of which contrast and asymmetry are measured: the densest 0.2 % of less are a few blocks
MIDLINE_MM = 10.0  # of the template: falx, ventricles and large veins on either side of the mid-plane
CORNER_SHARE = 0.1  # of the field of view along each edge: heads are round, and ghosts lie beside them, not across
MAXIMUM_ZERO_SHARE = 0.5  # of the corners: with more zeros the air was blanked by the scanner or a brain extraction
RAYLEIGH_MEDIAN = 1.1774  # of the magnitude of air, per standard deviation: the root of 2 ln 2


class Volume(Protocol):
    """A scan as read: ``cohorts.images.scan.ScanImage`` is one."""

    @property
    def values(self) -> Float32Array:
        """(X, Y, Z) float32 array, finite, HU or MR units."""

    @property
    def affine(self) -> Affine:
        """(4, 4) float array, voxel -> world, RAS, mm."""


class Atlas(Protocol):
    """A label map in template space: ``models.anatomy.template.LabelMap`` is one."""

    @property
    def labels(self) -> npt.NDArray[np.signedinteger[Any]]:
        """(X, Y, Z) integer array, 0 = no label."""

    @property
    def affine(self) -> Affine:
        """(4, 4) float array, voxel -> template world, RAS, mm."""

    @property
    def table(self) -> LabelTable:
        """The labels' names."""


@dataclass(frozen=True)
class ScanQuality:
    """Figures of one scan; null where a figure does not apply or could not be measured.

    Attributes
    ----------
    slice_step_mm : float
        Largest voxel size.
    n_slices : int
        Along the axis nearest to the vertical.
    tilt_deg, template_coverage, registration_dice, tissue_correlation, scale_min, scale_max : float
        As in ``Registration``.
    brain_volume_ml, brain_open_share, brain_side_share : float
        As in ``Brain``.
    ganglionic_coverage, supraganglionic_coverage : float in [0, 1]
        Share of the volume of the ASPECTS regions of that level, both sides together and as the template has them, that
        lies in the field of view; a slice of one value is not in view. Null for a label map of other regions.
    noise_hu, noise_share : float
        Noise inside the brain; HU on CT, share of the brain's median on MR.
    streak_hu : float
        Noise of the worst slice beyond that of the middle one; CT only. Below the commissures only inside the brain
        mask; smooth shading, as between the petrous bones, hardly counts.
    contrast_hu : float
        The brain's ``CONTRAST_PERCENTILE`` less its median, above the commissures and away from bone; CT only. About
        10 to 25 HU without contrast agent, up to 50 HU with a haemorrhage; bright streaks of metal raise it too.
    has_contrast : bool
        ``contrast_hu`` above ``CONTRAST_HU``.
    asymmetry_hu, asymmetry_share : float
        Median of the left hemisphere less that of the right; HU on CT, share of the brain's median on MR.
    clipped_share : float in [0, 1]
        Share of all voxels at the smallest value.
    saturated_share : float in [0, 1]
        Share of all voxels at ``METAL_HU`` or above; CT only.
    signal_to_noise : float
        The brain's median over the standard deviation of air in the corners; MR only, null where air was blanked.
    """

    slice_step_mm: float
    n_slices: int
    tilt_deg: float | None
    brain_volume_ml: float
    brain_open_share: float
    brain_side_share: float
    template_coverage: float | None
    registration_dice: float | None
    tissue_correlation: float | None
    scale_min: float | None
    scale_max: float | None
    ganglionic_coverage: float | None
    supraganglionic_coverage: float | None
    noise_hu: float | None
    noise_share: float | None
    streak_hu: float | None
    contrast_hu: float | None
    has_contrast: bool | None
    asymmetry_hu: float | None
    asymmetry_share: float | None
    clipped_share: float
    saturated_share: float | None
    signal_to_noise: float | None


def measure_quality(
    contrast: ScanContrast, image: Volume, scan: WorkingScan, brain: Brain, registration: Registration, atlas: Atlas
) -> ScanQuality:
    """All figures of one scan.

    Parameters
    ----------
    contrast : ``ct`` (without contrast agent), ``cta``, ``ctp`` (mean of the frames before contrast agent), ``dwi`` or
        ``b0``
    image : Volume
        The scan at its native voxels.
    scan, brain, registration
        Of the same scan; a refused brain or registration leaves nulls.
    atlas : Atlas
        The label map whose regions are to be in view.

    Raises
    ------
    ValueError
        The contrast is unknown, or image and working scan are not of one scan.
    """
    if contrast not in get_args(ScanContrast):
        names = ", ".join(get_args(ScanContrast))
        raise ValueError(f"contrast must be one of {names}, got {contrast!r}. Name one of them.")
    if image.values.shape != scan.native_shape:
        raise ValueError(f"image must be of shape {scan.native_shape}, got {image.values.shape}. Give the same scan.")
    is_ct = contrast not in MR_CONTRASTS
    inside = interior(brain.mask, scan)
    median = float(np.median(scan.values[inside])) if inside.any() else None
    noise = brain_noise(image.values, scan, _spoilt_too(inside, scan, brain, registration), is_ct=is_ct)
    ganglionic, supraganglionic = _level_coverage(scan, registration, atlas)
    contrast_hu = _contrast(scan, brain, registration) if is_ct else None
    asymmetry = _asymmetry(scan, inside, registration)
    return ScanQuality(
        slice_step_mm=float(voxel_sizes_mm(image.affine).max()),
        n_slices=scan.native_shape[scan.slice_axis],
        tilt_deg=registration.tilt_deg,
        brain_volume_ml=brain.volume_ml,
        brain_open_share=brain.open_share,
        brain_side_share=brain.side_share,
        template_coverage=registration.coverage,
        registration_dice=registration.brain_dice,
        tissue_correlation=registration.tissue_correlation,
        scale_min=registration.scale_min,
        scale_max=registration.scale_max,
        ganglionic_coverage=ganglionic,
        supraganglionic_coverage=supraganglionic,
        noise_hu=noise.typical if noise and is_ct else None,
        noise_share=_share(noise.typical, median) if noise and not is_ct else None,
        streak_hu=noise.streak if noise and is_ct else None,
        contrast_hu=contrast_hu,
        has_contrast=None if contrast_hu is None else contrast_hu > CONTRAST_HU,
        asymmetry_hu=asymmetry if is_ct else None,
        asymmetry_share=None if is_ct else _share(asymmetry, median),
        clipped_share=float((image.values == image.values.min()).mean()),
        saturated_share=float((image.values >= METAL_HU).mean()) if is_ct else None,
        signal_to_noise=None if is_ct else _share(median, _air_deviation(image.values, scan)),
    )


def _level_coverage(scan: WorkingScan, registration: Registration, atlas: Atlas) -> tuple[float | None, float | None]:
    """The ganglionic and the supraganglionic regions' share in view."""
    if registration.fixed_to_moving is None or not atlas.table.is_aspects:
        return None, None
    coarse = atlas.labels[::COVERAGE_STEP, ::COVERAGE_STEP, ::COVERAGE_STEP]
    voxels = np.argwhere(coarse)
    to_block = np.linalg.inv(scan.affine) @ registration.matrix @ atlas.affine @ np.diag([*[COVERAGE_STEP] * 3, 1])
    blocks = np.rint(voxels @ to_block[:3, :3].T + to_block[:3, 3]).astype(np.intp)
    in_view = np.all((blocks >= 0) & (blocks < scan.values.shape), axis=1)
    slices = np.moveaxis(scan.values, scan.slice_axis, 0).reshape(scan.values.shape[scan.slice_axis], -1)
    is_blank = slices.max(axis=1) == slices.min(axis=1)
    in_view &= ~is_blank[np.clip(blocks[:, scan.slice_axis], 0, len(is_blank) - 1)]
    values = coarse[tuple(voxels.T)]
    shares = []
    for regions in (GANGLIONIC_REGIONS, SUPRAGANGLIONIC_REGIONS):
        is_level = np.isin(values, [label.index for label in atlas.table.labels if label.region in regions])
        shares.append(float(in_view[is_level].mean()))
    return shares[0], shares[1]


def _spoilt_too(inside: Mask, scan: WorkingScan, brain: Brain, registration: Registration) -> Mask:
    """The inside and, above the commissures, what wide streaks have cut out of the brain mask."""
    if registration.fixed_to_moving is None:
        return inside
    whole = interior(filled(brain.mask, scan.slice_axis), scan, CREST_MM)
    return inside | (whole & (_template_coordinate(scan, registration, 2) > BONELESS_FLOOR_MM))


def _contrast(scan: WorkingScan, brain: Brain, registration: Registration) -> float | None:
    """How far the densest of the brain lies above its median, above the commissures and away from bone."""
    if registration.fixed_to_moving is None:
        return None
    slices = np.moveaxis(brain.mask, scan.slice_axis, 0)
    filled = np.stack([ndimage.binary_fill_holes(one) for one in slices])  # bright vessels are holes of the mask
    inside = interior(np.ascontiguousarray(np.moveaxis(filled, 0, scan.slice_axis)), scan)
    values = scan.values[inside & (_template_coordinate(scan, registration, 2) > BONELESS_FLOOR_MM)]
    if len(values) * np.prod(scan.spacing_mm) / 1000 < MINIMUM_BRAIN_ML:
        return None
    return float(np.percentile(values, CONTRAST_PERCENTILE) - np.median(values))


def _asymmetry(scan: WorkingScan, inside: Mask, registration: Registration) -> float | None:
    """Median of the left hemisphere less that of the right."""
    if registration.fixed_to_moving is None:
        return None
    x = _template_coordinate(scan, registration, 0)
    left, right = scan.values[inside & (x < -MIDLINE_MM)], scan.values[inside & (x > MIDLINE_MM)]
    if min(len(left), len(right)) * np.prod(scan.spacing_mm) / 1000 < MINIMUM_BRAIN_ML:
        return None
    return float(np.median(left) - np.median(right))


def _template_coordinate(scan: WorkingScan, registration: Registration, axis: int) -> npt.NDArray[np.float32]:
    """One template coordinate of every block, (X, Y, Z), mm."""
    row = (registration.moving_to_fixed @ scan.affine)[axis].astype(np.float32)
    x, y, z = (np.arange(size, dtype=np.float32) for size in scan.values.shape)
    return np.asarray((row[0] * x + row[3])[:, None, None] + (row[1] * y)[:, None] + row[2] * z)


def _air_deviation(values: Float32Array, scan: WorkingScan) -> float | None:
    """Standard deviation of noise from the magnitude of air in the four corners; null where air was blanked."""
    slices = np.moveaxis(values, scan.slice_axis, 0)
    edges = [max(1, int(size * CORNER_SHARE)) for size in slices.shape[1:]]
    ends = [(slice(None, edge), slice(-edge, None)) for edge in edges]
    corners = np.concatenate([slices[:, rows, columns].ravel() for rows in ends[0] for columns in ends[1]])
    if (corners <= 0).mean() > MAXIMUM_ZERO_SHARE:
        return None
    return float(np.median(corners)) / RAYLEIGH_MEDIAN


def _share(part: float | None, whole: float | None) -> float | None:
    """A ratio, null where one of the two is missing or the whole is not positive."""
    return None if part is None or whole is None or whole <= 0 else part / whole
