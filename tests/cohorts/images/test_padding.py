"""Padding of any value around an image of any outline; the same value inside the head is real."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cohorts.images.padding import connected_to_edge, padding_of
from cohorts.images.units import as_hounsfield

SHAPE = (48, 56, 9)
FLUID = (slice(20, 28), slice(24, 32), slice(3, 6))


def _head(offset_hu=0.0):
    """A head of 34 HU in bone and air, with a ventricle of fluid at exactly 0 HU."""
    x, y, z = np.indices(SHAPE)
    radius = np.hypot((x - 23.5) / 16, (y - 27.5) / 20) / np.sqrt(1 - ((z - 4) / 9) ** 2)
    values = np.full(SHAPE, -1000.0)
    values[radius < 1] = 900
    values[radius < 0.85] = 34
    values += np.random.default_rng(3).integers(-4, 5, SHAPE)
    values[FLUID] = 0
    return (values + offset_hu).astype(np.float32)


def _circle():
    x, y, _ = np.indices(SHAPE)
    return np.hypot(x - 23.5, y - 27.5) > 26


def _bars():
    outside = np.zeros(SHAPE, dtype=bool)
    outside[:, :5] = outside[:, -4:] = True
    return outside


def _one_bar():
    outside = np.zeros(SHAPE, dtype=bool)
    outside[:4] = True
    return outside


def _tilted():
    """What a volume leaves empty that was sheared by a gantry tilt: a wedge before and one behind."""
    _, y, z = np.indices(SHAPE)
    return (y < 2 * z - 6) | (y > SHAPE[1] - 9 + 2 * z)


def _blank_slices():
    outside = np.zeros(SHAPE, dtype=bool)
    outside[:, :, :2] = True
    return outside


OUTLINES = {"circle": _circle, "bars": _bars, "one bar": _one_bar, "tilted": _tilted, "slices": _blank_slices}


@pytest.mark.parametrize("outline", OUTLINES)
@pytest.mark.parametrize("value", [-3024.0, -2000.0, -1024.0, -1000.0, 0.0, 34.0, 1000.0, 3071.0, 32767.0])
def test_declared_padding_ends_where_the_image_begins(outline, value):
    outside = OUTLINES[outline]()
    values = np.where(outside, value, _head())
    values[24, 28, 4] = value  # real: a voxel of fluid, metal or air deep inside
    found = np.stack([connected_to_edge(one) for one in np.moveaxis(values == value, 2, 0)], axis=2)
    is_head = _head() > -900
    assert not (found & ~outside & is_head).any()
    assert not (outside & ~found).any()
    assert not found[24, 28, 4]
    assert not found[FLUID].any()


@pytest.mark.parametrize("offset_hu", [0.0, 1024.0])
@pytest.mark.parametrize("outline", OUTLINES)
@pytest.mark.parametrize("value", [-3024.0, -2000.0, -1024.0, -1000.0, 0.0, 1000.0, 3071.0])
def test_undeclared_padding_leaves_the_head_as_it_is(outline, value, offset_hu):
    head = _head()
    outside = OUTLINES[outline]()
    stored = np.where(outside, value, head + offset_hu).astype(np.float32)
    found, _, numbers = as_hounsfield(stored, "scan")
    inside = ~outside & (head > -900)
    np.testing.assert_array_equal(found[inside], head[inside])
    assert found[outside].max() <= -990
    assert numbers.get("offset_hu", 0.0) == offset_hu


def test_a_series_is_filled_in_every_frame():
    frames = np.stack([np.where(_circle(), 3071, _head() + rise) for rise in (0, 20, 5)], axis=-1).astype(np.float32)
    found, _, numbers = as_hounsfield(frames, "series")
    assert found[_circle()].max() < -990
    assert numbers["n_padding_voxels"] == _circle().sum()
    np.testing.assert_array_equal(found[..., 1][~_circle()], frames[..., 1][~_circle()])


def test_air_that_is_real_or_clipped_is_no_padding():
    head = _head()
    assert padding_of(head) is None
    for values in (head, head.clip(min=-1000), head.clip(min=0), np.where(head > -900, head, -1000).astype(np.float32)):
        found, _, numbers = as_hounsfield(values, "scan")
        np.testing.assert_array_equal(found, values)
        assert "padding_value" not in numbers


def test_scattered_voxels_at_the_border_are_no_padding():
    """Water that fills the grid: 0 HU with noise of 5 HU holds each value in 8 of 100 voxels."""
    water = np.rint(np.random.default_rng(5).normal(0, 5, (96, 96)))
    assert 600 < (water == 0).sum() < 900
    assert not connected_to_edge(water == 0).any()


def test_a_head_that_leaves_the_field_of_view_keeps_its_fluid():
    """Fluid of one value that touches padding of the same value is lost, but not what lies apart from it."""
    values = _head()[..., 4]
    values = np.where(np.hypot(*(np.indices(values.shape) - np.array([23.5, 27.5])[:, None, None])) > 14, 0, values)
    found = connected_to_edge(values == 0)
    assert not found[FLUID[:2]].any()
    assert ndimage.label(found)[1] == 1
