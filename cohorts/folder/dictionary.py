"""``participants.json``: the BIDS dictionary that describes the columns of ``participants.tsv``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cohorts.folder.problems import Problem, did_you_mean
from cohorts.folder.study import StudyConfig
from cohorts.folder.tsv import TsvTable, read_text

FILE = "participants.json"
LONGEST_LABEL = 40  # a longer description does not fit a table's first column


def describe_columns(folder: Path, config: StudyConfig, table: TsvTable | None) -> tuple[StudyConfig, list[Problem]]:
    """Complete labels and units of the clinical columns from the dictionary, where cohort.toml gives none.

    Returns
    -------
    The study with labels and units filled in, and the problems; no dictionary is no problem.
    """
    if not (folder / FILE).exists():
        return config, []
    content, problem = _read(folder)
    if problem:
        return config, [problem]
    problems = []
    columns = table.columns if table else ()
    for name in content:
        if columns and name not in columns:
            remedy = did_you_mean(name, columns) + "Rename or delete the entry."
            rule = "must be a column of participants.tsv"
            problems.append(Problem(FILE, None, name, None, rule, remedy, "unknown_description", is_warning=True))
    plain = [name for name in columns if name and not _text(content, name, "Description")]
    if plain:
        rule, remedy = f"must describe every column, got none for {', '.join(plain)}", "Add a Description to each."
        problems.append(Problem(FILE, None, None, None, rule, remedy, "missing_description", is_warning=True))
    clinical = tuple(
        item.model_copy(
            update={
                "label": item.label or _label(content, item.column),
                "unit": item.unit or _text(content, item.column, "Units"),
            }
        )
        for item in config.clinical
    )
    return config.model_copy(update={"clinical": clinical}), problems


def _read(folder: Path) -> tuple[dict[str, Any], Problem | None]:
    """The dictionary, or why it cannot be read."""
    text, problem = read_text(folder, FILE)
    if text is None:
        return {}, problem
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        row = error.lineno if isinstance(error, json.JSONDecodeError) else None
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        remedy = "Look for a missing comma, quote or bracket in this row or the one before."
        return {}, Problem(FILE, row, None, None, f"must be valid JSON ({message})", remedy, "invalid_json")
    if not isinstance(content, dict):
        rule, remedy = "must be one object in braces", 'Write { "column": { "Description": "..." } }.'
        return {}, Problem(FILE, 1, None, None, rule, remedy, "invalid_json")
    return content, None


def _text(content: dict[str, Any], column: str, key: str) -> str:
    """One text of a column's entry, empty where it has none."""
    entry = content.get(column)
    value = entry.get(key) if isinstance(entry, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _label(content: dict[str, Any], column: str) -> str:
    """The column's long name, or its description where that is short enough for a table."""
    description = _text(content, column, "Description")
    return _text(content, column, "LongName") or (description if len(description) <= LONGEST_LABEL else "")
