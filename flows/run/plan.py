"""What a run has to do: every case with the address of its result, and which results are already committed."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from cohorts.folder.manifest import Cohort, CohortError
from cohorts.folder.problems import Problem
from cohorts.folder.source import Source
from cohorts.folder.study import CLASSIC, StudyConfig
from cohorts.folder.taken_sources import SOURCES_TAKEN
from cohorts.store.hashing import HashCache
from cohorts.store.records import (
    Record,
    StepKey,
    digest_of,
    earlier_keys,
    is_complete,
    is_damaged,
    load,
    record_path,
)
from cohorts.tables.rows import MapUse
from flows.cases.case import SIDECAR_OF, Case, CaseFile, MapReference, StepSettings, step_key
from flows.cases.label_maps import VASCULAR_MAP
from flows.run.commands import Commands, with_versions
from flows.run.methods import STEP_METHODS
from flows.run.request import UsageError
from flows.run.stated import stated_records
from flows.sources.code import PACKAGES, ROOT, code_version, earlier_parts
from flows.sources.registry import METHODS, read_cohort
from models.anatomy.template import LABEL_MAPS, LabelMap, load_label_map, read_label_table
from models.weights import Weights, WeightsMissingError, find_weights
from tasks.anatomy import LabelTable, aspects_label_table

HASHES_NAME = "hashes.json"


@dataclass(frozen=True)
class Plan:
    """A cohort with everything needed to run it; cases and records by (participant, measurement).

    Attributes
    ----------
    cohort : as read
    maps : name of a source -> its label map
    vascular : the map of arterial territories
    settings : measurement -> settings of its step
    cases : what there is to measure
    files : path inside the cohort folder -> (sha256, size in bytes)
    records : what is committed
    weights : name of a source -> the trained weights it uses
    absent : name of a source that cannot be measured -> why
    drawn : name of drawn regions -> what their numbers mean
    stated : (participant, measurement) -> what a table of other software says, as records
    """

    cohort: Cohort
    maps: dict[str, MapUse]
    vascular: MapUse
    settings: dict[str, StepSettings]
    cases: dict[tuple[str, str], Case]
    files: dict[str, tuple[str, int]]
    records: dict[tuple[str, str], Record]
    weights: dict[str, tuple[Weights, ...]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    drawn: dict[str, LabelTable] = field(default_factory=dict)
    stated: dict[tuple[str, str], Record] = field(default_factory=dict)

    @property
    def n_done(self) -> int:
        """Cases with a valid record."""
        return sum(key in self.records for key in self.cases)

    @property
    def chosen_lines(self) -> list[str]:
        """What to say of the choice of sources: that all were taken, and which are left out, with the reason."""
        taken = [problem.text for problem in self.cohort.warnings if problem.reason == SOURCES_TAKEN]
        return [*taken, *(f"Left out: {why}" for why in self.absent.values())]

    @property
    def pending(self) -> list[tuple[str, Case]]:
        """(measurement, case) of the cases without a valid record."""
        return [(key[1], case) for key, case in self.cases.items() if key not in self.records]


def make_plan(folder: Path, out: Path, *, labels: Iterable[str] = (), commands: Commands = "refuse") -> Plan:
    """Read the cohort, digest its files and look up what is committed.

    Parameters
    ----------
    folder : cohort folder
    out : output folder
    labels : participants to restrict the run to; empty means all
    commands : whether programs that the study declares may be run, if only to ask for their versions

    Raises
    ------
    CohortError
        The study has problems that stop it before any work.
    """
    return plan_of(_subset(read_cohort(folder), labels), out, commands=commands)


def plan_of(cohort: Cohort, out: Path, *, commands: Commands = "refuse") -> Plan:
    """Digest the files of a cohort that was read, and look up what is committed; see ``make_plan``."""
    config, refused = with_versions(cohort.config, out, commands)
    cohort = replace(cohort, config=config)
    folder = cohort.folder
    maps, problems = load_maps(cohort.config, folder)
    drawn, found = _drawn_tables(cohort.config, folder)
    problems += found
    if problems or cohort.study_problems:
        raise CohortError((*cohort.study_problems, *problems))
    vascular = load_label_map(VASCULAR_MAP)
    weights, absent = _weights(cohort.config)
    absent = refused | absent
    settings = {
        measurement: _settings(sources, cohort.config, folder, maps, vascular, weights)
        for measurement, sources in cohort.config.measurements.items()
        if sources[0].scans and sources[0].name not in absent
    }
    files = _digests(cohort, out)
    cases = _cases(cohort, files, settings)
    stated = stated_records(cohort)
    plan = Plan(cohort, maps, _use(vascular), settings, cases, files, {}, weights, absent, drawn, stated)
    return with_records(plan, out)


def _weights(config: StudyConfig) -> tuple[dict[str, tuple[Weights, ...]], dict[str, str]]:
    """The trained weights of every source that needs some, and why a source must do without."""
    found: dict[str, tuple[Weights, ...]] = {}
    absent: dict[str, str] = {}
    for source in config.computed_sources:
        try:
            found[source.name] = tuple(find_weights(name, method=method) for name, method in source.weights.items())
        except WeightsMissingError as error:
            absent[source.name] = str(error)
    return {name: weights for name, weights in found.items() if weights}, absent


def _settings(
    sources: tuple[Source, ...],
    config: StudyConfig,
    folder: Path,
    maps: dict[str, MapUse],
    vascular: LabelMap,
    weights: dict[str, tuple[Weights, ...]],
) -> StepSettings:
    """Settings of one measurement: the maps of all its sources, and what they declare in common."""
    first = sources[0]
    references = [
        MapReference(map_location(config.regions_of(source), folder), maps[source.name].sha256) for source in sources
    ]
    if "lesion" in first.gives:
        references.append(MapReference(VASCULAR_MAP, vascular.sha256))
    used = [one.sha256 for one in weights.get(first.name, ())]
    return StepSettings(
        first.kind,
        tuple(dict.fromkeys(references)),
        first.settings,
        code_version(METHODS[first.kind]).digest,
        digest_of(used) if used else None,
        first.limits,
    )


def _cases(
    cohort: Cohort, files: dict[str, tuple[str, int]], measurements: Iterable[str]
) -> dict[tuple[str, str], Case]:
    """Every case: a participant with the first scan of a measurement, and those of its further scans that are there."""
    root = cohort.folder.resolve()
    found = case_files(cohort, files)
    sidecars = {
        (scan.participant_id, scan.modality): CaseFile(
            SIDECAR_OF.format(scan.modality), str(root / scan.sidecar), files[scan.sidecar][0]
        )
        for scan in cohort.scans
        if scan.sidecar is not None and scan.sidecar in files
    }
    participants = dict.fromkeys(scan.participant_id for scan in cohort.scans)
    cases = {}
    for measurement in measurements:
        source = cohort.config.measurements[measurement][0]
        for participant_id in participants:
            read = [found.get((participant_id, modality)) for modality in source.scans]
            if read[0] is not None:
                present = tuple(file for file in read if file is not None)
                if source.reads_sidecar and (participant_id, source.scans[0]) in sidecars:
                    present += (sidecars[participant_id, source.scans[0]],)
                cases[participant_id, measurement] = Case(participant_id, source.step, present)
    return cases


def case_files(cohort: Cohort, files: dict[str, tuple[str, int]]) -> dict[tuple[str, str], CaseFile]:
    """(participant, modality) -> the file, of those that are there."""
    root = cohort.folder.resolve()
    return {
        (scan.participant_id, scan.modality): CaseFile(scan.modality, str(root / scan.path), files[scan.path][0])
        for scan in cohort.scans
        if scan.path in files
    }


def with_records(plan: Plan, out: Path, *, with_failed: bool = False) -> Plan:
    """Look up again which cases are committed; a failed one is due again, and counts only when the results are made."""
    records = dict(plan.stated)
    for (participant_id, measurement), case in plan.cases.items():
        path = record_path(out, participant_id, step_key(case, plan.settings[measurement]))
        record = load(path, STEP_METHODS[plan.settings[measurement].kind].source.findings)
        if record is not None and (with_failed or record.status != "failed") and is_complete(out, record):
            records[participant_id, measurement] = record
    return replace(plan, records=records)


def why_stale(plan: Plan, out: Path, participant_id: str, measurement: str) -> tuple[str, ...]:
    """Why a case is due: new, failed, outputs missing, or what differs from the nearest committed result.

    Nearest is the one with the fewest differences, of these the newest: one step may have run with several settings.
    """
    key, found = _nearest(plan, out, participant_id, measurement)
    if found is None:
        return ("damaged",) if is_damaged(out, participant_id, key) else ("new",)
    nearest, status = found
    return key.causes_against(nearest) or (("failed",) if status == "failed" else ("outputs missing",))


def changed_code(plan: Plan, out: Path, participant_id: str, measurement: str) -> tuple[str, ...]:
    """The modules and libraries by which the code of a due case differs from its nearest committed result."""
    key, found = _nearest(plan, out, participant_id, measurement)
    if found is None or found[0].code == key.code:
        return ()
    parts = earlier_parts(out, found[0].code)
    return () if parts is None else code_version(METHODS[plan.settings[measurement].kind]).changed_since(parts)


def _nearest(
    plan: Plan, out: Path, participant_id: str, measurement: str
) -> tuple[StepKey, tuple[StepKey, str] | None]:
    """Address of a case; and address and status of its nearest committed result, None where there is none."""
    case = plan.cases[participant_id, measurement]
    key = step_key(case, plan.settings[measurement])
    earlier = earlier_keys(out, participant_id, case.step)
    return key, min(earlier, key=lambda known: len(key.causes_against(known[0])), default=None)


def stale_causes(plan: Plan, out: Path) -> Counter[str]:
    """How many pending cases are due for which cause."""
    return Counter(
        cause for measurement, case in plan.pending for cause in why_stale(plan, out, case.participant_id, measurement)
    )


def load_maps(config: StudyConfig, folder: Path) -> tuple[dict[str, MapUse], list[Problem]]:
    """Load the label map of every computed source; a map that cannot be used is a problem of the study."""
    maps: dict[str, MapUse] = {}
    loaded: dict[str, MapUse] = {}
    problems: list[Problem] = []
    for source in config.computed_sources:
        name = config.regions_of(source)
        try:
            if name not in loaded:
                loaded[name] = _use(load_label_map(map_location(name, folder)))
            maps[source.name] = loaded[name]
        except (ValueError, FileNotFoundError) as error:
            key = f"source.{source.name}.regions"
            problems.append(_unusable(key, name, "label map", error, "Fix the map or its table."))
    return maps, problems


def _drawn_tables(config: StudyConfig, folder: Path) -> tuple[dict[str, LabelTable], list[Problem]]:
    """What the numbers of drawn regions mean; a table that cannot be used is a problem of the study."""
    tables: dict[str, LabelTable] = {}
    problems: list[Problem] = []
    for drawn in config.drawn_regions:
        try:
            is_own = drawn.labels == CLASSIC
            tables[drawn.name] = aspects_label_table() if is_own else read_label_table(folder.resolve() / drawn.labels)
        except (ValueError, OSError) as error:
            key = f"drawn_regions.{drawn.name}.labels"
            problems.append(_unusable(key, drawn.labels, "label table", error, "Fix the table."))
    return tables, problems


def _unusable(key: str, value: str, what: str, error: Exception, remedy: str) -> Problem:
    """A file named in the study that is there but cannot be used."""
    rule, reason = f"must be a usable {what} ({error})", f"unusable_{what.replace(' ', '_')}"
    return Problem("cohort.toml", None, key, value, rule, remedy, reason)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of the version and of every source file, templates and label maps included."""
    files = sorted(
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".pyc"} and "__pycache__" not in path.parts
    )

    return digest_of(
        {
            "version": importlib.metadata.version("aspects-cohort"),
            "files": {str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        }
    )


def run_digest(plan: Plan) -> str:
    """Digest of everything that the tables and the report of a run depend on."""
    cohort = plan.cohort
    return digest_of(
        {
            "config": cohort.config.model_dump(mode="json"),
            "participants": cohort.participants.to_json(orient="split"),
            "readings": [repr(reading) for reading in cohort.readings],
            "problems": [problem.text for problem in cohort.problems],
            "refused": [repr(scan) for scan in cohort.refused_scans],
            "scans": [repr(scan) for scan in cohort.scans],
            "cases": {"/".join(key): step_key(case, plan.settings[key[1]]).digest for key, case in plan.cases.items()},
            "maps": {name: use.sha256 for name, use in plan.maps.items()},
            "absent": plan.absent,
            "stated": {"/".join(key): [one.key.digest, one.detail] for key, one in plan.stated.items()},
            "drawn": {name: repr(table) for name, table in plan.drawn.items()},
            "drawn_files": {
                f"{scan.participant_id}/{scan.modality}": plan.files[scan.path][0]
                for scan in cohort.scans
                if scan.modality in {drawn.modality for drawn in cohort.config.drawn_regions}
                and scan.path in plan.files
            },
            "code": code_digest(),
        }
    )


def _subset(cohort: Cohort, labels: Iterable[str]) -> Cohort:
    """Restrict a cohort to some participants, given with or without ``sub-``."""
    wanted = {label if label.startswith("sub-") else f"sub-{label}" for label in labels}
    if not wanted:
        return cohort
    known = {*cohort.participants["participant_id"], *(scan.participant_id for scan in cohort.scans)}
    if unknown := sorted(wanted - known):
        near = [match for label in unknown for match in get_close_matches(label, known, n=1)]
        raise UsageError(
            f"--participant-label must name participants of the cohort, got {', '.join(unknown)}."
            + (f" Nearest: {', '.join(near)}." if near else "")
        )
    return replace(
        cohort,
        participants=cohort.participants[cohort.participants["participant_id"].isin(wanted)].reset_index(drop=True),
        scans=tuple(scan for scan in cohort.scans if scan.participant_id in wanted),
        refused_scans=tuple(scan for scan in cohort.refused_scans if scan.participant_id in wanted),
        readings=tuple(reading for reading in cohort.readings if reading.participant_id in wanted),
        problems=tuple(
            problem for problem in cohort.problems if problem.participant_id is None or problem.participant_id in wanted
        ),
    )


def _digests(cohort: Cohort, out: Path) -> dict[str, tuple[str, int]]:
    """(sha256, size) of every scan, and of the sidecars that a step reads, by path inside the cohort folder."""
    cache = HashCache(out / "work" / HASHES_NAME)
    folder = cohort.folder.resolve()
    read = {modality for source in cohort.config.computed_sources if source.reads_sidecar for modality in source.scans}
    paths = {scan.path: folder / scan.path for scan in cohort.scans}
    paths |= {scan.sidecar: folder / scan.sidecar for scan in cohort.scans if scan.sidecar and scan.modality in read}
    digests = cache.sha256_of(paths.values())
    if out.is_dir():
        cache.save()
    return {name: (digests[path], path.stat().st_size) for name, path in paths.items() if path in digests}


def map_location(name: str, folder: Path) -> str:
    """A built-in map's name, or the absolute path of a map inside the cohort folder."""
    return name if name in LABEL_MAPS else str(folder.resolve() / name)


def _use(label_map: LabelMap) -> MapUse:
    """What tables need of a map."""
    return MapUse(label_map.sha256, label_map.table)
