"""A threshold states its cut, operator and positive side."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.thresholds import Operator, PositiveSide, Threshold

SCORES = [5, 6, 7]

# (operator, positive side) -> scores that fulfil the comparison, scores that are positive
CASES: dict[tuple[Operator, PositiveSide], tuple[list[int], list[int], str]] = {
    ("ge", "high"): ([6, 7], "ASPECTS >= 6"),
    ("ge", "low"): ([5], "ASPECTS < 6"),
    ("gt", "high"): ([7], "ASPECTS > 6"),
    ("gt", "low"): ([5, 6], "ASPECTS <= 6"),
    ("le", "low"): ([5, 6], "ASPECTS <= 6"),
    ("le", "high"): ([7], "ASPECTS > 6"),
    ("lt", "low"): ([5], "ASPECTS < 6"),
    ("lt", "high"): ([6, 7], "ASPECTS >= 6"),
}


@pytest.mark.parametrize(("operator", "positive"), CASES)
def test_each_operator_and_side_at_the_cut(operator: Operator, positive: PositiveSide) -> None:
    threshold = Threshold("six", 6, operator, positive, "by hand")
    positives, text = CASES[operator, positive]
    assert np.array(SCORES)[threshold.is_positive(SCORES)].tolist() == positives
    assert threshold.positive_text == text


def test_text_prints_the_quantity_and_the_cut_as_declared() -> None:
    assert Threshold("wei_volume", 27.86, "ge", "high", "WEI", "volume (ml)").text == "volume (ml) >= 27.86"


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="values must not be NaN, got 1 of 2"):
        Threshold("six", 6, "ge", "low", "by hand").is_positive([5, np.nan])


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"cut must be finite.*operator must be one of.*positive must be one of"):
        Threshold("bad", float("nan"), "eq", "left", "by hand")  # type: ignore[arg-type]
