"""What ``aspects import-table`` is asked to do: a mapping stored in the study, completed by options and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.foreign_table import ForeignTable, TableForm, read_delimited
from cohorts.folder.foreign_values import Habits, read_foreign
from cohorts.folder.problems import Read, nearest, printable
from cohorts.folder.redcap import DictionaryField, is_long, read_dictionary, widened
from cohorts.folder.study import StudyConfig
from cohorts.folder.suspicions import plain
from cohorts.folder.table_mapping import (
    READING_COLUMNS,
    TableMapping,
    column_of,
    parse_map,
    parse_value,
    target_problems,
)
from cohorts.folder.table_reading import read_foreign_table
from flows.run.request import PreflightError, UsageError

ID = "participant_id"
_NAMED = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


@dataclass(frozen=True)
class TableRequest:
    """The command's arguments; ``given`` holds what options say of the mapping, by its keys."""

    file: Path
    cohort: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    dictionary: Path | None = None
    link: Path | None = None
    key: Path | None = None
    listing: Path | None = None
    is_dry: bool = False
    is_agreed: bool = False


@dataclass(frozen=True)
class Asked:
    """A mapping in the making, with the clinical columns that it declares; ``id`` is empty until it is known."""

    mapping: TableMapping
    clinical: Mapping[str, ClinicalColumn]
    declared: tuple[ClinicalColumn, ...] = ()


def stored_mapping(config: StudyConfig, request: TableRequest) -> TableMapping:
    """The study's mapping that options name, or its only one for that table, with the options over it.

    Raises
    ------
    UsageError
        Several mappings fit, or an option breaks its rule.
    """
    given = dict(request.given)
    name, into = given.get("name"), given.get("into")
    fitting = [m for m in config.table if name in (None, m.name) and into in (None, m.into)]
    if len(fitting) > 1 and name is None:
        exact = [m for m in fitting if m.name == (into or "participants")]
        if len(exact) != 1:
            named = ", ".join(m.name for m in fitting)
            raise UsageError(f"--table must name one of the study's mappings where several fit, got {named}.")
        fitting = exact
    stored: dict[str, Any] = fitting[0].model_dump() if fitting else {"id": "", "into": into or "participants"}
    stored.setdefault("name", name or stored["into"])
    if "separator" in given:
        given["separator"] = _NAMED.get(given["separator"], given["separator"])
    if "missing" in given:
        given["missing"] = tuple(dict.fromkeys([*stored.get("missing", ()), *given["missing"]]))
    try:
        values = {column: dict(texts) for column, texts in stored.get("values", {}).items()}
        for column, written, value in map(parse_value, request.values):
            values.setdefault(column, {})[written] = value
        return TableMapping.model_validate(stored | given | {"values": values})
    except (ValidationError, ValueError) as error:
        raise UsageError(_words(error)) from None


def read_file(path: Path, form: TableForm) -> ForeignTable:
    """Read a table of any kind; events and instances of REDCap become columns."""
    table = read_foreign_table(path, form)
    return widened(table) if is_long(table) else table


def dictionary_of(path: Path | None) -> dict[str, DictionaryField]:
    """Fields of REDCap's data dictionary; none without one."""
    return read_dictionary(read_delimited(path, TableForm(separator=","))) if path else {}


def with_columns(
    asked: Asked, table: ForeignTable, request: TableRequest, fields: Mapping[str, DictionaryField]
) -> Asked:
    """Map the columns that options name, and those called as in the cohort folder; declare what is new.

    Raises
    ------
    UsageError
        A column is not in the file or not in the cohort, or identifies people; all of them are named.
    """
    mapping = asked.mapping
    known = [*asked.clinical, "site", "split"] if mapping.into == "participants" else list(READING_COLUMNS)
    ignored = list(dict.fromkeys([*mapping.ignored, *request.ignored]))
    columns = dict(mapping.columns)
    declared = {column.column: column for column in asked.declared}
    try:
        parsed = [parse_map(text) for text in request.maps]
    except ValueError as error:
        raise UsageError(str(error)) from None
    for column, target in parsed:
        columns = {name: to for name, to in columns.items() if to != target.column} | {column: target.column}
        if target.declared is not None and target.column not in asked.clinical:
            declared[target.column] = target.declared
    for name in table.columns:
        if name in known and name not in columns and name not in ignored and name not in columns.values():
            columns[name] = name
    problems = []
    for column, to in columns.items():
        found = fields.get(_field(column))
        if found and found.is_identifier:
            problems.append(f"{printable(column)} must not be imported: the dictionary says that it identifies people.")
        if found and to not in (*known, *declared) and mapping.into == "participants":
            declared[to] = found.column.model_copy(update={"column": to})
    clinical = {**asked.clinical, **declared}
    problems += target_problems(columns.values(), mapping.into, clinical)
    used = [*columns, *([mapping.id] if mapping.id else [])]
    for name in used:
        if name not in table.columns:
            near = nearest(name, table.columns)
            hint = f" Did you mean {printable(near)}?" if near else ""
            problems.append(f"{printable(name)} must be a column of FILE ({_named(table.columns)}).{hint}")
    if not mapping.id and ID in table.columns:
        mapping = mapping.model_copy(update={"id": ID})
    if problems:
        raise UsageError("\n".join(problems))
    values = {name: dict(texts) for name, texts in mapping.values.items()}
    for column, to in columns.items():
        found = fields.get(_field(column))
        if found:
            codes = _codes(found.column, column_of(to, mapping.into, clinical))
            values[to] = codes | values.get(to, {})
    values = {name: texts for name, texts in values.items() if texts}
    update = {"columns": columns, "ignored": tuple(ignored), "values": values}
    try:
        checked = TableMapping.model_validate(mapping.model_dump() | update)
    except ValidationError as error:
        raise UsageError(_words(error)) from None
    return replace(asked, mapping=checked, clinical=clinical, declared=tuple(declared.values()))


def unmapped(table: ForeignTable, mapping: TableMapping) -> list[str]:
    """Columns of the file that are neither imported nor ignored."""
    return [
        name for name in table.columns if name not in mapping.columns and name not in (mapping.id, *mapping.ignored)
    ]


def likely_target(column: str, known: Iterable[str]) -> str | None:
    """The column of the cohort that a column of the file most likely is, for a question.

    >>> likely_target("NIHSS bei Aufnahme", ["nihss", "mrs_90d"])
    'nihss'
    """
    names = list(known)
    inside = [name for name in names if len(plain(name)) > 2 and plain(name) in plain(column)]
    return max(inside, key=len) if inside else nearest(column, names)


def text_of(path: Path) -> str:
    """Text of a table of ours; empty where there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError:
        raise PreflightError(f"{path.name} must be UTF-8 text. Save it again as UTF-8, then import.") from None


def _codes(field: ClinicalColumn, ours: ClinicalColumn) -> dict[str, str]:
    """What the codes and labels of a dictionary mean in a column that is declared otherwise."""
    if field.levels is None or field.levels == ours.levels:
        return {}
    found: dict[str, str] = {}
    for code, label in field.levels.items():
        if ours.levels and code not in ours.level_of:
            read = read_foreign(str(label), ours, Habits())
            if isinstance(read, Read):
                found[code] = read.value
        elif ours.read_as in NUMERIC and not ours.levels:
            found[str(label)] = code
    return found


def _field(column: str) -> str:
    """REDCap's field of a column that names its event or instance too."""
    return re.split("[@#]", column)[0]


def _named(columns: Iterable[str]) -> str:
    """Names of columns, the first of many."""
    names = list(columns)
    return ", ".join(map(printable, names[:12])) + (", ..." if len(names) > 12 else "")


def _words(error: Exception) -> str:
    """An error of an option without pydantic's own words."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'mapping'}: {one['msg']}" for one in error.errors())
    return str(error)
