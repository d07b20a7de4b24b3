"""When a front arrives: travel times through tissue of uneven slowness.

The eikonal equation ``|grad T| = slowness`` says how long a front needs from a seed to every voxel. It is solved as a
shortest path over the 26 neighbours (scipy's Dijkstra), on blocks of voxels where the domain is large, and interpolated
back.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from tasks.arrays import FloatArray, Mask

Spacing = tuple[float, float, float]

MAXIMUM_NODES = 12_000  # of the shortest-path graph; more gives no visibly better border and costs seconds

# One of each pair of opposite neighbours
_OFFSETS = [offset for offset in np.ndindex(3, 3, 3) if offset > (1, 1, 1)]


def arrival_times(
    domain: Mask,
    seed: tuple[int, ...],
    spacing_mm: Spacing,
    correlation_mm: float,
    roughness: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Arrival times of a front that starts at ``seed``.

    Parameters
    ----------
    domain : (X, Y, Z) bool array, tissue that the front may cross, connected
    seed : voxel inside the domain
    spacing_mm : voxel size along each axis, mm
    correlation_mm : scale over which the slowness varies, mm
    roughness : standard deviation of the logarithm of the slowness; 0 gives the distance from the seed
    rng : source of the slowness

    Returns
    -------
    (n,) float array, one time per domain voxel in C order; in mm, as a slowness of 1 takes 1 a mm.
    """
    step = max(1, int(np.ceil((np.count_nonzero(domain) / MAXIMUM_NODES) ** (1 / 3))))
    padded = np.pad(domain, [(0, -size % step) for size in domain.shape])
    n_blocks = [size // step for size in padded.shape]
    blocks = np.asarray(padded.reshape(n_blocks[0], step, n_blocks[1], step, n_blocks[2], step).any(axis=(1, 3, 5)))
    block_mm = np.asarray(spacing_mm) * step
    slowness = np.exp(roughness * smooth_field(blocks.shape, correlation_mm / block_mm, rng))
    times = _shortest_times(blocks, tuple(position // step for position in seed), slowness, block_mm)
    nearest = ndimage.distance_transform_edt(~np.isfinite(times), return_distances=False, return_indices=True)
    filled = times[tuple(nearest)]  # so that interpolation at the domain's border stays finite
    in_blocks = (np.stack(np.nonzero(domain)) + 0.5) / step - 0.5
    return np.asarray(ndimage.map_coordinates(filled, in_blocks, order=1, mode="nearest"))


def smooth_field(shape: tuple[int, ...], correlation_voxels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A Gaussian random field of mean 0 and unit variance, with a third as much again at a third of the scale.

    Parameters
    ----------
    shape : of the result
    correlation_voxels : (3,) float array, standard deviation of the smoothing along each axis, voxels
    rng : source of the noise
    """
    total = np.zeros(shape)
    for weight, scale in ((1.0, 1.0), (1 / 3, 1 / 3)):
        octave = ndimage.gaussian_filter(rng.standard_normal(shape), scale * correlation_voxels, mode="wrap")
        total += weight * octave / max(octave.std(), 1e-12)
    total -= total.mean()
    return np.asarray(total / max(total.std(), 1e-12))


def _shortest_times(
    domain: Mask,
    seed: tuple[int, ...],
    slowness: FloatArray,
    spacing_mm: FloatArray,
) -> FloatArray:
    """Shortest-path arrival times over the 26 neighbours; infinite where the front never comes."""
    nodes = np.full(domain.shape, -1)
    nodes[domain] = np.arange(np.count_nonzero(domain))
    starts, ends, costs = [], [], []
    for offset in _OFFSETS:
        shift = np.asarray(offset) - 1
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, domain.shape, strict=True))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, domain.shape, strict=True))
        both = domain[here] & domain[there]
        starts.append(nodes[here][both])
        ends.append(nodes[there][both])
        length_mm = float(np.linalg.norm(shift * spacing_mm))
        costs.append(length_mm * (slowness[here][both] + slowness[there][both]) / 2)
    n_nodes = int(np.count_nonzero(domain))
    graph = sparse.csr_array(
        (np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))), shape=(n_nodes, n_nodes)
    )
    times = np.full(domain.shape, np.inf)
    times[domain] = csgraph.dijkstra(graph, directed=False, indices=int(nodes[seed]))
    return times
