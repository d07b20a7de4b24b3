"""The charts: what is drawn where, and that names are text."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reports.document.tables import cell, interval, number, percent, proportion_cell
from reports.figures.brain_maps import AtlasLevel, AtlasSlices, deduction_maps
from reports.figures.charts import (
    Scatter,
    associations,
    bland_altman,
    deduction_histograms,
    forest,
    score_distributions,
)
from reports.figures.drawing import Chart, canvas, chart, file_stem, grade_colours, source_colours, style
from reports.statistics.rows import Row, Statistics
from tasks.anatomy import ASPECTS_REGIONS, Label, LabelTable
from tasks.views.convention import Convention

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '$x_1$ <script>alert(1)</script> & "quoted"'
EMPTY_ROW = Row(**dict.fromkeys(Row.__dataclass_fields__))


def row(estimate: float | None, lower: float | None = None, upper: float | None = None, **more: object) -> Row:
    return replace(
        EMPTY_ROW, statistic_id="id", quantity="q", method="m", estimate=estimate, lower=lower, upper=upper, **more
    )


def texts(drawn: Chart) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawn.svg).iter(f"{SVG}text")]


def test_names_are_text_never_markup_nor_mathematics() -> None:
    drawn = score_distributions({HOSTILE: [0.0] * 10 + [1.0]}, {HOSTILE: HOSTILE}, name="scores")
    assert texts(drawn).count(HOSTILE) == 2
    assert "<script" not in drawn.svg


def test_a_chart_is_the_same_bytes_every_time_and_stands_alone() -> None:
    first, second = (
        forest([("a", row(0.5, 0.4, 0.6, n=9))], name="icc", x_label="x", title="Forest") for _ in range(2)
    )
    assert first == second
    assert first.svg.startswith('<svg role="img" aria-label="Forest"')
    assert "<metadata" not in first.svg
    assert "<style" not in first.svg
    identifiers = re.findall(r'\bid="([^"]*)"', first.svg)
    assert identifiers
    assert all(name.startswith("icc-") for name in identifiers)
    used = re.findall(r'(?:href="#|url\(#)([^")]*)', first.svg)
    assert set(used) <= set(identifiers)
    assert "0.50 (0.40 to 0.60), n = 9" in texts(first)


def test_coordinates_are_rounded_but_scales_are_not() -> None:
    with style():
        figure, (ax,) = canvas(4, 3)
        ax.imshow(np.arange(77).reshape(7, 11), interpolation="none", aspect="auto")
        svg = chart("toy", "Toy", figure).svg
    numbers = [part for d in re.findall(r'\bd="([^"]*)"', svg) for part in re.findall(r"\d+\.(\d+)", d)]
    assert numbers
    assert max(len(part) for part in numbers) <= 2
    scale = re.search(r"<image.*?(?:matrix|scale)\(([\d.]+)", svg, re.DOTALL)
    assert scale is not None
    assert len(scale.group(1).partition(".")[2]) > 2


def bar_heights(drawn: Chart, colour: str) -> list[float]:
    heights = []
    for path in ElementTree.fromstring(drawn.svg).iter(f"{SVG}path"):
        if path.attrib.get("style") == f"fill: {colour}" and "clip-path" in path.attrib:
            y = [float(value) for value in re.findall(r"[ML] [\d.]+ ([\d.]+)", path.attrib["d"])]
            heights.append(max(y) - min(y))
    return heights


def test_bars_are_as_high_as_the_shares_of_their_rows() -> None:
    shares = {
        side: {
            "mild": {region: row(0.1 * (at + 1), 0.0, 1.0) for at, region in enumerate(ASPECTS_REGIONS)},
            "severe": dict.fromkeys(ASPECTS_REGIONS),
        }
        for side in ("left", "right", "any")
    }
    drawn = deduction_histograms(shares, {"mild": "mild, n = 8", "severe": "severe, n = 0"}, name="regions")
    heights = bar_heights(drawn, grade_colours(("mild", "severe"))["mild"])
    assert len(heights) == 30
    assert np.array(heights[:10]) / heights[0] == pytest.approx(np.arange(1, 11), rel=2e-3)
    assert {"Left hemisphere", "Right hemisphere", "Either hemisphere", "C", "L", "IC", "I", "M6"} <= set(texts(drawn))


def test_few_pairs_are_printed_as_counts() -> None:
    x, y = np.array([6.0, 6.0, 6.0, 10.0]), np.array([3.0, 3.0, 3.0, 0.0])
    drawn = associations([Scatter("s", "ASPECTS", "mRS", x, y, "n = 4")], name="association")
    assert "3" in texts(drawn)
    assert "n = 4" in texts(drawn)


def test_many_levels_are_bubbles_with_their_largest_count() -> None:
    x, y = np.array([6.0, 6.0, 10.0]), np.array([21.0, 21.0, 0.0])
    drawn = associations([Scatter("s", "ASPECTS", "NIHSS", x, y)], name="association")
    assert "largest bubble: 2 patients" in texts(drawn)


def test_bland_altman_prints_bias_and_limits() -> None:
    lines = {"bias": row(-0.17, -0.31, -0.03), "loa_lower": row(-2.13, -2.3, -1.9), "loa_upper": None}
    drawn = bland_altman(np.array([5.0, 7.0, 7.0]), np.array([5.0, 6.0, 6.0]), lines, name="ba", title="b − a")
    assert {"−0.17", "−2.13", "b − a, n = 3", "largest bubble: 2 patients"} <= set(texts(drawn))


def embedded_pictures(drawn: Chart) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", drawn.svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")) for text in found]


def toy_slices() -> AtlasSlices:
    """One level of 40 x 50 voxels: a left region at low x in front, a right one at high x."""
    labels = np.zeros((40, 50), dtype=np.int16)
    labels[5:15, 30:45], labels[25:35, 30:45] = 2, 1
    table = LabelTable((Label(1, "right_m1", "right", "m1", "cortical"), Label(2, "left_m1", "left", "m1", "cortical")))
    return AtlasSlices("toy", table, (AtlasLevel("ganglionic", "z = 4 mm", np.ones((40, 50)), labels),))


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_sides_follow_the_convention_and_anterior_is_up_and_each_column_has_its_own_one(
    convention: Convention,
) -> None:
    left, right = ("left", "m1"), ("right", "m1")
    frequencies = {"mild": {left: 0.2, right: 0.0}, "severe": {left: 0.2, right: 0.4}}
    drawn = deduction_maps("maps", toy_slices(), frequencies, {"mild": "mild", "severe": "severe"}, convention)
    picture = max(embedded_pictures(drawn), key=lambda image: image.size)
    assert picture.shape == (50, 80, 3)
    placed = re.search(r'width="80" height="50" transform="matrix\([\d.]+ 0 0 (-?)', drawn.svg)
    assert placed is not None
    picture = picture[::-1] if placed.group(1) else picture  # rows from the top of the page down
    scale = mpl.colormaps["YlOrRd"]

    def colour(weight: float) -> list[int]:
        return np.rint(np.asarray(scale(weight))[:3] * 255).astype(int).tolist()

    front = 50 - 1 - 37  # the regions lie in front, in the upper part of the picture
    of_left, of_right = (30, 10) if convention == "radiological" else (10, 30)
    assert picture[front, of_left].tolist() == colour(1.0)
    assert picture[front, of_right].tolist() == colour(0.0)
    assert picture[front, 40 + of_left].tolist() == colour(0.5)
    assert picture[front, 40 + of_right].tolist() == colour(1.0)
    assert picture[45, 10].tolist() == [255, 255, 255]
    letters = [text for text in texts(drawn) if text in ("L", "R")]
    assert letters[:2] == (["R", "L"] if convention == "radiological" else ["L", "R"])
    assert {"mild", "1.0 = 20% of patients", "1.0 = 40% of patients", "L", "R", "M1"} <= set(texts(drawn))


def test_slices_of_unequal_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"background and labels of low must be slices of one shape, got \(2, 3\)"):
        AtlasLevel("low", "z = 0 mm", np.zeros((2, 3)), np.zeros((3, 2), dtype=np.int16))


def test_twelve_sources_look_different() -> None:
    looks = source_colours([f"s{number}" for number in range(12)])
    assert len({(colour, str(dash)) for colour, dash in looks.values()}) == 12
    assert len(set(grade_colours(["a", "b", "c", "d", "e"]).values())) == 5


def test_file_names_hold_no_path() -> None:
    assert file_stem("../../etc/passwd", "Ä:B") == "etc-passwd-b"


def test_cells_round_and_carry_counts() -> None:
    share = row(189 / 207, 0.8665, 0.9441, numerator=189, denominator=207)  # METHODS A.7, fixture 3
    assert proportion_cell(share).text == "91.3 %"
    assert proportion_cell(share).under == "86.7 to 94.4\n189/207"
    assert cell(row(-0.17, -0.3063, -0.0337)).under == "−0.31 to −0.03"
    assert interval(row(0.5)) == ""
    assert number(float("inf")) == "∞"
    assert percent(None) == "n/c"  # not computed; a dash would pass for none
    assert proportion_cell(None).text == ""  # there is no such number


def test_a_forest_of_few_patients_keeps_its_scale_and_says_the_number() -> None:
    drawn = forest([("a", row(-8.0, n=2)), ("b", row(0.5, 0.1, 0.8, n=9))], name="icc", x_label="x", title="Forest")
    assert "−8.00, n = 2" in texts(drawn)
    ticks = [float(text.replace("−", "-")) for text in texts(drawn) if re.fullmatch(r"−?\d\.\d\d?", text)]
    assert min(ticks) == -1.0


def test_statistics_are_found_by_their_names() -> None:
    frame = pd.DataFrame([{**EMPTY_ROW.__dict__, "statistic_id": "a", "section": "roc", "quantity": "auc",
                           "measure": "score", "source": "s", "analysis_set": "included",
                           "estimate": 0.7, "n": 5}])  # fmt: skip
    statistics = Statistics(frame)
    found = statistics.get("roc", "auc:score", "s", None, "included")
    assert found is not None
    assert (found.estimate, found.n, found.quantity, found.measure, found.lower) == (0.7, 5, "auc", "score", None)
    assert statistics.get("roc", "auc:score", "other", None, "included") is None
    assert [item.statistic_id for item in statistics.select("roc", "auc")] == ["a"]
