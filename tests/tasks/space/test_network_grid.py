"""The grid of the networks: in RAS along the scan's axes, the same however the scan is stored."""

import nibabel as nib
import numpy as np
import pytest

from tasks.segmentation import WINDOW
from tasks.space.network_grid import network_grid, to_network_grid, to_scan
from tasks.space.resample import Grid

AFFINE = np.array([[-0.9, 0.05, 0, 40], [0.04, 1.1, 0.3, -60], [0, -0.2, 5.0, -30], [0, 0, 0, 1.0]])
SHAPE = (70, 64, 18)


def _ball():
    x, y, z = np.indices(SHAPE)
    return (((x - 33) / 24) ** 2 + ((y - 30) / 26) ** 2 + ((z - 9) / 6) ** 2) < 1


def test_the_grid_has_voxels_of_2_mm_along_the_scans_axes_and_holds_the_brain():
    grid = network_grid(_ball(), AFFINE)
    assert grid.orientation == "RAS"
    np.testing.assert_allclose(grid.spacing_mm, 2.0)
    assert grid.shape == WINDOW
    voxels = np.argwhere(_ball()) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    at = (voxels - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T
    assert (at.min(axis=0) >= 1).all()  # 4 mm of margin, less half a voxel of the scan
    assert (at.max(axis=0) <= np.array(grid.shape) - 2).all()


def test_a_brain_larger_than_a_window_has_a_larger_grid():
    """200 x 150 x 150 mm and 4 mm on each side: 104 voxels, and the window along the others."""
    brain = np.ones((100, 75, 75), bool)
    assert network_grid(brain, np.diag([2.0, 2, 2, 1])).shape == (104, *WINDOW[1:])


def test_a_brain_that_fills_a_window_has_no_margin_and_loses_nothing():
    """158 mm of 160: with the margin it would need a second window."""
    brain = np.zeros((90, 80, 80), bool)
    brain[5:84, 3:70, 4:60] = True
    affine = np.diag([2.0, 2, 2, 1])
    grid = network_grid(brain, affine)
    assert grid.shape == WINDOW
    back = to_scan(to_network_grid(brain.astype(np.float32), affine, grid), grid, brain.shape, affine)
    np.testing.assert_array_equal(back > 0.5, brain)


@pytest.mark.parametrize("codes", ["LPS", "SAR", "AIL"])
def test_a_scan_stored_in_another_order_has_the_same_grid(codes):
    image = nib.Nifti1Image(_ball().astype(np.uint8), AFFINE)
    wanted = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(codes)))
    other = image.as_reoriented(wanted)
    grid, turned = network_grid(_ball(), AFFINE), network_grid(np.asarray(other.dataobj) > 0, other.affine)
    assert turned.shape == grid.shape
    np.testing.assert_allclose(turned.affine, grid.affine, atol=1e-6)


def test_an_image_comes_back_from_the_grid():
    x, y, z = np.indices(SHAPE)
    smooth = (np.sin(x / 9) + np.cos(y / 8) + z / 9).astype(np.float32)
    grid = network_grid(_ball(), AFFINE)
    back = to_scan(to_network_grid(smooth, AFFINE, grid), grid, SHAPE, AFFINE)
    inner = _ball()
    assert np.abs(back - smooth)[inner].max() < 0.05
    assert np.abs(back - smooth)[inner].mean() < 0.01


def test_finer_voxels_are_averaged_so_that_noise_falls():
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    noise = np.random.default_rng(2).standard_normal((160, 160, 20)).astype(np.float32)
    grid = Grid((30, 30, 16), np.array([[2.0, 0, 0, 8], [0, 2.0, 0, 8], [0, 0, 2.0, 2], [0, 0, 0, 1]]))
    assert to_network_grid(noise, affine, grid).std() < 0.4  # a quarter for the mean of 4 x 4 voxels, plus a rest


def test_an_empty_brain_is_refused():
    with pytest.raises(ValueError, match="brain must hold at least one voxel"):
        network_grid(np.zeros(SHAPE, bool), AFFINE)
