import pickle

import pytest

from cohorts.folder.problems import CohortError, Problem, did_you_mean, nearest, printable

NIHSS = Problem(
    "participants.tsv",
    17,
    "nihss",
    "60",
    "must be <= 42",
    "Check the chart and correct it, or write n/a.",
    "value_out_of_range",
    "sub-17",
)


def test_text_names_file_row_column_value_rule_and_remedy():
    assert NIHSS.text == (
        "participants.tsv, row 17, column nihss: value 60 must be <= 42. Check the chart and correct it, or write n/a."
    )


def test_text_of_a_setting_says_key_and_leaves_out_what_is_not_known():
    problem = Problem("cohort.toml", None, "study.name", None, "must be given", "Add it.", "missing_key")
    assert problem.text == "cohort.toml, key study.name: must be given. Add it."


def test_what_a_problem_does():
    study = Problem("scans.tsv", None, None, None, "must exist", "Add it.", "file_missing")
    warning = Problem("scans.tsv", None, None, None, "must exist", "Add it.", "file_missing", is_warning=True)
    done = [(item.stops_the_study, item.excludes_participant) for item in (study, NIHSS, warning)]
    assert done == [(True, False), (False, True), (False, False)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>", "<script>"),  # text stays text; escaping for HTML is the report's
        ("a\x1b[31mb", "a\\x1b[31mb"),  # a terminal must not obey a cell
        ("a\u202eb", "a\\u202eb"),
        ("", "''"),
        (" a", "' a'"),
        ("é", "é"),
        ("x" * 121, "x" * 117 + "..."),
    ],
)
def test_printable_values_are_safe_on_one_line(value, shown):
    assert printable(value) == shown


def test_no_part_of_a_problem_reaches_a_terminal_raw():
    problem = Problem("scans.tsv", 1, "a\x1b", "b\x07", "must be c\x1b[2J", "Not d\n.", "file_missing")
    assert problem.text == r"scans.tsv, row 1, column a\x1b: value b\x07 must be c\x1b[2J. Not d\n."
    assert (problem.rule, problem.remedy) == (r"must be c\x1b[2J", r"Not d\n.")


def test_nearest_ignores_case_and_gives_up_on_strangers():
    assert nearest("NIHS", ["age", "nihss"]) == "nihss"
    assert nearest("zzz", ["age", "nihss"]) is None
    assert did_you_mean("Aeg", ["age", "nihss"]) == "Did you mean age? "
    assert did_you_mean("zzz", ["age"]) == ""


def test_cohort_error_prints_every_problem_and_survives_a_worker():
    error = pickle.loads(pickle.dumps(CohortError([NIHSS, NIHSS])))
    assert error.problems == (NIHSS, NIHSS)
    assert str(error) == f"{NIHSS.text}\n{NIHSS.text}"
