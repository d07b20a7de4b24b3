"""Every declared cut, and the cut that these patients propose, with what it would really achieve."""

from __future__ import annotations

from cohorts.folder.study import Dichotomy
from reports.document.page import (
    NO_SEVERITY,
    AnalysisSet,
    Block,
    Chapter,
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
    cell,
    count_cells,
    interval,
    number,
    proportion_cell,
    signs,
)
from reports.statistics.patients import SCORE, VOLUME
from reports.statistics.rows import Row

_PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
_INDICES = ("balanced_accuracy", "lr_positive", "lr_negative", "f1_positive", "f1_negative", "mcc")
_DIGITS = {SCORE: 0, VOLUME: 2}


def dichotomy_chapter(material: Material) -> Chapter:
    """Every declared cut with its operator and positive side."""
    intro = Text(
        "A cut is a number with an operator; the side named is the one called test-positive. Cuts declared more than "
        f"once stand together under all their names. Positive class: {material.positive_class}."
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
        return Chapter("youden", "The cut these patients propose", (Text(NO_SEVERITY),))
    titles = {analysis_set.stratum: analysis_set.title.lower() for analysis_set in material.sets}
    groups = tuple(
        Group(
            f"{measure_title(row.detail)} · {row.source} · {titles[row.stratum]}", tuple(_youden_lines(material, row))
        )
        for row in rows
    )
    resamples = material.data.config.study.bootstrap_resamples
    blocks: tuple[Block, ...] = (
        Text(
            "A cut that was chosen in the patients in whom it is judged looks better than it is. The corrected line "
            "takes "
            f"off the optimism found by choosing the cut again in {resamples} bootstrap samples (Harrell). The "
            "published cut was "
            "fixed beforehand and needs no correction."
        ),
        TableView(
            f"Youden cuts for {material.positive_class}; interval of the cut by bootstrap",
            ("", "Cut", "n", "n positive", "Sensitivity", "Specificity", "Youden index"),
            groups,
        ),
    )
    return Chapter("youden", "The cut these patients propose", blocks)


def cut_text(item: Dichotomy) -> str:
    """A declared cut as its positive side, such as ``score ≤ 6``."""
    unit = " ml" if item.on == VOLUME else ""
    return f"{'volume' if item.on == VOLUME else 'score'} {OPERATOR_SIGNS[item.operator]} {item.cut:g}{unit}"


def _dichotomy_tables(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """Shares and indices of every declared cut, the primary one first."""
    main: list[Group] = []
    further: list[Group] = []
    cuts: dict[str, list[Dichotomy]] = {}
    for item in sorted(material.data.config.dichotomy, key=lambda item: not item.primary):
        cuts.setdefault(cut_text(item), []).append(item)
    for text, items in cuts.items():
        names = (f"{item.name} ({signs(item.source)})" if item.source else item.name for item in items)
        title = f"{text} is positive · {' · '.join(names)}"
        badge = "primary" if items[0].primary else ""
        lines, indices = _dichotomy_lines(material, analysis_set, items[0])
        if lines:
            main.append(Group(title, tuple(lines), badge))
        if indices:
            further.append(Group(title, tuple(indices), badge))
    of_whom = f"{analysis_set.title.lower()}, positive class {material.positive_class}"
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
        return material.row("youden", f"{quantity}:{measure}", source, row.against, stratum)

    digits = _DIGITS.get(measure, 2)
    published = found("cut_published")
    return [
        (
            Cell("chosen in these patients"),
            Cell(_cut(row, digits), interval(row, digits), row.statistic_id, row.method, row.note or ""),
            *count_cells(row),
            proportion_cell(found("sensitivity")),
            proportion_cell(found("specificity")),
            cell(found("j"), 3),
        ),
        (
            Cell("corrected for optimism"),
            EMPTY,
            *count_cells(row),
            *(_share_cell(found(f"{quantity}_corrected")) for quantity in ("sensitivity", "specificity")),
            cell(found("j_corrected"), 3),
        ),
        (
            Cell("published, Wei 2026"),
            EMPTY if published is None else Cell(_cut(published, digits), "", published.statistic_id, published.method),
            *(count_cells(published) if published else (EMPTY, EMPTY)),
            proportion_cell(found("sensitivity_published")),
            proportion_cell(found("specificity_published")),
            cell(found("j_published"), 3),
        ),
    ]


def _cut(row: Row, digits: int) -> str:
    """A cut with the operator that its note states."""
    if row.estimate is None:
        return NOT_COMPUTED
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


def _both_counts(row: Row) -> Cell:
    """Patients used over patients in the positive class."""
    total, positive = count_cells(row)
    return Cell(total.text, positive.text, note=positive.note)
