"""Axes of two grids beside each other, and voxels brought from one order to another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tasks.space.axis_order import SAME_VOXEL, axis_order, in_axis_order
from tasks.space.resample import Grid
from tests.tasks.stored_order import stored

SHAPE = (7, 8, 9)
TURN = np.array([[0.98, -0.17, 0.1], [0.17, 0.985, 0.02], [-0.1, 0.0, 0.995]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.linalg.qr(TURN)[0] @ np.diag([0.9, 1.1, 5.0])
AFFINE[:3, 3] = (-40, 22, 7)
HERE = Grid(SHAPE, AFFINE)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_voxels_in_any_order_come_back_as_they_were(order, flips):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    back, cut = stored(SHAPE, order, flips)
    moved = values.transpose(order)[cut]
    way = axis_order(Grid(moved.shape, AFFINE @ back), HERE)
    assert way.is_same_grid
    np.testing.assert_array_equal(in_axis_order(moved, way), values)


def test_a_grid_a_quarter_voxel_away_is_the_same_and_one_farther_away_is_not():
    for share, is_same in ((0.9 * SAME_VOXEL, True), (1.1 * SAME_VOXEL, False)):
        shift = np.eye(4)
        shift[2, 3] = share  # of a voxel along the thick axis
        way = axis_order(Grid(SHAPE, AFFINE @ shift), HERE)
        assert way.largest_distance == pytest.approx(share)
        assert way.is_same_grid == is_same


def test_voxels_of_another_size_and_grids_of_another_shape_are_not_the_same():
    stretched = axis_order(Grid(SHAPE, AFFINE @ np.diag([1.05, 1, 1, 1])), HERE)
    assert stretched.largest_distance == pytest.approx(0.05 * 6)  # at the seventh voxel
    assert not stretched.is_same_grid
    shorter = axis_order(Grid((7, 8, 8), AFFINE), HERE)
    assert (shorter.has_same_shape, shorter.is_same_grid) == (False, False)
    assert shorter.largest_distance < 1e-9
