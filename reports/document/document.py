"""The document: one self-contained HTML page that opens offline, and its figures as SVG files.

The page loads nothing: style and drawings are inside, there is no script, and its security policy forbids all else.
Whatever people wrote (names, identifiers, details) is escaped and appears as text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from reports.document.chapters.against_reference import calibration_chapter, reference_cuts_chapter, regional_chapter
from reports.document.chapters.agreement import agreement_chapter
from reports.document.chapters.association import association_chapter
from reports.document.chapters.cohort import cohort_chapter, distribution_chapter
from reports.document.chapters.cuts import dichotomy_chapter, youden_chapter
from reports.document.chapters.flow import chase_chapter, flow_chapter
from reports.document.chapters.guards import guards_chapter
from reports.document.chapters.methods import REFERENCES, guide_chapter, methods_chapter, provenance_chapter
from reports.document.chapters.plan import plan_chapter, with_role
from reports.document.chapters.readers_and_sites import intention_chapter, readers_chapter, sites_chapter
from reports.document.chapters.regions import region_chapter
from reports.document.chapters.resources import resources_chapter
from reports.document.chapters.roc import roc_chapter
from reports.document.chapters.segmentation import segmentation_chapter
from reports.document.chapters.summary import Summary, summary
from reports.document.page import Chapter, Material, material
from reports.document.page_template import page_template
from reports.figures.brain_maps import AtlasLevel, AtlasSlices
from reports.figures.drawing import Chart, style
from reports.statistics.inputs import ReportInput, RunInfo
from reports.statistics.rows import Statistics

__all__ = ["AtlasLevel", "AtlasSlices", "Document", "document", "write_report"]

FILE_NAME, BRIEF_NAME = "report.html", "brief.html"
DISCLAIMER = "Research use only; never a diagnosis"
_CHAPTERS = (
    plan_chapter, flow_chapter, chase_chapter, cohort_chapter, distribution_chapter, region_chapter, roc_chapter,
    dichotomy_chapter, youden_chapter, association_chapter, agreement_chapter, guards_chapter, regional_chapter,
    reference_cuts_chapter, calibration_chapter, readers_chapter, sites_chapter, intention_chapter,
    segmentation_chapter, methods_chapter, resources_chapter, guide_chapter,
)  # fmt: skip
#: Chapters of the report for sending, in the order of their worth; what does not fit any more is left out.
_BRIEF = (
    "plan", "flow", "agreement", "regional", "reference_cuts", "roc", "calibration", "readers", "intention", "methods",
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """A rendered report: the page, the short one for sending, and the figures."""

    html: str
    charts: tuple[Chart, ...]
    brief: str = ""


def write_report(
    data: ReportInput, statistics: pd.DataFrame, run: RunInfo, atlas_slices: AtlasSlices | None, folder: Path
) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` into a folder.

    Parameters
    ----------
    data : ReportInput
    statistics : pandas.DataFrame
        The ``statistics`` contract as ``reports.statistics.analysis.analyse`` gives it for ``data``, after the lint.
    run : RunInfo
    atlas_slices : AtlasSlices or None
        Slices of one label map to paint region frequencies on; without them the report says that there are no maps.
    folder : pathlib.Path
        Made if absent. Figures of an earlier report in it are replaced.

    Returns
    -------
    pathlib.Path
        Of ``report.html``; the same bytes for the same input.

    Raises
    ------
    ValueError
        The flowchart does not add up.
    """
    made = document(data, statistics, run, atlas_slices)
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for stale in figures.glob("*.svg"):
        stale.unlink()
    for chart in made.charts:
        (figures / f"{chart.name}.svg").write_text(chart.svg, encoding="utf-8")
    path = folder / FILE_NAME
    path.write_text(made.html, encoding="utf-8")
    (folder / BRIEF_NAME).write_text(made.brief, encoding="utf-8")
    return path


def document(
    data: ReportInput, statistics: pd.DataFrame, run: RunInfo, atlas_slices: AtlasSlices | None = None
) -> Document:
    """Render the report in memory; parameters and errors as in ``write_report``."""
    with style():
        parts = material(data, Statistics(statistics), run, atlas_slices)
        made = (make(parts) for make in _CHAPTERS)
        chapters = [with_role(chapter, parts) for chapter in made if chapter is not None]
        provenance = provenance_chapter(parts)
        first_page = summary(parts)
        html = _render(parts, first_page, chapters, provenance)
        by_anchor = {chapter.anchor: chapter for chapter in chapters}
        kept = [by_anchor[name] for name in _BRIEF if name in by_anchor]
        sent = [replace(one, blocks=one.open_blocks) for one in kept]
        brief = _render(parts, first_page, sent, None)
    return Document(html, tuple(chart for chapter in chapters for chart in chapter.charts()), brief)


def _render(parts: Material, first_page: Summary, chapters: list[Chapter], provenance: Chapter | None) -> str:
    """Fill the template; without provenance as the short report, whose chapters are open."""
    contents = [(chapter.anchor, chapter.title) for chapter in chapters]
    if provenance is not None:
        contents += [("references", "References"), ("provenance", "Provenance")]
    return page_template("report.html.j2").render(
        study=parts.data.config.study,
        run=parts.run,
        disclaimer=DISCLAIMER,
        summary=first_page,
        chapters=chapters,
        provenance=provenance,
        is_brief=provenance is None,
        references=REFERENCES,
        contents=contents,
    )
