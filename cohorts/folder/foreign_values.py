"""Values as people write them, read as a column is declared: each becomes a value that the cohort folder reads, with
the rule that changed it, or a refusal with its remedy.

Nothing is guessed: where a text has two readings, as 03/04/2024 and 1.234 have, the habit must be declared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cohorts.folder.clinical import BOOLEANS, read_value
from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.foreign_dates import DateOrder, read_date
from cohorts.folder.problems import Read, Refusal, nearest, printable
from cohorts.folder.suspicions import CODE_WORDS, LIKELY_CODE, plain
from cohorts.folder.tsv import MISSING

Decimal = Literal["point", "comma"]

#: What statistics packages and spreadsheets write for missing, and what is never a value.
KNOWN_MISSING = frozenset({"n/a", "na", "nan", "null", "#n/a"})
YES = {"y", "j", "ja", "oui", "si", "sí", "sim", "x", "+", "positive", "present"}
NO = {"n", "nein", "non", "nao", "não", "nee", "negative", "absent"}
_SIGN = str.maketrans("\u2212\u2013", "--")
_BRACKETS = re.compile(r"(?P<core>[^()\[\]]+?)\s*[(\[](?P<remark>.*)[)\]]")
_PARTS = re.compile(r"(?P<sign>[+-]?)(?P<digits>[0-9][0-9.,' \u2019]*|[.,][0-9]+)(?P<power>[eE][+-]?[0-9]{1,2})?")
_GROUPS = re.compile(r"[0-9]{1,3}(?:[.,' \u2019][0-9]{3})+")


@dataclass(frozen=True)
class Habits:
    """How one table writes; None is not declared.

    Attributes
    ----------
    decimal : which sign stands before the decimals
    dates : the order of day, month and year
    missing : further texts and numbers that mean missing
    values : column of the cohort -> text -> what it becomes
    """

    decimal: Decimal | None = None
    dates: DateOrder | None = None
    missing: frozenset[str] = frozenset()
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_foreign(written: str, column: ClinicalColumn, habits: Habits) -> Read | Refusal:
    """Read one cell.

    >>> nihss = ClinicalColumn(column="nihss", read_as="integer", minimum=0, maximum=42)
    >>> read_foreign("12 (aphasia)", nihss, Habits())
    Read(value='12', rule='the remark in brackets is left out')
    >>> read_foreign("", nihss, Habits())
    Read(value='n/a', rule=None)
    """
    declared = habits.values.get(column.column, {})
    if written in declared:
        meant = " ".join(declared[written].split()) or MISSING
        value = MISSING if meant == MISSING else read_value(meant, column)
        return value if isinstance(value, Refusal) else Read(meant, "as declared in values")
    if not written or written == MISSING:
        return Read(MISSING)
    if _is_missing(written, habits):
        return Read(MISSING, f"{printable(written)} is declared as missing")
    is_level = written in column.level_of
    if written.casefold() in KNOWN_MISSING and not is_level and column.read_as != "text":
        return Read(MISSING, f"{printable(written)} means missing")
    found = _read(written, column, habits)
    if isinstance(found, Refusal):
        return found
    value = read_value(found.value, column)
    if isinstance(value, Refusal):
        remedy = f'Check the chart and correct it, or give --value "{column.column}:{written}=n/a".'
        if LIKELY_CODE.fullmatch(found.value):
            remedy = f'If it is a code for missing, give --missing "{written}". {remedy}'
        return Refusal(value.reason, value.rule, remedy)
    return found


def decimal_of(texts: Iterable[str]) -> Decimal | None:
    """Which sign stands before decimals in the numbers of a table: what those say that have one reading only.

    >>> decimal_of(["6,5", "1.234"]), decimal_of(["1,234"]), decimal_of(["6.5", "6,5"])
    ('comma', None, None)
    """
    signs = {sign for text in texts if (sign := _only_sign(text))}
    return ("comma" if signs == {","} else "point") if len(signs) == 1 else None


def _only_sign(text: str) -> str | None:
    """The sign that can only stand before decimals here, None where there is none or it may part thousands."""
    found = _PARTS.fullmatch(_bare(text))
    if found is None:
        return None
    digits = found["digits"]
    signs = [letter for letter in digits if letter in ".,"]
    if len(signs) == 1 and not _may_be_groups(digits):
        return signs[0]
    return signs[-1] if len(set(signs)) == 2 and signs.count(signs[-1]) == 1 else None


def _may_be_groups(digits: str) -> bool:
    """Whether a number may be a whole one with its thousands parted."""
    return _GROUPS.fullmatch(digits) is not None and not digits.startswith("0")


def _bare(text: str) -> str:
    """A number's text without what stands beside it: a remark in brackets."""
    text = unicodedata.normalize("NFKC", text).translate(_SIGN)
    found = _BRACKETS.fullmatch(text)
    return found["core"] if found else text


def _is_missing(written: str, habits: Habits) -> bool:
    """Whether a text was declared as missing, as it stands or as the same number."""
    if written in habits.missing or written.casefold() in {code.casefold() for code in habits.missing}:
        return True
    number = _as_float(written)
    return number is not None and any(_as_float(code) == number for code in habits.missing)


def _as_float(text: str) -> float | None:
    """A plain number with a decimal point or comma, None where it is none."""
    text = text.translate(_SIGN).replace(",", ".")
    return float(text) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", text) else None


def _read(written: str, column: ClinicalColumn, habits: Habits) -> Read | Refusal:
    """Read a cell that is not missing, by its column's kind."""
    if column.read_as in NUMERIC:
        return _number(written, column, habits)
    if column.levels:
        return _level(written, column)
    if column.read_as == "boolean":
        word = written.casefold()
        if word in BOOLEANS:
            return Read(written)
        if word in YES | NO:
            return Read("1" if word in YES else "0", f"{printable(written)} means {'yes' if word in YES else 'no'}")
        return _refused("not_a_boolean", "must be yes or no", written, column)
    if column.read_as == "date":
        return read_date(written, habits.dates)
    if column.read_as == "category" and written.casefold() in CODE_WORDS:
        return _refused("likely_missing_code", "looks like a word for missing", written, column)
    return Read(written)


def _level(written: str, column: ClinicalColumn) -> Read | Refusal:
    """One of the declared levels: as spelt, or the only one that differs in case, accents or punctuation alone."""
    if written in column.level_of:
        level = column.level_of[written]
        return Read(level, None if level == written else "is a spelling of the level")
    names = column.level_of | {
        told: column.level_of[level] for level, told in (column.levels or {}).items() if isinstance(told, str)
    }
    number = _as_float(written)
    alike = {
        level
        for name, level in names.items()
        if plain(name) == plain(written) or (number is not None and _as_float(name) == number)
    }
    if len(alike) == 1:
        return Read(alike.pop(), "is a spelling of the level")
    near = nearest(written, names)
    hint = f"must be one of {', '.join(column.level_titles)}"
    return _refused("unknown_level", hint, written, column, names[near] if near else "VALUE")


def _number(written: str, column: ClinicalColumn, habits: Habits) -> Read | Refusal:
    """A number, with what stands beside it left out under a rule."""
    if written == column.top_code:
        return Read(written)
    if written in column.level_of and _as_float(written) is None:
        return Read(column.level_of[written], "is a spelling of the level")
    text = unicodedata.normalize("NFKC", written).translate(_SIGN)
    rules = ["digits and signs are written plainly"] if text != written else []
    if remark := _BRACKETS.fullmatch(text):
        text = remark["core"]
        rules.append("the remark in brackets is left out")
    if column.unit and text.casefold().endswith(column.unit.casefold()) and len(text) > len(column.unit):
        text = text[: -len(column.unit)].strip()
        rules.append("the unit is left out")
    found = _plain_number(text, habits.decimal)
    if isinstance(found, Refusal):
        return found
    if found is None:
        return _no_number(written, text, column)
    if found.rule:
        rules.append(found.rule)
    return Read(found.value, " and ".join(rules) or None)


def _plain_number(text: str, decimal: Decimal | None) -> Read | Refusal | None:
    """A number in the writing of the cohort folder, None where it is none."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return None
    digits, tail = parts["digits"], parts["power"] or ""
    signs = [letter for letter in digits if letter in ".,"]
    mark = {"comma": ",", "point": "."}.get(decimal or "")
    if len(set(signs)) == 1 and len(signs) == 1 and _may_be_groups(digits) and signs[0] != mark:
        if mark is not None or signs[0] == ",":
            other = digits.replace(signs[0], "")
            rule = f"may be {other} or {digits.replace(signs[0], '.')}"
            remedy = "Give --decimal comma or point, or --value for this cell."
            return Refusal("ambiguous_number", f"must have one reading, and {rule}", remedy)
        mark = "."
    last = signs[-1] if signs and signs.count(signs[-1]) == 1 else None
    whole, _, decimals = digits.rpartition(last) if last else (digits, "", "")
    groups = re.sub(r"[.,]", "", whole)
    if re.search(r"[.,' \u2019]", whole) and not _GROUPS.fullmatch(whole):
        return None
    if re.search(r"[' \u2019]", decimals):
        return None
    plain_whole = re.sub(r"[' \u2019]", "", groups)
    value = f"{parts['sign']}{plain_whole or '0'}{'.' + decimals if decimals else ''}{tail}"
    rules = []
    if last == ",":
        rules.append("the decimal comma is a point")
    if plain_whole != whole:
        rules.append("thousands are not parted")
    return Read(value, " and ".join(rules) or None)


def _no_number(written: str, text: str, column: ClinicalColumn) -> Refusal:
    """Why a text is no number, in the words of its kind."""
    kind = "a whole number" if column.read_as == "integer" else "a number"
    if re.match(r"[<>\u2264\u2265~\u2248]|ca\.?\s|approx", text):
        return _refused("bound_not_number", f"must be {kind}, not a bound or an estimate", written, column)
    if re.fullmatch(r"[0-9.,]+\s*(-|to|bis|/)\s*[0-9.,]+", text):
        return _refused("range_not_number", "must be one number, not two", written, column)
    if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        rule = f"must be {kind}, and a spreadsheet made a date of it, as of 3-4 or 3.4"
        return _refused("spreadsheet_made_a_date", rule, written, column)
    if re.fullmatch(r"[+-]?[0-9][0-9.,]*\s*[^0-9\s.,].*", text) and column.unit:
        rule = f"must be {kind} in {column.unit}"
        return _refused("other_unit", rule, written, column)
    if written.casefold() in CODE_WORDS or "#" in written:
        remedy = f'Give --missing "{written}" if it means missing, or --value for this cell.'
        return Refusal("likely_missing_code", f"must be {kind}", remedy)
    return _refused(f"not_{kind.replace(' ', '_')}", f"must be {kind}", written, column)


def _refused(reason: str, rule: str, written: str, column: ClinicalColumn, value: str = "VALUE") -> Refusal:
    """A refusal that says how to declare what the cell means."""
    return Refusal(reason, rule, f'Correct it in the table, or give --value "{column.column}:{written}={value}".')
