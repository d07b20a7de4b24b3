"""Both display conventions on every kind of picture of a page, by pixel: what is bright or coloured is on one side."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from reports.pages.patient import patient_page
from reports.pages.view import Drawing
from tests.reports.page_views import cohort_view, included, picture, scan_row
from tests.reports.perfusion_views import full

CONVENTIONS = ("radiological", "neurological")


def _shown(page):
    """Every picture of the page as it is seen: its label, pixels (RGBA) in its box, outlines' corners, and letters."""
    stored = dict(re.findall(r'<image id="([^"]+)"[^>]*href="data:image/png;base64,([^"]+)"', page))
    for label, drawn in re.findall(r'<svg role="img"[^>]*aria-label="([^"]*)">(.*?)</svg>', page, re.DOTALL):
        if "<image" not in drawn and "<use" not in drawn:
            continue
        found = re.search(r'href="data:image/png;base64,([^"]+)"', drawn)
        data = found.group(1) if found else stored[re.search(r'<use href="#([^"]+)"', drawn).group(1)]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)
        mirror = re.search(r'<g transform="matrix\(-1 0 0 1 (\d+) 0\)">', drawn)
        inside = drawn[drawn.index("<g") : drawn.index("</g>")]
        assert "<text" not in inside  # letters are never mirrored
        assert drawn.count("<image") + drawn.count("<use") == inside.count("<image") + inside.count("<use")
        letters = re.findall(r'class="side[ a-z]*" x="\d+" y="17">([LR])<', drawn)
        yield label, pixels[:, ::-1] if mirror else pixels, letters, inside, mirror


def _left_half(is_seen):
    """Whether what is seen lies in the left half of the picture."""
    columns = np.nonzero(is_seen)[1]
    assert len(columns) > 10
    return np.median(columns) < is_seen.shape[1] / 2


def _check_letters(letters, convention):
    assert letters == (["R", "L"] if convention == "radiological" else ["L", "R"])


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_key_slices_and_their_difference(convention, is_old):
    """The phantom is brighter in the left M1; a picture of an older run, stored the other way, is shown the same."""
    stored = picture()
    if is_old:
        stored = {**stored, "convention": "The patient's left is on the left of the picture, anterior is up."}
        stored["planes"] = [{**one, **_flipped(one)} for one in stored["planes"]]
    drawing = Drawing("ratio-ncct", "ncct", ("ncct-ratio",), stored)
    page = patient_page(included(drawings=[drawing]), cohort_view(pictures=convention))
    n_checked = 0
    for label, pixels, letters, inside, mirror in _shown(page):
        _check_letters(letters, convention)
        assert (mirror is not None) == ((convention == "neurological") != is_old)
        if "ganglionic" not in label or "supraganglionic" in label:
            continue
        is_warm = (pixels[..., 0] > pixels[..., 2] + 60) & (pixels[..., 3] > 0)
        is_bright = (pixels[..., 0] > 140) & (pixels[..., 0] < 180)
        assert _left_half(is_warm if label.startswith("Difference") else is_bright) == (convention == "neurological")
        n_checked += 1
        if label.startswith("Regions"):
            assert "left M1: affected" in inside
            code = float(re.search(r'class="code" x="([\d.]+)"', page).group(1))
            assert (code < stored["planes"][0]["width"] / 2) == (convention == "neurological")
    assert n_checked == 3  # regions, difference, registration
    assert f"{convention.capitalize()} convention: the patient&#39;s" in page


def _flipped(plane):
    """The pictures of a plane as they were stored before: the patient's left on the left."""
    changed = {}
    for name in ("grey", "difference"):
        found = Image.open(io.BytesIO(base64.b64decode(plane[name])))
        stream = io.BytesIO()
        options = {"transparency": found.info["transparency"]} if "transparency" in found.info else {}
        found.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(stream, "PNG", **options)
        changed[name] = base64.b64encode(stream.getvalue()).decode()
    regions = [{**one, "x": plane["width"] - one["x"]} for one in plane["regions"]]
    return {**changed, "regions": regions}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_perfusion_maps_and_the_slices_of_the_vessels(convention):
    """The core, of low flow, is in the left M1: dark on CBF, light on Tmax; the artery is a bright voxel."""
    scan = scan_row("sub-0001", modality="ctp")
    drawing = Drawing("core-ctp", "ctp", (), None, full())
    page = patient_page(included(scans=[scan], drawings=[drawing]), cohort_view(pictures=convention))
    checked = set()
    for label, pixels, letters, _, _ in _shown(page):
        _check_letters(letters, convention)
        is_map = pixels[..., 3] > 0
        green = pixels[..., 1]
        name = label.split(",")[0]
        if name == "CBF":
            seen = is_map & (green < 80)  # the dark end of viridis
        elif name == "Tmax":
            seen = is_map & (green > 200)
        elif "voxels of the AIF" in label:
            seen = np.repeat(np.repeat(pixels[..., 0] > 240, 4, axis=0), 4, axis=1)
            of_left = full()["vessels"][0]["places"]["aif"][0][0] > full()["vessels"][0]["width"] / 2
            assert _left_half(seen) == (of_left == (convention == "neurological"))
            checked.add("vessels")
            continue
        else:
            continue
        checked.add(name)
        assert _left_half(seen) == (convention == "neurological"), label
    assert checked == {"CBF", "Tmax", "vessels"}
