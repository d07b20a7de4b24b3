"""The arterial territories: reproducible, symmetric, and in agreement with a public arterial atlas."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from models.anatomy.template import labels_on_grid, load_label_map, load_template
from models.anatomy.vascular_map import TERRITORIES, build_vascular_territories


def test_the_shipped_map_is_what_the_script_builds():
    assert load_label_map("vascular") == build_vascular_territories()


def test_territories_are_mirrored_single_pieces_that_fill_the_brain():
    labels, brain = load_label_map("vascular").labels, load_template().brain
    swapped = np.select([labels == 0, labels <= 5], [0, labels + 5], labels - 5)
    np.testing.assert_array_equal(swapped, labels[::-1])
    assert [ndimage.label(labels == index)[1] for index in range(1, 11)] == [1] * 10
    assert (labels[brain] > 0).mean() > 0.97  # the rest is lateral ventricles and the midline plane
    assert not labels[~brain].any()


@pytest.mark.parametrize(
    ("territory", "position_mm"),
    [
        ("aca", (6, 40, 20)),
        ("aca", (6, -20, 60)),  # paracentral lobule
        ("mca", (55, -5, 30)),
        ("mca", (38, 5, 0)),  # insula
        ("mca_deep", (27, 3, 0)),  # putamen
        ("mca_deep", (13, 12, 8)),  # caudate
        ("pca", (8, -15, 6)),  # thalamus
        ("pca", (10, -85, 5)),  # calcarine
        ("pca", (28, -25, -12)),  # hippocampus
        ("posterior_fossa", (25, -60, -40)),  # cerebellum
        ("posterior_fossa", (5, -25, -32)),  # pons
    ],
)
def test_known_places_have_their_territory(territory, position_mm):
    labels = load_label_map("vascular").labels
    right, left = (labels[98 + s * position_mm[0], 134 + position_mm[1], 72 + position_mm[2]] for s in (1, -1))
    expected = TERRITORIES.index(territory) + 1
    assert (right, left) == (expected, expected + 5)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("ours", "theirs", "floor"),
    [
        (("aca",), range(1, 3), 0.80),
        (("mca", "mca_deep"), range(3, 17), 0.86),
        (("mca_deep",), range(3, 7), 0.64),
        (("pca",), range(17, 25), 0.79),
        (("posterior_fossa",), range(25, 31), 0.85),
    ],
)
def test_dice_with_the_arterial_atlas(real_data: Path, ours, theirs, floor):
    image = nib.load(real_data / "soop" / "ArterialAtlas136.nii.gz")
    atlas = np.asarray(image.dataobj)
    labels = labels_on_grid(load_label_map("vascular"), atlas.shape, image.affine).labels
    for offset, parity in ((0, 0), (5, 1)):  # the atlas gives odd labels to the left
        mine = np.isin(labels, [TERRITORIES.index(name) + 1 + offset for name in ours])
        yours = np.isin(atlas, [label for label in theirs if label % 2 == parity])
        assert 2 * (mine & yours).sum() / (mine.sum() + yours.sum()) >= floor
