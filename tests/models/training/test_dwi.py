"""What ``dwi-unet`` learns beside the pool: signal that piles up beside the petrous bones."""

import numpy as np

from models.training.dwi import PETROUS_MM, PILE_GAIN, piled_up
from tasks.segmentation import template_places

TO_TEMPLATE = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72]])
SHAPE = (91, 109, 91)


def test_signal_piles_up_on_both_sides_of_the_base_and_nowhere_else():
    places = template_places(TO_TEMPLATE, SHAPE)
    gains = [piled_up(TO_TEMPLATE, SHAPE, np.random.default_rng(seed)) for seed in range(12)]
    assert all(one.min() >= 1 and one.max() <= np.exp(2 * PILE_GAIN[1]) for one in gains)
    left, right = ([one[:, :, :45][places[0][:, :, :45] * side > 5].max() for one in gains] for side in (-1, 1))
    assert min(*left, *right) > 1.05
    assert np.corrcoef(left, right)[0, 1] > 0.5
    assert max(one[places[2] > 20].max() for one in gains) < 1.01  # far above the base
    highest = np.mean([np.abs(places[:, *np.unravel_index(one.argmax(), SHAPE)]) for one in gains], axis=0)
    np.testing.assert_allclose(highest, np.abs(PETROUS_MM), atol=8)


def test_the_same_generator_gives_the_same_artefact():
    one, other = (piled_up(TO_TEMPLATE, SHAPE, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
