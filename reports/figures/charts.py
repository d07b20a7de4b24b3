"""The report's charts: distributions, deduction histograms, ROC, association, agreement.

Each function takes plain numbers and gives a ``Chart``; the numbers printed come from ``statistics``, the points from
the tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from reports.document.tables import number
from reports.figures.drawing import (
    FILL,
    INK,
    MUTED,
    RULE,
    Chart,
    Margins,
    canvas,
    chart,
    grade_colours,
    source_colours,
    style,
)
from reports.statistics.rows import Row
from tasks.anatomy import ASPECTS_REGIONS, MAXIMUM_SCORE, SHORT_CODES
from tasks.arrays import FloatArray

_COLUMNS = 3
_BINS_PER_DECADE = 5
_SMALLEST_VOLUME_ML = 0.001  # one voxel of 1 mm; keeps an empty lesion on a logarithmic axis
_LARGEST_BUBBLE = 420.0  # points^2
_LEVELS_PRINTED_UP_TO = 10  # squares with a count; more levels would overlap
_CELL = 400.0  # points^2, of a square
_SIDE_TITLES = {"left": "Left hemisphere", "right": "Right hemisphere", "any": "Either hemisphere"}


@dataclass(frozen=True)
class Curve:
    """A ROC curve with its legend entry and, where declared, the point of the primary cut."""

    label: str
    false_positive_rate: FloatArray
    sensitivity: FloatArray
    cut: tuple[float, float] | None = None  # (1 - specificity, sensitivity)


@dataclass(frozen=True)
class Scatter:
    """One panel of pairs: x, y, their labels and the text that says how they go together."""

    title: str
    x_label: str
    y_label: str
    x: FloatArray
    y: FloatArray
    text: str = ""
    is_log: bool = False


def score_distributions(shares: Mapping[str, Sequence[float]], texts: Mapping[str, str], *, name: str) -> Chart:
    """Bars of the share of each score, one panel per source; ``texts`` holds n and median."""
    columns = min(_COLUMNS, max(len(shares), 1))
    rows = math.ceil(len(shares) / columns)
    with style():
        figure, axes = canvas(
            10, 0.1 + 2.3 * rows, rows, columns, Margins(between_columns=0.2, between_rows=0.85), sharey=True
        )
        for ax, (source, values) in zip(axes, shares.items(), strict=False):
            ax.bar(range(MAXIMUM_SCORE + 1), values, width=0.8, color=FILL)
            ax.set_title(source)
            ax.text(0.02, 0.97, texts[source], transform=ax.transAxes, va="top", color=MUTED, fontsize=9)
            ax.set_xticks(range(0, MAXIMUM_SCORE + 1, 2))
            ax.set_xlabel("Score, points")
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            ax.grid(visible=False, axis="x")
        for ax in axes[len(shares) :]:
            ax.set_visible(False)
        axes[0].set_ylabel("Patients")
        axes[0].set_ylim(0, 1.25 * max([max(values) for values in shares.values()] + [0.01]))
        return chart(name, "Share of patients with each score, by source", figure)


def volume_distribution(
    volumes_ml: Mapping[str, FloatArray], cuts_ml: Mapping[str, float], grades: Sequence[str], *, name: str
) -> Chart:
    """Histogram of lesion volumes on a logarithmic axis, stacked by severity grade, with the declared cuts."""
    colours = {**grade_colours(grades), **{group: RULE for group in volumes_ml if group not in grades}}
    everything = np.concatenate([values for values in volumes_ml.values() if values.size] or [np.array([1.0])])
    everything = np.maximum(everything, _SMALLEST_VOLUME_ML)
    low, high = math.floor(math.log10(everything.min())), math.ceil(math.log10(everything.max()))
    edges = np.logspace(low, max(high, low + 1), (max(high, low + 1) - low) * _BINS_PER_DECADE + 1)
    with style():
        figure, (ax,) = canvas(10, 3.2, margins=Margins(top=0.12))
        base = np.zeros(edges.size - 1)
        for group, values in volumes_ml.items():
            counts, _ = np.histogram(np.maximum(values, _SMALLEST_VOLUME_ML), edges)
            ax.bar(
                edges[:-1], counts, np.diff(edges), base, align="edge", color=colours[group],
                edgecolor="white", linewidth=0.6, label=f"{group}, n = {values.size}",
            )  # fmt: skip
            base += counts
        for label, cut in cuts_ml.items():
            ax.axvline(cut, color=INK, linewidth=1, linestyle=(0, (4, 2)))
            ax.annotate(
                label, (cut, 1), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords="offset points",
                rotation=90, ha="left", va="top", fontsize=8,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel("Lesion volume, ml (logarithmic)")
        ax.set_ylabel("Patients")
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        ax.set_ylim(0, 1.4 * max(base.max(), 1))  # room for the names of the cuts
        ax.legend(loc="upper left")
        return chart(name, "Lesion volumes by severity grade", figure)


def deduction_histograms(
    shares: Mapping[str, Mapping[str, Mapping[str, Row | None]]], headings: Mapping[str, str], *, name: str
) -> Chart:
    """Affected share of each region with its interval, one panel per side, one bar per grade.

    ``shares`` is side -> grade -> region -> statistics row; ``headings`` is grade -> legend entry with n.
    """
    grades = list(headings)
    colours = grade_colours(grades)
    width = 0.82 / max(len(grades), 1)
    with style():
        figure, axes = canvas(
            10, 6.8, len(shares), 1, Margins(top=0.6, bottom=0.3, between_rows=0.4), sharex=True, sharey=True
        )
        highest = 0.05
        for ax, (side, by_grade) in zip(axes, shares.items(), strict=True):
            for at, grade in enumerate(grades):
                x = np.arange(len(ASPECTS_REGIONS), dtype=np.float64) + (at - (len(grades) - 1) / 2) * width
                rows = [by_grade[grade].get(region) for region in ASPECTS_REGIONS]
                y, low, high = (_values(rows, field) for field in ("estimate", "lower", "upper"))
                _bars(ax, x, y, width * 0.94, colours[grade])
                ax.vlines(x, low, high, color=INK, linewidth=0.8)
                highest = max(highest, float(np.nan_to_num(high).max()))
            ax.set_title(_SIDE_TITLES[side])
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            ax.set_ylabel("Affected")
            ax.grid(visible=False, axis="x")
        axes[0].set_ylim(0, min(1.0, 1.03 * highest))
        axes[-1].set_xticks(range(len(ASPECTS_REGIONS)), [SHORT_CODES[region] for region in ASPECTS_REGIONS])
        axes[-1].set_xlim(-0.6, len(ASPECTS_REGIONS) - 0.4)
        handles = [Patch(facecolor=colours[grade], label=headings[grade]) for grade in grades]
        figure.legend(handles=handles, loc="upper right", ncols=len(grades))
        return chart(name, "Deduction frequency by region, side and severity grade", figure)


def roc_curves(panels: Mapping[str, Sequence[Curve]], *, name: str) -> Chart:
    """ROC curves, one panel per measure; a ring marks the primary or published cut."""
    with style():
        legend = 0.22 * max([len(curves) for curves in panels.values()] + [1])
        margins = Margins(left=0.75, right=0.35, bottom=0.65 + legend, between_columns=1.1)
        figure, axes = canvas(10, 4.9 + legend, 1, max(len(panels), 2), margins)
        for ax, (title, curves) in zip(axes, panels.items(), strict=False):
            looks = source_colours([curve.label for curve in curves])
            ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
            for curve in curves:
                colour, dash = looks[curve.label]
                ax.plot(curve.false_positive_rate, curve.sensitivity, color=colour, linestyle=dash, label=curve.label)
                if curve.cut is not None:
                    ax.plot(*curve.cut, marker="o", markersize=8, markerfacecolor="white", markeredgecolor=colour,
                            markeredgewidth=2)  # fmt: skip
            ax.set_title(title)
            ax.set_xlabel("1 − specificity")
            ax.set_ylabel("Sensitivity")
            ax.set_aspect("equal")
            ax.set_xlim(-0.01, 1.01)
            ax.set_ylim(-0.01, 1.01)
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=8.5)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        return chart(name, "Receiver operating characteristic", figure)


def associations(panels: Sequence[Scatter], *, name: str) -> Chart:
    """Counts as bubbles or squares, volumes as points; two panels in a row."""
    rows = math.ceil(len(panels) / 2)
    with style():
        figure, axes = canvas(10, 0.1 + 3.6 * rows, rows, 2, Margins(between_columns=0.8, between_rows=0.9))
        for ax, panel in zip(axes, panels, strict=False):
            if panel.is_log:
                ax.set_xscale("log")
                x = np.maximum(panel.x, _SMALLEST_VOLUME_ML)
                ax.plot(x, panel.y, linestyle="none", marker="o", markersize=4, color=FILL, alpha=0.35, mew=0)
                ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                ax.xaxis.set_minor_locator(NullLocator())
            else:
                _bubbles(ax, panel.x, panel.y)
            ax.set_title(panel.title)
            ax.set_xlabel(panel.x_label)
            ax.set_ylabel(panel.y_label)
            ax.annotate(panel.text, (1, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points",
                        ha="right", va="bottom", fontsize=8.5, color=MUTED)  # fmt: skip
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        return chart(name, "Score and volume against severity and outcome", figure)


def bland_altman(
    reference: FloatArray, candidate: FloatArray, lines: Mapping[str, Row | None], *, name: str, title: str
) -> Chart:
    """Difference against mean; bias and limits of agreement with the bands of their intervals.

    ``lines`` holds the statistics rows ``bias``, ``loa_lower`` and ``loa_upper``.
    """
    with style():
        figure, (ax,) = canvas(4.9, 3.7, margins=Margins(right=0.5))
        largest = _bubbles(ax, (reference + candidate) / 2, candidate - reference, printed=False)
        for key, row in lines.items():
            if row is None or row.estimate is None:
                continue
            colour = FILL if key == "bias" else "#b2410a"
            if row.lower is not None and row.upper is not None:
                ax.axhspan(row.lower, row.upper, color=colour, alpha=0.14, linewidth=0)
            ax.axhline(row.estimate, color=colour, linewidth=1.4, linestyle="-" if key == "bias" else (0, (5, 2)))
            ax.annotate(
                number(row.estimate), (1, row.estimate), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8.5, color=colour, annotation_clip=False,
            )  # fmt: skip
        ax.axhline(0, color=MUTED, linewidth=0.7)
        reach = max(float(np.abs(ax.get_ylim()).max()), 1.5)
        ax.set_ylim(-reach, reach)
        ax.set_xlim(-0.6, MAXIMUM_SCORE + 0.6)
        ax.set_title(f"{title}, n = {reference.size}", fontsize=9)
        ax.set_xlabel("Mean of both scores, points")
        ax.set_ylabel("Candidate − reference, points")
        ax.text(0.01, 0.02, f"largest bubble: {largest} patients", transform=ax.transAxes, fontsize=8, color=MUTED)
        return chart(name, f"Bland-Altman plot, {title}", figure)


FOREST_MINIMUM = -1.0  # an ICC of few patients may be far below; its number stands at the right


def forest(rows: Sequence[tuple[str, Row]], *, name: str, x_label: str, title: str) -> Chart:
    """Estimates with intervals, one line each, their numbers at the right; an arrow marks what goes on below -1."""
    with style():
        left = 0.3 + 0.085 * max([len(label) for label, _ in rows] + [1])
        figure, (ax,) = canvas(10, 0.65 + 0.3 * max(len(rows), 1), margins=Margins(left=left, right=2.5, top=0.1))
        for at, (_, row) in enumerate(rows):
            if row.estimate is None:
                continue
            if row.lower is not None and row.upper is not None:
                ax.plot([row.lower, row.upper], [at, at], color=FILL, linewidth=2, solid_capstyle="butt")
            ax.plot(row.estimate, at, marker="s", color=FILL, markersize=6)
            if min(row.estimate, row.estimate if row.lower is None else row.lower) < FOREST_MINIMUM:
                ax.plot(FOREST_MINIMUM, at, marker="<", color=FILL, markersize=6, clip_on=False)
            text = number(row.estimate)
            if row.lower is not None:
                text += f" ({number(row.lower)} to {number(row.upper)})"
            ax.annotate(f"{text}, n = {row.n}", (1.01, at), xycoords=("axes fraction", "data"), va="center",
                        fontsize=9, annotation_clip=False)  # fmt: skip
        ax.set_yticks(range(len(rows)), [label for label, _ in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        values = [value for _, row in rows for value in (row.estimate, row.lower) if value is not None]
        ax.set_xlim(max(min([0.0, *(value - 0.05 for value in values)]), FOREST_MINIMUM), 1.0)
        ax.set_xlabel(x_label)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        return chart(name, title, figure)


def _bubbles(ax: Axes, x: FloatArray, y: FloatArray, *, printed: bool = True) -> int:
    """Draw one bubble per distinct pair, its area the count, or squares with the counts; return the largest count."""
    counts = Counter(zip(x.tolist(), y.tolist(), strict=True))
    if not counts:
        return 0
    places = sorted(counts)
    sizes = np.array([counts[place] for place in places], dtype=np.float64)
    largest = int(sizes.max())
    at_x, at_y = [place[0] for place in places], [place[1] for place in places]
    if printed and np.ptp(at_y) <= _LEVELS_PRINTED_UP_TO:
        shades = mpl.colormaps["Blues"](0.05 + 0.55 * sizes / largest)
        ax.scatter(at_x, at_y, s=_CELL, marker="s", color=shades, linewidths=0)
        for place in places:
            ax.text(*place, str(counts[place]), ha="center", va="center", fontsize=7.5, color=INK)
        ax.margins(0.07)
        ax.grid(visible=False)
    else:
        areas = np.maximum(_LARGEST_BUBBLE * sizes / largest, 6)
        ax.scatter(at_x, at_y, s=areas, color=FILL, alpha=0.4, linewidths=0)
        if printed:
            ax.text(0.99, 0.99, f"largest bubble: {largest} patients", transform=ax.transAxes, ha="right", va="top",
                    fontsize=8, color=MUTED)  # fmt: skip
    ax.xaxis.set_major_locator(FixedLocator(range(0, MAXIMUM_SCORE + 1, 2)))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    return largest


def _bars(ax: Axes, x: npt.NDArray[np.floating[Any]], heights: FloatArray, width: float, colour: str) -> None:
    """Bars as one collection: many bar charts are drawn, and patches of their own cost most of the time."""
    left, right, floor = x - width / 2, x + width / 2, np.zeros_like(x)
    tops = np.nan_to_num(heights)
    corners = np.stack([[left, floor], [left, tops], [right, tops], [right, floor]])
    ax.add_collection(PolyCollection(list(corners.transpose(2, 0, 1)), facecolors=colour, linewidths=0))


def _values(rows: Sequence[Row | None], field: str) -> FloatArray:
    """One field of rows; NaN for none, so that nothing is drawn."""
    found: list[Any] = [None if row is None else getattr(row, field) for row in rows]
    return np.array([math.nan if value is None else value for value in found], dtype=np.float64)
