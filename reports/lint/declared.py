"""The declared questions against what was run: none silently dropped, none moved to another role after the fact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from difflib import get_close_matches

from cohorts.folder.analysis_plan import Question
from cohorts.folder.study import StudyConfig
from reports.lint.cell_rules import TOLERANCE
from reports.statistics.rows import Row, Statistics
from reports.statistics.sections.plan import TESTED, adjusted_p_values

SECTION = "plan"


def declared_problems(book: Statistics, config: StudyConfig) -> Iterator[str]:
    """Every declared question that was not run, is not printed, or says something else than the number it points at."""
    questions = {item.name: item for item in config.analysis.question} if config.analysis else {}
    by_id = {row.statistic_id: row for row in book.rows}
    answers = {row.category: row for row in book.select(SECTION)}
    for name in answers.keys() - questions.keys():
        yield answers[name].must("be a question that [analysis] of cohort.toml declares", name)
    for name, question in questions.items():
        answer, row = answers.get(name), by_id.get(question.statistic)
        if answer is None:
            yield f"{_named(question)} must be answered by a row of section plan, got none."
        elif row is not None:
            yield from _same_number(answer, row, question)
        elif question.role in TESTED:
            near = get_close_matches(question.statistic, by_id, n=1, cutoff=0.0)
            hint = f" Did you mean {near[0]}?" if near else ""
            yield f"{_named(question)} must have been run, got no number {question.statistic}.{hint}"
    yield from _roles(book, questions)
    yield from _family([answers[name] for name in questions if name in answers], questions)


def _named(question: Question) -> str:
    """How a message names a question."""
    return f"analysis: the {question.role} question {question.name!r}"


def _same_number(answer: Row, row: Row, question: Question) -> Iterator[str]:
    """The answer repeats the number's estimate and n, in the declared role."""
    if answer.quantity != question.role:
        yield answer.must(f"have the role {question.role}, as declared", answer.quantity)
    if (answer.estimate, answer.n) != (row.estimate, row.n):
        yield answer.must(f"be {row.estimate} of {row.n} as {row.statistic_id} is", f"{answer.estimate} of {answer.n}")


def _roles(book: Statistics, questions: dict[str, Question]) -> Iterator[str]:
    """A number has the role that was declared for it, and no other number has one."""
    declared = {item.statistic: item.role for item in questions.values()}
    for row in book.rows:
        expected = row.quantity if row.section == SECTION else declared.get(row.statistic_id)
        if expected is None and row.role in TESTED:
            yield row.must("be exploratory, as cohort.toml does not declare it", row.role)
        elif expected is not None and row.role != expected:
            yield row.must(f"have the role {expected}, as declared", row.role)


def _family(answers: list[Row], questions: dict[str, Question]) -> Iterator[str]:
    """The adjusted p values follow from the unadjusted ones."""
    tests = []
    for row in answers:
        is_claim = row.p_value is not None or questions[row.category or ""].edges != (None, None) or not row.n
        tests.append((row.quantity, math.nan if row.p_value is None else row.p_value, is_claim))
    for row, expected in zip(answers, adjusted_p_values(tests), strict=True):
        found = math.nan if row.p_adjusted is None else row.p_adjusted
        if math.isnan(expected) != math.isnan(found) or abs(expected - found) > TOLERANCE:
            yield row.must(f"have p_adjusted = {expected:.4g} by Holm within its family", row.p_adjusted)
