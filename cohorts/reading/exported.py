"""The file that a reading page exports: what it must hold, and how files of one reader are put together.

A *revision* is a case as a reader finished it: a case that was opened again and changed has several, and the last one
counts. A file that was exported later holds all revisions of an earlier one. Where two files hold different revisions
of a case, it was read in two places, and which reading is right is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from cohorts.folder.problems import CohortError, Problem, did_you_mean
from cohorts.folder.readings import CONFIDENCE
from cohorts.folder.tsv import read_text
from cohorts.reading.round import Round, Stored
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES

LARGEST_FILE = 50_000_000  # bytes: a thousand cases, each revised a hundred times, take less
AGAIN = "Export it again from the page, and do not change it."

#: Why a scan could not be read, and how the page says it.
UNREADABLE = {
    "motion": "Motion",
    "artefact": "Artefact, such as metal",
    "coverage": "Part of the brain is missing",
    "wrong_scan": "Not the right kind of scan",
    "other": "Another reason",
}


def _known_regions(affected: list[str]) -> list[str]:
    """Names such as ``left_m1``, each once."""
    known = {f"{side}_{region}" for side in HEMISPHERES for region in ASPECTS_REGIONS}
    if unknown := [one for one in affected if one not in known]:
        raise ValueError(f"must name regions such as left_m1, got {unknown[0][:20]!r}")
    if len(set(affected)) < len(affected):
        raise ValueError("must name each region once")
    return affected


def _time_point(text: str) -> str:
    """A date and time as the browser writes it."""
    datetime.fromisoformat(text)
    return text


class Revision(Stored):
    """A case as it was finished once; ``affected`` are names such as ``left_m1``."""

    finished_at: Annotated[str, Field(max_length=40), AfterValidator(_time_point)]
    time_s: Annotated[float, Field(ge=0, lt=1e6, strict=False)]
    affected: Annotated[list[str], Field(max_length=20), AfterValidator(_known_regions)]
    confidence: Annotated[int, Field(ge=CONFIDENCE[0], le=CONFIDENCE[-1])] | None
    not_readable: Literal["motion", "artefact", "coverage", "wrong_scan", "other"] | None

    @model_validator(mode="after")
    def _is_answered(self) -> Revision:
        if self.not_readable is None and self.confidence is None:
            raise ValueError("must have a confidence, or say why the scan is not readable")
        if self.not_readable is not None and self.affected:
            raise ValueError("must not name affected regions of a scan that is not readable")
        return self


class CaseRecord(Stored):
    """What a reader did with one case; ``is_open`` where it was begun, or changed, and not finished."""

    code: Annotated[str, Field(max_length=20)]
    is_open: bool
    revisions: list[Revision]


class ReadingFile(Stored):
    """An exported file."""

    format: Literal["aspects-reading"]
    version: Literal[1]
    round_id: str
    reader: str
    exported_at: str
    cases: list[CaseRecord]


def read_reading_file(path: Path) -> ReadingFile:
    """Read an exported file.

    Raises
    ------
    CohortError
        With every problem of its form.
    """
    text, problem = read_text(path.parent, path.name, limit=LARGEST_FILE)
    if text is None:
        raise CohortError([problem] if problem else [])
    if text.lstrip()[:1] == "<":
        rule = "must be the file that the reading page saves (.json), got the page itself"
        remedy = "In the page, press Save file, and give the file that it saves."
        raise CohortError([Problem(path.name, None, None, None, rule, remedy, "page_not_file")])
    try:
        return ReadingFile.model_validate_json(text)
    except ValidationError as error:
        raise CohortError([_problem(path.name, details) for details in error.errors(include_url=False)]) from None


def _problem(name: str, details: Mapping[str, object]) -> Problem:
    """One error of pydantic in plain words."""
    place = details["loc"]
    key = ".".join(map(str, place)) if isinstance(place, tuple) and place else None
    message = str(details["msg"]).removeprefix("Value error, ")
    rule = message if message.startswith("must") else f"must be a reading file ({message[:1].lower()}{message[1:]})"
    return Problem(name, None, key, None, rule, AGAIN, "invalid_reading_file")


def file_problems(name: str, file: ReadingFile, plan: Round) -> Iterator[Problem]:
    """What of a file does not fit its round."""

    def refuse(key: str, value: str, rule: str, remedy: str) -> Problem:
        return Problem(name, None, key, value, rule, remedy, "reading_not_of_round")

    if file.reader not in plan.lists:
        rule = f"must be a reader of the round ({', '.join(plan.lists)})"
        yield refuse("reader", file.reader, rule, did_you_mean(file.reader, plan.lists) + "Give the right file.")
        return
    known = {listed.code for listed in plan.lists[file.reader]}
    seen: set[str] = set()
    for case in file.cases:
        if case.code not in known:
            yield refuse("code", case.code, f"must be on the work list of reader {file.reader}", AGAIN)
        if case.code in seen:
            yield refuse("code", case.code, "must occur once", AGAIN)
        seen.add(case.code)


def put_together(known: CaseRecord | None, given: CaseRecord) -> CaseRecord | None:
    """The later one of two states of a case; None where neither follows from the other.

    Of two states with the same revisions the one that came last is kept.
    """
    if known is None:
        return given
    shorter, longer = sorted((known, given), key=lambda one: len(one.revisions))
    if longer.revisions[: len(shorter.revisions)] != shorter.revisions:
        return None
    return longer
