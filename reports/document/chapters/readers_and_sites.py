"""Several readers together, site by site, failures counted, and what the patients were enough for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.document.page import Block, Chapter, Folded, Group, Material, TableView, Text, measure_title
from reports.document.tables import EMPTY, NOT_COMPUTED, Cell, cell, interval, p_cell, proportion_cell, signs, words
from reports.statistics.rows import Row

SITES_FIRST = ("auc", "icc_a1")  # what is not folded; of every source there are a dozen numbers


def readers_chapter(material: Material) -> Chapter | None:
    """Agreement of all readers, and each machine beside readers like these; None for fewer than two readers."""
    of_set = material.statistics.select("readers", stratum=material.agreement_sets[0].stratum)
    agreement = [row for row in of_set if row.quantity.startswith("fleiss")]
    areas = [row for row in material.statistics.select("readers") if row.quantity.endswith(("_auc", "_auc_difference"))]
    if not agreement:
        return None
    kappas = [row for row in agreement if row.quantity == "fleiss_kappa"]
    lines = tuple(
        (Cell(_about(row)), Cell(str(row.n)), cell(row, 3), cell(material.statistics.sibling(row, "fleiss_ac"), 3))
        for row in kappas
    )
    blocks: list[Block] = [
        Text(
            f"Fleiss's κ and Gwet's coefficient of {agreement[0].note}, patients with at least one reading; those of "
            "the score have quadratic weights. A rare category pulls κ down and leaves Gwet's coefficient where it is."
        ),
        TableView("Agreement of all readers, patients with a reading",
                  ("Of", "n", "Fleiss κ", "AC"), (Group("", lines),)),
    ]  # fmt: skip
    if areas:
        blocks.append(
            Text(
                "Obuchowski and Rockette: readers and patients are both a sample, so an interval speaks for readers "
                f"and patients like these. Area under the ROC curve for {material.positive_class}."
            )
        )
        groups = _by_set(areas, lambda row: (Cell(_effect(row)), Cell(str(row.n)), cell(row, 3), p_cell(row)))
        blocks.append(TableView("Multi-reader multi-case analysis", ("", "n", "Estimate", "p"), groups))
    return Chapter("readers", "Several readers", tuple(blocks))


def sites_chapter(material: Material) -> Chapter | None:
    """Each number by site and over sites; None for one site."""
    rows = material.statistics.select("sites")
    pooled = [row for row in rows if row.quantity.startswith("pooled_")]
    if not pooled:
        return None
    text = Text(
        "Over sites: the mean of a random-effects model (Paule and Mandel; Knapp and Hartung's interval, never "
        "narrower than the usual one). Next site: the interval in which the true value of a further site is expected. "
        "I²: the share of the variance between sites that chance does not explain, with the p of Cochran's Q. With few "
        "sites all of these are uncertain, and intervals are wide."
    )
    columns = ("", "n", "Over sites", "Next site", "I²", "p")
    lines: dict[bool, list[tuple[Cell, ...]]] = {True: [], False: []}
    folded = []
    for row in pooled:
        name = row.quantity.removeprefix("pooled_")
        predicted, share = (material.statistics.sibling(row, f"{kind}_{name}") for kind in ("predicted", "i_squared"))
        about = Cell(_number(row, name), _against(row))
        line = (about, Cell(str(row.n)), cell(row, 3), _range(predicted), cell(share, 2), p_cell(share))
        lines[row.estimate is not None and name in SITES_FIRST].append(line)
        parts = [one for one in rows if one.category and _same_question(one, row, name)]
        folded.append(Group(f"{_number(row, name)} {_against(row)}", tuple(
            (Cell(_site(one, name)), Cell(str(one.n)), proportion_cell(one) if one.denominator else cell(one, 3))
            for one in parts)))  # fmt: skip
    title = "Over sites, included patients; 95 % intervals"
    blocks: tuple[Block, ...] = (
        text,
        *(TableView(title, columns, (Group("", tuple(part)),)) for part in (lines[True],) if part),
        *(Folded("Cuts, and what cannot be told over sites", (TableView(title, columns, (Group("", tuple(part)),)),))
          for part in (lines[False],) if part),
        Folded("Each site, and each left out",
               (TableView("By site", ("", "n", "Estimate"), tuple(folded)),)),
    )  # fmt: skip
    return Chapter("sites", "Site by site", blocks)


def intention_chapter(material: Material) -> Chapter | None:
    """Failures as errors, and precision; None without any of them."""
    blocks = [*_intention(material), *_precision(material)]
    return Chapter("intention", "Failures and precision", tuple(blocks)) if blocks else None


def _intention(material: Material) -> list[Block]:
    """Sensitivity and specificity with their bounds."""
    lines = []
    for row in material.statistics.select("intention", "failed"):
        found = [
            material.statistics.sibling(row, f"{quantity}_{suffix}")
            for quantity in ("sensitivity", "specificity")
            for suffix in ("worst", "complete", "best")
        ]
        lines.append((Cell(str(row.source), row.dichotomy or ""), proportion_cell(row), *map(proportion_cell, found)))
    if not lines:
        return []
    columns = ("Source", "No result", "Sensitivity\nworst", "Sensitivity\nscored", "Sensitivity\nbest",
               "Specificity\nworst", "Specificity\nscored", "Specificity\nbest")  # fmt: skip
    text = Text(
        "Intention to diagnose: of everybody screened whose severity is known. Worst counts every failure as an error, "
        "best as a right answer; the truth lies between."
    )
    return [text, TableView(f"Failures counted, {material.positive_class}", columns, (Group("", tuple(lines)),))]


def _precision(material: Material) -> list[Block]:
    """Widths, and the patients that another width would need."""
    rows = material.statistics.select("precision", "width")
    lines = []
    for row in rows:
        needed = material.statistics.sibling(row, "n_for_width")
        wanted = Cell("", note="") if needed is None else Cell(cell(needed, 0).text, (needed.note or "").split(":")[0])
        lines.append((Cell(_number(row, row.category or ""), _against(row)), Cell(str(row.n)), cell(row, 3), wanted))
    if not lines:
        return []
    text = Text(
        "What these patients were enough for: the width of each interval, and how many patients would give the wanted "
        "width if the estimate were the truth. Power after the fact says nothing beyond p and is not given."
    )
    columns = ("Of", "n", "Width of the interval", "Patients needed")
    return [text, Folded("Precision", (TableView("Precision", columns, (Group("", tuple(lines)),)),))]


def _range(row: Row | None) -> Cell:
    """An interval without its middle."""
    if row is None:
        return EMPTY
    return Cell(interval(row, 3) or NOT_COMPUTED, statistic_id=row.statistic_id, method=row.method, note=row.note or "")


def _by_set(rows: Sequence[Row], line: Callable[[Row], tuple[Cell, ...]]) -> tuple[Group, ...]:
    """One group of lines per analysis set."""
    names = dict.fromkeys(row.analysis_set for row in rows)
    return tuple(
        Group(name.capitalize(), tuple(line(row) for row in rows if row.analysis_set == name)) for name in names
    )


def _about(row: Row) -> str:
    """What the readers agree about."""
    return words(row.region) if row.region else row.dichotomy or measure_title(row.measure or "")


def _effect(row: Row) -> str:
    """A row of the multi-reader analysis."""
    if row.quantity == "reader_auc":
        return "AUC, mean of the readers"
    return f"AUC, {row.source or row.category} less the readers" if row.source else f"AUC, session {row.category}"


def _number(row: Row, name: str) -> str:
    """A number and its source."""
    return f"{words(name)}, {row.source}"


def _against(row: Row) -> str:
    """What the number is held against: a reference, a cut with its class, or the class."""
    return row.reference or " ".join(part for part in (row.dichotomy, signs(row.positive_class or "")) if part)


def _same_question(part: Row, pooled: Row, name: str) -> bool:
    """Whether a site's row belongs to a pooled one."""
    same = (part.source, part.reference, part.dichotomy, part.measure, part.stratum)
    return part.quantity in (f"site_{name}", f"without_{name}") and same == (
        pooled.source, pooled.reference, pooled.dichotomy, pooled.measure, pooled.stratum
    )  # fmt: skip


def _site(row: Row, name: str) -> str:
    """A site, or all but it."""
    return f"without {row.category}" if row.quantity == f"without_{name}" else str(row.category)
