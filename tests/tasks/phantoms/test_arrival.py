from __future__ import annotations

import numpy as np
import pytest

from tasks.phantoms.arrival import MAXIMUM_NODES, arrival_times, smooth_field


def test_even_tissue_is_crossed_in_straight_lines_along_axes_and_diagonals() -> None:
    domain = np.ones((7, 8, 9), dtype=bool)
    rng = np.random.default_rng(1)
    times = arrival_times(domain, (1, 2, 3), (1.0, 1.5, 2.0), 5.0, 0.0, rng).reshape(domain.shape)
    assert times[1, 2, 3] == 0
    assert times[5, 2, 3] == pytest.approx(4.0)  # 4 voxels of 1 mm
    assert times[1, 6, 3] == pytest.approx(6.0)  # 4 voxels of 1.5 mm
    assert times[1, 2, 7] == pytest.approx(8.0)  # 4 voxels of 2 mm
    assert times[4, 5, 6] == pytest.approx(3 * np.sqrt(1 + 2.25 + 4))  # 3 steps over the voxel's diagonal


def test_the_front_goes_round_a_wall() -> None:
    domain = np.ones((5, 5, 1), dtype=bool)
    domain[2, :4] = False  # a wall with one gap at the far end
    times = np.full(domain.shape, np.nan)
    times[domain] = arrival_times(domain, (0, 0, 0), (1.0, 1.0, 1.0), 5.0, 0.0, np.random.default_rng(1))
    # (0,0) -> (1,3): 2 straight, 1 diagonal; over the gap at (2,4): 2 diagonals; back (3,3) -> (3,0): 3 straight
    assert times[3, 0, 0] == pytest.approx(2 + np.sqrt(2) + 2 * np.sqrt(2) + 3)


def test_blocks_change_times_by_less_than_a_block() -> None:
    domain = np.ones((40, 40, 40), dtype=bool)
    assert domain.sum() > MAXIMUM_NODES  # so it is solved on blocks of 2
    times = arrival_times(domain, (20, 20, 20), (1.0, 1.0, 1.0), 5.0, 0.0, np.random.default_rng(1))
    along_axis = times.reshape(domain.shape)[:, 20, 20]
    np.testing.assert_allclose(along_axis[21:39], np.arange(1, 19), atol=1.0)


def test_smooth_field_has_unit_variance_and_the_asked_scale() -> None:
    field = smooth_field((40, 40, 40), np.full(3, 4.0), np.random.default_rng(3))
    assert field.std() == pytest.approx(1.0)
    near = np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1]
    far = np.corrcoef(field[:-16].ravel(), field[16:].ravel())[0, 1]
    # white noise smoothed with sigma s is correlated exp(-d^2 / 4 s^2): .98 at 1 voxel, .02 at 16
    # the octave of a third of the scale holds a tenth of the variance: exp(-1 / (4 * 1.33^2)) = .87
    assert near == pytest.approx(0.9 * 0.984 + 0.1 * 0.869, abs=0.02)
    assert abs(far) < 0.25
