"""The ASPECTS regions by ``region-net`` and the atlas together.

The network knows tissue, the atlas the straight borders of the cortex: a voxel belongs to the region with the largest
product of the network's probability and the atlas's smoothed share. Its side is that of the atlas's nearest region: a
swollen hemisphere pushes the other one across the template's midline.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cohorts.folder.source import NETWORK_CONTRASTS, REGION_NETWORK
from models.inference import Network, loaded, probabilities
from models.weights import find_weights
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS
from tasks.arrays import Affine, Float32Array, IntegerArray, Mask
from tasks.modality import ScanContrast
from tasks.segmentation import N_REGION_CHANNELS, region_channels
from tasks.space.boxes import box_around, corners_around
from tasks.space.network_grid import network_grid, to_network_grid
from tasks.space.resample import Grid

PRESET = "small"
#: Of the atlas's regions, voxels of the network's grid; the share that the atlas leaves to every region; the power of
#: the network's word on which of M1 to M6 a voxel of the cortex is of. Chosen on 18 synthetic validation patients: mean
#: Dice there on CT was .65 of the deep regions, .78 of M1 to M3 and .75 of M4 to M6 by the refined atlas, .72, .81 and
#: .80 by both.
ATLAS_SMOOTHING, ATLAS_FLOOR, CORTEX_POWER = 0.7, 0.003, 0.3
NETWORK_FLOOR = 1e-4


def region_network(folder: Path | None = None, name: str = REGION_NETWORK) -> Network:
    """The trained network, ready to be asked; once per process.

    Raises
    ------
    WeightsMissingError
        Its weights cannot be used.
    """
    weights = find_weights(name, folder)
    return loaded(weights, weights.preset or PRESET, N_REGION_CHANNELS, 1 + len(ASPECTS_REGIONS))


def network_regions(
    network: Network,
    image: Float32Array,
    affine: Affine,
    brain: Mask,
    moving_to_fixed: Affine,
    contrast: ScanContrast,
    atlas: Callable[[Grid], IntegerArray],
) -> npt.NDArray[np.int16]:
    """The twenty regions of the classic map on the scan's grid, (X, Y, Z) int16: 1-10 right, 11-20 left, 0 elsewhere.

    Parameters
    ----------
    network : of ``region_network``
    image : (X, Y, Z) float32 array, HU of CT or b-high of any unit
    affine : (4, 4) float array, voxel -> world, RAS, mm
    brain : (X, Y, Z) bool array
    moving_to_fixed : (4, 4) float array, scan world -> template world, of the affine registration
    contrast : one of ``NETWORK_CONTRASTS``
    atlas : labels of the classic map on any grid, as the registration places them

    Raises
    ------
    ValueError
        The contrast is one that it has not learned, or the brain is empty.
    """
    if contrast not in NETWORK_CONTRASTS:
        raise ValueError(f"contrast must be one of {', '.join(NETWORK_CONTRASTS)}, got {contrast!r}. Use the atlas.")
    grid = network_grid(brain, affine)
    channels = region_channels(
        to_network_grid(image, affine, grid),
        to_network_grid(brain.astype(np.float32), affine, grid) > 0.5,
        moving_to_fixed @ grid.affine,
        contrast,
    )
    placed = atlas(grid)
    if not placed.any():  # no region is in view
        return np.zeros(image.shape, np.int16)
    both = np.maximum(probabilities(network, channels), NETWORK_FLOOR) * _atlas_shares(placed)
    return _on_scan(both / both.sum(axis=0), _is_left(placed, grid), grid, Grid(image.shape, affine))


def _less_sure_of_borders(shares: Float32Array) -> Float32Array:
    """Probabilities of which those of M1 to M6 have moved towards that of all six together."""
    shares = np.maximum(shares, NETWORK_FLOOR)
    cortex = shares[-len(CORTICAL_REGIONS) :]
    cortex[:] = cortex**CORTEX_POWER * cortex.sum(axis=0) ** (1 - CORTEX_POWER)
    return shares


def _atlas_shares(labels: IntegerArray) -> Float32Array:
    """Share of each class around every voxel, (classes, X, Y, Z), both sides as one."""
    sideless = np.where(labels > len(ASPECTS_REGIONS), labels - len(ASPECTS_REGIONS), labels)
    shares = [
        ndimage.gaussian_filter((sideless == index).astype(np.float32), ATLAS_SMOOTHING)
        for index in range(1 + len(ASPECTS_REGIONS))
    ]
    return np.stack(shares) + np.float32(ATLAS_FLOOR)


def _is_left(labels: IntegerArray, grid: Grid) -> Mask:
    """Whether the atlas's region nearest to each voxel is one of the left, (X, Y, Z)."""
    _, nearest = ndimage.distance_transform_edt(labels == 0, sampling=grid.spacing_mm, return_indices=True)
    is_left: Mask = labels[tuple(nearest)] > len(ASPECTS_REGIONS)
    return is_left


def _on_scan(shares: Float32Array, is_left: Mask, grid: Grid, scan: Grid) -> npt.NDArray[np.int16]:
    """The likeliest region of every voxel of the scan, by linear interpolation, on the side of the nearest voxel."""
    near = ndimage.binary_dilation(shares.argmax(axis=0) > 0)
    to_grid = np.linalg.inv(grid.affine) @ scan.affine
    labels = np.zeros(scan.shape, np.int16)
    back = np.linalg.inv(to_grid)
    box = box_around(corners_around(near) @ back[:3, :3].T + back[:3, 3], scan.shape)
    if not labels[box].size:
        return labels
    x, y, z = np.ogrid[box]
    places = [row[0] * x + row[1] * y + row[2] * z + row[3] for row in to_grid[:3]]
    nearest = [np.rint(one).astype(np.intp) for one in places]
    is_near = np.logical_and.reduce([(at >= 0) & (at < size) for at, size in zip(nearest, near.shape, strict=True)])
    is_near &= near[tuple(np.clip(at, 0, size - 1) for at, size in zip(nearest, near.shape, strict=True))]
    at = np.stack([one[is_near] for one in places])
    region = np.stack([ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in shares]).argmax(axis=0)
    left = is_left[tuple(one[is_near] for one in nearest)]
    labels[box][is_near] = np.where((region > 0) & left, region + len(ASPECTS_REGIONS), region)
    return labels
