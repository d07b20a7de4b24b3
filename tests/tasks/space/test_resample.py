"""Resampling against values worked by hand; labels never become other labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tasks.space.resample import Grid, resample_image, resample_labels

AFFINE = np.array([[-2.0, 0, 0, 6], [0, 1.5, 0, -5], [0, 0, 3, 10], [0, 0, 0, 1]])
SHAPE = (7, 8, 9)
RAMP = np.indices(SHAPE, dtype=np.float64)


def _shift(*mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def test_a_grid_says_what_its_affine_means():
    grid = Grid(SHAPE, AFFINE)
    assert grid.spacing_mm == (2.0, 1.5, 3.0)
    assert grid.voxel_volume_mm3 == 9.0
    assert grid.orientation == "LAS"  # the first axis runs to the patient's left


def test_the_same_grid_gives_the_same_values():
    image = np.random.default_rng(3).normal(size=SHAPE)
    np.testing.assert_allclose(resample_image(image, AFFINE, Grid(SHAPE, AFFINE), np.eye(4)), image, rtol=1e-6)
    labels = np.random.default_rng(3).integers(0, 20, SHAPE, dtype=np.int16)
    assert np.array_equal(resample_labels(labels, AFFINE, Grid(SHAPE, AFFINE), np.eye(4)), labels)


def test_a_shift_reads_the_world_point_it_names():
    image = RAMP[0] + 10 * RAMP[1] + 100 * RAMP[2]
    moved = resample_image(image, AFFINE, Grid(SHAPE, AFFINE), _shift(-1, 0.75, 1.5), outside=-7)
    # 1 mm to the left is half a voxel up the first axis (it runs to the left), 0.75 and 1.5 mm half a voxel each
    assert moved[2, 3, 4] == pytest.approx(image[2, 3, 4] + 0.5 + 5 + 50)
    far = resample_image(image, AFFINE, Grid(SHAPE, AFFINE), _shift(200, 0, 0), outside=-7)
    assert (far == -7).all()


def test_an_oblique_grid_reads_the_same_world_points():
    image = RAMP[0] + 10 * RAMP[1] + 100 * RAMP[2]
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    grid = Grid((1, 1, 1), _shift(0.4, 1.0, 20.2) @ turn)
    voxel = np.linalg.inv(AFFINE) @ grid.affine @ [0, 0, 0, 1]
    assert resample_image(image, AFFINE, grid, np.eye(4))[0, 0, 0] == pytest.approx(voxel[:3] @ [1, 10, 100], rel=1e-5)


@given(
    st.tuples(*[st.floats(-30, 30)] * 3),
    st.tuples(*[st.floats(-8, 8)] * 3),
    st.sampled_from(["uint8", "int16", "int32", "int64", "uint16", "bool"]),
)
@settings(max_examples=40, deadline=None)
def test_every_label_of_the_result_is_a_label_of_the_input(degrees, shift, kind):
    labels = np.random.default_rng(5).choice([0, 3, 4, 11, 20, 250], SHAPE).astype(kind)
    matrix = _shift(*shift)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    moved = resample_labels(labels, AFFINE, Grid((9, 8, 7), np.diag([1.1, 1.3, 2.2, 1])), matrix)
    assert moved.dtype == labels.dtype
    assert set(np.unique(moved)) <= set(np.unique(labels)) | {0}


def test_there_and_back_keeps_a_solid_label():
    labels = np.zeros((20, 20, 20), dtype=np.int16)
    labels[6:14, 6:14, 6:14] = 17
    matrix = _shift(0.3, -0.2, 0.1)
    matrix[:3, :3] = Rotation.from_euler("xyz", (5, 3, -4), degrees=True).as_matrix()
    fine = Grid((60, 60, 60), np.diag([0.4, 0.4, 0.4, 1]) + _shift(-2, -2, -2) - np.eye(4))
    there = resample_labels(labels, np.eye(4), fine, matrix)
    back = resample_labels(there, fine.affine, Grid(labels.shape, np.eye(4)), np.linalg.inv(matrix))
    assert (back[7:13, 7:13, 7:13] == 17).all()
    assert set(np.unique(back)) == {0, 17}


def test_refusals_name_every_fault():
    grid = Grid(SHAPE, AFFINE)
    with pytest.raises(TypeError, match="labels must be integers or bool, got float64"):
        resample_labels(np.zeros(SHAPE), AFFINE, grid, np.eye(4))
    with pytest.raises(ValueError, match=r"image must be a volume.*transform must be"):
        resample_image(np.zeros((4, 4)), AFFINE, grid, np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"shape must be.*affine must be"):
        Grid((0, 3, 3), np.full((4, 4), np.nan))
