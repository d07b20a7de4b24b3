"""The declared questions and their answers, and which chapters hold nothing that was declared."""

from __future__ import annotations

from dataclasses import replace

from cohorts.folder.analysis_plan import AnalysisSection, Question
from reports.document.page import Chapter, Group, Material, TableView, Text
from reports.document.tables import NOT_COMPUTED, Cell, cell, interval, number, p_cell, proportion_cell, signs, words
from reports.statistics.rows import Row
from reports.statistics.sections.plan import NOT_RUN, TESTED, claim_text

NO_PLAN = (
    "The study declares no analysis plan ([analysis] in cohort.toml): every estimate and every test of this report is "
    "exploratory."
)
_ROLE_TITLES = {
    "primary": "Primary", "confirmatory": "Confirmatory", "exploratory": "Exploratory, declared",
}  # fmt: skip
#: Chapters whose numbers claim something, by their anchors, which are the sections of ``statistics``.
_INFERENTIAL = (
    "regions", "roc", "dichotomies", "youden", "association", "agreement", "segmentation", "readers", "sites",
    "intention", "regional", "reference_cuts", "calibration",
)  # fmt: skip


def plan_chapter(material: Material) -> Chapter:
    """Every declared question: the number, its interval, the claim and whether it is shown."""
    plan = material.data.config.analysis
    if plan is None:
        return Chapter("plan", "Declared questions", (Text(NO_PLAN),))
    digest = material.data.config.analysis_digest or ""
    groups = [
        Group(title, tuple(_line(material, item, plan) for item in plan.question if item.role == role))
        for role, title in _ROLE_TITLES.items()
    ]
    text = (
        f"Declared in cohort.toml before the analysis; digest of the plan and of what it rests on {digest[:12]}. "
        f"Intervals have level {100 * (1 - plan.alpha):g} %. A claim is shown where its adjusted p is below "
        f"{plan.alpha:g}: p is one minus the level at which the interval touches the margin, so it is twice that of "
        "two one-sided tests. Primary questions are adjusted by Holm among themselves; confirmatory ones within their "
        "family, and never below the primary ones. Whatever else this report holds is exploratory."
    )
    columns = ("Question", "Number", "n", "Estimate", "Claim", "p adjusted", "Answer")
    table = TableView("Declared questions", columns, tuple(group for group in groups if group.rows), n_text=2)
    return Chapter("plan", "Declared questions", (Text(text), table))


def primary_sentences(material: Material) -> list[str]:
    """One sentence per primary question for the first page, or that there is no plan."""
    plan = material.data.config.analysis
    if plan is None:
        return [NO_PLAN]
    sentences = []
    for item in plan.question:
        row = answer_of(material, item)
        if item.role != "primary" or row is None:
            continue
        if row.estimate is None:
            sentences.append(f"Primary question {item.name}: not answered ({row.note}).")
            continue
        limits = f" ({100 * (row.level or 0):g} % interval {interval(row, 3)})" if interval(row) else ""
        sentences.append(
            f"Primary question {item.name}: {_number_title(row, item)} is {number(row.estimate, 3)}{limits} in {row.n} "
            f"patients; {claim_text(item)}: {_verdict(row, item, plan)}."
        )
    return sentences


def primary_answers(material: Material) -> list[dict[str, str]]:
    """What the first page says in large of every primary question that was answered."""
    plan = material.data.config.analysis
    found = []
    for item in plan.question if plan else ():
        row = answer_of(material, item)
        if item.role == "primary" and row is not None and row.estimate is not None:
            found.append(
                {
                    "question": _number_title(row, item),
                    "value": number(row.estimate, 2),
                    "interval": f"{100 * (row.level or 0):g} % interval {interval(row)}" if interval(row) else "",
                    "n": f"n = {row.n}",
                    "claim": signs(claim_text(item).removeprefix("claim: ")),
                    "verdict": _verdict(row, item, plan) if plan else "",
                }
            )
    return found


def with_role(chapter: Chapter, material: Material) -> Chapter:
    """The chapter with a sentence on top that says how much of it was declared; as it is without a plan."""
    plan = material.data.config.analysis
    if plan is None or chapter.anchor not in _INFERENTIAL:
        return chapter
    section = {item.name for item in plan.question
               if item.role in TESTED and item.statistic.split("/")[0] == chapter.anchor}  # fmt: skip
    text = (
        f"Exploratory, but for the declared {', '.join(sorted(section))}." if section
        else "Exploratory: nothing of this chapter was declared as primary or confirmatory."
    )  # fmt: skip
    return replace(chapter, blocks=(Text(text, "note"), *chapter.blocks))


def answer_of(material: Material, question: Question) -> Row | None:
    """The row that answers a question."""
    rows = material.statistics.select("plan")
    return next((row for row in rows if row.category == question.name), None)


def _line(material: Material, question: Question, plan: AnalysisSection) -> tuple[Cell, ...]:
    """One line of the table."""
    row = answer_of(material, question)
    claim = Cell(signs(claim_text(question).removeprefix("claim: ")), question.source, wraps=True)
    name = Cell(question.name, question.statistic, wraps=True)
    if row is None or row.estimate is None:
        why = (row.note or NOT_RUN) if row is not None else NOT_RUN
        return name, Cell(""), Cell(""), Cell(NOT_COMPUTED, note=why), claim, Cell(""), Cell("not answered", note=why)
    estimate = proportion_cell(row) if row.denominator is not None else cell(row, 3)
    p = p_cell(row, adjusted=row.p_adjusted is not None)
    return (
        name,
        Cell(_number_title(row, question)),
        Cell(str(row.n)),
        estimate,
        claim,
        p,
        Cell(_verdict(row, question, plan)),
    )


def _number_title(row: Row, question: Question) -> str:
    """What a number is, of which source, and against whom."""
    quantity = words(question.statistic.split("/")[1].split(":")[0])
    about = " · ".join(part for part in (row.source, row.reference or row.variable) if part)
    return f"{quantity} of {about}" if about else quantity


def _verdict(row: Row, question: Question, plan: AnalysisSection) -> str:
    """Whether the claim is shown."""
    p = row.p_adjusted if question.role in TESTED else row.p_value
    if p is None:
        return "not tested" if question.edges != (None, None) else "an estimate, without a claim"
    what = "shown" if question.edges != (None, None) else "a difference"
    return what if p < plan.alpha else f"not {what}" if what == "shown" else "no difference shown"
