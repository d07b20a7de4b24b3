"""Reading the tab-separated tables of a cohort folder by the spellings of BIDS.

A table has a header, one row per line and ``n/a`` for a missing value. A byte order mark and CRLF line ends are
tolerated; an empty cell is missing, with a warning. ``participant_id`` may be written with or without ``sub-``.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cohorts.folder.problems import Problem, did_you_mean, nearest, printable

MISSING = "n/a"
PREFIX = "sub-"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # BIDS allows letters and digits; sites also use . _ -
LONGEST_LABEL = 64  # a label names a folder of the output
LARGEST_TABLE = 200_000_000  # bytes: a hundred times the largest cohort


@dataclass(frozen=True)
class Row:
    """One line of a table: its number in an editor, whose it is, and its cells as written.

    ``is_damaged`` rows have more or fewer cells than the header; all their cells read as missing.
    """

    number: int
    participant_id: str
    cells: dict[str, str]
    is_damaged: bool = False


@dataclass(frozen=True)
class TsvTable:
    """A table whose header could be read."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Header:
    """The columns that a table must and may have.

    ``is_open`` tables may hold further columns, with a warning, and are read even where a required one is missing.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    is_open: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """Every column that has a meaning."""
        return self.required + self.optional


def as_participant_id(written: str) -> str:
    """Return the pseudonym with its prefix.

    >>> as_participant_id("017"), as_participant_id("sub-017")
    ('sub-017', 'sub-017')
    """
    return written if written.startswith(PREFIX) else PREFIX + written


def is_valid_participant_id(participant_id: str) -> bool:
    """Whether the pseudonym can safely name a folder.

    >>> is_valid_participant_id("sub-017"), is_valid_participant_id("sub-<script>"), is_valid_participant_id("sub-..")
    (True, False, False)
    """
    label = participant_id.removeprefix(PREFIX)
    return len(label) <= LONGEST_LABEL and LABEL.fullmatch(label) is not None


def read_tsv(folder: Path, name: str, header: Header) -> tuple[TsvTable | None, list[Problem]]:
    """Read one table of a cohort folder.

    Returns
    -------
    The table, None where its header cannot be used; and every problem of its form (not of its values).
    """
    text, problem = read_text(folder, name)
    if text is None:
        return None, [problem] if problem else []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    columns = tuple(column.strip() for column in lines[0].split("\t"))
    problems, is_usable = _check_header(name, lines[0], columns, header)
    if not is_usable:
        return None, problems
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        row, row_problems = _read_row(name, number, line, columns)
        problems += row_problems
        if row is not None:
            rows.append(row)
    table, warnings = _fill_missing(TsvTable(name, columns, tuple(rows)))
    return table, problems + warnings


def read_text(folder: Path, name: str, *, limit: int = LARGEST_TABLE) -> tuple[str | None, Problem | None]:
    """Read a text file of a cohort folder, or say why not; an empty one is a problem, or one beyond ``limit`` bytes."""

    def refuse(rule: str, remedy: str, reason: str) -> tuple[None, Problem]:
        return None, Problem(name, None, None, None, rule, remedy, reason)

    try:
        found = (folder / name).stat()  # before opening: a pipe would wait for ever, a device never end
        if stat.S_ISDIR(found.st_mode):
            return refuse("must be a file, got a folder", "Put the file itself at this place.", "path_is_folder")
        if not stat.S_ISREG(found.st_mode):
            return refuse("must be an ordinary file", "Copy the table itself to this place.", "not_a_file")
        if found.st_size > limit:
            rule = f"must have at most {limit / 1e6:g} MB, got {found.st_size / 1e6:.1f} MB"
            return refuse(rule, "Look whether this is the right file.", "file_too_large")
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        return refuse("must exist", "Add the file; 'aspects init' writes an example of it.", "file_missing")
    except OSError as error:
        return refuse("must be a readable file", f"Opening it failed: {error.strerror}.", "file_unreadable")
    if not content.strip():
        return refuse("must not be empty", "Restore its content from your data export.", "file_empty")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return refuse("must be UTF-8 text, got UTF-16", "Save it again as UTF-8 text.", "not_utf8")
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        return refuse(
            f"must be UTF-8 text, got byte 0x{byte:02x} in row {line}", "Save it again as UTF-8 text.", "not_utf8"
        )


def _check_header(name: str, line: str, columns: tuple[str, ...], header: Header) -> tuple[list[Problem], bool]:
    """Check the header; whether the rows below it can be read."""

    def found(column: str | None, rule: str, remedy: str, reason: str, *, is_warning: bool = False) -> Problem:
        return Problem(name, 1, column, None, rule, remedy, reason, is_warning=is_warning)

    spare = [column for column in columns if column and column not in header.known]
    if "participant_id" not in columns:
        for separator, word in ((",", "commas"), (";", "semicolons")):
            if "\t" not in line and separator in line:
                rule = f"must be separated by tabs, got {word}"
                remedy = "Save it again as tab-separated text (.tsv), or bring it in by 'aspects import-table'."
                return [found(None, rule, remedy, "not_tab_separated")], False
        if '"participant_id"' in columns:
            rule = "must be written without quotes, got cells in double quotes"
            remedy = "Write it again without quotes (in R: quote = FALSE), or bring it in by 'aspects import-table'."
            return [found(None, rule, remedy, "quoted_cells")], False
        rule = f"must have the column participant_id, got {', '.join(map(printable, columns[:12]))}"
        remedy = _misspelt("participant_id", spare) + "Put the column names in row 1."
        return [found(None, rule, remedy, "missing_column")], False
    problems = [
        found(column, "must be there", _misspelt(column, spare) + "Add the column.", "missing_column")
        for column in header.required
        if column not in columns
    ]
    problems += [
        found(column, f"must occur once, got {count} times", "Rename or delete one of them.", "duplicate_column")
        for column, count in Counter(columns).items()
        if count > 1 and column
    ]
    if "" in columns:
        rule, remedy = "must have a name; it is not read", "Name the column or delete it."
        problems.append(found(str(columns.index("") + 1), rule, remedy, "unnamed_column", is_warning=True))
    if header.is_open:
        rule, last = "must be declared to be used; it is not read", "Declare it in cohort.toml, or leave it."
    else:
        rule, last = f"must be one of {', '.join(header.known)}", "Rename or delete the column."
    problems += [
        found(column, rule, did_you_mean(column, header.known) + last, "unknown_column", is_warning=header.is_open)
        for column in dict.fromkeys(spare)
    ]
    fatal = {"duplicate_column"} if header.is_open else {"duplicate_column", "missing_column"}
    return problems, not any(problem.reason in fatal for problem in problems)


def _misspelt(column: str, spare: list[str]) -> str:
    """Return the sentence that points to an unused column with almost the wanted name, or nothing."""
    near = nearest(column, spare)
    return f"Is it misspelt as {printable(near)}? " if near else ""


def _read_row(name: str, number: int, line: str, columns: tuple[str, ...]) -> tuple[Row | None, list[Problem]]:
    """Read one line; None where it names no participant."""
    cells = [cell.strip() for cell in line.split("\t")]
    place = columns.index("participant_id")
    written = cells[place] if place < len(cells) else ""
    if written in ("", MISSING):
        rule, remedy = "must be given in every row", "Write the participant's pseudonym, or delete the row."
        return None, [Problem(name, number, "participant_id", written, rule, remedy, "missing_participant_id")]
    participant_id = as_participant_id(written)
    problems = []
    if not is_valid_participant_id(participant_id):
        rule = (
            f"must be letters, digits and . _ - after sub-, beginning with a letter or digit, at most {LONGEST_LABEL}"
        )
        remedy = "Rename the participant in every file."
        problems.append(
            Problem(name, number, "participant_id", written, rule, remedy, "invalid_participant_id", participant_id)
        )
    if len(cells) != len(columns):
        rule = f"must have {len(columns)} cells like the header, got {len(cells)}"
        remedy = "Look for a missing or surplus tab; write n/a for a missing value."
        problems.append(Problem(name, number, None, None, rule, remedy, "wrong_number_of_cells", participant_id))
        missing = dict.fromkeys(columns, MISSING)
        return Row(number, participant_id, missing, is_damaged=True), problems
    return Row(number, participant_id, dict(zip(columns, cells, strict=True))), problems


def _fill_missing(table: TsvTable) -> tuple[TsvTable, list[Problem]]:
    """Read empty cells and ``N/A`` as missing, with one warning per column."""
    warnings = []
    for column in dict.fromkeys(table.columns):
        other = [row for row in table.rows if row.cells[column] == "" or row.cells[column] == "N/A"]
        for row in other:
            row.cells[column] = MISSING
        if other and column:
            count = f"{len(other)} cells are" if len(other) > 1 else "1 cell is"
            rule = f"must be n/a where missing; {count} empty or N/A and read as n/a"
            warnings.append(
                Problem(table.name, other[0].number, column, None, rule, "Write n/a.", "empty_cell", is_warning=True)
            )
    return table, warnings
