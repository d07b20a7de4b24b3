"""Normal flow: what the CBF of a voxel is held against, on the other side of the brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.anatomy import LabelTable, Side, other_side
from tasks.arrays import Affine, FloatArray, FloatingArray, IntArray, IntegerArray, Mask
from tasks.space.affines import MIRROR

Reference = Literal["contralateral_hemisphere", "mirrored_region", "mirrored_voxel"]

SIDE_SIGN: dict[Side, int] = {"left": -1, "right": 1}


@dataclass(frozen=True, eq=False)
class CoreAnatomy:
    """Where the voxels of the maps lie.

    Attributes
    ----------
    tissue : bool array, voxels that count
    hemisphere : int8 array, -1 left, 1 right of the patient, 0 neither
    voxel_ml : float
    labels : int array, 0 outside all regions; None without regions
    table : LabelTable of the labels
    mirrored : int array, flat C-order index of the voxel across the mid-plane, -1 outside the grid; None if not wanted
    """

    tissue: Mask
    hemisphere: npt.NDArray[np.int8]
    voxel_ml: float
    labels: IntegerArray | None = None
    table: LabelTable | None = None
    mirrored: IntArray | None = None


def normal_cbf(
    cbf: FloatingArray, affected: Mask, unaffected: Mask, anatomy: CoreAnatomy, reference: Reference
) -> FloatArray:
    """Normal flow of the voxels of one side.

    Parameters
    ----------
    cbf : array
    affected, unaffected : bool arrays, tissue of the two sides
    anatomy : CoreAnatomy, with labels and table or mirrored voxels as the reference needs
    reference : as in ``tasks.perfusion.core.CoreSettings``

    Returns
    -------
    (n,) float array, one value per affected voxel in C order, in CBF's unit; NaN where nothing lies across.
    """
    hemisphere = float(cbf[unaffected].mean(dtype=np.float64))
    normal = np.full(int(affected.sum()), hemisphere)
    if reference == "mirrored_voxel" and anatomy.mirrored is not None:
        across = anatomy.mirrored[affected]
        is_tissue = (across >= 0) & unaffected.reshape(-1)[across]
        return np.where(is_tissue, cbf.reshape(-1)[across], np.nan)
    if reference == "mirrored_region" and anatomy.labels is not None and anatomy.table is not None:
        twins = {(label.side, label.region): label.index for label in anatomy.table.labels}
        here, there = anatomy.labels[affected], anatomy.labels[unaffected]
        for label in anatomy.table.labels:
            twin = twins.get((other_side(label.side), label.region))
            across = cbf[unaffected][there == twin]
            normal[here == label.index] = across.mean(dtype=np.float64) if len(across) else np.nan
    return normal


def mirrored_indices(shape: tuple[int, int, int], affine: Affine, template_to_scan: Affine) -> IntArray:
    """Nearest voxel across the template's mid-plane (x = 0) for every voxel of a scan.

    Parameters
    ----------
    shape : voxels along X, Y, Z
    affine : (4, 4) float array, voxel -> world of the scan, RAS, mm
    template_to_scan : (4, 4) float array, world of the template -> world of the scan, RAS, mm

    Returns
    -------
    (X, Y, Z) int array, flat C-order index; -1 where the mirrored point lies outside the scan.
    """
    to_template = np.linalg.inv(template_to_scan) @ affine
    across = np.linalg.inv(to_template) @ MIRROR @ to_template
    voxels = np.indices(shape).reshape(3, -1)
    other = np.rint((across[:3, :3] @ voxels + across[:3, 3:]).round(6)).astype(np.int64)
    is_inside = ((other >= 0) & (other < np.array(shape)[:, None])).all(axis=0)
    flat = np.ravel_multi_index(tuple(np.where(is_inside, other, 0)), shape)
    return np.where(is_inside, flat, -1).reshape(shape)
