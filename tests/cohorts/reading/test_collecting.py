"""Two readers read four participants; sub-4 is for training, sub-2 comes twice."""

import pytest

from cohorts.folder.problems import CohortError
from cohorts.folder.readings import HEADER, read_readings
from cohorts.folder.tsv import read_tsv
from cohorts.reading.collecting import Collected, ConsensusSettings, collect, progress, readings_of
from cohorts.reading.exported import CaseRecord, ReadingFile, Revision, put_together, read_reading_file
from cohorts.reading.readings_file import updated_readings
from cohorts.reading.round import RoundSettings, planned_round, read_round, write_round

SCANS = {f"sub-{number}": f"digest {number}" for number in (1, 2, 3, 4)}
SETTINGS = RoundSettings(
    session=None, scan="ncct", repeat_share=0.3, seed=1, training=["sub-4"], pictures="radiological"
)
PLAN = planned_round(SETTINGS, ["A", "B"], SCANS, {"sub-5": "no_scan_of_this_modality"})


def code(reader, participant, kind="case"):
    return next(
        one.code for one in PLAN.lists[reader] if (one.participant_id, one.kind) == (f"sub-{participant}", kind)
    )


def repeated():
    return next(one.participant_id for one in PLAN.lists["A"] if one.kind == "repeat").removeprefix("sub-")


def revision(affected=(), confidence=3, not_readable=None, time_s=30.0, at="2026-11-30T10:00:00.000Z"):
    return Revision(
        finished_at=at, time_s=time_s, affected=list(affected), confidence=confidence, not_readable=not_readable
    )


def case(name, *revisions, is_open=False):
    return CaseRecord(code=name, is_open=is_open, revisions=list(revisions))


def file(reader, *cases, plan=PLAN):
    return ReadingFile(
        format="aspects-reading",
        version=1,
        round_id=plan.round_id,
        reader=reader,
        exported_at="2026-11-30T11:00:00.000Z",
        cases=list(cases),
    )


def collected(*files, before=None, consensus=None):
    start = before or Collected(round_id=PLAN.round_id, consensus=consensus)
    now, problems = collect(PLAN, start, [(f"{one.reader}.json", one) for one in files])
    assert problems == []
    return now


def merge(folder, before, now):
    update, problems = updated_readings(folder, readings_of(PLAN, before)[0], readings_of(PLAN, now)[0])
    if update.text is not None:
        (folder / "readings.tsv").write_bytes(update.text.encode())
    return (update.n_added, update.n_changed, update.n_removed), [one.text for one in problems]


def rows(folder):
    table, problems = read_tsv(folder, "readings.tsv", HEADER)
    readings, found = read_readings(table)
    assert problems + found == []
    return [(one.participant_id, one.source, one.side, one.score, one.not_readable) for one in readings]


NOTHING = Collected(round_id=PLAN.round_id)


def test_the_key_is_read_as_it_was_written(tmp_path):
    write_round(tmp_path, PLAN)
    assert read_round(tmp_path) == PLAN
    lines = (tmp_path / "work_list.tsv").read_text().splitlines()
    assert len(lines) == 1 + 2 * (3 + 1 + 1)
    assert lines[1].split("\t") == ["A", "1", code("A", 4, "training"), "training", "sub-4"]
    assert (tmp_path / "left_out.tsv").read_text() == "participant_id\treason\nsub-5\tno_scan_of_this_modality\n"
    (tmp_path / "round.json").write_text("{}")
    with pytest.raises(ValueError, match="must be whole, got 5 faults"):
        read_round(tmp_path)


def test_sides_repeats_and_scans_that_could_not_be_read_become_rows_and_training_does_not(tmp_path):
    again = repeated()
    now = collected(
        file(
            "A",
            case(code("A", again), revision(["left_m1", "left_insula", "right_m6"], time_s=41.24)),
            case(code("A", again, "repeat"), revision(["left_m1"])),
            case(code("A", 4, "training"), revision()),
        ),
        file("B", case(code("B", again), revision(confidence=None, not_readable="motion"))),
    )
    assert merge(tmp_path, NOTHING, now) == ((3, 0, 0), [])
    name = f"sub-{again}"
    assert rows(tmp_path) == [
        (name, "reader:A", "left", 8, None),
        (name, "reader:A", "right", 9, None),
        (name, "reader:A:repeat", "left", 9, None),
        (name, "reader:A:repeat", "right", 10, None),
        (name, "reader:B", None, None, "motion"),
    ]
    line = (tmp_path / "readings.tsv").read_text().splitlines()[1].split("\t")
    assert line == [name, "A", "n/a", "0", "left", "8", "n/a", *"0001100000", "n/a", "3", "41.2"]
    assert merge(tmp_path, now, now) == ((0, 0, 0), [])  # again changes nothing


def test_a_later_file_adds_and_changes_and_an_earlier_one_given_again_does_not(tmp_path):
    first, second = revision(["left_m1"]), revision(["left_m2"])
    early = file("A", case(code("A", 1), first))
    late = file("A", case(code("A", 1), first, second), case(code("A", 3), first))
    one = collected(early)
    assert merge(tmp_path, NOTHING, one)[0] == (1, 0, 0)
    two = collected(late, before=one)
    assert merge(tmp_path, one, two)[0] == (1, 1, 0)
    assert collected(early, before=two) == collected(early, late, before=two) == two
    assert [line.split("\t")[12] for line in (tmp_path / "readings.tsv").read_text().splitlines()[1:3]] == ["1", "0"]
    assert len(rows(tmp_path)) == 4


def test_a_case_read_in_two_browsers_is_named():
    here, there = (file("A", case(code("A", 1), revision(affected))) for affected in ([], ["left_m1"]))
    _, problems = collect(PLAN, NOTHING, [("here.json", here), ("there.json", there)])
    assert [(one.file, one.value, one.reason) for one in problems] == [
        ("there.json", code("A", 1), "read_in_two_places")
    ]
    assert "Reader A read it in two browsers" in problems[0].text
    assert put_together(here.cases[0], there.cases[0]) is None


def test_rows_of_people_stay_and_other_values_are_never_replaced(tmp_path):
    now = collected(file("A", case(code("A", 1), revision(["left_m1"])), case(code("A", 3), revision())))
    own = "reader\tparticipant_id\tscore\r\nZ\t1\t7\r\n\r\nA\tsub-3\t4\r\n"
    (tmp_path / "readings.tsv").write_bytes(own.encode())
    counts, texts = merge(tmp_path, NOTHING, now)
    assert counts == (0, 0, 0)
    assert texts == [
        "readings.tsv, row 4, column reader: value A must be as it was collected, or not be there: another reading of "
        "this participant comes from the files. Take the row out, and it is collected again; or give it a session of "
        "its own."
    ]
    assert (tmp_path / "readings.tsv").read_bytes() == own.encode()
    (tmp_path / "readings.tsv").write_bytes(own.replace("A\tsub-3\t4\r\n", "").encode())
    assert merge(tmp_path, NOTHING, now) == ((2, 0, 0), [])
    text = (tmp_path / "readings.tsv").read_bytes().decode()
    assert text.split("\r\n")[1].startswith("Z\t1\t7\tn/a")
    assert text.count("\r\n") == text.count("\n") == 6
    assert [row[:4] for row in rows(tmp_path)][:2] == [
        ("sub-1", "reader:Z", None, 7),
        ("sub-1", "reader:A", "left", 9),
    ]


def test_a_damaged_table_is_left_alone(tmp_path):
    (tmp_path / "readings.tsv").write_text("participant_id\treader\tscore\nsub-1\tZ\t77\nsub-2\tZ\n")
    now = collected(file("A", case(code("A", 1), revision())))
    counts, texts = merge(tmp_path, NOTHING, now)
    assert counts == (0, 0, 0)
    assert [text.split(":")[0] for text in texts] == [
        "readings.tsv, row 3",
        "readings.tsv, row 2, column score",
    ]


def test_consensus_of_those_whom_all_have_read(tmp_path):
    both = {
        reader: file(
            reader,
            case(code(reader, 1), revision(["left_m1", "left_m2"])),
            case(code(reader, 2), revision(["left_m1"] if reader == "A" else [])),
        )
        for reader in "AB"
    }
    majority = ConsensusSettings(rule="majority", reader="consensus")
    now = collected(both["A"], consensus=majority)
    assert readings_of(PLAN, now)[1] == {}  # B has read nothing
    now = collected(*both.values(), consensus=majority)
    found, agreed = readings_of(PLAN, now)
    assert list(agreed) == ["sub-1", "sub-2"]
    assert agreed["sub-2"].open == (("left", "m1"),)
    assert [one.score for one in found["sub-1", "consensus", None]] == [8, 10]
    assert ("sub-2", "consensus", None) not in found
    assert merge(tmp_path, NOTHING, now)[0] == (5, 0, 0)
    by_any = now.model_copy(update={"consensus": ConsensusSettings(rule="any", reader="both")})
    assert merge(tmp_path, now, by_any)[0] == (2, 0, 1)  # under another name, the old rows go
    assert ("sub-2", "reader:both", "left", 9, None) in rows(tmp_path)
    third = planned_round(SETTINGS, ["A", "B", "C"], SCANS, {})
    with_third, problems = collect(third, by_any, [])
    assert problems == []
    before, after = (readings_of(third, one)[0] for one in (by_any, with_third))
    update, problems = updated_readings(tmp_path, before, after)
    assert ((update.n_added, update.n_changed, update.n_removed), problems) == ((0, 0, 2), [])  # until C has read


def test_progress_counts_what_is_finished():
    again = repeated()
    now = collected(
        file(
            "A",
            case(code("A", 1), revision(time_s=10), revision(time_s=50, at="2026-12-01T10:00:00.000Z")),
            case(code("A", 2), is_open=True),
            case(code("A", 3), revision(confidence=None, not_readable="other", time_s=20)),
            case(code("A", again, "repeat"), revision(time_s=30), is_open=True),
            case(code("A", 4, "training"), revision(time_s=500)),
        )
    )
    a, b = progress(PLAN, now)
    assert (a.n_read, a.n_cases, a.n_not_readable, a.n_repeats_read, a.n_training_read, a.n_open) == (2, 3, 1, 1, 1, 2)
    assert (a.median_time_s, a.last_at) == (30.0, "2026-12-01T10:00:00.000Z")
    assert (b.n_read, b.median_time_s, b.last_at) == (0, None, None)


GOOD = file("A", case(code("A", 1), revision(["left_m1"]))).model_dump_json()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("{", "<!DOCTYPE html>{", "got the page itself"),
        ("{", "{{", "must be a reading file"),
        ('"aspects-reading"', '"other"', "key format"),
        ('"version":1', '"version":2', "key version"),
        ('"left_m1"', '"left_m7"', "must name regions such as left_m1, got 'left_m7'"),
        ('"left_m1"', '"left_m1","left_m1"', "must name each region once"),
        ('"confidence":3', '"confidence":6', "cases.0.revisions.0.confidence"),
        ('"confidence":3', '"confidence":null', "must have a confidence"),
        ('"not_readable":null', '"not_readable":"motion"', "must not name affected regions"),
        ('"not_readable":null', '"not_readable":"tired"', "not_readable"),
        ('"time_s":30.0', '"time_s":-1', "time_s"),
        ('"time_s":30.0', '"time_s":NaN', "must be a reading file"),
        ('"finished_at":"2026-11-30T10:00:00.000Z"', '"finished_at":"yesterday"', "finished_at"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path, old, new, text):
    (tmp_path / "a.json").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(CohortError) as caught:
        read_reading_file(tmp_path / "a.json")
    (problem,) = caught.value.problems
    assert problem.text.startswith("a.json")
    assert text in problem.text


def test_what_does_not_fit_the_round_is_named_all_at_once():
    stranger = file("C", case("XXXXX", revision()))
    twice = file("A", case(code("B", 1), revision()), case(code("A", 1)), case(code("A", 1)))
    _, problems = collect(PLAN, NOTHING, [("c.json", stranger), ("a.json", twice)])
    assert [one.text for one in problems] == [
        "c.json, key reader: value C must be a reader of the round (A, B). Give the right file.",
        f"a.json, key code: value {code('B', 1)} must be on the work list of reader A. "
        "Export it again from the page, and do not change it.",
        f"a.json, key code: value {code('A', 1)} must occur once. Export it again from the page, and do not change it.",
    ]
