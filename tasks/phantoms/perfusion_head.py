"""The head of the CT perfusion phantom: tissue shares, skull and vessels of the template at 2 mm.

The skull is a synthetic shell around the template's brain (fluid, bone, scalp), the vessels are tubes along stated
points in template space: both carotid ends with the middle cerebral arteries, the anterior cerebral arteries, and the
superior sagittal sinus along the brain's own midline contour. Every voxel holds shares of grey, white, fluid, blood of
each vessel, and the rest as bone, scalp or air, so that thin vessels have partial volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from tasks.arrays import Affine, AnyArray, Float32Array, FloatArray, Mask
from tasks.phantoms.scans import AIR_HU, TISSUE_HU
from tasks.registration.target import TissueMaps
from tasks.space.working_grid import to_working_grid

BLOOD_HU = 40.0  # without contrast agent; typical of adults
#: Outer edges of the shells around the brain, mm in template space (skull 6 mm, scalp 4 mm: typical of adults).
FLUID_MM, BONE_MM, SCALP_MM = 3.0, 9.0, 13.0
PADDING_VOXELS = 8  # around the template, at 2 mm: room for skull and scalp

VesselName = Literal["artery", "left_mca", "right_mca", "vein"]
#: Radii in template space, mm, which is about 1.14 times a head: lumen 2.7 mm of the middle cerebral artery, 2.2 mm of
#: the anterior, 4 mm of the carotid, 7 mm of the sinus (usual values of adults).
RADII_MM = {"carotid": 2.3, "mca": 1.55, "aca": 1.25, "sinus": 4.0}
#: Right side, template world, mm: points chosen along the cisterns of the ICBM152 template.
CAROTID_MM = ((11.0, 2.0, -40.0), (11.0, 4.0, -24.0), (9.0, 3.0, -15.0))
MCA_MM = ((9.0, 3.0, -15.0), (22.0, 4.0, -15.0), (36.0, 4.0, -14.0), (42.0, -2.0, -4.0), (42.0, -14.0, 10.0))
ACA_MM = ((9.0, 3.0, -15.0), (3.0, 14.0, -12.0), (2.0, 34.0, -2.0), (2.0, 38.0, 14.0), (2.0, 22.0, 34.0))
SINUS_OFFSET_MM = 1.0  # of its axis outside the brain's midline contour
AXIS_STEP_MM = 1.0  # between points of a tube's axis


@dataclass(frozen=True, eq=False)
class PhantomHead:
    """A head on its own grid, template world.

    Attributes
    ----------
    grey, white : (X, Y, Z) float32 arrays, share of each voxel, vessels taken out
    vessels : dict of vessel name -> (X, Y, Z) float32 array, share of each voxel
    static_hu : (X, Y, Z) float32 array, HU without contrast agent
    brain : (X, Y, Z) bool array
    affine : (4, 4) float array, voxel -> template world, RAS, mm
    template_affine : (4, 4) float array of the tissue maps that the head was made from
    """

    grey: Float32Array
    white: Float32Array
    vessels: dict[VesselName, Float32Array]
    static_hu: Float32Array
    brain: Mask
    affine: Affine
    template_affine: Affine


def prepare_head(maps: TissueMaps) -> PhantomHead:
    """Build the head once; every phantom is made from it.

    Parameters
    ----------
    maps : TissueMaps of the template
    """
    brain_share = _at_2_mm(maps.brain, maps.affine)
    scan = to_working_grid(maps.grey, maps.affine, (0, 1))
    grey, white, fluid = _padded(scan.values), _at_2_mm(maps.white, maps.affine), _at_2_mm(maps.csf, maps.affine)
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, PADDING_VOXELS)
    brain = brain_share > 0.5
    spacing = scan.spacing_mm
    inside = TISSUE_HU["grey"] * grey + TISSUE_HU["white"] * white + TISSUE_HU["csf"] * fluid
    hu = np.where(brain, inside, AIR_HU).astype(np.float32)
    distance = ndimage.distance_transform_edt(~brain, sampling=spacing)
    for inner, outer, value in (
        (0.0, FLUID_MM, TISSUE_HU["csf"]),
        (FLUID_MM, BONE_MM, TISSUE_HU["bone"]),
        (BONE_MM, SCALP_MM, TISSUE_HU["soft"]),
    ):
        hu[(distance > inner) & (distance <= outer)] = value
    vessels = _vessels(brain, affine, spacing)
    blood = np.minimum(sum(vessels.values(), np.zeros(brain.shape, dtype=np.float32)), 1)
    tissue = np.where(brain, 1 - blood, 0).astype(np.float32)
    static = hu * (1 - blood) + np.float32(BLOOD_HU) * blood
    return PhantomHead(grey * tissue, white * tissue, vessels, static, brain, affine, maps.affine)


def on_head_grid(mask: Mask, head: PhantomHead) -> Mask:
    """A mask of the template grid on the head's grid: a block belongs to it by majority."""
    return _at_2_mm(mask, head.template_affine) > 0.5


def _at_2_mm(values: AnyArray, affine: Affine) -> Float32Array:
    """A template map averaged over blocks, with the head's padding."""
    return _padded(to_working_grid(values, affine, (0, 1)).values)


def _padded(values: Float32Array) -> Float32Array:
    return np.pad(values, PADDING_VOXELS)


def _vessels(brain: Mask, affine: Affine, spacing: FloatArray) -> dict[VesselName, Float32Array]:
    """Share of every voxel that each vessel fills; where tubes meet, the first named has it."""
    shares: dict[VesselName, Float32Array] = {}
    free = np.ones(brain.shape, dtype=np.float32)
    tubes: dict[VesselName, list[tuple[FloatArray, float]]] = {
        "artery": [], "left_mca": [], "right_mca": [], "vein": [(_sinus(brain, affine), RADII_MM["sinus"])],
    }  # fmt: skip
    mca: dict[float, VesselName] = {-1.0: "left_mca", 1.0: "right_mca"}
    for side, name in mca.items():
        mirror = np.array([side, 1.0, 1.0])
        tubes["artery"].append((np.array(CAROTID_MM) * mirror, RADII_MM["carotid"]))
        tubes["artery"].append((np.array(ACA_MM) * mirror, RADII_MM["aca"]))
        tubes[name].append((np.array(MCA_MM) * mirror, RADII_MM["mca"]))
    for vessel, paths in tubes.items():
        share = np.zeros(brain.shape, dtype=np.float32)
        for points, radius in paths:
            np.maximum(share, _tube(points, radius, brain.shape, affine, spacing), out=share)
        shares[vessel] = np.minimum(share, free)
        free -= shares[vessel]
    return shares


def _tube(
    points: FloatArray,
    radius_mm: float,
    shape: tuple[int, ...],
    affine: Affine,
    spacing: FloatArray,
) -> Float32Array:
    """Share of each voxel inside a tube: a ramp one voxel wide, which keeps the area of the cross-section."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.arange(0, lengths.sum(), AXIS_STEP_MM / 2)
    dense = np.column_stack([np.interp(along, np.r_[0, np.cumsum(lengths)], one) for one in points.T])
    inverse = np.linalg.inv(affine)
    voxels = dense @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.maximum(np.floor(voxels.min(axis=0)).astype(int) - 4, 0)
    high = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 5, shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(one.start, one.stop) for one in box), indexing="ij"), axis=-1)
    squared = np.full(grid.shape[:3], np.inf)
    for voxel in voxels:
        np.minimum(squared, (((grid - voxel) * spacing) ** 2).sum(axis=-1), out=squared)
    width = float(spacing.mean())
    edge = np.sqrt(max(radius_mm**2 - width**2 / 12, 0.0))  # the ramp adds width^2 / 12 to the squared radius
    share = np.zeros(shape, dtype=np.float32)
    share[box] = np.clip(0.5 + (edge - np.sqrt(squared)) / width, 0, 1)
    return share


def _sinus(brain: Mask, affine: Affine) -> FloatArray:
    """Axis of the superior sagittal sinus: the brain's contour on the mid-plane, from the forehead over the vertex to
    the occiput, in template world, mm.
    """
    middle = int(np.rint(np.linalg.inv(affine)[0] @ [0, 0, 0, 1]))
    inverse = np.linalg.inv(affine)
    half = np.asarray(brain[middle - 2 : middle + 3].any(axis=0))  # the fissure leaves gaps on the mid-plane itself
    centre_y, centre_z = -18.0, 10.0  # about the middle of the brain
    points = []
    for angle in np.radians(np.arange(30, 186, 3)):
        reach = np.arange(20, 120, 0.5)
        y, z = centre_y + reach * np.cos(angle), centre_z + reach * np.sin(angle)
        voxels = np.rint(np.column_stack([np.zeros_like(y), y, z]) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
        inside = half[voxels[:, 1].clip(0, half.shape[0] - 1), voxels[:, 2].clip(0, half.shape[1] - 1)]
        last = reach[np.flatnonzero(inside)[-1]] + SINUS_OFFSET_MM
        points.append((0.0, centre_y + last * np.cos(angle), centre_z + last * np.sin(angle)))
    return np.array(points)
