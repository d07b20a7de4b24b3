"""The declared questions: each number again, at the declared error rate, with the p of its claim.

Primary questions are adjusted by Holm among themselves. Confirmatory ones are adjusted by Holm within their family and
count only after the primary ones: their adjusted p is never smaller than the largest of those (serial gatekeeping), so
that the chance of any false claim in the study stays below alpha. A primary question whose claim could not be tested
opens no gate; one that claims nothing, answered by its interval, needs none.

References
----------
Holm S (1979). Scand J Stat 6:65-70. Westfall PH, Krishen A (2001). J Stat Plan Inference 99:25-40.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cohorts.folder.analysis_plan import AnalysisSection, Question
from cohorts.folder.study import StudyConfig
from reports.estimators.claims import claim_p
from reports.estimators.estimate import Interval
from reports.estimators.multiplicity import adjust_p_values
from reports.statistics.rows import Builder, Details, Row, Scope, joined

TESTED = ("primary", "confirmatory")
NOT_RUN = "not run: no such number was computed"


@dataclass(frozen=True)
class Answer:
    """A question with the row that it points at, None where there is none, and the p of its claim."""

    question: Question
    row: Row | None
    interval: Interval | None
    p: float

    @property
    def is_claim(self) -> bool:
        """Whether the question asks for a test."""
        return self.row is None or self.question.edges != (None, None) or self.row.p_value is not None


def add_plan(rows: Builder, config: StudyConfig) -> None:
    """Add one row per declared question, and the role of the rows that they point at."""
    plan = config.analysis
    if plan is None:
        return
    answers = [_answer(rows, item, plan) for item in plan.question]
    adjusted = adjusted_p_values([(item.question.role, item.p, item.is_claim) for item in answers])
    n_of = {role: sum(a.question.role == role and not math.isnan(a.p) for a in answers) for role in TESTED}
    for answer, p_adjusted in zip(answers, adjusted, strict=True):
        question, row = answer.question, answer.row
        if row is None:
            scope = Scope(section="plan", analysis_set=question.statistic.split("/")[4], category=question.name)
            details = Details(note=joined(NOT_RUN, question.statistic), role=question.role)
            rows.add(scope, question.role, None, 0, "declared question", details)
            continue
        family = None
        if question.role in TESTED and not math.isnan(answer.p):
            after = ", after the primary" if question.role == "confirmatory" and n_of["primary"] else ""
            family = f"{question.role} questions, Holm over {n_of[question.role]}{after}"
        details = Details(
            unit=row.unit, numerator=row.numerator, denominator=row.denominator, seed=row.seed, p_value=answer.p,
            p_adjusted=p_adjusted if family else None, family=family, role=question.role,
            note=joined(claim_text(question), question.source, row.statistic_id, row.note),
        )  # fmt: skip
        rows.add(_scope(row, question), question.role, row.estimate, row.n or 0, answer.interval or row.method, details)
        rows.declare(row.statistic_id, question.role)


def adjusted_p_values(tests: Sequence[tuple[str, float, bool]]) -> list[float]:
    """Adjusted p of each (role, p, whether it is a claim), by the rule of this module.

    NaN for exploratory questions, and where there is no test.

    Examples
    --------
    >>> adjusted_p_values([("primary", 0.03, True), ("confirmatory", 0.001, True), ("confirmatory", 0.04, True)])
    [0.03, 0.03, 0.04]
    """
    found = [math.nan] * len(tests)
    gate = 0.0
    for role in TESTED:
        places = [at for at, (of, _, is_claim) in enumerate(tests) if of == role and is_claim]
        family = adjust_p_values([tests[at][1] for at in places], "holm")
        for at, p in zip(places, family.adjusted, strict=True):
            found[at] = max(float(p), gate) if not math.isnan(p) else math.nan
        if role == "primary" and places:
            gate = max(1.0 if math.isnan(found[at]) else found[at] for at in places)
    return found


def claim_text(question: Question) -> str:
    """What a question claims, as its note says it."""
    low, high = question.edges
    if question.margin is not None:
        return f"claim: within -{question.margin:g}..{question.margin:g}"
    if low is not None and high is not None:
        return f"claim: within {low:g}..{high:g}"
    if low is not None:
        return f"claim: above {low:g}"
    return f"claim: below {high:g}" if high is not None else "no margin: its own test"


def _answer(rows: Builder, question: Question, plan: AnalysisSection) -> Answer:
    """Find the number and test the claim."""
    row = rows.found(question.statistic)
    if row is None:
        return Answer(question, None, None, math.nan)
    interval_of = rows.intervals.get(question.statistic)
    interval = interval_of(1 - plan.alpha) if interval_of is not None else None
    low, high = question.edges
    if (low, high) == (None, None):
        return Answer(question, row, interval, math.nan if row.p_value is None else row.p_value)
    if interval_of is None or row.estimate is None:
        return Answer(question, row, interval, math.nan)
    edges = {name: edge for name, edge in (("low", low), ("high", high)) if edge is not None}
    return Answer(question, row, interval, claim_p(interval_of, estimate=row.estimate, **edges))


def _scope(row: Row, question: Question) -> Scope:
    """The row's scope as that of a declared question."""
    return Scope(
        section="plan", analysis_set=row.analysis_set, grade=row.grade, measure=row.measure, source=row.source,
        reference=row.reference, reference_measure=row.reference_measure, variable=row.variable,
        category=question.name, dichotomy=row.dichotomy, side=row.side, region=row.region,
        n_positive=row.n_positive, positive_class=row.positive_class,
    )  # fmt: skip
