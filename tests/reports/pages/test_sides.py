"""Affected sides: who names one, and where they differ."""

from __future__ import annotations

import dataclasses

import pytest

from reports.pages.patient import patient_page
from reports.pages.quality import quality_page
from reports.pages.sides import affected_sides, by_side, differ
from tests.reports.page_views import cohort_view, included, scans_table
from tests.reports.pages.test_patient import _parsed
from tests.reports.pages.test_quality import NOBODY

MEASUREMENTS = {"mask": "lesion"}


def _score(source, left, right):
    return {"source": source, "score_left": left, "score_right": right}


@pytest.mark.parametrize(
    ("scores", "side"),
    [((9, 10), "left"), ((10, 3), "right"), ((8, 8), None), ((None, None), None), ((7, None), "left"),
     ((None, 6), "right"), ((10, None), None)],
)  # fmt: skip
def test_the_side_with_the_lower_score_is_affected(scores, side):
    assert affected_sides([_score("reader:A", *scores)], [], None, {}) == ({} if side is None else {"reader:A": side})


@pytest.mark.parametrize(
    ("lesion", "side"), [("left", "left"), ("right", "right"), ("both", None), ("none", None), (None, "left")]
)
def test_a_lesion_is_where_most_of_it_is_whatever_the_score(lesion, side):
    found = affected_sides([_score("mask", 9, 10)], [{"source": "lesion", "side": lesion}], None, MEASUREMENTS)
    assert found == ({} if side is None else {"mask": side})


@pytest.mark.parametrize(
    ("clinical", "side"), [("left", "left"), ("R", "right"), (" Right ", "right"), ("both", None), (None, None),
                           (float("nan"), None), ("unknown", None)],
)  # fmt: skip
def test_the_clinic_names_left_or_right_or_none(clinical, side):
    assert affected_sides([], [], clinical, {}) == ({} if side is None else {"clinical table": side})


def test_a_conflict_is_between_any_two():
    assert differ({"mask": "left", "reader:A": "left", "ctp-core": "right"})
    assert differ({"clinical table": "left", "mask": "right"})
    assert not differ({"clinical table": "left", "mask": "left"})
    assert not differ({})
    assert by_side({"clinical table": "left", "mask": "right", "a": "right"}) == "left: clinical table; right: mask, a"


def test_the_page_of_the_patient_says_it_before_anything_else():
    view = dataclasses.replace(included(), sides={"clinical table": "right", "ncct-ratio": "left"})
    page = patient_page(view, cohort_view())
    body = page[page.index("<main") :]
    places = [
        body.index(text)
        for text in ("The affected side differs", "left: ncct-ratio; right: clinical table.",
                     "Check the orientation of the files", "9 / 10")
    ]  # fmt: skip
    assert places == sorted(places)
    assert "affected side differs" not in patient_page(included(), cohort_view())
    _parsed(page)


def test_the_quality_page_counts_and_lists_them():
    scans = scans_table()
    both = {"clinical table": "right", "ncct-ratio": "left"}
    sides = {"sub-0001": both, "sub-0002": {"a": "left", "b": "left"}, "sub-0003": {"a": "left"}, "sub-0004": {}}
    page = quality_page(scans, NOBODY, cohort_view(scans), sides)
    part = page[page.index('<section id="sides">') :]
    part = part[: part.index("</section>")]
    assert "1 of 2 patients whose side could be compared." in part
    assert "heck the orientation of the file" in part
    assert part.count('<a href="patients/sub-0001.html#sides">sub-0001</a>') == 1
    assert "sub-0002" not in part
    many = {f"sub-{place:04d}": both for place in range(55)}
    page = quality_page(scans, NOBODY, cohort_view(scans), many)
    assert "55 of 55 patients" in page
    assert "35 more" in page
    assert page.count("left: ncct-ratio; right: clinical table") == 55
    assert "Nobody has an affected side from two sources" in quality_page(scans, NOBODY, cohort_view(scans))
