"""Agreement of two masks: worked by hand, against MONAI, of empty masks, and in any order of axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.overlap import compare_masks

SHAPE = (7, 8, 9)
SPACING_MM = (0.9, 1.4, 5.0)
NUMBERS = ("dice", "surface_dice", "hd95_mm", "lesion_f1")


def _mask(*boxes, shape=SHAPE):
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[tuple(slice(*ends) for ends in box)] = True
    return mask


def _random(seed, shape=SHAPE, share=0.08):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < share


def test_two_cubes_one_voxel_apart_along_the_thick_axis_by_hand():
    """Cubes of 3 voxels, one moved by one slice of 5 mm: 18 of 27 voxels are shared.

    Of each border (26 voxels, all but the middle one) those in slices that both have border in agree. Reference slices
    2 to 4, candidate 3 to 5. Slice 2 (9 voxels) is 5 mm from the candidate's slice 3, where that has border everywhere.
    Slice 3 of the reference is a ring of 8, each at a border voxel of the candidate. Slice 4 has 9, of which the middle
    one lies on the candidate's own middle voxel, 0.9 mm from its ring. So 17 of 26 lie within 2 mm, and by symmetry as
    many of the candidate; the 95th percentile of nine distances of 5 mm among 26 is 5 mm.
    """
    reference, candidate = _mask(((2, 5), (2, 5), (2, 5))), _mask(((2, 5), (2, 5), (3, 6)))
    found = compare_masks(reference=reference, candidate=candidate, spacing_mm=SPACING_MM)
    assert found.presence == "both"
    assert found.dice == pytest.approx(18 / 27)
    assert found.surface_dice == pytest.approx(34 / 52)
    assert found.hd95_mm == pytest.approx(5.0)
    assert found.volume_difference_ml == 0
    assert found.reference_volume_ml == pytest.approx(27 * 0.9 * 1.4 * 5 / 1000)
    narrow = compare_masks(reference=reference, candidate=candidate, spacing_mm=SPACING_MM, tolerance_mm=0.5)
    assert narrow.surface_dice == pytest.approx(32 / 52)  # the middle voxels lie 0.9 mm away
    wide = compare_masks(reference=reference, candidate=candidate, spacing_mm=SPACING_MM, tolerance_mm=5)
    assert wide.surface_dice == 1


def test_a_cube_moved_along_a_thin_axis_is_as_far_away_as_that_axis_says():
    reference, candidate = _mask(((1, 3), (2, 4), (3, 5))), _mask(((4, 6), (2, 4), (3, 5)))
    found = compare_masks(reference=reference, candidate=candidate, spacing_mm=SPACING_MM)
    # 8 voxels each, all border: 4 lie 2 voxels (1.8 mm) from the other cube, 4 lie 3 voxels (2.7 mm) from it
    assert (found.dice, found.surface_dice) == (0, 0.5)
    assert found.hd95_mm == pytest.approx(2.7)


def test_lesions_are_counted_as_found_missed_and_false():
    """Three lesions of the reference, two found by one voxel each; three of the candidate, one of them false."""
    reference = _mask(((0, 2), (0, 2), (0, 2)), ((4, 6), (0, 2), (0, 2)), ((0, 2), (5, 7), (5, 7)))
    candidate = _mask(((1, 3), (1, 3), (1, 3)), ((5, 7), (0, 2), (0, 2)), ((4, 6), (5, 7), (5, 7)))
    found = compare_masks(reference=reference, candidate=candidate, spacing_mm=SPACING_MM)
    counts = (found.n_reference_lesions, found.n_candidate_lesions, found.n_found_lesions, found.n_false_lesions)
    assert counts == (3, 3, 2, 1)
    assert found.lesion_f1 == pytest.approx(2 / (2 + (1 + 1) / 2))


def test_parts_that_touch_by_a_corner_are_one_lesion():
    reference = _mask(((0, 2), (0, 2), (0, 2)), ((2, 4), (2, 4), (2, 4)))
    found = compare_masks(reference=reference, candidate=_mask(((0, 1), (0, 1), (0, 1))), spacing_mm=SPACING_MM)
    assert (found.n_reference_lesions, found.n_found_lesions, found.lesion_f1) == (1, 1, 1)


def test_empty_masks_have_no_distance_and_what_one_alone_marks_is_missed():
    empty, cube = _mask(), _mask(((2, 5), (2, 5), (2, 5)))
    both = compare_masks(reference=empty, candidate=empty, spacing_mm=SPACING_MM)
    assert both.presence == "both_empty"
    assert [getattr(both, name) for name in NUMBERS] == [None] * 4
    assert (both.volume_difference_ml, both.n_reference_lesions, both.n_false_lesions) == (0, 0, 0)
    volume = 27 * 0.9 * 1.4 * 5 / 1000
    missed = compare_masks(reference=cube, candidate=empty, spacing_mm=SPACING_MM)
    assert (missed.presence, missed.n_reference_lesions, missed.n_found_lesions) == ("candidate_empty", 1, 0)
    false = compare_masks(reference=empty, candidate=cube, spacing_mm=SPACING_MM)
    assert (false.presence, false.n_candidate_lesions, false.n_false_lesions) == ("reference_empty", 1, 1)
    for one, difference in ((missed, -volume), (false, volume)):
        assert [getattr(one, name) for name in NUMBERS] == [0, 0, None, 0]
        assert one.volume_difference_ml == pytest.approx(difference)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_identical_masks_agree_and_sides_may_be_exchanged(seed):
    first, second = _random(seed) | _mask(((1, 2), (1, 2), (1, 2))), _random(seed + 20_000) | _mask(((5, 7),) * 3)
    same = compare_masks(reference=first, candidate=first, spacing_mm=SPACING_MM)
    assert [getattr(same, name) for name in NUMBERS] == [1, 1, 0, 1]
    one = compare_masks(reference=first, candidate=second, spacing_mm=SPACING_MM)
    other = compare_masks(reference=second, candidate=first, spacing_mm=SPACING_MM)
    assert [getattr(one, name) for name in NUMBERS[:3]] == [getattr(other, name) for name in NUMBERS[:3]]
    assert one.volume_difference_ml == pytest.approx(-other.volume_difference_ml)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flip", [False, True])
def test_the_order_and_direction_of_axes_change_nothing(order, flip):
    first, second = _random(3), _random(4)
    expected = compare_masks(reference=first, candidate=second, spacing_mm=SPACING_MM)
    turned = [one.transpose(order)[::-1] if flip else one.transpose(order) for one in (first, second)]
    spacing = tuple(SPACING_MM[axis] for axis in order)
    found = compare_masks(reference=turned[0], candidate=turned[1], spacing_mm=spacing)
    for name in vars(expected):
        value = getattr(expected, name)
        assert getattr(found, name) == (value if isinstance(value, str) else pytest.approx(value)), name


@pytest.mark.processes  # a library that MONAI imports listens for a moment
@pytest.mark.parametrize("seed", range(6))
def test_monai_gives_the_same_numbers(seed):
    """MONAI 1.6.1: compute_dice, compute_surface_dice and compute_hausdorff_distance(percentile=95), spacing in mm."""
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    masks = [ndimage.gaussian_filter(rng.normal(size=(22, 25, 14)), 1.6) > 0.09 for _ in range(2)]
    for mask in masks:
        mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    found = compare_masks(reference=masks[0], candidate=masks[1], spacing_mm=SPACING_MM)
    reference, candidate = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in masks)
    assert found.dice == pytest.approx(float(compute_dice(candidate, reference)), abs=1e-6)
    distance = compute_hausdorff_distance(
        candidate, reference, include_background=True, percentile=95, spacing=list(SPACING_MM)
    )
    assert found.hd95_mm == pytest.approx(float(distance), abs=1e-4)
    surface = compute_surface_dice(candidate, reference, [2.0], include_background=True, spacing=list(SPACING_MM))
    assert found.surface_dice == pytest.approx(float(surface), abs=1e-6)


def test_masks_of_two_grids_and_lengths_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"must be volumes of one shape, got \(7, 8, 9\) and \(7, 8, 8\)"):
        compare_masks(reference=_mask(), candidate=_mask(shape=(7, 8, 8)), spacing_mm=SPACING_MM)
    with pytest.raises(ValueError, match="must be > 0 mm"):
        compare_masks(reference=_mask(), candidate=_mask(), spacing_mm=(1, 0, 1))
