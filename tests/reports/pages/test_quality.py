"""The group page: every point opens a page that exists, outliers are never thinned away, limits are drawn."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from reports.figures.quality_figures import cohort_quality, numbers
from reports.pages.patient import write_patient_pages
from reports.pages.quality import MOST_INSIDE, drawn_points, quality_page
from reports.pages.view import PatientView
from tests.reports.page_views import REGISTERED, cohort_view, scan_row, scans_table

NOBODY = pd.DataFrame(columns=["participant_id", "stage", "reason", "status", "is_primary", "detail"])


def _exclusions(scans):
    rows = scans[scans["status"] != "ok"]
    return pd.DataFrame(
        [
            {"participant_id": row.participant_id, "stage": "intake", "reason": row.reason, "status": "excluded",
             "is_primary": True, "detail": "what was found"}
            for row in rows.itertuples()
        ]
    )  # fmt: skip


def _figure(page, title):
    """One strip plot of a page."""
    start = page.index(f"<h4>{title}")
    return page[start : page.index("</figure>", start)]


def test_every_point_opens_a_page_that_exists(tmp_path):
    scans = scans_table()
    page = quality_page(scans, _exclusions(scans), cohort_view(scans))
    views = [PatientView({"participant_id": name, "status": "included"}) for name in scans["participant_id"]]
    write_patient_pages(views, cohort_view(scans), tmp_path)
    links = re.findall(r'<a href="(patients/sub-[^"]+)"', page)
    assert len(links) == 4 * len(scans) + 1  # four figures measured, and one patient left out
    assert {tmp_path / link for link in links} == set((tmp_path / "patients").iterdir())
    assert "../" not in "".join(links)


def test_a_scan_left_out_is_a_cross_and_the_limit_is_drawn():
    scans = scans_table()
    figure = _figure(quality_page(scans, _exclusions(scans), cohort_view(scans)), "Brain overlap")
    crosses = re.findall(r'<a href="patients/sub-0059.html"><title>sub-0059: 0.800, left out</title><path', figure)
    assert len(crosses) == 1
    assert figure.count("<circle") == 59
    assert figure.count("limit</text>") == 1
    assert "limits ≥ 0.900: 1 outside" in figure
    strip = cohort_quality(scans, REGISTERED).of("ncct")["registration_dice"]
    (limit,) = strip.limits()
    assert limit == 0.9
    assert f"M{strip.x(0.9, 960):g},10V" in figure


def test_points_lie_in_the_order_of_their_values():
    scans = scans_table()
    figure = _figure(quality_page(scans, NOBODY, cohort_view(scans)), "Brain volume")
    found = dict(re.findall(r"<title>(sub-\d+): \d+</title><circle cx=\"([\d.]+)\"", figure))
    volumes = scans.set_index("participant_id")["brain_volume_ml"]
    names = sorted(found, key=lambda name: volumes[name])
    places = [float(found[name]) for name in names]
    assert len(places) == 59
    assert places == sorted(places)
    assert places[0] > 5
    assert places[-1] < 955


def test_reasons_are_counted_and_linked():
    scans = scans_table(40)
    scans.loc[:29, ["status", "reason"]] = ["excluded", "brain_cut_at_side"]
    page = quality_page(scans, _exclusions(scans), cohort_view(scans))
    table = page[page.index("<table") : page.index("</table>")]
    assert re.search(r"brain cut at side<span class=\"under\">At intake</span></th><td>30</td>", table)
    assert "10 more" in table
    assert table.count("<a href=") == 31
    assert "Nobody was left out." in quality_page(scans, NOBODY, cohort_view(scans))


def test_outliers_stay_and_the_middle_is_thinned_evenly():
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(0, 1, 10_000), [9.0, -9.0, 0.001]])
    must = np.zeros(len(values), dtype=bool)
    must[-1] = True
    shown = drawn_points(values, must)
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = 1.5 * (upper - lower)
    outside = (values < lower - reach) | (values > upper + reach)
    assert shown[outside].all()
    assert shown[-1]
    assert shown.sum() == outside.sum() + 1 + MOST_INSIDE
    inside = values[shown & ~outside]
    assert np.median(inside) == pytest.approx(np.median(values), abs=0.05)
    assert inside.min() == values[~outside].min()
    assert drawn_points(np.ones(5), np.zeros(5, dtype=bool)).all()


def test_ten_thousand_scans_stay_usable_and_say_what_is_hidden():
    rng = np.random.default_rng(6)
    n = 10_000
    scans = pd.DataFrame([scan_row(f"sub-{i}") for i in range(n)])
    scans["registration_dice"] = rng.normal(0.95, 0.01, n)
    scans["brain_volume_ml"] = rng.normal(1300, 90, n)
    scans.loc[17, "brain_volume_ml"] = 1_300_000.0  # a wrong unit: at the edge, not flattening the others
    page = quality_page(scans, NOBODY, cohort_view(scans))
    figure = _figure(page, "Brain volume")
    n_drawn = figure.count("<a href=")
    assert MOST_INSIDE < n_drawn < 600
    assert f"{n_drawn} points are drawn" in figure
    assert f"{n - n_drawn} in the middle are not" in figure
    assert "1 beyond the scale stand at its edge" in figure
    assert "sub-17: 1300000" in figure
    assert len(page) < 1_000_000


def test_figures_without_values_are_left_out():
    scans = scans_table().assign(motion_mm=None, noise_hu=np.nan)
    page = quality_page(scans, NOBODY, cohort_view(scans))
    assert "Motion" not in page
    assert "Noise" not in page
    plain = pd.DataFrame([{"participant_id": "sub-1", "modality": "lesion", "status": "ok", "reason": None}])
    page = quality_page(plain, NOBODY, cohort_view(plain))
    assert "No quality figures were measured on them." in page
    assert np.isnan(numbers(plain, "noise_hu")).all()


def test_one_value_repeated_makes_a_scale():
    scans = scans_table().assign(n_slices=pd.array([30] * 60, dtype="Int64"))
    strip = cohort_quality(scans).of("ncct")["n_slices"]
    assert strip.low < 30 < strip.high
    assert strip.x(30, 220) == pytest.approx(110)
    assert "<circle" in strip.svg(30)


def test_limits_of_a_study_are_added_to_the_common_ones():
    scans = scans_table()
    limits = {"ncct": {"slice_step_mm": (None, 4.0), "registration_dice": (0.8, None), "brain_volume_ml": (None, None)}}
    strips = cohort_quality(scans, limits).of("ncct")
    assert strips["slice_step_mm"].gate == (None, 4.0)
    assert not strips["slice_step_mm"].is_within(5.0)
    assert strips["registration_dice"].gate == (0.8, None)
    assert strips["brain_volume_ml"].gate == (500, 2300)  # brain extraction has refused what lies beyond
    assert cohort_quality(scans).of("ncct")["slice_step_mm"].gate == (None, None)


def test_what_people_write_appears_as_text():
    scans = scans_table(3)
    scans.loc[0, "participant_id"] = 'sub-"><script>alert(1)</script>'
    scans.loc[1, "modality"] = "<script>x</script>"
    page = quality_page(scans, _exclusions(scans), cohort_view(scans, study="<script>y</script>"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert all(
        re.fullmatch(r"patients/(index|sub-[A-Za-z0-9]+)\.html", link)
        for link in re.findall(r'"(patients/[^"]*)"', page)
    )


def test_scans_left_out_look_as_frequent_as_they_are():
    rng = np.random.default_rng(8)
    scans = pd.DataFrame([scan_row(f"sub-{i}") for i in range(5000)])
    scans["brain_volume_ml"] = rng.normal(1300, 90, len(scans))
    scans.loc[rng.random(len(scans)) < 0.1, ["status", "reason"]] = ["excluded", "registration_tissue_mismatch"]
    figure = _figure(quality_page(scans, _exclusions(scans), cohort_view(scans)), "Brain volume")
    crosses, dots = figure.count("left out</title>"), figure.count("<circle")
    assert crosses / (crosses + dots) == pytest.approx(0.1, abs=0.05)
