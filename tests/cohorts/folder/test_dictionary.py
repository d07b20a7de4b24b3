import json

import pytest

from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import write_small_cohort

COLUMNS = ("participant_id", "site", "mrs", "bmi", "affected", "smoker", "age", "onset", "scan", "note")


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


def describe(folder, **entries):
    described = {name: {"Description": f"What {name} means"} for name in COLUMNS} | entries
    (folder / "participants.json").write_text(json.dumps(described))


def test_labels_and_units_that_the_study_leaves_open_are_filled_in(folder):
    describe(
        folder,
        nihss={"LongName": "NIHSS at admission", "Description": "Scale", "Units": "mm"},
        bmi={"Description": "Body mass index", "Units": "kg/m2"},
        age={"Description": "Age at the onset of symptoms in completed years"},
    )
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    columns = {item.column: (item.title, item.unit) for item in cohort.config.clinical}
    assert columns["nihss"] == ("NIHSS at admission", "points")  # the unit is the study's own
    assert columns["bmi"] == ("Body mass index", "kg/m2")
    assert columns["age"] == ("age", "")  # too long for a label


def test_unknown_and_missing_descriptions_are_warnings(folder):
    describe(folder, nihs={"Description": "Scale"}, bmi={"Units": "kg/m2"})
    assert [(problem.is_warning, problem.text) for problem in read_cohort(folder).problems] == [
        (True, "participants.json: must describe every column, got none for nihss, bmi. Add a Description to each."),
        (
            True,
            "participants.json, key nihs: must be a column of participants.tsv. Did you mean nihss? "
            "Rename or delete the entry.",
        ),
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            '{\n"age": }',
            "participants.json, row 2: must be valid JSON (Expecting value). "
            "Look for a missing comma, quote or bracket in this row or the one before.",
        ),
        ("[]", 'participants.json, row 1: must be one object in braces. Write { "column": { "Description": "..." } }.'),
        ("[" * 100_000, None),
    ],
)
def test_a_dictionary_that_cannot_be_read_stops_the_study(folder, content, text):
    (folder / "participants.json").write_text(content)
    (problem,) = read_cohort(folder).study_problems
    assert problem.reason == "invalid_json"
    assert text is None or problem.text == text
