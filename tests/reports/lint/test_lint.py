"""The lint can fail: each planted impossibility is found, and the message names the cell.

Cells called after a paper are its own, numbered as in the project's notes on methods: percentages that miss their
counts, a denominator of 147 printed as 150, an accuracy outside sensitivity and specificity, an "AUC" that is their
mean, a p value that does not follow from its limits of agreement, an F1 of the other class.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from reports.lint.lint import lint, refusal
from reports.statistics.analysis import analyse
from reports.statistics.inputs import ReportInput
from tests.reports.builders import synthetic_config, synthetic_input

ACCURACY = "dichotomies/accuracy:wei_le6/mask-classic/nihss/examined"
SENSITIVITY = "dichotomies/sensitivity:wei_le6/mask-classic/nihss/examined"
SPECIFICITY = "dichotomies/specificity:wei_le6/mask-classic/nihss/examined"
BALANCED = "dichotomies/balanced_accuracy:wei_le6/mask-classic/nihss/examined"
AUC = "roc/auc:score/mask-classic/nihss/examined"
EXACT = "agreement/exact/reader:B/reader:A/measured"
WITHIN_1 = "agreement/within_1/reader:B/reader:A/measured"
BIAS = "agreement/bias/reader:B/reader:A/measured"
CAUDATE = "regions/affected:left:caudate/mask-classic/-/examined"


@pytest.fixture(scope="module")
def data() -> ReportInput:
    pairs = [{"reference": "reader:A", "candidate": "reader:B"}]
    return synthetic_input(config=synthetic_config(agreement=pairs))


@pytest.fixture(scope="module")
def statistics(data: ReportInput) -> pd.DataFrame:
    return analyse(data)


def planted(statistics: pd.DataFrame, statistic_id: str, **cells: object) -> pd.DataFrame:
    """The statistics with cells of one row replaced."""
    edited = statistics.copy()
    (at,) = edited.index[edited["statistic_id"] == statistic_id]
    for column, value in cells.items():
        edited.loc[at, column] = value
    return edited


def cell(statistics: pd.DataFrame, statistic_id: str, column: str) -> float:
    """One number of the statistics."""
    return float(statistics.loc[statistics["statistic_id"] == statistic_id, column].item())


def assert_found(problems: list[str], statistic_id: str, text: str) -> None:
    """One message names the cell and the rule."""
    assert any(problem.startswith(f"{statistic_id} must") and text in problem for problem in problems), problems[:10]


def test_an_honest_report_passes(statistics: pd.DataFrame, data: ReportInput) -> None:
    assert lint(statistics, data) == []


PLANTED: dict[str, tuple[str, dict[str, object], str]] = {
    "WEI N14: 14/60 printed as 18.3 %": (
        "cohort/share:true/-/diabetes/examined",
        {"estimate": 0.183, "numerator": 14, "denominator": 60},
        "equal numerator/denominator = 14/60 = 0.233333, got 0.183",
    ),
    "WEI N14: 11/60 printed as 24.5 %": (
        "cohort/share:true/-/diabetes/examined",
        {"estimate": 0.245, "numerator": 11, "denominator": 60},
        "equal numerator/denominator = 11/60 = 0.183333, got 0.245",
    ),
    "WEI N14: 46/154 printed as 26.1 %": (
        "cohort/share:true/-/diabetes/examined",
        {"estimate": 0.261, "numerator": 46, "denominator": 154},
        "equal numerator/denominator = 46/154 = 0.298701, got 0.261",
    ),
    "DASP N2: 58 of 147 called 58 of 150": (
        EXACT,
        {"estimate": 0.394558, "numerator": 58, "denominator": 150, "n": 150},
        "equal numerator/denominator = 58/150 = 0.386667, got 0.394558 (as of 58/147)",
    ),
    "DASP N2: three patients unaccounted for": (EXACT, {"n": 106}, "have a denominator <= n = 106, got 110"),
    "DANET N8: p = .28 beside limits that say otherwise": (BIAS, {"p_value": 0.28}, "as its limits of agreement"),
    "RAD N10: the interval of fewer patients": (
        "agreement/icc_a1/reader:B/reader:A/measured",
        {"lower": 0.56, "upper": 0.96},
        "that n = 110 and the limits of agreement give, got 0.56..0.96",
    ),
    "WEI N12: no positive class": (AUC, {"positive_class": None}, "state its positive class and n_positive"),
    "DANET N6: the positive class flips": (AUC, {"n_positive": 70}, "have n = 102 and n_positive = 32"),
    "regions: sensitivity and specificity are swapped": (
        "regional/sensitivity:all/reader:B/reader:A/measured",
        {"estimate": 1711 / 1800, "numerator": 1711, "denominator": 1800},
        "count 329/400 as the tables do, got 1711/1800",
    ),
    "a cut against the reference: the positive class flips": (
        "reference_cuts/sensitivity:wei_le6/reader:B/reader:A/measured",
        {"estimate": 55 / 64, "numerator": 55, "denominator": 64},
        "count 41/46 as the tables do, got 55/64",
    ),
    "share above one": (SENSITIVITY, {"numerator": 40, "denominator": 34}, "have 0 <= numerator <= denominator"),
    "share without its counts": (EXACT, {"numerator": None}, "carry numerator and denominator"),
    "share of nobody": (EXACT, {"numerator": 0, "denominator": 0}, "have no estimate without a denominator"),
    "estimate outside its interval": (AUC, {"lower": 0.9, "upper": 0.95}, "have its estimate within 0.9..0.95"),
    "interval upside down": (AUC, {"lower": 0.95, "upper": 0.9}, "have lower <= upper, got 0.95..0.9"),
    "half an interval": (AUC, {"lower": None}, "have both limits or none"),
    "interval without level": (AUC, {"level": None}, "state the level of its interval"),
    "level of 95": (AUC, {"level": 95}, "state the level of its interval within 0..1, got 95"),
    "area above one": (AUC, {"estimate": 1.2, "lower": None, "upper": None}, "be within 0..1, got 1.2"),
    "negative SD": ("cohort/sd/-/age/examined", {"estimate": -1.0}, "be within 0..inf, got -1"),
    "mean score of eleven": (
        "distribution/mean/reader:A/score/examined",
        {"estimate": 11.0},
        "be within 0..10, got 11",
    ),
    "kappa above one": ("agreement/kappa_linear/reader:B/reader:A/measured", {"estimate": 1.1}, "be within -1..1"),
    "p above one": (BIAS, {"p_value": 1.5}, "have a p_value within 0..1, got 1.5"),
    "adjusted below raw": (
        "regions/class_test:any:m1/mask-classic/nihss/examined",
        {"p_value": 0.5, "p_adjusted": 0.1},
        "have p_adjusted >= p_value = 0.5, got 0.1",
    ),
    "adjusted in no family": (
        "regions/class_test:any:m1/mask-classic/nihss/examined",
        {"family": None},
        "name the family of its adjusted p",
    ),
    "empty without reason": (AUC, {"estimate": None, "lower": None, "upper": None}, "say in note why"),
    "id of another row": (AUC, {"measure": "volume_ml"}, "have the statistic_id roc/auc:volume_ml/mask-classic"),
    "screened do not sum": ("flow/n_failed/-/-/screened", {"estimate": 4.0}, "equal the sum of its reasons = 3, got 4"),
    "examined do not sum": (
        "flow/n_examined/-/-/screened",
        {"estimate": 115.0},
        "equal the included and those excluded",
    ),
    "median outside its quartiles": ("cohort/median/-/age/examined", {"estimate": 200.0}, "lie within the quartiles"),
    "mean that no integers have": (
        "cohort/mean/-/nihss/examined",
        {"estimate": 8.3333},
        "be a mean of 102 integers, such as 850/102, got 8.3333",
    ),
    "grades do not sum": ("cohort/n/-/-/examined/mild", {"estimate": 60.0}, "be 70 as in participants, got 60"),
    "J is not its parts": (
        "youden/j:score/mask-classic/nihss/examined",
        {"estimate": 0.9},
        "equal sensitivity + specificity - 1",
    ),
    "less agreement with more tolerance": (EXACT, {"numerator": 110, "estimate": 1.0}, "count at most within_1's"),
    "bias off its limits": (BIAS, {"estimate": 0.0}, "lie midway between the limits of agreement"),
    "stratum that is not there": (CAUDATE, {"grade": "fatal"}, "have a stratum that is one of screened"),
    "more patients than the set has": (AUC, {"n": 999}, "have n <= 110, the participants of examined, got 999"),
    "mean is not that of the counts": (
        "distribution/mean/reader:A/score/examined",
        {"estimate": 5.0},
        "equal the mean of the score counts",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_impossible_cell_is_found(name: str, statistics: pd.DataFrame, data: ReportInput) -> None:
    statistic_id, cells, text = PLANTED[name]
    assert_found(lint(planted(statistics, statistic_id, **cells), data), statistic_id, text)


def test_screened_must_be_included_excluded_and_failed(statistics: pd.DataFrame, data: ReportInput) -> None:
    edited = planted(statistics, "flow/n_screened/-/-/screened", estimate=121.0)
    assert_found(
        lint(edited, data), "flow/n_screened/-/-/screened", "equal included + excluded + failed = 120, got 121"
    )


def test_a_flowchart_without_a_count_is_refused(statistics: pd.DataFrame, data: ReportInput) -> None:
    edited = statistics[statistics["quantity"] != "n_failed"]
    assert "flow/n_failed/-/-/screened must be printed, got no such row." in lint(edited, data)


def test_danet_n5_an_auc_that_is_the_mean_of_sensitivity_and_specificity(
    statistics: pd.DataFrame, data: ReportInput
) -> None:
    mean = cell(statistics, BALANCED, "estimate")
    edited = planted(statistics, AUC, estimate=mean, lower=mean - 0.1, upper=mean + 0.1)
    assert_found(lint(edited, data), AUC, "the area that the rank sums give")


def test_danet_n7_an_accuracy_outside_sensitivity_and_specificity(statistics: pd.DataFrame, data: ReportInput) -> None:
    n = int(cell(statistics, ACCURACY, "denominator"))
    edited = planted(statistics, ACCURACY, numerator=n - 1, estimate=(n - 1) / n, upper=1.0)
    problems = lint(edited, data)
    low, high = sorted(cell(statistics, name, "estimate") for name in (SENSITIVITY, SPECIFICITY))
    assert_found(problems, ACCURACY, f"lie between sensitivity and specificity, {low:.6g}..{high:.6g}")
    assert_found(problems, ACCURACY, "as sensitivity's and specificity's counts say (TP ")
    assert_found(problems, ACCURACY, "as the tables do")


def test_danet_n7_counts_that_belong_to_another_n(statistics: pd.DataFrame, data: ReportInput) -> None:
    edited = planted(statistics, SENSITIVITY, denominator=33, numerator=33, estimate=1.0, upper=1.0)
    problems = lint(edited, data)
    assert_found(problems, SENSITIVITY, "have the denominator n_positive = 32, got 33")
    assert_found(problems, ACCURACY, "have n = 103, the sum of both classes, got 102")


def test_rrcnn_n17_an_f1_of_the_other_class(statistics: pd.DataFrame, data: ReportInput) -> None:
    f1 = "dichotomies/f1_positive:wei_le6/mask-classic/nihss/examined"
    other = cell(statistics, f1.replace("positive", "negative", 1), "estimate")
    assert_found(lint(planted(statistics, f1, estimate=other), data), f1, "counts say (TP ")


def test_danet_n8_the_printed_limits_give_p_015(statistics: pd.DataFrame, data: ReportInput) -> None:
    """Mean -0.17, limits -2.13 and 1.78 of 207 patients: SD .997, t -2.45 and p .015, printed as .28."""
    edited = planted(statistics, BIAS, estimate=-0.17, n=207, p_value=0.28, lower=-0.31, upper=-0.03)
    for limit, sign in (("loa_lower", -1), ("loa_upper", 1)):
        value = -0.17 + sign * 1.96 * 0.997
        edited = planted(edited, BIAS.replace("bias", limit), estimate=value, lower=value - 0.2, upper=value + 0.2)
    assert_found(lint(edited, data), BIAS, "have p = 0.01499, as its limits of agreement and n = 207 say, got 0.28")


def test_a_repeated_statistic_is_found(statistics: pd.DataFrame, data: ReportInput) -> None:
    edited = pd.concat([statistics, statistics[statistics["statistic_id"] == AUC]], ignore_index=True)
    assert_found(lint(edited, data), AUC, "be unique")


def test_score_counts_must_sum_to_n(statistics: pd.DataFrame, data: ReportInput) -> None:
    key = "distribution/share:7/mask-classic/score/examined"
    k = int(cell(statistics, key, "numerator"))
    problems = lint(planted(statistics, key, numerator=k + 1, estimate=(k + 1) / 110), data)
    assert_found(problems, key, f"count {k}/110 as the tables do, got {k + 1}/110")
    first = "distribution/share:0/mask-classic/score/examined"
    assert_found(problems, first, "have the counts of all score values sum to n = 110, got 111")


def test_levels_must_sum_to_the_known(statistics: pd.DataFrame, data: ReportInput) -> None:
    key = "cohort/share:F/-/sex/examined"
    k = int(cell(statistics, key, "numerator"))
    problems = lint(planted(statistics, key, numerator=k - 1, estimate=(k - 1) / 110), data)
    assert_found(problems, key, "have the counts of all levels sum to n = 110, got 109")
    assert_found(problems, key, f"count {k}/110 as the tables do")


def test_region_counts_are_counted_again_from_regions(statistics: pd.DataFrame, data: ReportInput) -> None:
    k = int(cell(statistics, CAUDATE, "numerator"))
    edited = planted(statistics, CAUDATE, numerator=k + 1, estimate=(k + 1) / 110)
    assert_found(lint(edited, data), CAUDATE, f"count {k}/110 as the tables do, got {k + 1}/110")


def test_a_region_flag_changed_after_the_analysis_is_found(statistics: pd.DataFrame, data: ReportInput) -> None:
    regions = data.regions.reset_index(drop=True)
    wanted = (regions["source"] == "mask-classic") & (regions["side"] == "left") & (regions["region"] == "caudate")
    at = regions.index[wanted & ~regions["affected"].astype(bool)][0]
    regions.loc[at, "affected"] = True
    problems = lint(statistics, replace(data, regions=regions))
    k = int(cell(statistics, CAUDATE, "numerator"))
    assert_found(problems, CAUDATE, f"count {k + 1}/110 as the tables do, got {k}/110")
    key = regions.loc[at, "participant_id"]
    assert any(p.startswith(f"scores: score_left of {key} by mask-classic must be 10 - affected") for p in problems)


def test_a_score_changed_after_the_analysis_is_found(statistics: pd.DataFrame, data: ReportInput) -> None:
    scores = data.scores.reset_index(drop=True)
    at = scores.index[(scores["source"] == "reader:B") & (scores["score"] == 10)][0]
    scores.loc[at, "score"] = 3
    problems = lint(statistics, replace(data, scores=scores))
    assert_found(problems, EXACT, "as the tables do")
    assert_found(problems, BIAS, "be the mean difference")
    assert_found(problems, "roc/auc:score/reader:B/nihss/examined", "rank sums")


def test_an_exclusion_without_its_reason_is_found(statistics: pd.DataFrame, data: ReportInput) -> None:
    primary = data.exclusions["participant_id"] == "sub-0001"
    problems = lint(statistics, replace(data, exclusions=data.exclusions[~primary]))
    wanted = "participants: sub-0001 must have a primary row in exclusions, got status excluded and none."
    assert wanted in problems


def test_an_exclusion_that_contradicts_the_participant_is_found(statistics: pd.DataFrame, data: ReportInput) -> None:
    people = data.participants.copy()
    people.loc[people["participant_id"] == "sub-0001", "reason"] = "lacunar"
    problems = lint(statistics, replace(data, participants=people))
    assert_found(problems, "flow/n_excluded:screening:no_scan/-/-/screened", "be 1 as in participants, got 2")
    assert any(problem.startswith("participants: sub-0001 must say") for problem in problems)


def test_someone_included_but_not_examined_is_found(statistics: pd.DataFrame, data: ReportInput) -> None:
    people = data.participants.copy()
    people.loc[people["participant_id"] == "sub-0001", "is_included"] = True
    problems = lint(statistics, replace(data, participants=people))
    assert "participants: sub-0001 must be is_examined to be is_included, got is_examined false." in problems


def test_another_table_is_no_statistics(statistics: pd.DataFrame, data: ReportInput) -> None:
    (problem,) = lint(statistics.drop(columns=["seed"]), data)
    assert problem == "statistics must have the columns of its contract, got none of seed."


def test_a_refusal_names_the_first_number_and_where_the_tables_lie() -> None:
    number, why, where = refusal(["roc/auc must be within 0..1, got 2."], Path("out/results/refused")).splitlines()
    assert number == "No report: roc/auc must be within 0..1, got 2."
    assert "fault of the program or of edited tables" in why
    assert where.endswith("in refused.txt, lie in out/results/refused; the latest report stays as it is.")
