"""What the command prints: plans, problems, outcomes, status and comparisons, for a tired coordinator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cohorts.folder.manifest import natural_key
from cohorts.folder.problems import Problem
from cohorts.tables.storage import tsv_text
from flows.engine.lock import current_owner
from flows.run.latest import latest_shown
from flows.run.plan import Plan, changed_code, make_plan, stale_causes, why_stale
from flows.run.publishing import is_current, latest_summary
from flows.run.request import RunRequest
from flows.run.running import RunOutcome

REASONS_SHOWN = 12
ROWS_OF_A_RULE = 3
#: Reasons of one value of a clinical column, for which the column may say that it is read as n/a.
VALUE_REASONS = frozenset(
    {
        "value_out_of_range",
        "not_a_number",
        "not_a_whole_number",
        "unknown_level",
        "not_a_boolean",
        "not_a_date",
        "dates_out_of_order",
    }
)
KEEPS_THEM = '    on_problem = "missing" under this column in cohort.toml keeps the participant, without the value'


def show_problems(problems: Sequence[Problem], console: Console, *, is_whole: bool = True) -> None:
    """Every problem: what stops the study first, then participants, then warnings.

    ``is_whole=False`` shows the first three rows of each column and rule, and how many more there are.
    """
    groups = (
        ("These problems stop the study. Fix them, then run again:", [p for p in problems if p.stops_the_study]),
        ("These problems exclude participants:", [p for p in problems if p.excludes_participant]),
        ("Warnings, which exclude nobody:", [p for p in problems if p.is_warning]),
    )
    for title, group in groups:
        if group:
            console.print(f"{title} ({len(group)})", markup=False, highlight=False, style="bold")
            for alike in _alike(group):
                shown = alike if is_whole else alike[:ROWS_OF_A_RULE]
                for problem in shown:
                    console.print(f"  {problem.text}", markup=False, highlight=False, soft_wrap=True)
                if len(alike) > len(shown):
                    more = f"    ... and {len(alike) - len(shown)} more of this kind ({_who(alike)})"
                    console.print(more, markup=False, highlight=False, soft_wrap=True)
                if alike[0].excludes_participant and alike[0].reason in VALUE_REASONS and not is_whole:
                    console.print(KEEPS_THEM, markup=False, highlight=False, soft_wrap=True)


def _alike(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Problems of one file, column and rule together, in the order of the first of each."""
    groups: dict[tuple[str, str | None, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.file, problem.column, problem.reason), []).append(problem)
    return list(groups.values())


def _who(problems: Sequence[Problem]) -> str:
    """Name the rule and how many participants break it."""
    n = len({problem.participant_id for problem in problems if problem.participant_id})
    return f"{problems[0].reason}, {n} participant{'s' if n > 1 else ''}" if n else problems[0].reason


def problems_tsv(problems: Sequence[Problem]) -> str:
    """Every problem as a table, for a spreadsheet."""
    return tsv_text(
        [
            {
                "effect": "warning"
                if problem.is_warning
                else "stops the study"
                if problem.stops_the_study
                else "excludes",
                "participant_id": problem.participant_id,
                "file": problem.file,
                "row": problem.row,
                "column": problem.column,
                "value": problem.value,
                "reason": problem.reason,
                "rule": problem.rule,
                "remedy": problem.remedy,
            }
            for problem in problems
        ]
    )


def show_plan(request: RunRequest, console: Console) -> None:
    """What a run would do, without doing it."""
    plan = make_plan(request.cohort, request.out, labels=request.labels, commands=request.commands)
    causes = stale_causes(plan, request.out)
    _line(console, "Participants listed", len(plan.cohort.participants))
    _line(console, "Scans that are read", f"{_n_scans_read(plan)} of {len(plan.cohort.scans)}")
    _line(console, "Measurements of them", len(plan.cases))
    _line(console, "Already measured", plan.n_done)
    _line(console, "To measure", f"{len(plan.pending)} {_causes_text(causes)}".strip())
    _line(console, "Workers", request.workers_text)
    show_absent(plan, console)
    if not plan.pending and is_current(plan, request.out):
        console.print("Nothing changed since the latest results: a run would do nothing.")


def show_absent(plan: Plan, console: Console) -> None:
    """The sources that were taken unasked, and those that cannot be measured, and why."""
    for line in plan.chosen_lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _n_scans_read(plan: Plan) -> int:
    """Scans that at least one measurement reads; a measurement may read several, and several may read one."""
    read = {(case.participant_id, file.modality) for case in plan.cases.values() for file in case.files}
    return sum((scan.participant_id, scan.modality) in read for scan in plan.cohort.scans)


def show_outcome(outcome: RunOutcome, request: RunRequest, console: Console) -> None:
    """One page at the end of a run: what was done, who is in, and where everything is."""
    summary, counts = outcome.summary, outcome.summary["counts"]
    console.rule(f"{summary['study']}", style="dim")
    if outcome.is_unchanged:
        console.print(f"Nothing changed since {summary['run_id']}; nothing was computed.", highlight=False)
    else:
        _line(console, "Measured now / reused", f"{outcome.n_computed} / {outcome.n_reused}")
    _line(console, "Screened", counts["screened"])
    _line(console, "  included", counts["included"])
    _line(console, "  excluded", counts["excluded"])
    _line(console, "  failed", counts["failed"])
    reasons = sorted(summary["exclusions"].items(), key=lambda item: -item[1])
    for code, count in reasons[:REASONS_SHOWN]:
        stage, reason = code.split(":", 1)
        console.print(f"      {count:>6}  {reason} ({stage})", highlight=False, markup=False)
    if len(reasons) > REASONS_SHOWN:
        console.print(f"      ... and {len(reasons) - REASONS_SHOWN} further reasons, in the report", highlight=False)
    by_rules = counts["examined"] - counts["included"]
    if by_rules:
        rules = f"{counts['examined']} = {counts['included']} included + {by_rules} excluded by them"
        _line(console, "Eligibility rules asked", rules)
    folder = outcome.run_folder if summary["is_subset"] else latest_shown(request.out) or outcome.run_folder
    _line(console, "Report", folder / "report.html")
    _line(console, "Tables", folder / "tables")
    _line(console, "This run", outcome.run_folder)
    if summary["is_subset"]:
        console.print("Only some participants were asked for: latest results are left as they are.")
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in outcome.seconds.items() if name != "total")
    _line(console, "Time", f"{outcome.seconds['total']:.1f} s ({parts})")
    if counts["failed"]:
        console.print("Some cases failed; they are tried again in the next run. The report says why.", style="bold")


def show_status(request: RunRequest, why: str | None, console: Console) -> None:
    """What is done, what is due and why."""
    owner = current_owner(request.out)
    if owner is not None:
        console.print(f"At work now: {owner.text}", highlight=False, markup=False)
    plan = make_plan(request.cohort, request.out, commands="remember")
    if why is not None:
        _show_why(plan, request, why, console)
        return
    summary = latest_summary(request.out)
    _line(console, "Latest results", f"{summary['run_id']}, {summary['started_at']}" if summary else "none yet")
    _line(console, "Measurements done", f"{plan.n_done} of {len(plan.cases)}")
    _line(console, "To measure", f"{len(plan.pending)} {_causes_text(stale_causes(plan, request.out))}".strip())
    show_absent(plan, console)
    current = is_current(plan, request.out)
    _line(console, "Results up to date", "yes" if current else "no: aspects run makes them again")
    due = sorted({case.participant_id for _, case in plan.pending}, key=natural_key)
    if due:
        _line(
            console, "Due", ", ".join(due[:REASONS_SHOWN]) + (f", ... ({len(due)})" if len(due) > REASONS_SHOWN else "")
        )


def _show_why(plan: Plan, request: RunRequest, label: str, console: Console) -> None:
    """Everything known about one participant."""
    participant_id = label if label.startswith("sub-") else f"sub-{label}"
    cases = [key for key in (*plan.cases, *plan.stated) if key[0] == participant_id]
    for problem in plan.cohort.problems:
        if problem.participant_id == participant_id:
            console.print(problem.text, markup=False, highlight=False, soft_wrap=True)
    for key in cases:
        record = plan.records.get(key)
        if record is None:
            causes = ", ".join(why_stale(plan, request.out, *key))
            changed = ", ".join(changed_code(plan, request.out, *key))
            because = f"{causes}: {changed}" if changed else causes
            console.print(f"{participant_id}, {key[1]}: due, because of {because}.", highlight=False, markup=False)
            continue
        state = record.status + (f", {record.reason}: {record.detail}" if record.reason else "")
        console.print(
            f"{participant_id}, {key[1]}: {f'done {record.finished_at}' if record.finished_at else 'read'}, {state}\n"
            f"  input {record.key.input_sha256[:16]}, settings {record.key.settings_sha256[:16]}, "
            f"code {record.key.code[:16]}, address {record.key.digest[:16]}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if not cases:
        known = participant_id in set(plan.cohort.participants["participant_id"])
        console.print(
            f"{participant_id} " + ("has no scan to measure." if known else "is not in this cohort."), highlight=False
        )


def show_comparison(comparison: Any, limit: int, console: Console) -> None:
    """What changed between two runs, and why."""
    console.print(comparison.headline, highlight=False, markup=False)
    for title, rows in comparison.sections():
        if not rows:
            continue
        table = Table(title=f"{title} ({len(rows)})", title_justify="left", show_edge=False, pad_edge=False)
        for name in rows[0]:
            table.add_column(name, overflow="fold")
        for row in rows[:limit]:
            table.add_row(*(_escaped(value) for value in row.values()))
        console.print(table)
        if len(rows) > limit:
            console.print(f"... and {len(rows) - limit} more", highlight=False)


def _escaped(value: object) -> str:
    """Text of a cell, with rich's markup taken literally."""
    from rich.markup import escape

    return escape("n/a" if value is None else str(value))


def _line(console: Console, name: str, value: object) -> None:
    """One line of a summary; a path is never broken."""
    shown = str(value) if isinstance(value, Path) else value
    console.print(f"{name:<24}{shown}", highlight=False, markup=False, soft_wrap=True)


def _causes_text(causes: Counter[str]) -> str:
    """Why cases are due."""
    return "(" + ", ".join(f"{count} {cause}" for cause, count in causes.items()) + ")" if causes else ""
