"""Density of each region against its mirror-image on CT, by robust statistics of brain tissue alone.

An early infarct lowers density by a few HU. The noise of a region's median is far smaller, so what matters is
everything else in which the sides differ, and each is met on the working grid (``tasks.space.working_grid``, blocks of
about 2 mm, whose mean has little noise left):

* *fluid and calcium*: blocks outside the tissue limits, and those that touch one, are left out, so that a wider sulcus
  or an old infarct on one side does not pass for low density;
* *tilt*: a head beside the scanner's centre is denser on one side (bowtie filter, beam hardening). The tilt is one
  number, HU per mm of distance from the midplane, found in the *reference*: brain that a stroke of the middle cerebral
  artery spares. It is uncertain by as much as tilts are large, and is shrunk by its own error;
* *anatomy*: medians do not feel the border blocks in which an imperfect registration mixes regions.

World coordinates are RAS, mm; *template* coordinates have their midplane at x = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import ndimage

from tasks.anatomy import LabelTable, other_side
from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, IntArray, IntegerArray, Mask
from tasks.gaussian import FWHM_PER_SIGMA, MAD_TO_SIGMA
from tasks.registration.refined_labels import labels_to_scan
from tasks.registration.refinement import Refinement
from tasks.space.affines import MIRROR
from tasks.space.resample import Grid, resample_image, resample_labels
from tasks.space.working_grid import WorkingScan

#: Fewer blocks give no density: their median would err by half an HU at a block noise of 2 HU.
MINIMUM_REGION_BLOCKS = 20
SMOOTHING_FWHM_MM = 7.0  # of the mirrored difference: folds of the two sides lie several mm apart
MINIMUM_WEIGHT = 0.25  # share of tissue under the smoothing kernel, on both sides
MIDPLANE_MM = 1.0  # a slope over less is noise, and has no weight
MINIMUM_REFERENCE_VOXELS = 500  # 8 ml; less than a tenth of what whole heads have
USUAL_TILT_HU_PER_MM = 0.5 / 60  # standard deviation over heads of what the sides differ by per mm: half the phantoms'
N_PARTS = 3  # of the reference along y, and along z: slopes of nine parts tell how uncertain one slope is
MINIMUM_PART_VOXELS = 100


@dataclass(frozen=True)
class DensitySettings:
    """How the density of a region is taken.

    Attributes
    ----------
    limits_hu : (low, high)
        Block means outside are no brain tissue and are left out.
    has_margin : bool
        Whether blocks that touch such a block or the brain's edge within the slice are left out as well.
    statistic : {"median", "mean"}
    corrects_tilt : bool
    """

    limits_hu: tuple[float, float]
    has_margin: bool
    statistic: Literal["median", "mean"]
    corrects_tilt: bool


#: Low: midway between fluid (8 HU) and white matter (28 HU). High: above any brain, below calcium mixed with brain.
#: On 117 synthetic patients (tests/tasks/density_phantom.py) margin and whole tilt raise the area under the ROC curve
#: from .83 to .85 and .89; trimmed mean instead of median, and smoothed point-by-point differences, change it by < .01.
#: On 28 others it is .955 with the tilt shrunk by its error, .953 with all of it and .944 with none; on 46 synthetic
#: patients of models/training .725, .663 and .749.
NCCT_DENSITY = DensitySettings(limits_hu=(18.0, 65.0), has_margin=True, statistic="median", corrects_tilt=True)
#: As its published cuts were made: mean of all voxels of 1 to 250 HU (github.com/AnotherMak/aspects-on-cta @eb479fe).
CTA_DENSITY = DensitySettings(limits_hu=(1.0, 250.0), has_margin=False, statistic="mean", corrects_tilt=False)


@dataclass(frozen=True, eq=False)
class ScanRegions:
    """Label map and reference on a scan's working grid.

    Attributes
    ----------
    labels : (X, Y, Z) integer array, 0 = no label
    table : LabelTable
    reference : (X, Y, Z) bool array
        Where an infarct of the middle cerebral artery cannot be.
    """

    labels: IntegerArray
    table: LabelTable
    reference: Mask


@dataclass(frozen=True)
class RegionDensity:
    """What one label measures; voxels are blocks of the working grid. A number that could not be taken is None.

    Attributes
    ----------
    index : int
    n_voxels, n_voxels_used : int
        In the brain, and of these brain tissue.
    density_hu, spread_hu : float
        Median or mean, and robust standard deviation, of the voxels used.
    low_density_share, high_density_share : float in [0, 1]
        Share of ``n_voxels`` below and above the limits: fluid and old infarcts; calcium, blood and bone.
    bias_hu : float
        Share of ``difference_hu`` that the tilt explains and that was taken off.
    difference_hu : float
        This side minus the other, HU.
    relative_difference : float
        The same over the other side's density.
    ratio : float
        ``1 + relative_difference``: this side over the other.
    """

    index: int
    n_voxels: int
    n_voxels_used: int
    density_hu: float | None
    spread_hu: float | None
    low_density_share: float | None
    high_density_share: float | None
    bias_hu: float | None = None
    difference_hu: float | None = None
    relative_difference: float | None = None
    ratio: float | None = None


def place_regions(
    scan: WorkingScan,
    regions: tuple[IntegerArray, LabelTable, Affine],
    territory: tuple[Mask, Affine],
    moving_to_fixed: Affine,
    refinement: Refinement | None = None,
    drawn: IntegerArray | None = None,
) -> ScanRegions:
    """Bring a label map and the spared brain onto a scan's working grid.

    Parameters
    ----------
    scan : WorkingScan
    regions : labels, their table, and the affine of the labels' own grid, voxel -> template world
    territory : bool array of the middle cerebral artery's territory, and the affine of its own grid
    moving_to_fixed : (4, 4) float array, scan world -> template world
    refinement : of that transform, which then takes its place
    drawn : labels that lie on the working grid already, in place of those of the map
    """
    x, y, z = scan.values.shape
    grid = Grid((x, y, z), scan.affine)

    def placed(volume: AnyArray, affine: Affine) -> AnyArray:
        if refinement is not None:
            return labels_to_scan(volume, affine, grid, refinement)
        return resample_labels(volume, affine, grid, moving_to_fixed)

    labels, table, affine = regions
    return ScanRegions(placed(labels, affine) if drawn is None else drawn, table, ~placed(*territory))


def measure_density(
    scan: WorkingScan,
    brain: Mask,
    regions: ScanRegions,
    fixed_to_moving: Affine,
    settings: DensitySettings = NCCT_DENSITY,
) -> dict[int, RegionDensity]:
    """Density of every label and its difference from the same region of the other side.

    Parameters
    ----------
    scan : WorkingScan
        HU, from ``tasks.brain.ct_working_scan``.
    brain : (X, Y, Z) bool array on the working grid
    regions : ScanRegions
    fixed_to_moving : (4, 4) float array, template world -> scan world
    settings : ``NCCT_DENSITY`` or ``CTA_DENSITY``

    Returns
    -------
    dict of label index -> RegionDensity, in the table's order; a label of the midline has no difference.

    Raises
    ------
    ValueError
        The arrays do not lie on one grid.

    References
    ----------
    Maldjian et al., AJNR 2001;22:1050-1055 (regions of a registered atlas against the other side); Mokin et al., Stroke
    2017;48:1574-1579, doi 10.1161/STROKEAHA.117.016745 (ratio and difference per ASPECTS region).
    """
    for name, shape in (
        ("brain", brain.shape),
        ("labels", regions.labels.shape),
        ("reference", regions.reference.shape),
    ):
        if shape != scan.values.shape:
            raise ValueError(f"{name} must have the scan's working grid {scan.values.shape}, got {shape}. Resample it.")
    tissue = tissue_mask(scan, brain, settings)
    tilt = _tilt(scan, tissue, regions.reference, fixed_to_moving) if settings.corrects_tilt else 0.0
    voxels = _voxels_of(regions)
    values, is_brain, is_tissue = scan.values.ravel(), brain.ravel(), tissue.ravel()
    alone = {
        index: _one_side(index, values[own[is_brain[own]]], values[own[is_tissue[own]]], settings)
        for index, own in voxels.items()
    }
    index_of = {(label.side, label.region): label.index for label in regions.table.labels}
    to_template = np.linalg.inv(fixed_to_moving) @ scan.affine
    x_mm = {index: _mean_x_mm(own, scan.values.shape, to_template) for index, own in voxels.items()}
    measured = {}
    for label in regions.table.labels:
        other = index_of.get((other_side(label.side), label.region)) if label.side != "midline" else None
        if other is None:
            measured[label.index] = alone[label.index]
        else:
            bias = tilt * (x_mm[label.index] - x_mm[other]) / 2
            measured[label.index] = _compared(alone[label.index], alone[other], bias)
    return measured


def tissue_mask(scan: WorkingScan, brain: Mask, settings: DensitySettings = NCCT_DENSITY) -> Mask:
    """Blocks of brain tissue: inside the limits and, with a margin, no neighbour in the slice outside them."""
    low, high = settings.limits_hu
    tissue = brain & (scan.values >= low) & (scan.values <= high)
    if not settings.has_margin:
        return tissue
    cross = ndimage.generate_binary_structure(2, 1)
    return np.asarray(ndimage.binary_erosion(tissue, np.expand_dims(cross, scan.slice_axis)))


def mirrored_difference(scan: WorkingScan, tissue: Mask, fixed_to_moving: Affine) -> Float32Array:
    """Smoothed density minus that of the mirror-image point, HU; NaN where either side has too little tissue.

    Parameters
    ----------
    scan : WorkingScan
    tissue : (X, Y, Z) bool array from ``tissue_mask``
    fixed_to_moving : (4, 4) float array, template world -> scan world

    Returns
    -------
    float32 array on the working grid
    """
    sigma = SMOOTHING_FWHM_MM / FWHM_PER_SIGMA / scan.spacing_mm
    sigma[scan.slice_axis] = 0  # slices are as thick as the kernel
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(tissue, scan.values, 0).astype(np.float32), sigma)
    x, y, z = scan.values.shape
    grid = Grid((x, y, z), scan.affine)
    mirror = fixed_to_moving @ MIRROR @ np.linalg.inv(fixed_to_moving)
    other_weight, other_total = (resample_image(one, scan.affine, grid, mirror) for one in (weight, total))
    is_known = tissue & (weight > MINIMUM_WEIGHT) & (other_weight > MINIMUM_WEIGHT)
    difference = np.full(scan.values.shape, np.nan, dtype=np.float32)
    difference[is_known] = total[is_known] / weight[is_known] - other_total[is_known] / other_weight[is_known]
    return difference


def _tilt(scan: WorkingScan, tissue: Mask, reference: Mask, fixed_to_moving: Affine) -> float:
    """Slope of the mirrored difference over x in the reference, HU/mm, shrunk by its own error; 0 if that is unknown.

    What is shrunk is the line through 0 of least absolute error. A slope of standard error ``s``, where heads differ by
    ``t``, is best taken as its share ``t^2 / (t^2 + s^2)`` (Efron and Morris, J Am Stat Assoc 1975;70:311-319).
    """
    difference = mirrored_difference(scan, tissue, fixed_to_moving)
    voxels = np.nonzero(np.isfinite(difference) & reference)
    to_template = np.linalg.inv(fixed_to_moving) @ scan.affine
    places = to_template[:3, :3] @ np.array(voxels) + to_template[:3, 3:]
    is_beside = np.abs(places[0]) > MIDPLANE_MM
    if is_beside.sum() < MINIMUM_REFERENCE_VOXELS:
        return 0.0
    x_mm, y_mm, z_mm = places[:, is_beside]
    slopes, weights = difference[voxels][is_beside] / x_mm, np.abs(x_mm)
    variance = _slope_variance(slopes, weights, N_PARTS * _part_of(y_mm) + _part_of(z_mm))
    if variance is None:
        return 0.0
    return _median_slope(slopes, weights) * USUAL_TILT_HU_PER_MM**2 / (USUAL_TILT_HU_PER_MM**2 + variance)


def _median_slope(slopes: FloatArray, weights: FloatArray) -> float:
    """The weighted median: of lines through 0 with slopes y / x, weighed by abs(x), that of least absolute error."""
    return float(np.quantile(slopes, 0.5, weights=weights, method="inverted_cdf"))


def _part_of(places_mm: FloatArray) -> IntArray:
    """Which of ``N_PARTS`` parts of equal size each place lies in, 0 first."""
    rounded = np.round(places_mm, 3)  # voxels of one row have one place, whatever the order of the file's axes
    return np.searchsorted(np.quantile(rounded, np.arange(1, N_PARTS) / N_PARTS), rounded)


def _slope_variance(slopes: FloatArray, weights: FloatArray, part: IntArray) -> float | None:
    """Squared standard error of the weighted median of slopes, by how much it differs between parts.

    That of a weighted mean of the parts' medians, as of a ratio (Cochran, Sampling Techniques, 1977, ch. 6); None where
    fewer than three parts can be told.

    >>> parts = np.repeat([0, 1, 2], 100)
    >>> round(_slope_variance(np.array([0.1, 0.2, 0.3])[parts], np.ones(300), parts), 9)
    0.003333333
    """
    counts = np.bincount(part)
    told = np.flatnonzero(counts >= MINIMUM_PART_VOXELS)
    if len(told) < 3:
        return None
    medians = np.array([_median_slope(slopes[part == one], weights[part == one]) for one in told])
    shares = np.array([weights[part == one].sum() for one in told])
    shares /= shares.sum()
    deviations = shares * (medians - shares @ medians)
    return float((deviations**2).sum() * len(told) / (len(told) - 1))


def _voxels_of(regions: ScanRegions) -> dict[int, IntArray]:
    """Label of the table -> flat C-order indices of its voxels."""
    labels = regions.labels.ravel()
    inside = np.flatnonzero(labels)
    inside = inside[np.argsort(labels[inside], kind="stable")]
    indices = [label.index for label in regions.table.labels]
    starts, ends = (np.searchsorted(labels[inside], indices, side) for side in ("left", "right"))
    return {index: inside[start:end] for index, start, end in zip(indices, starts, ends, strict=True)}


def _one_side(
    index: int, all_values: Float32Array, tissue_values: Float32Array, settings: DensitySettings
) -> RegionDensity:
    """A label by itself, by its voxels in the brain and by those of them that are tissue."""
    used = tissue_values.astype(np.float64)
    n_voxels, n_used = len(all_values), len(used)
    low, high = settings.limits_hu
    if n_voxels == 0:
        return RegionDensity(index, 0, 0, None, None, None, None)
    shares = float((all_values < low).mean()), float((all_values > high).mean())
    if n_used < MINIMUM_REGION_BLOCKS:
        return RegionDensity(index, n_voxels, n_used, None, None, *shares)
    median = float(np.median(used))
    density = median if settings.statistic == "median" else float(used.mean())
    spread = float(MAD_TO_SIGMA * np.median(np.abs(used - median)))
    return RegionDensity(index, n_voxels, n_used, density, spread, *shares)


def _compared(one: RegionDensity, other: RegionDensity, bias_hu: float) -> RegionDensity:
    """A label with its difference from the other side; unchanged where either has no density."""
    if one.density_hu is None or other.density_hu is None or other.density_hu <= 0:
        return one
    difference = one.density_hu - other.density_hu - bias_hu
    relative = difference / other.density_hu
    return replace(one, bias_hu=bias_hu, difference_hu=difference, relative_difference=relative, ratio=1 + relative)


def _mean_x_mm(own: IntArray, shape: tuple[int, ...], to_template: Affine) -> float:
    """Mean template x of a region, mm; 0 without voxels."""
    voxels = np.stack(np.unravel_index(own, shape), axis=1)
    return float(to_template[0, :3] @ voxels.mean(axis=0) + to_template[0, 3]) if len(voxels) else 0.0
