"""The pages of a run, from its tables and pictures: one per participant, their index, and that of quality figures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from flows.run.plan import Plan
from reports.figures.perfusion_picture import PERFUSION_SUFFIX
from reports.figures.rendering_picture import RENDERING_SUFFIX
from reports.figures.scan_picture import PICTURE_SUFFIX

if TYPE_CHECKING:
    from cohorts.folder.clinical_column import ClinicalColumn
    from cohorts.folder.manifest import Cohort
    from cohorts.store.records import Record
    from reports.pages.view import CohortView, Drawing, PatientView
    from reports.statistics.inputs import ReportInput, RunInfo

Row = dict[str, Any]

TABLES_OF_A_PATIENT = ("exclusions", "scans", "scores", "regions", "lesions", "provenance", "timings")


def write_pages(plan: Plan, frames: dict[str, pd.DataFrame], cohort: CohortView, out: Path, draft: Path) -> None:
    """Write every participant's page, their index, and the quality page.

    Parameters
    ----------
    plan : the cohort, with its records
    frames : the tables as read back, ``provenance`` and ``timings`` included
    cohort : what all pages share
    out : output folder, where the records' files lie
    draft : folder of the run's results
    """
    from reports.pages.patient import write_patient_pages
    from reports.pages.quality import quality_page
    from reports.pages.view import INDEX_PAGE, PAGES_FOLDER, QUALITY_PAGE

    participants = _records(frames["participants"])
    rows = {name: _by_participant(frames[name]) for name in TABLES_OF_A_PATIENT}
    sides = _sides(plan, participants, rows)
    write_patient_pages(_views(plan, participants, rows, sides, out), cohort, draft)
    index = _index(participants, rows["scores"], sides, cohort)
    (draft / PAGES_FOLDER / INDEX_PAGE).write_text(index, encoding="utf-8")
    page = quality_page(frames["scans"], frames["exclusions"], cohort, sides)
    (draft / QUALITY_PAGE).write_text(page, encoding="utf-8")


def write_further_pages(
    plan: Plan, data: ReportInput, statistics: pd.DataFrame, cohort: CohortView, out: Path, draft: Path
) -> None:
    """Write the gallery of disagreements, and the appendix: method cards, published numbers, checklists."""
    from reports.document.appendix import APPENDIX_NAME, MethodCard, appendix_page
    from reports.document.page import material
    from reports.pages.gallery import GALLERY_PAGE, disagreements, gallery_page
    from reports.statistics.patients import SCORE, patients_of
    from reports.statistics.rows import Statistics
    from reports.statistics.sections.agreement import pairs_of
    from reports.statistics.sections.severity import threshold_of

    primary = next((item for item in plan.cohort.config.dichotomy if item.primary and item.on == SCORE), None)
    cut = None if primary is None else threshold_of(primary)
    found = disagreements(data.scores, pairs_of(patients_of(data)), cut)
    chosen = {one.participant_id for one in found}
    regions = _by_participant(data.regions[data.regions["participant_id"].isin(list(chosen))])
    page = gallery_page(found, regions, lambda name: _drawings(plan, name, out), cohort, cut)
    (draft / GALLERY_PAGE).write_text(page, encoding="utf-8")
    cards = {kind: MethodCard.of(kind, text) for kind, text in card_texts().items()}
    page = appendix_page(material(data, Statistics(statistics), cohort.run, None), cards)
    (draft / APPENDIX_NAME).write_text(page, encoding="utf-8")


def card_texts() -> dict[str, str]:
    """Kind of source -> its method card, a file of ``flows/sources/cards``; in the order of the papers."""
    folder = files("flows") / "sources" / "cards"
    kinds = ("cta_radiomics", "ncct_overlap", "ncct_asymmetry", "ncct_radiomics", "dwi_unet", "dwi_dichotomy")
    return {kind: (folder / f"{kind}.toml").read_text(encoding="utf-8") for kind in kinds}


def cohort_view(plan: Plan, scans: pd.DataFrame, run: RunInfo) -> CohortView:
    """What all pages share."""
    from reports.figures.quality_figures import cohort_quality
    from reports.pages.view import CohortView

    config = plan.cohort.config
    return CohortView(
        study=config.study.name,
        run=run,
        quality=cohort_quality(scans, _gates(plan)),
        columns={item.column: _title(item, plan.cohort) for item in config.clinical},
        is_synthetic=config.study.synthetic,
        pictures=config.study.pictures,
    )


def _title(item: ClinicalColumn, cohort: Cohort) -> str:
    """A clinical column on a page; that its dates are shifted is said, since the page goes to the archive too."""
    if item.read_as == "date" and cohort.shifted:
        return f"{item.title} (shifted)"
    return f"{item.title} ({item.unit})" if item.unit else item.title


def _index(
    participants: list[Row], scores: Mapping[str, list[Row]], sides: Mapping[str, dict[str, str]], cohort: CohortView
) -> str:
    """The index of patients, with a column for every source that scores."""
    from reports.pages.index import index_page, index_rows

    sources = list(dict.fromkeys(row["source"] for of_patient in scores.values() for row in of_patient))
    return index_page(index_rows(participants, scores, sides, sources), sources, cohort)


def _gates(plan: Plan) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    """Modality -> figure -> limits in force."""
    config = plan.cohort.config
    return {
        source.lies_on: {gate.figure: (gate.minimum, gate.maximum) for gate in config.gates_of(source.gated_as)}
        for source in config.computed_sources
        if source.gated_as is not None
    }


def _sides(plan: Plan, participants: list[Row], rows: Mapping[str, dict[str, list[Row]]]) -> dict[str, dict[str, str]]:
    """participant_id -> who names an affected side -> the side."""
    from reports.pages.sides import affected_sides

    config = plan.cohort.config
    measurements = {source.name: config.measurement_of[source.name] for source in config.volume_sources}
    sides = {}
    for one in participants:
        name, clinical = one["participant_id"], one.get(config.clinical_side or "")
        scores, lesions = rows["scores"].get(name, []), rows["lesions"].get(name, [])
        sides[name] = affected_sides(scores, lesions, clinical, measurements)
    return sides


def _views(
    plan: Plan,
    participants: list[Row],
    rows: Mapping[str, dict[str, list[Row]]],
    sides: Mapping[str, dict[str, str]],
    out: Path,
) -> Iterator[PatientView]:
    """Every participant's rows and pictures, one at a time."""
    from reports.pages.view import PatientView

    for participant in participants:
        name = participant["participant_id"]
        of_patient: dict[str, Any] = {table: found.get(name, []) for table, found in rows.items()}
        drawings = tuple(_drawings(plan, name, out))
        yield PatientView(participant=participant, drawings=drawings, sides=sides[name], **of_patient)


def _drawings(plan: Plan, participant_id: str, out: Path) -> Iterator[Drawing]:
    """What each measurement drew, once for each label map of its sources; a source is drawn on its own map alone.

    A file of before label maps were named in it is of the first map.
    """
    from reports.pages.view import Drawing

    for measurement, sources in plan.cohort.config.measurements.items():
        record = plan.records.get((participant_id, measurement))
        if record is None:
            continue
        maps = {source.name: plan.maps[source.name].sha256 for source in sources}
        first = maps[sources[0].name]
        perfusion = next(iter(_read(record, out, PERFUSION_SUFFIX)), None)
        rendering = next(iter(_read(record, out, RENDERING_SUFFIX)), None)
        of_map = {} if perfusion is None else {perfusion["base"].get("label_map") or first: perfusion["base"]}
        of_map |= {one.get("label_map") or first: one for one in _read(record, out, PICTURE_SUFFIX)}
        if not of_map:
            continue
        for place, sha256 in enumerate(dict.fromkeys([*maps.values(), *of_map])):
            names = tuple(name for name, one in maps.items() if one == sha256)
            panel, views = (perfusion, rendering) if place == 0 else (None, None)
            yield Drawing(measurement, sources[0].lies_on, names, of_map.get(sha256), panel, views)


def _read(record: Record, out: Path, suffix: str) -> list[Any]:
    """The files of a record with this ending."""
    return [json.loads((out / one["path"]).read_bytes()) for one in record.outputs if one["path"].endswith(suffix)]


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
