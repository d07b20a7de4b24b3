"""REDCap: exports with one row per event or instance made one row per record, and the data dictionary as declarations.

A field of a longitudinal export becomes ``field@event``, one of a repeating instrument ``field@instrument#2``, whatever
the file holds, so that a newer export has the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cohorts.folder.clinical_column import ClinicalColumn, ReadAs, clinical_column
from cohorts.folder.foreign_table import ForeignRow, ForeignTable, ForeignTableError
from cohorts.folder.problems import printable

EVENT, INSTRUMENT, INSTANCE = "redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance"
_OWN = (EVENT, INSTRUMENT, INSTANCE, "redcap_data_access_group", "redcap_survey_identifier")
_NAME, _TYPE, _CHOICES = "Variable / Field Name", "Field Type", "Choices, Calculations, OR Slider Labels"
_LABEL, _CHECK = "Field Label", "Text Validation Type OR Show Slider Number"
_LOW, _HIGH, _IDENTIFIER = "Text Validation Min", "Text Validation Max", "Identifier?"
_DATE = re.compile(r"date(time)?(_seconds)?_(?P<order>dmy|mdy|ymd)")


@dataclass(frozen=True)
class DictionaryField:
    """One field of a data dictionary: how it is declared here, and whether it identifies people."""

    column: ClinicalColumn
    is_identifier: bool


def is_long(table: ForeignTable) -> bool:
    """Whether a record may have several rows."""
    return EVENT in table.columns or INSTRUMENT in table.columns


def widened(table: ForeignTable) -> ForeignTable:
    """One row per record, every field named with its event or instance; fields without any content are left out.

    Raises
    ------
    ForeignTableError
        Two rows of one record are of the same event and instance.
    """
    id_column = table.columns[0]
    fields = [name for name in table.columns[1:] if name not in _OWN]
    records: dict[str, ForeignRow] = {}
    names: dict[str, None] = {}
    seen: dict[tuple[str, str], int] = {}
    for row in table.rows:
        suffix = _suffix(row.cells)
        key = (row.cells[id_column], suffix)
        if key in seen:
            raise ForeignTableError(
                f"rows must be of different events or instances, got rows {seen[key]} and {row.number} of one record "
                "alike. Export it again."
            )
        seen[key] = row.number
        record = records.setdefault(row.cells[id_column], ForeignRow(row.number, {id_column: row.cells[id_column]}))
        for name in fields:
            if row.cells[name]:
                names.setdefault(f"{name}{suffix}")
                record.cells[f"{name}{suffix}"] = row.cells[name]
    ordered = sorted(names, key=lambda name: fields.index(re.split("[@#]", name)[0]))
    rows = tuple(
        ForeignRow(row.number, {id_column: row.cells[id_column]} | {name: row.cells.get(name, "") for name in ordered})
        for row in records.values()
    )
    note = f"{len(table.rows)} rows of events and instances are {len(rows)} records; fields are called field@event"
    return ForeignTable((id_column, *ordered), rows, (*table.notes, note))


def _suffix(cells: Mapping[str, str]) -> str:
    """What tells the rows of one record apart."""
    event, instrument, instance = (cells.get(name, "") for name in (EVENT, INSTRUMENT, INSTANCE))
    place = instrument or event
    return (f"@{place}" if place else "") + (f"#{instance}" if instance else "")


def read_dictionary(table: ForeignTable) -> dict[str, DictionaryField]:
    """Read a data dictionary: field -> how it is declared.

    Check boxes give one yes-or-no column per choice, ``field___code``, as exports have them.

    Raises
    ------
    ForeignTableError
        The table is no data dictionary.
    """
    missing = [name for name in (_NAME, _TYPE, _CHOICES) if name not in table.columns]
    if missing:
        raise ForeignTableError(
            f"--dictionary must be REDCap's data dictionary, got a table without {', '.join(missing)}. Download it "
            "from the project's page Data Dictionary."
        )
    fields: dict[str, DictionaryField] = {}
    for row in table.rows:
        cells = {name: row.cells.get(name, "") for name in table.columns}
        if cells[_TYPE] in ("descriptive", "file"):
            continue
        is_identifier = cells.get(_IDENTIFIER, "").casefold() in ("y", "yes")
        if cells[_TYPE] == "checkbox":
            for code, label in _choices(cells[_CHOICES]).items():
                column = clinical_column(column=f"{cells[_NAME]}___{code.lower()}", read_as="boolean", label=label)
                fields[column.column] = DictionaryField(column, is_identifier)
            continue
        fields[cells[_NAME]] = DictionaryField(_column(cells), is_identifier)
    return fields


def _column(cells: Mapping[str, str]) -> ClinicalColumn:
    """How one field is declared."""
    kind, check = cells[_TYPE], cells.get(_CHECK, "")
    levels: dict[str, str] | None = None
    read_as: ReadAs = "text"
    if kind in ("yesno", "truefalse"):
        read_as = "boolean"
    elif kind in ("radio", "dropdown"):
        levels = _choices(cells[_CHOICES])
        is_number = all(re.fullmatch(r"-?[0-9]+", code) for code in levels) and len(levels) > 2
        read_as = "integer" if is_number else "category"
    elif kind == "slider" or check == "integer":
        read_as = "integer"
    elif kind == "calc" or check.startswith("number"):
        read_as = "number"
    elif _DATE.fullmatch(check):
        read_as = "date"
    low, high = (_limit(cells.get(name, "")) if read_as in ("integer", "number") else None for name in (_LOW, _HIGH))
    label = re.sub(r"<[^>]*>", "", cells.get(_LABEL, ""))
    return ClinicalColumn.model_validate(
        {"column": cells[_NAME], "read_as": read_as, "label": label, "minimum": low, "maximum": high, "levels": levels}
    )


def _choices(text: str) -> dict[str, str]:
    """``1, Male | 2, Female`` as code -> label."""
    found: dict[str, str] = {}
    for choice in text.split("|"):
        code, is_pair, label = choice.strip().partition(",")
        if not is_pair:
            raise ForeignTableError(
                f"choices must be CODE, LABEL, got {printable(choice.strip())}. Correct the dictionary."
            )
        found[code.strip()] = label.strip()
    return found


def _limit(text: str) -> float | None:
    """A limit of a number, None where there is none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
