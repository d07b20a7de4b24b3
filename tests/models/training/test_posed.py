"""A patient in another pose: turned by hand, mirrored, and on a grid that holds a patch."""

from __future__ import annotations

import numpy as np

from models.training.pool import NOT_FOREGROUND, patient_of
from models.training.posed import moved, posed
from tasks.segmentation import INFARCT

SHAPE = (7, 9, 8)


def patient(adc=True):
    rng = np.random.default_rng(0)
    signal = rng.uniform(500, 1500, SHAPE).astype(np.float32)
    brain = np.zeros(SHAPE, bool)
    brain[1:6, 1:8, 1:7] = True
    lesion = np.zeros(SHAPE, bool)
    lesion[2, 3, 4] = True
    return patient_of(signal, rng.uniform(0.5, 1, SHAPE).astype(np.float32) if adc else None, brain, lesion)


def test_on_a_larger_grid_a_patient_stays_in_the_middle():
    one = patient()
    found = moved(one, np.eye(3), (9, 7, 12))
    assert found.brain.shape == (9, 9, 12)
    np.testing.assert_array_equal(found.classes[1:8, :, 2:10], one.classes)
    np.testing.assert_array_equal(found.b_high[1:8, :, 2:10], one.b_high.astype(np.float32))
    assert found.classes.sum() == one.classes.sum(dtype=int)


def test_a_mirror_image_has_its_lesion_on_the_other_side():
    one = patient()
    found = moved(one, np.diag([-1.0, 1, 1]), SHAPE)
    assert np.argwhere(found.classes == INFARCT).tolist() == [[4, 3, 4]]
    np.testing.assert_array_equal(found.adc, one.adc[::-1].astype(np.float32))


def test_a_quarter_turn_by_hand():
    """About z in a grid of 9 x 9: what lay at (x, y) from the middle lies where the matrix takes it from."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    (at,) = np.argwhere(moved(patient(), turn, (9, 9, 8)).classes == INFARCT).tolist()
    middle = np.array([4, 4, 3.5])
    old = np.array([2, 3, 4]) - (np.array(SHAPE) - 1) / 2
    np.testing.assert_allclose(turn @ (at - middle), old)


def test_a_pose_is_drawn_from_the_state_alone_and_labels_keep_their_values():
    one = patient(adc=False)
    first, again, other = (posed(one, np.random.default_rng(seed), (16, 16, 16)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.b_high, again.b_high)
    assert not np.array_equal(first.b_high, other.b_high)
    assert set(np.unique(first.classes)) <= {0, INFARCT, NOT_FOREGROUND}
    assert first.adc.size == 0
