"""Deduction frequency painted on the template, as Wei 2026 (doi 10.1093/braincomms/fcag053), Fig. 4 D to F.

Anterior is up; which side of the patient is on the left is said by letters and by the figure's title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from reports.figures.drawing import INK, MUTED, Chart, Margins, canvas, chart, style
from tasks.anatomy import SHORT_CODES, LabelTable
from tasks.views.convention import RADIOLOGICAL, Convention, edge_letters, in_words

_SCALE = "YlOrRd"  # lightness falls evenly, so it reads in grey too
_DARK = 0.6  # from here on a code is printed in white
_GREY_STEPS = 24  # fewer greys make the file smaller
_MARGIN_VOXELS = 4
_MINIMUM_NAMED_VOXELS = 60  # a short code does not fit into a smaller piece


@dataclass(frozen=True, eq=False)
class AtlasLevel:
    """One axial slice of the template with the same slice of a label map.

    Attributes
    ----------
    name : such as ``ganglionic``
    position : where the slice lies, as printed, such as ``z = 4 mm``
    background : (X, Y) float array, T1 in arbitrary units; x from the patient's left to right, y from back to front
    labels : (X, Y) integer array on the same grid, 0 = no label
    """

    name: str
    position: str
    background: npt.NDArray[np.floating[Any]]
    labels: npt.NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        if self.background.ndim != 2 or self.background.shape != self.labels.shape:
            raise ValueError(
                f"background and labels of {self.name} must be slices of one shape, got {self.background.shape} and "
                f"{self.labels.shape}. Cut both from the same grid."
            )


@dataclass(frozen=True, eq=False)
class AtlasSlices:
    """The slices that a label map's results are painted on.

    Attributes
    ----------
    map_name : name of the label map, as in ``ReportInput.map_names``
    table : LabelTable
    levels : slices, from the lowest to the highest
    """

    map_name: str
    table: LabelTable
    levels: tuple[AtlasLevel, ...]


def deduction_maps(
    name: str,
    slices: AtlasSlices,
    frequencies: Mapping[str, Mapping[tuple[str, str], float]],
    headings: Mapping[str, str],
    convention: Convention = RADIOLOGICAL,
) -> Chart:
    """Draw one column per severity grade and one row per level.

    Parameters
    ----------
    name : file name without suffix
    slices : AtlasSlices
    frequencies : column -> (side, region) -> share of patients with the region affected, 0 to 1
    headings : column -> heading, such as ``mild, n = 390``
    convention : which side of the patient is on the left

    Returns
    -------
    Chart
        Each column is divided by its own largest frequency, so that 1 is the region most often affected in that grade;
        the largest frequency is printed under the heading.
    """
    crops = [_cropped(level, convention) for level in slices.levels]
    columns = list(frequencies)
    largest = {column: max(frequencies[column].values(), default=0.0) for column in columns}
    weights = [
        {key: value / largest[column] if largest[column] else 0.0 for key, value in frequencies[column].items()}
        for column in columns
    ]
    rows = [background.shape[1] for background, _ in crops]
    width = len(columns) * max(background.shape[0] for background, _ in crops)
    picture_width = min(8.3, 2.6 * len(columns))
    height = picture_width * sum(rows) / width
    with style():
        figure, axes = canvas(
            10,
            0.75 + height,
            len(crops),
            1,
            Margins(left=0.7, right=10 - 0.7 - picture_width, top=0.65, bottom=0.05, between_rows=0.05),
            gridspec_kw={"height_ratios": rows},
        )
        for ax, level, (background, labels) in zip(axes, slices.levels, crops, strict=True):
            _paint(ax, (background, labels), slices.table, weights, edge_letters(convention))
            ax.set_ylabel(f"{level.name}\n{level.position}", linespacing=1.5)
        for position, column in enumerate(columns):
            axes[0].annotate(
                f"{headings[column]}\n1.0 = {largest[column]:.0%} of patients",
                ((position + 0.5) / len(columns), 1), xycoords="axes fraction", xytext=(0, 6),
                textcoords="offset points", ha="center", va="bottom", weight="bold", linespacing=1.5,
            )  # fmt: skip
        place = figure.add_axes(((0.7 + picture_width + 0.2) / 10, 0.2, 0.014, 0.55))
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), mpl.colormaps[_SCALE]), cax=place)
        bar.set_label("Frequency over the column's largest")
        return chart(name, f"Deduction frequency by region on the template. {in_words(convention)}", figure)


def _cropped(level: AtlasLevel, convention: Convention) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The slice around the brain as it is shown, its grey values scaled to 0..1 in a few steps, white outside."""
    step = -1 if convention == RADIOLOGICAL else 1
    background, labels = np.asarray(level.background, dtype=np.float64)[::step], level.labels[::step]
    inside = (background > 0) | (labels > 0)
    along_x, along_y = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if along_x.size == 0:
        return np.ones_like(background), np.asarray(labels, dtype=np.int64)
    box = (
        slice(max(along_x[0] - _MARGIN_VOXELS, 0), along_x[-1] + _MARGIN_VOXELS + 1),
        slice(max(along_y[0] - _MARGIN_VOXELS, 0), along_y[-1] + _MARGIN_VOXELS + 1),
    )
    top = float(np.quantile(background[inside], 0.995)) or 1.0
    grey = 0.25 + 0.75 * np.clip(background[box] / top, 0, 1)
    stepped = np.rint(grey * _GREY_STEPS) / _GREY_STEPS
    return np.where(background[box] > 0, stepped, 1.0), np.asarray(labels[box], dtype=np.int64)


def _paint(
    ax: Axes,
    level: tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]],
    table: LabelTable,
    weights: Sequence[Mapping[tuple[str, str], float]],
    letters: tuple[str, str],
) -> None:
    """Paint one level: a copy of the slice per column, regions by weight, outlines, short codes and sides."""
    background, labels = level
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    step = background.shape[0]
    picture = np.repeat(np.tile(background, (len(weights), 1))[..., None], 3, axis=2)
    scale = mpl.colormaps[_SCALE]
    for label in table.labels:
        inside = labels == label.index
        key = (label.side, label.region)
        if not inside.any() or not any(key in of_column for of_column in weights):
            continue
        ax.contour(np.tile(inside, (len(weights), 1)).T.astype(float), levels=[0.5], colors=[INK], linewidths=0.5)
        x, y = _inner_point(inside)
        for position, of_column in enumerate(weights):
            weight = of_column.get(key)
            if weight is None:
                continue
            picture[position * step : (position + 1) * step][inside] = np.asarray(scale(weight))[:3]
            if inside.sum() >= _MINIMUM_NAMED_VOXELS:
                code = SHORT_CODES.get(label.region, label.region)
                colour = "white" if weight > _DARK else INK
                ax.text(x + position * step, y, code, ha="center", va="center", fontsize=7.5, color=colour)
    ax.imshow(np.rint(picture * 255).astype(np.uint8).transpose(1, 0, 2), origin="lower", interpolation="none")
    for position in range(len(weights)):
        for x, side, align in zip((0.08, 0.92), letters, ("left", "right"), strict=True):
            ax.text((position + x) * step, background.shape[1], side, ha=align, va="top", color=MUTED, weight="bold")


def _inner_point(inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The pixel of a region nearest to its centre of mass, so that a bent region's code lies inside it."""
    points = np.argwhere(inside)
    centre = points.mean(axis=0)
    x, y = points[np.argmin(((points - centre) ** 2).sum(axis=1))]
    return float(x), float(y)
