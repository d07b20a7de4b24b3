"""``[analysis]`` of ``cohort.toml``: the questions of a study, declared before its numbers are seen.

A question points at one number of ``statistics`` by its ``statistic_id`` and says what would answer it. What is not
declared is exploratory, whatever its p value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Literal, get_args

from pydantic import Field, model_validator

from cohorts.folder.source import NAME, Part

Role = Literal["primary", "confirmatory", "exploratory"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Whom a number is about. ``participants.is_<set>`` holds the members; ``screened`` is every row of ``participants``.
ANALYSIS_SETS = ("screened", "measured", "examined", "included")

_STATISTIC = re.compile(
    rf"(?P<section>[a-z]+)/(?P<quantity>[a-z0-9_]+)(?P<details>(:[^/]+)*)/(?P<source>[^/]+)/(?P<against>[^/]+)/"
    rf"({'|'.join(ANALYSIS_SETS)})(/[^/]+)?"
)


class Question(Part):
    """One question: which number answers it, and what it must show."""

    name: str = Field(pattern=NAME)
    role: Role = Field(description="primary and confirmatory ones are tested with the error rate alpha")
    statistic: str = Field(
        description="statistic_id of the number: section/quantity:details/source/against/set, as in statistics.parquet"
    )
    at_least: float | None = Field(None, description="Shown where the whole interval lies above this")
    at_most: float | None = Field(None, description="Shown where the whole interval lies below this")
    margin: float | None = Field(None, gt=0, description="Shown where the whole interval lies within -margin..margin")
    width: float | None = Field(None, gt=0, description="Wanted width of the interval, for the table of precision")
    source: str = Field("", description="Where the margin comes from")

    @property
    def edges(self) -> tuple[float | None, float | None]:
        """The margins, low and high, of the claim; both None for a question that asks for a difference."""
        return (-self.margin, self.margin) if self.margin is not None else (self.at_least, self.at_most)

    @model_validator(mode="after")
    def _one_claim(self) -> Question:
        problems = []
        if not _STATISTIC.fullmatch(self.statistic):
            problems.append(
                f"statistic must be a statistic_id, section/quantity:details/source/against/set with - for what it has "
                f"not and a set of {', '.join(ANALYSIS_SETS)}, got {self.statistic!r}"
            )
        if self.margin is not None and (self.at_least, self.at_most) != (None, None):
            problems.append("margin must stand alone, give either it or at_least and at_most")
        if self.at_least is not None and self.at_most is not None and not self.at_least < self.at_most:
            problems.append(f"at_least must be < at_most, got {self.at_least:g} and {self.at_most:g}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def contradictions(self, sources: Collection[str], dichotomies: Collection[str]) -> Iterator[str]:
        """What is wrong with the question in its study; readers are not known before their table is read."""
        found = _STATISTIC.fullmatch(self.statistic)
        if found is None:
            return
        for role in ("source", "against") if found["section"] in ("agreement", "segmentation") else ("source",):
            name = found[role]
            if name != "-" and name not in sources and not name.startswith("reader:"):
                yield f"{role} must be one of {', '.join(sources)}, or a reader, got {name!r}"
        names = found["details"].split(":")[1:]
        if found["section"] == "dichotomies" and names and names[0] not in dichotomies:
            yield f"the dichotomy must be one of {', '.join(dichotomies)}, got {names[0]!r}"


class AnalysisSection(Part):
    """``[analysis]``: the error rate and the questions."""

    alpha: float = Field(0.05, gt=0, lt=0.5, description="Two-sided error rate of the family; intervals have 1 - alpha")
    question: tuple[Question, ...] = Field(min_length=1)

    def contradictions(self, sources: Collection[str], dichotomies: Collection[str]) -> Iterator[str]:
        """What is wrong with the questions, each by its name."""
        names = [item.name for item in self.question]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield f"analysis question {name!r} is declared {names.count(name)} times"
        for item in self.question:
            for problem in item.contradictions(sources, dichotomies):
                yield f"analysis question {item.name!r}: {problem}"
