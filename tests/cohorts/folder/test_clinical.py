import pandas as pd
import pytest

from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, found, write_small_cohort


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


CHART = "Check the chart and correct it, or write n/a."
CORRECT = "Correct it, or write n/a."
NOT_WHOLE = f"must be a whole number. {CORRECT[:-1]} if it is missing."
DATE = f"must be a date such as 2024-05-31 or 2024-05-31T14:05. {CORRECT}"
TOP = 'must be a number. Declare top_code = "40+" for the column in cohort.toml, or correct it.'
ORDER = "must not be before onset (2024-06-01). Check both dates; write n/a for one that is not known."  # found on scan
VALUES = [
    ("nihss", "18.0", "60", "value_out_of_range", f"must be <= 42 points. {CHART}"),
    ("nihss", "18.0", "-1", "value_out_of_range", f"must be >= 0 points. {CHART}"),
    ("nihss", "18.0", "4.5", "not_a_whole_number", NOT_WHOLE),
    ("nihss", "18.0", "NA", "not_a_whole_number", NOT_WHOLE),
    ("nihss", "18.0", "\u0663", "not_a_whole_number", NOT_WHOLE),  # a digit, but not one that we write
    ("mrs", "6.0", "7", "unknown_level", f"must be one of 0, 6. {CORRECT}"),
    ("bmi", "31", "9.9", "value_out_of_range", f"must be >= 10. {CHART}"),
    ("bmi", "31", "31,5", "not_a_number", "must be a number. Write the decimal point as a point."),
    ("bmi", "31", "inf", "not_a_number", f"must be a number. {CORRECT[:-1]} if it is missing."),
    ("bmi", "31", "40+", "not_a_number", TOP),
    ("affected", "right", "Rigth", "unknown_level", f"must be one of left, right. Did you mean right? {CORRECT}"),
    ("smoker", "0.0", "2", "not_a_boolean", f"must be 1 or 0 (or true, false, yes, no). {CORRECT}"),
    ("onset", "2024-05-30", "30.05.2024", "not_a_date", DATE),
    ("onset", "2024-05-30", "2024-02-30", "not_a_date", DATE),
    ("onset", "2024-05-30", "2024-06-01", "dates_out_of_order", ORDER),
]
OWNERS = {"2024-05-30": (2, "sub-10"), "31": (4, "sub-2")}  # any other value stands in row 3


@pytest.mark.parametrize(("column", "old", "new", "reason", "rule"), VALUES)
def test_a_value_that_cannot_be_used_is_missing_and_excludes_its_participant(folder, column, old, new, reason, rule):
    good = read_cohort(folder).participants
    change(folder, "participants.tsv", f" {old} ", f" {new} ")
    cohort = read_cohort(folder)
    row, owner = OWNERS.get(old, (3, "sub-9"))
    shown, blank = (f"{column}: value {new}", [column])
    if reason == "dates_out_of_order":
        shown, blank = "scan: value 2024-05-31", ["onset", "scan"]  # either may be wrong
    assert found(cohort) == [(owner, reason, f"participants.tsv, row {row}, column {shown} {rule}")]
    good.loc[good["participant_id"] == owner, blank] = pd.NA
    pd.testing.assert_frame_equal(cohort.participants, good)


def test_top_code_is_read_as_its_number_with_one_warning(folder):
    change(folder, "participants.tsv", "1 60 2024", "1 89+ 2024")
    change(folder, "participants.tsv", "yes 55", "yes 89+")
    cohort = read_cohort(folder)
    assert cohort.participants["age"].tolist() == [89, 71, 89]
    (warning,) = cohort.problems
    assert (warning.participant_id, warning.is_warning, warning.reason) == (None, True, "top_coded_values")
    assert warning.text.startswith("participants.tsv, column age: value 89+ is top-coded in 2 rows and read as 89.")


def test_a_date_is_compared_by_the_day_where_the_other_has_no_time(folder):
    change(folder, "participants.tsv", "2024-05-31T10:30 2024-05-31", "2024-05-31T10:30 2024-05-31T10:29")
    (problem,) = read_cohort(folder).problems
    assert (problem.participant_id, problem.reason) == ("sub-9", "dates_out_of_order")


def test_empty_cells_are_missing_with_one_warning_per_column(folder):
    change(folder, "participants.tsv", "yes 55", "yes ")
    change(folder, "participants.tsv", "1 60 2024", "1 N/A 2024")
    cohort = read_cohort(folder)
    assert cohort.participants["age"].isna().tolist() == [True, False, True]
    assert [problem.text for problem in cohort.warnings] == [
        "participants.tsv, row 2, column age: must be n/a where missing; 2 cells are empty or N/A and read as n/a. "
        "Write n/a."
    ]
    assert cohort.warnings == cohort.problems


def test_a_participant_of_whom_nothing_is_known(folder):
    change(folder, "participants.tsv", "n/a n/a 31 left yes 55", "n/a n/a n/a n/a n/a n/a")
    assert found(read_cohort(folder)) == [
        (
            "sub-2",
            "all_values_missing",
            "participants.tsv, row 4, column participant_id: value sub-2 must have at least one clinical value. "
            "Fill in the row from the chart; without it only the images are known.",
        )
    ]


def test_several_problems_of_one_participant_are_all_named(folder):
    change(folder, "participants.tsv", "sub-10 n 4 0 25.5 left 1", "sub-10 n 60 3 5 top 4")
    columns = {problem.column for problem in read_cohort(folder).participant_problems}
    assert columns == {"nihss", "mrs", "bmi", "affected", "smoker"}


def test_the_same_row_twice(folder):
    with (folder / "participants.tsv").open("a") as stream:
        stream.write("2\ts\tn/a\tn/a\t31\tleft\tyes\t55\tn/a\tn/a\tn/a\n")
    cohort = read_cohort(folder)
    assert found(cohort) == [
        (
            "sub-2",
            "duplicate_participant",
            "participants.tsv, row 5, column participant_id: value sub-2 must be listed once, and is also in row 4 "
            "with the same values. Delete one of the two rows.",
        )
    ]
    assert cohort.participants["participant_id"].tolist() == ["sub-2", "sub-9", "sub-10"]
    assert cohort.participants["age"].tolist() == [55, 71, 60]


def test_two_rows_that_contradict_each_other_keep_what_they_agree_on(folder):
    with (folder / "participants.tsv").open("a") as stream:
        stream.write("sub-2\ts\t12\tn/a\t33\tleft\tyes\t55\tn/a\tn/a\tn/a\n")
    cohort = read_cohort(folder)
    (problem,) = cohort.problems
    assert (problem.participant_id, problem.reason) == ("sub-2", "conflicting_participant")
    assert "row 4 with other values in nihss, bmi. Keep the row that is right." in problem.text
    row = cohort.participants.iloc[0]
    assert (row["age"], row["affected"]) == (55, "left")
    assert row[["nihss", "bmi"]].isna().all()


def test_no_participants_at_all_stops_the_study(folder):
    header = (folder / "participants.tsv").read_text().split("\n")[0]
    (folder / "participants.tsv").write_text(header + "\n")
    cohort = read_cohort(folder)
    assert [problem.text for problem in cohort.study_problems] == [
        "participants.tsv: must list at least one participant. Add a row for each participant."
    ]
    assert len(cohort.participants) == 0
