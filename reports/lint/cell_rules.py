"""What one row of ``statistics`` must not say against itself: shares, intervals, ranges, p values, classes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from reports.lint.book import Cell

TOLERANCE = 1e-9  # of the same sum in another order; a count that is off by one is off by far more
UNIT_RANGE = ("auc", "sensitivity", "specificity", "f1_positive", "f1_negative", "balanced_accuracy")
SIGNED_UNIT_RANGE = ("auc_difference", "icc_a1", "kappa", "ac2", "spearman", "kendall", "mcc", "j", "region_kappa")
NOT_NEGATIVE = ("sd", "lr_positive", "lr_negative", "odds_ratio", "n_missing")
CLASS_SECTIONS = ("roc", "dichotomies", "youden")
PROPORTIONS = (
    *("sensitivity", "specificity", "accuracy", "ppv", "npv", "prevalence", "test_positive"),
    *("exact", "within_1", "within_2", "affected", "level", "score_eq", "region_agreement"),
)


def cell_problems(cell: Cell) -> Iterator[str]:
    """Every rule that one row breaks by itself."""
    if cell.statistic_id != cell.expected_id:
        yield cell.must(f"have the statistic_id {cell.expected_id}", cell.statistic_id)
    if cell.estimate is None and not cell.note:
        yield cell.must("say in note why there is no estimate", "no note")
    yield from _proportion_problems(cell)
    yield from _interval_problems(cell)
    yield from _range_problems(cell)
    for name, value in (("p_value", cell.p_value), ("p_adjusted", cell.p_adjusted)):
        if value is not None and not 0 <= value <= 1:
            yield cell.must(f"have a {name} within 0..1", value)
    if cell.p_value is not None and cell.p_adjusted is not None and cell.p_adjusted < cell.p_value - TOLERANCE:
        yield cell.must(f"have p_adjusted >= p_value = {cell.p_value:g}", cell.p_adjusted)
    if cell.p_adjusted is not None and not cell.family:
        yield cell.must("name the family of its adjusted p", "no family")
    needs_class = cell.section in CLASS_SECTIONS and cell.head != "test_positive"
    if needs_class and (not cell.positive_class or cell.n_positive is None):
        yield cell.must("state its positive class and n_positive", f"{cell.positive_class} and {cell.n_positive}")
    if cell.n is not None and cell.n_positive is not None and cell.n_positive > cell.n:
        yield cell.must(f"have n_positive <= n = {cell.n}", cell.n_positive)


def _proportion_problems(cell: Cell) -> Iterator[str]:
    """A share must follow from its two counts, and a quantity that is a share must carry them."""
    k, total = cell.numerator, cell.denominator
    if k is None or total is None:
        if cell.head.removesuffix("_published") in PROPORTIONS and cell.estimate is not None:
            yield cell.must("carry numerator and denominator", f"{k} and {total}")
        return
    if not 0 <= k <= total:
        yield cell.must("have 0 <= numerator <= denominator", f"{k}/{total}")
    elif total == 0 and cell.estimate is not None:
        yield cell.must("have no estimate without a denominator", cell.estimate)
    elif total and (cell.estimate is None or abs(cell.estimate - k / total) > TOLERANCE):
        found = "none" if cell.estimate is None else f"{cell.estimate:.6g}{_fitting_fraction(cell.estimate, k)}"
        yield cell.must(f"equal numerator/denominator = {k}/{total} = {k / total:.6g}", found)
    if cell.n is not None and total > cell.n:
        yield cell.must(f"have a denominator <= n = {cell.n}", total)


def _fitting_fraction(value: float, numerator: int) -> str:
    """The denominator that would explain a share, such as 147 for 0.3946 of 58."""
    if not 0 < value <= 1 or numerator == 0:
        return ""
    total = round(numerator / value)
    return f" (as of {numerator}/{total})" if abs(numerator / total - value) < 5e-4 else ""


def _interval_problems(cell: Cell) -> Iterator[str]:
    """An interval has two ends in order, a level, and its estimate inside."""
    lower, upper = cell.lower, cell.upper
    if lower is None or upper is None:
        if (lower is None) != (upper is None):
            yield cell.must("have both limits or none", f"{lower}..{upper}")
        return
    if cell.level is None or not 0 < cell.level < 1:
        yield cell.must("state the level of its interval within 0..1", cell.level)
    if lower > upper:
        yield cell.must("have lower <= upper", f"{lower:.6g}..{upper:.6g}")
    elif cell.estimate is None:
        yield cell.must("have an estimate inside its interval", f"none in {lower:.6g}..{upper:.6g}")
    elif "bootstrap" not in cell.method and not lower - TOLERANCE <= cell.estimate <= upper + TOLERANCE:
        # quantiles of resamples may miss the estimate; every other interval is built around it
        yield cell.must(f"have its estimate within {lower:.6g}..{upper:.6g}", f"{cell.estimate:.6g}")


def _range_problems(cell: Cell) -> Iterator[str]:
    """A value must be one that its quantity can take."""
    if cell.estimate is None:
        return
    head = cell.head.removesuffix("_published").removesuffix("_corrected").removesuffix("_bootstrap")
    head = head.removesuffix("_linear").removesuffix("_quadratic")
    low, high = -math.inf, math.inf
    if head in UNIT_RANGE or head in PROPORTIONS or cell.denominator is not None:
        low, high = 0, 1
    elif head in SIGNED_UNIT_RANGE:
        low, high = -1, 1
    elif head in NOT_NEGATIVE or cell.unit == "participants":
        low = 0
    elif cell.reference == "score" and head in ("median", "q1", "q3", "mean"):
        low, high = 0, 10
    if not low - TOLERANCE <= cell.estimate <= high + TOLERANCE:
        yield cell.must(f"be within {low:g}..{high:g}", f"{cell.estimate:.6g}")
