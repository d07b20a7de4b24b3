"""Results go back to the series that they are of, through a real archive, pixel for pixel, each once."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import ssl
import subprocess
from collections import Counter

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pynetdicom import AE, evt
from rich.console import Console

from flows.commands.export_dicom import ExportRequest, export_dicom
from flows.commands.send_dicom import Secrecy, archive
from flows.engine.certificates import make_certificates
from flows.run.request import PreflightError, UsageError
from tasks.anatomy import SHORT_CODES
from tests.cohorts.dicom.made import uid
from tests.flows import scan_phantom
from tests.flows.commands import dcmqi
from tests.flows.commands.archive import CLASSES, fetched, needed, orthanc
from tests.flows.commands.hospital import PATIENT, STUDY, make_hospital
from tests.flows.conftest import free_port

#: What dciodvfy (Debian, 2022) says of every object with codes of a private scheme: it knows public ones only.
STATED = ("Unrecognized defined term = <99ASPECTS>", "would be needed to build DICOMDIR")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return make_hospital(tmp_path_factory.mktemp("hospital"))


def export(hospital, send=None, **changes):
    """Export; (exit code, rows by what they are of, what was printed)."""
    request = ExportRequest(hospital.cohort, hospital.out, hospital.folder / "dicom", hospital.links, archive=send)
    request = dataclasses.replace(request, **changes)
    printed = io.StringIO()
    code = export_dicom(request, Console(file=printed, width=300))
    with (request.folder / "export.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return code, rows, printed.getvalue()


def _pixels(seg):
    """Label of a segment -> (slices, rows, columns) by the order of the slices as written, by frame position."""
    numbers = {int(one.SegmentNumber): one.SegmentLabel for one in seg.SegmentSequence}
    shape = (scan_phantom.CT_SHAPE[2], seg.Rows, seg.Columns)
    found = {label: np.zeros(shape, dtype=bool) for label in numbers.values()}
    step_mm, first_mm = scan_phantom.SPACING_MM[2], float(scan_phantom.ct()[1][2, 3])
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        z = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        named = groups if "SegmentIdentificationSequence" in groups else seg.SharedFunctionalGroupsSequence[0]
        number = int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found[numbers[number]][round((z - first_mm) / step_mm)] = frame
    return found


@pytest.mark.processes
@pytest.mark.slow
def test_results_reach_a_real_archive_and_come_back_pixel_for_pixel_at_the_right_place(hospital, tmp_path):
    with orthanc(tmp_path / "orthanc") as running:
        send = archive(running.send, None, "ASPECTS", Secrecy())
        code, rows, printed = export(hospital, send)
        of_patient = [row for row in rows if row["participant_id"] == hospital.patient]
        assert [(row["what"], row["status"], row["sent"]) for row in of_patient] == [
            ("seg regions classic", "ok", "sent"),
            ("seg lesion native-ncct-lesion", "ok", "sent"),
            ("sr", "ok", "sent"),
            ("page", "ok", "sent"),
        ]
        # one bad case ends as a row, and stops nothing
        assert code == 1
        reasons = [row["reason"] for row in rows if row["participant_id"] == hospital.stranger]
        assert reasons[-1] == "frame_of_reference_missing"
        assert not any(word in printed for word in (*PATIENT.values(), "MÜLLER", "0078"))
        assert not any(word in str(row) for row in rows for word in (*PATIENT.values(), "MÜLLER"))

        study = uid(PATIENT["PatientID"] + "study")
        series, got = fetched(running, study)
        assert Counter(one.Modality for one in series) == {"SEG": 2, "SR": 1, "DOC": 1}
        assert {str(one.PatientName) for one in got} == {PATIENT["PatientName"]}
        assert {(one.PatientID, one.PatientSex, one.StudyInstanceUID) for one in got} == {("0077", "F", study)}
        web = DICOMwebClient(running.dicomweb)
        by_web = {one.SOPInstanceUID: one for one in web.retrieve_study(study)}
        assert set(by_web) == {one.SOPInstanceUID for one in got} == {row["sop_instance_uid"] for row in of_patient}
        for one in got:  # as written
            file = next(row["file"] for row in of_patient if row["sop_instance_uid"] == one.SOPInstanceUID)
            written = pydicom.dcmread(hospital.folder / "dicom" / file)
            for keyword in ("PixelData", "EncapsulatedDocument"):
                if keyword in written:
                    assert one[keyword].value == by_web[one.SOPInstanceUID][keyword].value == written[keyword].value

        lesion = next(one for one in got if "lesion" in one.get("SeriesDescription", ""))
        np.testing.assert_array_equal(_pixels(lesion)["lesion"], hospital.infarct)  # every pixel at its place
        _check_sides(lesion, hospital)
        _check_regions(next(one for one in got if "regions" in one.get("SeriesDescription", "")))
        _check_report(next(one for one in got if one.Modality == "SR"), lesion)
        _check_once(hospital, running, send)


def _check_sides(seg, hospital):
    """The infarct of the right hemisphere lies there, by the object's own coordinates."""
    item = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(list(map(float, item)), [1, 0, 0, 0, -1, 0], atol=1e-6)
    groups = seg.PerFrameFunctionalGroupsSequence
    points = []
    for frame, one in zip(seg.pixel_array, groups, strict=True):
        rows, columns = np.nonzero(frame)
        first = np.array(one.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        offset = np.stack([columns * 1.8, -rows * 1.8, 0 * rows], axis=1)  # columns to the left, rows to the front
        points.append(first + offset)
    centre = np.concatenate(points).mean(axis=0) * [-1, -1, 1]  # LPS to RAS
    infarct = scan_phantom.infarct()
    truth = infarct.affine @ [*np.argwhere(infarct.mask).mean(axis=0), 1]
    found = np.linalg.inv(scan_phantom.POSE) @ [*centre, 1]
    np.testing.assert_allclose(found[:3], truth[:3], atol=1.5)
    assert truth[0] > 20  # right of the middle
    derivation = groups[0].DerivationImageSequence[0].SourceImageSequence[0]
    known = {pydicom.dcmread(path).SOPInstanceUID for path in (hospital.folder / "in" / "patient").iterdir()}
    assert derivation.ReferencedSOPInstanceUID in known


def _check_regions(seg):
    """Twenty regions, each on its own side of the head."""
    pixels = _pixels(seg)
    assert len(pixels) == 20
    middle = scan_phantom.CT_SHAPE[0] / 2
    for label, mask in pixels.items():
        columns = np.nonzero(mask)[2]
        assert (columns.mean() > middle) == label.startswith("left"), label  # columns run to the left
    codes = {one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in seg.SegmentSequence}
    assert codes == {f"{side}_{code}" for side in ("left", "right") for code in SHORT_CODES.values()}
    assert {one.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator for one in seg.SegmentSequence} == {
        "99ASPECTS"
    }
    assert seg.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99ASPECTS"


def _check_report(dataset, lesion):
    """The report says what the run says, and points to the segment."""
    report = hd.sr.ComprehensiveSR.from_dataset(dataset)
    named = {one.ConceptNameCodeSequence[0].CodeMeaning: one for one in dataset.ContentSequence}
    assert named["Procedure reported"].ConceptCodeSequence[0].CodeValue == "1290003007"
    assert dataset.VerificationFlag == "UNVERIFIED"
    text = str(dataset)
    assert "Research use only; never a diagnosis" in text
    assert "weights: none" in text
    (volume,) = report.content.get_volumetric_roi_measurement_groups()
    assert volume.get_measurements()[0].value == pytest.approx(lesion.pixel_array.sum() * 1.8 * 1.8 * 5 / 1000)
    segment = next(one for one in volume.referenced_segment if "ReferencedSOPSequence" in one)
    assert segment.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == lesion.SOPInstanceUID
    assert segment.ReferencedSOPSequence[0].ReferencedSegmentNumber == 1
    groups = {group.tracking_identifier: group for group in report.content.get_image_measurement_groups()}
    ratio = groups["ratio: ASPECTS"]
    scores = {one.name.value: one.value for one in ratio.get_measurements()}
    assert scores == {"aspects": 6, "aspects_left": 10, "aspects_right": 6}
    present = {one.name.value for one in ratio.get_qualitative_evaluations() if one.value.meaning == "Present"}
    assert present == {f"right_{SHORT_CODES[region]}" for region in scan_phantom.REGIONS}


def _check_once(hospital, running, send):
    """The same results are the same bytes, and are not sent twice unless somebody asks."""
    before = {path: path.read_bytes() for path in (hospital.folder / "dicom").rglob("*.dcm")}
    n_before = running.n_instances()
    _, rows, printed = export(hospital, send)
    assert {row["sent"] for row in rows if row["status"] == "ok"} == {"already_sent"}
    assert "4 sent before, not again (--send-again)" in printed
    assert {path: path.read_bytes() for path in before} == before
    _, rows, _ = export(hospital, send, sends_again=True)
    assert {row["sent"] for row in rows if row["status"] == "ok"} == {"sent"}
    by_web = archive(None, running.dicomweb, "ASPECTS", Secrecy())  # another address: it has had nothing yet
    code, rows, _ = export(hospital, by_web, labels=(hospital.patient,))
    assert code == 0
    assert [row["sent"] for row in rows if row["participant_id"] == hospital.patient] == ["sent"] * 4
    assert any(row["participant_id"] == hospital.stranger for row in rows)  # its row stays
    assert running.n_instances() == n_before


@pytest.mark.processes
def test_every_object_passes_the_checker_but_for_stated_warnings(hospital):
    needed("dciodvfy")
    export(hospital)
    paths = sorted((hospital.folder / "dicom").rglob("*.dcm"))
    assert len(paths) == 4
    for path in paths:
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))]
        assert [line for line in told if not any(known in line for known in STATED)] == []


@pytest.mark.processes
@pytest.mark.slow
def test_dcmqi_reads_the_same(hospital, tmp_path):
    """Every voxel of the lesion at its place in the scanner, twenty regions on their sides, the report's numbers."""
    _, rows, _ = export(hospital)
    files = {
        row["what"]: hospital.folder / "dicom" / row["file"]
        for row in rows
        if row["participant_id"] == hospital.patient
    }

    def places_mm(image):
        there = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0))
        return nib.affines.apply_affine(np.linalg.inv(scan_phantom.POSE), there)

    (lesion,) = dcmqi.segments(files["seg lesion native-ncct-lesion"], tmp_path / "lesion").values()
    found_mm, infarct = places_mm(lesion), scan_phantom.infarct()
    wanted_mm = nib.affines.apply_affine(infarct.affine, np.argwhere(infarct.mask))
    assert len(found_mm) == hospital.infarct.sum()
    for of in (np.mean, np.std):
        np.testing.assert_allclose(of(found_mm, axis=0), of(wanted_mm, axis=0), atol=1.5)
    regions = dcmqi.segments(files["seg regions classic"], tmp_path / "regions")
    assert len(regions) == 20
    for label, image in regions.items():
        assert (places_mm(image)[:, 0].mean() < 0) == label.startswith("left"), label
    read = dcmqi.report(files["sr"], tmp_path)
    values = [float(item["value"]) for one in read["Measurements"] for item in one["measurementItems"]]
    assert any(value == pytest.approx(hospital.infarct.sum() * 1.8 * 1.8 * 5 / 1000) for value in values)
    assert {f"right_{SHORT_CODES[region]}" for region in scan_phantom.REGIONS} <= set(json.dumps(read).split('"'))


@pytest.mark.processes
def test_tls_is_spoken_and_an_archive_of_another_authority_gets_nothing(hospital, tmp_path):
    ours, theirs = (make_certificates(tmp_path / name, 1, ["127.0.0.1"]) for name in ("ours", "theirs"))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours.ca))
    server.load_cert_chain(ours.cert, ours.key)
    server.verify_mode = ssl.CERT_REQUIRED
    entity, got, port = AE("PACS"), [], free_port()
    for one in CLASSES:
        entity.add_supported_context(one)
    scp = entity.start_server(
        ("127.0.0.1", port),
        block=False,
        ssl_context=server,
        evt_handlers=[(evt.EVT_C_STORE, lambda event: got.append(event.dataset.SOPInstanceUID) or 0x0000)],
    )
    try:
        for tls, expected in ((theirs, "not_sent"), (ours, "sent")):
            send = archive(f"PACS@127.0.0.1:{port}", None, "ASPECTS", Secrecy(tls.ca, tls.cert, tls.key))
            code, rows, _ = export(hospital, send, labels=(hospital.patient,), with_pdf=False)
            ok = [row for row in rows if row["status"] == "ok"]
            assert {row["sent"] for row in ok} == {expected}
            assert code == (0 if expected == "sent" else 1)
            assert len(got) == (len(ok) if expected == "sent" else 0)
    finally:
        scp.shutdown()


@pytest.mark.processes
def test_a_study_that_may_not_and_a_run_that_is_outdated_are_refused(hospital, tmp_path):
    toml = hospital.cohort / "cohort.toml"
    try:
        toml.write_text(STUDY.replace("may_reidentify = true", ""))
        with pytest.raises(PreflightError, match="must say that it may re-identify"):
            export(hospital)
        toml.write_text(STUDY.replace("Hospital", "Another"))
        with pytest.raises(PreflightError, match="whole run of the study as it is now"):
            export(hospital)
    finally:
        toml.write_text(STUDY)
    with pytest.raises(UsageError, match="must lie outside OUT"):
        export(hospital, folder=hospital.out / "dicom")
    with pytest.raises(PreflightError, match="must be the link table of an import"):
        export(hospital, link_table=tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("PACS@pacs.example.org:104", None), "--send must use TLS beyond this machine, got pacs.example.org"),
        (("pacs.example.org:104", None), "must be AE@HOST:PORT"),
        (("A_TITLE_OF_SEVENTEEN@h:104", None), "must be AE@HOST:PORT"),
        (("PACS@127.0.0.1:99999", None), "must be AE@HOST:PORT"),
        ((None, "http://pacs.example.org/dicom-web"), "--stow must use TLS beyond this machine"),
        ((None, "https://me:secret@pacs.example.org"), "without a name in it"),
        ((None, "pacs.example.org"), "must be an http or https address"),
        (("PACS@127.0.0.1:104", "http://127.0.0.1/dicom-web"), "must not be given together"),
    ],
)
def test_where_to_send_is_checked_before_anything_is_made(arguments, match):
    with pytest.raises(UsageError, match=match):
        archive(*arguments, "ASPECTS", Secrecy())
    assert archive(None, None, "ASPECTS", Secrecy()) is None
    assert archive("PACS@pacs.example.org:104", None, "ASPECTS", Secrecy(allow_insecure=True)).port == 104
    assert archive("PACS@[::1]:104", None, "ASPECTS", Secrecy()).host == "[::1]"
