"""Arteries and veins of an anatomy: trunks along their courses in template space, twigs in fissures and sulci.

The courses are those of the large arteries (``tasks.phantoms.vessels``) and of the sinuses. From their points shortest
paths through fluid lead to places on the surface of the brain, so that twigs part as a tree does. Radii follow their
number (Murray's law: cubes of radii add up). One tree is made of every anatomy and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse, spatial

from models.training.anatomies import CODE, TISSUES, Anatomy
from tasks.arrays import FloatArray, Mask
from tasks.phantoms.vessels import PAIRED, UNPAIRED, Point

#: Sinuses and deep veins -> (diameter in mm, way points, template mm); read off the template as those of the arteries.
SINUSES: Mapping[str, tuple[float, tuple[Point, ...]]] = {
    "superior sagittal": (
        6.5,
        ((0, 62, 22), (0, 44, 50), (0, 14, 70), (0, -18, 78), (0, -50, 70), (0, -76, 50), (0, -98, 16), (0, -98, -8)),
    ),
    "straight": (4.5, ((0, -42, 8), (0, -66, 0), (0, -98, -8))),
    "transverse, right": (7.0, ((0, -98, -8), (30, -92, -16), (56, -68, -24), (58, -48, -36), (46, -38, -58))),
    "transverse, left": (6.0, ((0, -98, -8), (-30, -92, -16), (-56, -68, -24), (-58, -48, -36), (-46, -38, -58))),
    "internal cerebral, right": (2.0, ((2, 0, 12), (2, -26, 12), (0, -42, 8))),
    "internal cerebral, left": (2.0, ((-2, 0, 12), (-2, -26, 12), (0, -42, 8))),
}
LOWEST_MM = -75.0  # courses below leave the grid
JOIN_MM = 3.0  # between the end of one course and the beginning of the next
VESSEL_NODE_MM = 3  # of the graph on which twigs find their way
N_TWIGS = (260, 110)  # arterial and venous
TWIG_MM = 0.32  # radius of the thinnest
LARGEST_TWIG_MM = 1.1
#: What a step through a tissue costs: twigs run in fluid, seldom through tissue, never through a ventricle.
COSTS = {"csf": 1.0, "vessel": 1.0, "grey": 4.0, "white": 25.0, "dura": 8.0, "cerebellar_grey": 5.0, "brainstem": 20.0}
OTHER_COST = 40.0


@dataclass(frozen=True, eq=False)
class Tree:
    """Vessels of one kind as points with a way back to the root.

    Attributes
    ----------
    points : (N, 3) float array, voxels of the anatomy
    parent : (N,) int array, smaller than the point's own index; a root is its own parent
    radius_mm : (N,) float array
    is_twig : (N,) bool array
    twig : (N,) float array in [0, 1): a point is shown where its number lies below the share of the patient's twigs
    """

    points: FloatArray
    parent: npt.NDArray[np.intp]
    radius_mm: FloatArray
    is_twig: Mask
    twig: FloatArray


_TREES: dict[tuple[str, str], tuple[Tree, Tree]] = {}


def trees_of(anatomy: Anatomy) -> tuple[Tree, Tree]:
    """Arteries and veins of an anatomy, made once."""
    key = (anatomy.name, anatomy.sha256)
    if key not in _TREES:
        rng = np.random.default_rng(int(anatomy.sha256[:8], 16))
        graph = _graph(anatomy)
        arteries = [*PAIRED.values(), *((width, _mirrored(way)) for width, way in PAIRED.values()), *UNPAIRED.values()]
        _TREES[key] = (
            _grown(anatomy, arteries, graph, N_TWIGS[0], rng, in_skull=False),
            _grown(anatomy, list(SINUSES.values()), graph, N_TWIGS[1], rng, in_skull=True),
        )
    return _TREES[key]


def _mirrored(way: tuple[Point, ...]) -> tuple[Point, ...]:
    return tuple((-x, y, z) for x, y, z in way)


@dataclass(frozen=True, eq=False)
class _Graph:
    """Nodes inside of the skull, (N, 3) voxels of the anatomy; costs between neighbours; which lie on the surface."""

    nodes: npt.NDArray[np.intp]
    costs: sparse.csr_array
    surface: npt.NDArray[np.intp]


def _graph(anatomy: Anatomy) -> _Graph:
    """The graph of an anatomy."""
    codes = anatomy.tissues[
        VESSEL_NODE_MM // 2 :: VESSEL_NODE_MM,
        VESSEL_NODE_MM // 2 :: VESSEL_NODE_MM,
        VESSEL_NODE_MM // 2 :: VESSEL_NODE_MM,
    ]
    table = np.full(len(TISSUES), OTHER_COST, np.float32)
    for name, cost in COSTS.items():
        table[CODE[name]] = cost
    inside = np.isin(codes, [CODE[name] for name in TISSUES[1:16]])
    nodes = np.argwhere(inside)
    number = np.full(codes.shape, -1, np.intp)
    number[inside] = np.arange(len(nodes))
    padded = np.pad(number, 1, constant_values=-1)
    by_node = table[codes[inside]]
    starts, ends, weights = [], [], []
    steps = [s for s in np.ndindex(3, 3, 3) if s > (1, 1, 1)]
    for step in steps:
        other = padded[tuple(nodes.T + np.reshape(step, (3, 1)))]
        known = other >= 0
        length = float(np.linalg.norm(np.subtract(step, 1))) * VESSEL_NODE_MM
        starts.append(np.flatnonzero(known))
        ends.append(other[known])
        weights.append((by_node[known] + by_node[other[known]]) / 2 * length)
    shape = (len(nodes), len(nodes))
    costs = sparse.csr_array((np.concatenate(weights), (np.concatenate(starts), np.concatenate(ends))), shape=shape)
    cortex = ndimage.binary_dilation(np.isin(codes, (CODE["grey"], CODE["cerebellar_grey"])))
    surface = np.flatnonzero((codes[inside] == CODE["csf"]) & cortex[inside])
    return _Graph(nodes * VESSEL_NODE_MM + VESSEL_NODE_MM // 2, costs, surface)


def _grown(
    anatomy: Anatomy,
    courses: list[tuple[float, tuple[Point, ...]]],
    graph: _Graph,
    n_twigs: int,
    rng: np.random.Generator,
    *,
    in_skull: bool,
) -> Tree:
    """Trunks along their courses and twigs from them to the surface."""
    points, parent, radius = _trunks(anatomy, courses, in_skull)
    if len(graph.surface) == 0 or len(points) == 0:
        none = np.zeros(len(points), bool)
        return Tree(points, parent, radius, none, np.zeros(len(points)))
    near = spatial.cKDTree(graph.nodes).query(points)[1]
    sources, first = np.unique(near, return_index=True)
    _, back, _ = sparse.csgraph.dijkstra(
        graph.costs, directed=False, indices=sources, min_only=True, return_predecessors=True
    )
    leaves = rng.choice(graph.surface, min(n_twigs, len(graph.surface)), replace=False)
    index = dict(zip(sources.tolist(), first.tolist(), strict=True))  # of a node among the points
    new_points: list[FloatArray] = []
    new_parent: list[int] = []
    thread: list[float] = []
    n_beyond: dict[int, int] = {}
    for leaf in leaves.tolist():
        way = [leaf]
        while way[-1] not in index and back[way[-1]] >= 0:
            way.append(int(back[way[-1]]))
        if way[-1] not in index:
            continue
        order = float(rng.random())
        for node in reversed(way[:-1]):
            index[node] = len(points) + len(new_points)
            new_points.append(graph.nodes[node] + rng.uniform(-1, 1, 3))
            new_parent.append(index[int(back[node])])
            thread.append(order)
        at = index[leaf]
        while at >= len(points):
            n_beyond[at] = n_beyond.get(at, 0) + 1
            thread[at - len(points)] = min(thread[at - len(points)], order)  # a stem is shown where any twig of it is
            at = new_parent[at - len(points)]
    counts = np.array([n_beyond[len(points) + one] for one in range(len(new_points))])
    twig_radius = np.minimum(TWIG_MM * np.maximum(counts, 1) ** (1 / 3), LARGEST_TWIG_MM)
    return Tree(
        np.concatenate([points, np.reshape(new_points, (-1, 3))]),
        np.concatenate([parent, np.asarray(new_parent, np.intp)]),
        np.concatenate([radius, twig_radius]),
        np.arange(len(points) + len(new_points)) >= len(points),
        np.concatenate([np.zeros(len(points)), thread]),
    )


def _trunks(
    anatomy: Anatomy, courses: list[tuple[float, tuple[Point, ...]]], in_skull: bool
) -> tuple[FloatArray, npt.NDArray[np.intp], FloatArray]:
    """Points of the courses on the anatomy, a millimetre apart; a course goes on from where another one ends."""
    ways = anatomy.to_template[:, ::2, ::2, ::2].reshape(3, -1).T
    shape = anatomy.to_template[:, ::2, ::2, ::2].shape[1:]
    nearest = spatial.cKDTree(ways)
    inside = np.isin(anatomy.tissues, [CODE[name] for name in TISSUES[1:16]])
    points: list[FloatArray] = []
    parent: list[int] = []
    radius: list[float] = []
    ends: dict[Point, int] = {}
    for width, course in sorted(courses, key=lambda one: -one[0]):
        kept = [way for way in course if way[2] > LOWEST_MM]
        if len(kept) < 2:
            continue
        found = np.array(np.unravel_index(nearest.query(np.array(kept, float), k=4)[1], shape)).mean(axis=2).T * 4.0
        if in_skull:
            found = np.array([_within(one, inside) for one in found])
        before = next(
            (at for end, at in ends.items() if np.linalg.norm(np.subtract(end, kept[0])) < JOIN_MM), len(points)
        )
        for start, (a, b) in enumerate(pairwise(found)):
            n = max(2, int(np.linalg.norm(b - a)))
            for share in np.linspace(0, 1, n, endpoint=False):
                parent.append(before if before < len(points) else len(points))
                points.append(a + (b - a) * share)
                radius.append(width / 2)
                before = len(points) - 1
            ends[kept[start + 1]] = before
    return np.reshape(points, (-1, 3)), np.asarray(parent, np.intp), np.asarray(radius)


def _within(point: FloatArray, inside: Mask) -> FloatArray:
    """A point of a sinus, on the way from the middle of the head the last one inside of the skull."""
    middle = np.array([point[0], *(np.array(inside.shape[1:]) / 2)])
    way = middle + np.linspace(0, 1.25, 120)[:, None] * (point - middle)
    at = np.clip(np.rint(way).astype(int), 0, np.array(inside.shape) - 1)
    held = np.flatnonzero(inside[tuple(at.T)])
    return np.asarray(way[held[-1]] if len(held) else point)
