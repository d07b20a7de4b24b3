"""``aspects reading make``: a work list and one page for each reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from cohorts.folder.manifest import Cohort, CohortError
from cohorts.folder.problems import did_you_mean
from cohorts.folder.readings import FILE as READINGS_FILE
from cohorts.folder.source import OnScanSource
from cohorts.folder.tsv import as_participant_id, is_valid_participant_id
from cohorts.images.nifti import ImageProblemError
from cohorts.reading.exported import UNREADABLE
from cohorts.reading.round import (
    PAGES_FOLDER,
    Round,
    RoundSettings,
    planned_round,
    read_round,
    rounds_folder,
    write_round,
)
from cohorts.store.hashing import file_sha256
from cohorts.store.records import atomic_writer
from flows.cases.reading_stack import ScanToRead, encoded_stack
from flows.commands.reading_request import MakeRequest
from flows.engine.limits import available_cpus, compute_with_one_thread
from flows.run.request import PreflightError, UsageError
from flows.sources.registry import read_cohort
from reports.pages.reading import ReaderPage, reading_page
from tasks.modality import CT_MODALITIES, SIGNAL_MODALITIES

READABLE = (*(one for one in CT_MODALITIES if one != "ctp"), *SIGNAL_MODALITIES, "adc", "mr")
NO_SCAN = "no_scan_of_this_modality"
LARGE_PAGE_MB = 300


def make_round(request: MakeRequest, n_cpus: int, console: Console) -> int:
    """Write the work lists of a round and the page of every reader.

    Made again with the same settings, the same lists and pages come out; a further reader is added.

    Returns
    -------
    0

    Raises
    ------
    CohortError, PreflightError, UsageError
        The cohort must be fixed first, there is nothing to read, or the round is there with other settings.
    """
    cohort = _usable_cohort(request.cohort)
    scan, how = _scan_to_read(cohort, request.scan)
    files, left_out = _files(cohort, scan, request.labels)
    settings = RoundSettings(
        session=request.session,
        scan=scan,
        repeat_share=request.repeat_share,
        seed=cohort.config.study.seed if request.seed is None else request.seed,
        training=[as_participant_id(one) for one in request.training],
        pictures=cohort.config.study.pictures,
    )
    _check_training(settings, files)  # before an hour of reading scans
    folder = rounds_folder(request.cohort) / settings.name
    known = _known_round(folder)
    (folder / PAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".stacks-", dir=folder) as kept:
        scans = {one: replace(how, path=path) for one, path in files.items()}
        refused = _write_stacks(scans, Path(kept), n_cpus or available_cpus())
        shown = {one: file_sha256(path) for one, path in files.items() if one not in refused}
        plan = _planned(settings, request.readers, shown, left_out | refused, known)
        write_round(folder, plan)
        sizes = {
            reader: _write_page(folder, plan, reader, cohort, how.is_ct, lambda one: (Path(kept) / one).read_text())
            for reader in plan.lists
        }
    _say(folder, plan, sizes, request.cohort, console)
    return 0


def _usable_cohort(folder: Path) -> Cohort:
    """The cohort; it may lack readings, which are still to come."""
    cohort = read_cohort(folder)
    if stops := [problem for problem in cohort.study_problems if problem.file != READINGS_FILE]:
        raise CohortError(stops)
    return cohort


def _scan_to_read(cohort: Cohort, asked: str | None) -> tuple[str, ScanToRead]:
    """Modality of the scans to read, and how they are read: as the source that reads them does."""
    nowhere = Path()
    ways = {
        source.lies_on: ScanToRead(nowhere, source.image_kind, source.forms)
        for source in reversed(cohort.config.computed_sources)
        if isinstance(source, OnScanSource)
    }
    ways = dict(reversed(ways.items())) | {one: ScanToRead(nowhere, one) for one in READABLE if one not in ways}
    present = [one for one in ways if any(scan.modality == one for scan in cohort.scans)]
    if asked is None and present:
        return present[0], ways[present[0]]
    if asked in present:
        return asked, ways[asked]
    what = f"got {asked}" if asked else "and scans.tsv has none"
    hint = did_you_mean(asked, present) if asked else ""
    raise PreflightError(
        f"--scan must be a modality of scans.tsv that can be read ({', '.join(present or READABLE)}), {what}. {hint}"
        "Correct it; a modality with a name of your own needs a source in cohort.toml that says what it is."
    )


def _files(cohort: Cohort, scan: str, labels: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Participant -> file to be read, and participant -> why there is none."""
    listed = list(dict.fromkeys(cohort.participants["participant_id"]))
    wanted = [as_participant_id(one) for one in labels] or listed
    if unknown := [one for one in wanted if one not in listed]:
        hint = did_you_mean(unknown[0], listed)
        raise UsageError(f"--participant-label must be listed in participants.tsv, got {', '.join(unknown)}. {hint}")
    there = {one.participant_id: one for one in (*cohort.refused_scans, *cohort.scans) if one.modality == scan}
    files, left_out = {}, {}
    for one in wanted:
        found = there.get(one)
        if not is_valid_participant_id(one):
            left_out[one] = "invalid_participant_id"
        elif found is None or found.reason is not None:
            left_out[one] = NO_SCAN if found is None else str(found.reason)
        else:
            files[one] = cohort.folder / found.path
    return files, left_out


def _write_stacks(scans: Mapping[str, ScanToRead], folder: Path, n_workers: int) -> dict[str, str]:
    """Write the slices of every scan; returns participant -> why it cannot be read."""
    with ProcessPoolExecutor(min(n_workers, max(1, len(scans))), initializer=compute_with_one_thread) as pool:
        reasons = pool.map(_write_stack, scans.values(), [folder / one for one in scans])
        return {one: reason for one, reason in zip(scans, reasons, strict=True) if reason}


def _write_stack(scan: ScanToRead, path: Path) -> str:
    """Write the slices of one scan; returns why that cannot be, or an empty text."""
    try:
        path.write_text(encoded_stack(scan), encoding="ascii")
    except ImageProblemError as error:
        return error.reason
    return ""


def _planned(
    settings: RoundSettings,
    readers: tuple[str, ...],
    scans: dict[str, str],
    left_out: dict[str, str],
    known: Round | None,
) -> Round:
    """The round, with the readers that it had before and those of now."""
    _check_training(settings, scans)
    everybody = tuple(dict.fromkeys([*(known.lists if known else ()), *readers]))
    if len({name.casefold() for name in everybody}) < len(everybody):
        raise UsageError(f"--readers must differ from those of the round ({', '.join(everybody)}). Rename one.")
    try:
        plan = planned_round(settings, everybody, scans, left_out)
    except ValueError as error:
        raise PreflightError(f"{error} Look into scans.tsv; 'aspects check' names what is wrong.") from None
    if known is not None and known.round_id != plan.round_id:
        raise PreflightError(
            f"round {settings.name} must stay as it was made, got a difference ({_difference(known, plan)}). "
            "Give --session NAME for a new round, or make it again with the settings it had."
        )
    return plan


def _known_round(folder: Path) -> Round | None:
    """The round as it was made before, None where it was not."""
    try:
        return read_round(folder)
    except ValueError as error:
        raise PreflightError(str(error)) from None


def _check_training(settings: RoundSettings, scans: Collection[str]) -> None:
    """Refuse training cases whose scan is not there."""
    if unknown := [one for one in settings.training if one not in scans]:
        hint = did_you_mean(unknown[0], scans)
        raise UsageError(
            f"--training must name participants whose scan can be read, got {', '.join(unknown)}. {hint}Choose others."
        )


def _difference(known: Round, plan: Round) -> str:
    """What of a round is not as before."""
    was, now = known.settings.model_dump(), plan.settings.model_dump()
    found = [f"{name} was {was[name]}, is {now[name]}" for name in was if was[name] != now[name]]
    more, fewer = len(plan.scans.keys() - known.scans.keys()), len(known.scans.keys() - plan.scans.keys())
    n_changed = sum(known.scans[one] != plan.scans[one] for one in known.scans.keys() & plan.scans.keys())
    counts = ((more, "scans more"), (fewer, "scans fewer"), (n_changed, "scans with another content"))
    return "; ".join([*found, *(f"{n} {what}" for n, what in counts if n)])


def _write_page(
    folder: Path, plan: Round, reader: str, cohort: Cohort, is_ct: bool, stack_of: Callable[[str], str]
) -> int:
    """Write one reader's page; returns its size in bytes."""
    study, listed = cohort.config.study, plan.lists[reader]
    page = ReaderPage(
        study=study.name,
        round_id=plan.round_id,
        round_name=plan.settings.name,
        reader=reader,
        cases=[(one.code, one.kind == "training") for one in listed],
        unreadable=UNREADABLE,
        is_ct=is_ct,
        pictures=plan.settings.pictures,
        is_synthetic=study.synthetic,
    )
    of_code = {one.code: one.participant_id for one in listed}
    path = folder / PAGES_FOLDER / page_file(reader)
    with atomic_writer(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(reading_page(page, lambda code: stack_of(of_code[code])))
    return path.stat().st_size


def page_file(reader: str) -> str:
    """Name of a reader's page.

    >>> page_file("A")
    'reading-A.html'
    """
    return f"reading-{reader}.html"


def _say(folder: Path, plan: Round, sizes: Mapping[str, int], cohort: Path, console: Console) -> None:
    """What was made and what to do with it."""
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True, emoji=False)
    kinds = Counter(one.kind for one in next(iter(plan.lists.values())))
    say(
        f"Round {plan.settings.name}: {kinds['case']} cases, {kinds['repeat']} of them twice, {kinds['training']} for "
        f"training; scans {plan.settings.scan}; pictures in {plan.settings.pictures} convention."
    )
    if plan.left_out:
        reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(plan.left_out.values()).most_common())
        say(f"Left out: {len(plan.left_out)} participants ({reasons}). {folder / 'left_out.tsv'} names them.")
    say("Give each reader one file, and nothing else of this folder:")
    for reader, size in sizes.items():
        say(f"  reader {reader}: {folder / PAGES_FOLDER / page_file(reader)} ({size / 1e6:.1f} MB)")
    if max(sizes.values()) > LARGE_PAGE_MB * 1e6:
        say(f"Pages over {LARGE_PAGE_MB} MB open slowly: make rounds of fewer cases by --participant-label.")
    say("round.json and work_list.tsv there say which code is whose: keep a copy, and keep them from readers.")
    say(f"When readers send their files: aspects reading collect {cohort} FILES...")
