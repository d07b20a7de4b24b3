"""What is wrong with a cohort folder, one record per finding, and how it reads as text.

A *problem of the study* (no ``participant_id``) stops before any work; a *problem of a participant* excludes that
participant with its reason; a *warning* changes nothing and is only shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

LONGEST_VALUE = 120


@dataclass(frozen=True)
class Problem:
    """One finding: where it is, what was found, the rule and the remedy.

    Attributes
    ----------
    file : str
        File inside the cohort folder.
    row : int or None
        Row as an editor shows it: the header of a table is row 1.
    column : str or None
        Column of a table, or key of ``cohort.toml`` or ``participants.json``; as written, see ``printable``.
    value : str or None
        The value as written, see ``printable``.
    rule : str
        What must hold, beginning with "must", without a full stop.
    remedy : str
        What to do, as whole sentences.
    reason : str
        Reason code in snake_case, one per rule.
    participant_id : str or None
        The participant that it excludes; None for a problem of the study.
    """

    file: str
    row: int | None
    column: str | None
    value: str | None
    rule: str
    remedy: str
    reason: str
    participant_id: str | None = None
    stage: Literal["screening", "intake"] = "screening"
    is_warning: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", _escaped(self.rule))  # both quote what is in the files
        object.__setattr__(self, "remedy", _escaped(self.remedy))

    @property
    def stops_the_study(self) -> bool:
        """Whether nothing can be computed before this is fixed."""
        return self.participant_id is None and not self.is_warning

    @property
    def excludes_participant(self) -> bool:
        """Whether it excludes its participant."""
        return self.participant_id is not None and not self.is_warning

    @property
    def text(self) -> str:
        """One line for people.

        >>> Problem("participants.tsv", 7, "nihss", "60", "must be <= 42", "Check the chart.", "out_of_range").text
        'participants.tsv, row 7, column nihss: value 60 must be <= 42. Check the chart.'
        """
        key = "key" if self.file.endswith((".toml", ".json")) else "column"
        place = [printable(self.file)]
        place += [f"row {self.row}"] if self.row is not None else []
        place += [f"{key} {printable(self.column)}"] if self.column is not None else []
        found = f"value {printable(self.value)} " if self.value is not None else ""
        return f"{', '.join(place)}: {found}{self.rule}. {self.remedy}".rstrip()


@dataclass(frozen=True)
class Refusal:
    """Why one value cannot be used; ``Problem`` adds where it stands."""

    reason: str
    rule: str
    remedy: str


@dataclass(frozen=True)
class Read:
    """A value that can be written; ``rule`` says what changed it, None where it is as it was."""

    value: str
    rule: str | None = None


class CohortError(ValueError):
    """A cohort folder that cannot be read at all; ``problems`` says why, all of it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(problem.text for problem in self.problems)


def printable(value: str) -> str:
    r"""Return a value that prints safely on one line: control characters escaped, an empty one quoted, a long one cut.

    >>> print(printable("a\x1b[31mb"), printable(""))
    a\x1b[31mb ''
    """
    shown = value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 3] + "..."
    if not shown or shown != shown.strip():
        return repr(shown)
    return _escaped(shown)


def _escaped(text: str) -> str:
    """Escape what a terminal would obey instead of print."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` most likely meant, upper and lower case aside.

    >>> nearest("NIHS", ["age", "nihss"])
    'nihss'
    """
    by_lower = {item.casefold(): item for item in known}
    found = difflib.get_close_matches(name.casefold(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the sentence that offers the nearest spelling, with a space behind it, or nothing."""
    found = nearest(name, known)
    return f"Did you mean {printable(found)}? " if found else ""
