"""How a table of somebody else is read: its form, its ids, its columns and how its cells are written, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from cohorts.folder.foreign_dates import DateOrder
from cohorts.folder.foreign_table import ForeignTable, TableForm, read_delimited
from cohorts.folder.foreign_values import Decimal, Habits
from cohorts.folder.source import Part


class TableReading(Part):
    """What is declared of one table, whatever becomes of its rows."""

    id: str = Field(description="Column of the file that names the participant")
    id_digits: int | None = Field(None, ge=1, le=64, description="Ids of digits are filled with zeros to this length")
    sheet: str | None = Field(None, description="Sheet of a workbook")
    header_row: int = Field(1, ge=1, description="Row that names the columns")
    separator: str | None = Field(
        None, min_length=1, max_length=1, description="What separates the cells of a text file"
    )
    encoding: str | None = Field(None, description="Encoding of a text file, such as cp1252")
    decimal: Decimal | None = Field(None, description="point or comma, before the decimals")
    dates: DateOrder | None = Field(None, description="dmy, mdy or ymd: the order of day, month and year")
    missing: tuple[str, ...] = Field((), description="Further texts and numbers that mean missing")
    columns: dict[str, str] = Field({}, description="Column of the file -> column of the folder")
    values: dict[str, dict[str, str]] = Field({}, description="Column of the folder -> text -> what it becomes")
    keep_dates: tuple[str, ...] = Field(
        (), description="Columns of the file whose dates are shifted already, or no patient's, beside shifted scans"
    )

    @model_validator(mode="after")
    def _columns_are_once(self) -> Self:
        targets = list(self.columns.values())
        twice = [name for name in dict.fromkeys(targets) if targets.count(name) > 1]
        if twice:
            raise ValueError(f"columns must fill each column once, got {', '.join(twice)} twice. Map one of them.")
        return self

    @property
    def form(self) -> TableForm:
        """What it says of the file's form."""
        return TableForm(self.separator, self.encoding, self.sheet, self.header_row)

    @property
    def habits(self) -> Habits:
        """How its cells are written."""
        return Habits(self.decimal, self.dates, frozenset(self.missing), self.values)


def read_foreign_table(path: Path, form: TableForm) -> ForeignTable:
    """Read a text table or a workbook.

    Raises
    ------
    ForeignTableError
        It cannot be read as it is.
    """
    if not path.suffix.lower().startswith(".xls"):
        return read_delimited(path, form)
    from cohorts.folder.workbook import read_workbook  # only here: it takes long to load

    return read_workbook(path, form)
