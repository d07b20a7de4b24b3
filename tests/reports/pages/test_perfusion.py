"""The perfusion panel: curves where they belong, outlines on the CT, refusals in words, missing parts left out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reports.figures.perfusion_charts import ARTERY_COLOUR, curve_charts
from reports.pages.patient import patient_page
from reports.pages.perfusion import perfusion_panel
from reports.pages.view import Drawing
from tests.reports.page_views import cohort_view, included, scan_row
from tests.reports.pages.test_patient import _parsed
from tests.reports.perfusion_views import AIF_HU, REJECTED, TIMES_S, full, refused, vendor


def _page(picture):
    scan = scan_row("sub-0001", modality="ctp")
    drawing = Drawing("core-ctp", "ctp", ("ctp-core",), None, picture)
    return patient_page(included(scans=[scan], drawings=[drawing]), cohort_view())


def _points(svg, colour, dash):
    """Corners of the line of a colour, solid or dashed."""
    for d, look in re.findall(r'<path d="([^"]+)"[^>]*style="([^"]*)"', svg):
        if f"stroke: {colour}" in look and ("dasharray" in look) == dash and d.count("L") > 5:
            return np.array(re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", d), dtype=float)
    raise AssertionError(colour)


def test_points_of_the_artery_lie_at_their_times_and_values():
    vessels = curve_charts(full()["curves"], "left", 1.25, name="p")[0].svg
    points = _points(vessels, ARTERY_COLOUR, dash=False)
    is_used = np.arange(len(TIMES_S)) != REJECTED
    assert len(points) == is_used.sum()
    for axis, wanted in enumerate((TIMES_S, AIF_HU)):
        slope, start = np.polyfit(wanted[is_used], points[:, axis], 1)
        np.testing.assert_allclose(points[:, axis], start + slope * wanted[is_used], atol=0.02)
        assert (slope > 0) == (axis == 0)  # y runs down
        cross = start + slope * wanted[REJECTED]
        marks = [float(one) for one in re.findall(rf'<use [^>]*\b{"xy"[axis]}="([\d.-]+)"', vessels)]
        assert min(abs(np.array(marks) - cross)) < 0.02
    raised = _points(vessels, ARTERY_COLOUR, dash=True)
    np.testing.assert_allclose(raised[:, 0], points[:, 0], atol=0.02)
    zero = np.interp(0, AIF_HU[[1, 4]], points[[1, 4], 1])
    np.testing.assert_allclose(raised[:, 1] - zero, 1.25 * (points[:, 1] - zero), atol=0.05)


def test_charts_say_in_words_what_they_show():
    vessels, tissue, motion = curve_charts(full()["curves"], "left", 1.25, name="p")
    assert [chart.name for chart in (vessels, tissue, motion)] == ["p-vessels", "p-tissue", "p-motion"]
    assert vessels.title == (
        "Artery and vein. AIF: highest 300.0 HU at 8.0 s; AIF × 1.25, as used: highest 375.0 HU at 8.0 s; "
        "VOF: highest 273.0 HU at 16.0 s; baseline until 4.0 s; arrival at 6.0 s; 1 frame rejected."
    )  # the VOF's own peak, 390 HU, would be at 13 s: the rejected frame
    assert "left, affected: highest 3.3 HU at 8.0 s; right: highest 6.7 HU" in tissue.title
    assert motion.title.startswith("Motion of the head. displacement: highest 0.2 mm")
    assert 'aria-label="Artery and vein.' in vessels.svg


def test_the_baseline_is_counted_over_usable_frames():
    used = [frame != 1 for frame in range(len(TIMES_S))]
    charts = curve_charts({**full()["curves"], "is_usable": used}, "left", 1.25, name="p")
    assert "baseline until 6.0 s" in charts[0].title  # 0, 4 and 6 s


def test_a_series_without_a_side_shows_the_brain_and_an_unscaled_artery_once():
    tissue = curve_charts({**full()["curves"], "tissue_other": []}, None, 1.0, name="p")
    assert "brain: highest" in tissue[1].title
    assert "as used" not in tissue[0].title


def test_the_page_has_a_column_per_map_numbers_and_outlines():
    page = _page(full())
    body = page[page.index("<body") :]
    n_slices = len(full()["base"]["planes"])
    assert n_slices == 2
    assert body.count('style="--columns: 5"') == n_slices
    assert body.count('class="slice map"') == 4 * n_slices
    assert body.count('<path class="core"') == body.count('<path class="hypoperfused"') == n_slices
    for text in ("12.3 ml", "37.0 ml", "CBF &lt; 30 % of normal", "Tmax &gt; 6 s", ">3.0<", ">left<", "0.87 of 1",
                 "1.25 times", "11 of 12", "0.2 mm", "1 of 1 voxels of the AIF", "CBF, ml/100 g/min", "≥ 60",
                 "the patient&#39;s right is on the left"):  # fmt: skip
        assert text in body, text
    assert body.count('class="aif"') == body.count('class="vof"') == 1
    assert "no slices are drawn" not in body
    assert re.search(r"hypoperfused \{[^}]*dasharray", page)
    ct = body[body.index('aria-label="CT, Ganglionic, slice') :]
    area_cm2 = full()["maps"][0]["core_mm2"] / 100
    assert f"core {area_cm2:.1f}\u00a0cm²" in ct[:200]
    _parsed(page)


def test_codes_of_notes_are_words():
    picture = {**full(), "findings": {**full()["findings"], "notes": ["frames_rejected", "no_venous_output"]}}
    assert ("Notes", "frames rejected, no venous output") in perfusion_panel(picture, "p")["facts"]


def test_the_colour_bar_ends_in_the_colours_of_the_maps():
    scale = perfusion_panel(full(), "p")["scale"]
    assert scale.startswith("linear-gradient(90deg, #440154, ")
    assert re.search(r"#fde72[45]\)$", scale)


def test_a_refused_series_says_why_and_shows_what_there_is():
    body = _page(refused())
    body = body[body.index("<body") :]
    places = [
        body.index(text)
        for text in ("Refused: no arterial input", "got &lt;none&gt;.", "CT, Ganglionic", "<h4>Curves</h4>",
                     "Mean tissue", "Motion of the head", "11 of 12")
    ]  # fmt: skip
    assert places == sorted(places)
    for text in ("Artery and vein", 'class="slice map"', "Mismatch", "Quality of the AIF", 'class="core"'):
        assert text not in body, text
    _parsed(body[: body.index("</main>") + 7] + "</body>")


def test_maps_without_curves_leave_that_part_out():
    body = _page(vendor())
    body = body[body.index("<body") :]
    assert 'style="--columns: 2"' in body
    for text in ("Curves", "Frames used", "Motion", "hypoperfused"):
        assert text not in body, text


@pytest.mark.parametrize("picture", [full, refused, vendor])
def test_identifiers_of_two_series_on_a_page_differ(picture):
    scans = [scan_row("sub-0001", modality=name) for name in ("ctp", "cbf")]
    view = included(scans=scans, drawings=[Drawing(one, one, (), None, picture()) for one in ("ctp", "cbf")])
    _parsed(patient_page(view, cohort_view()))


def test_two_measurements_of_one_series_stand_side_by_side_under_their_sources():
    strict = {**full(), "findings": {**full()["findings"], "core_volume_ml": 4.5}}
    scan = scan_row("sub-0001", modality="ctp")
    drawings = [
        Drawing("core-ctp", "ctp", ("wide",), None, full()),
        Drawing("core-ctp-strict", "ctp", ("strict", "strict-any"), None, strict),
    ]
    page = patient_page(included(scans=[scan], lesions=[], drawings=drawings), cohort_view())
    body = page[page.index("<body") :]
    places = [
        body.index(text)
        for text in ('<h3 class="measured">wide</h3>', ">12.3 ml<", '<h3 class="measured">strict, strict-any',
                     ">4.5 ml<")
    ]  # fmt: skip
    assert places == sorted(places)
    _parsed(page)
