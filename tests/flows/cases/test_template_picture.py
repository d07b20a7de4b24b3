"""A mask's picture: the lesion where it lies, whatever grid holds it, on the outlines of its own label map; small."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest

from flows.cases.template_picture import template_picture
from models.anatomy.template import load_label_map, load_template

LEFT_PATCH_MM = ((-60.0, -45.0), (-15.0, 10.0), (-10.0, 45.0))  # x, y, z: through both levels


def _mask(shape, affine, box=LEFT_PATCH_MM):
    """Flat Fortran-order indices of a box in template space."""
    world = np.einsum("ab,bxyz->axyz", affine[:3, :3], np.indices(shape)) + affine[:3, 3][:, None, None, None]
    inside = np.logical_and.reduce(
        [(low <= axis) & (axis <= high) for axis, (low, high) in zip(world, box, strict=True)]
    )
    return np.flatnonzero(inside.reshape(-1, order="F"))


def _extent(path):
    """Smallest and largest x and y of an outline."""
    corners = []
    for start, steps in re.findall(r"M([\d.,-]+)l([^zM]+)z", path):
        points = [start.split(","), *(step.split(",") for step in steps.split())]
        corners.append(np.cumsum(np.array(points, dtype=float), axis=0))
    joined = np.concatenate(corners)
    return joined.min(axis=0), joined.max(axis=0)


def _grids():
    template = load_template()
    flipped = template.affine.copy()
    flipped[0] = [-1, 0, 0, 98]
    two_mm = np.diag([-2.0, 2.0, 2.0, 1.0])
    two_mm[:3, 3] = [90, -126, -72]
    turned = np.array([[0, 0, 2.0, -80], [-3.0, 0, 0, 80], [0, 2.0, 0, -40], [0, 0, 0, 1]])
    return {"template": (template.t1.shape, template.affine), "LAS": (template.t1.shape, flipped),
            "2 mm": ((91, 109, 91), two_mm), "turned": ((60, 60, 80), turned)}  # fmt: skip


@pytest.mark.parametrize("name", ["template", "LAS", "2 mm", "turned"])
def test_a_lesion_of_the_left_is_on_the_right_of_both_levels_and_as_large_as_it_is(name):
    shape, affine = _grids()[name]
    picture = template_picture(_mask(shape, affine), shape, affine, load_label_map("classic"))
    assert [plane["level"] for plane in picture["planes"]] == ["ganglionic", "supraganglionic"]
    for plane in picture["planes"]:
        low, high = _extent(plane["lesion"])
        middle = plane["width"] / 2
        assert low[0] > middle
        assert (high - low) * plane["pixel_mm"] == pytest.approx([15, 25], abs=3.1)
        assert (low[0] - middle) * plane["pixel_mm"] == pytest.approx(45, abs=2)


def test_regions_are_those_of_the_map_and_both_sides_mirror_each_other():
    shape, affine = _grids()["template"]
    for name in ("classic", "territory"):
        label_map = load_label_map(name)
        picture = template_picture(_mask(shape, affine), shape, affine, label_map)
        assert (picture["space"], picture["label_map"]) == ("template", label_map.sha256)
        found = {(one["side"], one["region"]) for plane in picture["planes"] for one in plane["regions"]}
        assert len(found) == 20
        for plane in picture["planes"]:
            areas = {(one["side"], one["region"]): one["area_mm2"] for one in plane["regions"]}
            for (side, region), area in areas.items():
                other = "left" if side == "right" else "right"
                assert areas[other, region] == pytest.approx(area, rel=0.08, abs=8)


def test_a_lesion_that_crosses_neither_level_has_no_outline():
    shape, affine = _grids()["template"]
    low = ((-30.0, -10.0), (-70.0, -50.0), (-45.0, -30.0))
    picture = template_picture(_mask(shape, affine, low), shape, affine, load_label_map("classic"))
    assert [plane["lesion"] for plane in picture["planes"]] == ["", ""]
    nothing = template_picture(np.array([], dtype=np.int64), shape, affine, load_label_map("classic"))
    assert nothing == picture


def test_it_is_small_quick_strict_json_and_the_same_every_time():
    shape, affine = _grids()["template"]
    label_map, indices = load_label_map("territory"), _mask(*_grids()["template"])
    made = json.dumps(template_picture(indices, shape, affine, label_map), allow_nan=False)
    begun = time.process_time()
    for _ in range(5):
        assert json.dumps(template_picture(indices, shape, affine, label_map), allow_nan=False) == made
    assert (time.process_time() - begun) / 5 < 0.06
    assert len(made) < 40_000


def test_a_map_of_other_regions_is_drawn_on_the_largest_section():
    shape, affine = _grids()["template"]
    (plane,) = template_picture(_mask(shape, affine), shape, affine, load_label_map("vascular"))["planes"]
    assert plane["level"] == "largest section"
    assert plane["lesion"]
    assert len({one["region"] for one in plane["regions"]}) > 2
