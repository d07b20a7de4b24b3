"""A series as JSON: colours decode to the values they stand for, the left core is on the right, NaN is transparent."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from reports.figures.map_colours import SCALES, map_png, palette
from reports.figures.perfusion_picture import PerfusionCurves, PerfusionFindings, perfusion_picture
from tests.reports.perfusion_views import AIF_VOXEL, SERIES, TABLE, TIMES_S, curves, full, refused, series, vendor


def _pixels(data):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def _values(data, scale):
    """Values of a coloured map by the nearest colour of matplotlib's own palette; NaN where transparent."""
    pixels = _pixels(data)
    shades = np.array(colormaps["viridis"](np.linspace(0, 1, 256), bytes=True)[:, :3], dtype=int)
    nearest = ((pixels[..., None, :3] - shades) ** 2).sum(axis=-1).argmin(axis=-1)
    return np.where(pixels[..., 3] > 0, scale["low"] + nearest / 255 * (scale["high"] - scale["low"]), np.nan)


def test_ends_of_the_palette_are_viridis_as_published_and_beyond_them_nothing_changes():
    pixels = _pixels(map_png(np.array([[0.0, -3.0, 80.0, 500.0, np.nan]]), 0.0, 80.0))[0]
    assert pixels[:2, :3].tolist() == [[68, 1, 84]] * 2  # "#440154"
    assert pixels[2:4, :3].tolist() == [[253, 231, 36]] * 2 or pixels[2:4, :3].tolist() == [[253, 231, 37]] * 2
    assert pixels[:, 3].tolist() == [255] * 4 + [0]


def test_lightness_rises_from_colour_to_colour():
    red, green, blue = np.array(palette()).T / 255
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    assert (np.diff(luminance) > 0).all()


@pytest.mark.parametrize("name", ["cbf", "cbv", "mtt", "tmax"])
def test_a_decoded_map_has_the_values_of_the_series(name):
    plane, scale = full()["maps"][0], SCALES[name]
    values = _values(plane["maps"][name], scale)
    step = (scale["high"] - scale["low"]) / 63
    height, width = values.shape
    at = {"core": (38, 30), "brain": (-30, 30), "late": (38, 10)}  # mm to the left of and in front of the middle
    for where, (left_mm, front_mm) in at.items():
        row, column = int(height / 2 - front_mm / 1.5), int(width / 2 + left_mm / 1.5)
        assert values[row, column] == pytest.approx(SERIES[where][name], abs=step), where


def test_a_core_of_the_left_is_on_the_right_and_fluid_of_the_right_is_transparent():
    for base, plane in zip(full()["base"]["planes"], full()["maps"], strict=True):
        values = _values(plane["maps"]["cbf"], SCALES["cbf"])
        height, width = values.shape
        rows, columns = np.nonzero(values < 15)
        assert len(rows) * 1.5**2 == pytest.approx(18 * 18, rel=0.3)
        assert columns.min() > width / 2
        assert rows.max() < height / 2
        assert np.isnan(values[int(height / 2 + 20 / 1.5), int(width / 2 - 20 / 1.5)])
        assert np.isfinite(values[int(height / 2 + 20 / 1.5), int(width / 2 + 20 / 1.5)])
        for path in (base["lesion"], plane["hypoperfused"]):
            x = [float(corner) for corner in re.findall(r"M([\d.]+),", path)]
            assert base["width"] / 2 < min(x) < base["width"]


def test_areas_are_those_of_the_masks_on_the_slice():
    scan, _, late = series()
    for base, plane in zip(full()["base"]["planes"], full()["maps"], strict=True):
        k = base["slice"] - 1
        assert plane["core_mm2"] == pytest.approx(scan.lesion[:, :, k].sum() * 6.25, rel=0.06)
        assert plane["hypoperfused_mm2"] == pytest.approx(late[:, :, k].sum() * 6.25, rel=0.06)


def test_a_map_covers_the_grey_picture():
    for base, plane in zip(full()["base"]["planes"], full()["maps"], strict=True):
        assert plane["size"] == pytest.approx([base["width"], base["height"]], abs=1.5 / base["pixel_mm"])


def test_voxels_of_the_artery_are_on_its_slice():
    low, high = full()["vessels"]
    assert (low["slice"], low["n_slices"]) == (AIF_VOXEL[2] + 1, 12)
    assert (set(low["places"]), set(high["places"])) == ({"aif"}, {"vof"})
    ((x, y),) = low["places"]["aif"]
    assert _pixels(low["grey"])[int(y), int(x), 0] == 252  # the one voxel of 4000 HU


def test_a_picture_is_small_strict_json_and_the_same_every_time():
    scan, maps, late = series()
    made = [json.dumps(perfusion_picture(scan, TABLE, maps, late, curves()), allow_nan=False) for _ in range(2)]
    assert made[0] == made[1]
    assert len(made[0]) < 100_000


def test_what_is_not_finite_is_null():
    scan, _, _ = series()
    gap = np.where(np.arange(len(TIMES_S)) == 4, np.nan, 1.0)
    found = perfusion_picture(
        scan, TABLE, {}, None, PerfusionCurves(TIMES_S, aif=gap), PerfusionFindings(mismatch_ratio=float("inf"))
    )
    assert found["curves"]["aif"][3:6] == [1.0, None, 1.0]
    assert found["curves"]["vof"] == []
    assert found["curves"]["is_usable"] == [True] * len(TIMES_S)
    assert found["findings"]["mismatch_ratio"] is None


def test_parts_that_are_missing_are_empty():
    assert refused()["scales"] == refused()["vessels"] == []
    assert all(plane["maps"] == {} and plane["core_mm2"] == 0 for plane in refused()["maps"])
    assert vendor()["curves"] is None
    assert [scale["name"] for scale in vendor()["scales"]] == ["cbf"]


def test_unknown_maps_and_curves_of_another_length_are_named():
    scan, maps, _ = series()
    with pytest.raises(ValueError, match="maps must be among cbf, cbv, cbf_relative, cbv_relative, mtt, tmax, got ttp"):
        perfusion_picture(scan, TABLE, {"ttp": maps["cbf"]})
    with pytest.raises(ValueError, match=r"vof must have .* displacement_mm must have .* times_s must be increasing"):
        PerfusionCurves([0.0, 2.0, 2.0], vof=[1.0, 2.0], displacement_mm=[0.0])
