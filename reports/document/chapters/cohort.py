"""Who the patients are: the cohort table by severity grade, and the distributions of score and volume."""

from __future__ import annotations

import numpy as np

from cohorts.tables.schemas import UNGRADED
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
    measure_title,
)
from reports.document.tables import (
    EMPTY,
    NOT_COMPUTED,
    OPERATOR_SIGNS,
    Cell,
    count_cell,
    number,
    p_text,
    proportion_cell,
    whole,
)
from reports.figures.charts import score_distributions, volume_distribution
from reports.statistics.patients import SCORE, VOLUME
from reports.statistics.rows import Row
from tasks.anatomy import MAXIMUM_SCORE


def cohort_chapter(material: Material) -> Chapter:
    """The cohort table of every analysis set."""
    intro = Text(
        "Numbers are median (first to third quartile) over mean ± standard deviation, or count (percent of those "
        "with a "
        "value). SMD: the largest standardised mean difference between two grades. "
        "The test of each line compares the grades and is named under its p; it is not adjusted for multiplicity."
    )
    views: list[tuple[AnalysisSet, tuple[Block, ...]]] = [
        (analysis_set, (_cohort_table(material, analysis_set),)) for analysis_set in material.sets
    ]
    return Chapter("cohort", "The cohort by severity", (intro, *in_sets(views)))


def distribution_chapter(material: Material) -> Chapter:
    """Scores and volumes of every source."""
    views = [(analysis_set, tuple(_distributions(material, analysis_set))) for analysis_set in material.sets]
    return Chapter("distributions", "Scores and volumes", in_sets(views))


def median_cell(material: Material, section: str, key: tuple[str | None, str], stratum: str, digits: int) -> Cell:
    """Median and quartiles over mean and standard deviation, from their rows."""
    source, reference = key
    found = {
        quantity: material.row(section, quantity, source, reference, stratum)
        for quantity in ("median", "q1", "q3", "mean", "sd")
    }
    median = found["median"]
    if median is None or median.estimate is None:
        return (
            EMPTY if median is None else Cell(NOT_COMPUTED, "", median.statistic_id, median.method, median.note or "")
        )
    text = {name: number(row.estimate, digits) if row else NOT_COMPUTED for name, row in found.items()}
    finer = {name: number(row.estimate, max(digits, 1)) for name, row in found.items() if row}
    under = f"{finer['mean']} ± {finer['sd']}" if "mean" in finer and "sd" in finer else ""
    return Cell(
        f"{text['median']} ({text['q1']}–{text['q3']})", under, median.statistic_id, median.method, median.note or ""
    )


def _cohort_table(material: Material, analysis_set: AnalysisSet) -> TableView:
    """One line per clinical column and measure, one column per grade."""
    stratum = analysis_set.stratum
    strata = [stratum, *(f"{stratum}/{grade}" for grade in material.grades)]
    keys = dict.fromkeys(
        (row.source, row.against)
        for row in material.statistics.select("cohort", stratum=stratum)
        if row.against is not None
    )
    lines: list[tuple[Cell, ...]] = []
    for source, reference in keys:
        if reference is not None:
            lines += _cohort_lines(material, (source, reference), strata)
    totals = [material.row("cohort", "n", None, None, name) for name in strata]
    headings = ("All", *material.grades)
    ungraded = material.grade_n(stratum, UNGRADED)
    without = (
        f"; {whole(ungraded)} without a grade are in the first column only" if ungraded and ungraded.estimate else ""
    )
    return TableView(
        f"{analysis_set.title} by severity grade, n = {whole(totals[0])}{without}",
        (
            "",
            *(f"{name}\nn = {whole(row)}" for name, row in zip(headings, totals, strict=True)),
            "Missing",
            "p",
            "SMD",
        ),
        (Group("", tuple(lines)),),
    )


def _cohort_lines(material: Material, key: tuple[str | None, str], strata: list[str]) -> list[tuple[Cell, ...]]:
    """The line of a number, or a heading line and one line per level of a category."""
    source, reference = key
    missing = material.row("cohort", "n_missing", source, reference, strata[0])
    test = material.row("cohort", "difference", source, reference, strata[0])
    smd = material.row("cohort", "smd", source, reference, strata[0])
    tail = (
        Cell(whole(missing), statistic_id=missing.statistic_id if missing else ""),
        EMPTY if test is None else _test_cell(test),
        EMPTY if smd is None else Cell(number(smd.estimate), "", smd.statistic_id, smd.method, smd.note or ""),
    )
    label = Cell(
        material.title(reference) if source is None else measure_title(reference), "" if source is None else source
    )
    if material.row("cohort", "median", source, reference, strata[0]) is not None:
        digits = _digits(material, reference)
        return [(label, *(median_cell(material, "cohort", key, name, digits) for name in strata), *tail)]
    clinical = material.main.patients.clinical(reference)
    levels = [
        row
        for row in material.statistics.select("cohort", "share", strata[0])
        if row.source == source and row.against == reference
    ]
    is_flag = {str(level.category).lower() for level in levels} <= {"false", "true"}
    shown = [level for level in levels if str(level.category).lower() == "true"] if is_flag else levels
    lines: list[tuple[Cell, ...]] = []
    for position, level in enumerate(shown):
        value = str(level.category)
        name = clinical.level_titles.get(value, value) if clinical else value
        heading = label.text if is_flag else f"{label.text}: {name}"
        cells = [count_cell(material.row("cohort", level.full_name, source, reference, stratum)) for stratum in strata]
        lines.append((Cell(heading), *cells, *(tail if position == 0 else (Cell(""),) * len(tail))))
    return lines


def _test_cell(test: Row) -> Cell:
    """Put p over the name of its test, or over the reason why there is none."""
    under = test.method if test.p_value is not None else (test.note or "")
    return Cell(p_text(test.p_value), under, test.statistic_id, note=test.note or "", wraps=True)


def _digits(material: Material, reference: str) -> int:
    """Decimals of a column: none for whole numbers and scores, one otherwise."""
    clinical = material.main.patients.clinical(reference)
    return 0 if reference == SCORE or (clinical is not None and clinical.read_as == "integer") else 1


def _distributions(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """Figure and table of the scores, figure of the volumes."""
    stratum, patients = analysis_set.stratum, analysis_set.patients
    blocks: list[Block] = []
    lines, shares, texts, values = [], {}, {}, []
    for measure, source, _ in patients.measures():
        digits = 0 if measure == SCORE else 1
        summary = median_cell(material, "distribution", (source, measure), stratum, digits)
        median = material.row("distribution", "median", source, measure, stratum)
        missing = material.row("distribution", "n_missing", source, measure, stratum)
        n = "" if median is None else str(median.n)
        lines.append((Cell(measure_title(measure)), Cell(source), Cell(n), summary, Cell(whole(missing))))
        if measure != SCORE:
            continue
        rows = [
            material.row("distribution", f"share:{score}", source, measure, stratum)
            for score in range(MAXIMUM_SCORE + 1)
        ]
        shares[source] = [0.0 if row is None or row.estimate is None else row.estimate for row in rows]
        texts[source] = f"n = {n}, median {summary.text}"
        values.append((Cell(source), *(proportion_cell(row) for row in rows)))
    if shares:
        blocks.append(
            FigureView(
                score_distributions(shares, texts, name=f"score-distribution-{stratum}"),
                f"How often each score was given, {analysis_set.title.lower()}. n and median in each panel.",
            )
        )
    if patients.volumes:
        blocks += [_volume_figure(material, analysis_set, source) for source in patients.volumes]
    if lines:
        blocks.append(
            TableView(
                f"Scores and volumes, {analysis_set.title.lower()}: median (first to third quartile), mean ± SD",
                ("Measure", "Source", "n", "Median (quartiles)", "Missing"),
                (Group("", tuple(lines)),),
                n_text=2,
            )
        )
    if values:
        columns = ("Source", *(str(score) for score in range(MAXIMUM_SCORE + 1)))
        table = TableView(
            "Share of patients with each score, Wilson interval and counts", columns, (Group("", tuple(values)),)
        )
        blocks.append(Folded("Share of each score in numbers", (table,)))
    return blocks


def _volume_figure(material: Material, analysis_set: AnalysisSet, source: str) -> FigureView:
    """Histogram of a modality's volumes with the declared cuts."""
    patients = analysis_set.patients
    values, grades = patients.volumes[source], patients.grade_names()
    measured = ~np.isnan(values)
    by_grade = {grade: values[measured & (grades == grade)] for grade in material.grades}
    if (measured & (grades == "")).any():
        by_grade["no grade" if material.grades else "all"] = values[measured & (grades == "")]
    cuts = {
        f"{OPERATOR_SIGNS[item.operator]} {item.cut:g} ml": item.cut
        for item in material.data.config.dichotomy
        if item.on == VOLUME
    }
    chart = volume_distribution(
        by_grade, cuts, material.grades, name=f"volume-distribution-{material.stem(source)}-{analysis_set.stratum}"
    )
    median = material.row("distribution", "median", source, VOLUME, analysis_set.stratum)
    return FigureView(
        chart,
        f"Lesion volumes of {source}, {analysis_set.title.lower()}, stacked by severity grade; dashed lines are the "
        "declared "
        f"volume cuts. n = {median.n if median else NOT_COMPUTED}.",
    )
