"""The slices that a dichotomy of diffusion MR looks at: twenty of the middle of the brain, cut to it, 80 x 80.

Paper 5 (RRCNN) drops the highest 15 % and the lowest 35 % of about forty slices, which leaves "approximately twenty",
crops to the parenchyma and resizes. Here the shares are of the brain's height, and twenty levels are taken of what is
left, so that there are always twenty whatever the slices' thickness (METHODS A.6 G3). Values are the logarithm of the
signal over the brain's median in place of percentiles of the image: the paper's 80th lies inside a large infarct.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.arrays import Float32Array, Mask
from tasks.segmentation import dwi_channels
from tasks.space.boxes import occupied

N_SLICES, SIDE = 20, 80
CRANIAL, CAUDAL = 0.15, 0.35  # shares of the slices that are dropped: paper 5


def slab_of(b_high: Float32Array, brain: Mask) -> Float32Array:
    """Twenty axial slices from below upwards, (20, 80, 80) float32; 0 outside of the brain.

    Parameters
    ----------
    b_high : (X, Y, Z) float32 array, any unit, RAS, cubes of 2 mm
    brain : (X, Y, Z) bool array

    Raises
    ------
    ValueError
        The brain is empty.
    """
    if not brain.any():
        raise ValueError("brain must hold at least one voxel, got none. Check the brain mask.")
    signal = dwi_channels(b_high, None, brain)[0]
    x, y, z = (slice(int(seen[0]), int(seen[-1]) + 1) for seen in occupied(brain))
    cut = signal[x, y, z]
    low, high = CAUDAL * cut.shape[2], (1 - CRANIAL) * cut.shape[2]
    levels = low + (np.arange(N_SLICES) + 0.5) / N_SLICES * (high - low) - 0.5
    across = [(np.arange(SIDE) + 0.5) / SIDE * size - 0.5 for size in cut.shape[:2]]
    points = np.meshgrid(*across, levels, indexing="ij")
    resized = ndimage.map_coordinates(cut, points, order=1, mode="nearest")
    return np.ascontiguousarray(resized.transpose(2, 0, 1), dtype=np.float32)
