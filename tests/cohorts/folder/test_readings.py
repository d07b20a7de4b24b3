import pytest

from cohorts.folder.readings import HEADER
from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import change, found, write_small_cohort


@pytest.fixture
def folder(tmp_path):
    return write_small_cohort(tmp_path)


CELLS = [
    ("sub-10 A 1", "sub-10 Dr.Who? 1", "reader", "Dr.Who?", "invalid_reader"),
    ("sub-10 A 1", "sub-10 n/a 1", "reader", None, "missing_reader"),
    ("sub-10 A 1", "sub-10 A a:b", "session", "a:b", "invalid_session"),
    ("1 0 left", "1 maybe left", "template_assisted", "maybe", "invalid_template_assisted"),
    ("left 8", "L 8", "side", "L", "unknown_side"),
    ("left 8", "n/a 8", "side", None, "missing_side"),
    ("left 8", "left 11", "score", "11", "invalid_score"),
    ("left 8", "left 7.5", "score", "7.5", "invalid_score"),
    ("left 8", "left -1", "score", "-1", "invalid_score"),
    ("left 8", "left 7", "score", "7", "score_contradicts_flags"),
    ("8 n/a 1 0", "8 2 1 0", "low", "2", "invalid_low"),
    ("8 n/a 1 0", "8 n/a x 0", "caudate", "x", "invalid_flag"),
    ("8 n/a 1 0", "8 n/a 1 n/a", "lentiform", None, "incomplete_flags"),
]


@pytest.mark.parametrize(("old", "new", "column", "value", "reason"), CELLS)
def test_a_reading_that_cannot_be_used_excludes_its_participant(folder, old, new, column, value, reason):
    change(folder, "readings.tsv", old, new)
    cohort = read_cohort(folder)
    assert [(p.participant_id, p.row, p.column, p.value, p.reason) for p in cohort.problems] == [
        ("sub-10", 2, column, value, reason)
    ]
    assert [reading.source for reading in cohort.readings] == ["reader:B", "reader:B"]


def test_texts_say_what_to_do(folder):
    change(folder, "readings.tsv", "left 8", "L 12")
    assert [text for _, _, text in found(read_cohort(folder))] == [
        "readings.tsv, row 2, column score: value 12 must be a whole number from 0 to 10. Correct it, or write n/a.",
        "readings.tsv, row 2, column side: value L must be left or right. Did you mean left? "
        "Write n/a for a score of the whole participant.",
    ]
    change(folder, "readings.tsv", "L 12", "left 9")
    assert [text for _, _, text in found(read_cohort(folder))] == [
        "readings.tsv, row 2, column score: value 9 must be 10 minus the regions flagged in the row, 8. "
        "Correct the score or the flags."
    ]


def test_a_score_may_follow_from_the_flags_alone(folder):
    change(folder, "readings.tsv", "left 8", "left n/a")
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    (reading,) = (reading for reading in cohort.readings if reading.reader == "A")
    assert reading.score is None  # as given; who needs it counts the flags
    assert sum(reading.flags.values()) == 2


def append(folder, row):
    with (folder / "readings.tsv").open("a") as stream:
        stream.write(row.replace(" ", "\t") + "\n")


@pytest.mark.parametrize(
    ("row", "reason", "n_kept"),
    [
        ("sub-9 B n/a 1 n/a n/a 1" + " n/a" * 10, "duplicate_reading", 3),
        ("sub-9 B n/a 1 n/a n/a 0" + " n/a" * 10, "conflicting_reading", 2),
        ("sub-9 B n/a 1 left 9 n/a" + " n/a" * 10, "conflicting_reading", 2),
    ],
)
def test_a_participant_read_twice_in_one_session(folder, row, reason, n_kept):
    append(folder, row)
    cohort = read_cohort(folder)
    assert [(problem.participant_id, problem.row, problem.reason) for problem in cohort.problems] == [
        ("sub-9", 5, reason)
    ]
    assert len(cohort.readings) == n_kept


def test_both_sides_and_another_session_are_readings_of_their_own(folder):
    append(folder, "sub-10 A 1 0 right 10 n/a" + " 0" * 10)
    append(folder, "sub-10 A 2 0 left 9 n/a 1" + " 0" * 9)
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    assert [(r.source, r.side, r.score) for r in cohort.readings if r.reader == "A"] == [
        ("reader:A:1", "left", 8),
        ("reader:A:1", "right", 10),
        ("reader:A:2", "left", 9),
    ]


def test_template_assisted_readings_are_not_pooled_with_others(folder):
    change(folder, "readings.tsv", "sub-9 B n/a 1", "sub-9 B n/a 0")
    assert [problem.text for problem in read_cohort(folder).study_problems] == [
        "readings.tsv, column template_assisted: value reader:B must be the same in all readings of one reader and "
        "session. Give the template-assisted readings a session of their own, such as template."
    ]


def test_a_row_that_says_nothing_is_left_out_with_a_warning(folder):
    append(folder, "sub-9 C n/a n/a n/a n/a n/a" + " n/a" * 10)
    cohort = read_cohort(folder)
    assert [(problem.reason, problem.row, problem.is_warning) for problem in cohort.problems] == [
        ("empty_reading", 5, True)
    ]
    assert len(cohort.readings) == 3


ANSWERS = "participant_id\treader\tside\tscore\tnot_readable\tconfidence\ttime_s\n"


def _answered(folder, *rows):
    (folder / "readings.tsv").write_text(ANSWERS + "".join("\t".join(row.split()) + "\n" for row in rows))
    return read_cohort(folder)


def test_what_readers_say_beside_the_regions_is_read(folder):
    cohort = _answered(folder, "sub-10 A left 8 0 4 41.5", "sub-10 B n/a n/a motion n/a 7")
    assert cohort.problems == () or {p.reason for p in cohort.problems} == {"participant_without_scan"}
    first, second = cohort.readings
    assert (first.score, first.not_readable, first.confidence, first.time_s) == (8, None, 4, 41.5)
    assert (second.score, second.not_readable, second.confidence, second.time_s) == (None, "motion", None, 7.0)


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("sub-10 A left 8 0 6 41.5", "confidence", "invalid_confidence"),
        ("sub-10 A left 8 0 4 -1", "time_s", "invalid_time_s"),
        ("sub-10 A left 8 0 4 1:30", "time_s", "invalid_time_s"),
        ("sub-10 A n/a n/a Motion! n/a n/a", "not_readable", "invalid_not_readable"),
        ("sub-10 A left 8 motion n/a n/a", "not_readable", "unreadable_but_read"),
        ("sub-10 A left n/a 1 n/a n/a", "not_readable", "unreadable_but_read"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named(folder, row, column, reason):
    found = [(p.column, p.reason) for p in _answered(folder, row).problems if p.file == "readings.tsv"]
    assert found == [(column, reason)]


def test_a_reading_written_as_cells_reads_the_same(folder):
    rows = "".join(
        "\t".join(cells) + "\n"
        for cells in (HEADER.known, *(reading.cells.values() for reading in read_cohort(folder).readings))
    )
    before = read_cohort(folder).readings
    (folder / "readings.tsv").write_text(rows)
    assert read_cohort(folder).readings == before
