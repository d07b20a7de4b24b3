"""Pairs of patches: where they lie, what their values mean, and that both sides are cut alike."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.density.pairs import OUTSIDE, PatchRecipe, paired_patches, patch_grid
from tasks.space.affines import MIRROR
from tests.tasks.stored_order import stored

RECIPE = PatchRecipe((4, 6, 8), (4.0, 2.0, 2.0), 50.0, 30.0)
LEFT, RIGHT = 1, 2
TO_TEMPLATE = np.array([[1.0, 0, 0, 3], [0, 1, 0, -2], [0, 0, 1, 5], [0, 0, 0, 1]])  # the head lies beside the template


def head():
    """Voxels of 2 mm, symmetric about the template's midline; tissue of 30 HU, a box of 20 HU in the left region."""
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = np.linalg.inv(TO_TEMPLATE)[:3] @ [-69.0, -60.0, -20.0, 1.0]
    image = np.full((70, 60, 12), 30.0, np.float32)
    labels = np.zeros(image.shape, np.int16)
    labels[10:16, 20:28, 3:7], labels[54:60, 20:28, 3:7] = LEFT, RIGHT
    image[10:12, 20:22, 3] = 20.0
    return image, affine, np.ones(image.shape, bool), labels


def cut(image, affine, brain, labels, recipe=RECIPE, to_template=TO_TEMPLATE, pairs=((LEFT, RIGHT),)):
    return paired_patches(image, affine, brain, labels, pairs, to_template, recipe)


def test_a_patch_lies_around_its_region_and_the_right_one_is_flipped():
    """The region is 6 x 8 x 4 voxels in a patch of 8 x 6 x 4; its outer, hind, lowest corner is less dense on the left:
    (20 - 30) / 25."""
    found = cut(*head())
    assert found.images.shape == found.masks.shape == (1, 2, 4, 6, 8)
    assert found.is_there.tolist() == [[True, True]]
    left, right = found.masks[0]
    np.testing.assert_array_equal(left, right)
    assert left.sum(axis=(1, 2)).tolist() == [36, 36, 36, 36]
    np.testing.assert_array_equal(np.flatnonzero(left.any(axis=(0, 1))), np.arange(1, 7))
    lower = np.argwhere(found.images[0, 0] < -1e-4)
    assert len(lower)
    assert (lower >= [0, 0, 1]).all()
    assert (lower <= [1, 1, 3]).all()
    assert found.images[0, 0].min() == pytest.approx(-0.4, abs=0.2)  # between the grid's and the scan's voxels
    np.testing.assert_allclose(found.images[0, 1], 0, atol=1e-5)


def test_the_mirrored_patient_has_the_same_pair_the_other_way_round():
    image, affine, brain, labels = head()
    exchanged = np.select([labels == LEFT, labels == RIGHT], [RIGHT, LEFT], 0)
    mirrored = cut(image, MIRROR @ affine, brain, exchanged, to_template=MIRROR @ TO_TEMPLATE @ MIRROR)
    found = cut(image, affine, brain, labels)
    np.testing.assert_allclose(mirrored.images, found.images[:, ::-1], atol=1e-5)
    np.testing.assert_array_equal(mirrored.masks, found.masks[:, ::-1])


def test_the_order_of_axes_in_the_file_changes_nothing():
    image, affine, brain, labels = head()
    back, box = stored(image.shape, (2, 0, 1), (True, False, True))
    moved = (np.ascontiguousarray(one.transpose(2, 0, 1)[box]) for one in (image, brain, labels))
    values, own, named = moved
    other = cut(values, affine @ back, own, named)
    found = cut(image, affine, brain, labels)
    np.testing.assert_allclose(other.images, found.images, atol=1e-5)
    np.testing.assert_array_equal(other.masks, found.masks)


def test_values_are_those_of_a_window_and_the_skull_does_not_reach_in():
    image, affine, brain, labels = head()
    image[:] = 40.0
    image[40:], brain[40:] = 1000.0, False
    found = cut(image, affine, brain, np.where(brain, labels, 0))
    assert found.is_there.tolist() == [[True, False]]
    np.testing.assert_allclose(found.images[0, 0], 0.4, atol=1e-5)  # (40 - 30) / 25
    assert (found.images[0, 1] == OUTSIDE).all()
    assert not found.masks[0, 1].any()
    own = PatchRecipe(RECIPE.shape, RECIPE.spacing_mm, 50.0)
    np.testing.assert_allclose(cut(image, affine, brain, labels, own).images[0, 0], 0, atol=1e-5)


def test_noise_of_fine_voxels_is_averaged():
    """Independent noise of voxels of 2 x 2 x 4 mm over patches of 8 mm: a box would leave 1 / sqrt(32) of it."""
    image, affine, brain, labels = head()
    image += np.random.default_rng(0).normal(0, 5, image.shape).astype(np.float32)
    coarse = PatchRecipe((3, 8, 10), (8.0, 8.0, 8.0), 100.0, 30.0)
    patch = cut(image, affine, brain, labels, coarse).images[0, 0]
    spread = float(patch[1, 3:5, 4:6].std() * 50)
    assert spread < 2.5


def test_the_grid_is_symmetric_and_a_brain_is_needed():
    grid = patch_grid(RECIPE)
    x = grid.affine[0, 3] + grid.affine[0, 0] * np.arange(grid.shape[0])
    np.testing.assert_allclose(x, -x[::-1])
    image, affine, brain, labels = head()
    with pytest.raises(ValueError, match="brain must hold at least one voxel"):
        cut(image, affine, np.zeros_like(brain), labels)
