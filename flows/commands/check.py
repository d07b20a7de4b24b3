"""``aspects check``: everything wrong with a cohort folder at once, its images included."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from rich.console import Console

from cohorts.folder.manifest import Cohort
from cohorts.folder.problems import Problem
from cohorts.folder.scans import HEADER
from cohorts.folder.tsv import read_tsv
from cohorts.folder.unshifted_tables import unshifted_tables
from cohorts.images.same_content import same_content
from cohorts.images.template_grid import unlike_templates
from cohorts.images.unshifted_headers import unshifted_headers
from cohorts.store.records import write_bytes
from flows.cases.case import Case, StepSettings, shared_by_participant
from flows.commands.failures import EXIT_PREFLIGHT
from flows.commands.screens import ROWS_OF_A_RULE, problems_tsv, show_problems
from flows.engine.limits import available_cpus, compute_with_one_thread
from flows.engine.progress import CaseProgress
from flows.run.measuring import chunks_of
from flows.run.plan import Plan, load_maps, plan_of
from flows.run.steps import examine
from flows.sources.registry import read_cohort

MEMORY = "Check again with --n-cpus 1, or look at the file."
REPORT = "This is a fault of the program: please report it with the file's header."

ToExamine = Sequence[tuple[Case, StepSettings]]
Finding = tuple[str | None, str | None]  # reason and detail; None where an image is fine


def check_cohort(folder: Path, n_cpus: int, console: Console, listing: Path | None = None) -> int:
    """Print the problems of a cohort folder, the first rows of each rule; all of them go to ``listing``.

    Returns
    -------
    0 where nothing is wrong (warnings aside), 1 where participants would be excluded, 3 where the study would stop.
    """
    cohort = read_cohort(folder)
    _, map_problems = load_maps(cohort.config, folder)
    stops = [*cohort.study_problems, *map_problems]
    image_problems, absent, doubts = [], [], []
    if not stops:
        with TemporaryDirectory() as nowhere:
            plan = plan_of(cohort, Path(nowhere) / "absent")
        image_problems = _image_problems(plan, n_cpus or available_cpus(), console)
        absent, doubts = _left_out(plan), _doubts(cohort)
    problems = [*stops, *cohort.participant_problems, *image_problems, *cohort.warnings, *absent, *doubts]
    show_problems(problems, console, is_whole=False)
    if listing is not None:
        write_bytes(listing, problems_tsv(problems).encode())
        console.print(f"All {len(problems)} problems: {listing}", highlight=False, markup=False, soft_wrap=True)
    elif len(problems) > ROWS_OF_A_RULE:
        console.print("--problems FILE writes all of them as a table.", highlight=False, markup=False)
    excluded = {problem.participant_id for problem in problems if problem.excludes_participant}
    console.print(_verdict(cohort, len(stops), len(excluded), len(absent)), highlight=False, markup=False)
    return EXIT_PREFLIGHT if stops else int(bool(excluded))


def _doubts(cohort: Cohort) -> list[Problem]:
    """What is allowed and most likely not meant, of files taken together."""
    return [
        *same_content(cohort.scans, cohort.folder),
        *unlike_templates(cohort.scans, cohort.folder),
        *unshifted_tables(cohort),
        *unshifted_headers(cohort.scans, cohort.folder, cohort.shifted),
    ]


def _left_out(plan: Plan) -> list[Problem]:
    """Declared sources that a run would leave out."""
    found = []
    for name, why in plan.absent.items():
        rule, _, remedy = why.partition(". ")
        found.append(
            Problem("cohort.toml", None, f"source {name}", None, rule, remedy, "source_left_out", is_warning=True)
        )
    return found


def _image_problems(plan: Plan, n_cpus: int, console: Console) -> list[Problem]:
    """Examine every image as a run would, without keeping anything."""
    rows = _scan_rows(plan.cohort.folder)
    chunks = [[(case, plan.settings[name]) for name, case in chunk.cases] for chunk in chunks_of(plan.pending, n_cpus)]
    with CaseProgress(len(plan.pending), console, "Examining", "examined").shown() as progress:
        results = _all_examined(chunks, n_cpus, progress)
    return [
        _problem(plan, case, reason, detail, rows)
        for (case, _), (reason, detail) in zip(chain.from_iterable(chunks), results, strict=True)
        if reason is not None
    ]


def _all_examined(chunks: Sequence[ToExamine], n_cpus: int, progress: CaseProgress) -> list[Finding]:
    """Examine all images; one that raises, or ends its process, is a finding of its own and stops no other."""
    found: list[Finding] = []
    with ProcessPoolExecutor(n_cpus, initializer=compute_with_one_thread) as pool:
        answers: list[Future[list[Finding]]] = []
        with suppress(BrokenProcessPool):  # a process may end while chunks are still handed out
            for chunk in chunks:
                answers.append(pool.submit(_examined, chunk))
                answers[-1].add_done_callback(partial(_told, progress, len(chunk)))
    for chunk, answer in zip_longest(chunks, answers):
        if answer is None or isinstance(answer.exception(), BrokenProcessPool):  # one of its cases, or one beside it
            found += [_examined_alone(one) for one in chunk]
        else:
            found += answer.result()
    return found


def _told(progress: CaseProgress, n_cases: int, _: Future[list[Finding]]) -> None:
    """Count the cases of a chunk that is done."""
    progress.advance(n_cases, 0)


def _examined_alone(one: tuple[Case, StepSettings]) -> Finding:
    """Examine one image in a process of its own."""
    with ProcessPoolExecutor(1, initializer=compute_with_one_thread) as pool:
        try:
            return pool.submit(_examined, [one]).result()[0]
        except BrokenProcessPool:
            name = Path(one[0].files[0].path).name
            return "worker_died", f"{name} must be examined to its end, got a process that died. {MEMORY}"


def _examined(chunk: ToExamine) -> list[Finding]:
    """Reason and detail of some images, None where they are fine; what a participant's share is made once."""
    found: list[Finding] = []
    for (case, settings), shared in zip(chunk, shared_by_participant(case for case, _ in chunk), strict=True):
        try:
            outcome = examine(case, settings, shared)
        except Exception as error:  # whatever it is, the others are examined
            name, text = Path(case.files[0].path).name, str(error).replace(". ", "; ").rstrip(".")
            detail = f"{name} must be examined to its end, got {type(error).__name__}: {text}. {REPORT}"
            found.append(("unexpected_error", detail))
        else:
            found.append((outcome.reason, outcome.detail))
    return found


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


def _verdict(cohort: Cohort, n_stops: int, n_excluded: int, n_absent: int) -> str:
    """One line at the end."""
    n = len(cohort.participants)
    if n_stops:
        return f"Problems that stop the study: {n_stops}; nothing would be computed."
    if n_excluded:
        return f"Participants listed: {n}; that would be excluded, each with its reason: {n_excluded}."
    if n_absent:
        return f"Participants listed: {n}; sources that would be left out, each with its reason: {n_absent}."
    return f"Participants listed: {n}; no problem found."
