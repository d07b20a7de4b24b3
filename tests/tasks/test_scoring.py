"""Region rules and laterality: METHODS A.7 fixtures 8 and 9, and every way to choose the side that counts."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS, HEMISPHERES
from tasks.scoring import BUILT_IN_RULES, RegionRule, Score, aspects_score, choose_side, fraction_rule


def _score(left=(), right=(), **choice):
    affected = {
        (side, region): region in regions
        for side, regions in (("left", left), ("right", right))
        for region in ASPECTS_REGIONS
    }
    return aspects_score(affected, **{"laterality": "worst", **choice})


def _affected(rule, region, n_lesion, n_region):
    return BUILT_IN_RULES[rule].is_affected(region=region, fraction=n_lesion / n_region, n_lesion_voxels=n_lesion)


def _points(rule, **lesion):
    """Score of one hemisphere from (lesion, region) voxels of some regions, the others untouched."""
    flags = [region for region in ASPECTS_REGIONS if _affected(rule, region, *lesion.get(region, (0, 100)))]
    return _score(left=flags).left


@pytest.mark.parametrize(
    ("lesion", "points"),
    [
        ({"caudate": (1, 5000)}, 9),  # METHODS A.7, 8: one voxel of a deep region
        ({"m2": (33, 100)}, 10),
        ({"m2": (1, 3)}, 9),
        ({"m2": (7001, 21003)}, 9),  # exactly a third of another size
        ({"m2": (7000, 21003)}, 10),
        (dict.fromkeys(DEEP_REGIONS, (1, 900)), 6),
        (dict.fromkeys(ASPECTS_REGIONS, (100, 100)), 0),
        ({}, 10),
    ],
)
def test_wei_takes_any_deep_lesion_and_a_third_of_the_cortex(lesion, points):
    assert _points("wei", **lesion) == points


@pytest.mark.parametrize("n_region", [3, 21, 999, 30_003, 299_997])
def test_a_third_is_a_third_for_every_region_size(n_region):
    third = n_region // 3
    assert Fraction(third, n_region) == Fraction(1, 3)
    assert _affected("wei", "m5", third, n_region)
    assert not _affected("wei", "m5", third - 1, n_region)


@pytest.mark.parametrize("region", ["caudate", "m4"])
def test_danet_takes_more_than_a_tenth(region):
    assert not _affected("danet", region, 1000, 10_000)  # METHODS A.7, 9: .10
    assert _affected("danet", region, 1001, 10_000)  # .1001


@pytest.mark.parametrize("region", ASPECTS_REGIONS)
def test_any_takes_one_voxel(region):
    assert _affected("any", region, 1, 1_000_000)
    assert not _affected("any", region, 0, 1_000_000)


def test_fraction_rule_gives_each_group_its_cut_and_operator():
    rule = fraction_rule("mine", deep=("gt", 0.25), cortical=("ge", 0.5))
    for region in DEEP_REGIONS:
        assert not rule.is_affected(region=region, fraction=0.25, n_lesion_voxels=25)
        assert rule.is_affected(region=region, fraction=0.26, n_lesion_voxels=26)
    for region in CORTICAL_REGIONS:
        assert not rule.is_affected(region=region, fraction=0.49, n_lesion_voxels=49)
        assert rule.is_affected(region=region, fraction=0.5, n_lesion_voxels=50)


def test_fewer_lesion_voxels_than_the_minimum_never_count():
    rule = fraction_rule("big", deep=("gt", 0.0), cortical=("gt", 0.0), minimum_voxels=3)
    assert not rule.is_affected(region="insula", fraction=1.0, n_lesion_voxels=2)
    assert rule.is_affected(region="insula", fraction=0.001, n_lesion_voxels=3)


def test_a_cut_of_zero_still_needs_a_lesion():
    rule = RegionRule("zero", dict.fromkeys(ASPECTS_REGIONS, ("ge", 0.0)))
    assert not rule.is_affected(region="m1", fraction=0.0, n_lesion_voxels=0)
    assert rule.is_affected(region="m1", fraction=0.0001, n_lesion_voxels=1)


DEEP_LEFT, THREE_RIGHT = ("caudate",), ("m1", "m2", "insula")


@pytest.mark.parametrize(
    ("left", "right", "choice", "expected"),
    [
        # Cao 2022: the lower of the two
        (DEEP_LEFT, THREE_RIGHT, {"laterality": "worst"}, (7, "right")),
        (THREE_RIGHT, DEEP_LEFT, {"laterality": "worst"}, (7, "left")),
        (DEEP_LEFT, ("m6",), {"laterality": "worst"}, (9, "both")),
        ((), (), {"laterality": "worst"}, (10, "both")),
        # the side with more lesion, though its score is the better one
        (DEEP_LEFT, THREE_RIGHT, {"laterality": "lesion_side", "lesion_side": "left"}, (9, "left")),
        (DEEP_LEFT, THREE_RIGHT, {"laterality": "lesion_side", "lesion_side": "right"}, (7, "right")),
        (DEEP_LEFT, THREE_RIGHT, {"laterality": "lesion_side", "lesion_side": "both"}, (7, "right")),
        (DEEP_LEFT, ("m6",), {"laterality": "lesion_side", "lesion_side": "both"}, (9, "both")),
        # the side of the chart, whatever the lesion
        (
            DEEP_LEFT,
            THREE_RIGHT,
            {"laterality": "clinical_side", "clinical_side": "left", "lesion_side": "right"},
            (9, "left"),
        ),
        (DEEP_LEFT, THREE_RIGHT, {"laterality": "clinical_side", "clinical_side": "right"}, (7, "right")),
        # paper 1: all twenty regions, not below 0
        (DEEP_LEFT, THREE_RIGHT, {"laterality": "both"}, (6, "both")),
        (ASPECTS_REGIONS, THREE_RIGHT, {"laterality": "both"}, (0, "both")),
    ],
)
def test_laterality(left, right, choice, expected):
    found = _score(left, right, **choice)
    assert (found.score, found.scored_side) == expected
    assert (found.left, found.right) == (10 - len(left), 10 - len(right))
    assert found.reason is None


def test_a_missing_clinical_side_gives_no_score_but_both_sides():
    found = _score(DEEP_LEFT, THREE_RIGHT, laterality="clinical_side", clinical_side=None, lesion_side="left")
    assert found == Score(9, 7, None, None, "clinical_side_missing")


def test_scores_of_sides_are_chosen_from_like_regions():
    assert choose_side(8, 5, laterality="worst") == Score(8, 5, 5, "right")
    assert choose_side(8, 5, laterality="both") == Score(8, 5, 3, "both")
    assert choose_side(4, 5, laterality="both").score == 0


def test_missing_regions_are_all_named():
    affected = {(side, region): False for side in HEMISPHERES for region in ASPECTS_REGIONS}
    del affected["left", "m3"], affected["right", "insula"]
    with pytest.raises(ValueError, match=r"all twenty regions, got none for left_m3, right_insula\."):
        aspects_score(affected, laterality="worst")
