import os
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohorts.folder.manifest import Cohort, CohortError, Reading, Scan, natural_key
from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, found, write_small_cohort


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


def test_a_good_cohort_is_typed_sorted_and_free_of_problems(folder):
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    assert cohort.refused_scans == ()
    table = cohort.participants
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        "participant_id": "string",
        "site": "string",
        "split": "string",
        "nihss": "Int64",
        "mrs": "Int64",
        "bmi": "Float64",
        "affected": "string",
        "smoker": "boolean",
        "age": "Int64",
        "onset": "string",
        "scan": "string",
        "note": "string",
    }
    values = table.astype(object).where(table.notna(), None).to_numpy().tolist()
    assert values == [
        ["sub-2", "s", None, None, None, 31.0, "left", True, 55, None, None, None],
        ["sub-9", "n", None, 18, 6, None, "right", False, 71, "2024-05-31T10:30", "2024-05-31", "a-b"],
        ["sub-10", "n", None, 4, 0, 25.5, "left", True, 60, "2024-05-30", "2024-05-31", None],
    ]
    assert cohort.scans == (
        Scan("sub-2", "lesion", "MNI152", "lesions/2.nii"),
        Scan("sub-9", "lesion", None, "lesions/9.nii.gz"),
        Scan("sub-10", "lesion", "MNI152", "lesions/10.nii.gz"),
    )
    flags = dict.fromkeys(
        [("left", region) for region in ("lentiform", "internal_capsule", "insula", "m1", "m3", "m4", "m5", "m6")],
        False,
    )
    flags |= {("left", "caudate"): True, ("left", "m2"): True}
    assert cohort.readings == (
        Reading("sub-9", "B", None, True, None, {}, None, True),
        Reading("sub-10", "A", "1", False, "left", flags, 8, None),
        Reading("sub-10", "B", None, True, None, {}, 7, None),
    )
    assert [reading.source for reading in cohort.readings] == ["reader:B", "reader:A:1", "reader:B"]


def test_byte_order_mark_crlf_and_blank_lines_are_tolerated(folder):
    expected = read_cohort(folder)
    for name in ("participants.tsv", "scans.tsv", "readings.tsv", "cohort.toml"):
        text = (folder / name).read_text().replace("\n", "\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n")
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    pd.testing.assert_frame_equal(cohort.participants, expected.participants)
    assert (cohort.scans, cohort.readings) == (expected.scans, expected.readings)


def test_rows_are_numbered_as_an_editor_shows_them_past_blank_lines(folder):
    text = (folder / "participants.tsv").read_text().split("\n")
    (folder / "participants.tsv").write_text("\n".join([text[0], "", *text[1:]]).replace("18.0", "60"))
    assert [problem.row for problem in read_cohort(folder).problems] == [4]


def test_natural_order():
    ids = ["sub-10", "sub-9", "sub-a2", "sub-a10", "sub-01", "sub-1", "sub-" + "9" * 5000]
    expected = ["sub-01", "sub-1", "sub-9", "sub-10", "sub-" + "9" * 5000, "sub-a2", "sub-a10"]
    assert sorted(ids, key=natural_key) == expected
    assert sorted(expected[3:] + expected[:3], key=natural_key) == expected


def test_a_scan_without_participant_can_still_be_used(folder):
    (folder / "lesions" / "3.nii.gz").write_bytes(b"x")
    with (folder / "scans.tsv").open("a") as stream:
        stream.write("sub-3\tlesion\tn/a\tlesions/3.nii.gz\n")
    cohort = read_cohort(folder)
    assert found(cohort) == [
        (
            "sub-3",
            "scan_without_participant",
            "scans.tsv, row 5, column participant_id: value sub-3 must be listed in participants.tsv. Add the "
            "participant there, or delete the scan.",
        )
    ]
    assert "sub-3" in [scan.participant_id for scan in cohort.scans]
    assert "sub-3" not in cohort.participants["participant_id"].tolist()


def test_a_reading_without_participant(folder):
    change(folder, "readings.tsv", "sub-9 B n/a", "sub-8 B n/a")
    (problem,) = read_cohort(folder).problems
    assert (problem.participant_id, problem.reason, problem.row) == ("sub-8", "reading_without_participant", 4)


def test_a_participant_without_scan_and_reading(folder):
    change(folder, "scans.tsv", "sub-2 lesion MNI152 lesions/2.nii", "")
    assert found(read_cohort(folder)) == [
        (
            "sub-2",
            "participant_without_scan",
            "participants.tsv, row 4, column participant_id: value sub-2 must have a row in scans.tsv or readings.tsv. "
            "Add the scan or reading, or delete the participant.",
        )
    ]


def test_a_reading_alone_is_enough(folder):
    change(folder, "scans.tsv", "sub-9 lesion n/a lesions//9.nii.gz", "")
    assert read_cohort(folder).problems == ()


def test_nobody_is_missed_because_of_a_table_that_cannot_be_read(folder):
    (folder / "scans.tsv").unlink()
    assert [problem.text for problem in read_cohort(folder).problems] == [
        "scans.tsv: must exist. Add the file; 'aspects init' writes an example of it."
    ]


def test_readings_without_a_source_are_only_warned_of(folder):
    change(folder, "cohort.toml", '[[source]]\nkind = "readings"\n', "")
    cohort = read_cohort(folder)
    assert [problem.text for problem in cohort.problems] == [
        "readings.tsv: must be declared to be used; it is not read. "
        'Add a [[source]] with kind = "readings" to cohort.toml, or leave it.'
    ]
    assert cohort.problems[0].is_warning
    assert cohort.readings == ()


def test_agreement_must_name_sources_that_exist(folder):
    text = (folder / "cohort.toml").read_text()
    (folder / "cohort.toml").write_text(text + '[[agreement]]\nreference = "reader:a:1"\ncandidate = "lesion"\n')
    assert [problem.text for problem in read_cohort(folder).study_problems] == [
        "cohort.toml, key agreement[1].reference: value reader:a:1 must be a source (lesion, reader:A:1, reader:B). "
        "Did you mean reader:A:1? Correct it."
    ]


def test_everything_is_named_at_once_study_first_warnings_last(folder):
    change(folder, "participants.tsv", "9 n 18.0", "9 n 60")
    change(folder, "participants.tsv", "age", "agee")
    change(folder, "scans.tsv", "lesions/2.nii", "../2.nii")
    change(folder, "readings.tsv", "left 8", "left 9")
    cohort = read_cohort(folder)
    assert [(problem.participant_id, problem.reason) for problem in cohort.problems] == [
        (None, "missing_column"),
        ("sub-2", "path_escapes_cohort"),
        ("sub-9", "value_out_of_range"),
        ("sub-10", "score_contradicts_flags"),
        (None, "unknown_column"),
    ]
    assert len(cohort.study_problems) == 1
    assert len(cohort.participant_problems) == 3


# --- whatever is in the files -----------------------------------------------------------------------------------------

FILES = ("participants.tsv", "scans.tsv", "readings.tsv", "participants.json", "cohort.toml")
PIECES = st.sampled_from(
    [
        *(b"\t", b"\n", b"\r", b"\\", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xd9\xa3", b"\x1b[31m"),
        *(b",", b'"', b"=", b"[[", b"{", b"/", b"../..", b"lesions", b"sub-", b"<script>"),
        *(b"n/a", b"nan", b"1e99", b"9" * 5000),
    ]
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(FILES),
        st.integers(0, 120) | st.integers(0, 10_000),
        st.integers(0, 40),
        st.lists(PIECES | st.binary(max_size=4), max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_mangled_files_never_raise_anything_but_cohort_error(tmp_path_factory, edits):
    folder = write_small_cohort(tmp_path_factory.mktemp("mangled"))
    (folder / "participants.json").write_text('{"nihss": {"Description": "scale", "Units": "points"}}')
    for name, start, length, pieces in edits:
        content = (folder / name).read_bytes()
        start %= len(content) + 1
        (folder / name).write_bytes(content[:start] + b"".join(pieces) + content[start + length :])
    try:
        cohort = read_cohort(folder)
    except CohortError as error:
        problems = error.problems
        assert problems
    else:
        assert isinstance(cohort, Cohort)
        problems = cohort.problems
        assert cohort.participants["participant_id"].is_unique
        assert all((folder / scan.path).resolve().is_relative_to(folder.resolve()) for scan in cohort.scans)
        assert all("/" not in scan.participant_id for scan in cohort.scans)
    assert all("\n" not in problem.text and problem.text.isprintable() for problem in problems)


def test_ten_thousand_participants_are_read_in_seconds(tmp_path):
    folder = write_small_cohort(tmp_path)
    participants, scans = ((folder / f"{name}.tsv").read_text().split("\n")[:2] for name in ("participants", "scans"))
    for number in range(10_000):
        os.link(folder / "lesions" / "2.nii", folder / "lesions" / f"sub-{number}.nii")
    row = participants[1].removeprefix("sub-10")
    rows = [f"sub-{number}{row}" for number in range(10_000)]
    (folder / "participants.tsv").write_text("\n".join([participants[0], *rows]))
    rows = [f"sub-{number}\tlesion\tn/a\tlesions/sub-{number}.nii" for number in range(10_000)]
    (folder / "scans.tsv").write_text("\n".join([scans[0], *rows]))
    start = time.process_time()
    cohort = read_cohort(folder)
    assert time.process_time() - start < 3  # measured 0.6 s; wide, because machines differ
    assert (len(cohort.participants), len(cohort.scans), cohort.problems) == (10_000, 10_000, ())
