"""The papers' HU windows, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.density.windows import WINDOWS, Window, method_window


@pytest.mark.parametrize(
    ("method", "profile", "low_hu", "high_hu"),
    [("rad", "as-paper", 0, 80), ("danet", "as-paper", 5, 55), ("danet", "as-code", 0, 60)],
)
def test_the_printed_windows(method, profile, low_hu, high_hu):
    window = method_window(method, profile)
    assert (window.low_hu, window.high_hu) == (low_hu, high_hu)


def test_the_paper_is_the_default():
    for method, profiles in WINDOWS.items():
        assert method_window(method) == profiles["as-paper"]


def test_values_are_clipped_and_scaled():
    values = np.array([[-1024, 5, 30], [42.5, 55, 3071]])
    scaled = method_window("danet").apply(values)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[0, 0, 0.5], [0.75, 1, 1]])


def test_integers_do_not_wrap():
    np.testing.assert_allclose(Window(30, 60).apply(np.array([0, 30], dtype=np.uint8)), [0, 0.5])


def test_nan_stays_nan():
    assert np.isnan(Window(40, 80).apply(np.array([np.nan]))[0])


def test_share_hidden_by_contrast():
    assert Window(40, 80).saturated_share(np.array([20, 79.9, 80, 300])) == 0.5
    with pytest.raises(ValueError, match=r"values must not be empty, got 0 voxels\. Leave an empty region out"):
        Window(40, 80).saturated_share(np.array([]))


def test_every_fault_of_a_window_is_named():
    with pytest.raises(ValueError, match=r"level_hu must be finite, got nan HU.*width_hu must be > 0 HU, got -80 HU"):
        Window(np.nan, -80)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="method must be one of rad, danet, got 'dasp'"):
        method_window("dasp")
    with pytest.raises(ValueError, match="profile of rad must be one of as-paper, got 'as-code'"):
        method_window("rad", "as-code")
