"""What a table's contract is made of (columns with type, unit, meaning and range), and rows that keep its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Batch = dict[str, list[Any]]
ColumnType = Literal["string", "int64", "float64", "bool", "date", "grade"]


@dataclass(frozen=True)
class Column:
    """One column: its type, unit, meaning and what its values may be.

    A ``date`` is a day or a moment, a day alone stands at 00:00; a ``grade`` is text whose ``allowed`` values are in
    order, the least first.
    """

    name: str
    type: ColumnType
    description: str
    unit: str = ""
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """One table: what a row is, its unique key, and its columns in order."""

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    tsv_twin: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


def text(name: str, description: str, *, nullable: bool = False, allowed: tuple[str, ...] | None = None) -> Column:
    """A text column."""
    return Column(name, "string", description, nullable=nullable, allowed=allowed)


def number(
    name: str,
    description: str,
    unit: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Column:
    """A column of floats; null where nothing was measured."""
    return Column(name, "float64", description, unit, True, minimum, maximum)


def count(name: str, description: str, unit: str = "", *, maximum: float | None = None) -> Column:
    """A column of integers; null where nothing was counted."""
    return Column(name, "int64", description, unit, True, 0, maximum)


def flag(name: str, description: str, *, nullable: bool = False) -> Column:
    """A column of yes and no."""
    return Column(name, "bool", description, nullable=nullable)


class Rows:
    """Columns being filled, in the order and with the names of one contract; what is not given is null."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.columns: Batch = {name: [] for name in table.names}

    def add(self, **values: Any) -> None:
        """Add one row."""
        for name, column in self.columns.items():
            column.append(values.pop(name, None))
        if values:
            raise TypeError(f"table {self._table.name} has no column {', '.join(values)}")
