"""Agreement with and without those who are suspected, worked by hand on the six patients."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from reports.document.chapters.guards import guards_chapter
from reports.document.page import TableView, Text, material
from reports.lint.lint import lint
from reports.statistics.analysis import analyse
from reports.statistics.inputs import ReportInput
from reports.statistics.rows import Statistics
from tests.reports.builders import synthetic_run
from tests.reports.statistics.test_analysis import six_patients

# a: 10 8 8 2 9 7; b: 9 8 7 2 9 and none of the last
CHRONIC = [True, False, False, False, None, True]
HAEMORRHAGE = [False, False, True, False, None, False]


def flagged(**columns: list[bool | None]) -> ReportInput:
    """The six patients with flags of their CT; each has a second scan that nobody measured."""
    ids = [f"sub-{number}" for number in range(1, 7)]
    scans = pd.DataFrame({"participant_id": [*ids, *ids], "modality": ["ncct"] * 6 + ["dwi"] * 6})
    for name in ("chronic_suspected", "haemorrhage_suspected", "hyperdense_mca_suspected"):
        scans[name] = pd.array([*columns.get(name, [None] * 6), *[None] * 6], dtype="boolean")
    return replace(six_patients(), scans=scans)


@pytest.fixture(scope="module")
def data() -> ReportInput:
    return flagged(chronic_suspected=CHRONIC, haemorrhage_suspected=HAEMORRHAGE)


@pytest.fixture(scope="module")
def rows(data: ReportInput) -> pd.DataFrame:
    return analyse(data).set_index("statistic_id")


@pytest.mark.parametrize(
    ("statistic_id", "estimate", "n"),
    [
        ("guards/suspected:chronic/-/-/measured", 2 / 5, 5),  # the fifth's scan could not be measured
        ("guards/suspected:haemorrhage/-/-/measured", 1 / 5, 5),
        ("guards/bias:without_chronic/b/a/measured", -1 / 4, 4),  # b - a: 0 -1 0 0, the sixth has no b
        ("guards/bias:without_haemorrhage/b/a/measured", -1 / 4, 4),  # -1 0 0 0
        ("guards/bias:without_either/b/a/measured", 0, 3),
        ("guards/within_1:without_either/b/a/included", 1, 3),
        ("guards/icc_a1:without_either/b/a/measured", 1, 3),
    ],
)
def test_numbers_are_of_those_who_are_left(rows: pd.DataFrame, statistic_id: str, estimate: float, n: int) -> None:
    assert rows.loc[statistic_id, "estimate"] == pytest.approx(estimate)
    assert rows.loc[statistic_id, "n"] == n


def test_a_row_says_how_many_are_left_out(rows: pd.DataFrame) -> None:
    assert rows.loc["guards/icc_a1:without_chronic/b/a/measured", "note"].endswith("1 suspected left out")


def test_a_guard_that_nobody_measured_and_one_that_nobody_raised_leave_no_row() -> None:
    of_none = analyse(flagged(chronic_suspected=[False] * 6))
    found = of_none[of_none["section"] == "guards"]
    assert set(found["quantity"] + ":" + found["category"]) == {"suspected:chronic"}
    assert set(found["estimate"]) == {0.0}
    assert not (analyse(six_patients())["section"] == "guards").any()


def test_the_lint_counts_again(data: ReportInput) -> None:
    statistics = analyse(data)
    assert [one for one in lint(statistics, data) if "guards/" in str(one)] == []
    wrong = statistics["statistic_id"] == "guards/suspected:chronic/-/-/measured"
    statistics.loc[wrong, "numerator"] = 1
    assert any("guards/suspected:chronic" in str(one) for one in lint(statistics, data))


def test_the_chapter_sets_both_side_by_side(data: ReportInput) -> None:
    parts = material(data, Statistics(analyse(data)), synthetic_run(), None)
    chapter = guards_chapter(parts)
    assert chapter is not None
    flags, agreement = (block for block in chapter.blocks if isinstance(block, TableView))
    assert [[cell.text for cell in row][:2] for row in flags.groups[0].rows] == [
        ["Old infarct", "old infarct > 1.5 ml"],
        ["Haemorrhage", "haemorrhage > 1.0 ml"],
    ]
    lines = [[cell.text for cell in row] for row in agreement.groups[0].rows]
    assert agreement.groups[0].title == "b, against a"
    assert [(line[0], line[1]) for line in lines] == [
        ("All", "5"), ("without chronic", "4"), ("without haemorrhage", "4"), ("without either", "3")
    ]  # fmt: skip
    none = flagged(chronic_suspected=[False] * 6)
    told = guards_chapter(material(none, Statistics(analyse(none)), synthetic_run(), None))
    assert told is not None
    assert any("the same without them" in block.text for block in told.blocks if isinstance(block, Text))
    alone = six_patients()
    assert guards_chapter(material(alone, Statistics(analyse(alone)), synthetic_run(), None)) is None
