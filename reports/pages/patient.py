"""One page per patient: what is known, what was found where, how good the scans are, and how it was computed.

Pages stand in ``patients/`` beside ``report.html`` and ``quality.html``. They load nothing and hold no script; whatever
people wrote appears as text. A patient who was left out has a page too, with the reason and the remedy first.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cohorts.tables.schemas import PARTICIPANTS
from reports.document.chapters.flow import STAGE_TITLES
from reports.document.document import DISCLAIMER, FILE_NAME
from reports.document.page_template import page_template
from reports.document.tables import DASH, words
from reports.figures.drawing import file_stem
from reports.pages.perfusion import perfusion_panel
from reports.pages.remedies import remedy
from reports.pages.rendering import rendering_panel
from reports.pages.scans import picture_rows, quality_rows, with_unit
from reports.pages.sides import difference
from reports.pages.tables import patient_chapters
from reports.pages.view import (
    INDEX_PAGE,
    PAGES_FOLDER,
    QUALITY_PAGE,
    CohortView,
    Drawing,
    PatientView,
    TableRow,
    decimal,
    given,
    modality_title,
    page_name,
)
from tasks.anatomy import MAXIMUM_SCORE
from tasks.quality.catalogue import FIGURE_OF
from tasks.quality.guards import GUARDS

_STATUS_TITLES = {"included": "Included", "excluded": "Left out", "failed": "Failed"}


def write_patient_pages(views: Iterable[PatientView], cohort: CohortView, folder: Path) -> int:
    """Write one page per patient; the same views give the same bytes.

    Parameters
    ----------
    views : any number, taken one at a time
    cohort : CohortView
    folder : the folder of ``report.html``; pages go to ``patients/`` inside it, made if absent

    Returns
    -------
    int
        How many were written.
    """
    pages = folder / PAGES_FOLDER
    pages.mkdir(parents=True, exist_ok=True)
    n_written = 0
    before, (ahead, after) = "", itertools.tee(views)
    next(after, None)
    for view, following in itertools.zip_longest(ahead, after):
        name = str(view.participant["participant_id"])
        neighbours = (before, "" if following is None else str(following.participant["participant_id"]))
        (pages / page_name(name)).write_text(patient_page(view, cohort, neighbours), encoding="utf-8")
        n_written, before = n_written + 1, name
    return n_written


def patient_page(view: PatientView, cohort: CohortView, neighbours: tuple[str, str] = ("", "")) -> str:
    """Render one patient's page, with links to the patients before and after, empty where there is none."""
    drawn = {one.modality for one in view.drawings if one.picture is not None or one.perfusion is not None}
    scans = sorted(view.scans, key=lambda scan: (scan["modality"] not in drawn, str(scan["modality"])))
    links = [(INDEX_PAGE, "All patients"), (f"../{FILE_NAME}", "Report of the cohort")]
    links.append((f"../{QUALITY_PAGE}", "Quality of all scans"))
    links += [
        (page_name(name), f"{way} patient: {name}")
        for way, name in zip(("Previous", "Next"), neighbours, strict=True)
        if name
    ]
    return page_template("patient.html.j2").render(
        title=str(view.participant["participant_id"]),
        kicker="Patient",
        disclaimer=DISCLAIMER,
        links=links,
        sides=difference(view.sides),
        facts=_facts(view, cohort),
        cohort=cohort,
        status=_status(view),
        scans=[_scan(scan, view, cohort) for scan in scans],
        chapters=patient_chapters(view),
    )


def _facts(view: PatientView, cohort: CohortView) -> list[tuple[str, str]]:
    """Who it is and which run made the page; what is not known is left out, but a clinical value shows as a dash."""
    row = view.participant
    facts = [(name.capitalize(), str(row[name])) for name in ("site", "split", "severity") if given(row.get(name))]
    known = dict.fromkeys(name for name in row if name not in PARTICIPANTS.names)
    for column in {**cohort.columns, **known}:
        value = given(row.get(column))
        shown = DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        shown = shown.removesuffix(" 00:00:00")  # a date without a time
        facts.append((cohort.columns.get(column, column), shown))
    return [*facts, *cohort.facts]


def _status(view: PatientView) -> dict[str, Any]:
    """Included, or every reason with what was found and what to do, the primary one first; scores as tiles."""
    row = view.participant
    title = _STATUS_TITLES.get(str(row.get("status")), str(row.get("status")))
    if (stage := given(row.get("stage"))) and (reason := given(row.get("reason"))):
        title += f" {STAGE_TITLES.get(str(stage), str(stage)).lower()}: {words(str(reason))}"
    exclusions = [
        {
            "stage": STAGE_TITLES.get(str(one["stage"]), str(one["stage"])),
            "reason": words(str(one["reason"])),
            "badge": ("failed" if one["status"] == "failed" else ""),
            "detail": one["detail"],
            "remedy": remedy(str(one["stage"]), str(one["reason"])),
        }
        for one in sorted(view.exclusions, key=lambda one: not one.get("is_primary"))
    ]
    tiles = [
        {
            "value": f"{int(score['score'])} / {MAXIMUM_SCORE}",
            "name": f"ASPECTS, {score['source']}",
            "under": f"scored side: {score['scored_side']}" if given(score.get("scored_side")) else "",
        }
        for score in view.scores
        if given(score.get("score")) is not None
    ]
    tiles += [
        {
            "value": f"{decimal(lesion['volume_ml'], 1)} ml",
            "name": f"Volume, {lesion['source']}",
            "under": "",
        }
        for lesion in view.lesions
        if given(lesion.get("volume_ml")) is not None
    ]
    return {"title": title, "exclusions": exclusions, "tiles": tiles}


def _scan(scan: TableRow, view: PatientView, cohort: CohortView) -> dict[str, Any]:
    """One scan's section."""
    modality = str(scan["modality"])
    drawings = [one for one in view.drawings if one.modality == modality]
    figures = quality_rows(scan, cohort.quality.of(modality))
    facts = [str(scan["path"])]
    columns = (("shape", "voxels"), ("spacing_mm", "mm"), ("orientation", ""))
    facts += [f"{scan[column]} {name}" for column, name in columns if given(scan.get(column))]
    if scan["status"] != "ok":
        facts.append(f"{scan['status']}: {words(str(scan.get('reason') or 'no reason given'))}")
    if not any(one.picture is not None or one.perfusion is not None for one in drawings):
        facts.append("no slices are drawn of this file")
    return {
        "title": modality_title(modality),
        "lead": ", ".join(part.strip() for part in facts) + ".",
        "suspected": _suspected(scan),
        "drawings": [_drawing(one, place, drawings, view, cohort) for place, one in enumerate(drawings)],
        "figures": figures,
        "figures_caption": f"Quality of this scan beside all {modality_title(modality)} scans of the cohort",
    }


def _suspected(scan: TableRow) -> list[dict[str, str]]:
    """What guards of plain CT suspect, with the figures that say so."""
    found = []
    for guard in GUARDS:
        if given(scan.get(guard.flag)):
            listed = [(FIGURE_OF[column], given(scan.get(column))) for column in guard.figures]
            said = [
                f"{one.meaning or one.title.lower()}: {with_unit(float(value), one.digits, one.unit)}"
                for one, value in listed
                if value is not None
            ]
            found.append({"title": f"{guard.title} suspected", "why": "; ".join(said)})
    return found


def _drawing(
    drawing: Drawing, place: int, of_scan: Sequence[Drawing], view: PatientView, cohort: CohortView
) -> dict[str, Any]:
    """What one measurement drew with one label map; a scan of several names the sources in every heading."""
    judged = {row["source"] for row in view.regions}
    sources = [one for one in drawing.sources if one in judged]
    is_first = all(one.measurement != drawing.measurement for one in of_scan[:place])
    measurements = dict.fromkeys(one.measurement for one in of_scan)
    of_measurement = [one for each in of_scan if each.measurement == drawing.measurement for one in each.sources]
    picture, perfusion = drawing.picture, drawing.perfusion
    name = f"{file_stem(drawing.modality)}-{place + 1}"
    return {
        "name": name,
        "title": ", ".join(of_measurement) if is_first and len(measurements) > 1 else "",
        "perfusion": perfusion and perfusion_panel(perfusion, f"perfusion-{name}", cohort.pictures),
        "picture": picture and picture_rows(picture, view.regions, sources, cohort.pictures, is_first=is_first),
        "rendering": drawing.rendering and rendering_panel(drawing.rendering, cohort.pictures),
        "undrawn": ", ".join(sources) if picture is None else "",
    }
