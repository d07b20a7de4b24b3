import numpy as np
import pytest

from tasks.views.display_plane import Framing
from tasks.views.slice_stack import CT_RANGE_HU, slice_stack

WINDOW = (0.0, 80.0)
WHOLE = Framing(margin_mm=0.0, finest_mm=2.0)


def _grid(order=(0, 1, 2), flips=(1, 1, 1), spacing_mm=(2.0, 2.0, 5.0), shape=(8, 10, 4)):
    """RAS values, stored with other axes: right front low 10 HU, left front low 50, left back high 90, else 30."""
    values = np.full(shape, 30, dtype=np.float32)
    values[6:, 8:, 0], values[:2, 8:, 0], values[:2, :2, 3] = 10, 50, 90
    affine = np.diag([*spacing_mm, 1.0])
    for axis, flip in enumerate(flips):
        if flip < 0:
            values = np.flip(values, axis)
            step = np.eye(4)
            step[axis, axis], step[axis, 3] = -1, shape[axis] - 1
            affine = affine @ step
    to_stored = np.eye(4)[[*order, 3]]
    return values.transpose(order), affine @ to_stored.T


def _hu(grey):
    low, high = CT_RANGE_HU
    return low + int(grey) / 255 * (high - low)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_right_is_on_the_left_front_is_up_and_the_lowest_slice_comes_first(order, flips):
    values, affine = _grid(order, flips)
    stack = slice_stack(values, affine, np.zeros(values.shape, dtype=bool), WINDOW, WHOLE)
    assert len(stack.slices) == 4
    low, high = stack.slices[0], stack.slices[3]
    assert low.shape == (10, 8)
    assert [_hu(low[0, 0]), _hu(low[0, -1]), _hu(high[-1, -1]), _hu(low[5, 4])] == [10, 50, 90, 30]
    assert (stack.pixel_mm, stack.thickness_mm, stack.is_averaged, stack.window) == (2.0, 5.0, False, WINDOW)


def test_from_the_lowest_slice_of_the_brain_to_the_top_around_the_brain():
    values, affine = _grid()
    brain = np.zeros(values.shape, dtype=bool)
    brain[2:6, 3:8, 1:3] = True
    stack = slice_stack(values, affine, brain, WINDOW, WHOLE)
    assert [one.shape for one in stack.slices] == [(5, 4)] * 3


def test_thin_slices_are_averaged_to_five_millimetres():
    values = np.zeros((4, 4, 30), dtype=np.float32) + np.arange(30)  # 1 mm: HU rise by one a slice
    stack = slice_stack(values, np.diag([2.0, 2.0, 1.0, 1.0]), np.zeros(values.shape, dtype=bool), WINDOW, WHOLE)
    assert (len(stack.slices), stack.thickness_mm, stack.is_averaged) == (6, 5.0, True)
    # the middle of a slice of five voxels is its third; the ends lean inwards, where there are voxels
    assert [_hu(one[0, 0]) for one in stack.slices[1:5]] == [7, 12, 17, 22]


def test_a_signal_is_scaled_to_its_brightest_and_shown_by_its_brain():
    rng = np.random.default_rng(5)
    values = rng.uniform(0, 400, (12, 14, 6)).astype(np.float32)
    brain = values > 200
    stack = slice_stack(values, np.diag([2.0, 2.0, 5.0, 1.0]), brain, None, WHOLE)
    assert stack.value_range == (0.0, pytest.approx(np.percentile(values[values > 0], 99.9)))
    assert stack.window == pytest.approx(tuple(np.percentile(values[brain], (1, 99.8))))


def test_a_brain_on_another_grid_is_refused():
    values, affine = _grid()
    with pytest.raises(ValueError, match="volumes of one shape"):
        slice_stack(values, affine, np.zeros((3, 3, 3), dtype=bool), WINDOW)
