"""BIDS data sets and those of the ISLES challenges, in their published shape, as cohort folders."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import openpyxl
import pytest

from cohorts.folder.bids import adopt_bids, adopt_isles22, adopt_isles24
from flows.sources.registry import read_cohort

GRIDS = {"dwi": ((4, 5, 3), 2.0), "ncct": ((6, 5, 4), 1.0), "mni": ((3, 3, 3), 4.0)}


def _image(path, grid, shape=None):
    size, step = GRIDS[grid]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape or size, np.uint8), np.diag([-step, step, step + 1, 1])), path)


def _scans(folder):
    return {(scan.participant_id, scan.modality): scan.path for scan in read_cohort(folder).scans}


def _report(folder):
    lines = (folder / "init_report.tsv").read_text().splitlines()[1:]
    return {line.split("\t")[0]: line.split("\t")[3] for line in lines}


def _isles22(root, raw=""):
    for number in ("0001", "0009"):
        sub = f"sub-strokecase{number}"
        stem = f"{sub}/ses-0001/dwi/{sub}_ses-0001"
        for name in ("dwi", "adc"):
            _image(root / raw / f"{stem}_{name}.nii.gz", "dwi")
        (root / raw / f"{stem}_dwi.json").write_text("{}")
        _image(root / raw / f"{sub}/ses-0001/anat/{sub}_ses-0001_FLAIR.nii.gz", "ncct")
        _image(root / f"derivatives/{sub}/ses-0001/{sub}_ses-0001_msk.nii.gz", "dwi")


@pytest.mark.parametrize("raw", ["", "rawdata"])
def test_isles22_in_both_of_its_shapes(tmp_path, raw):
    root, folder = tmp_path / "ISLES-2022", tmp_path / "cohort"
    _isles22(root, raw)
    counts = adopt_isles22(root, folder)
    assert counts == {"adc": 2, "dwi": 2, "flair": 2, "dwi-lesion": 2}
    mask = "derivatives/sub-strokecase0009/ses-0001/sub-strokecase0009_ses-0001_msk.nii.gz"
    assert _scans(folder)["sub-strokecase0009", "dwi-lesion"] == mask
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    assert [source.kind for source in cohort.config.source] == ["native_mask", "dwi_threshold"]
    assert cohort.scans[1].sidecar is not None
    with pytest.raises(FileExistsError, match="must be empty"):
        adopt_isles22(root, folder)


def _isles24(root, sub="sub-stroke0001", book=False):
    raw, derived = root / "train/raw_data" / sub, root / "train/derivatives" / sub
    for name in ("ncct", "cta", "ctp"):
        _image(raw / f"ses-01/{sub}_ses-01_{name}.nii.gz", "ncct", (6, 5, 4, 2) if name == "ctp" else None)
    for name in ("cbf", "tmax"):
        _image(raw / f"ses-01/perfusion-maps/{sub}_ses-01_{name}.nii.gz", "ncct")
        _image(derived / f"ses-01/perfusion-maps/{sub}_ses-01_space-ncct_{name}.nii.gz", "ncct")
    _image(derived / f"ses-01/{sub}_ses-01_space-ncct_cta.nii.gz", "ncct")
    _image(derived / f"ses-01/{sub}_ses-01_space-ncct_lvo-msk.nii.gz", "ncct")
    _image(raw / f"ses-02/{sub}_ses-02_dwi.nii.gz", "dwi")
    _image(derived / f"ses-02/{sub}_ses-02_space-ncct_lesion-msk.nii.gz", "ncct")
    tables = {"ses-01": ("demographic_baseline", ["Age", "Sex", "NIHSS at admission"], [71, "F", 12]),
              "ses-02": ("outcome", ["mRS 3 months"], ["nan"])}  # fmt: skip
    for session, (name, header, cells) in tables.items():
        path = root / "train/phenotype" / sub / session / f"{sub}_{session}_{name}"
        path.parent.mkdir(parents=True)
        if book:
            workbook = openpyxl.Workbook()
            workbook.active.append(header)
            workbook.active.append(cells)
            workbook.save(path.with_suffix(".xlsx"))
        else:
            path.with_suffix(".csv").write_text(",".join(header) + "\n" + ",".join(map(str, cells)) + "\n")


def test_isles24_has_acute_ct_the_final_infarct_and_its_clinical_tables(tmp_path):
    root, folder = tmp_path / "isles24", tmp_path / "cohort"
    _isles24(root)
    _isles24(root, "sub-stroke0002", book=True)
    counts = adopt_isles24(root, folder)
    assert counts["ncct-lesion"] == counts["ctp"] == counts["cta"] == counts["cbf-on-ncct"] == counts["lvo-mask"] == 2
    scans = _scans(folder)
    assert scans["sub-stroke0001", "cta"].startswith("raw_data/")
    assert scans["sub-stroke0001", "ncct-lesion"].endswith("ses-02_space-ncct_lesion-msk.nii.gz")
    cohort = read_cohort(folder)
    assert cohort.problems == ()
    assert [source.kind for source in cohort.config.source] == ["native_mask", "ctp_core", "density_ratio"]
    table = cohort.participants
    assert table[["nihss_at_admission", "age", "sex"]].to_numpy().tolist() == [[12, 71.0, "F"]] * 2
    assert table["mrs_3_months"].isna().all()
    assert cohort.config.severity.column == "nihss_at_admission"


def test_a_bids_dataset_finds_the_scan_of_every_mask_by_its_voxels(tmp_path):
    root, folder = tmp_path / "study", tmp_path / "cohort"
    for sub in ("sub-01", "sub-02"):
        _image(root / f"{sub}/ses-a/ct/{sub}_ses-a_ct.nii.gz", "ncct")
        _image(root / f"{sub}/ses-a/dwi/{sub}_ses-a_dwi.nii.gz", "dwi")
    _image(root / "sub-01/ses-b/dwi/sub-01_ses-b_dwi.nii.gz", "dwi")
    _image(root / "sub-02/dwi/sub-02_acq-directions_dwi.nii.gz", "dwi", (4, 5, 3, 7))
    derived = root / "derivatives/manual"
    _image(derived / "sub-01/ses-a/dwi/sub-01_ses-a_label-lesion_mask.nii.gz", "dwi")
    _image(derived / "sub-02/ses-a/sub-02_ses-a_desc-lesion_mask.nii.gz", "ncct")
    _image(derived / "sub-01/sub-01_space-MNI152NLin2009cAsym_label-lesion_mask.nii.gz", "mni")
    _image(derived / "sub-02/sub-02_run-2_label-lesion_mask.nii.gz", "mni")  # lies on no scan
    _image(derived / "sub-02/sub-02_label-brain_mask.nii.gz", "ncct")
    _image(derived / "sub-02/sub-01_acq-moved_label-lesion_mask.nii.gz", "dwi")  # in somebody else's folder
    _image(derived / "atlas.nii.gz", "mni")
    _image(derived / "sub-02/ses-c/sub-02_ses-c_label-lesion_mask.nii.gz", "dwi")  # ses-a has the only dwi
    (root / "participants.tsv").write_text("participant_id\tage\tgroup\nsub-01\t70\tA\nsub-03\t\tB\n")
    adopt_bids(root, folder)
    scans = _scans(folder)
    assert scans["sub-01", "dwi-lesion"].endswith("sub-01_ses-a_label-lesion_mask.nii.gz")
    assert scans["sub-02", "ncct-lesion"].endswith("sub-02_ses-a_desc-lesion_mask.nii.gz")
    assert scans["sub-01", "lesion"].endswith("label-lesion_mask.nii.gz")
    assert ("sub-02", "dwi-directions") in scans
    report = _report(folder)
    assert report["sub-01/ses-b/dwi/sub-01_ses-b_dwi.nii.gz"] == "sub-01/ses-a/dwi/sub-01_ses-a_dwi.nii.gz is listed"
    assert (
        "no dwi, ncct, cta of this participant has its voxels"
        in (report["derivatives/manual/sub-02/sub-02_run-2_label-lesion_mask.nii.gz"])
    )
    assert "say different participants" in report["derivatives/manual/sub-02/sub-01_acq-moved_label-lesion_mask.nii.gz"]
    assert "does not say whose it is" in report["derivatives/manual/atlas.nii.gz"]
    assert len(report) == len(list(root.rglob("*.nii.gz"))) == 14
    cohort = read_cohort(folder)
    assert cohort.participants["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03"]
    assert {problem.reason for problem in cohort.problems if not problem.is_warning} == {"participant_without_scan"}
    kinds = [(source.kind, source.name) for source in cohort.config.source]
    assert kinds == [("mask", "lesion"), ("native_mask", "dwi-lesion"), ("native_mask", "ncct-lesion"),
                     ("density_ratio", "ncct-ratio")]  # fmt: skip


def test_a_folder_without_anything_to_score_is_refused(tmp_path):
    _image(tmp_path / "study/sub-1/anat/sub-1_T1w.nii.gz", "mni")
    with pytest.raises(ValueError, match=r"must have images that a source can score .*, got t1w"):
        adopt_bids(tmp_path / "study", tmp_path / "cohort")
    with pytest.raises(FileNotFoundError, match="must hold ISLES'22, got no derivatives"):
        adopt_isles22(tmp_path / "study", tmp_path / "cohort")


def test_a_scan_with_a_mask_is_listed_before_one_of_an_earlier_session(tmp_path):
    root, folder = tmp_path / "study", tmp_path / "cohort"
    for session in ("1", "2", "3"):
        _image(root / f"sub-1/ses-{session}/dwi/sub-1_ses-{session}_dwi.nii.gz", "dwi")
    for session in ("2", "3"):
        _image(root / f"derivatives/sub-1/ses-{session}/sub-1_ses-{session}_label-lesion_mask.nii.gz", "dwi")
    adopt_bids(root, folder)
    scans = _scans(folder)
    assert {path.split("/")[-2 if "deriv" in path else 1] for path in scans.values()} == {"ses-2"}
    left_out = _report(folder)["derivatives/sub-1/ses-3/sub-1_ses-3_label-lesion_mask.nii.gz"]
    assert left_out == "it is drawn on sub-1/ses-3/dwi/sub-1_ses-3_dwi.nii.gz, which is not listed"
