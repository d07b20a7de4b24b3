"""True dates beside scans whose dates were shifted: one gives the patient's shift away, and intervals are wrong.

An import moves all dates of a patient by one number of days that only its key knows. So whatever else comes in of the
same patient is moved by the same days where key and link table are at hand, and left out or refused where they are not.
Times of day are not shifted.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.folder.foreign_dates import is_date, month_of
from cohorts.folder.problems import Read, Refusal
from cohorts.folder.scans import sidecar_path
from cohorts.folder.tsv import MISSING

#: What an import leaves in the cohort folder, see ``cohorts.dicom.register``.
REGISTER_FILE = "import_register.json"
#: In the sidecar of a scan whose dates are shifted (DICOM attribute 0028,0303).
MODIFIED = ("LongitudinalTemporalInformationModified", "MODIFIED")
TRUE_DATE, DATE_IN_TEXT = "true_date_beside_shifted", "date_in_text"

_NUMBERS = re.compile(r"(?<![\d.])\d{1,4}(?P<sign>[./-])\s?\d{1,2}(?P=sign)\s?\d{1,4}(?![\d.]?\d)")
_MONTHS = re.compile(
    r"(?<!\d)(?:(?:0?[1-9]|1[0-2])[./-](?:19|20)\d{2}|(?:19|20)\d{2}[./-](?:0[1-9]|1[0-2]))(?![./-]?\d)"
)
_DIGITS = re.compile(r"(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T_]?\d{6})?(?!\d)")
_DAY = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_WORDS = re.compile(
    rf"(?:(?<!\d){_DAY}[\s-]*)?(?P<month>[^\W\d_]{{3,9}})\.?(?:\s+{_DAY},)?[\s,-]*(?P<year>(?:19|20)\d{{2}})(?!\d)"
)
SHORT_MONTH = 3  # letters of a month that is abbreviated
MONTH_NAMES = {name.casefold() for name in calendar.month_name if name} | {
    "januar", "februar", "märz", "mai", "juni", "juli", "oktober", "dezember",
    "janvier", "février", "mars", "avril", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre",
}  # fmt: skip


@dataclass(frozen=True)
class DateShifts:
    """How the dates of a cohort folder were moved, and how much of that is known.

    Attributes
    ----------
    participants : those whose dates were shifted
    by : participant -> how far, where key and link table tell
    remedy : what to do about a participant whose shift they do not tell
    """

    participants: frozenset[str] = frozenset()
    by: Mapping[str, timedelta] = field(default_factory=dict)
    remedy: str = ""

    def applied(self, read: Read, column: ClinicalColumn, participant_id: str) -> Read | Refusal:
        """A cell of a participant whose dates were shifted, as it may stand beside them."""
        if column.read_as == "date" and read.value != MISSING:
            if participant_id not in self.by:
                rule = "must be moved by as many days as the dates of the patient's scans were"
                return Refusal(TRUE_DATE, rule, self.remedy)
            return Read(moved(read.value, self.by[participant_id]), "is moved with the dates of the scans")
        if read.value not in column.level_of and holds_date(read.value):
            rule = f"must hold no dates as {column.read_as}, since the dates of the scans were shifted"
            remedy = "Map it as :date, leave it out by --ignore, or give --keep-dates if they are no patient's dates."
            return Refusal(DATE_IN_TEXT, rule, remedy)
        return read


def shifted_participants(folder: Path, scans: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Participants whose dates were shifted: those of the import's register, and those whose sidecars say so.

    Parameters
    ----------
    folder : the cohort folder
    scans : participant and path in the folder
    """
    found: set[str] = set()
    with suppress(OSError, ValueError, KeyError, TypeError):  # the import itself says where its register is damaged
        found |= set(json.loads((folder / REGISTER_FILE).read_bytes())["evidence"])
    for participant_id, path in scans:
        if participant_id not in found and is_shifted(sidecar_of(folder, path)):
            found.add(participant_id)
    return frozenset(found)


def is_shifted(sidecar: Mapping[str, object]) -> bool:
    """Whether a sidecar says that the dates in it were shifted."""
    return sidecar.get(MODIFIED[0]) == MODIFIED[1]


def sidecar_of(folder: Path, path: str) -> Mapping[str, object]:
    """Keys of a scan's sidecar; none where there is none that can be read."""
    try:
        body = json.loads((folder / sidecar_path(path)).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def moved(value: str, by: timedelta) -> str:
    """A date, or a date with its time, moved.

    >>> moved("2024-03-01", timedelta(days=-60)), moved("2024-03-01T14:05", timedelta(days=-60))
    ('2024-01-01', '2024-01-01T14:05')
    """
    day, sign, clock = value.partition("T")
    return (date.fromisoformat(day) + by).isoformat() + sign + clock


def holds_date(text: str) -> bool:
    """Whether a date, or a month with its year, stands anywhere in a text.

    >>> [holds_date(text) for text in ("seen 31.5.24", "20240531", "May 2024", "05/2024", "Jan 3, 2024")]
    [True, True, True, True, True]
    >>> [holds_date(text) for text in ("12", "120/80", "since 2019", "99.99.99", "v1.2", "4711007", "Marburg 2019")]
    [False, False, False, False, False, False, False]
    """
    return next(_dates_in(text), None) is not None


def without_dates(text: str) -> str:
    """A text with every date in it replaced.

    >>> without_dates("FAILED 2024-05-31 14:05: motion")
    'FAILED [date] 14:05: motion'
    """
    for found in sorted(set(_dates_in(text)), key=len, reverse=True):
        text = text.replace(found, "[date]")
    return text


def _dates_in(text: str) -> Iterator[str]:
    """Every date in a text, as it is written."""
    yield from (found.group() for found in _NUMBERS.finditer(text) if is_date(re.sub(r"\s", "", found.group())))
    yield from (found.group() for pattern in (_DIGITS, _MONTHS) for found in pattern.finditer(text))
    for found in _WORDS.finditer(text):
        is_named = re.search(r"\d", found.group()[: -len(found["year"])]) or len(found["month"]) == SHORT_MONTH
        if month_of(found["month"]) and (is_named or found["month"].casefold() in MONTH_NAMES):
            yield found.group()


def days_between(later: str, earlier: str) -> float:
    """Days from one ISO date to another; a date without a time is the beginning of its day."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)) / timedelta(days=1)
