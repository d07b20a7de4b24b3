"""Lesion measures against boxes worked by hand and against the distances of all voxel corners."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial.distance import pdist

from tasks.lesion import label_counts, measure_lesion

SHAPE = (7, 8, 9)
SPACING_MM = (1.0, 2.0, 3.0)
#: RAS; x = 0 lies on voxel 3 of the first axis.
AFFINE = np.array([[1.0, 0, 0, -3], [0, 2, 0, -5], [0, 0, 3, 10], [0, 0, 0, 1]])
LAS_AFFINE = np.array([[-1.0, 0, 0, 3], [0, 2, 0, -5], [0, 0, 3, 10], [0, 0, 0, 1]])


def _measure(mask, affine=AFFINE):
    return measure_lesion(np.flatnonzero(mask.ravel(order="F")), mask.shape, affine)


def _mask(*voxels, shape=SHAPE):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(np.transpose(voxels))] = True
    return mask


def _brute_force_diameter(mask, spacing):
    """Greatest distance between any two corners of the voxels of one component; slow and obvious."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    offsets = np.array(list(itertools.product((0, 1), repeat=3)))
    largest = 0.0
    for label in range(1, n + 1):
        corners = (np.argwhere(labels == label)[:, None] + offsets).reshape(-1, 3) * spacing
        largest = max(largest, pdist(corners).max())
    return largest


def _rotation(degrees):
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def _oblique(degrees):
    affine = np.eye(4)
    affine[:3, :3] = _rotation(degrees) @ np.diag(SPACING_MM)
    affine[:3, 3] = (-4, 1, 2)
    return affine


@pytest.mark.parametrize("affine", [AFFINE, LAS_AFFINE, _oblique(30)], ids=["ras", "las", "oblique"])
def test_volume_is_the_voxel_count_times_the_affine_determinant(affine):
    measures = _measure(_mask((0, 0, 0), (1, 0, 0), (5, 6, 7)), affine)
    assert measures.n_voxels == 3
    assert measures.volume_ml == pytest.approx(3 * 6 / 1000, rel=1e-12)  # voxels of 1 x 2 x 3 mm
    assert measures.volume_left_ml + measures.volume_right_ml == pytest.approx(measures.volume_ml, rel=1e-12)


@pytest.mark.parametrize(
    ("voxels", "expected_mm"),
    [
        ([(3, 3, 3)], np.sqrt(1 + 4 + 9)),  # one voxel: its own diagonal
        ([(0, 4, 4), (1, 4, 4), (2, 4, 4), (3, 4, 4)], np.sqrt(16 + 4 + 9)),  # a line along x, 4 x 1 x 1 voxels
        ([(2, 2, 2), (2, 2, 3), (2, 2, 4)], np.sqrt(1 + 4 + 81)),  # a line along z
        ([(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0), (2, 2, 0)], np.sqrt(9 + 36 + 9)),  # an L: end to end
        ([(1, 1, 1), (2, 2, 2)], np.sqrt(4 + 16 + 36)),  # joined by a corner alone
    ],
    ids=["one voxel", "line along x", "line along z", "L", "corner to corner"],
)
def test_diameter_of_solid_boxes(voxels, expected_mm):
    measures = _measure(_mask(*voxels))
    assert measures.max_diameter_mm == pytest.approx(expected_mm, rel=1e-12)
    assert measures.n_components == 1


def test_diameter_of_a_whole_box():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:5, 2:7, 3:6] = True
    assert _measure(mask).max_diameter_mm == pytest.approx(np.sqrt(4**2 + 10**2 + 9**2), rel=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0)])
def test_diameter_of_a_ball_is_that_of_all_its_corners(spacing):
    grid = np.indices((13, 13, 13)) - 6
    ball = (grid**2).sum(axis=0) <= 25
    measures = _measure(ball, np.diag([*spacing, 1.0]))
    assert measures.max_diameter_mm == pytest.approx(_brute_force_diameter(ball, spacing), rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_diameter_of_a_disc_in_one_plane(axis):
    x, y, _ = grid = np.indices((11, 11, 11)) - 5
    in_plane = x + y == 0 if axis is None else grid[axis] == 0
    disc = in_plane & ((grid**2).sum(axis=0) <= 25)
    spacing = (0.7, 1.3, 5.0)
    measures = _measure(disc, np.diag([*spacing, 1.0]))
    assert measures.max_diameter_mm == pytest.approx(_brute_force_diameter(disc, spacing), rel=1e-12)


def test_diameter_is_of_the_widest_component_and_not_across_components():
    mask = _mask((0, 0, 0), (0, 0, 1), (6, 7, 8))
    measures = _measure(mask)
    assert measures.n_components == 2
    assert measures.max_diameter_mm == pytest.approx(np.sqrt(1 + 4 + 36), rel=1e-12)


def test_diameter_does_not_depend_on_orientation():
    mask = _mask((1, 1, 1), (2, 2, 1), (3, 2, 2), (3, 3, 3))
    expected = _measure(mask).max_diameter_mm
    assert _measure(mask, LAS_AFFINE).max_diameter_mm == pytest.approx(expected, rel=1e-12)
    assert _measure(mask, _oblique(40)).max_diameter_mm == pytest.approx(expected, rel=1e-12)


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)).filter(np.any),
    st.tuples(*[st.sampled_from([0.5, 1.0, 2.2, 6.0])] * 3),
)
def test_every_small_mask_agrees_with_the_slow_way(mask, spacing):
    measures = _measure(mask, np.diag([*spacing, 1.0]))
    assert measures.n_components == ndimage.label(mask, structure=np.ones((3, 3, 3)))[1]
    assert measures.max_diameter_mm == pytest.approx(_brute_force_diameter(mask, np.array(spacing)), rel=1e-12)
    assert measures.volume_ml == pytest.approx(mask.sum() * np.prod(spacing) / 1000, rel=1e-12)


def test_a_whole_sagittal_plane_needs_no_memory_for_every_pair_of_voxels():
    mask = np.zeros((3, 189, 136), dtype=bool)
    mask[1] = True  # each voxel is a row of its own: 330 million pairs
    tracemalloc.start()
    measures = _measure(mask, np.eye(4))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert measures.max_diameter_mm == pytest.approx(np.sqrt(1 + 189**2 + 136**2), rel=1e-12)
    assert peak_bytes < 100e6


@pytest.mark.parametrize(
    ("second", "n_components"),
    [((2, 1, 1), 1), ((2, 2, 1), 1), ((2, 2, 2), 1), ((3, 1, 1), 2), ((3, 3, 3), 2)],
    ids=["face", "edge", "corner", "gap", "far"],
)
def test_components_join_at_faces_edges_and_corners(second, n_components):
    assert _measure(_mask((1, 1, 1), second)).n_components == n_components


@pytest.mark.parametrize(
    ("voxels", "side", "left_ml", "right_ml"),
    [
        ([(0, 0, 0), (2, 5, 5)], "left", 0.012, 0.0),  # x = -3 and -1 mm
        ([(4, 0, 0), (5, 5, 5), (2, 0, 0)], "right", 0.006, 0.012),
        ([(3, 0, 0)], "both", 0.003, 0.003),  # a mid-plane voxel is half left, half right
        ([(3, 0, 0), (3, 1, 0), (4, 0, 0)], "right", 0.006, 0.012),
        ([(2, 0, 0), (4, 7, 8)], "both", 0.006, 0.006),
    ],
)
def test_side_is_that_of_the_voxel_centres_and_the_mid_plane_counts_half(voxels, side, left_ml, right_ml):
    measures = _measure(_mask(*voxels))
    assert measures.side == side
    assert measures.volume_left_ml == pytest.approx(left_ml, rel=1e-12)
    assert measures.volume_right_ml == pytest.approx(right_ml, rel=1e-12)


@pytest.mark.parametrize(("voxel", "ras", "las"), [((0, 1, 1), "left", "right"), ((6, 1, 1), "right", "left")])
def test_a_flipped_x_axis_flips_the_side(voxel, ras, las):
    assert _measure(_mask(voxel)).side == ras
    assert _measure(_mask(voxel), LAS_AFFINE).side == las


def test_side_follows_world_x_and_not_the_first_voxel_axis():
    affine = np.array([[0.0, 2, 0, -5], [1, 0, 0, -3], [0, 0, 3, 0], [0, 0, 0, 1]])  # the second axis runs along x
    assert _measure(_mask((6, 0, 0)), affine).side == "left"
    assert _measure(_mask((0, 7, 0)), affine).side == "right"


def test_label_counts():
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[1, 2, 3], labels[4, 4, 4], labels[4, 4, 5], labels[6, 7, 8] = 2, 4, 4, 1
    mask = _mask((1, 2, 3), (4, 4, 4), (4, 4, 5), (0, 0, 0), (5, 5, 5))
    indices = np.flatnonzero(mask.ravel(order="F"))
    for given_labels in (labels, labels.ravel(order="F")):
        counts = label_counts(indices, given_labels, n_labels=5)
        np.testing.assert_array_equal(counts, [2, 0, 1, 0, 2, 0])


def test_sides_of_a_scan_are_those_of_the_template_and_volumes_its_own():
    """A head 10 mm off and turned by 180 degrees about its axis: what lies at low x of the scan is the right side.

    The template is a tenth smaller along every axis, which changes no volume and no diameter.
    """
    world_to_template = np.diag([-0.9, -0.9, 0.9, 1.0])
    world_to_template[0, 3] = 9.0  # scan x = 10 mm is the mid-plane
    affine = AFFINE.copy()
    affine[0, 3] = 8  # x of voxels 0 to 6 is 8 to 14 mm
    mask = _mask((0, 2, 2), (1, 2, 2), (2, 2, 2), (6, 2, 2))  # x = 8, 9, 10 and 14 mm
    indices = np.flatnonzero(mask.ravel(order="F"))
    measures = measure_lesion(indices, SHAPE, affine, world_to_template)
    assert measures.side == "right"
    assert measures.volume_right_ml == pytest.approx(2.5 * 6 / 1000)  # x = 8, 9 and half of 10; voxels of 6 mm3
    assert measures.volume_left_ml == pytest.approx(1.5 * 6 / 1000)
    alone = measure_lesion(indices, SHAPE, affine)
    assert (alone.side, alone.volume_left_ml) == ("right", 0.0)  # all of it lies at x > 0 of the scan
    assert (measures.volume_ml, measures.max_diameter_mm) == (alone.volume_ml, alone.max_diameter_mm)


def test_the_template_itself_needs_no_transform():
    mask = _mask((0, 2, 2), (1, 2, 2), (5, 2, 2))
    indices = np.flatnonzero(mask.ravel(order="F"))
    assert measure_lesion(indices, SHAPE, AFFINE, np.eye(4)) == measure_lesion(indices, SHAPE, AFFINE)


def test_no_lesion_has_no_side_on_a_scan_either():
    assert measure_lesion(np.array([], dtype=np.int64), SHAPE, AFFINE, np.eye(4)).side == "none"
