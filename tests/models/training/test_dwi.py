"""What ``dwi-unet`` learns beside the pool: signal that piles up beside the petrous bones."""

import numpy as np
import pytest

from models.training import dwi
from models.training.dwi import (
    AT_EACH,
    DWI_TASK,
    PILE_GAIN,
    PILED_AT_MM,
    PILED_UP,
    PILED_UP_ALONE,
    piled_up,
    without_adc,
)
from models.training.pool import PooledPatient
from tasks.segmentation import dwi_channels, template_places

TO_TEMPLATE = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72]])
SHAPE = (91, 109, 91)
COARSE, SMALL = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72]]), (46, 55, 46)


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


@pytest.mark.parametrize(("channels", "share"), [(DWI_TASK.channels, PILED_UP), (without_adc, PILED_UP_ALONE)])
def test_judged_patients_have_the_artefact_as_often_as_those_who_teach_and_each_always_the_same(channels, share):
    plain = dwi_channels(patient(0).b_high.astype(np.float32), patient(0).adc.astype(np.float32), patient(0).brain)[0]
    seen = [channels(patient(number), None)[0] for number in range(60)]
    n_piled = sum(not np.allclose(one, plain, atol=0.02) for one in seen)
    np.testing.assert_allclose(n_piled, 60 * share * (1 - (1 - AT_EACH) ** 3), atol=10)  # 2.6 standard errors
    for number in (3, 4):
        np.testing.assert_array_equal(channels(patient(number), None)[0], seen[number])
    real = patient(0, kind="cohort")
    np.testing.assert_allclose(channels(real, None)[0], plain, atol=1e-6)


def patient(number, kind="mask"):
    """A head of evenly bright brain."""
    places = template_places(COARSE, SMALL)
    brain = ((places - np.array([0, -18, 0])[:, None, None, None]) ** 2).sum(axis=0) < 80**2
    signal = np.where(brain, 1000 + 50 * np.sin(places[0]), 0)
    empty = np.zeros((0, 0, 0), np.uint8)
    facts = {"kind": kind, "number": float(number)}
    images = {"b_high": signal.astype(np.float16), "adc": np.where(brain, 0.8, 0).astype(np.float16)}
    others = dict.fromkeys(("ct", "cta", "head", "classes", "classic", "territory"), empty)
    return PooledPatient(**images, **others, brain=brain, to_template=COARSE, facts=facts)
