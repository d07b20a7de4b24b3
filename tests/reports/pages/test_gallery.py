"""The gallery: the largest differences first, once for each patient, and those across the cut."""

import pandas as pd

from reports.pages.gallery import disagreements, gallery_page, once_each
from tasks.thresholds import Threshold
from tests.reports.builders import synthetic_run
from tests.reports.page_views import cohort_view

CUT = Threshold("wei", 6, "le", "low", "Wei 2026", "ASPECTS")
SCORES = {"a": (10, 7, 6, 2, None), "b": (4, 8, 7, 2, 5), "c": (9, 7, 5, 3, 4)}


def _scores():
    rows = [
        {
            "participant_id": f"sub-{at}",
            "source": source,
            "score": score,
            "status": "ok" if score is not None else "failed",
        }
        for source, values in SCORES.items()
        for at, score in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows).astype({"score": "Int64"})


def test_differences_come_by_size_and_say_whether_they_cross_the_cut():
    found = disagreements(_scores(), [("a", "b"), ("a", "c"), ("a", "absent")], CUT)
    shown = [(one.participant_id, one.candidate, one.words, one.crosses) for one in found]
    assert shown == [
        ("sub-1", "b", "−6", True),  # 10 and 4
        ("sub-1", "c", "−1", False),
        ("sub-2", "b", "+1", False),
        ("sub-3", "b", "+1", True),  # 6 is low, 7 is not
        ("sub-3", "c", "−1", False),
        ("sub-4", "c", "+1", False),
    ]
    assert [(one.participant_id, one.candidate) for one in once_each(found)] == [
        ("sub-1", "b"), ("sub-2", "b"), ("sub-3", "b"), ("sub-4", "c"),
    ]  # fmt: skip
    assert not any(one.crosses for one in disagreements(_scores(), [("a", "b")], None))


def test_the_page_lists_both_kinds_and_links_to_the_patients():
    found = disagreements(_scores(), [("a", "b"), ("a", "c")], CUT)
    asked = []
    page = gallery_page(found, {}, lambda name: asked.append(name) or (), cohort_view(), CUT)
    assert sorted(asked) == ["sub-1", "sub-2", "sub-3", "sub-4"]  # each patient's pictures are read once
    assert page.count('href="patients/sub-1.html"') == 2  # by size, and across the cut
    assert page.count('href="patients/sub-2.html"') == 1
    assert "6 differences between two sources that are compared, 2 of them across" in page
    assert page.count("No slices are drawn of this patient.") == 6
    assert synthetic_run().run_id in page or "Run" in page
