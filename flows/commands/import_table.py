"""``aspects import-table``: somebody else's table becomes rows of the cohort folder, every change listed before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from cohorts.folder.foreign_table import ForeignTableError
from cohorts.folder.problems import printable
from cohorts.folder.study_edit import with_table
from cohorts.folder.study_file import FILE as STUDY_FILE
from cohorts.folder.suspicions import rows_text
from cohorts.folder.table_merge import FILES
from cohorts.folder.table_rows import CHANGES_FILE, Change, Stop
from cohorts.folder.tsv import MISSING
from cohorts.store.records import write_bytes
from cohorts.tables.storage import tsv_line, tsv_text
from flows.commands.failures import EXIT_FAILED_CASES, EXIT_OK, EXIT_PREFLIGHT
from flows.commands.table_plan import Planned, plan_import
from flows.commands.table_questions import Ask
from flows.commands.table_request import TableRequest, text_of, unmapped
from flows.engine.lock import run_lock
from flows.run.request import PreflightError, UsageError

COMMAND = "aspects import-table"
SHOWN = 3
_TITLES = {
    "added": "New",
    "changed": "Values of the folder that change",
    "emptied": "Values of the folder that are emptied",
    "filled in": "Values that were missing",
    "kept": "Values of the folder that stay, as the file has none",
    "read": "Written otherwise than in the file",
}


def import_table(request: TableRequest, console: Console, ask: Ask | None = None) -> int:
    """Read a table, list what it changes and, where that is agreed, write it.

    Parameters
    ----------
    request : the command's arguments
    console : where everything is listed
    ask : asks the person at the terminal; None where there is none

    Returns
    -------
    0 where everything could be imported, 1 where rows are left out, 3 where cells have no one reading.

    Raises
    ------
    UsageError, PreflightError
        An option or the file breaks a rule; nothing is written.
    """
    if not request.file.is_file():
        raise UsageError(f"FILE must be a table, got {request.file}, which is no file. Correct the path.")
    try:
        planned = plan_import(request, console, ask)
    except ForeignTableError as error:
        raise PreflightError(f"{printable(request.file.name)}: {error}") from None
    if isinstance(planned, list):
        _show_stops(planned, console)
        return EXIT_PREFLIGHT
    _show(planned, console)
    if request.listing is not None:
        write_bytes(request.listing, tsv_text([_cells(change) for change in planned.changes]).encode())
    done = EXIT_FAILED_CASES if planned.left_out else EXIT_OK
    if planned.is_stored and not planned.merged.changes:
        _say(console, "There is nothing to write.")
        return done
    if request.is_dry:
        _say(console, "Nothing is written (--dry-run).")
        return done
    if not request.is_agreed:
        if ask is None:
            raise UsageError("Nothing is written: give --yes to write these changes, where no terminal can be asked.")
        if ask("Write these changes? [y/N] ").strip().casefold() not in ("y", "yes"):
            _say(console, "Nothing is written.")
            return done
    with run_lock(request.cohort, COMMAND):
        _write(planned, request)
    _say(console, f"Written: {request.cohort / FILES[planned.asked.mapping.into]}; every change is in {CHANGES_FILE}")
    return done


def _show_stops(stops: Sequence[Stop], console: Console) -> None:
    """Every cell without one reading, by column and rule, the first rows of each."""
    _say(console, f"These cells have no one reading; nothing is written ({len(stops)}):")
    groups: dict[tuple[str, str], list[Stop]] = {}
    for stop in stops:
        groups.setdefault((stop.column, stop.refusal.reason), []).append(stop)
    for alike in groups.values():
        texts: dict[str, list[Stop]] = {}
        for stop in alike:
            texts.setdefault(stop.written, []).append(stop)
        for written, same in list(texts.items())[:SHOWN]:
            numbers = [stop.row for stop in same if stop.row is not None]
            where = f"{rows_text(numbers)}, " if numbers else ""
            value = f"{printable(written)} " if written else ""
            told = (
                f"  {where}column {printable(same[0].column)}: {value}{same[0].refusal.rule}. {same[0].refusal.remedy}"
            )
            _say(console, told)
        if len(texts) > SHOWN:
            _say(console, f"    ... and {len(texts) - SHOWN} more texts of this kind")


def _show(planned: Planned, console: Console) -> None:
    """What was decided about the file, what changes, and what is left out."""
    mapping, table = planned.asked.mapping, planned.table
    _say(console, f"{len(table.rows)} rows; participants are named by {printable(mapping.id)}")
    for note in (*table.notes, *planned.intake.notes):
        _say(console, f"  {note}")
    for name, to in mapping.columns.items():
        _say(console, f"  {printable(name)} -> {to}")
    for column in planned.asked.declared:
        _say(console, f"  new in {STUDY_FILE}: {column.column}, read as {column.read_as}")
    if rest := unmapped(table, mapping):
        _say(console, f"  not imported: {', '.join(map(printable, rest))}")
    if not planned.merged.changes:
        _say(console, f"No value of {FILES[mapping.into]} changes.")
    for what, title in _TITLES.items():
        _show_changes(title, [change for change in planned.changes if change.what == what], console)
    _show_changes("LEFT OUT, and to be looked at", planned.left_out, console)
    if planned.merged.n_untouched:
        n = planned.merged.n_untouched
        _say(console, f"Not in the file, and left as they are: {n} row{'s' if n > 1 else ''} of {FILES[mapping.into]}")


def _show_changes(title: str, changes: Sequence[Change], console: Console) -> None:
    """Changes of one kind, by column and rule, the first rows of each."""
    if not changes:
        return
    console.print(f"{title} ({len(changes)})", markup=False, highlight=False, style="bold")
    groups: dict[tuple[str | None, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.column, change.rule), []).append(change)
    for alike in groups.values():
        for change in alike[:SHOWN]:
            _say(console, f"  {_text(change)}")
        if len(alike) > SHOWN:
            _say(console, f"    ... and {len(alike) - SHOWN} more")


def _text(change: Change) -> str:
    """One change on one line."""
    whose = [
        change.participant_id or "",
        f"row {change.row}" if change.row else "",
        printable(change.column or " ").strip("' "),
    ]
    arrow = f"{printable(change.written)} -> {printable(change.becomes)}" if change.written else change.becomes
    return f"{', '.join(filter(None, whose))}: {arrow + '; ' if arrow else ''}{change.rule}"


def _write(planned: Planned, request: TableRequest) -> None:
    """The study's mapping, the table, and the list of changes, which grows with every import."""
    study = request.cohort / STUDY_FILE
    text = study.read_bytes().decode("utf-8-sig")
    try:
        changed = with_table(text, planned.asked.mapping, planned.asked.declared)
    except ValueError as error:
        raise PreflightError(str(error)) from None
    path = request.cohort / FILES[planned.asked.mapping.into]
    if text_of(path) != planned.before:
        raise PreflightError(f"{path.name} was changed by somebody else in the meantime. Import again.")
    if changed != text:
        write_bytes(study, changed.encode())
    table = planned.merged.table
    if planned.merged.changes:
        write_bytes(path, table.text.encode())
    log = request.cohort / CHANGES_FILE
    told = {
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "file_sha256": hashlib.sha256(request.file.read_bytes()).hexdigest()[:16],
        "table": path.name,
    }
    rows = [told | _cells(change) for change in planned.changes]
    if rows:
        earlier = log.read_bytes().decode() if log.exists() else tsv_line(rows[0])
        write_bytes(log, (earlier + "".join(tsv_line(row.values()) for row in rows)).encode())


def _cells(change: Change) -> dict[str, object]:
    """A change as a row."""
    return {
        "what": change.what,
        "participant_id": change.participant_id,
        "row": change.row,
        "column": change.column,
        "written": change.written or MISSING,
        "becomes": change.becomes or MISSING,
        "rule": change.rule,
    }


def _say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
