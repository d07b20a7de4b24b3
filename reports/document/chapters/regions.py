"""Which regions are deducted, by severity grade and side: histograms, maps on the template, tests."""

from __future__ import annotations

from reports.document.page import (
    AnalysisSet,
    Block,
    Chapter,
    FigureView,
    Folded,
    Group,
    Material,
    TableView,
    Text,
    in_sets,
)
from reports.document.tables import Cell, p_cell, proportion_cell, range_text, whole, words
from reports.figures.brain_maps import deduction_maps
from reports.figures.charts import deduction_histograms
from reports.statistics.rows import Row
from tasks.anatomy import HEMISPHERES
from tasks.views.convention import in_words

#: A bar of one patient in a grade of three shows who was scanned, not what is frequent.
FEWEST_DRAWN = 10
_SIDES = {"left": "Left hemisphere", "right": "Right hemisphere", "any": "Either hemisphere"}


def region_chapter(material: Material) -> Chapter:
    """Deduction frequency of every source that names regions."""
    views = []
    for analysis_set in material.sets:
        blocks: list[Block] = []
        for position, source in enumerate(analysis_set.patients.flags):
            part = _source_blocks(material, analysis_set, source)
            if position == 0:
                blocks += part
            elif part:
                blocks.append(Folded(f"Regions by {source}", tuple(part)))
        views.append((analysis_set, tuple(blocks)))
    found = in_sets(views)
    if not found:
        return Chapter("regions", "Regions deducted, by severity", (Text("No source names the regions it deducts."),))
    return Chapter("regions", "Regions deducted, by severity", found)


def _source_blocks(material: Material, analysis_set: AnalysisSet, source: str) -> list[Block]:
    """Histogram, maps and tests of one source."""
    stratum = analysis_set.stratum
    strata = {grade: f"{stratum}/{grade}" for grade in material.grades} or {"all": stratum}
    regions = analysis_set.patients.flags[source].regions
    shares: dict[str, dict[str, dict[str, Row | None]]] = {
        side: {
            grade: {
                region: material.row("regions", f"affected:{side}:{region}", source, None, name) for region in regions
            }
            for grade, name in strata.items()
        }
        for side in _SIDES
    }
    n = {grade: range_text(row.n for row in shares["any"][grade].values() if row) for grade in strata}
    headings = {grade: f"{grade}, n = {n[grade]}" for grade in strata}
    columns = {grade: f"{grade}\nn = {n[grade]}" for grade in strata}
    table = _table(material, analysis_set, source, shares, columns)
    of_grades = ([row.n or 0 for row in shares["any"][grade].values() if row] for grade in strata)
    n_patients = sum(max(counts, default=0) for counts in of_grades)
    if n_patients < FEWEST_DRAWN:
        return [Text(f"No figure of {source}: {n_patients} patients, fewer than {FEWEST_DRAWN}.", "note"), table]
    stem = f"{material.stem(source)}-{stratum}"
    blocks: list[Block] = [
        FigureView(
            deduction_histograms(shares, headings, name=f"regions-{stem}"),
            f"How often {source} counts each region as affected, by side and severity grade, "
            f"{analysis_set.title.lower()}. "
            "Bars: share of the grade's patients; lines: 95 % Wilson intervals. "
            f"n per grade: {'; '.join(headings.values())}.",
        )
    ]
    blocks += _maps(material, analysis_set, source, strata, headings)
    blocks.append(table)
    return blocks


def _maps(
    material: Material,
    analysis_set: AnalysisSet,
    source: str,
    strata: dict[str, str],
    headings: dict[str, str],
) -> list[Block]:
    """The maps where the slices are those of the source's label map; else a sentence saying why there are none."""
    map_name = material.data.map_names.get(source)
    atlas = material.atlas
    if map_name is None:
        return []
    if atlas is None or atlas.map_name != map_name:
        shown = "no slices were given" if atlas is None else f"the slices given are those of {atlas.map_name}"
        return [Text(f"No maps for {source}: it is measured with the label map {map_name}, and {shown}.", "note")]
    everybody = {"all graded": analysis_set.stratum}
    rows = {
        column: {
            (side, region): material.row("regions", f"affected:{side}:{region}", source, None, stratum)
            for side in HEMISPHERES
            for region in analysis_set.patients.flags[source].regions
        }
        for column, stratum in {**strata, "all": everybody["all graded"]}.items()
    }
    frequencies: dict[str, dict[tuple[str, str], float]] = {
        column: {key: row.estimate for key, row in found.items() if row is not None and row.estimate is not None}
        for column, found in rows.items()
    }
    everyone = range_text(row.n for row in rows["all"].values() if row)
    chart = deduction_maps(
        f"region-maps-{material.stem(source)}-{analysis_set.stratum}",
        atlas,
        frequencies,
        {**headings, "all": f"all, n = {everyone}"},
        material.data.config.study.pictures,
    )
    levels = " and ".join(f"{level.name} ({level.position})" for level in atlas.levels)
    return [
        FigureView(
            chart,
            f"The same shares on the template ({map_name} map; {levels}), each column divided by its own largest, "
            "after "
            f"Wei 2026, Fig. 4. {in_words(material.data.config.study.pictures)} Colours compare "
            "regions within a grade, not between grades.",
        )
    ]


def _table(
    material: Material,
    analysis_set: AnalysisSet,
    source: str,
    shares: dict[str, dict[str, dict[str, Row | None]]],
    headings: dict[str, str],
) -> TableView:
    """Shares with counts and both tests, one group per side."""
    stratum, severity = analysis_set.stratum, material.severity
    groups: list[Group] = []
    families: dict[str, None] = {}
    for side in ("any", "left", "right"):
        lines = []
        for region in analysis_set.patients.flags[source].regions:
            tests = [
                material.row("regions", f"{name}:{side}:{region}", source, severity, stratum)
                for name in ("grades_test", "class_test")
            ]
            families.update(
                (row.family.removeprefix(f"{source}, {stratum}, "), None) for row in tests if row and row.family
            )
            cells = [proportion_cell(shares[side][grade][region], separator=" · ") for grade in headings]
            lines.append((Cell(words(region)), *cells,
                          *(p_cell(row, adjusted=True) for row in tests)))  # fmt: skip
        groups.append(Group(_SIDES[side], tuple(lines)))
    positive = analysis_set.patients.positive_class().replace(">=", "≥")
    total = whole(material.row("cohort", "n", None, None, stratum))
    return TableView(
        f"Share of patients with each region affected by {source}, {analysis_set.title.lower()} (n = {total}); Wilson "
        f"intervals and counts. Adjusted p over unadjusted p; families: {'; '.join(families) or 'none'}",
        ("Region", *headings.values(), "p, between\ngrades", f"p, {positive}\nor not" if positive else "p"),
        tuple(groups),
    )
