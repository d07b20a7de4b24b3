"""The figure of the template's label maps: slices with coloured regions, sides named at the edges."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.anatomy import SHORT_CODES, LabelTable
from tasks.views.convention import RADIOLOGICAL, Convention, edge_letters, in_words

AXIAL_MM = (-20, -5, 5, 15, 28, 45)  # z of the slices drawn
CORONAL_MM, SAGITTAL_MM = -8, -45  # y, x
_PANELS = (*((2, z) for z in AXIAL_MM), (1, CORONAL_MM), (0, SAGITTAL_MM))
_AXIS_NAMES = "xyz"


def label_map_figure(
    t1: NDArray[np.float32],
    affine: NDArray[np.float64],
    maps: Mapping[str, tuple[NDArray[np.int16], LabelTable]],
    convention: Convention = RADIOLOGICAL,
) -> Figure:
    """Draw label maps on the template, one row each.

    Sagittal slices look from the left.

    Parameters
    ----------
    t1 : (X, Y, Z) float array, arbitrary units, the template
    affine : (4, 4) array, voxel -> world, RAS, mm; the axes must run right, front and up
    maps : name -> (labels, table)
        (X, Y, Z) integer arrays on the template's grid, 0 = no label.
    convention : which side of the brain is on the left of axial and coronal slices

    Raises
    ------
    ValueError
        The axes do not run right, front and up, or a map is not on the grid.
    """
    spacing_mm = np.diag(affine)[:3]
    if np.any(affine[:3, :3] != np.diag(spacing_mm)) or np.any(spacing_mm <= 0):
        raise ValueError(f"affine must run right, front and up, got {affine[:3, :3].tolist()}. Reorient the arrays.")
    if wrong := {name: labels.shape for name, (labels, _) in maps.items() if labels.shape != t1.shape}:
        raise ValueError(f"labels must have the template's shape {t1.shape}, got {wrong}. Resample them first.")
    figure = Figure(figsize=(2.1 * len(_PANELS), 2.55 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), len(_PANELS), squeeze=False)
    for row, (name, (labels, table)) in zip(axes, maps.items(), strict=True):
        for panel, (axis, position_mm) in zip(row, _PANELS, strict=True):
            index = round((position_mm - affine[axis, 3]) / spacing_mm[axis])
            _draw_slice(panel, np.take(t1, index, axis).T, np.take(labels, index, axis).T, table)
            if axis != 0 and convention == RADIOLOGICAL:
                panel.invert_xaxis()
            for x, letter in zip((0.02, 0.98), ("P", "A") if axis == 0 else edge_letters(convention), strict=True):
                align = "left" if x < 0.5 else "right"
                panel.text(x, 0.98, letter, ha=align, va="top", fontsize=8, color="white", transform=panel.transAxes)
            panel.set_title(f"{_AXIS_NAMES[axis]} = {position_mm} mm", fontsize=8)
        row[0].set_ylabel(name)
    figure.supxlabel(f"{in_words(convention)} Template: ICBM152 2009a symmetric.", fontsize=8)
    return figure


def _draw_slice(axes: Axes, background: NDArray[np.float32], labels: NDArray[np.int16], table: LabelTable) -> None:
    """One slice: the template in grey, regions in colour with their code at the voxel nearest to their centre."""
    regions = list(dict.fromkeys(label.region for label in table.labels))
    colours = matplotlib.colormaps["tab10"]
    overlay = np.zeros((*labels.shape, 4))
    axes.imshow(background, origin="lower", cmap="gray", interpolation="nearest")
    for label in table.labels:
        mask = labels == label.index
        overlay[mask] = colours(regions.index(label.region) % colours.N, alpha=0.55)
        if mask.sum() < 60:  # too small for its code
            continue
        voxels = np.argwhere(mask)
        row, column = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
        code = SHORT_CODES.get(label.region, label.region.replace("_", "\n"))
        axes.text(column, row, code, ha="center", va="center", fontsize=5.5, color="black")
    axes.imshow(overlay, origin="lower", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    brain = np.argwhere(background > 0)
    (bottom, left), (top, right) = brain.min(axis=0) - 3, brain.max(axis=0) + 3
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
