"""The flowchart: its numbers, its refusal to be wrong, and its text."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from reports.figures.flowchart import Departure, Reason, Station, flowchart

SVG = "{http://www.w3.org/2000/svg}"


def stations(included: int = 7, mild: int = 4) -> list[Station]:
    leaving = (
        Departure("At screening", (Reason("no scan", 2),)),
        Departure("At scoring", (Reason("empty <mask> & more", 1),)),
    )
    parts = (Reason("mild", mild), Reason("severe", 3))
    return [Station("Screened", 10), Station("Included", included, leaving, parts)]


def lines(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_boxes_hold_the_counts_in_the_order_of_the_stages() -> None:
    assert lines(flowchart(stations()).svg) == [
        "Screened: 10", "At screening: 2", "2 no scan", "At scoring: 1", "1 empty <mask> & more",
        "Included: 7", "4 mild", "3 severe",
    ]  # fmt: skip


def test_a_box_that_does_not_follow_from_the_one_before_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Included must be Screened less those who left, 10 - 3 = 7, got 8"):
        flowchart(stations(included=8, mild=5))


def test_parts_that_do_not_sum_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the parts of Included must sum to 7, got 8"):
        flowchart(stations(mild=5))


def test_boxes_do_not_overlap_and_lie_inside_the_drawing() -> None:
    drawing = ElementTree.fromstring(flowchart(stations()).svg)
    _, _, width, height = (float(value) for value in drawing.attrib["viewBox"].split())
    boxes = [
        {key: float(box.attrib[key]) for key in ("x", "y", "width", "height")} for box in drawing.iter(f"{SVG}rect")
    ]
    assert len(boxes) == 4
    assert all(box["x"] + box["width"] <= width and box["y"] + box["height"] <= height for box in boxes)
    assert all(above["y"] + above["height"] < below["y"] for above, below in pairwise(boxes))


def test_a_long_reason_is_wrapped_and_keeps_every_word() -> None:
    label = "word " * 60 + "end"
    chart = flowchart([Station("Screened", 1), Station("Included", 0, (Departure("At intake", (Reason(label, 1),)),))])
    wrapped = lines(chart.svg)[2:-1]
    assert max(len(line) for line in wrapped) <= 72
    assert " ".join(wrapped) == f"1 {label}"
