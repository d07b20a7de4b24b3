"""Radiomics features of all regions of a scan in one pass, equal to pyradiomics called region by region.

The formulas are pyradiomics' own methods, which get arrays where its extractor gives them SimpleITK images: every
region is cut from the scan once, and its grey levels are found once for all classes. A region that cannot be described
has no numbers and a reason; pyradiomics would raise, or return arbitrary numbers for some.

What Zwanenburg 2020 (IBSI, doi 10.1148/radiol.2020191145) defines differently, pyradiomics documents: grey levels are
counted from multiples of the bin width, and kurtosis is not reduced by 3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from radiomics import firstorder, glcm, gldm, glrlm, glszm, imageoperations, ngtdm, shape
from scipy import ndimage

from tasks.arrays import AnyArray, IntArray, IntegerArray, Mask
from tasks.radiomics.feature_lists import FEATURE_LISTS, FeatureClass, class_of
from tasks.radiomics.shape import measure_mesh

#: Matrices of co-occurrence grow with the square: 256 levels take 7 MB, 2048 take 440 MB a copy, and there are several.
MOST_GREY_LEVELS = 256
#: pyradiomics' own ``minimumROIDimensions``: a point or a line of voxels has no texture.
LEAST_DIMENSIONS = 2

_CLASSES: Mapping[FeatureClass, type] = {
    "shape": shape.RadiomicsShape,
    "firstorder": firstorder.RadiomicsFirstOrder,
    "glcm": glcm.RadiomicsGLCM,
    "gldm": gldm.RadiomicsGLDM,
    "glrlm": glrlm.RadiomicsGLRLM,
    "glszm": glszm.RadiomicsGLSZM,
    "ngtdm": ngtdm.RadiomicsNGTDM,
}
_QUIET = logging.Logger("radiomics of one region", logging.CRITICAL)  # speaks of features that are always alike


@dataclass(frozen=True)
class FeatureSettings:
    """What is computed, and of which values.

    Attributes
    ----------
    names : features, by pyradiomics' names (``feature_lists``)
    bin_width : width of grey levels, in the unit of the values; their edges are its multiples
    window : (low, high); values beyond are set to the nearer one. None takes values as they are
    """

    names: tuple[str, ...]
    bin_width: float
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.bin_width > 0:
            raise ValueError(f"bin_width must be > 0, got {self.bin_width}. Choose one that makes 16 to 128 levels.")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError(f"window must have low < high, got {self.window}. Exchange them.")
        for name in self.names:
            if name.split("_", 2)[-1] not in _CLASSES[class_of(name)].getFeatureNames():  # type: ignore[attr-defined]
                raise ValueError(
                    f"names must be features of pyradiomics, got {name!r}. See tasks.radiomics.feature_lists."
                )

    @property
    def by_class(self) -> dict[FeatureClass, list[str]]:
        """Class -> its features, in the order given."""
        wanted: dict[FeatureClass, list[str]] = {}
        for name in self.names:
            wanted.setdefault(class_of(name), []).append(name)
        return wanted


#: What a classifier of regions is shown: the window of Tao 2024 (section 2.1: width 80, level 40), in bins of 5 HU.
LEARNED = FeatureSettings(FEATURE_LISTS["pyradiomics2_105"], 5.0, (0.0, 80.0))


@dataclass(frozen=True)
class RegionFeatures:
    """The features of one region.

    Attributes
    ----------
    values : name of a feature -> its value; None where it is no finite number. Empty of a region without any
    reason, detail : why there are none; empty where there are
    """

    values: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    reason: str = ""
    detail: str = ""


def describe_regions(
    values: AnyArray,
    labels: IntegerArray,
    spacing_mm: tuple[float, float, float],
    indices: Sequence[int],
    settings: FeatureSettings,
) -> dict[int, RegionFeatures]:
    """Features of every region of a scan.

    Parameters
    ----------
    values : (X, Y, Z) array of numbers, such as HU
    labels : (X, Y, Z) int array, at least 0, the region that each voxel belongs to
    spacing_mm : voxel size along X, Y and Z
    indices : labels of the regions to describe, greater than 0
    settings : FeatureSettings

    Returns
    -------
    index -> features; of a region without any the reason is ``region_absent`` (no voxel), ``region_too_small`` (a point
    or a line), ``region_not_finite``, ``region_uniform`` (one grey level only) or ``too_many_grey_levels``.

    Raises
    ------
    ValueError
        The shapes differ.

    References
    ----------
    van Griethuysen (2017), Cancer Research 77:e104, doi 10.1158/0008-5472.CAN-17-0339.
    """
    if values.shape != labels.shape:
        raise ValueError(f"labels must have the shape of values, {values.shape}, got {labels.shape}. Resample them.")
    # pyradiomics counts (z, y, x); transposed, arrays in the order of NIfTI files are contiguous so
    image, regions = values.transpose(2, 1, 0), labels.transpose(2, 1, 0)
    spacing = (spacing_mm[2], spacing_mm[1], spacing_mm[0])
    boxes = ndimage.find_objects(regions, max_label=max(indices, default=0))
    found = {}
    for index in indices:
        box = boxes[index - 1]
        if box is None:
            found[index] = RegionFeatures(reason="region_absent", detail="A region must have voxels, got none.")
            continue
        mask = np.ascontiguousarray(regions[box] == index)
        found[index] = _described(np.ascontiguousarray(image[box]), mask, spacing, settings)
    return found


@dataclass(frozen=True, eq=False)
class _Region:
    """One region, cut out: (Z, Y, X) arrays, and which grey levels occur; levels are 0 outside."""

    image: AnyArray
    mask: Mask
    spacing: tuple[float, float, float]
    levels: IntArray
    occurring: IntArray


def _described(
    image: AnyArray,
    mask: Mask,
    spacing: tuple[float, float, float],
    settings: FeatureSettings,
) -> RegionFeatures:
    """Features of one region in its own box."""
    if sum(size > 1 for size in mask.shape) < LEAST_DIMENSIONS:
        size = "x".join(map(str, mask.shape[::-1]))
        return RegionFeatures(
            reason="region_too_small", detail=f"A region must have {LEAST_DIMENSIONS} dimensions or more, got {size}."
        )
    inside = image[mask]
    if not np.isfinite(inside).all():
        n_bad = int((~np.isfinite(inside)).sum())
        return RegionFeatures(
            reason="region_not_finite", detail=f"Every voxel must have a finite value, {n_bad} have none."
        )
    if settings.window is not None:
        image = np.clip(image, *settings.window)
        inside = image[mask]
    bin_width = settings.bin_width
    # of an array pyradiomics takes minimum and maximum one number at a time: give it these two alone
    ends = np.array([inside.min(), inside.max()])
    if (float(ends[1]) - float(ends[0])) / bin_width > MOST_GREY_LEVELS:  # stored integers could overflow
        span = f"{ends[0]:g} to {ends[1]:g}"
        return RegionFeatures(
            reason="too_many_grey_levels",
            detail=f"Values must span {MOST_GREY_LEVELS} bins of {bin_width:g} at most, got {span}. Take wider bins.",
        )
    levels = np.zeros(mask.shape, int)
    levels[mask] = np.digitize(inside, imageoperations.getBinEdges(ends, binWidth=bin_width))
    occurring = np.unique(levels[mask])
    if occurring.size == 1:
        return RegionFeatures(
            reason="region_uniform",
            detail=f"Values must reach two bins of {bin_width:g} or more, got {ends[0]:g} to {ends[1]:g}.",
        )
    region = _Region(image, mask, spacing, levels, occurring)
    values = dict(value for one, names in settings.by_class.items() for value in _computed(one, names, region))
    return RegionFeatures({name: values[name] for name in settings.names})


def _computed(which: FeatureClass, names: Sequence[str], region: _Region) -> Iterator[tuple[str, float | None]]:
    """Features of one class by pyradiomics' methods."""
    calculator = _prepared(which, region)
    with np.errstate(divide="ignore", invalid="ignore"):
        calculator._initCalculation()
        for name in names:
            try:
                value = float(np.squeeze(getattr(calculator, f"get{name.split('_', 2)[-1]}FeatureValue")()))
            except np.linalg.LinAlgError:  # no eigenvalues of a matrix of correlation
                value = np.nan
            yield name, value if np.isfinite(value) else None


def _prepared(which: FeatureClass, region: _Region) -> Any:
    """A calculator of pyradiomics with what its constructor takes from two SimpleITK images and default settings."""
    calculator: Any = object.__new__(_CLASSES[which])
    calculator.logger, calculator.settings, calculator.voxelBased = _QUIET, {}, False
    calculator.maskArray = region.mask.copy()  # a matrix of zones is counted by clearing it
    calculator.coefficients = {"grayLevels": region.occurring, "Ng": int(region.occurring[-1])}
    calculator.imageArray = region.image if which == "firstorder" else region.levels
    calculator.pixelSpacing = region.spacing
    if which == "shape":
        _measure_shape(calculator, region)
    elif which == "firstorder":
        calculator.discretizedImageArray, calculator.voxelArrayShift = region.levels, 0
    elif which == "gldm":
        calculator.gldm_a = 0
    else:
        calculator.symmetricalGLCM, calculator.weightingNorm = True, None
    return calculator


def _measure_shape(calculator: Any, region: _Region) -> None:
    """Mesh and principal axes, as ``RadiomicsShape`` has them after its construction."""
    mesh = measure_mesh(region.mask, region.spacing)
    calculator.SurfaceArea, calculator.Volume, calculator.diameters = mesh.area_mm2, mesh.volume_mm3, mesh.diameters_mm
    calculator.labelledVoxelCoordinates = np.nonzero(region.mask)
    places = np.stack(calculator.labelledVoxelCoordinates, axis=1) * np.array(region.spacing)
    places -= places.mean(axis=0)
    axes = np.linalg.eigvalsh(places.T @ places / len(places))
    calculator.eigenValues = np.maximum(axes, 0)  # of a flat region the least may come out a little below
