"""Vessels of synthetic patients: volumes of tubes, the artery of an infarct, what contrast agent adds."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.synthetic import Recipe, trees, vessels, with_settings
from models.training.synthetic.ct import enhanced
from models.training.synthetic.disease import Disease
from models.training.synthetic.trees import Tree
from models.training.synthetic.vessels import Vessels
from tests.models.training.tiny_anatomy import SMALL_SHAPE, small_grid, tiny_anatomy


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_grid(monkeypatch)


def line(n=21):
    """A straight tube of 40 mm."""
    points = np.column_stack([np.linspace(5, 25, n), np.full(n, 20.3), np.full(n, 15.7)])
    return points, np.maximum(np.arange(n) - 1, 0)


@pytest.mark.parametrize(("radius_mm", "tolerance"), [(0.35, 0.15), (1.5, 0.1), (3.0, 0.12)])
def test_a_tube_has_the_volume_of_its_cross_section_times_its_length(radius_mm, tolerance):
    points, parent = line()
    share = vessels._tubes(points, parent, np.ones(21, bool), np.full(21, radius_mm), np.ones(21))
    ends = 4 / 3 * np.pi * radius_mm**3  # are round
    assert share.sum() * 8 == pytest.approx(np.pi * radius_mm**2 * 40 + ends, rel=tolerance)
    assert share.max() <= 1


def test_the_artery_of_an_infarct_is_the_one_whose_twigs_end_beside_it():
    """A stem that parts in two: the infarct lies at the twigs of the second."""
    stem = np.array([[10.0, 10, z] for z in range(4)])
    arms = [np.array([[10.0 + side * 2 * (step + 1), 10, 4] for step in range(5)]) for side in (-1, 1)]
    points = np.concatenate([stem, *arms])
    parent = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 3, 9, 10, 11, 12])
    tree = Tree(points, parent, np.ones(14), np.arange(14) >= 4, np.zeros(14))
    infarct = np.zeros(SMALL_SHAPE, np.float32)
    infarct[12:23, 8:12, 3:7] = 1
    for seed in range(5):
        below, place = vessels._feeding(tree, points, infarct, np.random.default_rng(seed))
        assert place in (9, 10)
        assert not below[:9].any()
        assert below[place:].all()
    assert vessels._feeding(tree, points, np.zeros(SMALL_SHAPE, np.float32), np.random.default_rng(0)) is None


def test_contrast_agent_adds_what_the_blood_holds():
    """500 HU over blood of 45: 455 in arteries, half of it in veins, and 455 x .02 x .7 in grey matter."""
    shape = (2, 2, 2)
    zero, one = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    strength = zero.copy()
    strength[1] = 1
    recipe = with_settings(
        Recipe(), artery_hu=(500.0, 500.0), hu_blood=(45.0, 45.0), vein_share=(0.5, 0.5), tissue_volume=(0.02, 0.02)
    )
    arteries, veins = zero.copy(), zero.copy()
    arteries[0, 0, 0], veins[0, 1, 0] = 1, 1
    disease = Disease(one, one, strength, strength, zero, zero, zero, 10.0)
    image, facts = enhanced(zero, disease, Vessels(arteries, arteries, veins, zero), recipe, np.random.default_rng(0))
    tissue = 455 * 0.02 * 0.7
    assert image[0, 0, 1] == pytest.approx(tissue, rel=1e-5)
    assert image[0, 0, 0] == pytest.approx(455 + tissue, rel=1e-5)
    assert image[0, 1, 0] == pytest.approx(227.5 + tissue, rel=1e-5)
    assert (image[1] < 0.61 * tissue).all()
    assert facts == {"artery_hu": 455.0, "vein_share": 0.5}


def test_a_tree_hangs_together_and_its_stems_are_thicker_than_its_twigs():
    for tree in trees.trees_of(tiny_anatomy()):
        n = len(tree.points)
        assert (tree.parent <= np.arange(n)).all()
        twigs = np.flatnonzero(tree.is_twig)
        assert len(twigs) > 20
        inner = twigs[tree.is_twig[tree.parent[twigs]]]
        assert (tree.radius_mm[tree.parent[inner]] >= tree.radius_mm[inner] - 1e-9).all()
        assert (tree.twig[tree.parent[inner]] <= tree.twig[inner]).all()
