"""One row of ``statistics``, and its builder: every printed number passes here, with its n and its positive class.

A *scope* is what several numbers share: what was measured by whom, against what, in which patients. A *row* is one
number of a scope. The same record is written to the table, read by the report and checked by the lint.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import pandas as pd

from cohorts.tables.schemas import STATISTICS
from reports.estimators.comparison import GroupTest
from reports.estimators.estimate import Interval, Proportion

LEVEL = 0.95  # level of every interval of the report

_PANDAS_TYPE = {"string": "object", "int64": "Int64", "float64": "float64", "bool": "boolean"}
_WHOLE = tuple(column.name for column in STATISTICS.columns if column.type == "int64")
#: Sections that ask the same of score and volume, so that the measure is part of a number's name.
_NAMED_BY_MEASURE = ("roc", "youden", "association", "sites", "benefit", "intention", "precision", "readers")
#: Sections that count and describe; a number of theirs claims nothing.
_DESCRIPTIVE = ("flow", "cohort", "distribution")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the numbers of one question share; the columns of ``statistics`` of the same names."""

    section: str
    analysis_set: str
    grade: str | None = None
    measure: str | None = None
    source: str | None = None
    reference: str | None = None
    reference_measure: str | None = None
    variable: str | None = None
    category: str | None = None
    dichotomy: str | None = None
    side: str | None = None
    region: str | None = None
    stage: str | None = None
    reason: str | None = None
    n_positive: int | None = None
    positive_class: str | None = None

    @property
    def stratum(self) -> str:
        """``set``, or ``set/grade``."""
        return f"{self.analysis_set}/{self.grade}" if self.grade else self.analysis_set

    @property
    def against(self) -> str | None:
        """What the number is held against: a reference source, a column of participants, or else the measure."""
        if self.section in ("cohort", "distribution"):
            return self.variable or self.measure
        return self.reference or self.variable

    @property
    def detail(self) -> str:
        """What tells apart numbers of one quantity, joined by colons; empty where nothing has to."""
        measure = self.measure if self.section in _NAMED_BY_MEASURE else None
        parts = (measure, self.reference_measure, self.dichotomy, self.side, self.region, self.stage, self.reason)
        return ":".join(part for part in (*parts, self.category) if part is not None)

    def key(self, quantity: str) -> str:
        """``quantity``, or ``quantity:detail``."""
        return f"{quantity}:{self.detail}" if self.detail else quantity

    def id_of(self, quantity: str) -> str:
        """The key ``section/quantity:detail/source/against/stratum``."""
        return "/".join((self.section, self.key(quantity), self.source or "-", self.against or "-", self.stratum))

    def seed_of(self, quantity: str, study_seed: int) -> int:
        """A seed of its own for each number, so that adding a source moves no other source's interval."""
        digest = hashlib.sha256(f"{study_seed}/{self.id_of(quantity)}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


@dataclass(frozen=True, kw_only=True)
class Row(Scope):
    """One row of ``statistics``; null is None, whole numbers are int."""

    statistic_id: str
    quantity: str
    role: str
    estimate: float | None
    lower: float | None
    upper: float | None
    level: float | None
    method: str
    unit: str | None
    n: int | None
    numerator: int | None
    denominator: int | None
    p_value: float | None
    p_adjusted: float | None
    family: str | None
    seed: int | None
    note: str | None

    @property
    def full_name(self) -> str:
        """The quantity with its details, as in ``statistic_id``."""
        return self.key(self.quantity)

    def must(self, rule: str, found: object) -> str:
        """The message that this row breaks a rule."""
        return f"{self.statistic_id} must {rule}, got {found}."


@dataclass(frozen=True)
class Details:
    """The columns of a row that only some numbers have."""

    unit: str | None = None
    numerator: int | None = None
    denominator: int | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    family: str | None = None
    seed: int | None = None
    note: str | None = None
    role: str | None = None


_COMPUTED = ("role", "p_value", "p_adjusted")  # of Details; a row has them in its own form
NO_DETAILS = Details()


class Statistic(Protocol):
    """What the statistics of ``reports`` have in common."""

    @property
    def estimate(self) -> float:
        """The estimate, NaN where there is none."""

    @property
    def n(self) -> int:
        """Number of patients."""

    @property
    def reason(self) -> str | None:
        """Why there is no estimate."""


class Statistics:
    """The rows of a ``statistics`` table by their id; ``repeated`` holds those whose id was there before."""

    def __init__(self, frame: pd.DataFrame) -> None:
        names = [field.name for field in fields(Row)]
        columns = [_plain(frame[name]) for name in names]
        self.rows: tuple[Row, ...] = tuple(
            Row(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)
        )
        self._found: dict[tuple[str, ...], Row] = {}
        self.repeated = tuple(row for row in self.rows if self._found.setdefault(_key(row), row) is not row)

    def get(
        self, section: str, name: str, source: str | None = None, against: str | None = None, stratum: str = ""
    ) -> Row | None:
        """One row by the parts of its id, or None where the analysis has none."""
        return self._found.get((section, name, source or "-", against or "-", stratum))

    def select(self, section: str, quantity: str | None = None, stratum: str | None = None) -> list[Row]:
        """The rows of a section, with a quantity and a stratum where given, in the table's order."""
        return [
            row
            for row in self.rows
            if row.section == section
            and (quantity is None or row.quantity == quantity)
            and (stratum is None or row.stratum == stratum)
        ]

    def sibling(self, row: Row, quantity: str) -> Row | None:
        """Another quantity of the same question."""
        return self.get(row.section, row.key(quantity), row.source, row.against, row.stratum)

    def within(self, row: Row, stratum: str) -> Row | None:
        """The same quantity in another stratum."""
        return self.get(row.section, row.full_name, row.source, row.against, stratum)


class Builder:
    """Rows of ``statistics`` in the order in which they are added.

    ``intervals`` keeps, by ``statistic_id``, how an estimate's interval depends on its level, for the claims of a plan.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self.intervals: dict[str, Callable[[float], Interval]] = {}

    def add(
        self,
        scope: Scope,
        quantity: str,
        estimate: float | None,
        n: int,
        how: Interval | str,
        details: Details = NO_DETAILS,
    ) -> None:
        """Add one number; ``how`` is its interval, or its method where it has none. NaN and None become null.

        An interval of which one limit is not a number has none.
        """
        interval = how if isinstance(how, Interval) else None
        has_limits = interval is not None and math.isfinite(interval.lower) and math.isfinite(interval.upper)
        self._rows.append(
            Row(
                **vars(scope),
                statistic_id=scope.id_of(quantity),
                quantity=quantity,
                role=details.role or ("descriptive" if scope.section in _DESCRIPTIVE else "exploratory"),
                estimate=_finite(estimate),
                lower=interval.lower if interval and has_limits else None,
                upper=interval.upper if interval and has_limits else None,
                level=interval.level if interval and has_limits else None,
                method=interval.method if interval else str(how),
                n=n,
                **{name: value for name, value in vars(details).items() if name not in _COMPUTED},
                p_value=_finite(details.p_value),
                p_adjusted=_finite(details.p_adjusted),
            )
        )

    def statistic(
        self, scope: Scope, quantity: str, result: Statistic, how: Interval | str, details: Details = NO_DETAILS
    ) -> None:
        """Add a computed statistic; its reason joins the note."""
        details = replace(details, note=joined(details.note, result.reason))
        self.add(scope, quantity, result.estimate, result.n, how, details)
        interval_of = getattr(result, "confidence_interval", None)
        if interval_of is not None:
            self.intervals[scope.id_of(quantity)] = interval_of

    def test(self, scope: Scope, quantity: str, test: GroupTest, seed: int, family: Details = NO_DETAILS) -> None:
        """Add a comparison of groups; ``seed`` is kept where the test drew random numbers."""
        no_statistic = None if test.reason or math.isfinite(test.estimate) else "the test gives p without a statistic"
        drawn = seed if "Monte Carlo" in test.test else None
        details = replace(family, p_value=test.p, seed=drawn, note=joined(family.note, no_statistic))
        self.statistic(scope, quantity, test, test.test, details)

    def count(self, scope: Scope, quantity: str, count: int, n: int, note: str | None = None) -> None:
        """Add a number of participants among ``n``."""
        self.add(scope, quantity, count, n, "count", Details(unit="participants", note=note))

    def proportion(
        self, scope: Scope, quantity: str, share: Proportion, note: str | None = None, n: int | None = None
    ) -> None:
        """Add a share with its Wilson interval; ``n`` is the participants used, by default the denominator."""
        details = Details(numerator=share.count, denominator=share.n, note=joined(note, share.reason))
        n = share.n if n is None else n
        self.add(scope, quantity, share.estimate, n, share.confidence_interval(LEVEL), details)
        self.intervals[scope.id_of(quantity)] = share.confidence_interval

    def missing(self, scope: Scope, quantity: str, n: int, method: str, reason: str) -> None:
        """Add a number that cannot be computed, with the reason."""
        self.add(scope, quantity, None, n, method, Details(note=reason))

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows so far."""
        return tuple(self._rows)

    def found(self, statistic_id: str) -> Row | None:
        """The row of an id, or None."""
        return next((row for row in self._rows if row.statistic_id == statistic_id), None)

    def declare(self, statistic_id: str, role: str) -> None:
        """Say of a row that it was declared in this role."""
        self._rows = [replace(row, role=role) if row.statistic_id == statistic_id else row for row in self._rows]

    def frame(self) -> pd.DataFrame:
        """The rows with the contract's columns and types.

        Raises
        ------
        ValueError
            Two rows share a ``statistic_id``.
        """
        repeated = [key for key, count in Counter(row.statistic_id for row in self._rows).items() if count > 1]
        if repeated:
            raise ValueError(f"statistic_id must be unique, got {', '.join(repeated[:5])} more than once.")
        columns = {
            column.name: pd.Series([getattr(row, column.name) for row in self._rows], dtype=_PANDAS_TYPE[column.type])
            for column in STATISTICS.columns
        }
        return pd.DataFrame(columns)


def _key(row: Row) -> tuple[str, ...]:
    """What makes a row unique: the parts of its id."""
    return (row.section, row.full_name, row.source or "-", row.against or "-", row.stratum)


def _plain(column: pd.Series) -> list[Any]:
    """A column's values as int, float, str or None."""
    values = column.astype(object).where(column.notna(), None).tolist()
    return [None if one is None else int(one) for one in values] if column.name in _WHOLE else values


def _finite(value: float | None) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return None if value is None or not math.isfinite(value) else float(value)


def joined(*notes: str | None) -> str | None:
    """Notes that are given, in one text."""
    return "; ".join(note for note in notes if note) or None
