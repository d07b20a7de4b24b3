"""Pages of patients: sides by pixel, colours follow the rows, faults come first, and text stays text."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from reports.pages.patient import patient_page, write_patient_pages
from reports.pages.remedies import REMEDIES, remedy
from reports.pages.view import page_name
from tests.reports.page_views import TABLE, cohort_view, included, left_out, picture, region_rows, scan_row

VOID = {"meta", "link", "br", "img", "hr", "input"}


class _Balance(HTMLParser):
    """Open elements, links and ids of a page."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        if "href" in found and tag == "a":
            self.links.append(found["href"])
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _parsed(html):
    page = _Balance()
    page.feed(html)
    page.close()
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    return page


def _pixels(data, mode):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert(mode)).astype(int)


def _corners(path):
    """First corner of every subpath of a region's outline."""
    return np.array([[float(x), float(y)] for x, y in re.findall(r"M([\d.-]+),([\d.-]+)l", path)])


def test_the_left_of_the_patient_is_on_the_right_of_the_picture():
    plane = picture()["planes"][0]
    grey = _pixels(plane["grey"], "L")
    rows, columns = np.nonzero((grey > 255 * 45 / 80) & (grey < 255 * 55 / 80))  # the 50 HU of the left M1
    assert len(columns) > 300
    assert columns.min() > plane["width"] / 2
    assert rows.max() < plane["height"] / 2
    for region in plane["regions"]:
        is_left = region["side"] == "left"
        assert (region["x"] > plane["width"] / 2) == is_left
        assert (_corners(region["path"])[:, 0] > plane["width"] / 2).all() == is_left
    assert _corners(plane["lesion"])[:, 0].min() > plane["width"] / 2


def test_higher_than_the_other_side_is_vermillion_and_lower_is_blue():
    plane = picture()["planes"][0]
    pixels = _pixels(plane["difference"], "RGBA")
    width = pixels.shape[1]
    red, blue, alpha = pixels[..., 0], pixels[..., 2], pixels[..., 3]
    is_seen = alpha > 0
    warm, cold = is_seen & (red > blue + 60), is_seen & (blue > red + 60)
    assert warm.any()
    assert cold.any()
    assert np.nonzero(cold)[1].max() < width / 2 < np.nonzero(warm)[1].min()
    assert not is_seen[0].any()
    assert plane["difference_size"][0] == pytest.approx(plane["width"], abs=2 / 0.7 + 0.1)


def test_a_picture_is_small_json_and_the_same_every_time():
    made = json.dumps(picture())
    picture.cache_clear()
    assert json.dumps(picture()) == made
    assert len(made) < 250_000
    assert json.loads(made) == picture()


def test_the_page_prints_the_sides_and_hatches_what_is_affected():
    page = patient_page(included(), cohort_view())
    drawn = page[page.index('aria-label="Regions, ncct-ratio') :]
    first = drawn[: drawn.index("</svg>")]
    assert "Affected: left M1." in first
    assert re.findall(r'class="side[ a-z]*" x="(\d+)" y="17">([LR])<', first) == [
        ("5", "R"), (str(picture()["planes"][0]["width"] - 5), "L"),
    ]  # fmt: skip
    assert first.count('class="affected"') == 1
    assert re.search(r'class="affected"[^>]*hatch[^>]*><title>left M1: affected, fraction 0.61</title>', first)
    assert re.search(r'class="plain"[^>]*><title>right M1: not affected, fraction 0.02</title>', first)
    assert re.search(r'<text class="code"[^>]*>M1</text>', first)
    assert page.count('class="lesion"') >= 1
    assert "Registration check" in page
    assert page.count('class="template"') >= len(picture()["planes"])
    _parsed(page)


def test_colours_follow_the_rule_in_force_not_the_picture():
    view = included(regions=region_rows("sub-0001", affected=(("right", "m4"),)))
    page = patient_page(view, cohort_view())
    assert "Affected: right M4." in page
    assert "left M1: affected" not in page
    undecided = [{**row, "affected": None} for row in view.regions]
    page = patient_page(dataclasses.replace(view, regions=undecided), cohort_view())
    assert "left M1: no answer" in page
    assert 'class="affected"' not in page.replace("path.affected", "")


def test_a_picture_that_no_source_scored_has_outlines_alone():
    page = patient_page(included(regions=[], scores=[]), cohort_view())
    assert "Region outlines." in page
    assert "affected" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_every_number_of_the_patient_is_on_the_page():
    page = patient_page(included(), cohort_view())
    for text in ("sub-0001", "Centre 1", "Age, year", "71", "9 / 10", "12.3 ml", "register/2", "111111111111", "1.25",
                 "0.75", "a" * 64, "512x512x30 voxels", "0.950", "≥ 0.900", "within", "Study A"):  # fmt: skip
        assert text in page, text
    assert page.count('<th scope="row"') >= len(TABLE.labels)
    assert set(_parsed(page).links) == {"index.html", "../report.html", "../quality.html"}
    assert "Motion" not in page  # not measured: no row


def test_what_guards_suspect_stands_above_the_slices_with_its_figures():
    """Only what is flagged: 6.24 ml of fluid; the artery's flag is not raised, and haemorrhage was not measured."""
    figures = {"chronic_volume_ml": 6.24, "chronic_suspected": True, "hyperdense_mca_suspected": False}
    view = included()
    scans = [{**scan, **figures} if scan["modality"] == "ncct" else scan for scan in view.scans]
    page = patient_page(dataclasses.replace(view, scans=scans), cohort_view())
    found = re.findall(r'<p class="suspected">(.*?)</p>', page)
    assert len(found) == 1
    assert re.sub("<.*?>", "", found[0]).startswith(
        "Old infarct suspected largest piece of fluid instead of tissue, on one side: 6.2 ml. Look at the scan"
    )
    assert 'class="suspected"' not in patient_page(view, cohort_view())
    _parsed(page)


def test_a_patient_left_out_sees_reason_and_remedy_first():
    page = patient_page(left_out(), cohort_view())
    body = page[page.index("<body") :]
    places = [
        body.index(text)
        for text in ("Left out at intake: registration overlap too low", "brain_dice must be &gt;= 0.9, got 0.80.",
                     "The template does not fit this head.", "value out of range", "value 700 must be",
                     "Correct the line of the table", "no slices are drawn")
    ]  # fmt: skip
    assert places == sorted(places)
    assert re.search(r'<tr class="out">.*?Brain overlap.*?0\.800.*?outside', page, re.DOTALL)
    assert 'stroke="#d55e00"' in page  # a cross, not a dot
    _parsed(page)


def test_a_failed_patient_without_a_scan_has_a_page():
    view = dataclasses.replace(left_out(), scans=[], participant={"participant_id": "sub-0059", "status": "failed"})
    page = patient_page(view, cohort_view(columns={}))
    assert "<h2>Failed</h2>" in page
    assert "What to do." in page
    _parsed(page)


def test_every_remedy_is_sentences_and_unknown_reasons_have_one_too():
    for reason, text in REMEDIES.items():
        assert text[0].isupper(), reason
        assert text.endswith("."), reason
    for stage in ("screening", "intake", "scoring", "eligibility", "elsewhere"):
        assert remedy(stage, "never_heard_of").endswith(".")


def test_what_people_write_appears_as_text():
    bad = "<script>alert(1)</script>"
    view = included(bad)
    view = dataclasses.replace(
        view,
        participant={**view.participant, "participant_id": bad, "site": bad, "note": f'"{bad}'},
        exclusions=[{"stage": "intake", "reason": bad, "status": "excluded", "is_primary": True, "detail": bad}],
        scans=[scan_row("sub-1", path=bad, modality="ncct"), scan_row("sub-1", modality=bad)],
        scores=[{**view.scores[0], "source": bad}],
    )
    cohort = cohort_view(study=f"</style>{bad}", columns={"note": bad})
    page = patient_page(view, cohort)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8
    assert "script" not in _parsed(page).tags
    assert page.count("</style>") == 1


def test_nothing_is_loaded():
    page = patient_page(included(), cohort_view())
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:image/png|#|index\.html|\.\./(?:report|quality)\.html")', page)
    assert "url(http" not in page


def test_names_of_pages_are_safe_and_different():
    names = [page_name(one) for one in ("sub-1", "sub-2", "../../x", "sub-a/b", "sub-" + "9" * 300, "")]
    assert names[0] == "sub-1.html"
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"sub-[A-Za-z0-9]+\.html", name) for name in names)


def test_pages_are_written_for_all(tmp_path):
    assert write_patient_pages(iter([included(), left_out()]), cohort_view(), tmp_path) == 2
    assert sorted(path.name for path in (tmp_path / "patients").iterdir()) == ["sub-0001.html", "sub-0059.html"]
    first = (tmp_path / "patients" / "sub-0001.html").read_bytes()
    write_patient_pages([included(), left_out()], cohort_view(), tmp_path)
    assert (tmp_path / "patients" / "sub-0001.html").read_bytes() == first
    assert len(first) < 250_000


def test_synthetic_data_are_marked_on_every_part():
    page = patient_page(included(), cohort_view(is_synthetic=True))
    assert "SYNTHETIC DATA" in page
    assert page.count("synthetic data</span>") == page.count("<h2>")


def test_a_dash_never_means_not_affected():
    """A reader answers without a number: affected and not affected are words, and a dash is no answer."""
    rows = [
        {**row, "source": "reader:A", "fraction": None, "affected": {"m1": True, "m2": False}.get(row["region"]),
         "rule": "reader"}
        for row in region_rows("sub-0001")
    ]  # fmt: skip
    page = patient_page(included(regions=rows, drawings=[]), cohort_view())
    table = page[page.index('<section id="regions">') :]
    found = dict(re.findall(r'<th scope="row">([^<]+)</th><td[^>]*>(.*?)</td>', table[: table.index("</table>")]))
    assert re.sub(r"<[^>]+>|\s", "", found["M1"]) == "affected"
    assert found["M2"].strip() == "not affected"
    assert found["M3"].strip() == "–"
    assert "A dash (–) always means that there is no value" in page
