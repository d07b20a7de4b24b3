"""Reading a sheet of an Excel workbook (.xlsx): dates as dates, numbers with the zeros that are shown in front."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from cohorts.folder.foreign_table import ForeignTable, ForeignTableError, TableForm, table_of
from cohorts.folder.problems import printable
from cohorts.folder.tsv import LARGEST_TABLE

SUFFIXES = (".xlsx", ".xlsm")
_ZEROS = re.compile(r"0+")  # the number format of ids with zeros in front


def read_workbook(path: Path, form: TableForm) -> ForeignTable:
    """Read one sheet.

    Raises
    ------
    ForeignTableError
        It is no workbook, its sheet is not named where several have content, or a formula has no stored result.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST_TABLE:
                raise ForeignTableError("FILE must unpack to at most 200 MB. Delete what is not needed from it.")
        shown = openpyxl.load_workbook(path, data_only=True)
        written = openpyxl.load_workbook(path, data_only=False)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError) as error:
        raise ForeignTableError(
            f"FILE must be an Excel workbook (.xlsx), got one that cannot be opened ({type(error).__name__}). If it "
            "has a password, save it without; if it is an old .xls, save it as .xlsx."
        ) from None
    filled = [sheet.title for sheet in shown.worksheets if sheet.max_row > 1 or sheet.max_column > 1]
    if form.sheet is None and len(filled) != 1:
        named = ", ".join(map(printable, filled)) or "none with content"
        raise ForeignTableError(f"the sheet must be named where a workbook has several, got {named}. Give --sheet.")
    name = form.sheet or filled[0]
    if name not in shown.sheetnames:
        raise ForeignTableError(f"--sheet must be one of {', '.join(map(printable, filled))}, got {printable(name)}.")
    sheet, formulas = shown[name], written[name]
    notes = [f"sheet {printable(name)}", *_hidden(sheet)]
    merged = [area.coord for area in sheet.merged_cells.ranges if area.max_row > form.header_row]
    if merged:
        raise ForeignTableError(
            f"cells must not be merged below the header, got {', '.join(merged[:3])}. Only the first of merged cells "
            "has a value: split them, and fill in each."
        )
    _check_results(sheet, formulas)
    return table_of(_rows(sheet), form.header_row, notes)


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Every row's number and its cells as text."""
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        yield number, [_text(cell) for cell in cells]


def _text(cell: Any) -> str:
    """A cell as a table in text would have it."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return (
            value.date().isoformat()
            if value.time() == dt.time()
            else value.isoformat(timespec="seconds" if value.second else "minutes")
        )
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return str(value)
    if isinstance(value, int | float):
        whole = float(value).is_integer() and abs(value) < 1e15
        text = str(int(value)) if whole else format(value, ".15g")  # Excel itself keeps 15 digits
        return text.zfill(len(cell.number_format)) if whole and _ZEROS.fullmatch(cell.number_format or "") else text
    return str(value)


def _hidden(sheet: Any) -> list[str]:
    """Say that rows or columns are hidden: they are read like the others."""
    rows = [number for number, at in sheet.row_dimensions.items() if at.hidden]
    columns = [letter for letter, at in sheet.column_dimensions.items() if at.hidden]
    notes = [f"{len(rows)} hidden rows are read like the others"] if rows else []
    return notes + ([f"hidden columns are read like the others: {', '.join(columns[:5])}"] if columns else [])


def _check_results(sheet: Any, formulas: Any) -> None:
    """Refuse formulas whose result was never stored, as by a program that is no spreadsheet."""
    empty = [
        cell.coordinate
        for row in formulas.iter_rows()
        for cell in row
        if cell.data_type == "f" and sheet[cell.coordinate].value is None
    ]
    if empty:
        raise ForeignTableError(
            f"formulas must have a stored result, got none in {', '.join(empty[:3])}"
            f"{', ...' if len(empty) > 3 else ''}. Open the file in a spreadsheet, save it, and import it again."
        )
