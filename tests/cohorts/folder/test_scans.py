import os

import pytest

from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, found, write_small_cohort


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.nii.gz").write_bytes(b"x")
    return write_small_cohort(tmp_path / "cohort")


def only_problem(folder, path):
    """Give sub-10 another path; return its problem and what became of the scan."""
    change(folder, "scans.tsv", "lesions/10.nii.gz", path)
    cohort = read_cohort(folder)
    (problem,) = cohort.problems
    assert problem.participant_id == "sub-10"
    assert (problem.file, problem.row, problem.column) == ("scans.tsv", 2, "path")
    assert "sub-10" not in [scan.participant_id for scan in cohort.scans]
    assert [(scan.participant_id, scan.path, scan.reason) for scan in cohort.refused_scans] == [
        ("sub-10", path, problem.reason)
    ]
    return problem


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.nii",
        "../outside/secret.nii.gz",
        "lesions/../../outside/secret.nii.gz",
        "C:/secret.nii.gz",
        "C:\\secret.nii.gz",
        "\\\\server\\secret.nii.gz",
        "file-link.nii.gz",
        "folder-link/secret.nii.gz",
        "lesions/chain/secret.nii.gz",
    ],
)
def test_a_path_that_leaves_the_cohort_folder_is_never_used(folder, path):
    outside = folder.parent / "outside"
    (folder / "file-link.nii.gz").symlink_to(outside / "secret.nii.gz")
    (folder / "folder-link").symlink_to(outside)
    (folder / "lesions" / "chain").symlink_to(folder / "folder-link")
    problem = only_problem(folder, path)
    assert problem.reason == "path_escapes_cohort"
    assert problem.text == (
        f"scans.tsv, row 2, column path: value {path} must stay inside the cohort folder. "
        "Copy the file into the folder and write its path relative to it."
    )


def test_links_inside_the_cohort_folder_are_followed(folder):
    (folder / "store").mkdir()
    (folder / "lesions" / "10.nii.gz").rename(folder / "store" / "x.nii.gz")
    (folder / "lesions" / "10.nii.gz").symlink_to(folder / "store" / "x.nii.gz")
    (folder.parent / "alias").symlink_to(folder)
    assert read_cohort(folder).problems == ()
    assert read_cohort(folder.parent / "alias").problems == ()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("lesions/none.nii.gz", "file_missing"),
        ("lesions/10.NII.GZ", "file_missing"),
        ("lesions/10.nii.gz/x.nii.gz", "file_missing"),
        ("broken.nii.gz", "file_missing"),
        ("empty.nii.gz", "file_empty"),
        ("folder.nii.gz", "path_is_folder"),
        ("pipe.nii.gz", "not_a_file"),
        ("loop.nii.gz", "file_unreadable"),
        ("x" * 300 + ".nii", "file_unreadable"),
        ("a\0b.nii", "file_unreadable"),
        ("lesions/10.dcm", "not_nifti"),
        (".", "not_nifti"),
        ("lesions\\10.nii.gz", "path_with_backslash"),
    ],
)
def test_a_file_that_cannot_be_an_image(folder, path, reason):
    (folder / "empty.nii.gz").touch()
    (folder / "folder.nii.gz").mkdir()
    os.mkfifo(folder / "pipe.nii.gz")
    (folder / "broken.nii.gz").symlink_to("nowhere.nii.gz")
    (folder / "loop.nii.gz").symlink_to("loop.nii.gz")
    assert only_problem(folder, path).reason == reason


def test_a_path_that_is_not_given(folder):
    change(folder, "scans.tsv", "lesions/10.nii.gz", "n/a")
    cohort = read_cohort(folder)
    assert found(cohort) == [
        ("sub-10", "missing_path", "scans.tsv, row 2, column path: must be given. Write it in the row.")
    ]
    assert [scan.path for scan in cohort.refused_scans] == [""]


def test_a_file_of_two_participants_belongs_to_neither(folder):
    change(folder, "scans.tsv", "lesions//9.nii.gz", "./lesions/10.nii.gz")
    cohort = read_cohort(folder)
    assert [(problem.participant_id, problem.reason) for problem in cohort.problems] == [
        ("sub-9", "same_file_twice"),
        ("sub-10", "same_file_twice"),
    ]
    assert cohort.problems[1].text == (
        "scans.tsv, row 2, column path: value lesions/10.nii.gz must belong to one participant, and is also the file "
        "of sub-9. Give each participant the right file."
    )
    assert [scan.participant_id for scan in cohort.scans] == ["sub-2"]


def test_hard_linked_files_are_different_files(folder):
    (folder / "lesions" / "9.nii.gz").unlink()
    (folder / "lesions" / "9.nii.gz").hardlink_to(folder / "lesions" / "10.nii.gz")
    assert read_cohort(folder).problems == ()


@pytest.mark.parametrize(
    ("path", "how", "is_used"),
    [
        ("lesions/10.nii.gz", "the same scan; it is read once", True),
        ("lesions/new.nii.gz", "another file or space", False),
    ],
)
def test_a_scan_that_is_listed_twice(folder, path, how, is_used):
    with (folder / "scans.tsv").open("a") as stream:
        stream.write(f"10\tlesion\tMNI152\t{path}\n")
    cohort = read_cohort(folder)
    (problem,) = cohort.problems
    assert (problem.participant_id, problem.reason, problem.row) == ("sub-10", "duplicate_scan", 5)
    assert problem.is_warning == is_used
    assert f"must occur once per participant, and is also in row 2 ({how})" in problem.text
    assert ("sub-10" in [scan.participant_id for scan in cohort.scans]) == is_used


def test_a_dangerous_pseudonym_is_data_and_never_a_path(folder):
    change(folder, "participants.tsv", "sub-10 n", "<script>alert(1)</script> n")
    change(folder, "scans.tsv", "sub-10 lesion", "<script>alert(1)</script> lesion")
    change(folder, "readings.tsv", "sub-10 A", "sub-9 A")
    change(folder, "readings.tsv", "sub-10 B", "sub-2 B")
    cohort = read_cohort(folder)
    assert {(problem.participant_id, problem.reason) for problem in cohort.problems} == {
        ("sub-<script>alert(1)</script>", "invalid_participant_id")
    }
    assert "sub-<script>alert(1)</script>" in cohort.participants["participant_id"].tolist()
    assert [scan.reason for scan in cohort.refused_scans] == ["invalid_participant_id"]


@pytest.mark.parametrize("label", ["..", ".", "a/b", "a\\b", "a b", "é", "-a", "_a", "x" * 65, "sub-1\x1b[2J"])
def test_pseudonyms_that_could_not_name_a_folder(folder, label):
    text = (folder / "participants.tsv").read_text().replace("sub-10\t", f"sub-{label}\t")
    (folder / "participants.tsv").write_text(text)
    reasons = [p.reason for p in read_cohort(folder).problems if p.participant_id == f"sub-{label}"]
    assert reasons == ["invalid_participant_id", "participant_without_scan"]


def test_a_source_whose_modality_has_no_scan_stops_the_study(folder):
    change(folder, "cohort.toml", 'kind = "mask"', 'kind = "mask"\nmodality = "lesions"')
    assert [problem.text for problem in read_cohort(folder).study_problems] == [
        "cohort.toml, key source lesion: modality: value lesions must be a modality of scans.tsv (lesion). "
        "Did you mean lesion? Correct it, or add the scans."
    ]
