"""The ``statistics`` table as cells that know their id, and how to find the cell that stands beside another."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One row of ``statistics``; null is None."""

    statistic_id: str
    section: str
    quantity: str
    source: str | None
    reference: str | None
    stratum: str
    estimate: float | None
    lower: float | None
    upper: float | None
    level: float | None
    method: str
    unit: str | None
    n: int | None
    n_positive: int | None
    positive_class: str | None
    numerator: int | None
    denominator: int | None
    p_value: float | None
    p_adjusted: float | None
    family: str | None
    note: str | None

    @property
    def head(self) -> str:
        """The quantity without its details: ``auc`` of ``auc:score``, ``score_eq_7`` as it is."""
        return self.quantity.partition(":")[0]

    @property
    def expected_id(self) -> str:
        """The key that the row's own columns give."""
        return "/".join((self.section, self.quantity, self.source or "-", self.reference or "-", self.stratum))

    def must(self, rule: str, found: object) -> str:
        """The message that this cell breaks a rule."""
        return f"{self.statistic_id} must {rule}, got {found}."


@dataclass(frozen=True, eq=False)
class Book:
    """All cells, by their key; ``repeated`` holds the cells whose key was there before."""

    cells: tuple[Cell, ...]
    by_key: dict[tuple[str, str, str | None, str | None, str], Cell]
    repeated: tuple[Cell, ...]

    @classmethod
    def of(cls, statistics: pd.DataFrame) -> Book:
        """Read the cells of a ``statistics`` frame."""
        names = [field.name for field in fields(Cell)]
        columns = [statistics[name].astype(object).where(statistics[name].notna(), None) for name in names]
        cells = tuple(Cell(*values) for values in zip(*columns, strict=True))
        by_key: dict[Any, Cell] = {}
        repeated = []
        for cell in cells:
            if by_key.setdefault(_key(cell), cell) is not cell:
                repeated.append(cell)
        return cls(cells, by_key, tuple(repeated))

    def sibling(self, cell: Cell, quantity: str) -> Cell | None:
        """Another quantity of the same question."""
        return self.by_key.get((cell.section, quantity, cell.source, cell.reference, cell.stratum))

    def within(self, cell: Cell, stratum: str) -> Cell | None:
        """The same quantity in another stratum."""
        return self.by_key.get((cell.section, cell.quantity, cell.source, cell.reference, stratum))


def _key(cell: Cell) -> tuple[str, str, str | None, str | None, str]:
    """What makes a cell unique."""
    return (cell.section, cell.quantity, cell.source, cell.reference, cell.stratum)
