"""Renderings of a ball in a ball, whose shadow, place and depth are known, stored in any order of axes."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.views.rendering import AMBIENT, BOX_MARGIN_MM, FARTHEST_SHADE, LEAST_VEIL, MOST_VEIL, VEIL_MM, rendering
from tests.tasks.stored_order import centred, stored

SHAPE, SPACING = (92, 99, 47), (1.5, 1.4, 3.0)
BRAIN_MM, LESION_MM = 60.0, 18.0
CENTRE = (-25.0, 20.0, 10.0)  # left, in front, high
ORDERS = [((0, 1, 2), (True, False, False)), ((1, 2, 0), (False, True, True)), ((2, 0, 1), (True, False, True)),
          ((0, 2, 1), (True, True, True))]  # fmt: skip


def _balls(centre=CENTRE, radius_mm=LESION_MM):
    (x, y, z), affine = centred(SHAPE, SPACING)
    lesion = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius_mm**2
    return x**2 + y**2 + z**2 < BRAIN_MM**2, lesion, affine


def _middle_mm(cover, pixel_mm):
    """The middle of what is covered, mm to the right and down from the middle of the picture."""
    rows, columns = np.nonzero(cover >= 0.5)
    return [(float(along.mean()) - (cover.shape[0] - 1) / 2) * pixel_mm for along in (columns, rows)]


def test_shadows_have_the_projected_area():
    brain, lesion, affine = _balls()
    found = rendering(brain, lesion, affine, "left")
    assert [one.seen_from for one in found.views] == ["left", "front", "above"]
    for view in found.views:
        for cover, radius_mm in ((view.brain, BRAIN_MM), (view.lesion, LESION_MM)):
            area_mm2 = float((cover >= 0.5).sum()) * found.pixel_mm**2
            assert area_mm2 == pytest.approx(np.pi * radius_mm**2, rel=0.03)
            assert float(cover.sum()) * found.pixel_mm**2 == pytest.approx(np.pi * radius_mm**2, rel=0.03)


@pytest.mark.parametrize(
    ("side", "seen"),
    [
        ("left", {"left": (-20, -10), "front": (25, -10), "above": (25, -20)}),
        ("right", {"right": (20, -10), "front": (25, -10), "above": (25, -20)}),
        ("both", {"right": (20, -10), "front": (25, -10), "above": (25, -20)}),
    ],
)
def test_the_left_is_on_the_right_and_the_nose_is_where_a_viewer_sees_it(side, seen):
    brain, lesion, affine = _balls()
    found = rendering(brain, lesion, affine, side)
    assert [one.seen_from for one in found.views] == list(seen)
    for view in found.views:
        assert _middle_mm(view.lesion, found.pixel_mm) == pytest.approx(seen[view.seen_from], abs=found.pixel_mm)
        assert _middle_mm(view.brain, found.pixel_mm) == pytest.approx((0, 0), abs=found.pixel_mm)


@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_every_order_of_axes_gives_the_same_views(order, flips):
    brain, lesion, affine = _balls()
    back, cut = stored(SHAPE, order, flips)
    plain = rendering(brain, lesion, affine, "left")
    turned = (np.ascontiguousarray(array.transpose(order)[cut]) for array in (brain, lesion))
    other = rendering(*turned, affine @ back, "left")
    for one, two in zip(plain.views, other.views, strict=True):
        for name in ("brain", "lesion", "brain_shade", "lesion_shade", "veil"):
            np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-5)


def test_the_veil_is_denser_over_what_lies_deeper():
    """A ball of 18 mm around (-25, 20, 10): its surface lies beneath the brain's by a depth known for each view."""
    brain, lesion, affine = _balls()
    for view in rendering(brain, lesion, affine, "left").views:
        along = {"left": -CENTRE[0], "front": CENTRE[1], "above": CENTRE[2]}[view.seen_from]
        across_mm2 = sum(place**2 for place in CENTRE) - along**2
        beneath_mm = np.sqrt(BRAIN_MM**2 - across_mm2) - along - LESION_MM
        expected = LEAST_VEIL + (MOST_VEIL - LEAST_VEIL) * (1 - np.exp(-beneath_mm / VEIL_MM))
        rows, columns = np.nonzero(view.lesion >= 0.5)
        centre = view.veil[round(rows.mean()), round(columns.mean())]
        assert centre == pytest.approx(expected, abs=0.02)
        assert not view.veil[view.lesion == 0].any()


def test_light_falls_from_the_viewer_and_from_above():
    """Towards the viewer a normal meets the light at 0.8; straight up, at the upper edge, at 0.6."""
    brain, lesion, affine = _balls()
    front = rendering(brain, lesion, affine, "left").views[1]
    size = front.brain.shape[0]
    middle = size // 2
    nearest = 1 - (1 - FARTHEST_SHADE) * (BOX_MARGIN_MM / 1.75) / size
    shade = (AMBIENT + (1 - AMBIENT) * 0.8) * nearest
    assert front.brain_shade[middle, middle] == pytest.approx(shade, abs=0.03)
    assert front.brain_shade[middle - 20, middle] > front.brain_shade[middle + 20, middle] + 0.2
    np.testing.assert_allclose(front.brain_shade, front.brain_shade[:, ::-1], atol=0.03)  # a mirror keeps the light
    assert not front.brain_shade[front.brain == 0].any()


def test_a_lesion_of_one_voxel_is_seen_in_every_view():
    brain, lesion, affine = _balls()
    lesion[:] = False
    lesion[30, 60, 25] = True
    for view in rendering(brain, lesion, affine, "left").views:
        assert view.lesion.max() == 1
        assert 1 <= (view.lesion >= 0.5).sum() <= 9


def test_no_lesion_gives_no_rendering_and_no_brain_the_lesion_alone():
    brain, lesion, affine = _balls()
    nothing = np.zeros_like(brain)
    assert rendering(brain, nothing, affine, "none") is None
    front = rendering(nothing, lesion, affine, "left").views[1]
    assert not front.brain.any()
    assert not front.veil.any()
    assert (front.lesion >= 0.5).sum() * 1.75**2 == pytest.approx(np.pi * LESION_MM**2, rel=0.03)


def test_a_lesion_at_the_edge_of_the_scan_is_not_cut():
    brain, lesion, affine = _balls((-60.0, 0.0, 0.0), 12.0)  # through the first plane of voxels, outside the brain
    found = rendering(brain, lesion, affine, "left")
    assert _middle_mm(found.views[0].lesion, 1) == pytest.approx((0, 0), abs=1.5)
    assert float((found.views[0].lesion >= 0.5).sum()) * found.pixel_mm**2 == pytest.approx(np.pi * 144, rel=0.04)
    assert not found.views[0].veil.any()  # it lies before the brain


def test_masks_of_two_grids_are_refused():
    brain, lesion, affine = _balls()
    with pytest.raises(ValueError, match=r"must be volumes of one shape, got \(91, 99, 47\) and \(92, 99, 47\)"):
        rendering(brain[1:], lesion, affine, "left")
