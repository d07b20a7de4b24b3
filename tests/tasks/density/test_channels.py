"""What the network of plain CT sees: a head whose sides differ by known HU, and where the mirror-image lies."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.density.channels import CHANNELS, N_NCCT_CHANNELS, WITHIN_HU, differences, mirror_of, ncct_channels

SHAPE = (41, 36, 30)
#: Voxel -> template of a head whose midline lies at x = 20, unturned; 2 mm.
STRAIGHT = np.array([[2.0, 0, 0, -40], [0, 2, 0, -36], [0, 0, 2, -30]])
LEFT, RIGHT = (slice(4, 16), slice(8, 28), slice(6, 24)), (slice(25, 37), slice(8, 28), slice(6, 24))
NAME = {name: at for at, name in enumerate(CHANNELS)}


def ball():
    """A brain that is the same on both sides."""
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((x - 20) / 19) ** 2 + ((y - 17.5) / 16) ** 2 + ((z - 14.5) / 13) ** 2 < 1


def head(left_hu=0.0):
    """32 HU in the brain, ``left_hu`` more on a block of the left, bone around."""
    image = np.where(ball(), 32, 900).astype(np.float32)
    image[LEFT] += left_hu * ball()[LEFT]
    return image


def test_a_head_that_is_the_same_on_both_sides_shows_no_difference():
    found = ncct_channels(head(), ball(), STRAIGHT)
    assert found.shape == (N_NCCT_CHANNELS, *SHAPE)
    assert np.abs(found[:6]).max() < 1e-4
    np.testing.assert_array_equal(found[NAME["brain"]], ball())


def test_less_density_on_the_left_is_a_difference_of_either_sign():
    """6 HU less: 2 units of 3 HU in the middle of the block, and as much more on the other side; clipped at 2.5."""
    found = ncct_channels(head(-6.0), ball(), STRAIGHT)
    at_left, at_right = (10, 18, 15), (30, 18, 15)
    assert found[NAME["slice"]][at_left] == pytest.approx(-0.6)
    assert found[NAME["mirrored"]][at_right] == pytest.approx(-0.6)
    assert found[NAME["mirrored"]][at_left] == pytest.approx(0, abs=1e-6)
    assert found[NAME["difference"]][at_left] == pytest.approx(-2.0, abs=0.1)
    assert found[NAME["difference"]][at_right] == pytest.approx(2.0, abs=0.1)
    assert -2.0 < found[NAME["difference_around"]][at_left] < -0.8
    assert found[:6, ~ball()].max() == 0


def test_fluid_is_left_out_of_the_difference():
    """A sulcus of 8 HU on the left alone is no lesion: without it as with it the tissue differs by 4 HU."""
    image = head(-4.0)
    image[8:12, 16:20, 8:22] = 8
    brain = ball()
    own = np.where(brain, image - np.float32(32), 0).astype(np.float32)
    (with_sulcus,) = differences(own, brain, mirror_of(STRAIGHT), (4.0,))
    assert WITHIN_HU + 4 < 32 - 8
    assert with_sulcus[10, 12, 15] == pytest.approx(-4.0, abs=0.8)


def test_neighbours_lie_four_millimetres_below_and_above():
    image = head()
    image[20, 17, 15] = 42
    found = ncct_channels(image, ball(), STRAIGHT)
    for name, z in (("slice", 15), ("slice_below", 17), ("slice_above", 13)):
        assert found[NAME[name]][20, 17].argmax() == z
        assert found[NAME[name]][20, 17, z] == pytest.approx(1.0)


def test_the_mirror_follows_the_way_to_the_template():
    """A head turned by 10 degrees: the partner of a voxel is as far behind the template's midline, its own way back."""
    turn = np.deg2rad(10)
    matrix = 2 * np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    to_template = np.column_stack([matrix, [-30.0, -50.0, -20.0]])
    way = mirror_of(to_template)
    at = np.array([7.0, 11.0, 5.0, 1.0])
    here, there = to_template @ at, to_template @ (way @ at)
    np.testing.assert_allclose(there, here * [-1, 1, 1])
    np.testing.assert_allclose(way @ way, np.eye(4), atol=1e-12)


def test_places_have_no_side_and_an_empty_brain_shows_nothing():
    found = ncct_channels(head(), ball(), STRAIGHT)
    np.testing.assert_allclose(found[NAME["from_midline"]][[10, 20, 30], 0, 0], [0.5, 0, 0.5])
    assert found[NAME["to_front"]][0, 35, 0] == pytest.approx(34 / 40)
    assert not ncct_channels(head(), np.zeros(SHAPE, bool), STRAIGHT).any()
