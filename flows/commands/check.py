"""``aspects check``: everything wrong with a cohort folder at once, its images included."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from rich.console import Console

from cohorts.folder.manifest import Cohort
from cohorts.folder.problems import Problem
from cohorts.folder.scans import HEADER
from cohorts.folder.tsv import read_tsv
from cohorts.images.same_content import same_content
from cohorts.store.records import write_bytes
from flows.cases.case import Case, StepSettings
from flows.commands.failures import EXIT_PREFLIGHT
from flows.commands.screens import ROWS_OF_A_RULE, problems_tsv, show_problems
from flows.engine.limits import available_cpus
from flows.run.plan import Plan, load_maps, plan_of
from flows.run.steps import examine
from flows.sources.registry import read_cohort

CASES_PER_CALL = 16


def check_cohort(folder: Path, n_cpus: int, console: Console, listing: Path | None = None) -> int:
    """Print the problems of a cohort folder, the first rows of each rule; all of them go to ``listing``.

    Returns
    -------
    0 where nothing is wrong (warnings aside), 1 where participants would be excluded, 3 where the study would stop.
    """
    cohort = read_cohort(folder)
    _, map_problems = load_maps(cohort.config, folder)
    stops = [*cohort.study_problems, *map_problems]
    image_problems = [] if stops else _image_problems(cohort, n_cpus)
    copies = [] if stops else same_content(cohort.scans, folder)
    problems = [*stops, *cohort.participant_problems, *image_problems, *cohort.warnings, *copies]
    show_problems(problems, console, is_whole=False)
    if listing is not None:
        write_bytes(listing, problems_tsv(problems).encode())
        console.print(f"All {len(problems)} problems: {listing}", highlight=False, markup=False, soft_wrap=True)
    elif len(problems) > ROWS_OF_A_RULE:
        console.print("--problems FILE writes all of them as a table.", highlight=False, markup=False)
    excluded = {problem.participant_id for problem in problems if problem.excludes_participant}
    console.print(_verdict(cohort, len(stops), len(excluded)), highlight=False, markup=False)
    return EXIT_PREFLIGHT if stops else int(bool(excluded))


def _image_problems(cohort: Cohort, n_cpus: int) -> list[Problem]:
    """Examine every image as a run would, without keeping anything."""
    with TemporaryDirectory() as nowhere:
        plan = plan_of(cohort, Path(nowhere) / "absent")
    rows = _scan_rows(cohort.folder)
    pending = plan.pending
    with ProcessPoolExecutor(n_cpus or available_cpus()) as pool:
        results = pool.map(
            _examined,
            [case for _, case in pending],
            [plan.settings[name] for name, _ in pending],
            chunksize=CASES_PER_CALL,
        )
        return [
            _problem(plan, case, reason, detail, rows)
            for (_, case), (reason, detail) in zip(pending, results, strict=True)
            if reason is not None
        ]


def _examined(case: Case, settings: StepSettings) -> tuple[str | None, str | None]:
    """Reason and detail of one image, None where it is fine."""
    outcome = examine(case, settings)
    return outcome.reason, outcome.detail


def _problem(plan: Plan, case: Case, reason: str, detail: str | None, rows: dict[tuple[str, str], int]) -> Problem:
    """An image's refusal in the form of every other problem."""
    rule, _, remedy = (detail or "").partition(". ")
    scan = next(
        scan
        for scan in plan.cohort.scans
        if (scan.participant_id, scan.modality) == (case.participant_id, case.files[0].modality)
    )
    return Problem(
        file="scans.tsv",
        row=rows.get((case.participant_id, scan.path)),
        column="path",
        value=scan.path,
        rule=rule.partition(" ")[2].strip() or "must be a usable image",
        remedy=remedy or "Look at the file.",
        reason=reason,
        participant_id=case.participant_id,
        stage="intake",
    )


def _scan_rows(folder: Path) -> dict[tuple[str, str], int]:
    """Row in ``scans.tsv`` of every participant and path, as an editor counts."""
    table, _ = read_tsv(folder, "scans.tsv", HEADER)
    rows = table.rows if table else ()
    return {(row.participant_id, str(PurePosixPath(row.cells.get("path", "")))): row.number for row in rows}


def _verdict(cohort: Cohort, n_stops: int, n_excluded: int) -> str:
    """One line at the end."""
    n = len(cohort.participants)
    if n_stops:
        return f"{n_stops} problems stop the study; nothing would be computed."
    if n_excluded:
        return f"{n} participants listed; {n_excluded} participants would be excluded, each with its reason."
    return f"{n} participants listed; no problem found."
