"""The atlas figure draws what it is given, sides where the convention has them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reports.figures.atlas_figure import label_map_figure
from tasks.anatomy import Label, LabelTable

AFFINE = np.array([[4.0, 0, 0, -78], [0, 4, 0, -70], [0, 0, 4, -40], [0, 0, 0, 1]])
TABLE = LabelTable((Label(1, "right_m1", "right", "m1", "cortical"), Label(2, "left_m1", "left", "m1", "cortical")))


def _arrays() -> tuple[np.ndarray, np.ndarray]:
    t1 = np.ones((40, 36, 30), dtype=np.float32)
    labels = np.zeros(t1.shape, dtype=np.int16)
    labels[25:35, 10:20] = 1
    labels[5:15, 10:20] = 2
    return t1, labels


def test_regions_carry_their_code_where_they_lie():
    t1, labels = _arrays()
    figure = label_map_figure(t1, AFFINE, {"site": (labels, TABLE)})
    assert len(figure.axes) == 8
    first = figure.axes[0]
    assert first.get_ylabel() == "site"
    assert first.get_title() == "z = -20 mm"
    codes = [text for text in first.texts if text.get_text() == "M1"]
    assert sorted(round(text.get_position()[0]) for text in codes) == [9, 29]
    overlay = first.images[1].get_array()
    assert overlay[15, 30, 3] == pytest.approx(0.55)
    assert overlay[0, 0, 3] == 0


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_sides_are_where_the_convention_has_them_by_pixel(convention):
    t1, labels = _arrays()
    labels[labels == 1] = 0  # the right region stays out of the picture
    table = LabelTable(TABLE.labels[1:])
    figure = label_map_figure(t1, AFFINE, {"site": (labels, table)}, convention)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba()).astype(int)
    for axes, plane in ((figure.axes[0], "axial"), (figure.axes[6], "coronal")):
        box = axes.get_window_extent()
        shown = pixels[::-1][int(box.y0) + 2 : int(box.y1) - 2, int(box.x0) + 2 : int(box.x1) - 2]
        coloured = np.ptp(shown[..., :3], axis=-1) > 40
        is_left_half = np.nonzero(coloured)[1].mean() < shown.shape[1] / 2
        assert is_left_half == (convention == "neurological"), plane
        letters = [text.get_text() for text in axes.texts if text.get_text() in ("L", "R")]
        assert letters == (["R", "L"] if convention == "radiological" else ["L", "R"])
    assert [text.get_text() for text in figure.axes[7].texts][-2:] == ["P", "A"]
    assert figure._supxlabel.get_text().startswith(convention.capitalize())


def test_other_grids_are_refused():
    t1, labels = _arrays()
    with pytest.raises(ValueError, match=r"shape \(40, 36, 30\), got \{'site': \(39, 36, 30\)\}"):
        label_map_figure(t1, AFFINE, {"site": (labels[1:], TABLE)})
    with pytest.raises(ValueError, match="must run right, front and up"):
        label_map_figure(t1, np.diag([-4.0, 4, 4, 1]), {"site": (labels, TABLE)})
