"""The exclusion flowchart: screened participants to the left, those who leave at each stage to the right.

The drawing refuses to be wrong: every box that is left must equal the box before it less those who left in between.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from reports.document.page_template import page_template
from reports.figures.drawing import Chart

WIDTH = 960.0
_SPINE_LEFT, _SPINE_WIDTH = 0.5, 330.0
_SIDE_LEFT = 400.0
_SIDE_WIDTH = WIDTH - _SIDE_LEFT - 0.5
_LINE_HEIGHT, _PADDING, _GAP = 19.0, 12.0, 18.0
_WRAP = 72  # characters of a side box's line at 13 px, with room to spare in wide fonts


@dataclass(frozen=True)
class Reason:
    """Participants counted under one primary reason."""

    label: str
    count: int


@dataclass(frozen=True)
class Departure:
    """Those who leave between two boxes; ``count`` is the sum of the reasons."""

    label: str
    reasons: tuple[Reason, ...]

    @property
    def count(self) -> int:
        """Participants who leave here."""
        return sum(reason.count for reason in self.reasons)


@dataclass(frozen=True)
class Station:
    """A box of the spine: who is left, after which departures, and how they divide."""

    label: str
    count: int
    departures: tuple[Departure, ...] = ()
    parts: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class _Line:
    """One line of text in a box: its baseline, indent and weight."""

    text: str
    y: float
    indent: float = 0.0
    strong: bool = False


@dataclass(frozen=True)
class _Box:
    """A rectangle with its lines."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[_Line, ...]
    kind: str

    @property
    def middle(self) -> float:
        """Vertical middle, px."""
        return self.y + self.height / 2


def flowchart(stations: Sequence[Station], *, name: str = "flowchart") -> Chart:
    """Draw the flowchart.

    Parameters
    ----------
    stations : the boxes from screened to the last analysis set, at least one

    Raises
    ------
    ValueError
        A box does not equal the one before it less the departures, or its parts do not sum to it.
    """
    problems = _sum_problems(stations)
    if problems:
        raise ValueError(" ".join(problems))
    boxes: list[_Box] = []
    branches: list[float] = []
    arrows: list[tuple[float, float]] = []
    y = 0.5
    for station in stations:
        start = y
        for departure in station.departures:
            y += _GAP
            side = _side_box(departure, y)
            boxes.append(side)
            branches.append(side.middle)
            y += side.height
        if boxes:
            y += _GAP * (1 if station.departures else 1.6)
            arrows.append((start, y))
        box = _spine_box(station, y)
        boxes.append(box)
        y += box.height
    title = "; ".join(f"{station.label}: {station.count}" for station in stations)
    svg = page_template("flowchart.svg.j2").render(
        name=name,
        title=f"Flowchart. {title}",
        width=WIDTH,
        height=y + 1.5,
        boxes=boxes,
        branches=branches,
        arrows=arrows,
        spine=_SPINE_LEFT + _SPINE_WIDTH / 2,
        side=_SIDE_LEFT,
        padding=_PADDING,
    )
    return Chart(name, f"Flowchart. {title}", svg.strip() + "\n")


def _sum_problems(stations: Sequence[Station]) -> list[str]:
    """Every box that does not add up, in words."""
    problems = []
    for before, after in pairwise(stations):
        left = sum(departure.count for departure in after.departures)
        if before.count - left != after.count:
            problems.append(
                f"{after.label} must be {before.label} less those who left, {before.count} - {left} = "
                f"{before.count - left}, got {after.count}. Recount the participants table."
            )
    problems += [
        f"the parts of {station.label} must sum to {station.count}, got {sum(part.count for part in station.parts)}. "
        "Recount the participants table."
        for station in stations
        if station.parts and sum(part.count for part in station.parts) != station.count
    ]
    return problems


def _side_box(departure: Departure, y: float) -> _Box:
    """A box of those who leave, one line or more per reason."""
    lines = [_Line(f"{departure.label}: {departure.count}", y + _PADDING + 12, strong=True)]
    for reason in departure.reasons:
        for position, part in enumerate(textwrap.wrap(f"{reason.count} {reason.label}", _WRAP) or [""]):
            lines.append(_Line(part, y + _PADDING + 12 + len(lines) * _LINE_HEIGHT, indent=12.0 if position else 0.0))
    height = 2 * _PADDING + len(lines) * _LINE_HEIGHT - 4
    return _Box(_SIDE_LEFT, y, _SIDE_WIDTH, height, tuple(lines), "side")


def _spine_box(station: Station, y: float) -> _Box:
    """A box of those who are left, with its parts below."""
    lines = [_Line(f"{station.label}: {station.count}", y + _PADDING + 13, strong=True)]
    for part in station.parts:
        lines.append(_Line(f"{part.count} {part.label}", y + _PADDING + 13 + len(lines) * _LINE_HEIGHT))
    return _Box(_SPINE_LEFT, y, _SPINE_WIDTH, 2 * _PADDING + len(lines) * _LINE_HEIGHT - 4, tuple(lines), "spine")
