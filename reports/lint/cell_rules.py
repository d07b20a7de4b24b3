"""What one row of ``statistics`` must not say against itself: shares, intervals, bounds, p values, classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from cohorts.folder.clinical_column import ClinicalColumn
from reports.lint.bounds import PROPORTIONS, bounds_of
from reports.statistics.rows import Row
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES

TOLERANCE = 1e-9  # of the same sum in another order; a count that is off by one is off by far more
CLASS_SECTIONS = ("roc", "dichotomies", "youden", "reference_cuts")
JUDGED_REGIONS = len(ASPECTS_REGIONS) * len(HEMISPHERES)  # of one patient, where regions are counted


def cell_problems(row: Row, columns: Mapping[str, ClinicalColumn]) -> Iterator[str]:
    """Every rule that one row breaks by itself; ``columns`` are the declared clinical columns by name."""
    if row.statistic_id != row.id_of(row.quantity):
        yield row.must(f"have the statistic_id {row.id_of(row.quantity)}", row.statistic_id)
    if row.estimate is None and not row.note:
        yield row.must("say in note why there is no estimate", "no note")
    yield from _proportion_problems(row)
    yield from _interval_problems(row)
    yield from _bound_problems(row, columns)
    for name, value in (("p_value", row.p_value), ("p_adjusted", row.p_adjusted)):
        if value is not None and not 0 <= value <= 1:
            yield row.must(f"have a {name} within 0..1", value)
    if row.p_value is not None and row.p_adjusted is not None and row.p_adjusted < row.p_value - TOLERANCE:
        yield row.must(f"have p_adjusted >= p_value = {row.p_value:g}", row.p_adjusted)
    if row.p_adjusted is not None and not row.family:
        yield row.must("name the family of its adjusted p", "no family")
    needs_class = row.section in CLASS_SECTIONS and row.quantity != "test_positive"
    if needs_class and (not row.positive_class or row.n_positive is None):
        yield row.must("state its positive class and n_positive", f"{row.positive_class} and {row.n_positive}")
    if row.n is not None and row.n_positive is not None and row.n_positive > row.n:
        yield row.must(f"have n_positive <= n = {row.n}", row.n_positive)


def _proportion_problems(row: Row) -> Iterator[str]:
    """A share must follow from its two counts, and a quantity that is a share must carry them."""
    k, total = row.numerator, row.denominator
    if k is None or total is None:
        if row.quantity.removesuffix("_published") in PROPORTIONS and row.estimate is not None:
            yield row.must("carry numerator and denominator", f"{k} and {total}")
        return
    if not 0 <= k <= total:
        yield row.must("have 0 <= numerator <= denominator", f"{k}/{total}")
    elif total == 0 and row.estimate is not None:
        yield row.must("have no estimate without a denominator", row.estimate)
    elif total and (row.estimate is None or abs(row.estimate - k / total) > TOLERANCE):
        found = "none" if row.estimate is None else f"{row.estimate:.6g}{_fitting_fraction(row.estimate, k)}"
        yield row.must(f"equal numerator/denominator = {k}/{total} = {k / total:.6g}", found)
    most = None if row.n is None else row.n * (JUDGED_REGIONS if row.section == "regional" else 1)
    if most is not None and total > most:
        yield row.must(f"have a denominator <= n = {most}", total)


def _fitting_fraction(value: float, numerator: int) -> str:
    """The denominator that would explain a share, such as 147 for 0.3946 of 58."""
    if not 0 < value <= 1 or numerator == 0:
        return ""
    total = round(numerator / value)
    return f" (as of {numerator}/{total})" if abs(numerator / total - value) < 5e-4 else ""


def _interval_problems(row: Row) -> Iterator[str]:
    """An interval has two ends in order, a level, and its estimate inside."""
    lower, upper = row.lower, row.upper
    if lower is None or upper is None:
        if (lower is None) != (upper is None):
            yield row.must("have both limits or none", f"{lower}..{upper}")
        return
    if row.level is None or not 0 < row.level < 1:
        yield row.must("state the level of its interval within 0..1", row.level)
    if lower > upper:
        yield row.must("have lower <= upper", f"{lower:.6g}..{upper:.6g}")
    elif row.estimate is None:
        yield row.must("have an estimate inside its interval", f"none in {lower:.6g}..{upper:.6g}")
    elif "bootstrap" not in row.method and not _is_within(row.estimate, lower, upper):
        # quantiles of resamples may miss the estimate; every other interval is built around it
        yield row.must(f"have its estimate within {lower:.6g}..{upper:.6g}", f"{row.estimate:.6g}")


def _bound_problems(row: Row, columns: Mapping[str, ClinicalColumn]) -> Iterator[str]:
    """Estimate and limits must be values that the estimator can give."""
    bounds = bounds_of(row, columns)
    if row.estimate is not None and not _is_within(row.estimate, *bounds.estimate):
        low, high = bounds.estimate
        yield row.must(f"be within {low:g}..{high:g}", f"{row.estimate:.6g}")
    for name, limit in (("lower", row.lower), ("upper", row.upper)):
        if limit is not None and not _is_within(limit, *bounds.limits):
            low, high = bounds.limits
            yield row.must(f"have a {name} limit within {low:g}..{high:g}", f"{limit:.6g}")


def _is_within(value: float, low: float, high: float) -> bool:
    """Whether a value lies in low..high but for rounding."""
    slack = TOLERANCE * max(1.0, abs(value))
    return math.isfinite(value) and low - slack <= value <= high + slack
