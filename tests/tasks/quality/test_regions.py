"""Whether regions lie on tissue, on arrays of a few voxels worked by hand."""

import numpy as np
import pytest

from tasks.quality.regions import LEAST_BLOCKS, fluid_shares, label_dices, looks_like_fluid

BRAIN = np.ones((2, 3, 4), bool)


@pytest.mark.parametrize("contrast", ["ct", "cta", "ctp"])
def test_fluid_of_ct_is_below_eighteen_hounsfield_units(contrast):
    values = np.linspace(0, 46, 24, dtype=np.float32).reshape(2, 3, 4)  # steps of 2 HU: 0, 2 ... 16 are below 18
    assert looks_like_fluid(values, BRAIN, contrast).sum() == 9


@pytest.mark.parametrize("unit", [1.0, 250.0])
def test_fluid_of_diffusion_mr_is_darker_than_three_fifths_of_the_brains_median(unit):
    values = np.full((2, 3, 4), 100.0, np.float32)
    values[0, 0] = [20, 59, 61, 170]
    assert looks_like_fluid(values * unit, BRAIN, "dwi").sum() == 2
    assert not looks_like_fluid(values, np.zeros_like(BRAIN), "dwi").any()


def test_the_share_of_fluid_is_that_of_the_label():
    labels = np.repeat([1, 1, 2, 3], 10)
    fluid = np.zeros(40, bool)
    fluid[[0, 1, 2, 3, 4, 25, 39]] = True  # 5 of 20, 1 of 10, 1 of 10
    assert fluid_shares(labels, fluid, (1, 2, 3)) == (0.25, 0.1, 0.1)
    assert fluid_shares(labels[:39], fluid[:39], (1, 2, 3, 4)) == (0.25, 0.1, None, None)  # 9 are too few, and none
    assert LEAST_BLOCKS == 10


def test_dice_of_labels():
    one = np.array([1, 1, 1, 2, 0, 0])
    other = np.array([1, 1, 2, 2, 2, 0])
    assert label_dices(one, other, (1, 2, 3)) == (0.8, 0.5, None)  # 2 x 2 / (3 + 2), 2 x 1 / (1 + 3)
