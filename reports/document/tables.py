"""Statistic rows as people read them: looked up by name, rounded once, never without their denominator.

A *cell* is what a table of the report prints for one row: the text, what stands under it (interval, counts), and the
``statistic_id`` and method it came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reports.statistics.rows import Row

DASH = "–"  # a value that was not given
NOT_COMPUTED = "n/c"  # a dash would pass for "none" or "not affected"
MINUS = "\u2212"
OPERATOR_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_SMALLEST_P = 0.001


@dataclass(frozen=True)
class Cell:
    """A printed number: ``text``, a smaller ``under`` line, and where both come from."""

    text: str
    under: str = ""
    statistic_id: str = ""
    method: str = ""
    note: str = ""
    badge: str = ""
    wraps: bool = False  # the under line is words, not numbers
    is_absent: bool = False  # asked for and not there: marked in red


_IN_CAPITALS = "aca mca pca m1 m2 m3 m4 m5 m6 ppv npv mcc lr auc smd icc loa ac1 ac2 f1"
_ABBREVIATIONS = {**{word: word.upper() for word in _IN_CAPITALS.split()}, "a1": "(A,1)"}
EMPTY = Cell("")  # there is no such number


def number(value: float | None, digits: int = 2) -> str:
    """Round half to even, with a real minus sign; n/c for none.

    >>> number(-0.17, 2), number(None), number(-0.0001, 2)
    ('−0.17', 'n/c', '0.00')
    """
    if value is None or math.isnan(value):
        return NOT_COMPUTED
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as a percentage.

    >>> percent(0.6009)
    '60.1 %'
    """
    return NOT_COMPUTED if value is None or math.isnan(value) else f"{number(100 * value, digits)} %"


def p_text(value: float | None) -> str:
    """Write p with three decimals, or ``< 0.001``.

    >>> p_text(0.0151), p_text(0.0000003)
    ('0.015', '< 0.001')
    """
    if value is None or math.isnan(value):
        return NOT_COMPUTED
    return f"< {_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}"


def interval(row: Row | None, digits: int = 2, *, as_percent: bool = False) -> str:
    """``lower to upper``, or nothing where there is no interval."""
    if row is None or row.lower is None or row.upper is None:
        return ""
    if as_percent:
        return f"{number(100 * row.lower, 1)} to {number(100 * row.upper, 1)}"
    return f"{number(row.lower, digits)} to {number(row.upper, digits)}"


def cell(row: Row | None, digits: int = 2) -> Cell:
    """An estimate over its interval."""
    return _cell(row, number(row.estimate, digits), interval(row, digits)) if row else EMPTY


def proportion_cell(row: Row | None, *, separator: str = "\n") -> Cell:
    """A percentage over its interval and its counts, on two lines unless another separator is given."""
    if row is None:
        return EMPTY
    counts = f"{row.numerator}/{row.denominator}" if row.denominator is not None else ""
    limits = interval(row, as_percent=True)
    return _cell(row, percent(row.estimate), separator.join(part for part in (limits, counts) if part))


def count_cell(row: Row | None) -> Cell:
    """``count (percent)`` of a proportion, as in a cohort table."""
    if row is None or row.estimate is None:
        return _cell(row, NOT_COMPUTED) if row else EMPTY
    return _cell(row, f"{row.numerator} ({number(100 * row.estimate, 1)} %)")


def p_cell(row: Row | None, *, adjusted: bool = False) -> Cell:
    """A p value; the adjusted one stands over the unadjusted one."""
    if row is None:
        return EMPTY
    if adjusted:
        return _cell(
            row, p_text(row.p_adjusted), f"unadjusted {p_text(row.p_value)}" if row.p_value is not None else ""
        )
    return _cell(row, p_text(row.p_value))


def count_cells(row: Row) -> tuple[Cell, Cell]:
    """Patients used, and patients in the positive class with the class in the note."""
    return (
        Cell(NOT_COMPUTED if row.n is None else str(row.n)),
        Cell(NOT_COMPUTED if row.n_positive is None else str(row.n_positive), note=row.positive_class or ""),
    )


def whole(row: Row | None) -> str:
    """A count as text."""
    return NOT_COMPUTED if row is None or row.estimate is None else f"{row.estimate:.0f}"


def range_text(values: Iterable[int | None]) -> str:
    """``n`` or ``n to m`` over several rows, for captions.

    >>> range_text([5, None, 7]), range_text([5, 5]), range_text([])
    ('5 to 7', '5', 'n/c')
    """
    found = sorted({value for value in values if value is not None})
    if not found:
        return NOT_COMPUTED
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def signs(text: str) -> str:
    """Comparisons as signs.

    >>> signs("NIHSS >= 8")
    'NIHSS ≥ 8'
    """
    return text.replace(">=", "≥").replace("<=", "≤")


def words(code: str) -> str:
    """A code as words: spaces for underscores, abbreviations in capitals.

    >>> words("internal_capsule"), words("m3"), words("outside_mca_territory")
    ('internal capsule', 'M3', 'outside MCA territory')
    """
    return " ".join(_ABBREVIATIONS.get(word, word) for word in code.split("_"))


def _cell(row: Row, text: str, under: str = "") -> Cell:
    """A cell with the origin of its row; the note says why a number is not computed."""
    return Cell(text, under, row.statistic_id, row.method, row.note or "")
