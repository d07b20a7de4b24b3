"""What ``aspects reading make`` is asked for, read from its command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cohorts.folder.readings import READER
from cohorts.reading.round import FIRST
from flows.run.request import UsageError

_SHARE = re.compile(r"([0-9]{1,3}(?:[.,][0-9]+)?)\s*%?")


@dataclass(frozen=True)
class MakeRequest:
    """What the command was asked for.

    Attributes
    ----------
    cohort : cohort folder
    readers : short names of the readers
    repeat_share : share of the cases that come twice
    training : participants of the training cases
    labels : participants to be read; all where it is empty
    scan : modality of the scans; None takes the first that the study scores
    session : name of the round; None is the first
    seed : None takes the study's
    """

    cohort: Path
    readers: tuple[str, ...]
    repeat_share: float = 0.0
    training: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    scan: str | None = None
    session: str | None = None
    seed: int | None = None


def reader_names(written: str) -> tuple[str, ...]:
    """Names of readers from a list such as ``A,B``.

    Raises
    ------
    UsageError
        A name cannot be used, or two are the same but for upper and lower case.
    """
    names = tuple(name.strip() for name in written.split(",") if name.strip())
    wrong = [name for name in names if not READER.fullmatch(name)]
    if wrong or not names:
        got = ", ".join(wrong) or "nothing"
        raise UsageError(f"--readers must be short pseudonyms such as A,B, got {got}. Use letters, digits and . _ -")
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"--readers must differ in more than upper and lower case, got {written}. Rename one.")
    return names


def share_of(written: str) -> float:
    """A share from a text such as ``20 %`` or ``20``.

    Raises
    ------
    UsageError
        It is no percentage.

    Examples
    --------
    >>> share_of("20 %"), share_of("12,5%"), share_of("0")
    (0.2, 0.125, 0.0)
    """
    found = _SHARE.fullmatch(written.strip())
    percent = float(found.group(1).replace(",", ".")) if found else -1.0
    if not 0 <= percent <= 100:
        raise UsageError(f"--repeat must be a percentage from 0 to 100, got {written}. Write 20% for a fifth.")
    if 0 < percent < 1:
        raise UsageError(f"--repeat must be a percentage, got {written}. Write 20% for a fifth, not 0.2.")
    return percent / 100


def session_name(written: str | None) -> str | None:
    """The name of a round.

    Raises
    ------
    UsageError
        It cannot be a session of readings.tsv and a folder, or is the name of the first round's folder.
    """
    if written is not None and (not READER.fullmatch(written) or written.casefold() == FIRST):
        raise UsageError(
            f"--session must be letters, digits and . _ -, and not {FIRST}, got {written}. Write a word such as second."
        )
    return written
