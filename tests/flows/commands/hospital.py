"""A phantom patient in a hospital: DICOM series, imported with a link table, measured and published in one process."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from rich.console import Console

from flows.commands.import_dicom import import_dicom
from flows.commands.import_request import import_request
from flows.run.plan import make_plan
from flows.run.publishing import RunFacts, publish_results
from flows.run.steps import run_chunk
from tasks.space.resample import Grid, resample_labels
from tests.cohorts.dicom.made import uid, write_ct, write_slice
from tests.flows import scan_phantom

PATIENT = {"PatientName": "ŁUKASZ^MÜLLER", "PatientID": "0077", "PatientSex": "F", "PatientBirthDate": "19500102"}
STUDY = """\
[study]
name = "Hospital"
synthetic = true
may_reidentify = true
bootstrap_resamples = 100

[[source]]
name = "ratio"
kind = "density_ratio"
registration = "affine"

[[source]]
name = "reference"
kind = "native_mask"
modality = "ncct-lesion"
scan = "ncct"
registration = "affine"
"""


@dataclass(frozen=True)
class Hospital:
    """Folders of one study, and where the infarct of its patient truly lies.

    ``patient`` has results; ``stranger`` is another patient, of a series without a frame of reference.
    ``infarct`` are (slices, rows, columns) pixels of the series as it was written.
    """

    folder: Path
    patient: str
    stranger: str
    infarct: np.ndarray

    @property
    def cohort(self):
        return self.folder / "cohort"

    @property
    def out(self):
        return self.folder / "out"

    @property
    def links(self):
        return self.folder / "links.tsv"


def write_patient(folder, hu, affine, patient):
    """Write a CT as it comes from a scanner, columns to the left and rows to the front: a negated column cosine."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    for k in range(hu.shape[2]):
        write_slice(
            folder,
            k,
            np.rint(hu[:, ::-1, k].T).clip(-1024, 3000) + 1024,
            (lps @ [0, hu.shape[1] - 1, k, 1])[:3],
            PixelSpacing=list(scan_phantom.SPACING_MM[:2]),
            ImageOrientationPatient=[1, 0, 0, 0, -1, 0],
            FrameOfReferenceUID=uid(patient["PatientID"] + "frame"),
            SpecificCharacterSet="ISO_IR 192",
            patient=patient,
        )


def make_hospital(folder):
    """Write, import, measure and publish."""
    hu, affine = scan_phantom.ct()
    infarct = scan_phantom.infarct()
    truth = resample_labels(
        infarct.mask.astype(np.uint8), infarct.affine, Grid(hu.shape, affine), np.linalg.inv(scan_phantom.POSE)
    )
    write_patient(folder / "in" / "patient", hu, affine, PATIENT)
    write_ct(folder / "in" / "stranger", series="b", patient={"PatientID": "0078"})
    request = import_request(folder / "in", folder / "cohort", None, (), folder / "links.tsv")
    import_dicom(request, Console(file=io.StringIO()))
    links = [line.split("\t")[:3] for line in (folder / "links.tsv").read_text().splitlines()[1:]]
    (patient, path), (stranger, _) = (row[:2] for row in sorted(links, key=lambda row: row[2]))
    scan = nib.load(folder / "cohort" / path)
    lesion = resample_labels(truth, affine, Grid(scan.shape, scan.affine), np.eye(4))
    nib.save(nib.Nifti1Image(lesion, scan.affine), folder / "cohort" / "lesion.nii.gz")
    with (folder / "cohort" / "scans.tsv").open("a") as table:
        table.write(f"{patient}\tncct-lesion\tn/a\tlesion.nii.gz\n")
    (folder / "cohort" / "cohort.toml").write_text(STUDY)
    run_and_publish(folder / "cohort", folder / "out", "run-1")
    return Hospital(folder, patient, stranger, truth.transpose(2, 1, 0)[:, ::-1].astype(bool))


def run_and_publish(cohort, out, run_id):
    """What ``aspects run`` does, in this process."""
    out.mkdir(exist_ok=True)
    plan = make_plan(cohort, out)
    settings = {name: one.to_json() for name, one in plan.settings.items()}
    run_chunk([(name, case.to_json()) for name, case in plan.pending], settings, str(out))
    publish_results(make_plan(cohort, out), out, RunFacts(run_id, "2026-11-30T00:00:00+00:00", "aspects run"))
