"""``aspects import``: nobody mixed up, nothing lost without a row, and an import that was stopped goes on."""

from __future__ import annotations

import csv
import io
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from pydicom.fileset import FileSet
from rich.console import Console

from cohorts.dicom import journal
from flows.commands import import_dicom as command
from flows.commands.import_request import import_request, intake_rules
from tests.cohorts.dicom.made import head_hu, uid, write_slice

OFFSETS = (0, 5, 10, 15)


def _run(source, cohort, link_table=None, patient_from="id", same_person=(), **rules):
    """Import; exit code, rows of the report, and what was printed."""
    out = io.StringIO()
    rules = intake_rules(patient_from, same_person, **({"follow_links": False, "keep_text": False} | rules))
    request = import_request(source, cohort, None, (), link_table, rules)
    code = command.import_dicom(request, Console(file=out, width=200))
    return code, _table(cohort / "import_report.tsv"), out.getvalue()


def _table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def _n_counted(rows):
    """Files that the report accounts for."""
    return sum(int(row["n_files"]) - int(row["n_files_in_rows_above"]) + int(row["n_copies"]) for row in rows)


def _write(folder, patient, *, value=0, series="a", offsets=OFFSETS, **attributes):
    """A CT of one patient, its voxels told from others' by a value."""
    for number, offset in enumerate(offsets):
        own = {name: given[number] if isinstance(given, tuple) else given for name, given in attributes.items()}
        pixels = head_hu(number + value) + 1024
        write_slice(folder, number, pixels, (-20, -15, 40 + offset), series=series, patient=patient, **own)


def test_uids_that_an_anonymiser_numbered_again_make_no_copies(tmp_path):
    for place in range(3):
        numbers = tuple(f"1.2.826.0.1.{number}" for number in range(4))
        everything = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": numbers}
        _write(tmp_path / "in" / str(place), {"PatientID": f"A{place}"}, value=place, **everything)
    code, rows, _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, len({row["participant_id"] for row in rows})) == (0, 3)
    assert [(row["n_files"], row["n_copies"], row["in_scans_tsv"]) for row in rows] == [("4", "0", "true")] * 3


def test_two_series_with_the_same_instances_are_two(tmp_path):
    numbers = tuple(f"1.2.826.9.{number}" for number in range(4))
    _write(tmp_path / "in" / "2", {}, series="a", SOPInstanceUID=numbers, SeriesDescription="native")
    _write(tmp_path / "in" / "1", {}, value=30, series="b", SOPInstanceUID=numbers, SeriesDescription="CTA head")
    _, rows, _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert sorted((row["detected_as"], row["n_slices"]) for row in rows) == [("cta", "4"), ("ncct", "4")]


def test_one_series_uid_in_two_studies_is_two_series(tmp_path):
    for study in ("1.2.1", "1.2.2"):
        _write(tmp_path / "in" / study, {}, value=int(study[-1]), StudyInstanceUID=study, SeriesInstanceUID="1.2.9")
    _, rows, _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert len({row["path"] for row in rows}) == 2


def test_slices_that_share_one_instance_uid_are_all_kept_and_true_copies_are_counted(tmp_path):
    _write(tmp_path / "in" / "a", {}, SOPInstanceUID="1.2.3")
    shutil.copytree(tmp_path / "in" / "a", tmp_path / "in" / "again")
    code, (row,), printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, row["n_slices"], row["n_files"], row["n_copies"]) == (0, "4", "4", "4")
    assert "Files found: 8 = 4 in series + 4 copies" in printed
    shape = nib.load(tmp_path / "cohort" / row["path"]).shape
    assert shape[2] == 4


def test_slices_that_differ_in_time_alone_are_no_copies(tmp_path):
    for phase in range(9):
        times = {
            "AcquisitionTime": f"1015{2 * phase:02d}",
            "SOPInstanceUID": "1.2.3",
            "SeriesDescription": "CT perfusion",
        }
        _write(tmp_path / "in" / str(phase), {}, **times)
    _, (row,), _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert (row["detected_as"], row["n_slices"], row["n_copies"]) == ("ctp", "36", "0")


def test_a_patient_that_cannot_be_sorted_does_not_end_the_import(tmp_path, monkeypatch):
    _write(tmp_path / "in" / "1", {"PatientID": "1"})
    _write(tmp_path / "in" / "2", {"PatientID": "2", "PatientName": "B"}, value=20)
    group = command.group_stacks

    def failing(headers, identity):
        if identity.endswith("1"):
            raise ValueError("QUIXOTE")
        return group(headers, identity)

    monkeypatch.setattr(command, "group_stacks", failing)
    code, rows, printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, sorted(row["reason"] for row in rows)[-1], _n_counted(rows)) == (1, "unexpected_error", 8)
    assert "QUIXOTE" not in printed + (tmp_path / "cohort" / "import_report.tsv").read_text()


def test_other_pixels_under_the_uid_of_a_slice_are_refused_and_not_dropped(tmp_path):
    _write(tmp_path / "in" / "a", {})
    _write(tmp_path / "in" / "b", {}, value=40)
    code, (row,), _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, row["reason"], row["n_files"], row["n_copies"]) == (1, "conflicting_slices", "8", "0")


def test_one_identifier_of_three_people_is_refused_and_the_folders_can_be_declared(tmp_path):
    people = (("F", "19400101", "ROE^ANN"), ("M", "19550720", "DOE^JOHN"), ("F", "19700511", "POE^EVE"))
    for place, (sex, born, name) in enumerate(people):
        patient = {"PatientID": "ANONYMOUS", "PatientName": name, "PatientBirthDate": born, "PatientSex": sex}
        _write(tmp_path / "in" / f"{name} {place}", patient, value=place, StudyInstanceUID=uid(name))
    code, (row,), printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, row["action"], row["reason"], row["n_files"]) == (1, "rejected", "identity_contradicts", "12")
    assert "one identifier has 3 birth dates, 2 sexes, 3 names; in folder no. 1, 2, 3 of DICOM_DIR" in printed
    assert _table(tmp_path / "cohort" / "participants.tsv") == []
    assert not list((tmp_path / "cohort").rglob("*.nii.gz"))
    for patient_from in ("folder", "study"):
        cohort = tmp_path / patient_from
        code, rows, _ = _run(tmp_path / "in", cohort, patient_from=patient_from)
        assert (code, len({row["participant_id"] for row in rows if row["in_scans_tsv"] == "true"})) == (0, 3)
    code, rows, _ = _run(tmp_path / "in", tmp_path / "cohort", same_person=[row["participant_id"]])
    assert (code, len(rows), len({row["participant_id"] for row in rows})) == (0, 3, 1)
    told = printed + "".join(path.read_text() for path in (tmp_path / "cohort").glob("*.*"))
    assert [word for word in ("ROE", "ANN", "1940", "1955", "JOHN", "ANONYMOUS") if word in told] == []


def test_likely_twins_are_listed_and_merged_when_declared(tmp_path):
    for place, (number, issuer) in enumerate((("00123", "HOSP"), ("00123", None), ("123", None))):
        _write(tmp_path / "in" / str(place), {"PatientID": number}, value=place, IssuerOfPatientID=issuer)
    code, rows, printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, len({row["participant_id"] for row in rows})) == (0, 3)
    (finding,) = _table(tmp_path / "cohort" / "import_findings.tsv")
    assert finding["finding"] == "likely_one_person"
    assert finding["found"].startswith("3 participants have the same name and birth date or identifiers that differ in")
    assert finding["found"] in printed
    remedy = finding["what_to_do"].split("--same-person ")[1].rstrip(".")
    shutil.copy(tmp_path / "cohort.key", tmp_path / "merged.key")
    (tmp_path / "merged.key").chmod(0o600)
    _, rows, printed = _run(tmp_path / "in", tmp_path / "merged", same_person=[remedy])
    assert {row["participant_id"] for row in rows} == {remedy.split("=")[0]}
    assert "likely_one_person" not in printed
    _, _, printed = _run(tmp_path / "in", tmp_path / "cohort", same_person=[remedy])
    assert "LOOK AT listed_under_both: 2" in printed


def test_the_same_voxels_under_two_patients_are_listed(tmp_path):
    _write(tmp_path / "in" / "1", {"PatientID": "1", "PatientName": "ROE^ANN", "PatientBirthDate": "19400316"})
    _write(tmp_path / "in" / "2", {"PatientID": "2", "PatientName": "DOE^JOHN", "PatientBirthDate": "19550720"})
    _, _, printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert "LOOK AT same_scan: 1" in printed
    assert "2 participants have a scan of the same voxels" in printed


def test_everything_found_is_counted_to_a_row_and_what_is_lost_ends_with_1(tmp_path):
    source = tmp_path / "in"
    _write(source / "a", {})
    _write(tmp_path / "store", {"PatientID": "2", "PatientName": "B"}, value=9)
    (source / "b").mkdir()
    for path in (tmp_path / "store").iterdir():
        (source / "b" / path.name).symlink_to(path)
    (source / "b" / "broken").symlink_to(tmp_path / "nothing")
    (source / "notes.txt").write_text("no image")
    (source / "more.zip").write_bytes(b"PK\x03\x04 and more")
    code, rows, printed = _run(source, tmp_path / "cohort")
    assert code == 1
    others = {row["reason"]: row["n_files"] for row in rows if row["detected_as"] == "no image"}
    assert others == {"link_leads_out": "4", "link_broken": "1", "not_dicom": "1", "archive": "1"}
    assert _n_counted(rows) == 4 + 4 + 3
    assert "Files found: 11 = 4 in series + 7 others" in printed
    assert "link_leads_out: 4 (links to files outside DICOM_DIR: give --follow-links" in printed
    (source / "b" / "broken").unlink()
    (source / "more.zip").unlink()
    code, rows, _ = _run(source, tmp_path / "cohort", follow_links=True)
    assert (code, len({row["participant_id"] for row in rows if row["path"] != "n/a"})) == (0, 2)


def test_a_directory_that_lists_files_that_did_not_arrive_ends_with_1(tmp_path):
    source = tmp_path / "in"
    _write(source / "DATA", {}, StudyTime="101500", StudyID="1")
    files = FileSet()
    for path in (source / "DATA").iterdir():
        files.add(path)
    files.write(tmp_path / "disk")
    shutil.rmtree(source)
    disk = tmp_path / "disk"
    for path in sorted(path for path in disk.rglob("*") if path.is_file() and path.name != "DICOMDIR"):
        path.rename(path.with_name(path.name.lower()))
    code, rows, printed = _run(disk, tmp_path / "cohort")
    assert (code, [row["reason"] for row in rows if row["detected_as"] == "no image"]) == (0, ["dicom_directory"])
    next(path for path in disk.rglob("*") if path.is_file() and path.name != "DICOMDIR").unlink()
    code, _, printed = _run(disk, tmp_path / "cohort")
    assert code == 1
    assert "DICOMDIR no. 1 lists 4 files, of which 1 are not there" in printed


def test_folders_that_name_patients_hold_all_files(tmp_path):
    _write(tmp_path / "in" / "a", {})
    _write(tmp_path / "in", {"PatientID": "2"}, value=9)
    code, rows, printed = _run(tmp_path / "in", tmp_path / "cohort", patient_from="folder")
    assert (code, sorted(row["action"] for row in rows)) == (1, ["converted", "rejected"])
    assert "LEFT OUT not_in_a_folder: 1" in printed


def test_an_export_of_nothing_and_one_in_which_all_is_refused_end_with_1(tmp_path):
    (tmp_path / "in").mkdir()
    code, _, printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, "Files found: 0 = none" in printed) == (1, True)
    _write(tmp_path / "in", {}, RescaleSlope=None)
    code, _, printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert code == 1
    assert "Patients: 1, of whom 1 have no scan that could be used" in printed


@pytest.mark.parametrize(
    ("attributes", "note", "numbers"),
    [
        ({"ImagesInAcquisition": 30}, "slices_fewer_than_announced", {"n_images": 4, "n_announced": 30}),
        ({"NumberOfSeriesRelatedInstances": 5}, "slices_fewer_than_announced", {"n_images": 4, "n_announced": 5}),
        ({"InstanceNumber": (4, 5, 6, 7)}, "instance_numbers_skip", {"n_instance_numbers_skipped": 3}),
        ({"InstanceNumber": (1, 2, 3, 9)}, "instance_numbers_skip", {"n_instance_numbers_skipped": 5}),
        ({"InstanceNumber": (1, 3, 5, 7)}, None, {}),
        ({"InstanceNumber": (61, 62, 63, 64)}, None, {}),
        ({"ImagesInAcquisition": 4}, None, {}),
    ],
)
def test_slices_lost_at_the_ends_are_noted(tmp_path, attributes, note, numbers):
    _write(tmp_path / "in", {}, SeriesDescription="native", **attributes)
    _, (row,), printed = _run(tmp_path / "in", tmp_path / "cohort")
    assert ("LOOK AT incomplete series: 1 seem to lack slices" in printed) == (note is not None)
    assert (note or "") in row["reason"]
    assert ("skip" in row["reason"] or "fewer" in row["reason"]) == (note is not None)
    found = json.loads(row["numbers"])
    assert {name: found.get(name) for name in numbers} == numbers


def test_a_series_shorter_than_another_one_of_its_acquisition_is_noted(tmp_path):
    _write(tmp_path / "in" / "soft", {}, SeriesDescription="native")
    _write(tmp_path / "in" / "thin", {}, series="b", offsets=tuple(range(0, 40, 2)), SliceThickness=2)
    _, rows, _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert [row["n_slices"] for row in rows if "shorter_than_same_acquisition" in row["reason"]] == ["4"]


def test_text_in_the_pixels_is_refused_unless_it_is_said_to_be_none(tmp_path):
    letters = np.zeros((80, 90))
    for place in range(5):
        letters[1:6, 2 + 4 * place : 5 + 4 * place] = 1
        letters[2:5, 3 + 4 * place] = 0
    head = head_hu(0, letters.shape) + np.random.default_rng(3).integers(-9, 9, letters.shape)
    for number, offset in enumerate(OFFSETS):
        pixels = np.where(letters > 0, 3071, head) + 1024
        write_slice(tmp_path / "in", number, pixels, (-20, -15, offset), patient={})
    code, (row,), _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert (code, row["action"], row["reason"]) == (1, "rejected", "burned_in_text")
    assert "4 seem to: rows of up to 4 letters" in row["detail"]
    code, (row,), _ = _run(tmp_path / "in", tmp_path / "cohort", keep_text=True)
    assert (code, row["action"]) == (0, "converted")
    assert "burned_in_text" in row["reason"]


def test_an_import_that_is_stopped_goes_on_and_ends_as_if_it_was_not(tmp_path, monkeypatch):
    for place in range(4):
        _write(tmp_path / "in" / str(place), {"PatientID": f"P{place}", "PatientName": f"N{place}"}, value=place)
    _run(tmp_path / "in", tmp_path / "whole", tmp_path / "whole.tsv")
    shutil.copy(tmp_path / "whole.key", tmp_path / "cohort.key")
    (tmp_path / "cohort.key").chmod(0o600)
    built = []
    convert = command.build_volume

    def stopping(stack, *given):
        built.append(stack.key)
        if len(built) == 3:
            raise KeyboardInterrupt
        return convert(stack, *given)

    monkeypatch.setattr(command, "COMMIT_EVERY_S", 0.0)
    monkeypatch.setattr(command, "build_volume", stopping)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "in", tmp_path / "cohort", tmp_path / "cohort.tsv")
    assert len(_table(tmp_path / "cohort" / "scans.tsv")) == 2  # committed as it went
    (next((tmp_path / "cohort").glob("sub-*/ct")) / ".tmp-half").write_bytes(b"half")
    code, _, printed = _run(tmp_path / "in", tmp_path / "cohort", tmp_path / "cohort.tsv")
    assert (code, len(built)) == (0, 5)  # two were not made again
    assert "Files found: 16 = 16 in series" in printed
    assert not (tmp_path / "cohort" / journal.JOURNAL_FILE).exists()

    def files(folder):
        names = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in names}

    assert files(tmp_path / "cohort") == files(tmp_path / "whole")
    assert (tmp_path / "cohort.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()


def test_a_patient_whose_files_changed_since_the_stop_is_made_again(tmp_path, monkeypatch):
    _write(tmp_path / "in" / "1", {"PatientID": "1"})
    _write(tmp_path / "in" / "2", {"PatientID": "2", "PatientName": "B"}, value=20)
    close = journal.Journal.close
    monkeypatch.setattr(journal.Journal, "close", lambda self: None)
    _run(tmp_path / "in", tmp_path / "cohort")
    monkeypatch.setattr(journal.Journal, "close", close)
    _write(tmp_path / "in" / "1", {"PatientID": "1"}, value=5)
    built = []
    convert = command.build_volume
    monkeypatch.setattr(command, "build_volume", lambda stack, *given: built.append(stack) or convert(stack, *given))
    _, rows, _ = _run(tmp_path / "in", tmp_path / "cohort")
    assert len(built) == 1
    assert sorted(nib.load(tmp_path / "cohort" / row["path"]).get_fdata()[7, 12, 0] for row in rows) == [35, 50]
