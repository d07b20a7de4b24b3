"""The lint: refuses a report that holds an impossible number.

Published tables of this field contradict themselves in ways that arithmetic finds: percentages that do not follow from
their counts, accuracies outside sensitivity and specificity, a p value that does not follow from its own limits of
agreement, an "AUC" that is the mean of sensitivity and specificity. ``lint`` re-derives what is printed, first from the
other rows of ``statistics`` and then, in ``reports.lint.recount``, from the tables themselves. Every message names the
statistic, the rule and what was found.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from scipy import stats

from cohorts.tables.schemas import PARTICIPANTS, STATISTICS, UNGRADED
from reports.estimators.agreement import IntraclassCorrelation, MeanSquares
from reports.estimators.bland_altman import LIMIT_FACTOR
from reports.lint.cell_rules import TOLERANCE, cell_problems
from reports.lint.declared import declared_problems
from reports.lint.recount import recount_problems
from reports.statistics.inputs import ReportInput
from reports.statistics.patients import SCORE
from reports.statistics.rows import Row, Statistics

REFUSAL = "refused.txt"  # every number found, beside the tables


def lint(statistics: pd.DataFrame, data: ReportInput) -> list[str]:
    """Every impossible number among the statistics.

    Parameters
    ----------
    statistics : pandas.DataFrame
        The ``statistics`` contract.
    data : ReportInput
        The tables that the statistics were computed from.

    Returns
    -------
    list of str
        One message per problem: the statistic, the rule it breaks, and the value found. Empty if all is well.
    """
    missing = [column for column in STATISTICS.names if column not in statistics]
    if missing:
        return [f"statistics must have the columns of its contract, got none of {', '.join(missing)}."]
    book = Statistics(statistics)
    columns = {item.column: item for item in data.config.clinical}
    problems = [problem for cell in book.rows for problem in cell_problems(cell, columns)]
    for check in (_repeated, _flow, _summaries, _score_counts, _two_by_two, _youden, _agreement):
        problems += check(book)
    problems += _cohort_groups(book, data)
    problems += _integer_means(book, data)
    problems += declared_problems(book, data.config)
    return problems + recount_problems(book, data)


def refusal(problems: Sequence[str], folder: Path) -> str:
    """Three lines for the person at the screen: which number, why no report, and where the tables lie."""
    others = f" ({len(problems)} such numbers)" if len(problems) > 1 else ""
    return (
        f"No report: {problems[0]}{others}\n"
        "Why: each number is checked against the tables before it is printed. This one does not follow from them, by a "
        "fault of the program or of edited tables; please report it.\n"
        f"The tables, and every such number in {REFUSAL}, lie in {folder}; the latest report stays as it is."
    )


def _repeated(book: Statistics) -> Iterator[str]:
    """Statistic ids must be unique."""
    for cell in book.repeated:
        yield cell.must("be unique", "the same statistic_id again")


def _flow(book: Statistics) -> Iterator[str]:
    """Included, excluded and failed sum to screened, their reasons to each, included and by the rules to examined."""
    count = {cell.full_name: cell for cell in book.select("flow")}
    names = ("n_screened", "n_included", "n_excluded", "n_failed", "n_examined", "n_measured")
    for name in names:
        if name not in count:
            yield f"flow/{name}/-/-/screened must be printed, got no such row."
    values = {name: cell.estimate or 0 for name, cell in count.items()}
    if all(name in count for name in names):
        parts = values["n_included"] + values["n_excluded"] + values["n_failed"]
        if parts != values["n_screened"]:
            yield count["n_screened"].must(f"equal included + excluded + failed = {parts:g}", values["n_screened"])
        by_rules = sum(value for name, value in values.items() if name.startswith("n_excluded:eligibility:"))
        if values["n_examined"] != values["n_included"] + by_rules:
            parts = values["n_included"] + by_rules
            yield count["n_examined"].must(
                f"equal the included and those excluded by the eligibility rules = {parts:g}", values["n_examined"]
            )
    for status in ("n_excluded", "n_failed"):
        reasons = sum(value for name, value in values.items() if name.startswith(f"{status}:"))
        if status in count and reasons != values[status]:
            yield count[status].must(f"equal the sum of its reasons = {reasons:g}", values[status])


def _summaries(book: Statistics) -> Iterator[str]:
    """Quartiles in order; an SD needs two values."""
    for cell in book.rows:
        if cell.quantity != "median" or cell.estimate is None:
            continue
        q1, q3 = book.sibling(cell, "q1"), book.sibling(cell, "q3")
        low, high = (other.estimate if other else None for other in (q1, q3))
        if low is not None and high is not None and not low <= cell.estimate <= high:
            yield cell.must(f"lie within the quartiles {low:g}..{high:g}", cell.estimate)


def _score_counts(book: Statistics) -> Iterator[str]:
    """The counts of the score values sum to n, and their mean is the printed mean."""
    for cells in _share_groups(book, "distribution", "source"):
        yield from _count_sum(cells, "score values")
        total = sum(cell.numerator or 0 for cell in cells)
        mean = book.get("distribution", "mean", cells[0].source, cells[0].measure, cells[0].stratum)
        if mean is not None and mean.estimate is not None and total:
            derived = sum(int(cell.category or 0) * (cell.numerator or 0) for cell in cells) / total
            if abs(derived - mean.estimate) > TOLERANCE:
                yield mean.must(f"equal the mean of the score counts = {derived:.6g}", mean.estimate)


def _cohort_groups(book: Statistics, data: ReportInput) -> Iterator[str]:
    """Grades and ungraded sum to their set; levels sum to the known; a grade's counts stay within the set's."""
    names = [grade.name for grade in data.config.severity.grades] if data.config.severity else []
    names.append(UNGRADED)
    for cell in book.select("cohort"):
        if cell.grade:
            continue
        found = (book.within(cell, f"{cell.stratum}/{grade}") for grade in names)
        parts = [part for part in found if part is not None and part.estimate is not None]
        if cell.quantity == "n" and parts:
            total = sum(part.estimate or 0 for part in parts)
            if total != cell.estimate:
                yield cell.must(f"equal the sum of its grades and the ungraded = {total:g}", cell.estimate)
        elif cell.quantity == "share" and sum(part.numerator or 0 for part in parts) > (cell.numerator or 0):
            total = sum(part.numerator or 0 for part in parts)
            yield cell.must(f"count at least its grades' sum = {total}", cell.numerator)
    for cells in _share_groups(book, "cohort", "variable"):
        yield from _count_sum(cells, "levels")


def _share_groups(book: Statistics, section: str, column: Literal["source", "variable"]) -> Iterable[list[Row]]:
    """The shares of a section that make up one whole: those of one source or variable, by stratum."""
    groups: dict[tuple[str | None, str], list[Row]] = defaultdict(list)
    for cell in book.select(section, "share"):
        groups[getattr(cell, column), cell.stratum].append(cell)
    return groups.values()


def _count_sum(cells: Sequence[Row], what: str) -> Iterator[str]:
    """The counts of all values sum to the n of each."""
    total = sum(cell.numerator or 0 for cell in cells)
    if any(cell.denominator != total for cell in cells):
        yield cells[0].must(f"have the counts of all {what} sum to n = {cells[0].denominator}", total)


def _two_by_two(book: Statistics) -> Iterator[str]:
    """Everything printed about one dichotomy must follow from one two-by-two table."""
    for cell in book.select("dichotomies", "sensitivity"):
        yield from _one_table(book, cell)


def _one_table(book: Statistics, sensitivity: Row) -> Iterator[str]:
    """Re-derive the other numbers from the counts of sensitivity and specificity."""
    specificity = book.sibling(sensitivity, "specificity")
    if specificity is None or None in (sensitivity.numerator, specificity.numerator):
        return
    tp, n_positive = sensitivity.numerator or 0, sensitivity.denominator or 0
    tn, n_negative = specificity.numerator or 0, specificity.denominator or 0
    n, fp, fn = n_positive + n_negative, n_negative - tn, n_positive - tp
    if sensitivity.n_positive is not None and n_positive != sensitivity.n_positive:
        yield sensitivity.must(f"have the denominator n_positive = {sensitivity.n_positive}", n_positive)
    accuracy = book.sibling(sensitivity, "accuracy")
    if accuracy and None not in (accuracy.estimate, sensitivity.estimate, specificity.estimate):
        low, high = sorted((sensitivity.estimate or 0, specificity.estimate or 0))
        if not low - TOLERANCE <= (accuracy.estimate or 0) <= high + TOLERANCE:
            between = f"lie between sensitivity and specificity, {low:.6g}..{high:.6g}"
            yield accuracy.must(between, f"{accuracy.estimate:.6g}")
    derived = {
        "accuracy": _ratio(tp + tn, n),
        "prevalence": _ratio(n_positive, n),
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "balanced_accuracy": _ratio(tp * n_negative + tn * n_positive, 2 * n_positive * n_negative),
        "f1_positive": _ratio(2 * tp, 2 * tp + fp + fn),
        "f1_negative": _ratio(2 * tn, 2 * tn + fp + fn),
        "lr_positive": _ratio(tp * n_negative, n_positive * fp),
        "lr_negative": _ratio(fn * n_negative, n_positive * tn),
        "mcc": _ratio(tp * tn - fp * fn, math.sqrt(n_positive * n_negative * (tp + fp) * (tn + fn))),
    }
    for quantity, value in derived.items():
        printed = book.sibling(sensitivity, quantity)
        if printed is not None and not _same(printed.estimate, value):
            rule = f"be {value:.6g}" if value is not None else "be empty"
            counts = f"TP {tp}, FN {fn}, FP {fp}, TN {tn}"
            yield printed.must(f"{rule} as sensitivity's and specificity's counts say ({counts})", printed.estimate)
        if printed is not None and printed.n != n:
            yield printed.must(f"have n = {n}, the sum of both classes", printed.n)


def _youden(book: Statistics) -> Iterator[str]:
    """J is sensitivity + specificity - 1, apparent, corrected and published alike."""
    for cell in book.select("youden"):
        if cell.quantity not in ("j", "j_corrected", "j_published"):
            continue
        suffix = cell.quantity.removeprefix("j")
        pair = [book.sibling(cell, f"{name}{suffix}") for name in ("sensitivity", "specificity")]
        values = [other.estimate for other in pair if other is not None and other.estimate is not None]
        if len(values) == 2 and not _same(cell.estimate, sum(values) - 1):
            yield cell.must(f"equal sensitivity + specificity - 1 = {sum(values) - 1:.6g}", cell.estimate)


def _agreement(book: Statistics) -> Iterator[str]:
    """Wider tolerance, no less agreement; the bias is midway between its limits and its p follows from them."""
    for cell in book.select("agreement"):
        wider = {"exact": "within_1", "within_1": "within_2"}.get(cell.quantity)
        other = book.sibling(cell, wider) if wider else None
        if other is not None and (cell.numerator or 0) > (other.numerator or 0):
            yield cell.must(f"count at most {wider}'s {other.numerator}", cell.numerator)
        if cell.quantity in ("exact", "within_1", "within_2") and cell.denominator != cell.n:
            yield cell.must(f"have the denominator n = {cell.n}", cell.denominator)
        if cell.quantity == "bias" and cell.estimate is not None:
            yield from _bias(book, cell, cell.estimate)
        if cell.quantity == "icc_a1":
            yield from _icc(book, cell)


def _bias(book: Statistics, cell: Row, bias: float) -> Iterator[str]:
    """Limits are symmetric about the bias; SD from their width gives the paired t test."""
    lower, upper = book.sibling(cell, "loa_lower"), book.sibling(cell, "loa_upper")
    if lower is None or upper is None or lower.estimate is None or upper.estimate is None:
        return
    middle = (lower.estimate + upper.estimate) / 2
    if abs(middle - bias) > TOLERANCE * max(1, abs(bias)):
        yield cell.must(f"lie midway between the limits of agreement = {middle:.6g}", f"{bias:.6g}")
    sd = (upper.estimate - lower.estimate) / (2 * LIMIT_FACTOR)
    if cell.p_value is not None and cell.n and cell.n > 1 and sd > 0:
        t = bias / (sd / math.sqrt(cell.n))
        p = float(2 * stats.t.sf(abs(t), cell.n - 1))
        if abs(p - cell.p_value) > 1e-6:
            yield cell.must(f"have p = {p:.4g}, as its limits of agreement and n = {cell.n} say", cell.p_value)


def _icc(book: Statistics, cell: Row) -> Iterator[str]:
    """The F interval of ICC(A,1) follows from n, the bias and the limits of agreement, which give the mean squares."""
    parts = [book.sibling(cell, name) for name in ("bias", "loa_lower", "loa_upper")]
    bias, lower, upper = (part.estimate if part else None for part in parts)
    if None in (bias, lower, upper, cell.estimate, cell.lower, cell.upper) or not cell.n or upper == lower:
        return
    n, icc = cell.n, cell.estimate or 0.0
    error = (((upper or 0) - (lower or 0)) / (2 * LIMIT_FACTOR)) ** 2 / 2
    raters = n * (bias or 0) ** 2 / 2
    subjects = (icc * (error + 2 / n * (raters - error)) + error) / (1 - icc)
    squares = MeanSquares(subjects, raters, error, math.nan)
    derived = IntraclassCorrelation("icc_a1", icc, n, 2, squares).confidence_interval(cell.level or 0.95)
    if max(abs(derived.lower - (cell.lower or 0)), abs(derived.upper - (cell.upper or 0))) > 1e-6:
        rule = (
            f"have the interval {derived.lower:.4g}..{derived.upper:.4g} that n = {n} and the limits of agreement give"
        )
        yield cell.must(rule, f"{cell.lower:.4g}..{cell.upper:.4g}")


def _integer_means(book: Statistics, data: ReportInput) -> Iterator[str]:
    """GRIM (Brown & Heathers 2017, Soc Psychol Personal Sci 8:363-369): a mean of n integers times n is an integer."""
    integers = {item.column for item in data.config.clinical if item.read_as == "integer"} - set(PARTICIPANTS.names)
    for cell in book.rows:
        whole = cell.measure == SCORE or cell.variable in integers
        if cell.quantity != "mean" or cell.estimate is None or not cell.n or not whole:
            continue
        total = cell.estimate * cell.n
        if abs(total - round(total)) > 1e-6:
            yield cell.must(f"be a mean of {cell.n} integers, such as {round(total)}/{cell.n}", f"{cell.estimate:.6g}")


def _ratio(numerator: float, denominator: float) -> float | None:
    """The quotient, or None where it is not defined."""
    return numerator / denominator if denominator else None


def _same(printed: float | None, derived: float | None) -> bool:
    """Whether both are empty or equal."""
    if printed is None or derived is None:
        return printed is derived
    return abs(printed - derived) <= TOLERANCE * max(1, abs(derived))
