"""What ``aspects import-table`` asks at a terminal: columns, habits and cells that have no one reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from cohorts.folder.foreign_table import ForeignTable
from cohorts.folder.problems import printable
from cohorts.folder.suspicions import rows_text
from cohorts.folder.table_mapping import READING_COLUMNS, TableMapping
from cohorts.folder.table_rows import NAMES_PATIENT, STRANGER, Stop
from cohorts.folder.true_dates import DATE_IN_TEXT, TRUE_DATE
from flows.commands.table_request import Asked, likely_target, unmapped

#: Shows a question, gives the answer.
Ask = Callable[[str], str]
_HABITS = {"ambiguous_date": ("dates", ("dmy", "mdy", "ymd")), "ambiguous_number": ("decimal", ("comma", "point"))}
#: What no answer makes right: the column is left out, or the import ends.
LEFT_OUT_ONLY = (TRUE_DATE, DATE_IN_TEXT, NAMES_PATIENT)


def ask_columns(asked: Asked, table: ForeignTable, ask: Ask, console: Console) -> tuple[str, list[str], list[str]]:
    """Ask which column names the participant, and what every other one is.

    Returns
    -------
    The id column, and texts as of ``--map`` and ``--ignore``.
    """
    mapping = asked.mapping
    known = [*asked.clinical, "site", "split"] if mapping.into == "participants" else list(READING_COLUMNS)
    id_column = mapping.id
    while id_column not in table.columns:
        near = likely_target("participant id patient", table.columns)
        told = f" [{printable(near)}]" if near else ""
        id_column = ask(f"Which column names the participant{told}? ").strip() or near or ""
    maps: list[str] = []
    ignored: list[str] = []
    asked_for = [name for name in unmapped(table, mapping) if name != id_column]
    if asked_for:
        _say(console, f"Columns of {mapping.into}.tsv: {', '.join(known)}")
        _say(
            console, "Answer with one of them, with NAME:KIND for a new one (integer, number, category, boolean, date,"
        )
        _say(console, "text), with - for a column that is not imported; Enter takes what stands in brackets.")
    for name in asked_for:
        free = [one for one in known if one not in mapping.columns.values() and one not in _targets(maps)]
        near = likely_target(name, free) or "-"
        cells = list(dict.fromkeys(row.cells[name] for row in table.rows if row.cells[name]))[:3]
        answer = (
            ask(f"{printable(name)} (such as {', '.join(map(printable, cells)) or 'nothing'}) [{near}]: ").strip()
            or near
        )
        if answer == "-":
            ignored.append(name)
        else:
            maps.append(f"{name}={answer}")
    return id_column, maps, ignored


def ask_stops(stops: Sequence[Stop], mapping: TableMapping, ask: Ask, console: Console) -> TableMapping | None:
    """Ask how cells without one reading are meant; None where the answer is to stop."""
    for reason, (habit, choices) in _HABITS.items():
        of_kind = [stop for stop in stops if stop.refusal.reason == reason]
        if of_kind:
            first = of_kind[0]
            _say(console, f"{printable(first.column)}: {printable(first.written)} {first.refusal.rule}.")
            answer = ask(f"Which is it in this table: {', '.join(choices)}? Enter stops. ").strip()
            if answer not in choices:
                return None
            return TableMapping.model_validate(mapping.model_dump() | {habit: answer})
    of_people = list(dict.fromkeys(stop.column for stop in stops if stop.refusal.reason in LEFT_OUT_ONLY))
    for name in of_people:
        first = next(stop for stop in stops if stop.column == name and stop.refusal.reason in LEFT_OUT_ONLY)
        _say(console, f"{printable(name)}: {first.refusal.rule}. {first.refusal.remedy}")
        if ask(f"Leave the column {printable(name)} out? [y/N] ").strip().casefold() not in ("y", "yes"):
            return None
    if of_people:
        columns = {name: to for name, to in mapping.columns.items() if name not in of_people}
        more = {"columns": columns, "ignored": (*mapping.ignored, *of_people)}
        return TableMapping.model_validate(mapping.model_dump() | more)
    if any(stop.refusal.reason == STRANGER for stop in stops):
        return None
    for stop in stops:
        if stop.row is None:  # the ids of the whole file
            _say(console, f"{printable(stop.column)}: {stop.refusal.rule}.")
            digits = re.search(r"--id-digits ([0-9]+)", stop.refusal.remedy)
            if digits is None or ask(f"Fill ids with zeros to {digits[1]} digits? [y/N] ").strip().casefold() != "y":
                return None
            return TableMapping.model_validate(mapping.model_dump() | {"id_digits": int(digits[1])})
    values = {column: dict(texts) for column, texts in mapping.values.items()}
    for (column, written), alike in _by_text(stops).items():
        rows = rows_text([stop.row for stop in alike if stop.row is not None])
        _say(console, f"{printable(column)}: {printable(written)} ({rows}) {alike[0].refusal.rule}.")
        answer = ask("What does it mean? A value, or n/a; Enter stops. ").strip()
        if not answer:
            return None
        target = "participant_id" if column == mapping.id else mapping.columns[column]
        values.setdefault(target, {})[written] = answer
    return TableMapping.model_validate(mapping.model_dump() | {"values": values})


def _by_text(stops: Iterable[Stop]) -> dict[tuple[str, str], list[Stop]]:
    """Cells of one column and text together."""
    found: dict[tuple[str, str], list[Stop]] = {}
    for stop in stops:
        found.setdefault((stop.column, stop.written), []).append(stop)
    return found


def _targets(maps: Iterable[str]) -> set[str]:
    """Columns that answers have filled."""
    return {text.rpartition("=")[2].partition(":")[0] for text in maps}


def _say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
