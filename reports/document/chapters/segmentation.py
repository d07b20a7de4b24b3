"""How lesions agree that lie on one grid, and regions that were drawn with those of sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reports.document.page import AnalysisSet, Block, Chapter, Group, Material, TableView, Text, in_sets
from reports.document.tables import EMPTY, Cell, cell, number, whole, words
from reports.statistics.rows import Row
from reports.statistics.sections.segmentation import EMPTINESS, strata
from tasks.overlap import SURFACE_TOLERANCE_MM

_OF_LESIONS = Text(
    "Two lesions drawn on the same voxels are compared voxel by voxel: medians over patients, that of Dice "
    "with its 95 % bootstrap interval in brackets, and the quartiles below. Surface Dice is the share of border "
    f"voxels within {SURFACE_TOLERANCE_MM:g} mm of the other border; HD95 the larger of the two 95th percentiles "
    "of border distances. A lesion of the reference is found where any voxel of the candidate lies in it. Where "
    "both masks are empty there is nothing to compare; where one is, Dice, surface Dice and F1 are 0 and there is "
    "no distance. Volume differences are candidate less reference."
)
_OF_REGIONS = Text(
    "Regions drawn on a scan are compared with those that a source brings onto it. A patient counts with the mean of "
    "both sides; a region that only one of the two has counts 0, one that neither has does not count. Sources that "
    "place regions alike share a column, under the first one's name."
)
#: Column -> its title and digits.
_COLUMNS = {
    "dice": ("Dice", 2),
    "surface_dice": ("Surface Dice", 2),
    "hd95_mm": ("HD95, mm", 1),
    "lesion_f1": ("Lesion F1", 2),
    "volume_difference_ml": ("Volume difference, ml", 2),
}


def segmentation_chapter(material: Material) -> Chapter | None:
    """Every pair of lesions on one grid, and drawn regions against those of sources; None in a study without either."""
    lesions = in_sets([(one, tuple(_tables(material, one))) for one in material.agreement_sets])
    regions = in_sets([(one, tuple(_region_tables(material, one))) for one in material.agreement_sets])
    blocks = [*((_OF_LESIONS, *lesions) if lesions else ()), *((_OF_REGIONS, *regions) if regions else ())]
    if not blocks:
        return None
    title = "Agreement of lesions" if not regions else "Agreement of lesions and regions"
    return Chapter("segmentation", title if lesions else "Agreement of regions", tuple(blocks))


def _tables(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """One table for each pair."""
    stratum = analysis_set.stratum
    pairs = [
        (row.reference or "", row.source or "")
        for row in material.statistics.select("segmentation", "dice", stratum)
        if row.category is None and row.region is None
    ]
    return [_table(material, analysis_set, *pair) for pair in pairs]


def _table(material: Material, analysis_set: AnalysisSet, reference: str, candidate: str) -> TableView:
    """One line for all volumes and for each stratum."""
    stratum = analysis_set.stratum

    def row(quantity: str, category: str | None) -> Row | None:
        name = f"{quantity}:{category}" if category else quantity
        return material.row("segmentation", name, candidate, reference, stratum)

    lines = []
    for category in strata():
        cells = [_median(row, measure, category, digits) for measure, (_, digits) in _COLUMNS.items()]
        first = row("dice", category)
        lines.append((Cell(category or "All"), Cell(str(first.n) if first else ""), *cells))
    counts = ", ".join(f"{whole(row(f'n_{name}', None))} {name.replace('_', ' ')}" for name in EMPTINESS)
    empty = row("n_both_empty", None)
    return TableView(
        f"{candidate} against {reference}, {analysis_set.title.lower()}; by volume of the reference. "
        f"{empty.n if empty else 0} patients compared, of these: {counts}",
        ("Volume", "n", *(title for title, _ in _COLUMNS.values())),
        (Group("", tuple(lines)),),
    )


def _region_tables(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """One table for everyone who drew regions: a line for each region, a column for each source."""
    found = [
        row
        for row in material.statistics.select("segmentation", "dice", analysis_set.stratum)
        if row.region is not None
    ]
    return [
        _region_table([row for row in found if row.reference == reference], reference or "", analysis_set)
        for reference in dict.fromkeys(row.reference for row in found)
    ]


def _region_table(found: list[Row], reference: str, analysis_set: AnalysisSet) -> TableView:
    """Median Dice and n of every region and source."""
    sources = list(dict.fromkeys(row.source or "" for row in found))
    by_place = {(row.region, row.source): row for row in found}
    lines = []
    for region in dict.fromkeys(row.region or "" for row in found):
        rows = [by_place.get((region, source)) for source in sources]
        cells = [replace(cell(row), under=f"n {row.n}") if row is not None else EMPTY for row in rows]
        lines.append((Cell(words(region)), *cells))
    return TableView(
        f"Median Dice of regions with those of {reference}, {analysis_set.title.lower()}",
        ("Region", *sources),
        (Group("", tuple(lines)),),
    )


def _median(row: Callable[[str, str | None], Row | None], measure: str, category: str | None, digits: int) -> Cell:
    """Median with its interval where it has one, over the quartiles."""
    middle, low, high = (row(f"{measure}{part}", category) for part in ("", "_q1", "_q3"))
    if middle is None:
        return EMPTY
    shown = cell(middle, digits)
    if middle.estimate is None or low is None or high is None:
        return shown
    quartiles = f"{number(low.estimate, digits)} to {number(high.estimate, digits)}"
    limits = f"{shown.text} ({shown.under})" if shown.under else shown.text
    return replace(shown, text=limits, under=quartiles)
