"""Noise of known strength and grain, and patterns worked by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from tasks.brain import ct_working_scan, extract_ct_brain
from tasks.quality.noise import brain_noise, filled, interior
from tasks.space.working_grid import to_working_grid
from tests.tasks.head_phantom import head_scan


def _noise_of(values, spacing_mm=(1.8, 1.8, 5.0), is_ct=True):
    scan = to_working_grid(values, np.diag([*spacing_mm, 1.0]), (-1e6, 1e6))
    return brain_noise(values, scan, np.ones(scan.values.shape, dtype=bool), is_ct=is_ct)


@pytest.mark.parametrize("sigma", [1.0, 5.0, 20.0])
def test_white_noise_is_found(sigma):
    values = np.random.default_rng(1).normal(35, sigma, (100, 110, 12)).astype(np.float32)
    assert _noise_of(values).typical == pytest.approx(sigma, rel=0.03)
    assert _noise_of(values, is_ct=False).typical == pytest.approx(sigma, rel=0.03)


def test_noise_with_the_grain_of_ct_is_found():
    white = np.random.default_rng(1).normal(0, 1, (400, 400, 6))
    grain = ndimage.gaussian_filter(white, (0.95, 0.95, 0))  # 1 mm wide at 0.45 mm
    values = (35 + 4 * grain / grain.std()).astype(np.float32)
    assert _noise_of(values, (0.45, 0.45, 5.0)).typical == pytest.approx(4, rel=0.05)
    assert _noise_of(values, (0.45, 0.45, 5.0), is_ct=False).typical < 1  # neighbours are alike


def test_a_chequerboard_by_hand():
    # Each second difference of +1, -1, +1 is 4; the mixed one 16; over 6 and over the median of a normal, 0.6745.
    x, y = np.indices((60, 60))
    board = np.repeat(((-1.0) ** (x + y))[:, :, None], 4, axis=2).astype(np.float32)
    inner = np.zeros(board.shape, dtype=bool)
    inner[2:-2, 2:-2] = True
    scan = to_working_grid(board, np.diag([1.8, 1.8, 5.0, 1.0]), (-10, 10))
    assert brain_noise(board, scan, inner, is_ct=True).typical == pytest.approx(16 / 6 / 0.6745, rel=1e-6)


def test_anatomy_that_changes_evenly_is_no_noise():
    x, y, z = np.indices((80, 80, 5)).astype(np.float32)
    scan = to_working_grid(3 * x - 2 * y + 7 * z, np.diag([1.8, 1.8, 5.0, 1.0]), (-1e6, 1e6))
    inside = interior(np.ones(scan.values.shape, dtype=bool), scan)
    found = brain_noise(3 * x - 2 * y + 7 * z, scan, inside, is_ct=True)
    assert (found.typical, found.streak) == pytest.approx((0, 0), abs=1e-4)


def test_the_slice_axis_does_not_matter():
    values, affine, _, _ = head_scan(degrees=(0, 0, 8))
    scan = ct_working_scan(values, affine)
    inside = interior(extract_ct_brain(scan).mask, scan)
    turn = np.eye(4)[[2, 0, 1, 3]]
    turned = to_working_grid(values.transpose(2, 0, 1), affine @ turn.T, (0, 1500))
    assert turned.slice_axis == 0
    plain = brain_noise(values, scan, inside, is_ct=True)
    other = brain_noise(values.transpose(2, 0, 1), turned, inside.transpose(2, 0, 1), is_ct=True)
    assert dataclasses.astuple(plain) == pytest.approx(dataclasses.astuple(other))


def test_too_little_brain_has_no_noise():
    assert _noise_of(np.ones((10, 10, 4), dtype=np.float32)) is None


def test_one_noisier_slice_is_a_streak_by_its_excess():
    # A tenth of the slices has 15 where the others have 9: the root of 225 - 81 is 12.
    rng = np.random.default_rng(2)
    values = rng.normal(35, 9, (150, 150, 10)).astype(np.float32)
    values[:, :, 4] = rng.normal(35, 15, (150, 150))
    found = _noise_of(values)
    assert found.streak == pytest.approx(12, rel=0.05)
    assert found.typical == pytest.approx(9, rel=0.03)


def test_a_margin_is_taken_within_the_slice_only():
    scan = to_working_grid(np.zeros((20, 20, 6)), np.diag([2.0, 2.5, 5.0, 1.0]), (0, 1))
    inside = interior(np.ones((20, 20, 6), dtype=bool), scan, margin_mm=5)
    expected = np.zeros((20, 20, 6), dtype=bool)
    expected[3:-3, 2:-2] = True
    np.testing.assert_array_equal(inside, expected)


def test_notches_and_holes_are_filled():
    picture = ["..###..", ".##.##.", "###....", ".#####."]
    mask = np.array([[one == "#" for one in row] for row in picture])[:, :, None]
    whole = filled(mask, 2)[:, :, 0]
    assert ["".join("#" if one else "." for one in row) for row in whole] == [
        "..###..",
        ".#####.",
        "######.",
        ".#####.",
    ]
