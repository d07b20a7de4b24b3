"""The declared questions: their numbers, Holm and the gate by hand, and the lint that refuses what was not run."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cohorts.folder.study import StudyConfig
from reports.document.document import document
from reports.estimators.bland_altman import bland_altman
from reports.lint.declared import declared_problems
from reports.lint.lint import lint
from reports.statistics.analysis import analyse
from reports.statistics.inputs import ReportInput
from reports.statistics.rows import Builder, Details, Scope, Statistics
from reports.statistics.sections.plan import add_plan, adjusted_p_values
from tests.reports.builders import synthetic_config, synthetic_input, synthetic_run

ICC = "agreement/icc_a1/mask-classic/reader:A/measured"
BIAS = "agreement/bias/mask-classic/reader:A/measured"
DIFFERENCE = "roc/auc_difference:score:volume_ml/mask-classic/lesion/included"
QUESTIONS = [
    {"name": "as_reader_a", "role": "primary", "statistic": ICC, "at_least": 0.94, "source": "chosen for the test"},
    {"name": "no_bias", "role": "confirmatory", "statistic": BIAS, "margin": 0.5},
    {"name": "better_than_volume", "role": "confirmatory", "statistic": DIFFERENCE},
    {"name": "upper_limit", "role": "exploratory",
     "statistic": "agreement/loa_upper/mask-classic/reader:A/measured", "at_most": 3},
]  # fmt: skip


def planned(questions: list[dict[str, object]], **section: object) -> StudyConfig:
    """A study with declared questions."""
    return synthetic_config(
        analysis={"question": questions} | section,
        agreement=[{"reference": "reader:A", "candidate": "mask-classic"}],
        study={"name": "Synthetic cohort", "synthetic": True, "bootstrap_resamples": 100},
        dichotomy=[{"name": "wei_le6", "cut": 6, "operator": "le", "primary": True}],
    )


@pytest.fixture(scope="module")
def data() -> ReportInput:
    return synthetic_input(40, config=planned(QUESTIONS, alpha=0.1))


@pytest.fixture(scope="module")
def statistics(data: ReportInput) -> pd.DataFrame:
    return analyse(data)


def answers_of(config: StudyConfig) -> pd.DataFrame:
    """One number, a bias of .1 in forty patients, and the answers to the questions of a study."""
    rows = Builder()
    scope = Scope(section="agreement", analysis_set="measured", source="mask-classic", reference="reader:A")
    result = bland_altman(reference=np.zeros(40), candidate=np.linspace(-0.9, 1.1, 40))
    rows.statistic(scope, "bias", result, result.confidence_interval(), Details(p_value=result.p))
    add_plan(rows, config)
    return rows.frame()


def of(statistics: pd.DataFrame, name: str) -> pd.Series:
    """The row that answers a question."""
    found = statistics[(statistics["section"] == "plan") & (statistics["category"] == name)]
    return found.iloc[0]


def test_an_honest_plan_passes(statistics: pd.DataFrame, data: ReportInput) -> None:
    assert lint(statistics, data) == []


def test_an_answer_is_its_number_at_the_level_of_the_plan(statistics: pd.DataFrame) -> None:
    number, answer = statistics.set_index("statistic_id").loc[BIAS], of(statistics, "no_bias")
    assert (answer["estimate"], answer["n"]) == (number["estimate"], number["n"])
    assert answer["level"] == pytest.approx(0.9)
    assert answer["upper"] - answer["lower"] < number["upper"] - number["lower"]
    assert answer["note"] == f"claim: within -0.5..0.5; {BIAS}"
    assert (
        of(statistics, "better_than_volume")["p_value"]
        == statistics.set_index("statistic_id").loc[DIFFERENCE, "p_value"]
    )


def test_confirmatory_p_values_are_holm_behind_the_primary(statistics: pd.DataFrame) -> None:
    primary, *family = (of(statistics, name) for name in ("as_reader_a", "no_bias", "better_than_volume"))
    assert primary["p_adjusted"] == primary["p_value"]
    small, large = sorted(row["p_value"] for row in family)
    expected = max(primary["p_value"], min(1, 2 * small)), max(primary["p_value"], 2 * small, large)
    assert sorted(row["p_adjusted"] for row in family) == pytest.approx(expected)
    assert {row["family"] for row in family} == {"confirmatory questions, Holm over 2, after the primary"}
    assert pd.isna(of(statistics, "upper_limit")["p_adjusted"])


def test_every_number_has_its_role(statistics: pd.DataFrame) -> None:
    roles = statistics.set_index("statistic_id")["role"]
    assert (roles[ICC], roles[BIAS], roles[DIFFERENCE]) == ("primary", "confirmatory", "confirmatory")
    assert set(roles[statistics.set_index("statistic_id")["section"].isin(["flow", "cohort"])]) == {"descriptive"}
    assert roles["roc/auc:score/mask-classic/nihss/included"] == "exploratory"
    assert (roles == "primary").sum() == 2  # the number, and the answer


def test_without_a_plan_everything_is_exploratory() -> None:
    rows = answers_of(synthetic_config())
    assert set(rows["role"]) == {"exploratory"}
    assert "plan" not in set(rows["section"])


def test_gates_by_hand() -> None:
    one = [("primary", 0.2, True), ("confirmatory", 0.001, True), ("exploratory", 0.5, True)]
    assert adjusted_p_values(one)[:2] == [0.2, 0.2]
    assert math.isnan(adjusted_p_values(one)[2])
    two = [("primary", 0.01, True), ("primary", 0.02, True), ("confirmatory", 0.03, True)]
    assert adjusted_p_values(two) == pytest.approx([0.02, 0.02, 0.03])
    unanswered = [("primary", math.nan, True), ("confirmatory", 0.001, True)]
    assert adjusted_p_values(unanswered)[1] == 1
    estimated = [("primary", math.nan, False), ("confirmatory", 0.001, True)]
    assert adjusted_p_values(estimated)[1] == 0.001


def test_a_primary_that_was_not_run_is_refused_by_name() -> None:
    question = {"name": "late", "role": "primary", "statistic": "agreement/bias/mask-classic/reader:Z/measured"}
    config = planned([question])
    rows = answers_of(config)
    answer = of(rows, "late")
    assert (answer["n"], answer["note"]) == (0, f"not run: no such number was computed; {question['statistic']}")
    (problem,) = declared_problems(Statistics(rows), config)
    assert problem == (
        "analysis: the primary question 'late' must have been run, got no number "
        f"{question['statistic']}. Did you mean {BIAS}?"
    )
    exploratory = planned([question | {"role": "exploratory"}])
    assert list(declared_problems(Statistics(answers_of(exploratory)), exploratory)) == []


def test_a_claim_that_cannot_be_tested_opens_no_gate() -> None:
    config = planned(
        [
            {"name": "first", "role": "primary", "statistic": "agreement/bias/mask-classic/reader:Z/measured"},
            {"name": "second", "role": "confirmatory", "statistic": BIAS, "margin": 5},
        ]
    )
    answer = of(answers_of(config), "second")
    assert (answer["p_value"] < 1e-6, answer["p_adjusted"]) == (True, 1)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda rows: rows["statistic_id"] != ICC, "analysis: the primary question 'as_reader_a' must have been run"),
        (lambda rows: rows["category"] != "no_bias",
         "analysis: the confirmatory question 'no_bias' must be answered by a row of section plan, got none"),
    ],
)  # fmt: skip
def test_a_question_that_is_dropped_afterwards_is_refused(statistics, data, kept, message) -> None:
    problems = list(declared_problems(Statistics(statistics[kept(statistics)]), data.config))
    assert any(problem.startswith(message) for problem in problems), problems


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        ("as_reader_a", "estimate", 0.95, "must be"),
        ("as_reader_a", "quantity", "exploratory", "must have the role primary, as declared"),
        ("no_bias", "p_adjusted", 0.9, "must have p_adjusted = "),
        ("no_bias", "category", "other", "must be a question that [analysis] of cohort.toml declares, got other"),
    ],
)
def test_a_changed_answer_is_refused(statistics, data, name, column, value, message) -> None:
    edited = statistics.copy()
    edited.loc[(edited["section"] == "plan") & (edited["category"] == name), column] = value
    assert any(message in problem for problem in declared_problems(Statistics(edited), data.config))


def test_another_number_called_primary_is_refused(statistics: pd.DataFrame, data: ReportInput) -> None:
    edited = statistics.copy()
    other = "roc/auc:score/mask-classic/nihss/included"
    edited.loc[edited["statistic_id"] == other, "role"] = "primary"
    expected = f"{other} must be exploratory, as cohort.toml does not declare it, got primary."
    assert expected in declared_problems(Statistics(edited), data.config)


def test_the_report_answers_first_and_labels_the_rest(statistics: pd.DataFrame, data: ReportInput) -> None:
    html = document(data, statistics, synthetic_run()).html
    summary = html.split('<section id="summary">')[1].split("</section>")[0]
    answer = of(statistics, "as_reader_a")
    assert f"Primary question as_reader_a: ICC (A,1) of mask-classic · reader:A is {answer['estimate']:.3f}" in summary
    assert f"in {answer['n']} patients" in summary
    assert (data.config.analysis_digest or "?")[:12] in html
    assert html.count(data.config.analysis_digest or "?") == 1  # in full, in the provenance
    assert "Exploratory, but for the declared as_reader_a, no_bias." in html
    assert "Exploratory: nothing of this chapter was declared as primary or confirmatory." in html
