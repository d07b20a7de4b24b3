"""The first page: the key numbers as tiles, and the same in a few plain sentences."""

from __future__ import annotations

from dataclasses import dataclass

from reports.document.chapters.cohort import median_cell
from reports.document.chapters.cuts import cut_text
from reports.document.chapters.plan import primary_answers, primary_sentences
from reports.document.page import FigureView, Material
from reports.document.tables import interval, number, p_text, percent, range_text, signs, whole
from reports.estimators.discrimination import roc_curve
from reports.figures.charts import Curve
from reports.figures.first_page import flow_bars, short_name, small_forest, small_roc
from reports.statistics.patients import SCORE, VOLUME
from reports.statistics.rows import Row


@dataclass(frozen=True)
class Tile:
    """A key number with its name and what it is out of."""

    value: str
    name: str
    under: str = ""


@dataclass(frozen=True)
class Answer:
    """A primary question and its answer."""

    question: str
    value: str
    interval: str
    n: str
    claim: str
    verdict: str


@dataclass(frozen=True)
class Summary:
    """What the first page says."""

    answers: tuple[Answer, ...]
    tiles: tuple[Tile, ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    figures: tuple[FigureView, ...] = ()


#: Of the figures of the first page: lines that can be read in a third of its width.
MOST_LINES, MOST_CURVES = 9, 4


def first_figures(material: Material) -> tuple[FigureView, ...]:
    """The flow, agreement, and how well scores tell severe strokes apart; those that there are."""
    return tuple(one for one in (_flow_figure(material), _agreement_figure(material), _roc_figure(material)) if one)


def _flow_figure(material: Material) -> FigureView:
    """Who was screened, and what became of them."""
    found = {row.quantity: int(row.estimate or 0) for row in material.statistics.select("flow") if row.stage is None}
    names = ("n_screened", "n_examined", "n_included", "n_excluded", "n_failed")
    kept = [name for name in names if name in found and (name != "n_examined" or len(material.sets) > 1)]
    counts = {name.removeprefix("n_"): found[name] for name in kept}
    return FigureView(flow_bars(counts, name="first-flow"), "Who was screened and what became of them, participants.")


def _agreement_figure(material: Material) -> FigureView | None:
    """The pairs with most patients, in the order of the study."""
    rows = [row for row in material.statistics.select("agreement", "icc_a1", material.agreement_sets[0].stratum)
            if row.estimate is not None]  # fmt: skip
    if not rows:
        return None
    most = sorted(rows, key=lambda row: -(row.n or 0))[:MOST_LINES]
    lines = [
        ("\n· ".join(short_name(str(one)) for one in (row.source, row.reference)), row) for row in rows if row in most
    ]
    text = f"Agreement of the score, candidate · reference, {len(lines)} of {len(rows)} pairs; n = "
    return FigureView(small_forest(lines, name="first-icc"), text + f"{range_text(row.n for _, row in lines)}.")


def _roc_figure(material: Material) -> FigureView | None:
    """The first scores against the severity class."""
    patients, stratum = material.main.patients, material.main.stratum
    positive = patients.positive()
    curves: list[Curve] = []
    for source in material.score_sources:
        row = material.row("roc", f"auc:{SCORE}", source, material.severity, stratum)
        kept = patients.complete(positive, patients.scores[source])
        if row is not None and row.estimate is not None and len(curves) < MOST_CURVES:
            curve = roc_curve(reference=positive[kept], candidate=patients.scores[source][kept], positive_when="low")
            label = f"{short_name(source)} {number(row.estimate, 2)}"
            curves.append(Curve(label, 1 - curve.specificity, curve.sensitivity))
    if not curves:
        return None
    text = f"Scores telling {material.positive_class} apart, area beside the name, {material.main.title.lower()}."
    return FigureView(small_roc(curves, name="first-roc"), text)


def summary(material: Material) -> Summary:
    """Key numbers of the main analysis set, first score source and first volume."""
    tiles, sentences = [], primary_sentences(material)
    for part in (_flow, _level, _roc, _cut, _agreement):
        tile, text = part(material)
        tiles += tile
        sentences += text
    answers = tuple(Answer(**one) for one in primary_answers(material))
    return Summary(answers, tuple(tiles), tuple(sentences), material.run.warnings, first_figures(material))


def _flow(material: Material) -> tuple[list[Tile], list[str]]:
    """Who was screened and who is left."""
    count = {row.quantity: whole(row) for row in material.statistics.select("flow") if row.stage is None}
    text = (
        f"{count.get('n_screened')} participants were screened: {count.get('n_included')} are included, "
        f"{count.get('n_excluded')} are excluded with a reason, and {count.get('n_failed')} failed."
    )
    by_rules = sum(
        int(row.estimate or 0) for row in material.statistics.select("flow", "n_excluded") if row.stage == "eligibility"
    )
    if by_rules:
        text += (
            f" The eligibility rules were asked of {count.get('n_examined')}: the {count.get('n_included')} included, "
            f"and {by_rules} whom they exclude."
        )
    text += f" The numbers below are of the {count.get('n_included')} included patients, unless they say otherwise."
    return [Tile(count.get("n_included", ""), "patients included", f"of {count.get('n_screened')} screened")], [text]


def _level(material: Material) -> tuple[list[Tile], list[str]]:
    """Median score and volume."""
    stratum = material.main.stratum
    parts = []
    for source in material.score_sources[:1]:
        parts.append(
            f"the median ASPECTS by {source} is "
            f"{median_cell(material, 'distribution', (source, SCORE), stratum, 0).text}"
        )
    for source in material.volume_sources[:1]:
        median = median_cell(material, "distribution", (source, VOLUME), stratum, 1)
        parts.append(f"the median lesion volume is {median.text} ml")
    text = " and ".join(parts)
    return [], [f"{text[0].upper()}{text[1:]} (first to third quartile in parentheses)."] if text else []


def _roc(material: Material) -> tuple[list[Tile], list[str]]:
    """Areas of score and volume and their difference."""
    stratum, severity = material.main.stratum, material.severity
    rows: list[tuple[str, Row]] = []
    for measure, sources in ((SCORE, material.score_sources), (VOLUME, material.volume_sources)):
        row = material.row("roc", f"auc:{measure}", sources[0], severity, stratum) if sources else None
        if row is not None and row.estimate is not None:
            rows.append(("score" if measure == SCORE else "volume", row))
    if not rows:
        return [], []
    tiles = [
        Tile(
            number(row.estimate, 2),
            f"AUC of the {name}, {signs(row.positive_class or '')}",
            f"{interval(row)}, n = {row.n}",
        )
        for name, row in rows
    ]
    areas = " and ".join(f"the {name} {number(row.estimate, 3)} ({interval(row, 3)})" for name, row in rows)
    first = rows[0][1]
    text = (
        f"For {signs(first.positive_class or '')} ({first.n_positive} of {first.n} patients), the area under the ROC "
        "curve is: "
        f"{areas}, DeLong 95 % intervals."
    )
    if len(rows) == 2:
        pair = material.row("roc", "auc_difference:score:volume_ml", first.source, rows[1][1].source, stratum)
        if pair is not None and pair.estimate is not None:
            text += (
                f" Score less volume: {number(pair.estimate, 3)} ({interval(pair, 3)}), p {_equal(pair.p_adjusted)} "
                "(Holm); a large p is no proof that both are equally good."
            )
    return tiles, [text]


def _cut(material: Material) -> tuple[list[Tile], list[str]]:
    """The primary dichotomy, and the cut that these patients propose."""
    stratum, severity = material.main.stratum, material.severity
    sentences = []
    primary = next((item for item in material.data.config.dichotomy if item.primary), None)
    if primary is not None:
        sources = material.volume_sources if primary.on == VOLUME else material.score_sources
        source = sources[0] if sources else None
        rows = [
            material.row("dichotomies", f"{name}:{primary.name}", source, severity, stratum)
            for name in ("sensitivity", "specificity")
        ]
        if rows[0] is not None and rows[1] is not None and rows[0].estimate is not None:
            sentences.append(
                f"At the primary cut, {cut_text(primary)} by {source}, sensitivity is {_share(rows[0])} and "
                "specificity "
                f"{_share(rows[1])}."
            )
    for measure, sources, unit in ((SCORE, material.score_sources, ""), (VOLUME, material.volume_sources, " ml")):
        if not sources:
            continue
        cut = material.row("youden", f"cut:{measure}", sources[0], severity, stratum)
        corrected = material.row("youden", f"j_corrected:{measure}", sources[0], severity, stratum)
        if cut is None or cut.estimate is None or corrected is None:
            continue
        digits = 0 if measure == SCORE else 2
        sign, published = ("≤", "≤ 6") if measure == SCORE else ("≥", "≥ 27.86 ml")
        limits = f" (bootstrap {interval(cut, digits)})" if interval(cut) else ""
        sentences.append(
            f"The {'score' if measure == SCORE else 'volume'} cut that fits these patients best is {sign} "
            f"{number(cut.estimate, digits)}{unit}{limits}, Youden index {number(corrected.estimate, 2)} after "
            "correction "
            f"for optimism; the published cut is {published}."
        )
    return [], sentences


def _agreement(material: Material) -> tuple[list[Tile], list[str]]:
    """The first pair of sources."""
    stratum = material.agreement_sets[0].stratum
    found = material.statistics.select("agreement", "icc_a1", stratum)
    rows = [row for row in found if row.estimate is not None]
    if not rows:
        return [], []
    # prefer what is about the first source and not of one method with it
    first = next(iter(material.agreement_sets[0].patients.scores))
    row = min(
        rows, key=lambda item: (first not in (item.source, item.reference), (item.note or "").startswith("shared"))
    )
    exact, within = (
        material.row("agreement", name, row.source, row.reference, row.stratum) for name in ("exact", "within_1")
    )
    icc = f"{number(row.estimate)} ({interval(row)})"
    text = f"Between {row.source} and {row.reference}, ICC(A,1) is {icc} in the {row.n} patients whom both measured"
    if exact is not None and within is not None:
        text += f"; {percent(exact.estimate)} agree exactly and {percent(within.estimate)} within one point"
    note = f" This is {row.note}." if row.note and row.note.startswith("shared") else ""
    return [Tile(number(row.estimate), "ICC(A,1)", f"{row.source} · {row.reference}, n = {row.n}")], [f"{text}.{note}"]


def _share(row: Row) -> str:
    """A proportion with its interval and counts."""
    return f"{percent(row.estimate)} ({interval(row, as_percent=True)}; {row.numerator}/{row.denominator})"


def _equal(p: float | None) -> str:
    """``= 0.03`` or ``< 0.001``."""
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"
