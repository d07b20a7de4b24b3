"""What a run has to do: every case with the address of its result, and which results are already committed."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from cohorts.folder.manifest import Cohort, CohortError, read_cohort
from cohorts.folder.problems import Problem
from cohorts.folder.source import ComputedSource, LesionSource
from cohorts.folder.study import StudyConfig
from cohorts.store.hashing import HashCache
from cohorts.store.records import Record, digest_of, is_complete, latest_record, load, record_path
from cohorts.tables.rows import MapUse
from flows.sources.interface import SIDECAR_OF, STEP_CODES, Case, CaseFile, MapReference, StepSettings, step_key
from flows.sources.mask import MASK_PARAMETERS, VASCULAR_MAP
from models.anatomy.template import LABEL_MAPS, LabelMap, load_label_map

SOURCE_PACKAGES = ("cohorts", "flows", "models", "reports", "tasks")
HASHES_NAME = "hashes.json"


class UsageError(ValueError):
    """An option that the cohort, or its own rule, does not allow."""


@dataclass(frozen=True)
class Plan:
    """A cohort with everything needed to run it; cases and records by (participant, measurement)."""

    cohort: Cohort
    maps: dict[str, MapUse]
    vascular: MapUse
    settings: dict[str, StepSettings]
    cases: dict[tuple[str, str], Case]
    files: dict[str, tuple[str, int]]
    records: dict[tuple[str, str], Record]

    @property
    def pending(self) -> list[tuple[str, Case]]:
        """(measurement, case) of the cases without a valid record."""
        return [(key[1], case) for key, case in self.cases.items() if key not in self.records]


def make_plan(folder: Path, out: Path, *, labels: Iterable[str] = ()) -> Plan:
    """Read the cohort, digest its files and look up what is committed.

    Parameters
    ----------
    folder : cohort folder
    out : output folder
    labels : participants to restrict the run to; empty means all

    Raises
    ------
    CohortError
        The study has problems that stop it before any work.
    """
    cohort = _subset(read_cohort(folder), labels)
    maps, problems = load_maps(cohort.config, folder)
    if problems or cohort.study_problems:
        raise CohortError((*cohort.study_problems, *problems))
    vascular = load_label_map(VASCULAR_MAP)
    settings = {
        measurement: _settings(sources, cohort.config, folder, maps, vascular)
        for measurement, sources in cohort.config.measurements.items()
    }
    files = _digests(cohort, out)
    cases = _cases(cohort, files)
    plan = Plan(cohort, maps, _use(vascular), settings, cases, files, {})
    return with_records(plan, out)


def _settings(
    sources: tuple[ComputedSource, ...],
    config: StudyConfig,
    folder: Path,
    maps: dict[str, MapUse],
    vascular: LabelMap,
) -> StepSettings:
    """Settings of one measurement: the maps of all its sources, and what they declare in common."""
    references = [
        MapReference(map_location(config.regions_of(source), folder), maps[source.name].sha256) for source in sources
    ]
    if isinstance(sources[0], LesionSource):
        references.append(MapReference(VASCULAR_MAP, vascular.sha256))
    is_mask = sources[0].kind == "mask"
    parameters = MASK_PARAMETERS if is_mask else sources[0].measured_with
    return StepSettings(sources[0].kind, tuple(dict.fromkeys(references)), parameters)


def _cases(cohort: Cohort, files: dict[str, tuple[str, int]]) -> dict[tuple[str, str], Case]:
    """Every case: a participant with the first scan of a measurement, and those of its further scans that are there."""
    root = cohort.folder.resolve()
    found = {
        (scan.participant_id, scan.modality): CaseFile(scan.modality, str(root / scan.path), files[scan.path][0])
        for scan in cohort.scans
        if scan.path in files
    }
    sidecars = {
        (scan.participant_id, scan.modality): CaseFile(
            SIDECAR_OF.format(scan.modality), str(root / scan.sidecar), files[scan.sidecar][0]
        )
        for scan in cohort.scans
        if scan.sidecar is not None and scan.sidecar in files
    }
    participants = dict.fromkeys(scan.participant_id for scan in cohort.scans)
    cases = {}
    for measurement, (source, *_) in cohort.config.measurements.items():
        for participant_id in participants:
            read = [found.get((participant_id, modality)) for modality in source.scans]
            if read[0] is not None:
                present = tuple(file for file in read if file is not None)
                if source.reads_sidecar and (participant_id, source.modality) in sidecars:
                    present += (sidecars[participant_id, source.modality],)
                cases[participant_id, measurement] = Case(participant_id, source.step, present)
    return cases


def with_records(plan: Plan, out: Path, *, with_failed: bool = False) -> Plan:
    """Look up again which cases are committed; a failed one is due again, and counts only when the results are made."""
    records = {}
    for (participant_id, measurement), case in plan.cases.items():
        record = load(record_path(out, participant_id, step_key(case, plan.settings[measurement])))
        if record is not None and (with_failed or record.status != "failed") and is_complete(out, record):
            records[participant_id, measurement] = record
    return replace(plan, records=records)


def why_stale(plan: Plan, out: Path, participant_id: str, measurement: str) -> tuple[str, ...]:
    """Which of input, settings, weights and code changed since a case's last record; ``("new",)`` if it has none."""
    case = plan.cases[participant_id, measurement]
    last = latest_record(out, participant_id, case.step)
    if last is None:
        return ("new",)
    causes = step_key(case, plan.settings[measurement]).causes_against(last.key)
    return causes or (("failed",) if last.status == "failed" else ("outputs missing",))


def stale_causes(plan: Plan, out: Path) -> Counter[str]:
    """How many pending cases are due for which cause."""
    return Counter(
        cause for measurement, case in plan.pending for cause in why_stale(plan, out, case.participant_id, measurement)
    )


def load_maps(config: StudyConfig, folder: Path) -> tuple[dict[str, MapUse], list[Problem]]:
    """Load the label map of every computed source; a map that cannot be used is a problem of the study."""
    maps: dict[str, MapUse] = {}
    problems: list[Problem] = []
    for source in config.computed_sources:
        name = config.regions_of(source)
        try:
            maps[source.name] = _use(load_label_map(map_location(name, folder)))
        except (ValueError, FileNotFoundError) as error:
            problems.append(
                Problem(
                    file="cohort.toml",
                    row=None,
                    column=f"source.{source.name}.regions",
                    value=name,
                    rule=f"must be a usable label map ({error})",
                    remedy="Mend the map or its table.",
                    reason="unusable_label_map",
                )
            )
    return maps, problems


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest of the version and of every source file, templates and label maps included."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(
        path
        for package in SOURCE_PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and path.suffix not in {".pyc"} and "__pycache__" not in path.parts
    )

    return digest_of(
        {
            "version": importlib.metadata.version("aspects-cohort"),
            "files": {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
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
            "steps": dict(STEP_CODES),
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
