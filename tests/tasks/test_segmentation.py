"""The channels of the networks, worked by hand."""

import numpy as np
import pytest

from tasks.segmentation import CLASSES, INFARCT, dwi_channels, region_channels, template_places

BRAIN = np.array([[[True, True, True, False]]])


def test_the_infarct_is_the_last_class():
    assert CLASSES[INFARCT] == "infarct"
    assert len(CLASSES) - 1 == INFARCT


def test_signal_is_the_logarithm_relative_to_the_brains_median():
    signal = np.array([[[50.0, 100.0, 200.0, 900.0]]], np.float32)
    adc = np.array([[[0.5, 0.8, 9.0, 0.8]]], np.float32)
    channels = dwi_channels(signal, adc, BRAIN)
    np.testing.assert_allclose(channels[0, 0, 0], [-np.log(2), 0, np.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(channels[1, 0, 0], [0.5 / 0.8 - 1, 0, 4.5 - 1, 0], atol=1e-6)
    np.testing.assert_array_equal(channels[2, 0, 0], [1, 1, 1, 0])


def test_without_adc_its_channels_are_empty():
    channels = dwi_channels(np.full((1, 1, 4), 7, np.float32), None, BRAIN)
    assert not channels[1:].any()


@pytest.mark.parametrize("unit", [1e-3, 1.0, 4000.0])
def test_the_unit_of_the_signal_does_not_matter(unit):
    signal = np.random.default_rng(1).uniform(1, 9, (4, 5, 6)).astype(np.float32)
    brain = signal > 2
    np.testing.assert_allclose(dwi_channels(signal * unit, None, brain), dwi_channels(signal, None, brain), atol=1e-5)


@pytest.mark.parametrize("signal", [np.zeros((1, 1, 4)), np.full((1, 1, 4), -3.0)])
def test_a_scan_without_signal_gives_finite_channels(signal):
    assert np.isfinite(dwi_channels(signal.astype(np.float32), None, BRAIN)).all()


def test_an_empty_brain_gives_empty_channels():
    empty = np.zeros((2, 2, 2), bool)
    values = np.ones((2, 2, 2), np.float32)
    assert not dwi_channels(values, values, empty).any()
    assert not region_channels(values, empty, np.eye(4), "ct").any()


def test_ct_is_counted_in_tens_of_hounsfield_units_from_the_brains_median():
    hu = np.array([[[20.0, 30.0, 45.0, 900.0]]], np.float32)
    channels = region_channels(hu, BRAIN, np.eye(4), "ct")
    np.testing.assert_allclose(channels[0, 0, 0], [-1.0, 0, 1.5, 0])
    np.testing.assert_array_equal(channels[1:3, 0, 0], [[0, 0, 0, 0], [1, 1, 1, 0]])
    assert region_channels(hu, BRAIN, np.eye(4), "dwi")[1].sum() == 3


def test_both_hemispheres_have_the_same_place():
    """Voxels of 20 mm from -40 mm: at -40, -20, 0, 20 mm they lie 40, 20, 0, 20 mm from the midline; y is -60 mm."""
    to_template = np.array([[20.0, 0, 0, -40], [0, 1, 0, -60], [0, 0, 1, 30]])
    brain = np.ones((4, 1, 1), bool)
    channels = region_channels(np.ones((4, 1, 1), np.float32), brain, to_template, "ct")
    np.testing.assert_allclose(channels[3:, :, 0, 0], [[1, 0.5, 0, 0.5], [-1.5] * 4, [0.75] * 4])
    np.testing.assert_allclose(template_places(to_template, (4, 1, 1))[0, :, 0, 0], [-40, -20, 0, 20])
