"""A run's results: tables, statistics, report and summary in one folder, published whole.

``OUT/results/<run id>/`` is written under a temporary name and renamed, and ``OUT/results/latest`` is switched in one
step, so a reader never sees half a run, and old runs stay. A summary lists every file with its sha256.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohorts.store.hashing import file_sha256
from cohorts.store.records import Record, write_bytes
from cohorts.store.share import rename
from cohorts.store.stated_findings import StatedResult
from cohorts.tables.features import features_batch
from cohorts.tables.gates import gated
from cohorts.tables.lesions import lesion_values, lesions_batch
from cohorts.tables.participants import (
    Standing,
    exclusions_batch,
    grade_names,
    participants_batch,
    participants_contract,
    standings,
)
from cohorts.tables.regions_and_scores import regions_and_scores
from cohorts.tables.rows import Measured
from cohorts.tables.scans import scans_batch
from cohorts.tables.schemas import (
    EXCLUSIONS,
    FEATURES,
    LESIONS,
    PROVENANCE,
    REGIONS,
    SCANS,
    SCORES,
    SEGMENTATION,
    TABLES,
    TIMINGS,
    statistics_table,
)
from cohorts.tables.segmentation import segmentation_batch
from cohorts.tables.storage import columns_of, data_dictionary, read_table, tsv_text, write_table
from flows.run.bids import keep_derivatives
from flows.run.latest import (
    DRAFT,
    OWN_DIGEST,
    REFUSED,
    RESULTS,
    SUMMARY,
    damaged_files,
    latest_folder,
    publish_folder,
    read_summary,
    settle,
    summary_digest,
)
from flows.run.overlaps import overlap_records
from flows.run.pages import cohort_view, write_further_pages, write_pages
from flows.run.plan import Plan, code_digest, run_digest
from flows.run.withholding import refuse_where_nothing_was_measured

TABLES_FOLDER = "tables"
PACKAGES_SHOWN = (
    "aspects-cohort",
    "prefect",
    "distributed",
    "nibabel",
    "nilearn",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "statsmodels",
)


class RefusedReportError(RuntimeError):
    """The report holds a number that cannot be right, and is not written; the message says what to do."""


@dataclass(frozen=True)
class RunFacts:
    """What names a run and how it was started; ``computed`` are the (participant, measurement) that were due."""

    run_id: str
    started_at: str
    command: str
    is_subset: bool = False
    computed: frozenset[tuple[str, str]] = frozenset()


def latest_summary(out: Path) -> dict[str, Any] | None:
    """Summary of the latest published run; None where there is none or it is damaged."""
    folder = latest_folder(out)
    return None if folder is None else read_summary(folder)


def is_current(plan: Plan, out: Path) -> bool:
    """Whether the latest run answers exactly this plan and its files are whole."""
    folder = latest_folder(out)
    summary = None if folder is None else read_summary(folder)
    if folder is None or summary is None or summary.get("digest") != run_digest(plan):
        return False
    return "sha256" in summary and not damaged_files(out, folder, summary)


def publish_results(plan: Plan, out: Path, facts: RunFacts) -> tuple[Path, dict[str, Any]]:
    """Make and publish the tables, the statistics and the report of a plan whose cases are all committed or failed.

    Parameters
    ----------
    plan : with the records as they are now
    out : output folder
    facts : names the run

    Returns
    -------
    (run folder, summary).

    Raises
    ------
    NothingMeasuredError
        All that was due failed for technical reasons; nothing is made.
    RefusedReportError
        The lint found a number that cannot be; the tables stay for inspection, nothing is published.
    """
    if not facts.is_subset:
        refuse_where_nothing_was_measured(plan, latest_folder(out), facts.computed)
    results = out / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    settle(results)
    draft = results / f"{DRAFT}{uuid.uuid4().hex}"
    (draft / TABLES_FOLDER).mkdir(parents=True)
    found = write_tables(plan, draft / TABLES_FOLDER, out)
    digest = run_digest(plan)
    problems = _write_report(plan, out, draft, facts, digest)
    summary = _summary(plan, found, facts, digest, draft)
    write_bytes(draft / SUMMARY, json.dumps(summary, indent=2).encode())
    if problems:
        raise _refused(problems, draft, results / REFUSED)
    final = results / facts.run_id
    if facts.is_subset:
        rename(draft, final)
    else:
        keep_derivatives(plan, out)
        publish_folder(draft, final)
    return final, summary


def _refused(problems: list[str], draft: Path, final: Path) -> RefusedReportError:
    """Keep the latest refused tables, with every problem beside them; earlier ones make room."""
    from reports.lint.lint import REFUSAL, refusal

    write_bytes(draft / REFUSAL, "\n".join([*problems, ""]).encode())
    if final.exists():
        shutil.rmtree(final)
    draft.replace(final)
    return RefusedReportError(refusal(problems, final))


def write_tables(plan: Plan, folder: Path, out: Path) -> dict[str, Standing]:
    """Write every table that comes from the cohort and its records; statistics follow from the report.

    ``out`` is the output folder, where the comparisons of lesions and regions are committed.
    """
    overlaps = overlap_records(plan, out)
    cohort = plan.cohort
    records = gated(plan.records, cohort.config)
    states = {name: weights[0].state for name, weights in plan.weights.items()}
    measured = Measured(records, plan.maps, plan.vascular, plan.absent, states)
    leading = [cohort.config.measurement_of[source.name] for source in cohort.config.lesion_sources[:1]]
    lesions = {
        participant_id: lesion_values(cohort.config.measurements[measurement][0], record.payload, plan.vascular)
        for (participant_id, measurement), record in records.items()
        if record.status == "ok" and measurement in leading
    }
    found = standings(cohort, records, lesions)
    people = participants_contract(cohort.config)
    write_table(people, [participants_batch(cohort, found)], folder)
    write_table(SCANS, [scans_batch(cohort, measured, found, plan.files, overlaps)], folder)
    write_table(EXCLUSIONS, [exclusions_batch(found)], folder)
    write_table(LESIONS, [lesions_batch(cohort, measured, found)], folder)
    regions, scores = [], []
    for region_batch, score_batch in regions_and_scores(cohort, measured, found):
        regions.append(region_batch)
        scores.append(score_batch)
    write_table(REGIONS, regions, folder)
    write_table(SCORES, scores, folder)
    write_table(FEATURES, [features_batch(cohort, measured)], folder)
    write_table(SEGMENTATION, [segmentation_batch(cohort, measured, found, overlaps, plan.drawn)], folder)
    ordered = {key: records[key] for key in plan.cases if key in records}
    steps = [*_steps(plan, ordered), *(name for _, name in overlaps)]
    done = [*ordered.values(), *overlaps.values()]
    write_table(TIMINGS, [_timings(steps, done)], folder)
    stated = list(plan.stated.values())
    write_table(PROVENANCE, [_provenance([*steps, *(one.key.step for one in stated)], [*done, *stated])], folder)
    tables = [people, *list(TABLES.values())[1:]]
    dictionary = data_dictionary(tables)
    write_bytes(folder / "dictionary.tsv", tsv_text(dictionary).encode())
    write_bytes(folder / "dictionary.json", json.dumps(dictionary, indent=1).encode())
    return found


def _write_report(plan: Plan, out: Path, draft: Path, facts: RunFacts, settings_digest: str) -> list[str]:
    """Analyse the tables just written, lint, and write statistics and report; what the lint refuses is given back."""
    from reports.document.document import write_report
    from reports.lint.lint import lint
    from reports.statistics.analysis import analyse
    from reports.statistics.inputs import ReportInput, RunInfo

    tables = draft / TABLES_FOLDER
    frames = {
        name: read_table(tables / f"{name}.parquet")
        for name in ("participants", "scans", "exclusions", "regions", "scores", "lesions", "segmentation", "timings")
    }
    config = plan.cohort.config
    data = ReportInput(
        config=config,
        map_names={source.name: config.regions_of(source) for source in config.computed_sources},
        absent=plan.absent,
        **frames,
    )
    statistics = analyse(data)
    write_table(statistics_table(grade_names(config)), [columns_of(statistics)], tables)
    if problems := lint(statistics, data):
        return problems
    run = RunInfo(
        run_id=facts.run_id,
        version=importlib.metadata.version("aspects-cohort"),
        started_at=facts.started_at,
        code_digest=code_digest(),
        settings_digest=settings_digest,
        command=facts.command,
        packages={name: importlib.metadata.version(name) for name in PACKAGES_SHOWN},
        warnings=tuple(problem.text for problem in plan.cohort.warnings),
    )
    write_report(data, statistics, run, _atlas_slices(plan), draft)
    cohort = cohort_view(plan, data.scans, run)
    write_pages(plan, frames | {"provenance": read_table(tables / "provenance.parquet")}, cohort, out, draft)
    write_further_pages(plan, data, statistics, cohort, out, draft)
    return []


def _atlas_slices(plan: Plan) -> Any:
    """Cut the template and the first ASPECTS map of the study at the two levels for the report's maps."""
    from flows.run.atlas import atlas_slices

    aspects = [source for source in plan.cohort.config.computed_sources if plan.maps[source.name].table.is_aspects]
    if not aspects:
        return None
    return atlas_slices(plan.cohort.config.regions_of(aspects[0]), plan.cohort.folder)


def _summary(plan: Plan, found: Mapping[str, Standing], facts: RunFacts, digest: str, draft: Path) -> dict[str, Any]:
    """Counts, exclusions and files of a run."""
    files = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    statuses = [standing.status for standing in found.values()]
    reasons: dict[str, int] = {}
    for standing in found.values():
        if standing.primary is not None:
            code = f"{standing.primary.stage}:{standing.primary.reason}"
            reasons[code] = reasons.get(code, 0) + 1
    summary = {
        "run_id": facts.run_id,
        "study": plan.cohort.config.study.name,
        "started_at": facts.started_at,
        "command": facts.command,
        "version": importlib.metadata.version("aspects-cohort"),
        "is_subset": facts.is_subset,
        "digest": digest,
        "code_digest": code_digest(),
        "config": plan.cohort.config.model_dump(mode="json"),
        "maps": {name: use.sha256 for name, use in plan.maps.items()},
        "counts": {
            "screened": len(found),
            "included": statuses.count("included"),
            "excluded": statuses.count("excluded"),
            "failed": statuses.count("failed"),
            "examined": sum(standing.is_examined for standing in found.values()),
            "measured": sum(standing.is_measured for standing in found.values()),
        },
        "exclusions": dict(sorted(reasons.items())),
        "files": {str(path.relative_to(draft)): path.stat().st_size for path in files},
        "sha256": {str(path.relative_to(draft)): file_sha256(path) for path in files},
    }
    return summary | {OWN_DIGEST: summary_digest(summary)}


def _steps(plan: Plan, records: Mapping[tuple[str, str], Record]) -> list[str]:
    """Name of each record's step; where a study has it with several settings, also of the first source of these."""
    measurements = plan.cohort.config.measurements
    variants = {name: name.removeprefix(sharing[0].stem) for name, sharing in measurements.items()}
    return [record.key.step + variants[measurement] for (_, measurement), record in records.items()]


def _timings(steps: list[str], rows: list[Record]) -> dict[str, list[Any]]:
    """Rows of ``timings``."""
    return {
        "participant_id": [record.participant_id for record in rows],
        "step": steps,
        "seconds": [record.seconds for record in rows],
        "cpu_seconds": [record.cpu_seconds for record in rows],
        "peak_mib": [record.peak_mib for record in rows],
        "finished_at": [record.finished_at for record in rows],
    }


def _provenance(steps: list[str], rows: list[Record]) -> dict[str, list[Any]]:
    """Rows of ``provenance``."""
    said = [getattr(record.payload, "stated", None) or StatedResult() for record in rows]
    return {
        "participant_id": [record.participant_id for record in rows],
        "step": steps,
        "digest": [record.key.digest for record in rows],
        "input_sha256": [record.key.input_sha256 for record in rows],
        "settings_sha256": [record.key.settings_sha256 for record in rows],
        "weights_sha256": [record.key.weights_sha256 for record in rows],
        "code": [record.key.code for record in rows],
        "software_version": [stated.version for stated in said],
        "software_run_on": [stated.run_on for stated in said],
        "status": [record.status for record in rows],
        "reason": [record.reason for record in rows],
        "detail": [record.detail if record.status != "ok" else None for record in rows],
    }
