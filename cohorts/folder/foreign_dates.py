"""Dates as people write them, with the order of day, month and year declared where it can be read in two ways."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Literal

from cohorts.folder.problems import Read, Refusal

DateOrder = Literal["dmy", "mdy", "ymd"]
#: First letters that tell the months apart in English, German, French, Spanish, Italian, Portuguese and Dutch.
_MONTHS = (
    ("jan", "jän", "ene", "gen", "janv"),
    ("feb", "fév", "fev"),
    ("mar", "mär", "mrz", "maa", "mrt"),
    ("apr", "avr", "abr"),
    ("may", "mai", "mag", "mei"),
    ("jun", "juin", "giu"),
    ("jul", "juil", "lug"),
    ("aug", "aoû", "aou", "ago"),
    ("sep", "set"),
    ("oct", "okt", "ott", "out"),
    ("nov",),
    ("dec", "dez", "déc", "dic"),
)
_ISO = re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})(?P<time>.*)")
_NUMBERS = re.compile(r"(?P<a>[0-9]{1,4})\s?[./-]\s?(?P<b>[0-9]{1,2})\s?[./-]\s?(?P<c>[0-9]{1,4})\.?(?P<time>\s.*)?")
_WORDS = re.compile(
    r"(?:(?P<d>[0-9]{1,2})(?:st|nd|rd|th|\.)?[\s-]*(?P<m>[^\W\d_]+)\.?|(?P<m2>[^\W\d_]+)\.?\s+(?P<d2>[0-9]{1,2})"
    r"(?:st|nd|rd|th)?)[\s,-]*(?P<y>[0-9]{4}|[0-9]{2})(?P<time>\s.*)?"
)
_TIME = re.compile(
    r"[T\s]*(?P<h>[0-9]{1,2}):(?P<min>[0-9]{2})(?::(?P<s>[0-9]{2})(?:[.,]0+)?)?\s*(?P<half>[AaPp]\.?[Mm]\.?)?(?:\s*(?:Uhr|h))?"
)


def read_date(written: str, order: DateOrder | None) -> Read | Refusal:
    """Read a date or a date with its time as ISO writes it.

    >>> read_date("31.05.2024", None).value, read_date("03/04/2024 2:05 pm", "dmy").value
    ('2024-05-31', '2024-04-03T14:05')
    >>> read_date("03/04/2024", None).reason
    'ambiguous_date'
    """
    parts = _parts(written, order)
    if isinstance(parts, Refusal):
        return parts
    year, month, day, clock, is_short = parts
    try:
        day_of = date(year, month, day)
    except ValueError:
        return Refusal("not_a_date", "must be a day of the calendar", _REMEDY)
    try:
        moment = _clock(clock)
    except ValueError:
        return Refusal("not_a_date", "must be a date, with or without a time such as 14:05", _REMEDY)
    value = day_of.isoformat()
    if moment is not None:
        value += f"T{moment.isoformat('seconds' if moment.second else 'minutes')}"
    if value == written.replace(" ", "T"):
        return Read(value)
    return Read(value, "the date is written as ISO" + (", its two-digit year completed" if is_short else ""))


_REMEDY = "Correct it in the table, or give --value for this cell."
_Parts = tuple[int, int, int, str, bool]


def is_ambiguous_date(written: str) -> bool:
    """Whether a text has two readings as a date."""
    found = read_date(written, None)
    return isinstance(found, Refusal) and found.reason == "ambiguous_date"


def is_date(written: str) -> bool:
    """Whether a text is a day of the calendar in any order of day, month and year."""
    orders: tuple[DateOrder, ...] = ("dmy", "mdy", "ymd")
    return any(isinstance(read_date(written, order), Read) for order in orders)


def _parts(written: str, order: DateOrder | None) -> _Parts | Refusal:
    """Year, month, day, the rest, and whether the year had two digits."""
    if found := _ISO.fullmatch(written):
        return int(found["y"]), int(found["m"]), int(found["d"]), found["time"], False
    if found := _WORDS.fullmatch(written):
        month = month_of(found["m"] or found["m2"])
        if month:
            year, is_short = _year(found["y"])
            return year, month, int(found["d"] or found["d2"]), found["time"] or "", is_short
    found = _NUMBERS.fullmatch(written)
    if found is None:
        if order == "ymd" and re.fullmatch(r"[0-9]{8}", written):
            return int(written[:4]), int(written[4:6]), int(written[6:]), "", False
        if re.fullmatch(r"[34][0-9]{4}(\.[0-9]+)?", written):
            rule = "must be a date, and looks like a spreadsheet's count of days"
            return Refusal("spreadsheet_day_number", rule, "Format the column as a date, and export it again.")
        rule = "must be a date such as 2024-05-31, 31.05.2024 or 31 May 2024"
        return Refusal("not_a_date", rule, _REMEDY)
    return _numbers(found, order)


def _numbers(found: re.Match[str], order: DateOrder | None) -> _Parts | Refusal:
    """Three numbers in their order; without one declared, only what has one reading."""
    a, b, c, clock = found["a"], found["b"], found["c"], found["time"] or ""
    if len(a) == 4:
        return int(a), int(b), int(c), clock, False
    if len(a) == 3 or len(c) in (1, 3):
        return Refusal("not_a_date", "must be a date with a year of two or four digits", _REMEDY)
    if len(c) == 2 and order is None:
        return Refusal("ambiguous_date", "must have one reading, and its year may be first or last", _ORDER)
    if order == "ymd":
        if len(c) == 4:
            return Refusal("not_a_date", "must begin with the year, as declared by ymd", _REMEDY)
        year, is_short = _year(a)
        return year, int(b), int(c), clock, is_short
    first, second = int(a), int(b)
    if order is None and first <= 12 and second <= 12 and first != second:
        return Refusal("ambiguous_date", "must have one reading, and may be day/month or month/day", _ORDER)
    is_month_first = order == "mdy" or (order is None and second > 12)
    day, month = (second, first) if is_month_first else (first, second)
    if month > 12:
        return Refusal("not_a_date", f"must have a month up to 12 in the declared order ({order})", _REMEDY)
    year, is_short = _year(c)
    return year, month, day, clock, is_short


_ORDER = "Give --dates dmy, mdy or ymd."


def _year(text: str) -> tuple[int, bool]:
    """A year of four digits; one of two is of this century up to the present year, else of the last."""
    if len(text) == 4:
        return int(text), False
    century = datetime.now().year // 100 * 100
    year = century + int(text)
    return (year if year <= datetime.now().year else year - 100), True


def month_of(word: str) -> int:
    """Number of a month by its name, 0 where it is none."""
    name = word.casefold()
    return next((at for at, starts in enumerate(_MONTHS, 1) if name.startswith(starts)), 0)


def _clock(text: str) -> time | None:
    """The time of day, None where none is given.

    Raises
    ------
    ValueError
        The text is no time.
    """
    if not text.strip():
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    hour, half = int(found["h"]), (found["half"] or "").casefold().replace(".", "")
    if half and not 1 <= hour <= 12:
        raise ValueError(text)
    hour = hour % 12 + (12 if half == "pm" else 0) if half else hour
    return time(hour, int(found["min"]), int(found["s"] or 0))
