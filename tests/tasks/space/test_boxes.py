"""Boxes on another grid, worked by hand."""

import numpy as np

from tasks.space.boxes import box_around, corners_around


def test_the_corners_hold_the_mask_and_a_voxel_below():
    mask = np.zeros((6, 7, 8), bool)
    mask[2, 3, 4] = mask[3, 5, 4] = True
    corners = corners_around(mask)
    assert corners.shape == (8, 3)
    np.testing.assert_array_equal(corners.min(axis=0), [1, 2, 3])
    np.testing.assert_array_equal(corners.max(axis=0), [4, 6, 5])


def test_a_box_holds_every_voxel_that_its_places_touch_and_ends_with_the_grid():
    places = np.array([[1.2, -3.0, 2.0], [4.1, 2.5, 99.0]])
    assert box_around(places, (9, 9, 9)) == (slice(1, 6), slice(0, 4), slice(2, 9))
    beside = box_around(places + 50, (9, 9, 9))
    assert np.zeros((9, 9, 9))[beside].size == 0
