"""``[[table]]`` of ``cohort.toml``: how somebody else's table is read, declared once for this and newer files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from cohorts.folder.clinical_column import ClinicalColumn, clinical_column
from cohorts.folder.problems import did_you_mean, printable
from cohorts.folder.readings import READER
from cohorts.folder.source import NAME
from cohorts.folder.table_reading import TableReading
from cohorts.tables.schemas import READING_FLAGS
from tasks.anatomy import MAXIMUM_SCORE, SHORT_CODES

Into = Literal["participants", "readings"]
READER_PREFIX = "reader:"
REGIONS = "regions"  # one cell that names the affected regions

_TEXTS = {name: clinical_column(column=name, read_as="text") for name in ("site", "split", "reader", "session")}
_SIDES = {
    "left": ("l", "links", "gauche", "izquierda", "sinistra"),
    "right": ("r", "rechts", "droite", "derecha", "destra"),
}
#: Columns of readings.tsv as they are read.
READING_COLUMNS: Mapping[str, ClinicalColumn] = {
    **{name: _TEXTS[name] for name in ("reader", "session")},
    "side": clinical_column(column="side", read_as="category", levels=dict(_SIDES)),
    "score": clinical_column(column="score", read_as="integer", minimum=0, maximum=MAXIMUM_SCORE),
    **{name: clinical_column(column=name, read_as="boolean") for name in ("template_assisted", "low", *READING_FLAGS)},
    REGIONS: clinical_column(column=REGIONS, read_as="text"),
}


class TableMapping(TableReading):
    """How one table of somebody else becomes rows of the cohort folder."""

    name: str = Field("participants", pattern=NAME)
    into: Into = Field("participants", description="participants or readings: which table of the folder it fills")
    blanks: Literal["keep", "erase"] = Field("keep", description="What an empty cell does to a value that is there")
    ignored: tuple[str, ...] = Field((), description="Columns of the file that are not imported")


@dataclass(frozen=True)
class Target:
    """A column of the cohort folder that a table may fill, and as what a new one is declared."""

    column: str
    declared: ClinicalColumn | None = None


def parse_map(text: str) -> tuple[str, Target]:
    """Read ``COLUMN=NAME`` or ``COLUMN=NAME:KIND`` of the command line; KIND declares a new clinical column.

    >>> parse_map("NIHSS bei Aufnahme=nihss")[1].column
    'nihss'

    Raises
    ------
    ValueError
        Not of this form.
    """
    column, is_given, target = text.rpartition("=")
    name, has_kind, kind = target.strip().partition(":")
    if not is_given or not column.strip() or not name:
        raise ValueError(
            f"--map must be COLUMN=NAME or COLUMN=NAME:KIND, got {text!r}. NAME is a column of the cohort."
        )
    if target.startswith(READER_PREFIX):
        return column.strip(), Target(target.strip())
    kinds = ("integer", "number", "category", "boolean", "date", "text")
    if has_kind and kind not in kinds:
        raise ValueError(f"--map KIND must be one of {', '.join(kinds)}, got {kind!r}. {did_you_mean(kind, kinds)}")
    declared = ClinicalColumn.model_validate({"column": name, "read_as": kind}) if has_kind else None
    return " ".join(column.split()), Target(name, declared)


def parse_value(text: str) -> tuple[str, str, str]:
    """Read ``COLUMN:TEXT=VALUE`` of the command line.

    >>> parse_value("mrs_90d:tot=6")
    ('mrs_90d', 'tot', '6')

    Raises
    ------
    ValueError
        Not of this form.
    """
    column, has_column, rest = text.partition(":")
    written, has_value, value = rest.rpartition("=")
    if not (has_column and has_value and column and written and value):
        raise ValueError(f"--value must be COLUMN:TEXT=VALUE, got {text!r}. COLUMN is a column of the cohort.")
    return column, " ".join(written.split()), value


def target_problems(targets: Iterable[str], into: Into, clinical: Mapping[str, ClinicalColumn]) -> list[str]:
    """Say which mapped columns the cohort folder does not have."""
    known = [*clinical, "site", "split"] if into == "participants" else list(READING_COLUMNS)
    problems = []
    for name in targets:
        if into == "readings" and name.startswith(READER_PREFIX):
            parts = name.split(":")[1:]
            if len(parts) > 2 or not all(READER.fullmatch(part) for part in parts):
                problems.append(f"{printable(name)} must be reader:NAME or reader:NAME:SESSION, of letters and digits.")
        elif name not in known:
            how = f" Declare it by --map 'COLUMN={name}:integer' (or another kind)." if into == "participants" else ""
            problems.append(
                f"{printable(name)} must be a column of {into}.tsv ({', '.join(known)}). "
                f"{did_you_mean(name, known)}{how}".strip()
            )
    return problems


def column_of(name: str, into: Into, clinical: Mapping[str, ClinicalColumn]) -> ClinicalColumn:
    """How a mapped column is read."""
    if into == "participants":
        return clinical.get(name) or _TEXTS[name]
    return READING_COLUMNS["score"] if name.startswith(READER_PREFIX) else READING_COLUMNS[name]


def named_regions(text: str) -> list[str] | None:
    """The regions that a cell names, such as ``M1, M2, insula``; none for 0 or none, None where a word is no region.

    >>> named_regions("M1; IC"), named_regions("none"), named_regions("M7")
    (['m1', 'internal_capsule'], [], None)
    """
    if text.casefold() in ("none", "0", "keine", "no"):
        return []
    words = {code.casefold(): region for region, code in SHORT_CODES.items()}
    words |= {region.casefold().replace("_", " "): region for region in SHORT_CODES}
    found = [
        words.get(word.casefold().replace("_", " ")) for word in re.split(r"\s*[,;/+]\s*|\s+(?=[A-Z]+[0-9]?\b)", text)
    ]
    return None if None in found else [region for region in found if region]
