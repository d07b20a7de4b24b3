"""What ``dwi-unet`` learns beside the pool: signal that piles up beside the petrous bones."""

import numpy as np
import pytest

from models.training import dwi
from models.training.dwi import AT_EACH, PILE_GAIN, PILED_AT_MM, piled_up
from tasks.segmentation import template_places

TO_TEMPLATE = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72]])
SHAPE = (91, 109, 91)


@pytest.mark.parametrize("site", PILED_AT_MM, ids=["petrous", "temporal", "frontal"])
def test_signal_piles_up_on_both_sides_of_the_base_and_nowhere_else(site, monkeypatch):
    monkeypatch.setattr(dwi, "PILED_AT_MM", (site,))
    monkeypatch.setattr(dwi, "AT_EACH", 1.0)
    places = template_places(TO_TEMPLATE, SHAPE)
    gains = [piled_up(TO_TEMPLATE, SHAPE, np.random.default_rng(seed)) for seed in range(12)]
    assert all(one.min() >= 1 and one.max() <= np.exp(PILE_GAIN[1]) for one in gains)
    left, right = ([one[places[0] * side > 2].max() for one in gains] for side in (-1, 1))
    assert min(*left, *right) > 1.05
    assert np.corrcoef(left, right)[0, 1] > 0.5
    assert max(one[places[2] > 40].max() for one in gains) < 1.05  # far above the base
    highest = np.mean([np.abs(places[:, *np.unravel_index(one.argmax(), SHAPE)]) for one in gains], axis=0)
    np.testing.assert_allclose(highest, np.abs(site[0]), atol=9)


def test_each_place_has_it_in_its_share_of_patients():
    places = template_places(TO_TEMPLATE, SHAPE)
    near = [sum((axis - at) ** 2 for axis, at in zip(places, site, strict=True)) < 15**2 for site, _ in PILED_AT_MM]
    gains = [piled_up(TO_TEMPLATE, SHAPE, np.random.default_rng(seed)) for seed in range(40)]
    n_bright = [sum(one[at].max() > 1.1 for one in gains) for at in near]
    np.testing.assert_allclose(n_bright, 40 * AT_EACH, atol=8)  # 2.6 standard errors
    assert 0 < sum(one.max() == 1 for one in gains) <= 8  # 40 x .4^3 = 2.6


def test_the_same_generator_gives_the_same_artefact():
    one, other = (piled_up(TO_TEMPLATE, SHAPE, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
