"""A round of reading on disk: its work lists and the key from blinded codes to participants.

``COHORT/reading/<round>/`` holds ``round.json`` (the key, for the program), ``work_list.tsv`` (the same for people),
``left_out.tsv`` and ``collected.json`` (what came back); ``for-readers/`` has what readers get, which names nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cohorts.store.records import digest_of, write_bytes
from cohorts.store.share import read_file
from cohorts.tables.storage import tsv_text
from tasks.views.convention import Convention
from tasks.work_list import PresentationKind, work_lists

FOLDER, FIRST = "reading", "first"
KEY_FILE, WORK_LIST_FILE, LEFT_OUT_FILE, COLLECTED_FILE = (
    "round.json",
    "work_list.tsv",
    "left_out.tsv",
    "collected.json",
)
PAGES_FOLDER = "for-readers"
REPEAT = "repeat"
ID_CHARACTERS = 12


class Stored(BaseModel):
    """A part of a JSON file of a round: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Listed(Stored):
    """One presentation of one participant's scan to one reader."""

    code: str
    participant_id: str
    kind: PresentationKind


class RoundSettings(Stored):
    """What a round asks of its readers.

    Attributes
    ----------
    session : None for the first round; else the session of its readings
    scan : modality of the scans, as in scans.tsv
    repeat_share, seed : of the work lists
    training : participants of the training cases
    pictures : on which side the patient's right lies
    """

    session: str | None
    scan: str
    repeat_share: float
    seed: int
    training: list[str]
    pictures: Convention

    @property
    def name(self) -> str:
        """Name of the round's folder."""
        return self.session or FIRST

    def session_of(self, kind: PresentationKind) -> str | None:
        """The session of ``readings.tsv`` that cases or repeats belong to."""
        if kind == "case":
            return self.session
        return f"{self.session}-{REPEAT}" if self.session else REPEAT


class Round(Stored):
    """A round with its key.

    Attributes
    ----------
    round_id : digest of settings and scans; readers do not count, so that one can come later
    settings : RoundSettings
    scans : participant -> sha256 of the scan that is read, training cases included
    left_out : participant -> why its scan is not read
    lists : reader -> presentations in their order
    """

    format: Literal["aspects-reading-round"] = "aspects-reading-round"
    version: Literal[1] = 1
    round_id: str
    settings: RoundSettings
    scans: dict[str, str]
    left_out: dict[str, str]
    lists: dict[str, list[Listed]]


def planned_round(
    settings: RoundSettings, readers: Sequence[str], scans: dict[str, str], left_out: dict[str, str]
) -> Round:
    """A round whose lists are drawn; arguments as the attributes of ``Round``.

    Raises
    ------
    ValueError
        There is nothing to read, or a reader is given twice.
    """
    lists = work_lists(
        [participant_id for participant_id in scans if participant_id not in settings.training],
        readers,
        repeat_share=settings.repeat_share,
        training=settings.training,
        seed=settings.seed,
        round_name=settings.name,
    )
    return Round(
        round_id=digest_of({"settings": settings.model_dump(), "scans": scans})[:ID_CHARACTERS],
        settings=settings,
        scans=scans,
        left_out=left_out,
        lists={
            reader: [Listed(code=one.code, participant_id=one.case, kind=one.kind) for one in presentations]
            for reader, presentations in lists.items()
        },
    )


def rounds_folder(cohort: Path) -> Path:
    """Where the rounds of a cohort lie."""
    return cohort / FOLDER


def read_round(folder: Path) -> Round | None:
    """The round of a folder; None where there is none.

    Raises
    ------
    ValueError
        Its key is damaged.
    """
    path = folder / KEY_FILE
    if not path.exists():
        return None
    try:
        return Round.model_validate_json(read_file(path))
    except ValidationError as error:
        raise ValueError(
            f"{path} must be whole, got {error.error_count()} faults. Restore it from a copy, or delete it and make "
            "the round again with the same settings: the same codes come out."
        ) from None


def all_rounds(cohort: Path) -> Iterator[tuple[Path, Round]]:
    """Folder and key of every round of a cohort."""
    folder = rounds_folder(cohort)
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.is_dir() and (found := read_round(place)) is not None:
            yield place, found


def write_round(folder: Path, plan: Round) -> None:
    """Write the key, the work list and who is left out; the key last."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"reader": reader, "position": place, "code": one.code, "kind": one.kind, "participant_id": one.participant_id}
        for reader, listed in plan.lists.items()
        for place, one in enumerate(listed, start=1)
    ]
    write_bytes(folder / WORK_LIST_FILE, tsv_text(rows).encode())
    left_out = [{"participant_id": one, "reason": reason} for one, reason in plan.left_out.items()]
    text = tsv_text(left_out) if left_out else "participant_id\treason\n"
    write_bytes(folder / LEFT_OUT_FILE, text.encode())
    write_bytes(folder / KEY_FILE, (plan.model_dump_json(indent=1) + "\n").encode())
