"""Maps on key slices: averages are of what is known, the left is on the right, voxels lie where a picture has them."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.anatomy import aspects_label_table
from tasks.views.key_slices import PreparedScan, key_slices
from tasks.views.map_slices import MAP_PIXEL_MM, map_slices
from tests.tasks.stored_order import centred, stored

TABLE = aspects_label_table()
SHAPE, SPACING = (60, 72, 10), (3.0, 2.5, 6.0)
WINDOW = (0.0, 80.0)
HOT = {"aif": (22, 50, 2), "vof": (31, 6, 7)}  # stored as RAS: the first left and in front, the second at the back


def _phantom():
    """A brain of 30 HU with one region left of the middle, a map of 50 with 10 there and NaN on the right."""
    (x, y, z), affine = centred(SHAPE, SPACING)
    brain = (x / 70) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 < 1
    region = (abs(x + 35) < 12) & (abs(y - 30) < 15) & (abs(z + 3) < 4)
    values = np.where(brain, 30.0, -1000.0)
    for voxel in HOT.values():
        values[voxel] = 4000.0
    labels = np.where(region, next(one.index for one in TABLE.labels if one.name == "left_m1"), 0).astype(np.int16)
    cbf = np.where(region, 10.0, 50.0)
    cbf[~brain | (abs(x - 35) < 12) & (abs(y - 30) < 15)] = np.nan
    return PreparedScan(values, affine, brain, labels, None, region), {"cbf": cbf}


def _stored(scan, maps, order, flips):
    """The same with other axes in another order and direction, and where the hot voxels then are."""
    back, cut = stored(SHAPE, order, flips)
    turned = [array.transpose(order)[cut] for array in (scan.values, scan.brain, scan.labels, scan.lesion)]
    places = {name: np.rint(np.linalg.inv(back) @ [*voxel, 1]).astype(int)[None, :3] for name, voxel in HOT.items()}
    maps = {name: values.transpose(order)[cut] for name, values in maps.items()}
    values, brain, labels, lesion = turned
    return PreparedScan(values, scan.affine @ back, brain, labels, None, lesion), maps, places


def test_the_left_is_on_the_right_in_front_is_up_and_what_is_unknown_is_nan():
    scan, maps = _phantom()
    one = map_slices(scan, TABLE, maps, WINDOW).slices[0].maps["cbf"]
    height, width = one.shape
    rows, columns = np.nonzero(one < 30)  # between the 10 of the region and the 50 around it
    assert len(rows) * MAP_PIXEL_MM**2 == pytest.approx(24 * 30, rel=0.05)
    assert columns.min() > width / 2
    assert rows.max() < height / 2
    assert np.isnan(one[rows, width - 1 - columns]).all()  # the mirrored box has no value
    assert np.isnan(one[0]).all()


def test_averages_are_over_what_is_known():
    scan, _ = _phantom()
    rng = np.random.default_rng(2)
    speckled = np.where(scan.brain & (rng.random(SHAPE) < 0.8), 7.0, np.nan)
    one = map_slices(scan, TABLE, {"mtt": speckled}, WINDOW).slices[0].maps["mtt"]
    assert np.isfinite(one).mean() > 0.3
    np.testing.assert_allclose(one[np.isfinite(one)], 7, rtol=1e-5)


def test_slices_are_the_key_slices_and_outlines_are_of_the_masks():
    scan, maps = _phantom()
    found = map_slices(scan, TABLE, maps, WINDOW, hypoperfused=scan.lesion)
    plain = key_slices(scan, TABLE, window=WINDOW)
    assert [one.number for one in found.key.slices] == [one.number for one in plain.slices] == [5]
    assert len(found.slices) == 1
    np.testing.assert_array_equal(found.slices[0].hypoperfused[0], plain.slices[0].lesion[0])
    assert map_slices(scan, TABLE, maps, WINDOW).slices[0].hypoperfused == ()


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (False, False, False)), ((0, 1, 2), (True, True, False)), ((2, 0, 1), (True, False, True))],
)
def test_voxels_of_the_curves_lie_where_the_picture_shows_them(order, flips):
    scan, maps, places = _stored(*_phantom(), order, flips)
    found = map_slices(scan, TABLE, maps, WINDOW, places=places)
    low, high = found.of_places
    assert (set(low.places), set(high.places)) == ({"aif"}, {"vof"})
    if order == (0, 1, 2):
        assert (low.number, high.number, low.n_slices) == (3, 8, 10)
    for one, name in ((low, "aif"), (high, "vof")):
        ((x, y),) = one.places[name]
        rows, columns = np.nonzero(one.grey == 255)
        assert len(rows) < 25
        assert (x, y) == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=0.51)
    assert low.places["aif"][0, 0] > low.grey.shape[1] / 2
    assert low.places["aif"][0, 1] < low.grey.shape[0] / 2


def test_two_curves_of_one_slice_share_its_picture_and_strays_are_left_out():
    scan, maps = _phantom()
    places = {"aif": np.array([[20, 30, 4], [21, 30, 4], [22, 30, 1]]), "vof": np.array([[40, 30, 4]])}
    (one,) = map_slices(scan, TABLE, maps, WINDOW, places=places).of_places
    assert {name: len(found) for name, found in one.places.items()} == {"aif": 2, "vof": 1}
    nothing = map_slices(scan, TABLE, maps, WINDOW, places={"aif": np.empty((0, 3), int)})
    assert nothing.of_places == ()


def test_every_fault_is_named():
    scan, maps = _phantom()
    wrong = {"cbf": maps["cbf"][:-1], "tmax": maps["cbf"][..., None]}
    with pytest.raises(ValueError, match=r"cbf must have .* tmax must have .* voxels of aif must lie inside"):
        map_slices(scan, TABLE, wrong, WINDOW, places={"aif": np.array([[0, 0, 10]])})
