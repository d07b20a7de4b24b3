"""What the network of regions learns: one label for both sides, at a place as wrong as a registration."""

from types import SimpleNamespace

import numpy as np

from models.training.regions import AS_CT, AS_CTA, REGION_TASK, WRONG_BY_MM, misplaced

TO_TEMPLATE = np.array([[2.0, 0, 0, -90], [0, 2, 0, -120], [0, 0, 2, -70]])
SHAPE = (91, 109, 91)


def test_a_region_has_one_label_on_both_sides():
    patient = SimpleNamespace(classic=np.array([0, 1, 10, 11, 20], np.uint8))
    np.testing.assert_array_equal(REGION_TASK.labels(patient), [0, 1, 10, 1, 10])
    assert REGION_TASK.n_classes == 11


def test_a_place_is_wrong_about_the_middle_of_the_grid():
    """Turns and stretches leave the middle where it is: there, only the shift is left."""
    middle = np.append((np.asarray(SHAPE) - 1) / 2, 1)
    shifts = np.array(
        [misplaced(TO_TEMPLATE, SHAPE, np.random.default_rng(n)) @ middle - TO_TEMPLATE @ middle for n in range(400)]
    )
    np.testing.assert_allclose(shifts.std(axis=0), WRONG_BY_MM, rtol=0.15)
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.35)
    far = np.array([0, 0, 0, 1])
    errors = [misplaced(TO_TEMPLATE, SHAPE, np.random.default_rng(n)) @ far - TO_TEMPLATE @ far for n in range(400)]
    assert np.std(errors) > 1.5 * WRONG_BY_MM


def test_the_same_generator_gives_the_same_place():
    one, other = (misplaced(TO_TEMPLATE, SHAPE, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_patient_is_shown_as_every_scan_with_the_brain_that_is_found_on_it():
    shape = (4, 5, 6)
    brain, head = np.zeros(shape, bool), np.zeros(shape, bool)
    brain[1:3, 1:4, 1:4], head[1:3, 1:4, 1:5] = True, True
    plain = np.full(shape, 30, np.float16)
    plain[1, 1, 1] = 40  # 10 HU above the median: 1 in units of the contrast
    vessel = np.full(shape, 30, np.float16)
    vessel[1, 1, 1] = 300  # clipped at 2.5 units
    bright = np.full(shape, 100, np.float16)
    patient = SimpleNamespace(
        ct=plain, cta=vessel, b_high=bright, brain=brain, head=head, to_template=TO_TEMPLATE, classic=None
    )
    n = {"ct": 0, "cta": 0, "dwi": 0}
    for seed in range(400):
        channels = REGION_TASK.channels(patient, np.random.default_rng(seed))
        kind = "dwi" if channels[1].any() else "ct" if channels[0].max() <= 1 else "cta"
        n[kind] += 1
        np.testing.assert_array_equal(channels[2], brain if kind == "dwi" else head)
    assert abs(n["ct"] / 400 - AS_CT) < 0.08
    assert abs(n["cta"] / 400 - AS_CTA) < 0.08
    judged = REGION_TASK.channels(patient, None)
    assert judged[0, 1, 1, 1] == 1.0  # as plain CT
    np.testing.assert_array_equal(judged[2], REGION_TASK.judged_in(patient))
