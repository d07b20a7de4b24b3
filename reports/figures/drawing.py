"""How every figure of the report is drawn: colours, type size, and an SVG that is the same bytes for the same input.

Figures are ``matplotlib.figure.Figure`` objects without pyplot, so nothing is global and nothing needs a display. Text
stays text (``svg.fonttype: none``): small, searchable, read by screen readers; names given by people are never read as
mathematics. Colours are those of Okabe and Ito (2008), told apart by all common forms of colour vision; what colour
says, position, line style or a label says as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#5c6b7a"
RULE = "#d5dce3"
FILL = "#0072b2"
#: Okabe and Ito (2008), Color Universal Design: blue, vermillion, green, purple, orange, sky blue.
SOURCE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SOURCE_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
GRADE_COLOURS = ("#8cc4e8", "#e69f00", "#b2410a")  # light to dark, so that the order survives grey printing

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "aspects-cohort",  # otherwise the identifiers differ from run to run
    "text.parse_math": False,  # a participant or source called "$x$" is text
    "font.family": "DejaVu Sans",  # comes with matplotlib: one layout on every machine
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # saves measuring every tick label to place the title
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_SYSTEM_FONT = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
_COORDINATES = re.compile(r'\b(?:d|x|y|points)="[^"]*"')
_DECIMALS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is invisible, and the files are half as large
_NO_METADATA: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Chart:
    """A drawn figure.

    Attributes
    ----------
    name : file name without ``.svg``, of the characters a-z, 0-9 and the hyphen
    title : what it shows, for readers who cannot see it
    svg : the drawing, beginning with ``<svg``; its identifiers start with ``name``
    """

    name: str
    title: str
    svg: str


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of the report inside the ``with`` block; the caller's settings come back after it."""
    with mpl.rc_context(_STYLE):
        yield


@dataclass(frozen=True)
class Margins:
    """Room around the axes and between them, in inches. Fixed room draws three times faster than a layout engine."""

    left: float = 0.65
    right: float = 0.1
    top: float = 0.35
    bottom: float = 0.5
    between_columns: float = 0.45
    between_rows: float = 0.75


def canvas(
    width: float, height: float, rows: int = 1, columns: int = 1, margins: Margins = Margins(), **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` x ``height`` inches (10 is the full page) and its axes, row by row."""
    figure = Figure(figsize=(width, height))
    panel_width = (width - margins.left - margins.right - (columns - 1) * margins.between_columns) / columns
    panel_height = (height - margins.top - margins.bottom - (rows - 1) * margins.between_rows) / rows
    figure.subplots_adjust(
        left=margins.left / width,
        right=1 - margins.right / width,
        top=1 - margins.top / height,
        bottom=margins.bottom / height,
        wspace=margins.between_columns / panel_width,
        hspace=margins.between_rows / panel_height,
    )
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.ravel())


def chart(name: str, title: str, figure: Figure) -> Chart:
    """Render a figure to SVG."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    return Chart(name, title, _inline(stream.getvalue(), name, title))


def source_colours(sources: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Source -> (colour, line style), in the order given; the line style changes when the colours are used up."""
    return {
        source: (
            SOURCE_COLOURS[position % len(SOURCE_COLOURS)],
            SOURCE_DASHES[(position + position // len(SOURCE_COLOURS)) % len(SOURCE_DASHES)],
        )
        for position, source in enumerate(sources)
    }


def grade_colours(grades: Sequence[str]) -> dict[str, str]:
    """Severity grade -> colour, light to dark; taken from a continuous scale when there are more than three."""
    if len(grades) <= len(GRADE_COLOURS):
        chosen: Sequence[str] = GRADE_COLOURS[: len(grades)]
    else:
        scale = mpl.colormaps["YlOrBr"]
        chosen = [mpl.colors.to_hex(scale(0.25 + 0.7 * step / (len(grades) - 1))) for step in range(len(grades))]
    return dict(zip(grades, chosen, strict=True))


def file_stem(*parts: str) -> str:
    """Return a safe file name made of the parts, whatever characters they hold.

    >>> file_stem("roc", "reader:A")
    'roc-reader-a'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _inline(svg: str, name: str, title: str) -> str:
    """Make a matplotlib SVG fit to stand in a page with others: own identifiers, page font, no outer declarations."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>\s*', "", svg, flags=re.DOTALL)  # "*{...}" would style the page
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'xlink:href="#{name}-')
    svg = _COORDINATES.sub(lambda found: _DECIMALS.sub(r"\1", found.group()), svg)
    svg = svg.replace("'DejaVu Sans'", _SYSTEM_FONT.replace('"', "'"))
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)  # matplotlib repeats each text as a comment
    label = f'role="img" aria-label="{escape(title, quote=True)}" stroke-linejoin="round"'
    return svg.replace("<svg ", f"<svg {label} ", 1) + "\n"
