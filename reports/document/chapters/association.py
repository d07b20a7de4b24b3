"""How score and volume go together with severity and outcome."""

from __future__ import annotations

from collections.abc import Iterable

from reports.document.page import (
    AnalysisSet,
    Block,
    Chapter,
    FigureView,
    Group,
    Material,
    TableView,
    Text,
    in_sets,
    measure_title,
)
from reports.document.tables import Cell, cell, number, p_cell
from reports.figures.charts import Scatter, associations
from reports.statistics.patients import VOLUME


def association_chapter(material: Material) -> Chapter:
    """Rank correlation and ordinal odds of score and volume with severity and outcome."""
    views = [(analysis_set, tuple(_associations(material, analysis_set))) for analysis_set in material.sets]
    blocks = in_sets(views)
    if not blocks:
        blocks = (Text("The study names neither a severity nor an outcome column."),)
    return Chapter("association", "Severity and outcome", blocks)


def _associations(material: Material, analysis_set: AnalysisSet) -> Iterable[Block]:
    """Panels of the first score source and the first volume, and the table of all."""
    stratum, patients = analysis_set.stratum, analysis_set.patients
    columns = [c for c in dict.fromkeys((material.severity, material.data.config.outcome)) if c]
    panels: list[Scatter] = []
    lines: list[Group] = []
    for column in columns:
        values = patients.numbers(column)
        rows = []
        first: set[str] = set()
        for measure, source, measured in patients.measures():
            rho, tau, odds = (
                material.row("association", f"{name}:{measure}", source, column, stratum)
                for name in ("spearman", "kendall", "odds_ratio")
            )
            if rho is None:
                continue
            rows.append(
                (
                    Cell(measure_title(measure)),
                    Cell(source),
                    Cell(str(rho.n)),
                    cell(rho, 3),
                    p_cell(rho),
                    cell(tau, 3),
                    cell(odds, 2),
                    p_cell(odds),
                )
            )
            kept = patients.complete(values, measured)
            if measure not in first and kept.any():
                first.add(measure)
                text = f"ρ = {number(rho.estimate, 2)}, n = {rho.n}"
                title = f"{source}"
                panels.append(
                    Scatter(title, measure_title(measure), material.title(column), measured[kept], values[kept], text,
                            is_log=measure == VOLUME)
                )  # fmt: skip
        if rows:
            lines.append(Group(f"With {material.title(column)}", tuple(rows)))
    if panels:
        yield FigureView(
            associations(panels, name=f"association-{stratum}"),
            f"Score and volume against severity and outcome, {analysis_set.title.lower()}. Area of a bubble, "
            "or number and shade of a square: patients; ρ is Spearman's rank correlation.",
        )
    if lines:
        yield TableView(
            f"Association of score and volume with severity and outcome, {analysis_set.title.lower()}; 95 % intervals. "
            "Odds ratio: proportional odds of a higher value, per point of score and per doubling of volume",
            ("Measure", "Source", "n", "Spearman ρ", "p of ρ", "Kendall τ-b", "Odds ratio", "p of the odds ratio"),
            tuple(lines),
            n_text=2,
        )
