"""Values of DICOM attributes as text, numbers and moments; what is absent or damaged is "", NaN or None."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any

import pydicom

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?")


def text_of(dataset: pydicom.Dataset, keyword: str) -> str:
    """A value as text, multiple values joined by a space, "" where absent."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    return (
        " ".join(str(item) for item in value) if isinstance(value, (list, pydicom.multival.MultiValue)) else str(value)
    )


def number_of(dataset: pydicom.Dataset, keyword: str) -> float:
    """A value as a number, NaN where absent or no number."""
    try:
        return float(dataset.get(keyword))
    except (TypeError, ValueError):
        return math.nan


def moment_of(
    dataset: pydicom.Dataset, kinds: tuple[str, ...] = ("Acquisition", "Content", "Series")
) -> datetime | None:
    """Date and time of the first kind that is whole; a kind is the stem of its attributes' names."""
    for kind in kinds:
        together = re.split(r"[+\-&]", text_of(dataset, f"{kind}DateTime"))[0]
        written = (together[:8], together[8:])
        if len(together) < 10:
            written = (
                text_of(dataset, f"{kind}Date") or text_of(dataset, "StudyDate"),
                text_of(dataset, f"{kind}Time"),
            )
        moment = _moment(*written)
        if moment:
            return moment
    return None


def _moment(date: str, time: str) -> datetime | None:
    """DICOM DA and TM together."""
    parts = _TIME.match(time.strip())
    if not _DATE.fullmatch(date.strip()) or not parts:
        return None
    hour, minute, second = (int(part or 0) for part in parts.groups()[:3])
    try:
        day = datetime.strptime(date.strip(), "%Y%m%d")
        return day.replace(hour=hour, minute=minute) + timedelta(seconds=second + float(parts.group(4) or 0))
    except ValueError:
        return None


def numbers_in(value: Any, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def whole_number(value: Any) -> int | None:
    """A whole number or None."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
