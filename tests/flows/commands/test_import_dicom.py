"""The command ``aspects import``: tables, files, and no identity anywhere."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess

import dcm2niix
import nibabel as nib
import numpy as np
import pydicom
import pytest
from rich.console import Console

from cohorts.dicom.key import read_key
from cohorts.images.scan import read_scan
from flows.commands.import_dicom import import_dicom
from flows.commands.import_request import import_request
from flows.run.request import PreflightError, UsageError
from flows.sources.registry import read_cohort
from tests.cohorts.dicom.made import IDENTITY, head_hu, write_ct, write_slice

#: Identities that the synthetic series carry, in attributes, file names and folders.
CANARIES = (
    "QUIXOTE",
    "ALONSO",
    "MRN7781234",
    "19470316",
    "1947-03-16",
    "ACC99887",
    "La Mancha",
    "20240302",
    "2024-03-02",
)


def _run(source, cohort, *on_fault):
    """Import; exit code, report rows by series, and what was printed."""
    out = io.StringIO()
    code = import_dicom(import_request(source, cohort, None, on_fault), Console(file=out, width=200))
    return code, _table(cohort / "import_report.tsv"), out.getvalue()


def _table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def _written(folder):
    """Every byte below a folder, compressed files opened, and every name."""
    chunks = []
    for path in sorted(folder.rglob("*")):
        chunks.append(str(path.relative_to(folder)).encode())
        if path.is_file():
            content = path.read_bytes()
            chunks.append(content)
            if path.suffix == ".gz":
                chunks.append(gzip.decompress(content))
    return b"\0".join(chunks)


def _image(cohort, row):
    return nib.load(cohort / row["path"])


def test_a_folder_becomes_scans_tables_and_a_report(tmp_path):
    source, cohort = tmp_path / "QUIXOTE in", tmp_path / "cohort"
    write_ct(source / "thick", series="a", SeriesDescription="without")
    write_ct(source / "late", series="b", SeriesDescription="without", AcquisitionTime="231500")
    write_ct(source / "angio", (0, 5, 10, 20), series="c", SeriesDescription="CTA Quixote")
    write_slice(source, 0, head_hu(0), (0, 0, 0), series="d", BurnedInAnnotation="YES", patient={"PatientID": "MRN2"})
    (source / "QUIXOTE.txt").write_text("no image")
    code, rows, printed = _run(source, cohort)
    assert code == 0
    found = [(row["detected_as"], row["action"], row["reason"], row["in_scans_tsv"]) for row in rows]
    assert [row for row in sorted(found) if row[1] == "rejected"] == [
        ("ct", "rejected", "burned_in_annotation", "false"),
        ("cta", "rejected", "missing_slices", "false"),
        ("no image", "rejected", "not_dicom", "false"),
    ]
    native = [row for row in rows if row["detected_as"] == "ncct"]
    assert [(row["action"], row["in_scans_tsv"]) for row in native] == [("converted", "true"), ("converted", "false")]
    assert native[0]["started_shifted"] < native[1]["started_shifted"]
    scans = _table(cohort / "scans.tsv")
    assert [(row["modality"], row["path"]) for row in scans] == [("ncct", native[0]["path"])]
    assert len(_table(cohort / "participants.tsv")) == 2
    content = (cohort / native[0]["path"]).read_bytes()
    assert read_scan(content, native[0]["path"], "ncct").values.max() == 80
    assert "missing_slices: 1" in printed


def test_no_identity_in_any_byte_written_or_printed(tmp_path):
    source, cohort = tmp_path / "QUIXOTE in", tmp_path / "cohort"
    told = {
        "SeriesDescription": "CT of Quixote",
        "ManufacturerModelName": "Alonso 3000",
        "ConvolutionKernel": "MRN7781234",
        "OperatorsName": "QUIXOTE",
        "StudyDescription": "La Mancha",
    }
    write_ct(source, **told)
    write_ct(source, (0, 5, 10, 20), series="b", **told)
    write_ct(source, series="c", RescaleSlope=None, **told)
    code, rows, printed = _run(source, cohort)
    assert code == 0
    assert {row["reason"] for row in rows} >= {"missing_slices", "rescale_missing"}
    written = _written(cohort).upper()
    assert [canary for canary in CANARIES if canary.upper().encode() in written or canary in printed.upper()] == []
    assert b'"KERNEL"' not in written


def test_importing_twice_changes_nothing_and_another_key_is_refused(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "cohort"
    write_ct(source)
    _run(source, cohort)
    first = {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()}
    _run(source, cohort)
    assert {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()} == first
    (tmp_path / "cohort.key").rename(tmp_path / "first.key")
    with pytest.raises(PreflightError, match="and is not there"):
        _run(source, cohort)
    read_key(tmp_path / "cohort.key", tmp_path / "another cohort")
    with pytest.raises(PreflightError, match="got another key: every participant would be there twice"):
        _run(source, cohort)
    (cohort / "import_register.json").unlink()  # as a version without a register left it
    (tmp_path / "cohort.key").unlink()
    with pytest.raises(PreflightError, match="and is not there"):
        _run(source, cohort)
    (tmp_path / "first.key").rename(tmp_path / "cohort.key")
    _run(source, cohort)
    assert {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()} == first


def test_intervals_between_studies_survive(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "cohort"
    write_ct(source, series="a", AcquisitionDate="20240302", AcquisitionTime="233000")
    write_ct(source, series="b", AcquisitionDate="20240304", AcquisitionTime="003000.5")
    _, rows, _ = _run(source, cohort)
    first, second = (np.datetime64(row["started_shifted"]) for row in rows)
    assert second - first == np.timedelta64(25, "h")


def test_rows_of_a_cohort_stay_as_they_are(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "cohort"
    write_ct(source)
    cohort.mkdir()
    (cohort / "participants.tsv").write_bytes(b"participant_id\tnihss\r\n001\t7")
    (cohort / "scans.tsv").write_bytes(b"participant_id\tpath\tmodality\n001\tmasks/a.nii.gz\tlesion\n")
    _run(source, cohort)
    name = read_key(tmp_path / "cohort.key", cohort).participant_id(f"id\0\0{IDENTITY['PatientID']}")
    assert (cohort / "participants.tsv").read_bytes() == f"participant_id\tnihss\r\n001\t7\r\n{name}\tn/a\r\n".encode()
    lines = (cohort / "scans.tsv").read_text().splitlines()
    assert lines[:2] == ["participant_id\tpath\tmodality", "001\tmasks/a.nii.gz\tlesion"]
    assert lines[2].startswith(f"{name}\t{name}/ct/")


def test_a_cohort_with_imported_scans_can_be_read(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "cohort"
    write_ct(source)
    _run(source, cohort)
    (cohort / "cohort.toml").write_text(
        '[study]\nname = "Imported"\n[[source]]\nname = "x"\nkind = "mask"\nmodality = "ncct"\n'
    )
    found = read_cohort(cohort)
    assert [problem.text for problem in found.problems if not problem.is_warning] == []
    assert [scan.modality for scan in found.scans] == ["ncct"]


@pytest.mark.parametrize(
    ("on_fault", "word"),
    [
        ("gantry_tilt=fix", "must be resample or reject, got fix"),
        ("gantry=reject", "Did you mean gantry_tilt"),
        ("identical_positions=resample", "must be reject"),
    ],
)
def test_actions_are_checked(tmp_path, on_fault, word):
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match=word):
        import_request(tmp_path / "in", tmp_path / "cohort", None, [on_fault])


def test_arguments_and_tables_that_cannot_be_used(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "cohort"
    write_ct(source)
    with pytest.raises(UsageError, match="must be a folder"):
        import_request(tmp_path / "none", cohort, None, ())
    with pytest.raises(UsageError, match="outside the cohort"):
        import_request(source, tmp_path, None, ())
    with pytest.raises(UsageError, match="--key must lie outside"):
        import_request(source, cohort, cohort / "a.key", ())
    (tmp_path / "short.key").write_text("00")
    (tmp_path / "short.key").chmod(0o600)
    with pytest.raises(PreflightError, match="1 bytes, at least 32 are needed"):
        import_dicom(import_request(source, cohort, tmp_path / "short.key", ()), Console(file=io.StringIO()))
    cohort.mkdir(exist_ok=True)
    (cohort / "scans.tsv").write_text("who,what\n")
    with pytest.raises(PreflightError, match="must have the columns"):
        _run(source, cohort)


DICOM_FOLDERS = {
    "bad_sequence.dcm": [("ct", "rejected", "single_slice")],
    "fake-phi": [
        ("mr", "rejected", "single_slice"),
        ("secondary capture", "rejected", "secondary_capture"),
        ("us", "rejected", "burned_in_annotation"),
    ],
    "ge-headct-tilt": [("ncct", "resampled", "gantry_tilt, two_thicknesses, uneven_steps")],
    "ge-missing-slice": [("ct", "rejected", "missing_slices")],
    "good-4-slices": [("mr", "converted", "n/a")],
    "identical-positions": [("bolus monitoring", "rejected", "identical_positions")],
    "perfusion-map": [("cbf", "converted", "values_implausible")],
    "siemens-tilt-without-tag": [("ncct", "resampled", "gantry_tilt, no_soft_tissue, contrast_not_measured")],
    "two-slices": [("mr", "converted", "n/a")],
}


def _import_public(real_data, name, tmp_path, *on_fault):
    """Import one public folder; a single file through a folder of its own."""
    source = real_data / "dicom" / name
    if source.is_file():
        folder = tmp_path / "in"
        folder.mkdir()
        (folder / "a.dcm").write_bytes(source.read_bytes())
        source = folder
    code, rows, _ = _run(source, tmp_path / "cohort", *on_fault)
    assert code == (0 if any(row["path"] != "n/a" for row in rows) else 1)  # 1 where nothing came in
    return tmp_path / "cohort", [row for row in rows if row["reason"] != "not_dicom"]


@pytest.mark.real_data
@pytest.mark.parametrize("name", DICOM_FOLDERS)
def test_every_public_folder_ends_as_it_must(real_data, name, tmp_path):
    _, rows = _import_public(real_data, name, tmp_path)
    assert sorted((row["detected_as"], row["action"], row["reason"]) for row in rows) == DICOM_FOLDERS[name]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["good-4-slices", "two-slices"])
def test_converted_volumes_equal_their_answers(real_data, name, tmp_path):
    cohort, (row,) = _import_public(real_data, name, tmp_path)
    ours = _image(cohort, row)
    answer = nib.as_closest_canonical(nib.load(real_data / "dicom" / name / "001_ground_truth.nii.gz"))
    assert np.array_equal(ours.get_fdata(), answer.get_fdata())
    assert np.allclose(ours.affine, answer.affine, atol=1e-3)


def _agreement(files, image, low, high):
    """Correlation of every DICOM slice with the volume at the places that its header states."""
    volume, inverse = image.get_fdata(), np.linalg.inv(image.affine)
    rows, columns = np.meshgrid(np.arange(60, 450, 3), np.arange(60, 450, 3), indexing="ij")
    found = []
    for path in files:
        dataset = pydicom.dcmread(path)
        cosines, size = np.array(dataset.ImageOrientationPatient, dtype=float), float(dataset.PixelSpacing[0])
        points = np.array(dataset.ImagePositionPatient, dtype=float) + size * (
            rows[..., None] * cosines[3:] + columns[..., None] * cosines[:3]
        )
        points[..., :2] *= -1
        indices = np.round(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
        assert (indices >= 0).all()
        assert (indices < volume.shape).all()
        theirs = dataset.pixel_array[rows, columns] * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        ours = volume[tuple(np.moveaxis(indices, -1, 0))]
        found.append(np.corrcoef(theirs.clip(low, high).ravel(), ours.clip(low, high).ravel())[0, 1])
    return np.array(found)


@pytest.mark.real_data
def test_the_tilted_head_has_every_slice_in_its_place(real_data, tmp_path):
    cohort, (row,) = _import_public(real_data, "ge-headct-tilt", tmp_path)
    sidecar = json.loads((cohort / row["path"].replace(".nii.gz", ".json")).read_text())
    numbers = {fault["Reason"]: fault["Numbers"] for fault in sidecar["Faults"]}
    assert numbers["gantry_tilt"]["tilt_deg"] == pytest.approx(18.5, abs=1e-3)
    assert numbers["two_thicknesses"] == {"thinnest_mm": 4, "thickest_mm": 7, "n_thicknesses": 2}
    files = sorted((real_data / "dicom" / "ge-headct-tilt").glob("*.dcm"))
    agreement = _agreement(files, _image(cohort, row), -200, 300)
    # an interpolated plane differs from the nearest slice where anatomy changes within 7 mm
    assert agreement.min() > 0.85
    assert np.median(agreement) > 0.95
    _, (refused,) = _import_public(real_data, "ge-headct-tilt", tmp_path, "gantry_tilt=reject")
    assert (refused["action"], refused["reason"]) == ("rejected", "gantry_tilt")


@pytest.mark.real_data
def test_tilt_without_the_tag_is_corrected(real_data, tmp_path):
    cohort, (row,) = _import_public(real_data, "siemens-tilt-without-tag", tmp_path)
    assert json.loads(row["numbers"])["tilt_deg"] == pytest.approx(14, abs=1e-3)
    source, ours = real_data / "dicom" / "siemens-tilt-without-tag", _image(cohort, row)
    arguments = ["-b", "n", "-z", "n", "-f", "peer", "-o", str(tmp_path), str(source)]
    subprocess.run([dcm2niix.bin, *arguments], check=True, capture_output=True)
    peer = nib.as_closest_canonical(nib.load(tmp_path / "peer_Tilt_1.nii"))
    assert ours.shape == peer.shape
    assert np.allclose(ours.affine, peer.affine, atol=0.01)
    assert np.abs(ours.get_fdata() - peer.get_fdata())[:, 20:-20].max() <= 1  # both round to whole HU
    # the voxels are white noise, so that even the nearest voxel of a slice moved by part of a pixel differs
    assert _agreement(sorted(source.rglob("*.dcm")), ours, -1100, 300).min() > 0.9


@pytest.mark.real_data
def test_the_flow_map_holds_flow_and_no_anatomy(real_data, tmp_path):
    cohort, (row,) = _import_public(real_data, "perfusion-map", tmp_path)
    values = _image(cohort, row).get_fdata()
    source = pydicom.dcmread(next((real_data / "dicom" / "perfusion-map").glob("*.dcm")))
    stored = source.pixel_array
    assert np.isnan(values).sum() == (stored < 1024).sum()
    assert np.nanmax(values) == pytest.approx((stored.max() - 1024.0) * 60 / 1.04, rel=1e-6)
    sidecar = json.loads((cohort / row["path"].replace(".nii.gz", ".json")).read_text())
    assert sidecar["Units"] == "ml/100 g/min"


@pytest.mark.real_data
def test_invented_identities_occur_in_no_byte(real_data, tmp_path):
    """Every text of every identifying attribute of the public files, searched in the whole output tree."""
    out = io.StringIO()
    source = real_data / "dicom"
    import_dicom(import_request(source, tmp_path / "cohort", None, ()), Console(file=out, width=200))
    written = _written(tmp_path / "cohort") + out.getvalue().encode()
    canaries = set()
    for path in source.rglob("*.dcm"):
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        for element in dataset.iterall():
            values = element.value if element.VM > 1 else [element.value]
            if element.VR in ("PN", "UI", "DA", "DT") or element.keyword in (
                "PatientID", "AccessionNumber", "InstitutionName", "InstitutionAddress", "StationName",
                "OtherPatientIDs",
                "DeviceSerialNumber", "StudyDescription", "SeriesDescription", "PatientAge", "IssuerOfPatientID",
            ):  # fmt: skip
                canaries |= {part for value in values for part in str(value).replace("=", "^").split("^")}
    canaries = {text.strip() for text in canaries if len(text.strip()) >= 4 and text.strip() != "HEAD"}
    assert {"SIMPSON", "HOMER", "999887722", "SGH SPRINGFIELD GENERAL HOSPITAL"} <= canaries
    assert [text for text in sorted(canaries) if text.encode() in written] == []
