"""The three figures of the first page, small enough to stand in a row and to be read there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.document.tables import number
from reports.figures.charts import FOREST_MINIMUM, Curve
from reports.figures.drawing import FILL, INK, MUTED, RULE, Chart, Margins, canvas, chart, source_colours, style
from reports.statistics.rows import Row

_WIDTH, _HEIGHT = 3.5, 3.1  # inches; a third of the page
_LONGEST = 24  # characters of a name


def flow_bars(counts: Mapping[str, int], *, name: str) -> Chart:
    """How many were screened, and what became of them; the first entry is all of them."""
    labels, values = list(counts), list(counts.values())
    with style():
        figure, (ax,) = canvas(_WIDTH, _HEIGHT, margins=Margins(left=1.0, right=0.45, top=0.15, bottom=0.2))
        colours = [FILL if label in (labels[0], "included") else RULE for label in labels]
        ax.barh(range(len(values)), values, height=0.62, color=colours)
        for at, value in enumerate(values):
            ax.annotate(str(value), (value, at), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10)
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.4, -0.6)
        ax.set_xlim(0, max([*values, 1]))
        ax.set_xticks([])
        ax.grid(visible=False)
        ax.tick_params(axis="y", length=0)
        ax.spines["bottom"].set_visible(False)
        return chart(name, "Who was screened and what became of them", figure)


def small_forest(rows: Sequence[tuple[str, Row]], *, name: str) -> Chart:
    """ICC(A,1) with intervals, one line each."""
    with style():
        figure, (ax,) = canvas(_WIDTH, _HEIGHT, margins=Margins(left=1.55, right=0.42, top=0.1, bottom=0.48))
        for at, (_, row) in enumerate(rows):
            if row.estimate is None:
                continue
            if row.lower is not None and row.upper is not None:
                ax.plot([row.lower, row.upper], [at, at], color=FILL, linewidth=2, solid_capstyle="butt")
            ax.plot(row.estimate, at, marker="s", color=FILL, markersize=5)
            ax.annotate(number(row.estimate), (1.03, at), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
                        annotation_clip=False)  # fmt: skip
        ax.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=7, linespacing=1.0)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        lowest = [value for _, row in rows for value in (row.estimate, row.lower) if value is not None]
        ax.set_xlim(max(min([0.0, *lowest]), FOREST_MINIMUM), 1.0)
        ax.set_xlabel("ICC(A,1), 95 % interval", fontsize=8.5)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        return chart(name, "Agreement of the score, ICC(A,1)", figure)


def small_roc(curves: Sequence[Curve], *, name: str) -> Chart:
    """ROC curves of the first sources, with a short legend inside."""
    looks = source_colours([curve.label for curve in curves])
    with style():
        figure, (ax,) = canvas(_WIDTH, _HEIGHT, margins=Margins(left=0.55, right=0.12, top=0.1, bottom=0.48))
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        for curve in curves:
            colour, dash = looks[curve.label]
            ax.plot(curve.false_positive_rate, curve.sensitivity, color=colour, linestyle=dash, label=curve.label)
        ax.set_xlim(-0.01, 1.01)
        ax.set_ylim(-0.01, 1.01)
        ax.set_xlabel("1 − specificity", fontsize=8.5)
        ax.set_ylabel("Sensitivity", fontsize=8.5)
        ax.legend(loc="lower right", fontsize=7.5, labelcolor=INK)
        return chart(name, "How well scores tell severe strokes apart", figure)


def short_name(text: str) -> str:
    """A name that fits.

    >>> short_name("a-very-long-name-of-a-source")
    'a-very-long-name-of-a-s…'
    """
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
