"""Agreement with and without patients whose plain CT shows an old infarct or a haemorrhage, as suspected."""

from __future__ import annotations

from reports.document.page import AnalysisSet, Block, Chapter, Group, Material, TableView, Text, in_sets
from reports.document.tables import Cell, cell, number, proportion_cell, words
from reports.statistics.rows import Row
from reports.statistics.sections.guards import SECTION, WITHOUT
from tasks.quality.catalogue import FIGURE_OF, QualityFigure
from tasks.quality.guards import GUARDS

_FIGURES = ("icc_a1", "within_1", "bias")


def guards_chapter(material: Material) -> Chapter | None:
    """Who is suspected of what, and the agreement of those who are left; None where no plain CT was measured."""
    if not material.statistics.select(SECTION, "suspected"):
        return None
    intro = Text(
        "An old infarct or a haemorrhage on plain CT is suspected from the density of the scan, by the thresholds of "
        "this table. Nobody is left out of any other number for it. A flag is no finding: look at the scan. The same "
        "agreement without those who are suspected says how much rests on them; patients without a plain CT stay in. "
        "A hyperdense artery is a sign of the stroke itself and is only counted."
    )
    views = [(one, tuple(_blocks(material, one))) for one in material.agreement_sets]
    return Chapter(SECTION, "With and without old infarcts and haemorrhages", (intro, *in_sets(views)))


def _blocks(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """Flags, and agreement, of one analysis set."""
    stratum = analysis_set.stratum
    thresholds = material.data.config.guards.thresholds
    flagged = {row.category: row for row in material.statistics.select(SECTION, "suspected", stratum)}
    lines = []
    for guard in GUARDS:
        if guard.name in flagged:
            rules = (_rule(FIGURE_OF[figure], thresholds[figure]) for figure in guard.figures)
            lines.append((Cell(guard.title), Cell(" and ".join(rules)), proportion_cell(flagged[guard.name])))
    blocks: list[Block] = []
    if lines:
        caption = f"Suspected on plain CT, {analysis_set.title.lower()}; Wilson intervals"
        blocks.append(TableView(caption, ("Finding", "Where", "Patients"), (Group("", tuple(lines)),), n_text=2))
    rows = [row for row in material.statistics.select(SECTION, "icc_a1", stratum) if row.category in WITHOUT]
    pairs = dict.fromkeys((str(row.reference), str(row.source)) for row in rows)
    groups = tuple(
        Group(f"{candidate}, against {reference}", tuple(_lines(material, rows, (reference, candidate), stratum)))
        for reference, candidate in pairs
    )
    if groups:
        caption = f"Agreement of the score with and without them, {analysis_set.title.lower()}; 95 % intervals"
        blocks.append(TableView(caption, ("Patients", "n", "ICC(A,1)", "Within 1", "Bias, points"), groups))
    elif lines:
        blocks.append(Text("No two scores are of a patient who is suspected: agreement is the same without them."))
    return blocks


def _rule(figure: QualityFigure, threshold: float) -> str:
    """What a figure must exceed."""
    return f"{figure.title.lower()} > {number(threshold, figure.digits)} {figure.unit}".rstrip()


def _lines(material: Material, rows: list[Row], pair: tuple[str, str], stratum: str) -> list[tuple[Cell, ...]]:
    """Everybody, then those who are left."""
    reference, candidate = pair
    whole = [material.row("agreement", name, candidate, reference, stratum) for name in _FIGURES]
    lines = [_line("All", whole)]
    for row in rows:
        if (row.reference, row.source) == pair:
            lines.append(
                _line(words(row.category or ""), [material.statistics.sibling(row, name) for name in _FIGURES])
            )
    return lines


def _line(title: str, found: list[Row | None]) -> tuple[Cell, ...]:
    """One line of figures."""
    icc, within, bias = found
    n = "" if icc is None else str(icc.n)
    return (
        Cell(title, note=(icc.note or "") if icc else ""),
        Cell(n),
        cell(icc, 3),
        proportion_cell(within),
        cell(bias),
    )
