"""A coordinator's afternoon, every command as it is typed: an export, a register and two readings in, results out.

What lies between the stations is tested here: the number in the register must find the patient of the export, the scan
that readers saw must be the one that is scored, and what the archive gives back must lie where the scanner saw it.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from cohorts.dicom.deidentify import Pseudonymiser
from models.anatomy.template import load_label_map
from tasks.space.resample import Grid, resample_labels
from tests.chromium import Browser, chromium_path
from tests.cohorts.dicom.made import write_ct
from tests.cohorts.messy_tables import workbook
from tests.flows import scan_phantom
from tests.flows.commands.archive import fetched, needed, orthanc
from tests.flows.commands.hospital import PATIENT, write_patient
from tests.flows.commands.reader import begun, downloaded, kept, read_case
from tests.flows.conftest import TinyCohort

STUDY = """\
clinical_side = "side"

[study]
name = "Afternoon"
may_reidentify = true
bootstrap_resamples = 100

[[source]]
name = "ratio"
kind = "density_ratio"
registration = "affine"

[[source]]
name = "drawn"
kind = "native_mask"
modality = "ncct-lesion"
scan = "ncct"
registration = "affine"

[[source]]
kind = "readings"

[[clinical]]
column = "nihss"
read_as = "integer"
minimum = 0
maximum = 42

[[clinical]]
column = "sex"
read_as = "category"
levels = { F = ["w"], M = ["m", "männlich"] }

[[clinical]]
column = "onset"
read_as = "date"

[[clinical]]
column = "side"
read_as = "category"
levels = { left = ["li", "links"], right = ["re", "rechts"] }

[[gate]]
figure = "slice_step_mm"
maximum = 10

[severity]
column = "nihss"
"""
#: The register: titles above the header, zeros by number format or lost, words beside numbers, codes of missing values.
REGISTER = [
    ("Schlaganfallregister 2024",),
    (),
    ("Pat.-Nr.", "Geschl.", "NIHSS bei Aufnahme", "Beginn", "Seite", "Name"),
    ((77, "0000"), "w", 14, dt.datetime(2024, 3, 1), "re", "Müller"),
    (123, "m", "12 (Aphasie)", dt.datetime(2024, 3, 2), "li", "Sørensen"),  # the zero is lost
    ("SMALL-2", "w", -999, dt.datetime(2024, 3, 4), None, "x"),
    ("dicom2nifti", "m", 5, dt.datetime(2016, 7, 22), "links", "x"),
    ("0226308", "männlich", "3", dt.datetime(2014, 7, 7), "rechts", "x"),
    ("SMALL", "w", 20, dt.datetime(2024, 3, 5), "li", "x"),
    ("4711", "m", 3, dt.datetime(2014, 7, 7), "re", "x"),  # was never scanned
]
OTHER = {"PatientName": "SØRENSEN^ÅSE", "PatientID": "0123", "PatientSex": "M", "PatientBirthDate": "19611224"}
#: Real patients whose export is used, by the number in it; the last has lost a slice.
GIVEN = {"0226308": "ncct-dicom/0226308", "dicom2nifti": "dicom/ge-missing-slice"}
ALL = scan_phantom.REGIONS
#: (reader, number of the patient) -> side and regions; nothing is affected in the others.
READ = {
    ("A", "0077"): ("right", ALL),
    ("A", "0123"): ("left", ALL),
    ("B", "0077"): ("right", ALL[:3]),
    ("B", "0123"): ("left", ALL[:2]),
}
NOT_READABLE = ("B", "SMALL")


@dataclass
class Afternoon:
    """Folders, and who is who once the import has said it: number in the hospital -> pseudonym."""

    folder: Path
    who: dict[str, str]

    @property
    def export(self):
        return self.folder / "export"

    @property
    def cohort(self):
        return self.folder / "cohort"

    @property
    def links(self):
        return self.folder / "links.tsv"

    @property
    def out(self):
        return self.folder / "out"

    def aspects(self, *arguments, expect=0):
        """Type a command; what it prints."""
        done = TinyCohort(self.cohort, self.out).aspects(*map(str, arguments), expect=expect)
        return done.stdout

    def table(self, path):
        """Rows of a table."""
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))

    def tables(self, name):
        """A table of the run, with the number in the hospital for the pseudonym."""
        numbers = {pseudonym: number for number, pseudonym in self.who.items()}
        table = pd.read_parquet(self.out / f"results/latest/tables/{name}.parquet")
        return table.assign(patient=table["participant_id"].map(numbers)) if "participant_id" in table else table


@pytest.mark.extended
@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.real_data
def test_an_afternoon_from_the_export_to_the_archive_and_back(real_data, tmp_path):
    needed("Orthanc")
    needed("dciodvfy")
    chromium_path()
    afternoon = Afternoon(tmp_path, {})
    _scans_come_in(afternoon, real_data)
    _the_register_comes_in(afternoon)
    _lesions_are_drawn(afternoon)
    _two_readers_read(afternoon)
    _it_is_run(afternoon)
    _results_go_back(afternoon)


def _scans_come_in(afternoon, real_data):
    hu, affine = scan_phantom.ct()
    write_patient(afternoon.export / "first", hu, affine, PATIENT)
    write_patient(afternoon.export / "second", hu[::-1], affine, OTHER)  # the infarct is on the left
    write_ct(afternoon.export / "third", series="c", patient={"PatientID": "SMALL"})  # no frame of reference, no head
    small = {"PatientID": "SMALL-2", "PatientName": "PANZA^SANCHO", "PatientBirthDate": "19560102"}
    write_ct(afternoon.export / "fourth", (0, 4, 8, 12), series="d", patient=small)
    for number, folder in GIVEN.items():
        shutil.copytree(real_data / folder, afternoon.export / number, copy_function=shutil.copyfile)
    (afternoon.export / "Thumbs.db").write_bytes(b"x")
    words = afternoon.aspects("import", afternoon.export, afternoon.cohort, "--link-table", afternoon.links)
    n_files = sum(path.is_file() for path in afternoon.export.rglob("*"))
    assert f"Files found: {n_files} = {n_files - 1} in series + 1 others" in words
    assert "Patients: 6, of whom 1 have no scan that could be used" in words
    links = afternoon.table(afternoon.links)
    afternoon.who |= {row["patient_id"]: row["participant_id"] for row in links}
    assert set(afternoon.who) == {"0077", "0123", "SMALL", "SMALL-2", *GIVEN}
    assert sum(row["path"] == "n/a" for row in links) == 1  # the patient without a scan is known all the same
    scans = afternoon.table(afternoon.cohort / "scans.tsv")
    assert Counter(row["modality"] for row in scans) == {"ncct": 5}
    reasons = Counter(row["reason"] for row in afternoon.table(afternoon.cohort / "import_report.tsv"))
    assert {reason: reasons[reason] for reason in ("missing_slices", "b_value_unknown", "not_dicom")} == {
        "missing_slices": 1,
        "b_value_unknown": 1,
        "not_dicom": 1,
    }


def _the_register_comes_in(afternoon):
    register = afternoon.folder / "register.xlsx"
    workbook(register, {"Daten": REGISTER})
    (afternoon.cohort / "cohort.toml").write_text(STUDY, encoding="utf-8")
    columns = {"NIHSS bei Aufnahme": "nihss", "Geschl.": "sex", "Beginn": "onset", "Seite": "side"}
    told = [f"--map={name}={to}" for name, to in columns.items()]
    told += ["--id", "Pat.-Nr.", "--ignore", "Name", "--header-row", "3", "--link", afternoon.links]
    told += ["--missing=-999", "--value", "nihss:12 (Aphasie)=12", "--yes"]
    words = afternoon.aspects("import-table", register, afternoon.cohort, *told, expect=1)
    assert "LEFT OUT, and to be looked at (2)" in words
    assert "the id is not in the link table; with zeros in front it is: give --id-digits 4" in words
    words = afternoon.aspects("import-table", register, afternoon.cohort, *told, "--id-digits", "4", expect=1)
    assert "LEFT OUT, and to be looked at (1)" in words
    assert "row 10, Pat.-Nr.: the id is not in the link table\n" in words
    rows = {row.pop("participant_id"): row for row in afternoon.table(afternoon.cohort / "participants.tsv")}
    expected = {
        "0077": ("14", "F", "2024-03-01", "right"),
        "0123": ("12", "M", "2024-03-02", "left"),
        "SMALL-2": ("n/a", "F", "2024-03-04", "n/a"),
        "dicom2nifti": ("5", "M", "2016-07-22", "left"),
        "0226308": ("3", "M", "2014-07-07", "right"),
        "SMALL": ("20", "F", "2024-03-05", "left"),
    }
    key = Pseudonymiser(bytes.fromhex((afternoon.folder / "cohort.key").read_text()))
    with afternoon.links.open(newline="") as stream:
        issuers = {row["patient_id"]: row["issuer_of_patient_id"] for row in csv.DictReader(stream, delimiter="\t")}
    for number, (nihss, sex, onset, side) in expected.items():  # as far as the scans' dates are moved
        shifted = dt.date.fromisoformat(onset) + key.shift(f"id\0{issuers[number]}\0{number}")
        expected[number] = (nihss, sex, shifted.isoformat(), side)
    assert {number: tuple(rows[name].values()) for number, name in afternoon.who.items()} == expected
    kept_there = "".join(path.read_text() for path in afternoon.cohort.glob("*.t*")) + words
    assert [word for word in ("0123", "SMALL", "Müller", "Sørensen", "ÅSE") if word in kept_there] == []


def _lesions_are_drawn(afternoon):
    """Somebody draws the infarcts of the phantoms on the imported scans, and a box on a tilted head."""
    scans = {row["participant_id"]: row["path"] for row in afternoon.table(afternoon.cohort / "scans.tsv")}
    infarct, (hu, affine) = scan_phantom.infarct(), scan_phantom.ct()
    whole = Grid(hu.shape, affine)
    right = resample_labels(infarct.mask.astype(np.uint8), infarct.affine, whole, np.linalg.inv(scan_phantom.POSE))
    rows = []
    for number in ("0077", "0123", "0226308"):
        name = afternoon.who[number]
        scan = nib.load(afternoon.cohort / scans[name])
        if number == "0226308":
            lesion = np.zeros(scan.shape, dtype=np.uint8)
            lesion[300:330, 220:260, 6:9] = 1
        else:
            drawn = np.ascontiguousarray(right if number == "0077" else right[::-1])
            lesion = resample_labels(drawn, affine, Grid(scan.shape, scan.affine), np.eye(4))
        nib.save(nib.Nifti1Image(lesion, scan.affine), afternoon.cohort / f"{name}_lesion.nii.gz")
        rows.append(f"{name}\tncct-lesion\tn/a\t{name}_lesion.nii.gz\n")
    with (afternoon.cohort / "scans.tsv").open("a") as table:
        table.writelines(rows)


def _two_readers_read(afternoon):
    words = afternoon.aspects(
        "reading", "make", afternoon.cohort, "--readers", "A,B", "--repeat", "20%", "--n-cpus", "1"
    )
    assert "Round first: 5 cases, 1 of them twice" in words
    assert "Left out: 1 participants (no_scan_of_this_modality 1)" in words
    place = afternoon.cohort / "reading" / "first"
    lists = json.loads((place / "round.json").read_text())["lists"]
    numbers = {name: number for number, name in afternoon.who.items()}
    files = []
    with Browser(afternoon.folder / "profile") as browser:
        for reader, cases in lists.items():
            begun(browser, place / "for-readers" / f"reading-{reader}.html")
            for at, case in enumerate(cases):
                key = reader, numbers[case["participant_id"]]
                read_case(browser, at, *READ.get(key, ()), unreadable="motion" if key == NOT_READABLE else None)
            browser.wait("$('end').open")
            kept(browser)
            files.append(downloaded(browser, afternoon.folder / f"saved-{reader}", "Enter"))
    words = afternoon.aspects("reading", "collect", afternoon.cohort, *files)
    repeated = next(case["participant_id"] for case in lists["A"] if case["kind"] == "repeat")
    readings = afternoon.table(afternoon.cohort / "readings.tsv")
    n_unreadable = 1 + (repeated == afternoon.who["SMALL"])
    assert len(readings) == 2 * 2 * 6 - n_unreadable  # readers, sides, 5 cases and a repeat; one row where not readable
    assert Counter((row["reader"], row["session"]) for row in readings if row["session"] != "n/a").keys() == {
        ("A", "repeat"),
        ("B", "repeat"),
    }
    scores = {
        (row["reader"], numbers[row["participant_id"]], row["side"]): row["score"]
        for row in readings
        if row["session"] == "n/a"
    }
    told = {(reader, number, side): str(10 - len(regions)) for (reader, number), (side, regions) in READ.items()}
    assert {key: scores[key] for key in told} == told
    assert all(score == "10" for key, score in scores.items() if key not in told and key[:2] != NOT_READABLE)


def _it_is_run(afternoon):
    words = afternoon.aspects("run", afternoon.cohort, afternoon.out, "--n-cpus", "1")
    people = afternoon.tables("participants").set_index("patient")
    assert people["is_listed"].all()
    assert len(people) == 6
    n = Counter(people["status"])
    assert n["included"] + n["excluded"] + n["failed"] == 6
    assert f"included              {n['included']}\n" in words
    assert people.loc[["0077", "0123", "0226308"], "status"].tolist() == ["included"] * 3
    assert people.loc["dicom2nifti", ["status", "reason"]].tolist() == ["excluded", "participant_without_scan"]
    assert people.loc["0077", ["nihss", "severity", "side"]].tolist() == [14, "moderate", "right"]
    scores = afternoon.tables("scores").set_index(["patient", "source"])
    columns = ["score_left", "score_right"]
    assert scores.loc[("0077", "ratio"), columns].tolist() == [10, 6]
    assert scores.loc[("0123", "ratio"), columns].tolist() == [6, 10]  # the mirrored patient, the other way round
    assert scores.loc[("0077", "reader:B"), columns].tolist() == [10, 7]
    assert scores.loc[("0123", "reader:B"), columns].tolist() == [8, 10]
    assert scores.loc[("SMALL", "reader:B"), ["status", "reason"]].tolist() == ["excluded", "scan_not_readable"]
    # an atlas laid by an affine transform alone puts the caudates of this old brain into its ventricles
    assert set(scores.loc["0226308"].loc[["ratio", "drawn"], "reason"]) == {"region_not_tissue"}
    regions = afternoon.tables("regions").query("source == 'reader:A' and affected")
    assert set(regions.loc[regions["patient"] == "0123", "region"]) == set(ALL)
    lesions = afternoon.tables("lesions").set_index(["patient", "source"])
    assert lesions.loc[("0077", "native-ncct-lesion"), "volume_ml"] == pytest.approx(
        lesions.loc[("0123", "native-ncct-lesion"), "volume_ml"]
    )
    statistics = afternoon.tables("statistics").set_index("statistic_id")
    row = statistics.loc["agreement/exact/reader:B/reader:A/measured"]
    assert row["n"] == 4  # five scans but the one that B could not read
    report = (afternoon.out / "results/latest/report.html").read_text()
    assert "Afternoon" in report
    assert [word for word in ("0123", "SMALL", "Sørensen") if word in report] == []


def _results_go_back(afternoon):
    with orthanc(afternoon.folder / "orthanc") as running:
        told = ("--link-table", afternoon.links, "--send", running.send)
        words = afternoon.aspects(
            "export-dicom", afternoon.cohort, afternoon.out, afternoon.folder / "dicom", *told, expect=1
        )
        rows = afternoon.table(afternoon.folder / "dicom" / "export.tsv")
        of = {number: [row for row in rows if row["participant_id"] == name] for number, name in afternoon.who.items()}
        lesion, regions = "seg lesion native-ncct-lesion", "seg regions classic"
        for number in ("0077", "0123", "0226308"):
            sent = sorted((row["what"], row["sent"]) for row in of[number] if row["status"] == "ok")
            assert sent == [(what, "sent") for what in ("page", lesion, regions, "sr")]
        assert [row["reason"] for row in of["dicom2nifti"]] == ["no_scan"]
        assert "0123" not in words
        for number in ("0077", "0123", "0226308"):
            study = pydicom.dcmread(next((afternoon.export / _folder(number)).rglob("*.dcm"))).StudyInstanceUID
            series, got = fetched(running, study)
            assert Counter(one.Modality for one in series) == {"SEG": 2, "SR": 1, "DOC": 1}
            assert {one.PatientID for one in got} == {number}
            by_web = {one.SOPInstanceUID: one for one in DICOMwebClient(running.dicomweb).retrieve_study(study)}
            assert set(by_web) == {row["sop_instance_uid"] for row in of[number] if row["status"] == "ok"}
            for one in got:
                assert "PixelData" not in one or one.PixelData == by_web[one.SOPInstanceUID].PixelData
            _check_places(afternoon, number, got)
            _check_report(afternoon, number, next(one for one in got if one.Modality == "SR"))


def _folder(number):
    """Folder of a patient in the export."""
    return {"0077": "first", "0123": "second"}.get(number, f"{number}/CT")


def _check_places(afternoon, number, got):
    """Every pixel of every segmentation is the voxel of the run that lies there, on the slices of the scanner."""
    files = sorted((afternoon.export / _folder(number)).rglob("*.dcm"))
    scanner = {one.SOPInstanceUID: one for one in (pydicom.dcmread(file, stop_before_pixels=True) for file in files)}
    name = afternoon.who[number]
    (drawn,) = (afternoon.out / "derivatives" / name / "ct").glob("*_desc-rationcct_dseg.nii.gz")
    classic = {one.name: one.index for one in load_label_map("classic").table.labels}
    sides = {}
    for seg in (one for one in got if one.Modality == "SEG"):
        is_lesion = "lesion" in seg.SeriesDescription
        image = nib.load(afternoon.cohort / f"{name}_lesion.nii.gz" if is_lesion else drawn)
        named = {int(one.SegmentNumber): one.SegmentLabel for one in seg.SegmentSequence}
        assert set(named.values()) == ({"lesion"} if is_lesion else set(classic))
        index = {segment: 1 if is_lesion else classic[label] for segment, label in named.items()}
        seen = {uid: {} for uid in scanner}
        for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
            source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            at = groups.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(list(map(float, at)), scanner[source].ImagePositionPatient, atol=1e-3)
            one = groups if "SegmentIdentificationSequence" in groups else seg.SharedFunctionalGroupsSequence[0]
            seen[source][int(one.SegmentIdentificationSequence[0].ReferencedSegmentNumber)] = frame
        for uid, frames in seen.items():
            labels, x_mm = _labels_at(scanner[uid], image)
            for segment, value in index.items():
                expected = labels == value
                assert np.array_equal(frames.get(segment, np.zeros_like(expected)), expected), (number, named[segment])
                sides.setdefault(named[segment], []).append(x_mm[expected])
    for label, found in sides.items():
        right = np.concatenate(found).mean() < x_mm.mean()  # LPS: x runs to the left
        assert right == ((label.startswith("right") or number == "0077") and not label.startswith("left")) or (
            label == "lesion" and number == "0226308"
        ), (number, label)


def _labels_at(dataset, image):
    """Labels of an image at the pixels of a slice, by nearest voxel, and the pixels' x in LPS, mm."""
    row, column = np.reshape(list(map(float, dataset.ImageOrientationPatient)), (2, 3))
    spacing, first = (list(map(float, dataset[one].value)) for one in ("PixelSpacing", "ImagePositionPatient"))
    rows, columns = np.indices((dataset.Rows, dataset.Columns))[..., None]
    points = np.array(first) + rows * spacing[0] * column + columns * spacing[1] * row
    to_voxel = np.linalg.inv(image.affine) @ np.diag([-1.0, -1, 1, 1])
    voxels = np.rint(points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
    inside = ((voxels >= 0) & (voxels < image.shape)).all(axis=-1)
    labels = np.zeros(inside.shape, dtype=int)
    labels[inside] = np.asarray(image.dataobj)[tuple(voxels[inside].T)]
    return labels, points[..., 0]


def _check_report(afternoon, number, dataset):
    """The structured report has the scores and volumes of the tables, and no score that the tables withhold."""
    report = hd.sr.ComprehensiveSR.from_dataset(dataset)
    groups = {group.tracking_identifier: group for group in report.content.get_image_measurement_groups()}
    scores = afternoon.tables("scores").set_index(["patient", "source"])
    for source in ("ratio", "drawn"):
        row = scores.loc[(number, source)]
        group = groups.get(f"{source}: ASPECTS")
        said = {} if group is None else {one.name.value: one.value for one in group.get_measurements()}
        told = {"aspects": row["score"], "aspects_left": row["score_left"], "aspects_right": row["score_right"]}
        assert said == (told if row["status"] == "ok" else {})
    lesions = afternoon.tables("lesions").set_index(["patient", "source"])
    (volume,) = report.content.get_volumetric_roi_measurement_groups()
    assert volume.get_measurements()[0].value == pytest.approx(
        lesions.loc[(number, "native-ncct-lesion"), "volume_ml"], rel=1e-6
    )
