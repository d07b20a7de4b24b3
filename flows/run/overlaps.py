"""Which lesions and regions are compared: a plan of its own, made once sources are committed, run like the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cohorts.folder.source import REGION_NETWORK, LesionSource
from cohorts.store.records import Record, digest_of
from cohorts.tables.segmentation import RegionPair, lesion_pairs, region_pairs
from flows.cases.case import Case, CaseFile, MapReference, StepSettings
from flows.run import lesion_overlap, region_overlap
from flows.run.lesion_overlap import CANDIDATE, REFERENCE
from flows.run.plan import Plan, case_files, map_location, with_records
from flows.run.region_overlap import RegionComparison, given_labels
from flows.sources.code import code_version


def overlap_plan(plan: Plan, out: Path) -> Plan:
    """What is to compare of a plan whose records are looked up.

    Its cases are keyed by (participant, name of a pair); ``records`` are the comparisons that are committed.
    """
    settings, cases = _lesions(plan, out)
    for pair in region_pairs(plan.cohort.config):
        if pair.source.name not in plan.absent:
            settings[pair.name], found = _regions(plan, pair)
            cases |= found
    return with_records(replace(plan, settings=settings, cases=cases, records={}, stated={}), out)


def overlap_records(plan: Plan, out: Path) -> Mapping[tuple[str, str], Record]:
    """(participant, name of a pair) -> the committed comparison, failed ones among them."""
    return with_records(overlap_plan(plan, out), out, with_failed=True).records


def _lesions(plan: Plan, out: Path) -> tuple[dict[str, StepSettings], dict[tuple[str, str], Case]]:
    """Every pair of lesions that are both there."""
    pairs = [
        pair for pair in lesion_pairs(plan.cohort.config) if {pair.reference, pair.candidate} <= set(plan.settings)
    ]
    default = lesion_overlap.DEFAULT
    settings = StepSettings(default.kind, (), default.settings, code_version(lesion_overlap.METHOD).digest)
    cases = {}
    for participant_id in dict.fromkeys(participant_id for participant_id, _ in plan.cases):
        for pair in pairs:
            files = [
                _lesion_file(plan, participant_id, measurement, out.resolve(), role)
                for role, measurement in ((REFERENCE, pair.reference), (CANDIDATE, pair.candidate))
            ]
            found = tuple(file for file in files if file is not None)
            if len(found) == len(files):
                cases[participant_id, pair.name] = Case(participant_id, default.step, found)
    return {pair.name: settings for pair in pairs}, cases


def _regions(plan: Plan, pair: RegionPair) -> tuple[StepSettings, dict[tuple[str, str], Case]]:
    """The regions of every participant for whom they were drawn and whose scan the source could use."""
    source = pair.source
    comparison = RegionComparison.model_validate(
        {
            "modality": pair.drawn.modality,
            "scan": pair.drawn.scan,
            "image": source.image_kind,
            "forms": source.forms,
            "registration": source.registration,
            "given": given_labels(plan.drawn[pair.drawn.name]),
        }
    )
    location = map_location(plan.cohort.config.regions_of(source), plan.cohort.folder)
    used = [one.sha256 for one in plan.weights.get(source.name, ()) if one.name == REGION_NETWORK]
    settings = StepSettings(
        comparison.kind,
        (MapReference(location, plan.maps[source.name].sha256),),
        comparison.settings,
        code_version(region_overlap.METHOD).digest,
        digest_of(used) if used else None,
    )
    files = case_files(plan.cohort, plan.files)
    measurement = plan.cohort.config.measurement_of[source.name]
    cases = {}
    for (participant_id, name), record in plan.records.items():
        found = [files.get((participant_id, modality)) for modality in comparison.scans]
        present = tuple(file for file in found if file is not None)
        if name == measurement and record.status == "ok" and len(present) == len(found):
            cases[participant_id, pair.name] = Case(participant_id, comparison.step, present)
    return settings, cases


def _lesion_file(plan: Plan, participant_id: str, measurement: str, out: Path, role: str) -> CaseFile | None:
    """The file that holds a measured lesion, None where none was measured."""
    record = plan.records.get((participant_id, measurement))
    source = plan.cohort.config.measurements[measurement][0]
    if record is None or record.status != "ok" or not isinstance(source, LesionSource):
        return None
    case = plan.cases[participant_id, measurement]
    if source.lesion_file is None:
        return replace(case.files[0], modality=role)
    name = f"{case.prefix}_{source.lesion_file}"
    kept = (one for one in record.outputs if Path(one["path"]).name == name)
    return next((CaseFile(role, str(out / one["path"]), one["sha256"]) for one in kept), None)
