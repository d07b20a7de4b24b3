"""What is allowed and yet most likely not meant: one site spelt twice, codes for missing, quotes, ids without zeros.

Each suspicion is one warning that names the pattern, the rows and the remedy; nothing is changed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.problems import Problem, printable
from cohorts.folder.tsv import MISSING, PREFIX, Row, TsvTable

ROWS_SHOWN = 3
#: Codes of statistics packages and forms for a missing number: one digit 7, 8 or 9 repeated, or a negative number of
#: nines, eights or one.
LIKELY_CODE = re.compile(r"(?:-(?:1|9+|8+|7+)|9{2,}|8{2,}|7{2,})(?:\.0*)?|-?(?:9+\.9+|8+\.8+|7+\.7+)")
#: Besides, where nothing else is near: no measurement, and the last digit of a form's categories.
_ZERO, _LAST_DIGIT = re.compile(r"0(?:\.0*)?"), re.compile(r"[789]|-?\d+")
#: What programs and forms write for a day that is not known: the first days that they count from, and the last ones.
CODE_DAYS = frozenset(
    {"1800-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1901-01-01", "1904-01-01", "1960-01-01", "1970-01-01",
     "1111-11-11", "2999-12-31", "3000-01-01", "8888-08-08", "9999-09-09", "9999-12-31"}
)  # fmt: skip
FIRST_YEAR, LONGEST_AHEAD_YEARS = 1880, 20
FEWEST_PAIRS, LEAST_PAIRED = 3, 0.8  # below, numbers agree by chance
RAREST = 0.05  # expected pairs of participants with these values, were the columns independent
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
            problems += missing_codes(table.name, cells, item)
        elif item is not None and item.read_as == "date":
            problems += _code_days(table.name, cells, column)
        elif column in ("site", "split") or (item is not None and item.read_as == "category" and not item.levels):
            problems += _likely_one_level(table.name, cells, column)
            problems += _code_words(table.name, cells, column)
            problems += _code_levels(table.name, cells, column)
    return [*problems, *_copied_rows(table, by_name)]


def likely_same_ids(strangers: Iterable[str], without: Iterable[str]) -> list[tuple[str, str]]:
    """Pair the ids of two tables that differ in leading zeros, case, accents or punctuation alone.

    Returns
    -------
    (id in one table, id in the other) of those that have exactly one partner.

    >>> likely_same_ids(["sub-001", "sub-2b"], ["sub-1", "sub-7"])
    [('sub-001', 'sub-1')]
    """
    return _partners(_by_plain(strangers), _by_plain(without))


def ids_of_one_number(strangers: Iterable[str], without: Iterable[str]) -> list[tuple[str, str]]:
    """Pair the ids of two tables that have the same number in other letters, where nearly all have a partner.

    >>> ids_of_one_number(["sub-P001", "sub-P002", "sub-P003"], ["sub-1_v1", "sub-2_v1", "sub-3_v1"])
    [('sub-P001', 'sub-1_v1'), ('sub-P002', 'sub-2_v1'), ('sub-P003', 'sub-3_v1')]
    """
    ours, theirs = list(dict.fromkeys(strangers)), list(dict.fromkeys(without))
    best: list[tuple[str, str]] = []
    for mine in (0, -1):
        for other in (0, -1):
            found = _partners(_by_number(ours, mine), _by_number(theirs, other))
            best = max(best, found, key=len)
    return best if len(best) >= max(FEWEST_PAIRS, LEAST_PAIRED * min(len(ours), len(theirs))) else []


def _partners(ours: dict[str, list[str]], theirs: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Those that have exactly one partner."""
    return [(ids[0], theirs[key][0]) for key, ids in ours.items() if len(ids) == 1 == len(theirs.get(key, ()))]


def _by_number(ids: Iterable[str], place: int) -> dict[str, list[str]]:
    """Ids by the first (0) or last (-1) number in them."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in ids:
        if numbers := re.findall(r"[0-9]+", name):
            found[numbers[place].lstrip("0")].append(name)
    return found


def ids_problem(file: str, pairs: Sequence[tuple[str, str]], n_without: int) -> Problem:
    """Return the one warning that names how the ids of ``file`` differ from those of participants.tsv."""
    labels = [tuple(name.removeprefix(PREFIX) for name in pair) for pair in pairs]
    zeros = all(re.sub(r"(?<![0-9])0+(?=[0-9])", "", a) == re.sub(r"(?<![0-9])0+(?=[0-9])", "", b) for a, b in labels)
    how = "after zero-padding" if zeros else "but for case, accents, punctuation or zeros"
    if any(plain(a) != plain(b) for a, b in labels):
        how = "by their numbers alone"
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
        label = re.sub(r"^([0-9]+)\.0+$", r"\1", name.removeprefix(PREFIX))  # a program took the ids for numbers
        found[plain(label)].append(name)
    return found


def missing_codes(file: str, cells: Sequence[tuple[Row, str]], item: ClinicalColumn) -> list[Problem]:
    """Numbers that look like codes for missing: far from all others, within the declared range."""
    numbers = {cell: value for _, cell in cells if (value := _number(cell)) is not None}
    others = [value for cell, value in numbers.items() if not (LIKELY_CODE.fullmatch(cell) or _ZERO.fullmatch(cell))]
    if len(others) < _FEWEST_OTHERS:
        return []
    low, high = min(others), max(others)
    problems = []
    for cell, value in numbers.items():
        is_out = (item.minimum is not None and value < item.minimum) or (
            item.maximum is not None and value > item.maximum
        )
        is_far = max(low - value, value - high) > 2 * (high - low) or value < 0 <= low
        is_code = LIKELY_CODE.fullmatch(cell) or (_ZERO.fullmatch(cell) and value < low)
        if is_code and is_far and not is_out:
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
        if len(found) > 1 and len({_number(cell) for cell in found}) == 1:  # -9 is not 9
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


def _code_levels(file: str, cells: Sequence[tuple[Row, str]], column: str) -> list[Problem]:
    """Levels of a category of digits that lie as far behind the others as codes of forms do."""
    numbers = {cell: value for _, cell in cells if (value := _number(cell)) is not None and _LAST_DIGIT.fullmatch(cell)}
    if len(numbers) < len({cell for _, cell in cells}):
        return []
    is_code = {cell: bool(LIKELY_CODE.fullmatch(cell) or re.fullmatch("[789]", cell)) for cell in numbers}
    others = [value for cell, value in numbers.items() if not is_code[cell]]
    if len(others) < _FEWEST_OTHERS:
        return []
    problems = []
    for cell, value in numbers.items():
        if is_code[cell] and (value < 0 or value - max(others) > 2 * (max(others) - min(others))):
            found = [(row, written) for row, written in cells if written == cell]
            rule = f"looks like a code for missing, and is read as a level ({_rows(found)})"
            remedy = "Write n/a if it is one; declare levels for the column in cohort.toml."
            problems.append(_warning(file, found[0], column, rule, remedy, "likely_missing_code"))
    return problems


def _code_days(file: str, cells: Sequence[tuple[Row, str]], column: str) -> list[Problem]:
    """Days that stand for a day that is not known."""
    latest = datetime.now().year + LONGEST_AHEAD_YEARS
    found: dict[str, list[tuple[Row, str]]] = defaultdict(list)
    for row, cell in cells:
        year = int(cell[:4]) if cell[:4].isdecimal() else FIRST_YEAR
        if cell[:10] in CODE_DAYS or not FIRST_YEAR <= year <= latest:
            found[cell[:10]].append((row, cell))
    return [
        _warning(
            file,
            alike[0],
            column,
            f"looks like a code for missing, and is read as a day ({_rows(alike)})",
            "Write n/a if it is one.",
            "likely_missing_code",
        )
        for alike in found.values()
    ]


def _copied_rows(table: TsvTable, by_name: Mapping[str, ClinicalColumn]) -> list[Problem]:
    """Participants whose clinical values agree in every column, where chance would not do that."""
    columns = [name for name in table.columns if name in by_name]
    counts = {name: Counter(row.cells[name] for row in table.rows) for name in columns}
    n = len(table.rows)
    alike: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in table.rows:
        alike[tuple(row.cells[name] for name in columns)].append(row)
    problems = []
    for values, rows in alike.items():
        if len({row.participant_id for row in rows}) < 2 or all(value == MISSING for value in values):
            continue
        others = [max(1, counts[name][value] - 1) / n for name, value in zip(columns, values, strict=True)]
        if n**2 * math.prod(others) < RAREST:
            told = ", ".join(printable(row.participant_id) for row in rows[1 : ROWS_SHOWN + 1])
            rule = f"must be of one participant; {told} has the same values in all {len(columns)} clinical columns"
            remedy = "Look whether a row was copied, and correct it."
            first = (rows[0], rows[0].participant_id)
            problems.append(_warning(table.name, first, "participant_id", rule, remedy, "same_values"))
    return problems


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
