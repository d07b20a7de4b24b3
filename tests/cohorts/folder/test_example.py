import pytest

from cohorts.folder.example import EXAMPLE_FILES, write_example
from cohorts.folder.study import StudyConfig
from flows.sources.registry import read_cohort


def test_example_lacks_only_the_masks(tmp_path):
    write_example(tmp_path / "cohort")
    cohort = read_cohort(tmp_path / "cohort")
    assert [(problem.reason, problem.participant_id, problem.is_warning) for problem in cohort.problems] == [
        ("file_missing", "sub-001", False),
        ("file_missing", "sub-002", False),
        ("file_missing", "sub-003", False),
        ("top_coded_values", None, True),
    ]
    assert cohort.problems[0].text == (
        "scans.tsv, row 2, column path: value lesions/sub-001_space-MNI152NLin2009aSym_label-lesion_mask.nii.gz "
        "must be a file in the cohort folder. Check the spelling, upper and lower case included, or add the file."
    )
    assert cohort.participants["nihss"].tolist() == [14, 5, 19]


def test_example_shows_every_section_of_a_study(tmp_path):
    write_example(tmp_path)
    shown = read_cohort(tmp_path).config.model_fields_set
    told = {
        "drawn_regions",
        "table",
        "analysis",
    }  # they need a source on a scan, somebody's table, and a study's questions
    assert shown == set(StudyConfig.model_fields) - told
    text = (tmp_path / "cohort.toml").read_text("utf-8")
    assert all(f"# [[{name}" in text for name in told)


def test_example_is_complete_with_its_masks(tmp_path):
    write_example(tmp_path)
    for participant in ("001", "002", "003"):
        name = f"sub-{participant}_space-MNI152NLin2009aSym_label-lesion_mask.nii.gz"
        (tmp_path / "lesions" / name).write_bytes(b"not opened here")
    cohort = read_cohort(tmp_path)
    assert [problem.reason for problem in cohort.problems] == ["top_coded_values"]
    assert [scan.participant_id for scan in cohort.scans] == ["sub-001", "sub-002", "sub-003"]
    assert [(reading.source, reading.side, reading.score, reading.low) for reading in cohort.readings] == [
        ("reader:A", "left", 6, None),
        ("reader:A", "right", 10, None),
        ("reader:A", None, 9, None),
        ("reader:A", None, None, True),
    ]


def test_example_overwrites_nothing(tmp_path):
    (tmp_path / "scans.tsv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"must not hold scans\.tsv"):
        write_example(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scans.tsv"]
    assert len(EXAMPLE_FILES) == 6
