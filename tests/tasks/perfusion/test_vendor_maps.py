import numpy as np
import pytest
from scipy import io

from tasks.perfusion.vendor_maps import cbf_unit_factor, convert_cbf

PER_VOLUME = 1 / 1.04


def brain_map(shape=(12, 13, 5)):
    """True CBF: grey 60, white 25, and a background of zero."""
    cbf = np.zeros(shape, dtype=np.float32)
    cbf[2:10, 2:11], cbf[4:7, 4:8] = 60, 25
    return cbf


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("ml/100 g/min", 1),
        ("mL/100g/min", 1),
        ("ml/min/100g", 1),
        ("ml/(100 g*min)", 1),
        ("mL/(100.g.min)", 1),  # UCUM
        ("mL.min-1.100g-1", 1),
        ("ml·100g⁻¹·min⁻¹", 1),
        ("ml/100g/sec", 60),
        ("ml/g/min", 100),
        ("ml/100ml/min", PER_VOLUME),
        ("ml/min/100 ml", PER_VOLUME),
        ("ml/100 ml/s", 60 * PER_VOLUME),
        ("ml/ml/s", 6000 * PER_VOLUME),
        ("cc/100g/minute", 1),
        ("0.1 ml/100 g/min", 0.1),
        ("1e-2 ml/100g/min", 0.01),
    ],
)
def test_units_as_they_are_written(unit, factor):
    assert cbf_unit_factor(unit) == pytest.approx(factor)


@pytest.mark.parametrize("unit", [None, "", "%", "a.u.", "ml", "ml/100 g", "s", "1/min", "ml/100 g/min/s", "HU", "US"])
def test_no_flow_is_no_unit(unit):
    result = convert_cbf(brain_map(), unit)
    assert result.reason == "cbf_unit_unknown"
    assert repr(unit) in result.detail
    assert result.cbf is None


@pytest.mark.parametrize(
    ("unit", "factor"), [("ml/100 g/min", 1), ("ml/100ml/min", PER_VOLUME), ("ml/100 ml/s", 60 * PER_VOLUME)]
)
def test_a_map_in_any_unit_gives_the_same_flow(unit, factor):
    result = convert_cbf(brain_map() / factor, unit, grey=brain_map() == 60)
    assert result.reason == ""
    assert result.factor == pytest.approx(factor)
    assert result.grey_median == pytest.approx(60)
    np.testing.assert_allclose(result.cbf[brain_map() > 0], brain_map()[brain_map() > 0], rtol=1e-5)


def test_scaled_integers_are_scaled():
    stored = (brain_map() * 10 + 5).astype(np.int16)
    result = convert_cbf(stored, "ml/100 g/min", scaling=(0.1, -0.5), brain=brain_map() > 0)
    np.testing.assert_allclose(result.cbf[brain_map() > 0], brain_map()[brain_map() > 0], rtol=1e-5)
    assert convert_cbf(stored, "ml/100 g/min").reason == "cbf_implausible"  # the scale was forgotten
    assert convert_cbf((brain_map() * 10).astype(np.int16), "0.1 ml/100g/min").grey_median == pytest.approx(60)


@pytest.mark.parametrize("wrong", [60, 1 / 60, 10, 0.1, 100])
def test_a_wrong_unit_is_found_by_grey_matter(wrong):
    for grey in (brain_map() == 60, None):
        result = convert_cbf(brain_map() * wrong, "ml/100 g/min", grey=grey)
        assert result.reason == "cbf_implausible"
        assert result.grey_median == pytest.approx(60 * wrong)
        assert "20 to 120 ml/100 g/min" in result.detail


def test_a_zero_is_no_measurement_unless_the_setting_says_so():
    stored, brain = brain_map(), brain_map() > 0
    stored[5, 5] = 0  # five voxels in the brain
    blanked = convert_cbf(stored, "ml/100 g/min", brain=brain)
    assert np.isnan(blanked.cbf[5, 5]).all()
    assert blanked.zero_share == pytest.approx(5 / brain.sum())
    assert (convert_cbf(stored, "ml/100 g/min", brain=brain, zero_means="no_flow").cbf[5, 5] == 0).all()


def test_negative_and_infinite_values_are_no_measurement():
    stored = brain_map()
    stored[3, 3], stored[3, 4] = -1, np.inf
    result = convert_cbf(stored, "ml/100 g/min")
    assert np.isnan(result.cbf[3, 3:5]).all()
    assert result.reason == ""


@pytest.mark.parametrize(
    "colours",
    [
        np.zeros((8, 9, 4, 3), dtype=np.uint8),
        np.zeros((8, 9, 4, 4), dtype=np.uint8),
        np.zeros((8, 9, 4, 3), dtype=np.float32),
        np.zeros((8, 9, 3), dtype=np.uint8),
        np.zeros((8, 9, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]),
    ],
)
def test_pictures_are_refused(colours):
    result = convert_cbf(colours, "ml/100 g/min")
    assert result.reason == "colour_map"
    assert "as numbers" in result.detail


def test_what_is_no_map_is_refused():
    assert convert_cbf(np.zeros((8, 9)), "ml/100 g/min").reason == "wrong_dimensions"
    assert convert_cbf(np.zeros((8, 9, 4, 7)), "ml/100 g/min").reason == "wrong_dimensions"
    assert convert_cbf(np.zeros((8, 9, 4)), "ml/100 g/min").reason == "map_empty"
    assert convert_cbf(brain_map()[..., None], "ml/100 g/min").cbf.shape == brain_map().shape
    with pytest.raises(ValueError, match="grey must have the map's shape"):
        convert_cbf(brain_map(), "ml/100 g/min", grey=np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(ValueError, match="zero_means must be"):
        convert_cbf(brain_map(), "ml/100 g/min", zero_means="core")


@pytest.mark.real_data
def test_the_digital_phantom_is_plausible_in_its_unit_only(real_data):
    content = io.loadmat(real_data / "ctp" / "phantom.mat")
    cbf = content["cbf"][..., None]
    result = convert_cbf(cbf, "ml/100 g/min")
    assert result.reason == ""
    assert 40 < result.grey_median < 65  # mean of its grey matter is 53.18
    assert convert_cbf(cbf / 60, "ml/100 g/s").grey_median == pytest.approx(result.grey_median, rel=1e-5)
    assert convert_cbf(cbf / 60, "ml/100 g/min").reason == "cbf_implausible"
