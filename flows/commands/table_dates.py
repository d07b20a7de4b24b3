"""Who is who in an import of a table, and how far the dates of each were shifted, from the link table and the key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from cohorts.dicom.key import KeyFileError, read_key
from cohorts.dicom.link_table import LINK_COLUMNS, PATIENT_ID, LinkTableError, check_place, read_links
from cohorts.dicom.register import RegisterError, read_register
from cohorts.folder.problems import Refusal
from cohorts.folder.table_mapping import TableMapping, column_of
from cohorts.folder.table_merge import Merged, folder_table
from cohorts.folder.table_rows import ID, STRANGER, Change, Intake, Stop
from cohorts.folder.true_dates import DateShifts, holds_date, shifted_participants
from cohorts.folder.tsv import MISSING, as_participant_id
from flows.commands.table_request import Asked, TableRequest, text_of
from flows.run.request import PreflightError, UsageError

_NUMBERS = "or bring intervals as numbers, such as hours from onset to scan, in place of dates"


@dataclass(frozen=True)
class Links:
    """Rows of the link table, and the participant of each id in it and of each pseudonym; None without a table."""

    owners: Mapping[str, str] | None = None
    rows: tuple[Mapping[str, str], ...] = field(default=(), repr=False)


def read_link_table(path: Path | None, cohort: Path, *, is_imported: bool) -> Links:
    """Read the link table of an import, or one of participant_id and the other id.

    Parameters
    ----------
    path : None where none was given
    cohort : the cohort folder
    is_imported : whether it holds pseudonyms of an import, beside which no table may say who is who

    Raises
    ------
    UsageError
        It has other columns, gives several participants for one id, or others can read it.
    """
    if path is None:
        return Links()
    table = folder_table(text_of(path))
    others = [name for name in table.columns if name != ID]
    if ID not in table.columns or not others:
        raise UsageError("--link must be a table (.tsv) of participant_id and the ids of FILE in the next column.")
    column = PATIENT_ID if PATIENT_ID in others else others[0]
    rows: list[Mapping[str, str]] = [{ID: row[ID], PATIENT_ID: row[column]} for row in table.rows]
    if column == PATIENT_ID or is_imported:
        try:
            check_place(path, cohort, "--link")
            if column == PATIENT_ID:
                links = read_links(path, cohort).values()
                rows = [dict(zip(LINK_COLUMNS, link.cells, strict=True)) for link in links]
        except LinkTableError as error:
            raise UsageError(str(error)) from None
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        owners[row[PATIENT_ID]].add(row[ID])
    n_shared = sum(len(ids) > 1 for ids in owners.values())
    if n_shared:
        raise UsageError(
            f"--link must give one participant for every id, and {n_shared} ids have several, as ids of two hospitals "
            "do. Give a table of participant_id and id without them, and import their rows by another one."
        )
    pseudonyms = {as_participant_id(row[ID]): row[ID] for row in rows}
    return Links(pseudonyms | {label: next(iter(ids)) for label, ids in owners.items()}, tuple(rows))


def shifted_in(cohort: Path) -> frozenset[str]:
    """Participants of a cohort folder whose dates were shifted."""
    rows = folder_table(text_of(cohort / "scans.tsv")).rows
    return shifted_participants(
        cohort, [(as_participant_id(row.get(ID, "")), row.get("path", "")) for row in rows if row.get("path")]
    )


def date_shifts_of(request: TableRequest, asked: Asked, links: Links, participants: frozenset[str]) -> DateShifts:
    """What is known of the shifts, where dates are imported.

    Parameters
    ----------
    participants : those whose dates were shifted

    Raises
    ------
    PreflightError
        The key is needed and cannot be used.
    """
    mapping = asked.mapping
    names = [
        name
        for name, to in mapping.columns.items()
        if column_of(to, mapping.into, asked.clinical).read_as == "date" and name not in mapping.keep_dates
    ]
    if not names or not participants or not links.rows:
        remedy = f"Give --link with the table that aspects import wrote, leave the column out by --ignore, {_NUMBERS}."
        return DateShifts(participants, {}, remedy)
    from cohorts.dicom.date_shifts import date_shifts  # only here: pydicom takes long to load

    name = request.cohort.resolve()
    try:
        key = read_key(request.key or name.with_name(name.name + ".key"), request.cohort, may_make=False)
        read_register(request.cohort).check_key(key)
    except (KeyFileError, RegisterError) as error:
        told = ", ".join(names)
        raise PreflightError(
            f"Dates ({told}) must be moved as those of the scans were, which needs the key of the import: {error} "
            "Or leave the columns out by --ignore."
        ) from None
    remedy = (
        "The link table does not tell this patient's shift, as of one imported without a number. Leave the column out "
        f"by --ignore, {_NUMBERS}."
    )
    return DateShifts(participants, date_shifts(links.rows, key), remedy)


def strangers(intake: Intake, known: Set[str], mapping: TableMapping) -> list[Stop]:
    """Rows of nobody in a cohort folder of pseudonyms: most likely they have the hospital's numbers."""
    rule = "must be a participant of the folder, whose others have pseudonyms of an import"
    remedy = "Give --link with the table that aspects import wrote, or list the participant in participants.tsv before."
    refusal = Refusal(STRANGER, rule, remedy)
    return [Stop(row.number, mapping.id, "", refusal) for row in intake.rows if row.participant_id not in known]


def check_values(mapping: TableMapping, links: Links, participants: frozenset[str]) -> None:
    """Refuse values that would keep a date or a hospital's number in cohort.toml.

    Raises
    ------
    UsageError
    """
    if not participants:
        return
    if links.owners is not None and mapping.values.get(ID):
        raise UsageError(
            "--value participant_id must not be given with --link: the hospital's numbers would stand in cohort.toml. "
            "Correct the numbers in FILE, or give --id-digits."
        )
    dated = [
        name
        for name, texts in mapping.values.items()
        if any(holds_date(text) for text in (*texts, *texts.values())) and not _is_kept(name, mapping)
    ]
    if dated:
        raise UsageError(
            f"--value must hold no dates beside scans whose dates are shifted, and that of {', '.join(dated)} does: it "
            "would stand in cohort.toml. Correct the cells in FILE, or give n/a."
        )


def _is_kept(column: str, mapping: TableMapping) -> bool:
    """Whether the dates of a column of the folder are taken as they are."""
    return any(to == column and name in mapping.keep_dates for name, to in mapping.columns.items())


def without_earlier_dates(merged: Merged, asked: Asked, participants: frozenset[str]) -> Merged:
    """Changes that do not tell which date stood in the folder: one taken in before may be true."""
    mapping = asked.mapping
    dated = {
        to
        for name, to in mapping.columns.items()
        if column_of(to, mapping.into, asked.clinical).read_as == "date" and name not in mapping.keep_dates
    }

    def told(change: Change) -> Change:
        is_dated = change.participant_id in participants and change.column in dated
        return replace(change, written="") if is_dated and change.written != MISSING else change

    return replace(merged, changes=tuple(map(told, merged.changes)))
