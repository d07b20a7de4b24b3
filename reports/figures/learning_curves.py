"""The learning curves of a training: loss, and what validation patients say meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from reports.figures.drawing import FILL, MUTED, Chart, Margins, canvas, chart, source_colours, style

_TITLES = {"loss": "Loss on training patients", "dice": "Dice, median", "ml": "Volume, median, ml"}
_NAMES = {"dice": "Dice", "false_ml": "false volume", "volume_error_ml": "found − true volume"}
_MANY = 40  # points; fewer are marked


def learning_curves(rows: Sequence[Mapping[str, float]], *, name: str) -> Chart:
    """Three panels over the steps.

    Parameters
    ----------
    rows : of the log: ``step`` with ``loss``, or with the metrics of validation patients
    name : of the file
    """
    panels = {"loss": ("loss",), "dice": ("dice",), "ml": ("false_ml", "volume_error_ml")}
    with style():
        figure, axes = canvas(10, 2.9, 1, 3, Margins(between_columns=0.75))
        for ax, (panel, metrics) in zip(axes, panels.items(), strict=True):
            looks = source_colours(metrics) if len(metrics) > 1 else {metrics[0]: (FILL, "-")}
            for metric in metrics:
                points = [(row["step"], row[metric]) for row in rows if metric in row]
                if points:
                    colour, dash = looks[metric]
                    marker = "o" if len(points) < _MANY else None
                    ax.plot(*zip(*points, strict=True), color=colour, linestyle=dash, marker=marker, markersize=3.5,
                            label=_NAMES.get(metric, metric))  # fmt: skip
            if not ax.lines:
                ax.text(0.5, 0.5, "no value yet", transform=ax.transAxes, ha="center", color=MUTED)
            elif len(metrics) > 1:
                ax.legend(loc="best", fontsize=8.5)
            ax.set_title(_TITLES[panel])
            ax.set_xlabel("Step")
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes[1].set_ylim(0, 1)
        if axes[0].lines:
            axes[0].set_ylim(bottom=0)
        return chart(name, "Learning curves: loss, Dice and volumes by step", figure)
