"""The atlas figure draws what it is given, left on the left."""

from __future__ import annotations

import numpy as np
import pytest

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
    assert [text.get_text() for text in first.texts] == ["M1", "M1"]
    assert sorted(round(text.get_position()[0]) for text in first.texts) == [9, 29]
    assert first.get_xlim()[0] < first.get_xlim()[1]  # x to the right of the page is the right of the brain
    overlay = first.images[1].get_array()
    assert overlay[15, 30, 3] == pytest.approx(0.55)
    assert overlay[0, 0, 3] == 0


def test_other_grids_are_refused():
    t1, labels = _arrays()
    with pytest.raises(ValueError, match=r"shape \(40, 36, 30\), got \{'site': \(39, 36, 30\)\}"):
        label_map_figure(t1, AFFINE, {"site": (labels[1:], TABLE)})
    with pytest.raises(ValueError, match="must run right, front and up"):
        label_map_figure(t1, np.diag([-4.0, 4, 4, 1]), {"site": (labels, TABLE)})
