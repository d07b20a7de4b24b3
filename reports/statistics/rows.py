"""The builder of ``statistics`` rows: every printed number passes through here, with its n and its positive class.

A *scope* is what several numbers share: section, stratum, source, reference and positive class.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import pandas as pd

from cohorts.tables.schemas import STATISTICS
from reports.estimators.comparison import GroupTest
from reports.estimators.estimate import Interval, Proportion

LEVEL = 0.95  # level of every interval of the report

_PANDAS_TYPE = {"string": "object", "int64": "Int64", "float64": "float64", "bool": "boolean"}


@dataclass(frozen=True)
class Scope:
    """What the numbers of one question share."""

    section: str
    stratum: str
    source: str | None = None
    reference: str | None = None
    n_positive: int | None = None
    positive_class: str | None = None

    def statistic_id(self, quantity: str) -> str:
        """The key ``section/quantity/source/reference/stratum``."""
        return "/".join((self.section, quantity, self.source or "-", self.reference or "-", self.stratum))

    def seed(self, quantity: str, study_seed: int) -> int:
        """A seed of its own for each number, so that adding a source moves no other source's interval."""
        digest = hashlib.sha256(f"{study_seed}/{self.statistic_id(quantity)}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


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


class Rows:
    """Rows of the ``statistics`` contract in the order in which they are added."""

    def __init__(self) -> None:
        self._rows: list[dict[str, object]] = []

    def add(
        self,
        scope: Scope,
        quantity: str,
        estimate: float | None,
        n: int,
        how: Interval | str,
        details: Details = NO_DETAILS,
    ) -> None:
        """Add one number; ``how`` is its interval, or its method where it has none. NaN and None become null."""
        interval = how if isinstance(how, Interval) else None
        self._rows.append(
            {
                "statistic_id": scope.statistic_id(quantity),
                "quantity": quantity,
                "estimate": _finite(estimate),
                "lower": _finite(interval.lower) if interval else None,
                "upper": _finite(interval.upper) if interval else None,
                "level": interval.level if interval and math.isfinite(interval.lower) else None,
                "method": interval.method if interval else how,
                "n": n,
                **asdict(scope),
                **asdict(details),
                "p_value": _finite(details.p_value),
                "p_adjusted": _finite(details.p_adjusted),
            }
        )

    def statistic(
        self, scope: Scope, quantity: str, result: Statistic, how: Interval | str, details: Details = NO_DETAILS
    ) -> None:
        """Add a computed statistic; its reason joins the note."""
        details = replace(details, note=joined(details.note, result.reason))
        self.add(scope, quantity, result.estimate, result.n, how, details)

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

    def missing(self, scope: Scope, quantity: str, n: int, method: str, reason: str) -> None:
        """Add a number that cannot be computed, with the reason."""
        self.add(scope, quantity, None, n, method, Details(note=reason))

    def frame(self) -> pd.DataFrame:
        """The rows with the contract's columns and types.

        Raises
        ------
        ValueError
            Two rows share a ``statistic_id``.
        """
        repeated = [key for key, count in Counter(row["statistic_id"] for row in self._rows).items() if count > 1]
        if repeated:
            raise ValueError(f"statistic_id must be unique, got {', '.join(map(str, repeated[:5]))} more than once.")
        columns = {
            column.name: pd.Series([row[column.name] for row in self._rows], dtype=_PANDAS_TYPE[column.type])
            for column in STATISTICS.columns
        }
        return pd.DataFrame(columns)


def _finite(value: float | None) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return None if value is None or not math.isfinite(value) else float(value)


def joined(*notes: str | None) -> str | None:
    """Notes that are given, in one text."""
    return "; ".join(note for note in notes if note) or None
