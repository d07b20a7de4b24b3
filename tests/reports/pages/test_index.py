"""The index of patients: tiny rows, whole without its script, which alone may run; links lead on and back."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np

from reports.pages.index import index_page, index_rows
from reports.pages.patient import write_patient_pages
from reports.pages.quality import quality_page
from reports.pages.view import page_name
from tests.reports.page_views import cohort_view, included, scans_table
from tests.reports.pages.test_patient import _parsed
from tests.reports.pages.test_quality import NOBODY

SOURCES = ["mask", "reader:A"]


def _participants(n):
    return [
        {"participant_id": f"sub-{place:05d}", "site": ("north", "south", None)[place % 3], "severity": "mild",
         "status": "excluded" if place % 4 == 0 else "included", "reason": "empty_mask" if place % 4 == 0 else None}
        for place in range(n)
    ]  # fmt: skip


def _page(n=12):
    scores = {"sub-00001": [{"source": "mask", "score": 7.0}, {"source": "reader:A", "score": float("nan")}]}
    sides = {"sub-00002": {"clinical table": "left", "mask": "right"}, "sub-00003": {"mask": "left"}}
    return index_page(index_rows(_participants(n), scores, sides, SOURCES), SOURCES, cohort_view())


def _cells(page, name):
    row = re.search(rf'<tr><th scope="row"><a href="{name}.html">{name}</a></th>(.*?)</tr>', page).group(1)
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_every_row_has_what_it_is_filtered_and_sorted_by():
    page = _page()
    assert _cells(page, "sub-00000") == ["excluded", "", "north", "empty mask", "mild", "–", "–"]
    assert _cells(page, "sub-00001") == ["included", "", "south", "", "mild", "7", "–"]
    assert _cells(page, "sub-00002") == ["included", "differ", "–", "", "mild", "–", "–"]
    assert _cells(page, "sub-00003")[1] == ""  # one source alone differs from nobody
    assert '<td title="left: clinical table; right: mask">differ</td>' in page
    assert "12 patients; the affected side of 1 differs" in page
    assert re.findall(r"<option>(.*?)</option>", page) == ["excluded", "included", "north", "south"]
    assert len(re.findall(r"<button", page)) == len(_cells(page, "sub-00000")) + 1
    parsed = _parsed(page)
    assert {"../report.html", "../quality.html"} <= set(parsed.links)


def test_ten_thousand_rows_are_small_and_hold_no_picture():
    page = _page(10_000)
    assert len(page) < 2_500_000
    assert "<img" not in page
    assert "data:image/" not in page
    assert page.count('<tr><th scope="row">') == 10_000


def test_only_its_own_script_may_run():
    page = _page()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert f"script-src 'sha256-{digest}'" in policy.replace("&#39;", "'").replace("&#43;", "+")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert "fetch" not in script
    assert "http" not in script


def test_what_people_write_is_text():
    bad = "<script>alert(1)</script>"
    one = {"participant_id": bad, "site": bad, "status": "included", "reason": bad, "severity": bad}
    page = index_page(index_rows([one], {}, {bad: {bad: "left", "b": "right"}}, [bad]), [bad], cohort_view(study=bad))
    assert page.count("<script>") == 1
    assert page_name(bad) in page


def test_links_lead_from_page_to_page_and_back(tmp_path):
    """Index, quality page and neighbours: every link of every page names a file that is there."""
    names = [f"sub-{place:04d}" for place in range(4)]
    write_patient_pages((included(name) for name in names), cohort_view(), tmp_path)
    rows = index_rows([{"participant_id": name, "status": "included"} for name in names], {}, {}, [])
    (tmp_path / "patients" / "index.html").write_text(index_page(rows, [], cohort_view()))
    scans = scans_table(4)
    conflict = {names[2]: {"a": "left", "b": "right"}}
    (tmp_path / "quality.html").write_text(quality_page(scans, NOBODY, cohort_view(scans), conflict))
    (tmp_path / "report.html").write_text("")
    for path in sorted(tmp_path.rglob("*.html")):
        for link in _parsed(path.read_text()).links:
            assert (path.parent / link.split("#")[0]).resolve().is_file(), (path, link)
    links = [_parsed((tmp_path / "patients" / f"{name}.html").read_text()).links for name in names]
    common = ["index.html", "../report.html", "../quality.html"]
    assert links == [
        [*common, "sub-0001.html"], [*common, "sub-0000.html", "sub-0002.html"],
        [*common, "sub-0001.html", "sub-0003.html"], [*common, "sub-0002.html"],
    ]  # fmt: skip


def test_rows_stay_in_the_order_of_the_table():
    names = [f"sub-{place}" for place in np.random.default_rng(1).permutation(20)]
    rows = index_rows([{"participant_id": name, "status": "failed"} for name in names], {}, {}, [])
    assert [row.name for row in rows] == names
