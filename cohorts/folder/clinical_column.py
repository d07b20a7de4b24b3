"""``[[clinical]]`` of ``cohort.toml``: how one further column of ``participants.tsv`` is read and checked."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from cohorts.folder.source import Part

ReadAs = Literal["integer", "number", "category", "boolean", "date", "text"]
NUMERIC: tuple[ReadAs, ...] = ("integer", "number")


class ClinicalColumn(Part):
    """How one further column of ``participants.tsv`` is read and checked.

    A *level* is a value that a column may have. It is declared with its meaning, which reports print, or with the list
    of its further spellings, which are read as the level.
    """

    column: str = Field(min_length=1)
    read_as: ReadAs
    label: str = Field("", description="Name in the report; default the column")
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    levels: dict[str, str | tuple[str, ...]] | None = Field(
        None, description="Level -> its meaning, or the list of its further spellings; any other value is a problem"
    )
    top_code: str | None = Field(None, description="A written value such as 89+ that is read as its number")
    not_before: str | None = Field(None, description="A date column that must not be later than this one")
    in_table: bool = Field(True, description="Shown in the cohort table")
    on_problem: Literal["exclude", "missing"] = Field(
        "exclude", description="A value that cannot be used excludes its participant, or is read as n/a with a warning"
    )

    @property
    def title(self) -> str:
        """The label, or the column's own name."""
        return self.label or self.column

    @cached_property
    def level_titles(self) -> dict[str, str]:
        """Level -> what reports print; levels of a category with one meaning are one, the first declared."""
        titles = {level: told if isinstance(told, str) else level for level, told in (self.levels or {}).items()}
        return {level: titles[level] for level in dict.fromkeys(self.level_of[level] for level in titles)}

    @cached_property
    def level_of(self) -> dict[str, str]:
        """Every spelling, those of the levels themselves included -> the level that it is read as."""
        found: dict[str, str] = {}
        first: dict[str, str] = {}
        for level, told in (self.levels or {}).items():
            is_named = isinstance(told, str) and self.read_as == "category"
            found[level] = first.setdefault(str(told), level) if is_named else level
            found |= {} if isinstance(told, str) else dict.fromkeys(told, level)
        return found

    @model_validator(mode="after")
    def _spellings_are_of_one_level(self) -> ClinicalColumn:
        written = [
            spelling
            for level, told in (self.levels or {}).items()
            for spelling in ((level,) if isinstance(told, str) else dict.fromkeys((level, *told)))
        ]
        twice = [spelling for spelling in dict.fromkeys(written) if written.count(spelling) > 1]
        if twice:
            raise ValueError(f"levels must give each spelling to one level, got {', '.join(twice)} twice")
        return self


def clinical_column(**keys: Any) -> ClinicalColumn:
    """Return a column declared by its keys, as ``cohort.toml`` would."""
    return ClinicalColumn.model_validate(keys)
