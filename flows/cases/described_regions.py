"""The regions of a prepared scan described by pyradiomics, on the scan's own voxels or on cubes of 2 mm."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from cohorts.store.findings import Found
from flows.cases.case import MapReference
from flows.cases.native_scan import PreparedScan
from tasks.arrays import Float32Array, IntegerArray
from tasks.radiomics.features import FeatureSettings, RegionFeatures, describe_regions
from tasks.segmentation import STEP_MM
from tasks.space.affines import voxel_sizes_mm
from tasks.space.axis_order import axis_order, in_axis_order
from tasks.space.network_grid import network_grid, to_network_grid
from tasks.space.resample import Grid, resample_labels

#: What is described: the voxels of the scan, or cubes of ``STEP_MM``, on which texture is comparable between scans.
Voxels = Literal["own", "cubes"]
VOXELS: tuple[Voxels, ...] = get_args(Voxels)
CUBES_TOLERANCE_MM = 0.01


class DescribedRegion(Found):
    """One label's features in the order of ``RadiomicsFindings.names``, none where there is a reason."""

    index: int
    coverage: float
    fluid_share: float | None
    reason: str = ""
    detail: str = ""
    values: tuple[float | None, ...] = ()


def described_regions(
    scan: PreparedScan, reference: MapReference, settings: FeatureSettings, voxels: Voxels = "own"
) -> tuple[DescribedRegion, ...]:
    """Features of every region of a label map, inside the brain, in the order of its table.

    Parameters
    ----------
    scan : PreparedScan, registered
    reference : label map
    settings : FeatureSettings
    voxels : what is described
    """
    label_map, on_grid = scan.labels(reference)
    values, labels, affine = _on_voxels(scan, on_grid.labels, voxels)
    # the same numbers whatever the order of axes in the file: slices across z
    shape = (values.shape[0], values.shape[1], values.shape[2])
    way = axis_order(Grid(shape, affine), Grid(shape, np.eye(4)))
    spacing = voxel_sizes_mm(affine)
    x, y, z = (float(spacing[axis]) for axis in way.order)
    indices = [label.index for label in label_map.table.labels]
    found = describe_regions(in_axis_order(values, way), in_axis_order(labels, way), (x, y, z), indices, settings)
    fluid = scan.placing(reference).fluid_share
    return tuple(
        _kept(index, one, on_grid.coverage[index], fluid[number]) for number, (index, one) in enumerate(found.items())
    )


def _on_voxels(
    scan: PreparedScan, labels: IntegerArray, voxels: Voxels
) -> tuple[Float32Array, IntegerArray, np.ndarray]:
    """Values, labels inside the brain, and affine; a scan whose voxels are such cubes is left as it is."""
    affine = scan.image.affine
    inside = np.where(scan.brain_mask, labels, 0)
    if voxels == "own" or np.allclose(voxel_sizes_mm(affine), STEP_MM, rtol=0, atol=CUBES_TOLERANCE_MM):
        return scan.image.values, inside, affine
    grid = network_grid(scan.brain_mask, affine)
    on_cubes = resample_labels(inside, affine, grid, np.eye(4))
    return to_network_grid(scan.image.values, affine, grid), on_cubes, grid.affine


def _kept(index: int, one: RegionFeatures, coverage: float, fluid_share: float | None) -> DescribedRegion:
    """One region as a record holds it."""
    return DescribedRegion(
        index=index,
        coverage=coverage,
        fluid_share=fluid_share,
        reason=one.reason,
        detail=one.detail,
        values=tuple(one.values.values()),
    )
