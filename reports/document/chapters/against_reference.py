"""Each source against each reference: region by region, at every cut, and whether its chances come true."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reports.document.page import Block, Chapter, FigureView, Folded, Group, Material, TableView, Text
from reports.document.tables import EMPTY, Cell, cell, proportion_cell, signs, words
from reports.estimators.calibration import calibration
from reports.figures.usefulness_charts import BenefitLine, ReliabilityPanel, benefit_curves, reliability_curves
from reports.statistics.patients import Patients
from reports.statistics.rows import Row
from reports.statistics.sections.reference_cuts import LOW_SCORE, low_pairs
from reports.statistics.sections.regional import ALL, judgements, regional_pairs
from tasks.anatomy import ASPECTS_REGIONS

_INDICES = ("sensitivity", "specificity", "balanced_accuracy", "kappa", "auc")
_REGIONAL = ("Source", "Patients", "Sensitivity", "Specificity", "Balanced\naccuracy", "κ", "AUC")
_CUTS = ("Source", "n\nn positive", "Sensitivity", "Specificity", "Balanced\naccuracy", "κ", "AUC")
_Line = Callable[[Material, Row], tuple[Cell, ...]]
_MOST_PANELS, _MOST_LINES, _BINS, _FEWEST = 6, 8, 5, 10


def regional_chapter(material: Material) -> Chapter | None:
    """Every pair over all regions, by depth, and region by region; None without a pair."""
    rows = material.statistics.select("regional", "sensitivity")
    if not rows:
        return None
    columns = _REGIONAL
    groups = {name: _by_reference(material, [row for row in rows if row.category == name], _line)
              for name in (ALL, "subcortical", "cortical")}  # fmt: skip
    by_region = [row for row in rows if row.region]
    folded = tuple(
        Folded(f"Region by region against {reference}", (TableView(
            "Both sides of each region together", columns, _by_source(material, by_region, str(reference))),))
        for reference in dict.fromkeys(row.reference for row in by_region)
    )  # fmt: skip
    blocks: tuple[Block, ...] = (
        Text(
            "Twenty regions of one patient are not twenty patients: intervals are from drawing patients again with all "
            "their regions (bootstrap), and for the AUC from Obuchowski's variance, which adds up regions within "
            "patients. With fewer than twenty patients all of them are too narrow. AUC is of what stands behind a "
            "decision (a chance, a share that is lesion, a difference of density), not of the decision; readers "
            "give none. Balanced accuracy is the mean of sensitivity and specificity; papers have printed it as AUC."
        ),
        TableView("All twenty regions, everyone whom both sources measured", columns, groups[ALL]),
        TableView("The same by GEE (exchangeable correlation within patients), and the AUC with patients drawn again",
                  ("Source", "Patients", "Sensitivity", "Specificity", "AUC"),
                  _by_reference(material, [row for row in rows if row.category == ALL], _gee_line)),
        Folded("Subcortical regions", (TableView("Eight regions", columns, groups["subcortical"]),)),
        Folded("Cortical regions", (TableView("Twelve regions", columns, groups["cortical"]),)),
        *folded,
    )  # fmt: skip
    return Chapter("regional", "Region by region against a reference", blocks)


def reference_cuts_chapter(material: Material) -> Chapter | None:
    """Every declared cut of the score against the reference's score; None without a pair."""
    rows = material.statistics.select("reference_cuts", "sensitivity")
    if not rows:
        return None
    tables: list[Block] = []
    for position, name in enumerate(dict.fromkeys(row.dichotomy for row in rows)):
        of_cut = [row for row in rows if row.dichotomy == name]
        side = signs((of_cut[0].positive_class or "").split(": ", 1)[-1])
        view = TableView(f"{side} ({name}): a patient is positive where the reference's score is", _CUTS,
                         _by_reference(material, of_cut, _cut_line))  # fmt: skip
        tables.append(view if position == 0 else Folded(f"{side} ({name})", (view,)))
    text = Text(
        "The score of the reference decides on which side of a cut a patient is. A source that gives the chance of a "
        "low score and no score is cut at one half, and stands at the cut that it speaks of. Wilson intervals; the AUC "
        "is of the whole score, DeLong."
    )
    return Chapter("reference_cuts", "At each cut, against a reference", (text, *tables))


def calibration_chapter(material: Material) -> Chapter | None:
    """Whether chances come true, and what acting on sources is worth; None without either."""
    blocks = [*_calibration(material), *_benefit(material)]
    return Chapter("calibration", "Do chances come true, and what are they worth", tuple(blocks)) if blocks else None


def _calibration(material: Material) -> list[Block]:
    """Table and curves of chances."""
    rows = material.statistics.select("calibration", "calibration_slope")
    if not rows:
        return []
    lines = tuple(
        (Cell(str(row.source), row.category or ""), Cell(str(row.reference)), Cell(str(row.n)),
         cell(material.statistics.sibling(row, "calibration_intercept")), cell(row),
         cell(material.statistics.sibling(row, "brier"), 3))
        for row in rows
    )  # fmt: skip
    text = Text(
        "Intercept: the log odds by which what is seen exceeds what was said, 0 where they agree on average. Slope: 1 "
        "where they agree, below 1 where chances are too extreme. Brier score: mean squared error, 0 best. Intervals "
        "of regions are robust against dependence within patients."
    )
    columns = ("Chance by", "Reference", "n", "Intercept", "Slope", "Brier score")
    blocks: list[Block] = [text, TableView("Calibration", columns, (Group("", lines),), n_text=2)]
    panels = _panels(material)
    if panels:
        blocks.append(
            FigureView(
                reliability_curves(panels[:_MOST_PANELS], name="calibration"),
                "What was said and what came true, in groups of equally many chances; the line is perfect agreement. "
                "Vertical lines: 95 % Wilson intervals, drawn where a group holds patients and not regions.",
            )
        )
    return blocks


def _panels(material: Material) -> list[ReliabilityPanel]:
    """Reliability curves of the pairs with enough patients, from the tables."""
    patients = material.agreement_sets[0].patients
    panels = []
    for reference, candidate in low_pairs(patients):
        truth, chance = patients.scores[reference], patients.low_chances[candidate]
        kept = patients.complete(truth, chance)
        if np.count_nonzero(kept) >= _FEWEST:
            result = calibration(reference=truth[kept] <= LOW_SCORE, probability=chance[kept], n_bins=_BINS)
            panels.append(ReliabilityPanel(f"{candidate}, low score by {reference}", result.bins, has_intervals=True))
    return panels + _region_panels(patients)


def _region_panels(patients: Patients) -> list[ReliabilityPanel]:
    """The same of regions."""
    panels = []
    for reference, candidate in regional_pairs(patients):
        if candidate in patients.evidence and patients.evidence[candidate].column == "probability":
            affected, chance, whose = judgements(patients, reference, candidate, ASPECTS_REGIONS)
            if chance.size:
                result = calibration(reference=affected, probability=chance, n_bins=_BINS, patients=whose)
                panels.append(
                    ReliabilityPanel(f"{candidate}, regions by {reference}", result.bins, has_intervals=False)
                )
    return panels


def _benefit(material: Material) -> list[Block]:
    """Net benefit of the primary cut, and of chances, at each risk: curves and numbers."""
    rows = material.statistics.select("benefit", "net_benefit")
    if not rows:
        return []
    text = Text(
        "Net benefit per patient of acting where a source says so: true positives less false positives times the odds "
        "of the risk at which one would act (Vickers and Elkin 2006). Acting on nobody is worth 0. A source is of use "
        "at a risk where its line lies above both others."
    )
    blocks: list[Block] = [text]
    for name, title, kept in (
        (
            "severity",
            f"Acting on the primary cut, {material.positive_class}",
            [row for row in rows if not row.reference],
        ),
        (
            "low-score",
            "Acting on the chance of a low score, by the reference's score",
            [r for r in rows if r.reference],
        ),
    ):
        if not kept:
            continue
        figure = benefit_curves(_lines(material, kept), name=f"benefit-{name}")
        blocks.append(FigureView(figure, f"{title}. Bands: 95 % intervals of the first line."))
        lines = tuple(
            (Cell(str(row.source), row.reference or row.dichotomy or ""), Cell(row.category or ""), Cell(str(row.n)),
             cell(row, 3), cell(material.statistics.sibling(row, "net_benefit_all"), 3))
            for row in kept
        )  # fmt: skip
        columns = ("Source", "Risk at which one acts", "n", "Acting on the source", "Acting on all")
        blocks.append(
            Folded(f"Net benefit in numbers: {title}", (TableView("Net benefit", columns, (Group("", lines),)),))
        )
    return blocks


def _lines(material: Material, rows: Sequence[Row]) -> list[BenefitLine]:
    """One line for each source, and that of acting on everybody of the first."""
    by_source: dict[tuple[str | None, str | None], list[Row]] = {}
    for row in rows:
        by_source.setdefault((row.source, row.reference), []).append(row)
    lines = [
        BenefitLine(f"{source}{f' by {reference}' if reference else ''}, n = {found[0].n}", tuple(found))
        for (source, reference), found in list(by_source.items())[:_MOST_LINES]
    ]
    first = next(iter(by_source.values()))
    everybody = [material.statistics.sibling(row, "net_benefit_all") for row in first]
    return [*lines, BenefitLine("acting on all", tuple(row for row in everybody if row is not None), is_all=True)]


def _by_reference(material: Material, rows: Sequence[Row], line: _Line) -> tuple[Group, ...]:
    """One group for each reference."""
    names = dict.fromkeys(row.reference for row in rows)
    return tuple(
        Group(f"Against {name}", tuple(line(material, row) for row in rows if row.reference == name)) for name in names
    )


def _by_source(material: Material, rows: Sequence[Row], reference: str) -> tuple[Group, ...]:
    """One group for each source, a line for each region."""
    of_reference = [row for row in rows if row.reference == reference]
    names = dict.fromkeys(row.source for row in of_reference)
    return tuple(
        Group(str(name), tuple(
            (Cell(words(row.region or "")), *_line(material, row)[1:]) for row in of_reference if row.source == name))
        for name in names
    )  # fmt: skip


def _line(material: Material, row: Row) -> tuple[Cell, ...]:
    """A source with its indices of regions."""
    found = [row if name == "sensitivity" else material.statistics.sibling(row, name) for name in _INDICES]
    return (Cell(str(row.source)), Cell(str(row.n)), *map(proportion_cell, found[:2]), *map(cell, found[2:]))


def _gee_line(material: Material, row: Row) -> tuple[Cell, ...]:
    """The same by the other way around clusters."""
    found = [material.statistics.sibling(row, name) for name in ("sensitivity_gee", "specificity_gee", "auc_bootstrap")]
    return (Cell(str(row.source)), Cell(str(row.n)), *(EMPTY if one is None else cell(one, 3) for one in found))


def _cut_line(material: Material, row: Row) -> tuple[Cell, ...]:
    """A source with its indices at a cut."""
    found = [row if name == "sensitivity" else material.statistics.sibling(row, name) for name in _INDICES]
    counts = Cell(str(row.n), str(row.n_positive), note=row.positive_class or "")
    return (Cell(str(row.source)), counts, *map(proportion_cell, found[:2]), *map(cell, found[2:]))
