"""The pages of a run: one per participant, and the group page of quality figures, from the tables and the pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from flows.run.plan import Plan
from flows.sources.native_scan import PICTURE_SUFFIX
from reports.figures.perfusion_picture import PERFUSION_SUFFIX

if TYPE_CHECKING:
    from reports.figures.perfusion_picture import PerfusionPicture
    from reports.figures.scan_picture import ScanPicture
    from reports.pages.view import PatientView
    from reports.statistics.inputs import RunInfo

TABLES_OF_A_PATIENT = ("exclusions", "scans", "scores", "regions", "lesions", "provenance", "timings")


def write_pages(plan: Plan, frames: dict[str, pd.DataFrame], run: RunInfo, out: Path, draft: Path) -> None:
    """Write every participant's page and the quality page.

    Parameters
    ----------
    plan : the cohort, with its records
    frames : the tables as read back, ``provenance`` and ``timings`` included
    run : what the pages say of the run
    out : output folder, where the records' files lie
    draft : folder of the run's results
    """
    from reports.figures.quality_figures import cohort_quality
    from reports.pages.patient import write_patient_pages
    from reports.pages.quality import quality_page
    from reports.pages.view import QUALITY_PAGE, CohortView

    config = plan.cohort.config
    cohort = CohortView(
        study=config.study.name,
        run=run,
        quality=cohort_quality(frames["scans"], _gates(plan)),
        columns={item.column: f"{item.title} ({item.unit})" if item.unit else item.title for item in config.clinical},
        source_modality={source.name: source.scans[0] for source in config.computed_sources},
        is_synthetic=config.study.synthetic,
    )
    write_patient_pages(_views(plan, frames, out), cohort, draft)
    page = quality_page(frames["scans"], frames["exclusions"], cohort)
    (draft / QUALITY_PAGE).write_text(page, encoding="utf-8")


def _gates(plan: Plan) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    """Modality -> figure -> limits in force."""
    config = plan.cohort.config
    return {
        source.scans[0]: {gate.figure: (gate.minimum, gate.maximum) for gate in config.gates_of(source.gated_as)}
        for source in config.computed_sources
        if source.gated_as is not None
    }


def _views(plan: Plan, frames: dict[str, pd.DataFrame], out: Path) -> Iterator[PatientView]:
    """Every participant's rows and pictures, one at a time."""
    from reports.pages.view import PatientView

    rows = {name: _by_participant(frames[name]) for name in TABLES_OF_A_PATIENT}
    for participant in _records(frames["participants"]):
        participant_id = participant["participant_id"]
        of_patient: dict[str, Any] = {name: found.get(participant_id, []) for name, found in rows.items()}
        pictures: dict[str, ScanPicture] = _pictures(plan, participant_id, out, PICTURE_SUFFIX)
        perfusion: dict[str, PerfusionPicture] = _pictures(plan, participant_id, out, PERFUSION_SUFFIX)
        pictures = {modality: panel["base"] for modality, panel in perfusion.items()} | pictures
        yield PatientView(participant=participant, pictures=pictures, perfusion=perfusion, **of_patient)


def _pictures(plan: Plan, participant_id: str, out: Path, suffix: str) -> dict[str, Any]:
    """Modality -> the picture that a step made of it in a file of this ending."""
    pictures = {}
    for measurement, (source, *_) in plan.cohort.config.measurements.items():
        record = plan.records.get((participant_id, measurement))
        for output in record.outputs if record is not None else ():
            if output["path"].endswith(suffix):
                pictures[source.scans[0]] = json.loads((out / output["path"]).read_bytes())
    return pictures


def _by_participant(frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """participant_id -> rows as dicts."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _records(frame):
        found[row["participant_id"]].append(row)
    return found


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, every kind of null as None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return cast("list[dict[str, Any]]", plain.to_dict("records"))
