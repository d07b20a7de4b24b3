"""What is allowed and yet most likely not meant: one site spelt twice, codes for missing, quotes, ids without zeros.

Each suspicion is one warning that names the pattern, the rows and the remedy; nothing is changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.problems import Problem, printable
from cohorts.folder.tsv import MISSING, PREFIX, Row, TsvTable

ROWS_SHOWN = 3
#: Codes of statistics packages and forms for a missing number: one digit 7, 8 or 9 repeated, or a negative number of
#: nines, eights or one.
LIKELY_CODE = re.compile(r"(?:-(?:1|9+|8+|7+)|9{2,}|8{2,}|7{2,})(?:\.0*)?")
_FEWEST_OTHERS = 3  # values beside a code, below which nothing is known of what is usual
CODE_WORDS = frozenset(
    {"na", "nan", "null", "none", "nil", "missing", "unknown", "unk", "-", "--", ".", "?", "#n/a", "k.a.", "nd", "n.d."}
)


def plain(text: str) -> str:
    """Return a text without case, accents, blanks, punctuation and leading zeros: what spellings of one thing share.

    >>> plain("Hôpital  Nord-01") == plain("hopital nord 1"), plain("site 1") == plain("site 10")
    (True, False)
    """
    letters = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(letter for letter in letters if letter.isalnum())
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", kept)


def suspicious_values(table: TsvTable, clinical: Iterable[ClinicalColumn]) -> list[Problem]:
    """Return the warnings about the values of ``participants.tsv``."""
    problems = []
    by_name = {item.column: item for item in clinical}
    for column in dict.fromkeys(table.columns):
        cells = [(row, row.cells[column]) for row in table.rows if row.cells[column] != MISSING]
        quoted = [(row, cell) for row, cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
        if quoted:
            rule = f"must be written without double quotes, which are read as part of the value ({_rows(quoted)})"
            remedy = "Write the table again without quotes; in R, quote = FALSE."
            problems.append(_warning(table.name, quoted[0], column, rule, remedy, "quoted_cells"))
        item = by_name.get(column)
        if item is not None and item.read_as in NUMERIC:
            problems += _missing_codes(table.name, cells, item)
        elif column in ("site", "split") or (item is not None and item.read_as == "category" and not item.levels):
            problems += _likely_one_level(table.name, cells, column)
            problems += _code_words(table.name, cells, column)
    return problems


def likely_same_ids(strangers: Iterable[str], without: Iterable[str]) -> list[tuple[str, str]]:
    """Pair the ids of two tables that differ in leading zeros, case, accents or punctuation alone.

    Returns
    -------
    (id in one table, id in the other) of those that have exactly one partner.

    >>> likely_same_ids(["sub-001", "sub-2b"], ["sub-1", "sub-7"])
    [('sub-001', 'sub-1')]
    """
    ours, theirs = _by_plain(strangers), _by_plain(without)
    return [(ids[0], theirs[key][0]) for key, ids in ours.items() if len(ids) == 1 == len(theirs.get(key, ()))]


def ids_problem(file: str, pairs: Sequence[tuple[str, str]], n_without: int) -> Problem:
    """Return the one warning that names how the ids of ``file`` differ from those of participants.tsv."""
    labels = [tuple(name.removeprefix(PREFIX) for name in pair) for pair in pairs]
    zeros = all(re.sub(r"(?<![0-9])0+(?=[0-9])", "", a) == re.sub(r"(?<![0-9])0+(?=[0-9])", "", b) for a, b in labels)
    how = "after zero-padding" if zeros else "but for case, accents, punctuation or zeros"
    shown = ", ".join(f"{printable(b)} is {printable(a)}" for a, b in pairs[:ROWS_SHOWN])
    more = ", ..." if len(pairs) > ROWS_SHOWN else ""
    rule = f"must be spelt as in {file}; {len(pairs)} of {n_without} ids match {how} ({shown}{more})"
    remedy = "Write the ids in one way in all tables."
    if zeros:
        remedy = f"Write the zeros back in {'participants.tsv' if len(labels[0][0]) > len(labels[0][1]) else file}; a "
        remedy += "spreadsheet takes them away unless the column is text."
    return Problem(
        "participants.tsv", None, "participant_id", None, rule, remedy, "ids_spelt_otherwise", is_warning=True
    )


def _by_plain(ids: Iterable[str]) -> dict[str, list[str]]:
    """Ids by what their spellings share."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(ids):
        found[plain(name.removeprefix(PREFIX))].append(name)
    return found


def _missing_codes(file: str, cells: Sequence[tuple[Row, str]], item: ClinicalColumn) -> list[Problem]:
    """Numbers that look like codes for missing: far from all others, within the declared range."""
    numbers = {cell: value for _, cell in cells if (value := _number(cell)) is not None}
    others = [value for cell, value in numbers.items() if not LIKELY_CODE.fullmatch(cell)]
    if len(others) < _FEWEST_OTHERS:
        return []
    low, high = min(others), max(others)
    problems = []
    for cell, value in numbers.items():
        is_out = (item.minimum is not None and value < item.minimum) or (
            item.maximum is not None and value > item.maximum
        )
        is_far = max(low - value, value - high) > 2 * (high - low) or value < 0 <= low
        if LIKELY_CODE.fullmatch(cell) and is_far and not is_out:
            found = [(row, written) for row, written in cells if written == cell]
            rule = f"looks like a code for missing, far from all others ({low:g} to {high:g}), and is read as a number"
            remedy = "Write n/a if it is one; declare minimum and maximum for the column in cohort.toml."
            problems.append(
                _warning(file, found[0], item.column, f"{rule} ({_rows(found)})", remedy, "likely_missing_code")
            )
    return problems


def _likely_one_level(file: str, cells: Sequence[tuple[Row, str]], column: str) -> list[Problem]:
    """Values of a category that are most likely one."""
    spellings: dict[str, dict[str, list[tuple[Row, str]]]] = defaultdict(lambda: defaultdict(list))
    shared = {cell: plain(cell) or cell for cell in {cell for _, cell in cells}}
    for row, cell in cells:
        spellings[shared[cell]][cell].append((row, cell))
    problems = []
    for found in spellings.values():
        if len(found) > 1:
            often = sorted(found, key=lambda cell: -len(found[cell]))
            told = " and ".join(f"{printable(cell)} ({_rows(found[cell])})" for cell in often)
            rule, remedy = f"must have one spelling; {told} are most likely one", "Write one of them everywhere."
            problems.append(_warning(file, found[often[-1]][0], column, rule, remedy, "likely_one_level"))
    return problems


def _code_words(file: str, cells: Sequence[tuple[Row, str]], column: str) -> list[Problem]:
    """Words for missing that are read as a value."""
    found = [(row, cell) for row, cell in cells if cell.casefold() in CODE_WORDS]
    if not found:
        return []
    rule = f"looks like a word for missing, and is read as a value ({_rows(found)})"
    return [_warning(file, found[0], column, rule, "Write n/a if it is missing.", "likely_missing_code")]


def _warning(file: str, first: tuple[Row, str], column: str, rule: str, remedy: str, reason: str) -> Problem:
    """Return a warning about several cells, shown at the first of them."""
    return Problem(file, first[0].number, column, first[1], rule, remedy, reason, is_warning=True)


def _rows(found: Sequence[tuple[Row, str]]) -> str:
    """Say in how many rows, and the first of them."""
    return rows_text([row.number for row, _ in found])


def rows_text(numbers: Sequence[int]) -> str:
    """Name rows: all where they are few, else the first and how many.

    >>> rows_text([2]), rows_text([2, 3, 4]), rows_text([2, 5, 9, 11])
    ('row 2', 'rows 2 to 4', '4 rows: 2, 5, 9, ...')
    """
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    if all(later - earlier == 1 for earlier, later in pairwise(numbers)):
        return f"rows {numbers[0]} to {numbers[-1]}"
    shown = ", ".join(map(str, numbers[:ROWS_SHOWN]))
    return f"rows {shown}" if len(numbers) <= ROWS_SHOWN else f"{len(numbers)} rows: {shown}, ..."


def _number(written: str) -> float | None:
    """A plain number, None where it is none."""
    return float(written) if re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", written) else None
