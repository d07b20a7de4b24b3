import os

import pytest

from cohorts.folder.manifest import CohortError
from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, found, write_small_cohort


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        (
            b"participant_id,modality,path\nsub-9,lesion,a.nii\n",
            "not_tab_separated",
            "scans.tsv, row 1: must be separated by tabs, got commas. Save it again as tab-separated text (.tsv), or "
            "bring it in by 'aspects import-table'.",
        ),
        (
            b"Participant-ID\tmodality\tpath\nsub-9\tlesion\ta.nii\n",
            "missing_column",
            "scans.tsv, row 1: must have the column participant_id, got Participant-ID, modality, path. "
            "Is it misspelt as Participant-ID? Put the column names in row 1.",
        ),
        (b"\n \n", "file_empty", "scans.tsv: must not be empty. Restore its content from your data export."),
        (
            "participant_id\tmodality\tpath\n".encode("utf-16"),
            "not_utf8",
            "scans.tsv: must be UTF-8 text, got UTF-16. Save it again as UTF-8 text.",
        ),
        (
            b"participant_id\tmodality\tpath\nsub-9\tl\xe4sion\ta.nii\n",
            "not_utf8",
            "scans.tsv: must be UTF-8 text, got byte 0xe4 in row 2. Save it again as UTF-8 text.",
        ),
        (
            b"participant_id\tmodality\tpath\tpath\nsub-9\tlesion\ta.nii\tb.nii\n",
            "duplicate_column",
            "scans.tsv, row 1, column path: must occur once, got 2 times. Rename or delete one of them.",
        ),
    ],
)
def test_a_file_of_another_form_is_one_problem_of_the_study(folder, content, reason, text):
    (folder / "scans.tsv").write_bytes(content)
    assert found(read_cohort(folder)) == [(None, reason, text)]


def test_a_missing_column_is_named_with_what_it_may_be_misspelt_as(folder):
    change(folder, "scans.tsv", "modality", "modalty")
    texts = [problem.text for problem in read_cohort(folder).study_problems]
    assert texts == [
        "scans.tsv, row 1, column modality: must be there. Is it misspelt as modalty? Add the column.",
        "scans.tsv, row 1, column modalty: must be one of participant_id, modality, path, space. "
        "Did you mean modality? Rename or delete the column.",
    ]


def test_a_declared_clinical_column_that_is_absent_stops_the_study(folder):
    change(folder, "participants.tsv", "nihss", "nihs")
    cohort = read_cohort(folder)
    assert [(problem.is_warning, problem.text) for problem in cohort.problems] == [
        (False, "participants.tsv, row 1, column nihss: must be there. Is it misspelt as nihs? Add the column."),
        (
            True,
            "participants.tsv, row 1, column nihs: must be declared to be used; it is not read. Did you mean nihss? "
            "Declare it in cohort.toml, or leave it.",
        ),
    ]
    assert cohort.participants["nihss"].isna().all()


def test_a_row_with_cells_missing_is_not_read(folder):
    change(folder, "participants.tsv", "sub-2 s n/a", "sub-2 s")
    cohort = read_cohort(folder)
    assert found(cohort) == [
        (
            "sub-2",
            "wrong_number_of_cells",
            "participants.tsv, row 4: must have 11 cells like the header, got 10. Look for a missing or surplus tab; "
            "write n/a for a missing value.",
        )
    ]
    assert cohort.participants.iloc[0].drop("participant_id").isna().all()


def test_a_row_without_participant_stops_the_study(folder):
    change(folder, "participants.tsv", "sub-2 s", "n/a s")
    reasons = [(problem.reason, problem.row) for problem in read_cohort(folder).study_problems]
    assert reasons == [("missing_participant_id", 4)]


def test_a_column_without_a_name_is_a_warning(folder):
    text = (folder / "scans.tsv").read_text().replace("\n", "\t\n")
    (folder / "scans.tsv").write_text(text)
    (problem,) = read_cohort(folder).problems
    assert (problem.reason, problem.column, problem.is_warning) == ("unnamed_column", "5", True)


def _as_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["cohort.toml", "participants.tsv", "scans.tsv", "readings.tsv", "participants.json"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (_as_pipe, "not_a_file"),
        (lambda path: path.symlink_to("/dev/zero"), "not_a_file"),
        (lambda path: path.symlink_to("/dev/null"), "not_a_file"),
        (lambda path: path.mkdir(), "path_is_folder"),
        (lambda path: os.truncate(path.touch() or path, 10**12), "file_too_large"),
    ],
    ids=["pipe", "endless device", "empty device", "folder", "a terabyte"],
)
def test_what_is_no_table_is_never_waited_for(folder, name, place, reason):
    (folder / name).unlink(missing_ok=True)
    place(folder / name)
    try:
        problems = read_cohort(folder).study_problems
    except CohortError as error:  # without cohort.toml nothing else is read
        problems = error.problems
    assert [(problem.file, problem.reason) for problem in problems if problem.file == name] == [(name, reason)]
