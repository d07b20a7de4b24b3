"""A lesion in three dimensions on a patient's page: its words, its letters, and the side that its red pixels are on."""

from __future__ import annotations

import base64
import io
import json
import re
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from reports.figures.rendering_picture import rendering_files, rendering_picture
from reports.pages.patient import patient_page
from reports.pages.view import Drawing
from tasks.lesion import measure_lesion
from tasks.views.rendering import rendering
from tests.reports.page_views import cohort_view, included, picture
from tests.tasks.stored_order import centred

ALT = re.compile(r'aria-label="(Lesion of [^"]*)">(.*?)</svg>\s*<figcaption>([^<]*)</figcaption>', re.DOTALL)


@lru_cache(maxsize=1)
def _rendered():
    """A ball of 15 mm, on the left, in front and high, in a brain of 60 mm."""
    (x, y, z), affine = centred((72, 76, 43), (2.0, 1.9, 3.0))
    lesion = (x + 25) ** 2 + (y - 20) ** 2 + (z - 10) ** 2 < 15**2
    measures = measure_lesion(np.flatnonzero(lesion.reshape(-1, order="F")), lesion.shape, affine)
    assert measures.volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.02)
    return rendering_picture(rendering(x**2 + y**2 + z**2 < 60**2, lesion, affine, measures.side), measures)


def _page(convention="radiological"):
    drawing = Drawing("threshold-dwi", "ncct", (), picture(), rendering=_rendered())
    return patient_page(included(drawings=[drawing]), cohort_view(pictures=convention))


def _red(data):
    """(row, column) of the middle of the red pixels as shares of the picture, and their area in pixels."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    rows, columns = np.nonzero(pixels[..., 0] > pixels[..., 2] + 10)  # the brain's grey has more blue than red
    return (rows.mean() + 0.5) / pixels.shape[0], (columns.mean() + 0.5) / pixels.shape[1], rows.size


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_sides_and_letters_follow_the_convention_of_the_study(convention):
    shown = ALT.findall(_page(convention))
    assert [caption for *_, caption in shown] == [
        "From the patient&#39;s left", "From the front", "From above, anterior is up",
    ]  # fmt: skip
    turns = convention == "neurological"
    for (_, drawn, _), seen_from in zip(shown, ("left", "front", "above"), strict=True):
        row, column, _ = _red(re.search(r"base64,([^\"]+)", drawn).group(1))
        is_mirrored = "matrix(-1" in drawn
        letters = re.findall(r'class="side[ a-z]*"[^>]*>([A-Z])<', drawn)
        column = 1 - column if is_mirrored else column
        assert row < 0.47  # it lies high, and in front
        if seen_from == "left":
            assert not is_mirrored
            assert letters == ["A", "P"]
            assert column < 0.45  # in front is on the left of who looks from the left
        else:
            assert is_mirrored == turns
            assert letters == (["L", "R"] if turns else ["R", "L"])
            assert (column < 0.45) == turns
            assert abs(column - 0.5) > 0.05
    assert f"above the patient&#39;s {'left' if turns else 'right'} is on the left, as on the slices" in _page(
        convention
    )


def test_words_say_volume_and_side_and_stand_below_the_slices():
    page = _page()
    alts = [alt for alt, *_ in ALT.findall(page)]
    volume = f"{_rendered()['volume_ml']:.1f}"
    assert volume in ("14.0", "14.1", "14.2")
    assert alts[1] == f"Lesion of {volume} ml, left side, in three dimensions. From the front."
    assert f"Lesion of {volume} ml, left side: red, seen through the brain" in page
    assert (
        page.index("Registration check") < page.index("Lesion in three dimensions") < page.index("Quality of this scan")
    )


def test_red_pixels_have_the_area_of_the_lesion():
    found = _rendered()
    for view in found["views"]:
        assert _red(view["png"])[2] * found["pixel_mm"] ** 2 == pytest.approx(np.pi * 15**2, rel=0.05)


def test_a_rendering_is_small_and_the_same_every_time():
    ((name, content),) = rendering_files("sub-1_dwi", _rendered()).items()
    assert name == "sub-1_dwi_rendering.json"
    assert len(content) < 40_000
    assert json.loads(content) == _rendered()
    _rendered.cache_clear()
    assert rendering_files("sub-1_dwi", _rendered())[name] == content


def test_a_scan_without_a_rendering_has_no_place_for_one():
    assert "Lesion in three dimensions" not in patient_page(included(), cohort_view())
