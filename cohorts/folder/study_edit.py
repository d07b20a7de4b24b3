"""Adding to ``cohort.toml`` without touching what a person wrote: comments, order and spelling stay."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit
from tomlkit.items import AoT

from cohorts.folder.clinical_column import ClinicalColumn
from cohorts.folder.table_mapping import TableMapping


def with_table(text: str, mapping: TableMapping, columns: Iterable[ClinicalColumn]) -> str:
    """Return the study with a mapping added or replaced by name, and with new clinical columns.

    Raises
    ------
    ValueError
        The file writes these sections in a form that cannot be extended; the message has what to add by hand.
    """
    document = tomlkit.parse(text)
    added = [_plain(column) for column in columns]
    table = {"name": mapping.name, "into": mapping.into} | _plain(mapping)
    expected = tomllib.loads(text)
    expected["clinical"] = [*expected.get("clinical", []), *added]
    if not expected["clinical"]:
        del expected["clinical"]
    others = [item for item in expected.get("table", []) if item.get("name", "participants") != mapping.name]
    expected["table"] = [*others, table]
    for item in added:
        _append(document, "clinical", item)
    tables = document.get("table")
    if isinstance(tables, AoT):
        for place in reversed(range(len(tables))):
            if tables[place].get("name", "participants") == mapping.name:
                del tables[place]
        if not len(tables):
            del document["table"]
    _append(document, "table", table)
    changed = tomlkit.dumps(document)
    if tomllib.loads(changed) != expected:
        sections = tomlkit.dumps({"clinical": added, "table": [table]} if added else {"table": [table]})
        raise ValueError(f"cohort.toml must be extended by hand. Add these sections to it, then run again:\n{sections}")
    return changed


def _append(document: tomlkit.TOMLDocument, name: str, item: Mapping[str, Any]) -> None:
    """Add one section to an array of sections."""
    section = tomlkit.table()
    for key, value in item.items():
        section.add(key, _inline(value) if key == "levels" else value)
    array = document.get(name)
    if isinstance(array, AoT):
        array.append(section)
    else:
        new = tomlkit.aot()
        new.append(section)
        document.append(name, new)


def _inline(levels: Mapping[str, Any]) -> Any:
    """Levels on one line, as people write them."""
    table = tomlkit.inline_table()
    table.update(levels)
    return table


def _plain(model: ClinicalColumn | TableMapping) -> dict[str, Any]:
    """What was given of a section, as TOML has it."""
    return {
        key: value for key, value in model.model_dump(mode="json", exclude_defaults=True).items() if value is not None
    }
