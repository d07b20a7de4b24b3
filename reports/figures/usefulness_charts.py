"""Charts of chances: what was said against what came true, and what acting on a source is worth at each risk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.estimators.calibration import CalibrationBin
from reports.figures.drawing import FILL, INK, MUTED, Chart, Margins, canvas, chart, source_colours, style
from reports.statistics.rows import Row

_COLUMNS = 3


@dataclass(frozen=True)
class ReliabilityPanel:
    """One curve with its title; intervals are drawn where a group holds patients."""

    title: str
    bins: Sequence[CalibrationBin]
    has_intervals: bool


@dataclass(frozen=True)
class BenefitLine:
    """Net benefit by risk, with its legend entry; ``is_all`` is the line of acting on everybody."""

    label: str
    rows: tuple[Row, ...]
    is_all: bool = False


def reliability_curves(panels: Sequence[ReliabilityPanel], *, name: str) -> Chart:
    """Share that came true against the mean chance of each group, one panel per pair."""
    rows = math.ceil(len(panels) / _COLUMNS)
    with style():
        figure, axes = canvas(10, 0.1 + 3.3 * rows, rows, _COLUMNS, Margins(between_columns=0.6, between_rows=0.95))
        for ax, panel in zip(axes, panels, strict=False):
            ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
            said = np.array([one.mean_probability for one in panel.bins])
            seen = np.array([one.observed.estimate for one in panel.bins])
            if panel.has_intervals:
                limits = [one.observed.confidence_interval() for one in panel.bins]
                ax.vlines(said, [one.lower for one in limits], [one.upper for one in limits], color=INK, linewidth=0.8)
            ax.plot(said, seen, color=FILL, marker="o", markersize=5, linewidth=1.2)
            ax.set_title(panel.title, fontsize=8.5)
            ax.set_xlabel("Chance given")
            ax.set_ylabel("Share that came true")
            ax.set_xlim(-0.02, 1.02)
            ax.set_ylim(-0.02, 1.02)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        return chart(name, "Calibration: chances given against what came true", figure)


def benefit_curves(lines: Sequence[BenefitLine], *, name: str) -> Chart:
    """Net benefit against the risk at which one would act; acting on nobody is the line at 0."""
    looks = source_colours([line.label for line in lines if not line.is_all])
    with style():
        figure, (ax,) = canvas(10, 3.9, margins=Margins(left=0.75, right=3.4))
        ax.axhline(0, color=MUTED, linewidth=0.9, label="acting on nobody")
        for position, line in enumerate(lines):
            risks = np.array([float(row.category or "nan") for row in line.rows])
            values = np.array([math.nan if row.estimate is None else row.estimate for row in line.rows])
            if line.is_all:
                ax.plot(risks, values, color=INK, linewidth=1.2, linestyle=(0, (1, 2)), label=line.label)
                continue
            colour, dash = looks[line.label]
            ax.plot(risks, values, color=colour, linestyle=dash, label=line.label)
            if position == 0:
                low, high = (
                    np.array([math.nan if one is None else one for one in (getattr(row, end) for row in line.rows)])
                    for end in ("lower", "upper")
                )
                ax.fill_between(risks, low, high, color=colour, alpha=0.14, linewidth=0)
        highest = max([row.estimate for line in lines for row in line.rows if row.estimate is not None] + [0.05])
        ax.set_ylim(-0.35 * highest, 1.15 * highest)
        ax.set_xlabel("Risk at which one would act")
        ax.set_ylabel("Net benefit per patient")
        ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8.5)
        return chart(name, "Decision curves: net benefit by risk", figure)
