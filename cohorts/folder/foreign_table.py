"""A table as somebody else wrote it: rows of named cells, with notes of how its file was read.

A text file may be separated by tabs, semicolons, commas or bars, quoted, of any line ends, in UTF-8, UTF-16 or Windows'
Western European encoding. What cannot be decided is refused and asked for, never guessed.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cohorts.folder.problems import printable
from cohorts.folder.tsv import LARGEST_TABLE

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}
#: Bytes that Windows-1252 does not define: text that has one is of another encoding.
_UNDEFINED_IN_1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
LARGEST_CELL = 1_000_000  # characters: a quote that is never closed would swallow the file


class ForeignTableError(ValueError):
    """A table that cannot be read as it is; the message says what to give or to change."""


@dataclass(frozen=True)
class ForeignRow:
    """One row: its number in an editor, and its cells as text; an empty cell is an empty text."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class ForeignTable:
    """A table with its columns in order, and what was decided when it was read, in words."""

    columns: tuple[str, ...]
    rows: tuple[ForeignRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableForm:
    """What is known of the file's form; None is found out.

    Attributes
    ----------
    separator : one of ``SEPARATORS``
    encoding : a name that Python knows
    sheet : name of a workbook's sheet
    header_row : row of the column names, counted from 1
    """

    separator: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    header_row: int = 1


def read_delimited(path: Path, form: TableForm) -> ForeignTable:
    """Read a text table.

    Raises
    ------
    ForeignTableError
        Its encoding or separator cannot be told, or it has no header.
    """
    if path.stat().st_size > LARGEST_TABLE:
        raise ForeignTableError(f"FILE must have at most {LARGEST_TABLE / 1e6:g} MB. Look whether it is the right one.")
    text, notes = _decoded(path.read_bytes(), form.encoding)
    if not text.strip():
        raise ForeignTableError("FILE must not be empty. Export it again.")
    first, _, rest = text.partition("\n")
    if first.strip().casefold().startswith("sep=") and len(first.strip()) == 5:  # Excel's own first line
        form = TableForm(form.separator or first.strip()[4], form.encoding, form.sheet, form.header_row)
        text = "\n" + rest
        form = TableForm(form.separator, form.encoding, form.sheet, form.header_row + 1)
    separator = form.separator or _separator(text)
    notes.append(f"cells are separated by {SEPARATORS.get(separator, printable(separator))}")
    return table_of(_cells(text, separator), form.header_row, notes)


def table_of(rows: Iterable[tuple[int, Sequence[str]]], header_row: int, notes: Sequence[str] = ()) -> ForeignTable:
    """Make a table of numbered rows of cells.

    Parameters
    ----------
    rows : (number in an editor, cells)
    header_row : number of the row that holds the column names
    notes : what was decided before

    Raises
    ------
    ForeignTableError
        The header is not there or looks like a title, or rows have more cells than the header.
    """
    numbered = [(number, [_tidy(cell) for cell in cells]) for number, cells in rows]
    place = next((at for at, (number, _) in enumerate(numbered) if number == header_row), None)
    if place is None or not any(numbered[place][1]):
        raise ForeignTableError(f"row {header_row} must hold the column names, got nothing. Give --header-row.")
    _, header = numbered[place]
    body = [(number, cells) for number, cells in numbered[place + 1 :] if any(cells)]
    n_used = max(
        (at + 1 for _, cells in [(0, header), *body] for at, cell in enumerate(cells) if cell), default=len(header)
    )
    if sum(map(bool, header)) == 1 and n_used > 1:
        raise ForeignTableError(
            f"row {header_row} must hold the column names, got only {printable(next(filter(None, header)))}. "
            "If it is a title, give --header-row with the number of the row below it that names the columns."
        )
    longer = [number for number, cells in body if any(cells[len(header) :])]
    if longer:
        shown = ", ".join(map(str, longer[:5]))
        raise ForeignTableError(
            f"rows must have at most {len(header)} cells like the header, got more in row {shown}. Look for a "
            "separator inside a cell without quotes, or a missing column name."
        )
    columns, renamed = _column_names(header, body)
    named = [(at, name) for at, name in enumerate(columns) if name]
    records = [
        ForeignRow(number, {name: cells[at] if at < len(cells) else "" for at, name in named}) for number, cells in body
    ]
    return ForeignTable(tuple(name for _, name in named), tuple(records), (*notes, *renamed))


def _column_names(header: Sequence[str], body: Sequence[tuple[int, Sequence[str]]]) -> tuple[list[str], list[str]]:
    """Every column's name, empty for one without any content; and notes of those that got a name here."""
    names: list[str] = []
    notes = []
    seen: Counter[str] = Counter()
    for at, name in enumerate(header):
        if not name:
            if not any(at < len(cells) and cells[at] for _, cells in body):
                names.append("")
                continue
            name = f"column {at + 1}"
            notes.append(f"{name} has no name and is called so")
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
            notes.append(f"a second column of this name is called {printable(name)}")
        names.append(name)
    return names, notes


def _tidy(cell: str) -> str:
    """A cell without line ends, blanks at its ends and blanks in a row."""
    return " ".join(cell.replace("\ufeff", "").replace("\u200b", "").split())


def _decoded(content: bytes, encoding: str | None) -> tuple[str, list[str]]:
    """The text of a file, and how it was encoded where that is not UTF-8."""
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff"), [f"text is read as {encoding}"]
        except (UnicodeDecodeError, LookupError) as error:
            raise ForeignTableError(f"--encoding must be that of FILE, got {encoding} ({error}). Correct it.") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16"), ["text is UTF-16"]
    if b"\0" in content[:2000]:
        for name, place in (("utf-16-le", 1), ("utf-16-be", 0)):
            if content[place:200:2].count(0) > len(content[place:200:2]) // 2:
                return content.decode(name), [f"text is {name.upper()} without a mark"]
        raise ForeignTableError("FILE must be a text table or .xlsx, got a binary file. Save it as .csv or .xlsx.")
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        if _UNDEFINED_IN_1252 & set(content):
            raise ForeignTableError(
                f"FILE must be UTF-8 text, got byte 0x{content[error.start]:02x}. Give --encoding, such as cp1250 or "
                "mac-roman."
            ) from None
        text = content.decode("cp1252")
        word = next(word for word in text.replace(";", " ").replace(",", " ").split() if not word.isascii())
        return text, [
            f"text is not UTF-8 and is read as Windows-1252, such as {printable(word)}; --encoding changes it"
        ]


def _cells(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Rows of cells, each with the number of its first line."""
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    rows = []
    number = 1
    try:
        for cells in reader:
            rows.append((number, cells))
            number = reader.line_num + 1
    except csv.Error as error:
        raise ForeignTableError(
            f"FILE must be a table of cells, got a damaged one near row {number} ({error}). Look for a quote that is "
            "never closed."
        ) from None
    return rows


def _separator(text: str) -> str:
    """The only separator under which the rows have several cells, and as many as the header."""
    fitting: dict[str, bool] = {}
    for separator in SEPARATORS:
        widths = [len(cells) for _, cells in _cells(text, separator) if any(cells)]
        if max(widths, default=1) > 1:
            fitting[separator] = len(set(widths)) == 1
    even = [separator for separator, is_even in fitting.items() if is_even]
    if len(even) == 1:
        return even[0]
    if len(fitting) == 1:
        return next(iter(fitting))
    if not fitting:
        return ","  # one column: the checks of its content say what is missing
    found = " or ".join(SEPARATORS[separator] for separator in even or fitting)
    raise ForeignTableError(f"cells may be separated by {found}. Give --separator.")
