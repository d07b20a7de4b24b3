"""Block means against sums written out, and the world position of every block."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tasks.space.working_grid import to_native_grid, to_working_grid

AFFINE = np.array([[0.0, 0.9, 0, -20], [-0.6, 0, 0, 30], [0, 0, 4.0, 5], [0, 0, 0, 1]])  # 0.6 x 0.9 x 4 mm, turned axes


def _slow_means(image, factors):
    padded = np.pad(
        image, [(0, -size % factor) for size, factor in zip(image.shape, factors, strict=True)], mode="edge"
    )
    shape = [size // factor for size, factor in zip(padded.shape, factors, strict=True)]
    means = np.empty(shape)
    for index in itertools.product(*map(range, shape)):
        block = tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))
        means[index] = padded[block].mean()
    return means


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["int16", "float64", "uint8"])
def test_a_block_is_the_mean_of_its_voxels(order, kind):
    image = np.array(np.random.default_rng(1).integers(0, 200, (7, 8, 9)), dtype=kind, order=order)
    scan = to_working_grid(image, AFFINE, (0, 500))
    assert scan.factors == (3, 2, 1)
    assert scan.slice_axis == 2
    np.testing.assert_allclose(scan.values, _slow_means(image.astype(float), scan.factors), rtol=1e-6)


def test_a_block_lies_at_the_mean_position_of_its_voxels():
    scan = to_working_grid(np.zeros((6, 8, 9)), AFFINE, (0, 1))
    voxels = np.array([[3, 2, 4, 1], [4, 2, 4, 1], [5, 2, 4, 1], [3, 3, 4, 1], [4, 3, 4, 1], [5, 3, 4, 1]])
    np.testing.assert_allclose(scan.affine @ [1, 1, 4, 1], (AFFINE @ voxels.T).mean(axis=1))
    np.testing.assert_allclose(scan.spacing_mm, [1.8, 1.8, 4.0])


def test_values_are_limited_before_averaging_and_nan_counts_as_the_lower_limit():
    image = np.full((6, 8, 9), 50.0)
    image[0, 0, 0], image[1, 0, 0], image[2, 0, 0] = 4000, np.nan, -900
    scan = to_working_grid(image, AFFINE, (0, 100))
    assert scan.values[0, 0, 0] == pytest.approx((100 + 0 + 0 + 3 * 50) / 6)
    assert scan.values[1, 1, 1] == pytest.approx(50)


def test_a_mask_comes_back_to_every_voxel_of_its_block():
    scan = to_working_grid(np.zeros((7, 8, 9)), AFFINE, (0, 1))
    mask = np.zeros(scan.values.shape, dtype=bool)
    mask[2, 3, 4] = True
    native = to_native_grid(mask, scan)
    assert native.shape == (7, 8, 9)
    assert np.argwhere(native).tolist() == [[6, 6, 4], [6, 7, 4]]  # the last block of the first axis holds one voxel


def test_what_is_no_volume_is_refused():
    with pytest.raises(ValueError, match="image must be a volume"):
        to_working_grid(np.zeros((4, 4)), AFFINE, (0, 1))
    with pytest.raises(ValueError, match="affine must be"):
        to_working_grid(np.zeros((4, 4, 4)), np.zeros((4, 4)), (0, 1))
