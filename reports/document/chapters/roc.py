"""How well score and volume tell severe strokes apart: ROC curves, their areas and paired differences."""

from __future__ import annotations

from reports.document.page import (
    NO_SEVERITY,
    AnalysisSet,
    Block,
    Chapter,
    FigureView,
    Folded,
    Group,
    Material,
    TableView,
    Text,
    measure_title,
)
from reports.document.tables import Cell, cell, count_cells, interval, number, p_cell
from reports.estimators.discrimination import roc_curve
from reports.figures.charts import Curve, roc_curves
from reports.statistics.patients import SCORE, VOLUME
from reports.statistics.sections.severity import DIRECTION


def roc_chapter(material: Material) -> Chapter:
    """Areas under the curve and their paired differences."""
    if material.severity is None:
        return Chapter("roc", "Telling severe strokes apart", (Text(NO_SEVERITY),))
    blocks: list[Block] = []
    for analysis_set in material.sets:
        blocks += _roc_figure(material, analysis_set)
    groups = [
        Group(
            analysis_set.title,
            tuple(
                (Cell(measure_title(row.detail)), Cell(str(row.source)), *count_cells(row), cell(row, 3))
                for row in material.statistics.select("roc", "auc", analysis_set.stratum)
            ),
        )
        for analysis_set in material.sets
    ]
    blocks.append(
        TableView(
            f"Area under the ROC curve for {material.positive_class}, DeLong 95 % interval",
            ("Measure", "Source", "n", "n positive", "AUC"),
            tuple(group for group in groups if group.rows),
            n_text=2,
        )
    )
    against_volume = _differences(material, f"{SCORE}:{VOLUME}", "Score less volume")
    between_scores = _differences(material, f"{SCORE}:{SCORE}", "Score less score")
    blocks += against_volume
    if between_scores:
        blocks.append(Folded("Differences between scores", tuple(between_scores)))
    return Chapter("roc", "Telling severe strokes apart", tuple(blocks))


def _differences(material: Material, detail: str, title: str) -> list[Block]:
    """Paired differences of areas, one group per analysis set."""
    rows = [row for row in material.statistics.select("roc", "auc_difference") if row.detail == detail]
    groups = [
        Group(
            analysis_set.title,
            tuple(
                (
                    Cell(str(row.source)),
                    Cell(str(row.reference)),
                    *count_cells(row),
                    cell(row, 3),
                    p_cell(row, adjusted=True),
                )
                for row in rows
                if row.stratum == analysis_set.stratum
            ),
        )
        for analysis_set in material.sets
    ]
    if not rows:
        return []
    families = dict.fromkeys(row.family for row in rows if row.family)
    return [
        TableView(
            f"{title}: difference of the areas in the patients that both measured, paired DeLong test. Adjusted p over "
            f"unadjusted p; families: {'; '.join(families) or 'none'}",
            ("First", "Second", "n", "n positive", "First − second", "p"),
            tuple(group for group in groups if group.rows),
            n_text=2,
        )
    ]


def _roc_figure(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """Curves of scores and of volumes, the primary or published cut as a ring."""
    patients, stratum = analysis_set.patients, analysis_set.stratum
    positive = patients.positive()
    panels: dict[str, list[Curve]] = {}
    counts: list[int | None] = []
    for measure, source, values in patients.measures():
        row = material.row("roc", f"auc:{measure}", source, material.severity, stratum)
        kept = patients.complete(positive, values)
        if row is None or row.estimate is None or not kept.any():
            continue
        curve = roc_curve(reference=positive[kept], candidate=values[kept], positive_when=DIRECTION[measure])
        counts.append(row.n)
        panels.setdefault(measure_title(measure), []).append(
            Curve(
                f"{source}: {number(row.estimate, 3)} ({interval(row, 3)})",
                1 - curve.specificity,
                curve.sensitivity,
                _operating_point(material, measure, source, stratum),
            )
        )
    if not panels:
        return []
    share = next(row for row in material.statistics.select("roc", "auc", stratum))
    return [
        FigureView(
            roc_curves(panels, name=f"roc-{stratum}"),
            f"ROC curves for {material.positive_class}, {analysis_set.title.lower()}; area and DeLong 95 % interval in "
            "the legend. "
            "Rings: the published cuts, ASPECTS ≤ 6 and volume ≥ 27.86 ml (Wei 2026). A low score and a high volume "
            "speak "
            f"for the positive class. n positive = {share.n_positive} of {share.n} in the first curve.",
        )
    ]


def _operating_point(material: Material, measure: str, source: str, stratum: str) -> tuple[float, float] | None:
    """(1 - specificity, sensitivity) of the published cut."""
    rows = [
        material.row("youden", f"{name}_published:{measure}", source, material.severity, stratum)
        for name in ("specificity", "sensitivity")
    ]
    if rows[0] is None or rows[1] is None or rows[0].estimate is None or rows[1].estimate is None:
        return None
    return 1 - rows[0].estimate, rows[1].estimate
