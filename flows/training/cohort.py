"""Patients of a cohort folder to learn from: whose lesion is drawn on a diffusion scan, and what to prepare of each.

The study says which rows hold what: a source of kind ``native_mask`` the lesion and its scan, and one of kind
``dwi_unet``, where there is one, ADC, b = 0 and b-value; else their defaults hold.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from cohorts.folder.manifest import Cohort
from cohorts.folder.problems import CohortError, Problem
from cohorts.folder.source import Source
from cohorts.folder.study import StudyConfig
from cohorts.store.hashing import HashCache
from cohorts.store.records import write_bytes
from flows.cases.case import Case, CaseFile, MapReference
from flows.cases.drawn_on_scan import NO_SCAN
from flows.run.plan import HASHES_NAME, load_maps, map_location
from flows.run.request import UsageError
from flows.sources.registry import METHODS, read_cohort
from flows.training.patients import Excluded, Labelling
from flows.training.request import TrainRequest
from models.training.splits import SPLITS, Split

COLUMNS = ("participant_id", "reason", "detail")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Who may be learned from.

    Attributes
    ----------
    cases : the files of each
    labelling : how they are prepared
    excluded : who cannot be, and why, before any image was opened
    sides : participant -> side that the study gives
    """

    cases: tuple[Case, ...]
    labelling: Labelling
    excluded: tuple[Excluded, ...]
    sides: Mapping[str, Split]


@dataclass(frozen=True, eq=False)
class DrawnStudy:
    """A study as it was read, and how its patients are prepared."""

    cohort: Cohort
    labelling: Labelling


def study_of(request: TrainRequest, folder: Path) -> DrawnStudy:
    """Read the study and the tables of a cohort folder; no image is opened, and nothing is written.

    Parameters
    ----------
    request : TrainRequest
    folder : of the cohort

    Raises
    ------
    CohortError
        The study must be fixed first, or draws no lesion on diffusion scans.
    UsageError
        It draws several, and none was chosen.
    """
    cohort = read_cohort(folder)
    maps, problems = load_maps(cohort.config, folder)
    if problems or cohort.study_problems:
        raise CohortError((*cohort.study_problems, *problems))
    drawn = _drawn_by(cohort.config, request.drawn_by)
    labelling = Labelling(
        mask=drawn.scans[0],
        scan=drawn.lies_on,
        **_diffusion(cohort.config, drawn.lies_on),
        mask_forms=drawn.settings["forms"],
        reference=MapReference(map_location(cohort.config.regions_of(drawn), folder), maps[drawn.name].sha256),
        gates=cohort.config.gates_of("dwi"),
    )
    return DrawnStudy(cohort, labelling)


def candidates_of(study: DrawnStudy, work: Path) -> Candidates:
    """Who of a study may be learned from; no image is opened but to take its digest, which is kept in ``work``."""
    cases, excluded = _cases(study.cohort, study.labelling, work)
    sides, wrong = _sides(study.cohort.participants)
    kept = tuple(one for one in cases if one.participant_id not in wrong)
    excluded += tuple(wrong[one.participant_id] for one in cases if one.participant_id in wrong)
    return Candidates(kept, study.labelling, excluded, sides)


def _drawn_by(config: StudyConfig, name: str) -> Source:
    """The source whose lesions are learned."""
    known = {one.name: one for one in config.computed_sources if one.kind == "native_mask" and one.gated_as == "dwi"}
    if name and name not in known:
        raise UsageError(
            f"--drawn-by must be a source of kind native_mask on a diffusion scan, got {name!r}. The study has "
            f"{', '.join(known) or 'none'}."
        )
    if not known:
        rule = 'must have a [[source]] of kind = "native_mask" whose scan is diffusion MR, got none'
        remedy = "Add one that names the rows of the lesions and of their scans."
        raise CohortError([Problem("cohort.toml", None, None, None, rule, remedy, "no_drawn_lesion")])
    if not name and len(known) > 1:
        raise UsageError(
            f"--drawn-by must say whose lesions are learned where several are drawn, got {', '.join(known)}. Name one."
        )
    return known[name] if name else next(iter(known.values()))


def _diffusion(config: StudyConfig, scan: str) -> dict[str, Any]:
    """Where ADC and b = 0 lie and what the b-value is, as the study tells the network's source."""
    source = next((one for one in config.computed_sources if one.kind == "dwi_unet" and one.lies_on == scan), None)
    if source is None:
        source = METHODS["dwi_unet"].source.model_validate({"name": "unet", "kind": "dwi_unet"})
    wanted = ("adc", "b0", "b_value_s_mm2", "forms")
    return {name: source.settings[name] for name in wanted}


def _cases(cohort: Cohort, labelling: Labelling, work: Path) -> tuple[tuple[Case, ...], tuple[Excluded, ...]]:
    """Everybody with a mask or its scan."""
    modalities = (labelling.mask, labelling.scan, labelling.adc, labelling.b0)
    root = cohort.folder.resolve()
    there = {(one.participant_id, one.modality): root / one.path for one in cohort.scans if one.modality in modalities}
    cache = HashCache(work / HASHES_NAME)
    digests = cache.sha256_of(there.values())
    cache.save()
    problems: dict[str, Problem] = {}
    for problem in cohort.participant_problems:
        problems.setdefault(cast(str, problem.participant_id), problem)
    cases, excluded = [], []
    every = [*cohort.scans, *cohort.refused_scans]
    for participant in dict.fromkeys(one.participant_id for one in every if one.modality in modalities[:2]):
        missing = _missing(participant, labelling, {modality for name, modality in there if name == participant})
        if participant in problems:
            excluded.append(Excluded(participant, problems[participant].reason, problems[participant].text))
        elif missing is not None:
            excluded.append(missing)
        else:
            files = [(modality, there.get((participant, modality))) for modality in modalities]
            found = [(modality, path) for modality, path in files if path is not None]
            gone = [path.name for _, path in found if path not in digests]
            if gone:
                detail = f"{', '.join(gone)} must be readable, got nothing. Put the file back or fix its permissions."
                excluded.append(Excluded(participant, "unreadable_file", detail))
                continue
            own = tuple(CaseFile(modality, str(path), digests[path]) for modality, path in found)
            cases.append(Case(participant, "training", own))
    return tuple(cases), tuple(excluded)


def _missing(participant: str, labelling: Labelling, modalities: set[str]) -> Excluded | None:
    """Why somebody with one of both cannot be learned from."""
    if labelling.mask not in modalities:
        detail = (
            f"a lesion must be drawn on the scan, got none of modality {labelling.mask!r}. List the mask in scans.tsv; "
            "one without a voxel says that there is no lesion."
        )
        return Excluded(participant, "mask_missing", detail)
    if labelling.scan not in modalities:
        return Excluded(participant, "scan_of_mask_missing", NO_SCAN.format(labelling.scan))
    return None


def _sides(participants: pd.DataFrame) -> tuple[dict[str, Split], dict[str, Excluded]]:
    """Whom the study gives a side in the column ``split``, and whom another word: nobody guesses what it means."""
    given = {str(name): str(side) for name, side in participants.set_index("participant_id")["split"].dropna().items()}
    sides = {name: side.strip().lower() for name, side in given.items()}
    rule = f"split in participants.tsv must be {', '.join(SPLITS)} or n/a"
    wrong = {
        name: Excluded(name, "split_unknown", f"{rule}, got {given[name]!r}. Correct it, or empty the cell.")
        for name, side in sides.items()
        if side not in SPLITS
    }
    return {name: side for name, side in sides.items() if side in SPLITS}, wrong


def write_excluded(excluded: Iterable[Excluded], path: Path) -> None:
    """Write who was left out and why, a row each."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((one.participant, one.reason, " ".join(one.detail.split())) for one in excluded)
    write_bytes(path, text.getvalue().encode())


def in_words(excluded: Sequence[Excluded]) -> str:
    """How many were left out for which reason."""
    counts = Counter(one.reason for one in excluded)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
