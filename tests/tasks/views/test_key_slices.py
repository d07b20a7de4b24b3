"""Key slices of a phantom whose left, front and levels are known, stored in any order of axes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tasks.anatomy import aspects_label_table
from tasks.views.display_plane import EVERY_POINT, outlines, smooth_borders, turn_for_display
from tasks.views.key_slices import NO_LEVEL, PreparedScan, key_slices
from tests.tasks.stored_order import centred, stored

TABLE = aspects_label_table()
INDEX = {(label.side, label.region): label.index for label in TABLE.labels}
SHAPE, SPACING = (60, 72, 24), (3.0, 2.5, 6.0)
WINDOW = (0.0, 80.0)


def _phantom():
    """A brain of 30 with a patch of 50 left, in front and low; a region there, and one of the upper level."""
    (x, y, z), affine = centred(SHAPE, SPACING)
    brain = (x / 65) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 < 1
    values = np.where(brain, 30.0, -1000.0)
    patch = (abs(x + 35) < 12) & (abs(y - 30) < 15) & (abs(z + 3) < 13)
    values[patch] = 50
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[patch] = INDEX["left", "m1"]
    labels[(abs(x - 35) < 12) & (abs(y - 30) < 15) & (abs(z + 3) < 4)] = INDEX["right", "m1"]
    labels[(abs(x + 35) < 12) & (abs(y + 30) < 15) & (abs(z - 27) < 4)] = INDEX["left", "m6"]
    return PreparedScan(values, affine, brain, labels, np.eye(4), patch), brain, affine


def _stored(scan, order, flips):
    """The same scan with other axes in another order and direction."""
    back, cut = stored(SHAPE, order, flips)
    arrays = (array.transpose(order)[cut] for array in (scan.values, scan.brain, scan.labels, scan.lesion))
    values, brain, labels, lesion = (np.ascontiguousarray(array) for array in arrays)
    return PreparedScan(values, scan.affine @ back, brain, labels, scan.fixed_to_moving, lesion)


def _shoelace(line):
    x, y = line.T
    return abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


ORDERS = [((0, 1, 2), (False, False, False)), ((0, 1, 2), (True, True, False)), ((1, 2, 0), (False, True, True)),
          ((2, 0, 1), (True, False, True)), ((0, 2, 1), (False, False, True))]  # fmt: skip


@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_the_left_is_on_the_right_and_front_is_up_whatever_the_order_of_axes(order, flips):
    scan, brain, affine = _phantom()
    found = key_slices(replace(_stored(scan, order, flips), template=(brain, affine)), TABLE, WINDOW)
    low = found.slices[0]
    assert [one.level for one in found.slices] == ["ganglionic", "supraganglionic"]
    rows, columns = np.nonzero(low.grey > 255 * 45 / 80)  # the patch of 50
    height, width = low.grey.shape
    assert columns.min() > width / 2
    assert rows.max() < height / 2
    x, y = low.places[INDEX["left", "m1"]]
    assert columns.min() < x < columns.max() + 1
    assert rows.min() < y < rows.max() + 1
    assert low.places[INDEX["right", "m1"]][0] < width / 2


@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_every_order_of_axes_gives_the_same_picture(order, flips):
    scan, brain, affine = _phantom()
    plain = key_slices(replace(scan, template=(brain, affine)), TABLE, WINDOW).slices
    other = key_slices(replace(_stored(scan, order, flips), template=(brain, affine)), TABLE, WINDOW).slices
    for one, two in zip(plain, other, strict=True):
        assert one.height_mm == pytest.approx(two.height_mm)
        assert abs(one.grey.astype(int) - two.grey).max() <= 1
        np.testing.assert_allclose(one.difference, two.difference, atol=1e-3)
        for ours, theirs in itertools.chain(zip(one.brain, two.brain, strict=True)):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_the_slice_with_most_of_the_regions_is_chosen_and_numbered_as_stored():
    scan, brain, affine = _phantom()
    low, high = key_slices(replace(scan, template=(brain, affine)), TABLE, WINDOW).slices
    assert (low.number, low.n_slices) == (12, 24)  # z = -3 mm: both m1; index 11
    assert (high.number, high.height_mm) == (17, pytest.approx(27))
    flipped = key_slices(
        replace(_stored(scan, (0, 1, 2), (False, False, True)), template=(brain, affine)), TABLE, WINDOW
    ).slices
    assert [one.number for one in flipped] == [13, 8]


def test_a_second_slice_shows_what_the_first_misses():
    scan, brain, affine = _phantom()
    (x, y, z), _ = centred(SHAPE, SPACING)
    for region, side in itertools.product(("m2", "m3"), (-1, 1)):
        box = (abs(x - side * 35) < 12) & (abs(y + (5 if region == "m2" else 35)) < 13) & (abs(z - 9) < 4)
        scan.labels[box] = INDEX["left" if side < 0 else "right", region]
    found = key_slices(replace(scan, template=(brain, affine)), TABLE, WINDOW)
    assert [(one.level, one.number) for one in found.slices] == [
        ("ganglionic", 12), ("ganglionic", 14), ("supraganglionic", 17),
    ]  # fmt: skip


def test_outlines_close_and_have_the_area_of_what_was_painted():
    scan, brain, affine = _phantom()
    low = key_slices(replace(scan, template=(brain, affine)), TABLE, WINDOW).slices[0]
    (line,) = low.regions[INDEX["left", "m1"]]
    n_voxels = int((scan.labels[:, :, low.number - 1] == INDEX["left", "m1"]).sum())
    assert _shoelace(line) * low.pixel_mm**2 == pytest.approx(n_voxels * SPACING[0] * SPACING[1], rel=0.03)
    for line in itertools.chain(low.brain, low.template_brain, low.lesion, *low.regions.values()):
        np.testing.assert_array_equal(line[0], line[-1])
        assert (line >= 0).all()
        assert (line <= [low.grey.shape[1], low.grey.shape[0]]).all()


def test_an_outline_lies_half_way_between_pixels():
    share = np.zeros((30, 40), dtype=np.float32)
    share[10:20, 5:35] = 1
    (line,) = outlines(share)
    assert line.min(axis=0) == pytest.approx([5, 10], abs=0.5)
    assert line.max(axis=0) == pytest.approx([35, 20], abs=0.5)
    assert len(line) < 80 / EVERY_POINT + 3
    share[:, :] = 1  # all of the picture: closed along its edge
    assert _shoelace(outlines(share)[0]) == pytest.approx(30 * 40, rel=0.02)


def test_the_mirrored_difference_is_signed_and_empty_outside():
    scan, brain, affine = _phantom()
    low = key_slices(replace(scan, template=(brain, affine)), TABLE, WINDOW).slices[0]
    height, width = low.difference.shape
    assert np.nanmax(low.difference[:, width // 2 :]) == pytest.approx(20, abs=0.5)
    assert np.nanmin(low.difference[:, : width // 2]) == pytest.approx(-20, abs=0.5)
    assert np.nanmin(low.difference[:, width // 2 + 2 :]) > -0.1
    assert abs(np.nanmedian(low.difference[height // 2 :])) < 0.01
    assert np.isnan(low.difference[0]).all()
    assert np.isfinite(low.difference).mean() > 0.3


def test_the_mirror_follows_the_registration():
    scan, brain, affine = _phantom()
    shifted = np.eye(4)
    shifted[0, 3] = -36.0  # the mirror plane runs through the middle of the patch
    moved = PreparedScan(scan.values, affine, scan.brain, scan.labels, shifted)
    low = key_slices(replace(moved, template=(brain, affine)), TABLE, WINDOW).slices[0]
    assert np.nanmax(np.abs(low.difference)) < 0.5  # 20 through x = 0
    (line,) = low.template_brain
    assert line[:, 0].max() == low.grey.shape[1]  # the template's brain is cut by the picture's edge
    assert line[:, 0].min() > low.brain[0][:, 0].min() + 30 / low.pixel_mm


def test_the_template_outline_lies_where_the_registration_puts_it():
    scan, brain, affine = _phantom()
    low = key_slices(replace(scan, template=(brain, affine)), TABLE, WINDOW).slices[0]
    for end in (np.min, np.max):
        np.testing.assert_allclose(end(low.template_brain[0], axis=0), end(low.brain[0], axis=0), atol=1.5)


def test_nothing_registered_shows_the_largest_section():
    scan, brain, affine = _phantom()
    plain = PreparedScan(scan.values, affine, scan.brain, np.zeros(SHAPE, dtype=np.int16))
    (only,) = key_slices(replace(plain, template=(brain, affine)), TABLE, WINDOW).slices
    assert (only.level, only.difference, only.template_brain, only.regions) == (NO_LEVEL, None, (), {})
    assert abs(only.height_mm) <= 3


def test_no_brain_shows_the_middle_slice_whole():
    _, brain, affine = _phantom()
    nothing = np.zeros(SHAPE, dtype=bool)
    rng = np.random.default_rng(1)
    scan = PreparedScan(rng.normal(size=SHAPE), affine, nothing, np.zeros(SHAPE, dtype=np.int16))
    found = key_slices(replace(scan, template=(brain, affine)), TABLE)
    (only,) = found.slices
    assert only.number == 13
    assert only.grey.shape == (257, 257)  # 180 mm x 180 mm at 0.7 mm
    assert found.window[0] < 0 < found.window[1]


def test_the_window_of_a_scan_without_units_comes_from_its_brain():
    scan, brain, affine = _phantom()
    values = np.where(scan.brain, np.linspace(100, 200, scan.values.size).reshape(SHAPE), 5000.0)
    found = key_slices(
        PreparedScan(values, affine, scan.brain, scan.labels, np.eye(4), template=(brain, affine)), TABLE
    )
    assert 100 < found.window[0] < 120
    assert 180 < found.window[1] < 200
    assert found.difference_limit == pytest.approx(0.5 * (found.window[1] - found.window[0]))


def test_what_cannot_be_shown_is_refused():
    scan, brain, affine = _phantom()
    with pytest.raises(ValueError, match=r"window must rise, got 80 to 0"):
        key_slices(replace(scan, template=(brain, affine)), TABLE, (80.0, 0.0))
    with pytest.raises(ValueError, match="must be volumes of one shape"):
        PreparedScan(scan.values, affine, scan.brain[1:], scan.labels)
    with pytest.raises(ValueError, match="affine must be a finite and invertible"):
        turn_for_display(SHAPE, np.zeros((4, 4)))


def test_teeth_between_two_levels_are_drawn_as_one_border():
    labels = {one.name: one.index for one in TABLE.labels}
    m2, m5 = labels["left_m2"], labels["left_m5"]
    plane = np.zeros((60, 60), np.int16)
    plane[10:50, 10:50] = m2
    plane[10:50, 30:50] = m5
    plane[10:50:6, 20:40] = m5  # rows in turn, in which the border lies 10 pixels further to either side
    plane[13:50:6, 20:40] = m2
    drawn = smooth_borders(plane, TABLE, (1.0, 1.0))
    assert np.array_equal(drawn > 0, plane > 0)
    changes = (np.diff(drawn[12:48, 12:48], axis=1) != 0).sum(axis=1)
    assert (changes == 1).all()  # one border in every row
    thin = plane.copy()
    thin[30:33, 12:48] = labels["left_caudate"]
    assert np.array_equal(
        smooth_borders(thin, TABLE, (1.0, 1.0)) == labels["left_caudate"], thin == labels["left_caudate"]
    )
