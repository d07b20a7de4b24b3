"""A cohort folder, read and checked as a whole: ``cohort.toml``, ``participants.tsv``, ``scans.tsv``, ``readings.tsv``.

Reading opens no image and stops at nothing that it can report: all problems come back at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from cohorts.folder import clinical, readings, scans
from cohorts.folder.clinical_column import NUMERIC
from cohorts.folder.dictionary import describe_columns
from cohorts.folder.problems import CohortError, Problem, Refusal, did_you_mean, printable
from cohorts.folder.readings import Reading
from cohorts.folder.scans import CohortPaths, Scan
from cohorts.folder.stated_rows import StatedRow, read_stated
from cohorts.folder.stated_source import STATED_COLUMNS, TableSource
from cohorts.folder.study import StudyConfig
from cohorts.folder.study_file import FILE as STUDY_FILE
from cohorts.folder.study_file import check_study, read_study
from cohorts.folder.suspicions import ids_of_one_number, ids_problem, likely_same_ids, missing_codes, suspicious_values
from cohorts.folder.true_dates import shifted_participants
from cohorts.folder.tsv import Row, TsvTable, read_tsv
from cohorts.tables.schemas import RESERVED_COLUMNS

#: What a table of results may end in.
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")

__all__ = ["Cohort", "CohortError", "Problem", "Reading", "Scan", "natural_key", "read_cohort"]


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort folder as read, sorted by participant.

    Attributes
    ----------
    folder : Path
    config : StudyConfig
        Labels and units of clinical columns completed from participants.json.
    participants : pandas.DataFrame
        One row per listed participant: participant_id, site, split, then the declared clinical columns as Int64,
        Float64, string or boolean, dates as ISO strings; what is missing or cannot be used is NA.
    scans : tuple of Scan
        The scans that can be used, of participants listed or not.
    readings : tuple of Reading
        The readings that can be used.
    problems : tuple of Problem
        Of the study first, then of participants, then warnings.
    refused_scans : tuple of Scan
        Scans whose file must not be opened, each with its reason.
    stated : mapping
        Name of a source whose results stand in a table -> participant -> its row there.
    """

    folder: Path
    config: StudyConfig
    participants: pd.DataFrame
    scans: tuple[Scan, ...]
    readings: tuple[Reading, ...]
    problems: tuple[Problem, ...]
    refused_scans: tuple[Scan, ...] = ()
    stated: Mapping[str, Mapping[str, StatedRow]] = field(default_factory=dict)

    @cached_property
    def shifted(self) -> frozenset[str]:
        """Participants whose dates an import has shifted."""
        return shifted_participants(self.folder, ((scan.participant_id, scan.path) for scan in self.scans))

    @property
    def study_problems(self) -> tuple[Problem, ...]:
        """What must be fixed before any work."""
        return tuple(problem for problem in self.problems if problem.stops_the_study)

    @property
    def participant_problems(self) -> tuple[Problem, ...]:
        """What excludes participants."""
        return tuple(problem for problem in self.problems if problem.excludes_participant)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What changes nothing."""
        return tuple(problem for problem in self.problems if problem.is_warning)


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which sub-9 comes before sub-10.

    >>> sorted(["sub-10", "sub-9", "sub-a"], key=natural_key)
    ['sub-9', 'sub-10', 'sub-a']
    """
    parts = re.split(r"([0-9]+)", text)
    keys = [
        (0, len(part.lstrip("0")), part.lstrip("0")) if place % 2 else (1, 0, part) for place, part in enumerate(parts)
    ]
    return (*keys, (1, 0, text))  # the text itself orders sub-01 and sub-1


def read_cohort(folder: Path | str, model: type[StudyConfig]) -> Cohort:
    """Read and check a cohort folder.

    Parameters
    ----------
    folder : Path or str
        The folder that holds cohort.toml.
    model : type of StudyConfig
        The study, closed over the kinds of source that there are.

    Returns
    -------
    Cohort, with every problem found; the caller stops where ``study_problems`` is not empty.

    Raises
    ------
    CohortError
        cohort.toml cannot be read; all its problems are named.
    """
    folder = Path(folder)
    config, problems = read_study(folder, model)
    paths = CohortPaths(folder)
    problems += check_study(config, paths)

    declared = tuple(item for item in config.clinical if item.column not in RESERVED_COLUMNS)
    listed, found = read_tsv(folder, clinical.FILE, clinical.participants_header(declared))
    problems += found
    participants, found = clinical.read_participants(listed, declared)
    problems += found
    problems += suspicious_values(listed, declared) if listed else []
    config, found = describe_columns(folder, config, listed)
    problems += found

    scan_table = reading_table = None
    if config.scan_sources or _exists(folder, scans.FILE):
        scan_table, found = read_tsv(folder, scans.FILE, scans.HEADER)
        problems += found
        if scan_table:
            problems += scans.check_modalities(scan_table, config)
    all_scans, found = scans.read_scans(scan_table, paths)
    problems += found
    if config.readings_source:
        reading_table, found = read_tsv(folder, readings.FILE, readings.HEADER)
        problems += found
    elif _exists(folder, readings.FILE):
        rule = "must be declared to be used; it is not read"
        remedy = 'Add a [[source]] with kind = "readings" to cohort.toml, or leave it.'
        problems.append(Problem(readings.FILE, None, None, None, rule, remedy, "readings_not_used", is_warning=True))
    all_readings, found = readings.read_readings(reading_table)
    problems += found
    stated, found = _read_stated(config, paths)
    problems += found
    if listed and (scan_table or not config.scan_sources) and (reading_table or not config.readings_source):
        tables = {"scan": scan_table, "reading": reading_table}
        in_results = {participant_id for rows in stated.values() for participant_id in rows}
        problems += _check_membership(listed, {what: table for what, table in tables.items() if table}, in_results)
        known = {row.participant_id for table in (listed, scan_table) if table for row in table.rows}
        problems += _check_strangers(config, stated, known)
    if reading_table or not config.readings_source:
        problems += _check_agreement(config, all_readings)

    usable = [scan for scan in all_scans if scan.reason is None]
    refused = [scan for scan in all_scans if scan.reason is not None]
    return Cohort(
        folder=folder,
        config=config,
        participants=participants.sort_values(
            "participant_id", key=lambda ids: ids.map(natural_key), kind="stable", ignore_index=True
        ),
        scans=tuple(sorted(usable, key=_scan_key)),
        readings=tuple(
            sorted(all_readings, key=lambda item: (natural_key(item.participant_id), item.source, item.side or ""))
        ),
        problems=tuple(sorted(problems, key=_problem_key)),
        refused_scans=tuple(sorted(refused, key=_scan_key)),
        stated=stated,
    )


def _exists(folder: Path, name: str) -> bool:
    """Whether an optional file is there."""
    return os.path.lexists(folder / name)


def _scan_key(scan: Scan) -> tuple[object, ...]:
    """By participant, then modality."""
    return natural_key(scan.participant_id), scan.modality


def _problem_key(problem: Problem) -> tuple[object, ...]:
    """Study first, warnings last; by participant, then file and row."""
    rank = 2 if problem.is_warning else int(problem.participant_id is not None)
    return rank, natural_key(problem.participant_id or ""), problem.file, problem.row or 0, problem.reason


def _read_stated(config: StudyConfig, paths: CohortPaths) -> tuple[dict[str, dict[str, StatedRow]], list[Problem]]:
    """Read the table of every source whose results stand in one."""
    stated: dict[str, dict[str, StatedRow]] = {}
    problems = []
    for source in config.computed_sources:
        if isinstance(source, TableSource):
            result = paths.check(source.file, TABLES)
            if isinstance(result, Refusal):
                key, reason = f"source {source.name}: file", f"results_{result.reason}"
                problems.append(Problem(STUDY_FILE, None, key, source.file, result.rule, result.remedy, reason))
                continue
            stated[source.name], found = read_stated(Path(result), source, source.file)
            problems += [*found, *_missing_codes(source, stated[source.name])]
    return stated, problems


def _missing_codes(source: TableSource, rows: Mapping[str, StatedRow]) -> list[Problem]:
    """Volumes of other software that look like codes for missing: they have no largest value."""
    problems = []
    for column, to in source.columns.items():
        item = STATED_COLUMNS[to].model_copy(update={"column": column})
        if item.read_as in NUMERIC and item.maximum is None:
            cells = [(Row(row.numbers[0], name, {}), row.cells[column]) for name, row in rows.items()]
            problems += missing_codes(source.file, cells, item)
    return problems


def _check_strangers(
    config: StudyConfig, stated: Mapping[str, Mapping[str, StatedRow]], known: Set[str]
) -> list[Problem]:
    """Warn of results of nobody in the cohort: they are not used."""
    problems = []
    for source in config.computed_sources:
        strangers = [name for name in stated.get(source.name, {}) if name not in known]
        if isinstance(source, TableSource) and strangers:
            shown = ", ".join(map(printable, strangers[:3])) + (", ..." if len(strangers) > 3 else "")
            are = "is" if len(strangers) == 1 else "are"
            rule = f"must be listed in participants.tsv, {len(strangers)} {are} not ({shown}); their rows are not used"
            reason = "results_without_participant"
            problems.append(
                Problem(
                    source.file, None, source.id, None, rule, "Add them there, or leave them.", reason, is_warning=True
                )
            )
            others = known - set(stated[source.name])
            pairs = likely_same_ids(strangers, others) or ids_of_one_number(strangers, others)
            problems += [ids_problem(source.file, pairs, len(strangers))] if pairs else []
    return problems


def _check_membership(
    listed: TsvTable, others: dict[str, TsvTable], in_results: Set[str] = frozenset()
) -> list[Problem]:
    """Check that every scan and reading belongs to a listed participant, and that each of these has one.

    Parameters
    ----------
    listed : participants.tsv
    others : ``scan`` and ``reading`` -> its table, for those that the study uses
    in_results : participants of whom software states something
    """
    known = {row.participant_id for row in listed.rows}
    problems = []
    seen = set(in_results)
    for what, table in others.items():
        strangers = {row.participant_id: row for row in reversed(table.rows) if row.participant_id not in known}
        rule, remedy = "must be listed in participants.tsv", f"Add the participant there, or delete the {what}."
        reason = f"{what}_without_participant"
        problems += [_of_participant(table.name, row, rule, remedy, reason) for row in strangers.values()]
        seen |= {row.participant_id for row in table.rows}
    without: dict[str, Row] = {}
    if others:
        names = " or ".join(table.name for table in others.values())
        rule, remedy = f"must have a row in {names}", f"Add the {' or '.join(others)}, or delete the participant."
        reason = "participant_without_scan"
        without = {row.participant_id: row for row in reversed(listed.rows) if row.participant_id not in seen}
        problems += [_of_participant(listed.name, row, rule, remedy, reason) for row in without.values()]
    for table in others.values():
        unlisted = [row.participant_id for row in table.rows if row.participant_id not in known]
        pairs = likely_same_ids(unlisted, without) or ids_of_one_number(unlisted, without)
        problems += [ids_problem(table.name, pairs, len(without))] if pairs else []
    return problems


def _of_participant(file: str, row: Row, rule: str, remedy: str, reason: str) -> Problem:
    """Return a problem of one row's participant."""
    return Problem(file, row.number, "participant_id", row.participant_id, rule, remedy, reason, row.participant_id)


def _check_agreement(config: StudyConfig, found: Iterable[Reading]) -> list[Problem]:
    """Check that every declared agreement pair names sources that exist."""
    sources = list(
        dict.fromkeys([*(source.name for source in config.computed_sources), *(item.source for item in found)])
    )
    rule = f"must be a source ({', '.join(sources[:12])}{', ...' if len(sources) > 12 else ''})"
    return [
        Problem(
            STUDY_FILE,
            None,
            f"agreement[{place}].{role}",
            name,
            rule,
            did_you_mean(name, sources) + "Correct it.",
            "unknown_source",
        )
        for place, pair in enumerate(config.agreement, start=1)
        for role, name in (("reference", pair.reference), ("candidate", pair.candidate))
        if name not in sources
    ]
