"""Text drawn into slices: found outside the head by its one value; noise, metal, frames and side marks are none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tasks.quality.burned_in import drawn_letters

SHAPE = (200, 230)


def _slice(seed=0, air=-1000.0, noise=12.0):
    """A noisy head with skull in air, and a head rest below it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(SHAPE)
    radius = np.hypot((rows - 95) / 70, (columns - 115) / 60)
    image = np.where(radius < 1, 1100.0, air)
    image[radius < 0.9] = 35
    image[(radius > 1.15) & (radius < 1.2) & (rows > 120)] = -300
    return np.rint(image + rng.normal(0, noise, SHAPE))


def _with_text(image, text, place=(4, 4), size=12, value=None):
    """A slice with text of one value."""
    picture = Image.new("L", SHAPE[::-1], 0)
    drawing = ImageDraw.Draw(picture)
    drawing.fontmode = "1"
    drawing.text(place, text, fill=255, font=ImageFont.load_default(size))
    return np.where(np.asarray(picture) > 0, image.max() if value is None else value, image)


@pytest.mark.parametrize("size", [9, 12, 16, 24])
@pytest.mark.parametrize("place", [(4, 4), (4, 170)])
def test_a_name_in_a_corner_is_found_at_any_size_and_value(size, place):
    for value in (None, 3071.0, 40.0):
        assert drawn_letters(_with_text(_slice(), "QUIXOTE", place, size, value)) >= 4
    if size > 9:  # smaller digits touch each other
        assert drawn_letters(_with_text(_slice(), "1947-03-16", place, size)) >= 4
    assert drawn_letters(_with_text(_slice(), "QUIXOTE", place, size).T) >= 4
    assert drawn_letters(_with_text(_slice(), "QUIXOTE", place, size)[:, ::-1]) >= 4


def test_text_in_mr_with_dark_air_is_found():
    image = np.abs(_slice(air=0.0)) + 3
    assert drawn_letters(image) == 0
    assert drawn_letters(_with_text(image, "QUIXOTE")) >= 4


def test_scans_without_text_have_none():
    for seed in range(5):
        image = _slice(seed)
        assert drawn_letters(image) == 0
        assert drawn_letters(image.clip(-1000, 80)) == 0  # everything brighter has one value
    rng = np.random.default_rng(1)
    assert drawn_letters(rng.normal(0, 10, SHAPE)) == 0
    assert drawn_letters(rng.integers(0, 255, SHAPE)) == 0
    assert drawn_letters(np.zeros(SHAPE)) == 0


def test_a_mark_of_the_side_a_frame_and_electrodes_are_no_text():
    marked = _with_text(_slice(), "R")
    marked[2, :] = marked[-3, :] = marked[:, 2] = marked[:, -3] = 3071
    assert drawn_letters(marked) == 0
    rows, columns = np.indices(SHAPE)
    wired = _slice()
    for place in range(20, 220, 40):
        wired[np.hypot(rows - 10, columns - place) < 4] = 3071
    assert drawn_letters(wired) == 0
