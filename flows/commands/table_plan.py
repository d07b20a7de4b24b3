"""An import of somebody else's table, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.folder.foreign_table import ForeignTable
from cohorts.folder.problems import Refusal, printable
from cohorts.folder.study_file import read_study
from cohorts.folder.suspicions import likely_same_ids
from cohorts.folder.table_mapping import TableMapping
from cohorts.folder.table_merge import FILES, Merged, folder_table, merge
from cohorts.folder.table_rows import Change, Intake, Stop, read_rows
from cohorts.folder.tsv import as_participant_id
from cohorts.tables.schemas import RESERVED_COLUMNS
from flows.commands.table_dates import (
    check_values,
    date_shifts_of,
    read_link_table,
    shifted_in,
    strangers,
    without_earlier_dates,
)
from flows.commands.table_questions import Ask, ask_columns, ask_stops
from flows.commands.table_request import (
    Asked,
    TableRequest,
    dictionary_of,
    likely_target,
    read_file,
    stored_mapping,
    text_of,
    unmapped,
    with_columns,
)
from flows.run.request import PreflightError, UsageError
from flows.sources.registry import STUDY

IDS_SHOWN = 3


@dataclass(frozen=True)
class Planned:
    """An import that could be written."""

    asked: Asked
    table: ForeignTable
    intake: Intake
    merged: Merged
    before: str
    is_stored: bool = False  # the study has this mapping already

    @property
    def changes(self) -> list[Change]:
        """Everything that is done and left undone."""
        return [*self.merged.changes, *self.intake.changes, *self.left_out]

    @property
    def left_out(self) -> list[Change]:
        """Rows that need a person to look at them."""
        return [*self.intake.left_out, *self.merged.left_out]


def plan_import(request: TableRequest, console: Console, ask: Ask | None) -> Planned | list[Stop]:
    """Read a file and lay it over the cohort folder, without writing.

    Returns
    -------
    The import; or the cells without one reading, where nobody can be asked what they mean.

    Raises
    ------
    UsageError, PreflightError, ForeignTableError
        An option, the cohort folder or the file breaks a rule.
    """
    config, _ = read_study(request.cohort, STUDY)
    mapping = stored_mapping(config, request)
    table = read_file(request.file, mapping.form)
    fields = dictionary_of(request.dictionary)
    clinical = {item.column: item for item in config.clinical if item.column not in RESERVED_COLUMNS}
    asked = with_columns(Asked(mapping, clinical), table, request, fields)
    if ask is not None and (not asked.mapping.id or unmapped(table, asked.mapping)):
        name, maps, ignored = ask_columns(asked, table, ask, console)
        asked = replace(asked, mapping=asked.mapping.model_copy(update={"id": name}))
        more = replace(request, maps=tuple(maps), ignored=tuple(ignored))
        asked = with_columns(asked, table, more, fields)
    if not asked.mapping.id or not asked.mapping.columns:
        raise UsageError(_what_to_map(table, asked))
    shifted = shifted_in(request.cohort)
    links = read_link_table(request.link, request.cohort, is_imported=bool(shifted))
    while True:
        check_values(asked.mapping, links, shifted)
        shifts = date_shifts_of(request, asked, links, shifted)
        intake = read_rows(table, asked.mapping, asked.clinical, links.owners, shifts)
        if links.owners is None:
            known = _known(request.cohort)
            intake.stops += _ids_spelt_otherwise(known, intake, asked.mapping)
            intake.stops += strangers(intake, known, asked.mapping) if shifted and not intake.stops else []
        if not intake.stops:
            break
        answered = ask_stops(intake.stops, asked.mapping, ask, console) if ask else None
        if answered is None:
            return intake.stops
        used = set(answered.columns.values())
        asked = replace(asked, mapping=answered, declared=tuple(one for one in asked.declared if one.column in used))
    path = request.cohort / FILES[asked.mapping.into]
    before = text_of(path)
    folder = folder_table(before)
    if before and "participant_id" not in folder.columns:
        raise PreflightError(f"{path.name} must have the column participant_id. See aspects check.")
    merged = without_earlier_dates(merge(folder, intake.rows, asked.mapping, asked.clinical), asked, shifted)
    is_stored = not asked.declared and asked.mapping in config.table
    return Planned(asked, table, intake, merged, before, is_stored)


def _what_to_map(table: ForeignTable, asked: Asked) -> str:
    """Say what options are needed, with what is most likely meant."""
    known: Mapping[str, ClinicalColumn] = asked.clinical
    lines = [f"FILE has the columns {', '.join(map(printable, table.columns))}."]
    if not asked.mapping.id:
        lines.append("--id must name the column of the participant. Give --id COLUMN.")
    if not asked.mapping.columns:
        near = [(name, likely_target(name, known)) for name in unmapped(table, asked.mapping)]
        likely = [f'--map "{name}={to}"' for name, to in near if to]
        lines.append(f"At least one column must be mapped. Give --map, such as {' '.join(likely[:5])}".rstrip())
    return "\n".join(lines)


def _known(cohort: Path) -> set[str]:
    """Everybody in the tables of the cohort folder."""
    known = set()
    for name in (*FILES.values(), "scans.tsv"):
        rows = folder_table(text_of(cohort / name)).rows
        known |= {as_participant_id(row.get("participant_id", "")) for row in rows}
    return known


def _ids_spelt_otherwise(known: set[str], intake: Intake, mapping: TableMapping) -> list[Stop]:
    """Ids that the folder has in another spelling, above all with zeros that a spreadsheet took away."""
    ours = {row.participant_id: row.number for row in intake.rows}
    pairs = likely_same_ids((name for name in ours if name not in known), known - set(ours))
    if not pairs:
        return []
    told = ", ".join(f"{printable(a)} is {printable(b)}" for a, b in pairs[:IDS_SHOWN]) + (
        ", ..." if len(pairs) > IDS_SHOWN else ""
    )
    labels = [(a.removeprefix("sub-"), b.removeprefix("sub-")) for a, b in pairs]
    widths = {len(b) for _, b in labels}
    rule = f"must be spelt as in the folder; {len(pairs)} of {len(ours)} ids match "
    if all(a.isdecimal() and b.isdecimal() for a, b in labels) and len(widths) == 1:
        rule, remedy = f"{rule}after zero-padding ({told})", f"Give --id-digits {widths.pop()}."
    else:
        rule = f"{rule}but for zeros, case, accents or punctuation ({told})"
        remedy = f'Correct them, or give --value "participant_id:{labels[0][0]}={labels[0][1]}" for each.'
    return [Stop(None, mapping.id, "", Refusal("ids_spelt_otherwise", rule, remedy))]
