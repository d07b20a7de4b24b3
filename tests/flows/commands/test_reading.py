import io
import json
import re

import pytest
from rich.console import Console

from cohorts.reading.collecting import ConsensusSettings
from cohorts.reading.round import read_round
from flows.commands.reading_collect import collect_readings, consensus_settings
from flows.commands.reading_make import make_round
from flows.commands.reading_request import MakeRequest, reader_names, session_name, share_of
from flows.run.request import PreflightError, UsageError
from flows.sources.registry import read_cohort
from tests.flows.reading_cohort import write_reading_cohort


def make(cohort, *readers, **settings):
    """Make a round; returns what was said."""
    console = Console(file=io.StringIO(), width=200)
    assert make_round(MakeRequest(cohort, readers, **settings), 1, console) == 0
    return console.file.getvalue()


def collect(cohort, *files, consensus=None, expect=0):
    console = Console(file=io.StringIO(), width=200)
    assert collect_readings(cohort, files, consensus, console) == expect
    return console.file.getvalue()


def write_file(folder, plan, reader, affected, name="file.json"):
    """What a page would save when every case has the same regions."""
    answers = {"affected": affected, "confidence": 4, "not_readable": None}
    revision = {"finished_at": "2026-11-30T10:00:00.000Z", "time_s": 12.5, **answers}
    content = {
        "format": "aspects-reading",
        "version": 1,
        "round_id": plan.round_id,
        "reader": reader,
        "exported_at": "2026-11-30T11:00:00.000Z",
        "cases": [{"code": one.code, "is_open": False, "revisions": [revision]} for one in plan.lists[reader]],
    }
    (folder / name).write_text(json.dumps(content))
    return folder / name


@pytest.fixture
def cohort(tmp_path):
    return write_reading_cohort(tmp_path / "cohort")


def test_a_round_is_made_and_named(cohort):
    text = make(cohort, "A", "B", repeat_share=0.2, training=("secret1",))
    assert "Round first: 2 cases, 1 of them twice, 1 for training; scans ncct" in text
    assert "Left out: 1 participants (no_scan_of_this_modality 1)" in text
    assert (cohort / "reading/first/left_out.tsv").read_text().splitlines()[1] == (
        "sub-secret4\tno_scan_of_this_modality"
    )
    assert sorted(path.name for path in (cohort / "reading/first").iterdir()) == [
        "for-readers", "left_out.tsv", "round.json", "work_list.tsv",
    ]  # fmt: skip


def test_a_page_names_nobody_and_holds_all_it_needs(cohort):
    make(cohort, "A")
    page = (cohort / "reading/first/for-readers/reading-A.html").read_text()
    assert "secret" not in page
    assert "Read &lt;b&gt;me&lt;/b&gt;" in page
    assert "Synthetic data." in page
    assert re.findall(r"https?://|<link|@import|url\(", page) == []
    assert page.count('<script type="application/json" id="stack-') == 3


def test_made_again_it_is_the_same_and_a_reader_can_be_added(cohort):
    make(cohort, "A", repeat_share=0.5)
    folder = cohort / "reading/first"
    before = {path.name: path.read_bytes() for path in (*folder.glob("*.*"), *folder.glob("*/*"))}
    make(cohort, "A", repeat_share=0.5)
    assert {path.name: path.read_bytes() for path in (*folder.glob("*.*"), *folder.glob("*/*"))} == before
    make(cohort, "B", repeat_share=0.5)
    plan = read_round(folder)
    assert list(plan.lists) == ["A", "B"]
    assert (folder / "for-readers/reading-A.html").read_bytes() == before["reading-A.html"]


def test_a_round_that_was_made_does_not_change(cohort):
    make(cohort, "A")
    with pytest.raises(PreflightError, match=r"repeat_share was 0\.0, is 0\.5.* Give --session NAME"):
        make(cohort, "A", repeat_share=0.5)
    (cohort / "scans/sub-secret2_ncct.nii.gz").write_bytes((cohort / "scans/sub-secret1_ncct.nii.gz").read_bytes())
    with pytest.raises(PreflightError, match="1 scans with another content"):
        make(cohort, "A")
    text = make(cohort, "A", session="second", labels=("secret1", "sub-secret3"))
    assert "Round second: 2 cases" in text


def test_a_scan_that_cannot_be_read_is_left_out_under_its_reason(cohort):
    (cohort / "scans/sub-secret2_ncct.nii.gz").write_bytes(b"no image")
    text = make(cohort, "A")
    assert "Round first: 2 cases" in text
    assert "sub-secret2\tunreadable_file\n" in (cohort / "reading/first/left_out.tsv").read_text()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"training": ("secret4",)}, "--training must name participants whose scan can be read, got sub-secret4"),
        ({"labels": ("secret9",)}, "--participant-label must be listed in participants.tsv, got sub-secret9"),
        ({"scan": "ncc"}, r"--scan must be a modality .* \(ncct\), got ncc. Did you mean ncct\?"),
        ({"training": ("secret1", "secret2", "secret3")}, "cases must not be empty"),
    ],
)
def test_what_cannot_be_made_is_refused(cohort, settings, text):
    with pytest.raises((PreflightError, UsageError), match=text):
        make(cohort, "A", **settings)


@pytest.mark.parametrize("written", ["", "Dr. Who", "A,A", "a,A", "../A"])
def test_names_that_no_reader_can_have(written):
    with pytest.raises(UsageError, match="--readers must"):
        reader_names(written)


@pytest.mark.parametrize("written", ["0.2", "120%", "-5", "many", "20 % %"])
def test_shares_that_are_none(written):
    with pytest.raises(UsageError, match="--repeat must be a percentage"):
        share_of(written)


@pytest.mark.parametrize("written", ["first", "First", "a/b", ".."])
def test_sessions_that_cannot_be(written):
    with pytest.raises(UsageError, match="--session must be"):
        session_name(written)


def test_files_become_readings_that_the_cohort_reads(cohort, tmp_path):
    make(cohort, "A", "B", repeat_share=0.2)
    plan = read_round(cohort / "reading/first")
    files = [
        write_file(tmp_path, plan, "A", ["left_m1", "left_m2"], "a.json"),
        write_file(tmp_path, plan, "B", ["left_m1"], "b.json"),
    ]
    settings = consensus_settings("majority", "consensus")
    text = collect(cohort, *files, consensus=settings)
    assert "readings.tsv: readings 8 added." in text
    assert (
        "Consensus by majority, as reader consensus: 0 of 3 participants, those whom all have read; 3 are open" in text
    )
    assert (cohort / "reading/first/open_consensus.tsv").read_text().splitlines()[1] == "sub-secret1\tleft\tm2"
    assert re.search(r"A +3 of 3 +0 +1 of 1 +0 of 0 +0 +12 s +2026-11-30", text)
    read = read_cohort(cohort)
    assert read.study_problems == ()
    assert {(one.source, one.side, one.score) for one in read.readings} >= {
        ("reader:A", "left", 8), ("reader:A:repeat", "left", 8), ("reader:B", "left", 9), ("reader:B", "right", 10),
    }  # fmt: skip
    before = (cohort / "readings.tsv").read_bytes()
    assert "readings.tsv is up to date." in collect(cohort, tmp_path)  # the folder of both files
    assert (cohort / "readings.tsv").read_bytes() == before
    text = collect(cohort, consensus=ConsensusSettings(rule="any", reader="consensus"))
    assert "readings.tsv: readings 3 added." in text
    assert not (cohort / "reading/first/open_consensus.tsv").exists()


def test_every_problem_is_named_and_nothing_is_written(cohort, tmp_path):
    make(cohort, "A", "B")
    plan = read_round(cohort / "reading/first")
    good = write_file(tmp_path, plan, "A", [], "a.json")
    other = write_file(tmp_path, plan.model_copy(update={"round_id": "0" * 12}), "A", [], "other.json")
    (tmp_path / "none.json").write_text("{}")
    text = collect(cohort, good, other, tmp_path / "none.json", tmp_path / "absent.json", expect=3)
    assert "Nothing was collected. Fix this, then collect again:" in text
    assert "other.json, key round_id: value 000000000000 must be of a round of this cohort (first)." in text
    assert "none.json, key round_id: must be a reading file (field required)." in text
    assert "absent.json: must exist." in text
    assert not (cohort / "readings.tsv").exists()
    assert not (cohort / "reading/first/collected.json").exists()
    text = collect(cohort, good, consensus=consensus_settings("any", "b"), expect=3)
    assert "must be none of the readers of round first" in text


def test_without_a_round_there_is_nothing_to_collect(cohort):
    with pytest.raises(PreflightError, match="COHORT must have a round of reading"):
        collect(cohort)


def test_a_lost_key_comes_back_with_the_same_codes(cohort):
    make(cohort, "A", "B", repeat_share=0.2)
    key = cohort / "reading/first/round.json"
    before = key.read_bytes()
    key.write_text("{}")
    with pytest.raises(PreflightError, match=r"round.json must be whole, got 5 faults"):
        make(cohort, "A", "B", repeat_share=0.2)
    key.unlink()
    make(cohort, "A", "B", repeat_share=0.2)
    assert key.read_bytes() == before
