"""Padding: the constant value that fills a rectangular grid around the image that a scanner really made.

Scanners fill beyond a circular field of view, converters beyond a tilted or moved volume, with any value: -2000, 0,
3071. The same value may be real inside the head, as 0 HU is of fluid, so that only what comes in from the border of the
grid is padding.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tasks.arrays import Float32Array, Mask

#: Voxels of one value that hang together at the border: scattered noise, of which one value holds a tenth or less,
#: makes groups of a few.
LEAST_VOXELS = 16
#: Of a volume's eight that hold the same value: all of a circular field of view, half of a bar or of a tilted slab.
LEAST_CORNERS = 4


def connected_to_edge(mask: Mask) -> Mask:
    """The parts of a mask, of at least ``LEAST_VOXELS``, that reach the border of its grid, through faces.

    >>> connected_to_edge(np.pad(np.ones((2, 20), dtype=bool), ((0, 2), (0, 0)))).sum()
    np.int64(40)
    """
    if not mask.any():
        return mask
    parts, n_parts = ndimage.label(mask)
    at_edge = np.zeros(n_parts + 1, dtype=bool)
    for axis in range(mask.ndim):
        for end in (0, -1):
            at_edge[np.take(parts, end, axis=axis)] = True
    at_edge &= np.bincount(parts.ravel()) >= LEAST_VOXELS
    at_edge[0] = False
    return np.asarray(at_edge[parts])


def padding_of(volume: Float32Array) -> tuple[float, Mask] | None:
    """What fills a volume around its image where no header says so, and where it lies; None where nothing does.

    It is a value that at least half of the corners hold, and not the darkest, which is air: scanned, or clipped to one
    value.

    Parameters
    ----------
    volume : (X, Y, Z) array
    """
    corners = volume[tuple(np.ix_(*((0, -1) for _ in range(3))))].ravel()
    found, counts = np.unique(corners, return_counts=True)
    value = float(found[counts.argmax()])
    if counts.max() < LEAST_CORNERS:
        return None
    if value <= float(volume.min()):
        return None
    where = connected_to_edge(volume == np.float32(value))
    return (value, where) if where.any() else None
