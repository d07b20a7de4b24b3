"""Label tables: our own, and every rule that a site's table can break."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.anatomy import (
    ASPECTS_REGIONS,
    CORTICAL_REGIONS,
    DEEP_REGIONS,
    MAXIMUM_SCORE,
    SHORT_CODES,
    Label,
    LabelTable,
    aspects_label_table,
)

FIRST = Label(1, "right_caudate", "right", "caudate", "deep")
SECOND = Label(2, "left_caudate", "left", "caudate", "deep")


def test_ten_regions_give_ten_points():
    assert MAXIMUM_SCORE == 10
    assert (*DEEP_REGIONS, *CORTICAL_REGIONS) == ASPECTS_REGIONS
    assert len(set(SHORT_CODES.values())) == 10


def test_our_table_numbers_the_right_side_first():
    table = aspects_label_table()
    assert [label.index for label in table.labels] == list(range(1, 21))
    assert [(label.side, label.region) for label in table.labels] == [
        (side, region) for side in ("right", "left") for region in ASPECTS_REGIONS
    ]
    assert {label.region: label.group for label in table.labels} == {
        **dict.fromkeys(DEEP_REGIONS, "deep"),
        **dict.fromkeys(CORTICAL_REGIONS, "cortical"),
    }
    assert table.is_aspects


def test_labels_are_kept_in_the_order_of_their_index():
    assert LabelTable((SECOND, FIRST)).labels == (FIRST, SECOND)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "must name at least one label"),
        ((replace(FIRST, index=0),), r"label index must be > 0, got 0 \(right_caudate\)"),
        ((replace(FIRST, index=-3),), "label index must be > 0, got -3"),
        ((FIRST, replace(SECOND, index=1)), "label index must be unique, got 1 2 times"),
        ((FIRST, replace(FIRST, index=7)), r"\(side, region\) must be unique, got \(right, caudate\) 2 times"),
        ((replace(FIRST, side="Right"),), "side must be one of left, right, midline, got 'Right'"),
        ((replace(FIRST, group="subcortical"),), "group must be one of deep, cortical, other, got 'subcortical'"),
    ],
)
def test_each_broken_rule_is_named(labels, message):
    with pytest.raises(ValueError, match=message):
        LabelTable(labels)


def test_all_broken_rules_are_named_at_once():
    with pytest.raises(ValueError, match=r"got 0 .*; side must .*; group must "):
        LabelTable((replace(FIRST, index=0), replace(SECOND, side="l", group="x")))


def test_one_missing_region_makes_it_no_aspects_map():
    labels = aspects_label_table().labels
    assert not LabelTable(labels[:-1]).is_aspects
    assert LabelTable((*labels, Label(21, "left_cerebellum", "left", "cerebellum", "other"))).is_aspects
