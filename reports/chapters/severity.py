"""How well score and volume tell severe strokes: ROC, declared cuts, the cut these data propose, association."""

from __future__ import annotations

from collections.abc import Iterable

from cohorts.study import Dichotomy
from reports.chapters.cohort import measure_title
from reports.discrimination import roc_curve
from reports.figures import Curve, Scatter, associations, roc_curves
from reports.page import AnalysisSet, Block, Chapter, FigureView, Folded, Group, Material, TableView, Text, in_sets
from reports.patients import SCORE, VOLUME
from reports.sections.severity import DIRECTION
from reports.tables import (
    DASH,
    EMPTY,
    OPERATOR_SIGNS,
    Cell,
    Row,
    cell,
    interval,
    number,
    p_cell,
    p_text,
    proportion_cell,
    signs,
)

_PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
_INDICES = ("balanced_accuracy", "lr_positive", "lr_negative", "f1_positive", "f1_negative", "mcc")
_DIGITS = {SCORE: 0, VOLUME: 2}


def roc_chapter(material: Material) -> Chapter:
    """Areas under the curve and their paired differences."""
    if material.severity is None:
        return Chapter("roc", "Telling severe strokes apart", (_no_severity(),))
    blocks: list[Block] = []
    for analysis_set in material.sets:
        blocks += _roc_figure(material, analysis_set)
    groups = [
        Group(
            analysis_set.title,
            tuple(
                (Cell(measure_title(row.detail)), Cell(str(row.source)), *_counts(row), cell(row, 3))
                for row in material.statistics.select("roc", "auc", analysis_set.stratum)
            ),
        )
        for analysis_set in material.sets
    ]
    blocks.append(
        TableView(
            f"Area under the ROC curve for {_positive(material)}, DeLong 95 % interval",
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


def dichotomy_chapter(material: Material) -> Chapter:
    """Every declared cut with its operator and positive side."""
    intro = Text(
        "A cut is a number with an operator; the side named is the one called test-positive. Cuts that differ only in "
        f"name give equal lines. Positive class: {_positive(material)}."
        if material.severity
        else "A cut is a number with an operator; the side named is the one called test-positive."
    )
    views = [(analysis_set, tuple(_dichotomy_tables(material, analysis_set))) for analysis_set in material.sets]
    blocks = in_sets(views)
    if not blocks:
        return Chapter("dichotomies", "Every declared cut", (Text("No source gave what a declared cut divides."),))
    return Chapter("dichotomies", "Every declared cut", (intro, *blocks))


def youden_chapter(material: Material) -> Chapter:
    """The cut of largest Youden index, its stability and honest performance, beside the published cut."""
    rows = material.statistics.select("youden", "cut")
    if not rows:
        return Chapter("youden", "The cut these patients propose", (_no_severity(),))
    groups = []
    for analysis_set in material.sets:
        lines: list[tuple[Cell, ...]] = []
        for row in rows:
            if row.stratum == analysis_set.stratum:
                lines += _youden_lines(material, row)
        groups.append(Group(analysis_set.title, tuple(lines)))
    resamples = material.data.config.study.bootstrap_resamples
    blocks: tuple[Block, ...] = (
        Text(
            "A cut that was chosen in the patients in whom it is judged looks better than it is. The corrected line takes "
            f"off the optimism found by choosing the cut anew in {resamples} bootstrap samples (Harrell). The published cut was "
            "fixed beforehand and needs no correction."
        ),
        TableView(
            f"Youden cuts for {_positive(material)}; interval of the cut by bootstrap",
            ("Measure and source", "Cut", "n", "n positive", "Sensitivity", "Specificity", "Youden index"),
            tuple(group for group in groups if group.rows),
        ),
    )
    return Chapter("youden", "The cut these patients propose", blocks)


def association_chapter(material: Material) -> Chapter:
    """Rank correlation and ordinal odds of score and volume with severity and outcome."""
    views = [(analysis_set, tuple(_associations(material, analysis_set))) for analysis_set in material.sets]
    blocks = in_sets(views)
    if not blocks:
        blocks = (Text("The study names neither a severity nor an outcome column."),)
    return Chapter("association", "Severity and outcome", blocks)


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
                    *_counts(row),
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


def cut_text(item: Dichotomy) -> str:
    """A declared cut as its positive side, such as ``score ≤ 6``."""
    unit = " ml" if item.on == VOLUME else ""
    return f"{'volume' if item.on == VOLUME else 'score'} {OPERATOR_SIGNS[item.operator]} {item.cut:g}{unit}"


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
            f"ROC curves for {_positive(material)}, {analysis_set.title.lower()}; area and DeLong 95 % interval in the legend. "
            "Rings: the published cuts, ASPECTS ≤ 6 and volume ≥ 27.86 ml (Wei 2026). A low score and a high volume speak "
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


def _dichotomy_tables(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """Shares and indices of every declared cut, the primary one first."""
    main: list[Group] = []
    further: list[Group] = []
    for item in sorted(material.data.config.dichotomy, key=lambda item: not item.primary):
        title = f"{cut_text(item)} is positive · {item.name}"
        if item.source:
            title += f" · {signs(item.source)}"
        badge = "primary" if item.primary else ""
        lines, indices = _dichotomy_lines(material, analysis_set, item)
        if lines:
            main.append(Group(title, tuple(lines), badge))
        if indices:
            further.append(Group(title, tuple(indices), badge))
    of_whom = f"{analysis_set.title.lower()}, positive class {_positive(material)}"
    blocks: list[Block] = []
    if main:
        columns = ("Source", "n\nn positive", "Test-positive", "Sensitivity", "Specificity", "PPV", "NPV", "Accuracy")
        caption = f"Declared cuts, {of_whom}: shares with Wilson 95 % intervals and counts"
        blocks.append(TableView(caption, columns, tuple(main)))
    if further:
        columns = ("Source", "n\nn positive", "Balanced accuracy", "LR+", "LR−", "F1, positive", "F1, negative", "MCC")
        caption = (
            f"Declared cuts, {of_whom}: ratios and indices; F1 is given for either class because it changes with it"
        )
        blocks.append(Folded("Likelihood ratios and indices", (TableView(caption, columns, tuple(further)),)))
    return blocks


def _dichotomy_lines(
    material: Material, analysis_set: AnalysisSet, item: Dichotomy
) -> tuple[list[tuple[Cell, ...]], list[tuple[Cell, ...]]]:
    """Lines of the two tables of one cut, one per source that it applies to."""
    stratum = analysis_set.stratum
    lines, indices = [], []
    for measure, source, _ in analysis_set.patients.measures():
        if measure != item.on:
            continue
        share = material.row("dichotomies", f"test_positive:{item.name}", source, None, stratum)
        rows = {
            name: material.row("dichotomies", f"{name}:{item.name}", source, material.severity, stratum)
            for name in (*_PROPORTIONS, *_INDICES)
        }
        any_row = rows["accuracy"]
        counts = EMPTY if any_row is None else _both_counts(any_row)
        proportions = (proportion_cell(rows[name]) for name in _PROPORTIONS)
        lines.append((Cell(source), counts, proportion_cell(share), *proportions))
        if any_row is not None:
            indices.append((Cell(source), counts, *(cell(rows[name]) for name in _INDICES)))
    return lines, indices


def _youden_lines(material: Material, row: Row) -> list[tuple[Cell, ...]]:
    """Apparent, corrected and published lines of one measure and source."""
    measure, source, stratum = row.detail, row.source, row.stratum

    def found(quantity: str) -> Row | None:
        return material.row("youden", f"{quantity}:{measure}", source, row.reference, stratum)

    digits = _DIGITS.get(measure, 2)
    published = found("cut_published")
    name = f"{measure_title(measure)} · {source}"
    return [
        (
            Cell(name, "chosen in these patients"),
            Cell(_cut(row, digits), interval(row, digits), row.statistic_id, row.method, row.note or ""),
            *_counts(row),
            proportion_cell(found("sensitivity")),
            proportion_cell(found("specificity")),
            cell(found("j"), 3),
        ),
        (
            Cell("", "corrected for optimism"),
            EMPTY,
            *_counts(row),
            *(_share_cell(found(f"{quantity}_corrected")) for quantity in ("sensitivity", "specificity")),
            cell(found("j_corrected"), 3),
        ),
        (
            Cell("", "published, Wei 2026"),
            EMPTY if published is None else Cell(_cut(published, digits), "", published.statistic_id, published.method),
            *(_counts(published) if published else (EMPTY, EMPTY)),
            proportion_cell(found("sensitivity_published")),
            proportion_cell(found("specificity_published")),
            cell(found("j_published"), 3),
        ),
    ]


def _cut(row: Row, digits: int) -> str:
    """A cut with the operator that its note states."""
    if row.estimate is None:
        return DASH
    text = (row.note or "").split(";")[0]
    operator = next(
        (sign for code, sign in ((">=", "≥"), ("<=", "≤"), (">", ">"), ("<", "<")) if f" {code} " in text), ""
    )
    unit = " ml" if row.unit == "ml" else ""
    return f"{operator} {number(row.estimate, digits)}{unit}".strip()


def _share_cell(row: Row | None) -> Cell:
    """A corrected share: a percentage without counts."""
    if row is None or row.estimate is None:
        return EMPTY
    return Cell(f"{number(100 * row.estimate, 1)} %", "", row.statistic_id, row.method, row.note or "")


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
            f"Score and volume against severity and outcome, {analysis_set.title.lower()}. The area of a bubble is the "
            "number of patients; ρ is Spearman's rank correlation.",
        )
    if lines:
        yield TableView(
            f"Association of score and volume with severity and outcome, {analysis_set.title.lower()}; 95 % intervals. "
            "Odds ratio: proportional odds of a higher value, per point of score and per doubling of volume",
            ("Measure", "Source", "n", "Spearman ρ", "p of ρ", "Kendall τ-b", "Odds ratio", "p of the odds ratio"),
            tuple(lines),
            n_text=2,
        )


def _counts(row: Row) -> tuple[Cell, Cell]:
    """Patients used and patients in the positive class."""
    return (
        Cell(DASH if row.n is None else str(row.n)),
        Cell(DASH if row.n_positive is None else str(row.n_positive), note=row.positive_class or ""),
    )


def _both_counts(row: Row) -> Cell:
    """Patients used over patients in the positive class."""
    total, positive = _counts(row)
    return Cell(total.text, positive.text, note=positive.note)


def _positive(material: Material) -> str:
    """The positive class as printed."""
    return signs(material.main.patients.positive_class()) or "the positive class"


def _no_severity() -> Text:
    """What is said where no severity column is declared."""
    return Text("The study names no severity column, so nothing can be said about telling severe strokes apart.")
