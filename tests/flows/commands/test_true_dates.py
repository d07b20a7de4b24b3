"""No true date and no identity comes in beside scans whose dates were shifted; intervals stay right."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from cohorts.dicom.date_shifts import date_shifts
from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.folder.unshifted_tables import unshifted_tables
from cohorts.images.unshifted_headers import unshifted_headers
from flows.commands.failures import failure_of
from flows.commands.import_dicom import import_dicom
from flows.commands.import_request import import_request, intake_rules
from flows.commands.import_table import import_table
from flows.commands.table_request import TableRequest
from flows.run.pages import _title
from flows.run.stated import stated_records
from flows.sources.command import CommandSource
from flows.sources.registry import read_cohort
from tests.cohorts.dicom.made import write_ct

NUMBERS = ("MRN100001", "MRN100002", "MRN100003")
#: The scans begin on this day at 10:15.
TRUE_DAY = ("20240302", "2024-03-02", "02.03.2024", "2.3.2024", "2024/03/02", "2 March 2024")
STUDY = """\
[study]
name = "Dates"
may_reidentify = true

[[source]]
name = "ratio"
kind = "density_ratio"

[[source]]
name = "vendor"
kind = "results"
file = "vendor.csv"
id = "Patient"
columns = {ASPECTS = "score", Run = "run_on", Status = "failure"}

[[clinical]]
column = "onset"
read_as = "date"

[[clinical]]
column = "remark"
read_as = "text"

[[clinical]]
column = "marker"
read_as = "integer"
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """An import of three patients, with key and link table; the study is written beside."""
    folder = tmp_path_factory.mktemp("imported")
    for number in NUMBERS:
        patient = {"PatientID": number, "PatientName": f"NAME^{number}", "PatientBirthDate": "19500102"}
        write_ct(folder / "export" / number, series=number, patient=patient)
    request = import_request(folder / "export", folder / "cohort", None, (), folder / "links.tsv")
    assert import_dicom(request, Console(file=io.StringIO(), width=200)) == 0
    (folder / "cohort" / "cohort.toml").write_text(STUDY)
    return folder


@pytest.fixture
def study(imported, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(imported, tmp_path, dirs_exist_ok=True)
    (tmp_path / "links.tsv").chmod(0o600)
    (tmp_path / "cohort.key").chmod(0o600)
    return tmp_path


def _import(folder, content, *, link=True, **options):
    """Run the command; its exit code and all that it prints."""
    (folder / "register.csv").write_bytes(content)
    words = io.StringIO()
    given = {"id": "Pat", "dates": "dmy"} | options.pop("given", {})
    options["link"] = folder / "links.tsv" if link is True else link
    request = TableRequest(folder / "register.csv", folder / "cohort", **{"is_agreed": True, "given": given, **options})
    try:
        code = import_table(request, Console(file=words, width=400))
    except Exception as error:
        failure = failure_of(error)
        return failure.exit_code, words.getvalue() + failure.text
    return code, words.getvalue()


def _rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def _who(folder):
    """Number in the hospital -> participant."""
    with (folder / "links.tsv").open(newline="") as stream:
        return {row["patient_id"]: row["participant_id"] for row in csv.DictReader(stream, delimiter="\t")}


def _leaks(folder, needles):
    """Files of the cohort folder in which a text stands."""
    return [
        (path.name, needle)
        for path in folder.rglob("*")
        if path.is_file()
        for needle in needles
        if needle.encode() in (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    ]


def test_dates_are_moved_as_those_of_the_scans_so_that_intervals_stay_right(study):
    content = b"Pat;Onset;Remark\nMRN100001;02.03.2024 08:00;x\nMRN100002;01.03.2024;y\nMRN100003;;\n"
    maps = ("Onset=onset", "Remark=remark")
    code, words = _import(study, content, maps=maps)
    assert code == 0, words
    rows = {row["participant_id"]: row["onset"] for row in _rows(study / "cohort" / "participants.tsv")}
    who = _who(study)
    key = Pseudonymiser(bytes.fromhex((study / "cohort.key").read_text()))
    shift = key.shift("id\0\0MRN100001")
    assert rows[who["MRN100001"]] == (datetime(2024, 3, 2, 8, 0) + shift).isoformat(timespec="minutes")
    assert rows[who["MRN100002"]] == (date(2024, 3, 1) + key.shift("id\0\0MRN100002")).isoformat()
    assert rows[who["MRN100003"]] == "n/a"
    scan = next(study.glob(f"cohort/{who['MRN100001']}/*/*.json"))
    began = datetime.fromisoformat(json.loads(scan.read_text())["AcquisitionDateTime"])
    assert began - datetime.fromisoformat(rows[who["MRN100001"]]) == timedelta(hours=2, minutes=15)
    assert _leaks(study / "cohort", (*TRUE_DAY, "2024-03-01", "01.03.2024", *NUMBERS)) == []
    assert [day for day in TRUE_DAY if day in words] == []
    # a table that has the pseudonyms already needs the link table for its dates alone
    content = f"Pat;Onset;Remark\n{who['MRN100001']};03.03.2024;x\n".encode()
    code, words = _import(study, content)
    assert code == 0, words
    rows = {row["participant_id"]: row["onset"] for row in _rows(study / "cohort" / "participants.tsv")}
    assert rows[who["MRN100001"]] == (date(2024, 3, 3) + shift).isoformat()
    assert "has another value in the file" in words
    # dates that somebody has shifted already are taken as they are, where that is said
    code, words = _import(study, content, link=None, given={"keep_dates": ("Onset",)})
    assert code == 0, words
    rows = {row["participant_id"]: row["onset"] for row in _rows(study / "cohort" / "participants.tsv")}
    assert rows[who["MRN100001"]] == "2024-03-03"


def _without_key(folder):
    (folder / "cohort.key").unlink()


def _link_inside(folder):
    shutil.copy(folder / "links.tsv", folder / "cohort" / "links.tsv")


#: How a true date or a number of the hospital may come in by a table -> (content, options, what the message says).
ENTRANCES = {
    "no link table": (
        b"Pat;Onset\nPSEUDONYM;02.03.2024\n",
        {"maps": ("Onset=onset",), "link": None},
        ("row 2, column Onset: must be moved by as many days as the dates", "Give --link", "--ignore"),
    ),
    "no key": (
        b"Pat;Onset\nMRN100001;02.03.2024\n",
        {"maps": ("Onset=onset",), "before": _without_key},
        ("Dates (Onset) must be moved", "--key", "--ignore"),
    ),
    "another key": (
        b"Pat;Onset\nMRN100001;02.03.2024\n",
        {"maps": ("Onset=onset",), "before": lambda folder: (folder / "cohort.key").write_text(f"{2**255 + 77**30:x}")},
        ("Dates (Onset) must be moved", "got another key"),
    ),
    "a date in a text": (
        b"Pat;Remark\nMRN100001;stroke on 2 March 2024\n",
        {"maps": ("Remark=remark",)},
        ("row 2, column Remark: must hold no dates as text", "--ignore"),
    ),
    "a date as a number": (
        b"Pat;Marker\nMRN100001;20240302\n",
        {"maps": ("Marker=marker",)},
        ("row 2, column Marker: must hold no dates as integer",),
    ),
    "a date as a site": (
        b"Pat;Site\nMRN100001;2024/03/02\n",
        {"maps": ("Site=site",)},
        ("row 2, column Site: must hold no dates",),
    ),
    "a date as a session": (
        b"Pat;Reader;When;Score;Side\nMRN100001;A;2024-03-02;7;left\n",
        {"maps": ("Reader=reader", "When=session", "Score=score", "Side=side"), "given": {"into": "readings"}},
        ("row 2, column When: must hold no dates",),
    ),
    "a date in values": (
        b"Pat;Remark\nMRN100001;x\n",
        {"maps": ("Remark=remark",), "values": ("remark:x=seen 02.03.2024",)},
        ("--value must hold no dates", "that of remark does", "cohort.toml"),
    ),
    "a number of the hospital in a text": (
        b"Pat;Remark\nMRN100001;same as MRN100002\n",
        {"maps": ("Remark=remark",)},
        ("row 2, column Remark: must hold no number of the link table", "--ignore"),
    ),
    "a number of the hospital in values": (
        b"Pat;Remark\nMRN1;x\n",
        {"maps": ("Remark=remark",), "values": ("participant_id:MRN1=MRN100001",)},
        ("--value participant_id must not be given with --link",),
    ),
    "a number of the hospital for a participant": (
        b"Pat;Remark\nMRN100001;x\n",
        {"maps": ("Remark=remark",), "link": None},
        ("row 2, column Pat: must be a participant of the folder", "Give --link"),
    ),
    "a link table inside the cohort folder": (
        b"Pat;Remark\nMRN100001;x\n",
        {"maps": ("Remark=remark",), "before": _link_inside, "link": "cohort/links.tsv"},
        ("--link must lie outside the cohort folder",),
    ),
}


@pytest.mark.parametrize("name", ENTRANCES)
def test_nothing_true_comes_in_by_a_table_and_the_column_and_the_remedy_are_named(study, name):
    content, options, says = ENTRANCES[name]
    options = dict(options)
    options.pop("before", lambda _folder: None)(study)
    if isinstance(options.get("link"), str):
        options["link"] = study / options["link"]
    before = {path: path.read_bytes() for path in (study / "cohort").iterdir() if path.is_file()}
    who = _who(study)
    code, words = _import(study, content.replace(b"PSEUDONYM", who["MRN100001"].encode()), **options)
    assert code in (2, 3), words
    assert [text for text in says if text not in words] == [], words
    assert {path: path.read_bytes() for path in (study / "cohort").iterdir() if path.is_file()} == before
    assert [number for number in NUMBERS if number in words] == []


def test_a_table_of_somebody_without_shifted_scans_is_read_as_before(study):
    (study / "cohort" / "participants.tsv").open("a").write("sub-byhand\n")
    code, words = _import(study, b"Pat;Onset\nbyhand;02.03.2024\n", link=None, maps=("Onset=onset",))
    assert code == 0, words
    assert _rows(study / "cohort" / "participants.tsv")[-1] == {"participant_id": "sub-byhand", "onset": "2024-03-02"}


def test_the_shift_is_that_of_whatever_named_the_patient_in_the_import(tmp_path):
    for number in NUMBERS:
        write_ct(tmp_path / "export" / number, series=number, patient={"PatientID": number, "PatientName": number})
    for patient_from, identity in (("folder", "folder\0MRN100001"), ("study", None)):
        cohort, links = tmp_path / patient_from, tmp_path / f"{patient_from}.tsv"
        rules = intake_rules(patient_from, (), follow_links=False, keep_text=False)
        request = import_request(tmp_path / "export", cohort, tmp_path / "one.key", (), links, rules)
        import_dicom(request, Console(file=io.StringIO()))
        key = Pseudonymiser(bytes.fromhex((tmp_path / "one.key").read_text()))
        with links.open(newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        shifts = date_shifts(rows, key)
        assert len(shifts) == 3
        for row in rows:
            own = identity if row["patient_id"] == "MRN100001" and identity else None
            own = own or (f"study\0{row['study_instance_uid']}" if patient_from == "study" else None)
            began = json.loads(next(cohort.glob(f"{row['participant_id']}/*/*.json")).read_text())[
                "AcquisitionDateTime"
            ]
            assert datetime.fromisoformat(began) - datetime(2024, 3, 2, 10, 15) == shifts[row["participant_id"]]
            if own:
                assert shifts[row["participant_id"]] == key.shift(own)
    assert date_shifts([{"participant_id": "sub-other", "patient_id": "MRN100001"}], key) == {}


def _mask_of_others(study, participant_id):
    """A mask drawn elsewhere, with the sidecar of its scan as another converter wrote it and texts in its header."""
    cohort = study / "cohort"
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.diag([2.0, 3, 4, 1]))
    image.header["descrip"] = b"drawn 02.03.2024"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(2, b"\x08\x00\x20\x00DA\x08\x0020240302"))
    path = f"{participant_id}/ct/{participant_id}_lesion.nii.gz"
    nib.save(image, cohort / path)
    told = {"AcquisitionDateTime": "2024-03-02T10:15:00", "PatientName": "NAME^ONE", "PatientPosition": "HFS"}
    (cohort / path.replace(".nii.gz", ".json")).write_text(json.dumps(told))
    with (cohort / "scans.tsv").open("a") as stream:
        stream.write(f"{participant_id}\tncct-lesion\tn/a\t{path}\n")
    return path


def test_check_names_what_stands_beside_shifted_scans_by_other_ways(study):
    who, cohort = _who(study), study / "cohort"
    one, two, three = (who[number] for number in NUMBERS)
    table = (
        f"participant_id\tonset\tremark\tmarker\tadmitted\n{one}\t2024-03-02\tx\t1\t2024-03-02\n"
        f"{two}\t2024-03-01\tseen 1.3.24\t2\tn/a\n{three}\t2024-03-02\ty\t20240302\tn/a\n"
    )
    (cohort / "participants.tsv").write_text(table)
    (cohort / "import_changes.tsv").write_text(f"participant_id\twritten\tbecomes\n{one}\t02.03.2024\t2024-03-02\n")
    (cohort / "readings.tsv").write_text(
        f"participant_id\treader\tsession\tside\tscore\n{one}\tA\t2024-03-02\tn/a\t7\n"
    )
    vendor = f"Patient,ASPECTS,Run,Status,Birth\n{one},8,2024-03-02 10:20,ok,1950-01-02\n"
    (cohort / "vendor.csv").write_text(vendor + f"{two},,2024-03-02,FAILED 2024-03-02: motion,1950-01-02\n")
    mask = _mask_of_others(study, one)
    found = read_cohort(cohort)
    assert found.shifted == {one, two, three}
    problems = [*unshifted_tables(found), *unshifted_headers(found.scans, cohort, found.shifted)]
    assert all(problem.is_warning for problem in problems)
    assert {(problem.file, problem.column, problem.reason) for problem in problems} == {
        ("participants.tsv", "onset", "true_date_beside_shifted"),
        ("participants.tsv", "remark", "date_in_text"),
        ("participants.tsv", "marker", "date_in_text"),
        ("participants.tsv", "admitted", "date_in_text"),  # it is in the folder though nobody reads it
        ("import_changes.tsv", "written", "date_in_text"),
        ("readings.tsv", "session", "date_in_text"),
        ("vendor.csv", "Run", "date_in_text"),
        ("vendor.csv", "Status", "date_in_text"),
        ("vendor.csv", "Birth", "date_in_text"),
        ("scans.tsv", "path", "file_identifies"),
    }
    (header,) = [problem for problem in problems if problem.reason == "file_identifies"]
    assert header.value == mask
    assert "; key AcquisitionDateTime, key PatientName, header field descrip, a header extension does" in header.rule, (
        header.rule
    )
    assert [day for day in TRUE_DAY if any(day in problem.text for problem in problems)] == []


def test_shifted_dates_give_no_warning(study):
    content = b"Pat;Onset\nMRN100001;02.03.2024\nMRN100002;01.03.2024\nMRN100003;02.03.2024\n"
    assert _import(study, content, maps=("Onset=onset",))[0] == 0
    found = read_cohort(study / "cohort")
    assert [*unshifted_tables(found), *unshifted_headers(found.scans, found.folder, found.shifted)] == []


def test_a_page_that_goes_to_the_archive_says_that_its_dates_are_shifted(study):
    cohort = read_cohort(study / "cohort")
    onset, remark, _ = cohort.config.clinical
    assert (_title(onset, cohort), _title(remark, cohort)) == ("onset (shifted)", "remark")
    (study / "cohort" / "import_register.json").unlink()  # the sidecars say it too
    assert _title(onset, read_cohort(study / "cohort")) == "onset (shifted)"
    for sidecar in study.glob("cohort/*/*/*.json"):
        sidecar.unlink()
    assert _title(onset, read_cohort(study / "cohort")) == "onset"


def test_the_date_of_a_softwares_run_is_left_out_beside_shifted_scans_unless_it_is_declared(study):
    who, cohort = _who(study), study / "cohort"
    one, two, _ = (who[number] for number in NUMBERS)
    vendor = f"Patient,ASPECTS,Run,Status\n{one},8,2024-03-02,ok\n{two},,2024-03-02,FAILED 2024-03-02: motion\n"
    (cohort / "vendor.csv").write_text(vendor)
    records = stated_records(read_cohort(cohort))
    (first,) = [record for (name, _), record in records.items() if name == one]
    assert (first.payload.stated.score, first.payload.stated.run_on) == (8, None)
    (failed,) = [record for (name, _), record in records.items() if name == two]
    assert (failed.reason, "2024" in failed.detail) == ("vendor_failed_date_motion", False)
    toml = (cohort / "cohort.toml").read_text().replace('id = "Patient"', 'id = "Patient"\nkeep_dates = ["Run"]')
    (cohort / "cohort.toml").write_text(toml)
    records = stated_records(read_cohort(cohort))
    assert [record.payload.stated.run_on for (name, _), record in records.items() if name == one] == ["2024-03-02"]


def test_a_command_that_tells_another_day_than_that_of_its_run_tells_the_patients(tmp_path):
    source = CommandSource(
        name="tool", kind="command", command=("tool",), version=("tool",), table="t.csv",
        columns={"ASPECTS": "score", "Run": "run_on"}, dates="ymd",
    )  # fmt: skip
    case = SimpleNamespace(case=SimpleNamespace(participant_id="sub-1"))
    path = tmp_path / "t.csv"
    for day, kept in (("2024-03-02", None), (date.today().isoformat(), date.today().isoformat())):
        path.write_text(f"ASPECTS,Run\n7,{day}\n")
        found = source._stated(case, path).findings.stated
        assert (found.score, found.run_on) == (7, kept)
