"""The curves of a perfusion series as charts: artery and vein, tissue of both sides, and motion of the head.

All have the time of the frames below. The baseline is shaded, the arrival of contrast agent a dashed line. A rejected
frame is a cross and no part of a line. One that has no value stands at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from reports.document.tables import number
from reports.figures.drawing import INK, MUTED, SOURCE_COLOURS, Chart, Margins, canvas, chart, style
from reports.figures.perfusion_picture import CurvePicture
from tasks.anatomy import Side
from tasks.arrays import FloatArray
from tasks.perfusion.motion import MOVED_MM

WIDTH_IN, HEIGHT_IN = 4.6, 2.7
ARTERY_COLOUR, VEIN_COLOUR = SOURCE_COLOURS[1], SOURCE_COLOURS[0]  # on the slices as well
_MARGINS = Margins(left=0.6, right=0.12, top=0.3, bottom=0.5)
_BASELINE_COLOUR = "#e8eef3"
_NAMED = "no frame rejected", "1 frame rejected", "{} frames rejected"


@dataclass(frozen=True, eq=False)
class _Line:
    """A curve with its name and look."""

    name: str
    values: FloatArray
    colour: str
    dash: str = "-"


def curve_charts(curves: CurvePicture, side: Side | None, scaling: float | None, *, name: str) -> list[Chart]:
    """The charts of what the series has; their titles say in words what they show.

    Parameters
    ----------
    curves : CurvePicture
    side : the affected side, None where neither is
    scaling : factor by which the AIF was raised before deconvolution, None where not known
    name : beginning of the charts' names
    """
    vessels = _lines(
        _line("AIF", curves["aif"], ARTERY_COLOUR),
        _line("VOF", curves["vof"], VEIN_COLOUR, "--"),
    )
    if vessels and curves["aif"] and scaling is not None and scaling > 1:
        raised = _Line(f"AIF × {number(scaling, 2)}, as used", vessels[0].values * scaling, ARTERY_COLOUR, ":")
        vessels.insert(1, raised)
    first, second = ("brain", "") if side is None else (f"{side}, affected", "right" if side == "left" else "left")
    tissue = _lines(
        _line(first, curves["tissue_affected"], ARTERY_COLOUR),
        _line(second or "other side", curves["tissue_other"], VEIN_COLOUR, "--"),
    )
    motion = _lines(_line("displacement", curves["displacement_mm"], INK))
    charts = []
    for key, title, unit, lines in (
        ("vessels", "Artery and vein", "HU", vessels),
        ("tissue", "Mean tissue", "HU", tissue),
        ("motion", "Motion of the head", "mm", motion),
    ):
        if lines:
            charts.append(_chart(f"{name}-{key}", title, unit, lines, curves))
    return charts


def _line(name: str, values: Sequence[float | None], colour: str, dash: str = "-") -> _Line:
    """A curve with NaN for null."""
    return _Line(name, np.array([np.nan if one is None else one for one in values], dtype=np.float64), colour, dash)


def _lines(*lines: _Line) -> list[_Line]:
    """Those that have a value."""
    return [line for line in lines if np.isfinite(line.values).any()]


def _chart(name: str, title: str, unit: str, lines: list[_Line], curves: CurvePicture) -> Chart:
    """One chart of lines over the time of the frames."""
    times, is_usable = np.array(curves["times_s"]), np.array(curves["is_usable"])
    with style():
        figure, (ax,) = canvas(WIDTH_IN, HEIGHT_IN, margins=_MARGINS)
        for line in lines:
            is_drawn = is_usable & np.isfinite(line.values)
            marker = "." if len(lines) == 1 else ""
            ax.plot(
                times[is_drawn], line.values[is_drawn], line.dash, marker=marker, color=line.colour, label=line.name
            )
        if unit == "mm":
            ax.set_ylim(0, max(1.0, 1.1 * float(np.nanmax(lines[0].values))))
            ax.axhline(MOVED_MM, color=MUTED, linewidth=1, linestyle=":", label=f"resampled above {MOVED_MM:g} mm")
        else:
            ax.axhline(0, color=MUTED, linewidth=0.6)
        if not is_usable.all():
            at = np.where(np.isfinite(lines[0].values), lines[0].values, ax.get_ylim()[0])[~is_usable]
            ax.plot(times[~is_usable], at, "x", color=INK, markersize=6, label="rejected frame", clip_on=False)
        baseline_end_s = _draw_passage(ax, times, curves)
        ax.set_title(title)
        ax.set_xlabel("Time, s")
        ax.set_ylabel("Displacement, mm" if unit == "mm" else "Enhancement, HU")
        ax.margins(x=0.02)
        legend = ax.legend(loc="best", handlelength=1.8, labelspacing=0.25, borderaxespad=0.2, frameon=True)
        legend.get_frame().set(facecolor="white", alpha=0.8, linewidth=0)
        words = _words(title, unit, lines, curves, baseline_end_s)
        return chart(name, words, figure)


def _draw_passage(ax: Axes, times: FloatArray, curves: CurvePicture) -> float | None:
    """Shade the baseline and mark the arrival; the end of the baseline."""
    if curves["arrival_s"] is not None:
        ax.axvline(curves["arrival_s"], color=MUTED, linewidth=1, linestyle="--", label="arrival in the brain")
    if not curves["n_baseline_frames"]:
        return None
    used = times[np.array(curves["is_usable"])]
    if not len(used):
        return None
    end_s = float(used[min(curves["n_baseline_frames"], len(used)) - 1])
    ax.axvspan(float(times[0]), end_s, color=_BASELINE_COLOUR, linewidth=0, label="baseline")
    return end_s


def _words(title: str, unit: str, lines: list[_Line], curves: CurvePicture, baseline_end_s: float | None) -> str:
    """What a chart shows, for readers who cannot see it."""
    times, is_usable = np.array(curves["times_s"]), np.array(curves["is_usable"])
    said = []
    for line in lines:
        values = np.where(is_usable, line.values, np.nan)
        if np.isfinite(values).any():
            top = int(np.nanargmax(values))
            said.append(f"{line.name}: highest {number(float(values[top]), 1)} {unit} at {number(times[top], 1)} s")
    if baseline_end_s is not None:
        said.append(f"baseline until {number(baseline_end_s, 1)} s")
    if curves["arrival_s"] is not None:
        said.append(f"arrival at {number(curves['arrival_s'], 1)} s")
    n_rejected = int((~is_usable).sum())
    said.append(_NAMED[min(n_rejected, 2)].format(n_rejected))
    return f"{title}. {'; '.join(said)}."
