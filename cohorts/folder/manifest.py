"""A cohort folder, read and checked as a whole: ``cohort.toml``, ``participants.tsv``, ``scans.tsv``, ``readings.tsv``.

Reading opens no image and stops at nothing that it can report: all problems come back at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cohorts.folder import clinical, readings, scans
from cohorts.folder.dictionary import describe_columns
from cohorts.folder.problems import CohortError, Problem, did_you_mean
from cohorts.folder.readings import Reading
from cohorts.folder.scans import CohortPaths, Scan
from cohorts.folder.study import StudyConfig
from cohorts.folder.study_file import FILE as STUDY_FILE
from cohorts.folder.study_file import check_study, read_study
from cohorts.folder.suspicions import ids_problem, likely_same_ids, suspicious_values
from cohorts.folder.tsv import Row, TsvTable, read_tsv
from cohorts.tables.schemas import RESERVED_COLUMNS

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
    """

    folder: Path
    config: StudyConfig
    participants: pd.DataFrame
    scans: tuple[Scan, ...]
    readings: tuple[Reading, ...]
    problems: tuple[Problem, ...]
    refused_scans: tuple[Scan, ...] = ()

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
    config = read_study(folder, model)
    paths = CohortPaths(folder)
    problems = check_study(config, paths)

    declared = tuple(item for item in config.clinical if item.column not in RESERVED_COLUMNS)
    listed, found = read_tsv(folder, clinical.FILE, clinical.participants_header(declared))
    problems += found
    participants, found = clinical.read_participants(listed, declared)
    problems += found
    problems += suspicious_values(listed, declared) if listed else []
    config, found = describe_columns(folder, config, listed)
    problems += found

    scan_table = reading_table = None
    if config.computed_sources or _exists(folder, scans.FILE):
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
    if listed and (scan_table or not config.computed_sources) and (reading_table or not config.readings_source):
        tables = {"scan": scan_table, "reading": reading_table}
        problems += _check_membership(listed, {what: table for what, table in tables.items() if table})
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


def _check_membership(listed: TsvTable, others: dict[str, TsvTable]) -> list[Problem]:
    """Check that every scan and reading belongs to a listed participant, and that each of these has one.

    Parameters
    ----------
    listed : participants.tsv
    others : ``scan`` and ``reading`` -> its table, for those that the study uses
    """
    known = {row.participant_id for row in listed.rows}
    problems = []
    seen: set[str] = set()
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
        pairs = likely_same_ids((row.participant_id for row in table.rows if row.participant_id not in known), without)
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
