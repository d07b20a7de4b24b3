"""The data set below ``OUT/derivatives``: names, contents, and what BIDS's own validator says of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from cohorts.images.derivatives import map_files
from cohorts.images.nifti import nifti_bytes
from cohorts.images.transforms import transform_files
from cohorts.store.findings import Findings
from cohorts.store.records import Record, commit, output_folder, write_outputs
from cohorts.store.verifying import verify_records
from cohorts.tables.storage import tsv_text
from flows.cases.case import step_key
from flows.cases.region_files import regions_stem
from flows.commands.prune import prune
from flows.run.bids import IGNORED, bids_labels, keep_derivatives
from flows.run.plan import make_plan, with_records
from models.anatomy.template import load_label_map
from reports.figures.scan_picture import PICTURE_SUFFIX

PEOPLE = ("sub-01", "sub-st_2", "sub-st.2")
STUDY = """\
[study]
name = "Names of BIDS"

[[source]]
name = "dwi-lesion"
kind = "dwi_threshold"

[[source]]
name = "drawn"
kind = "native_mask"

[[source]]
name = "ratio"
kind = "density_ratio"

[[source]]
name = "core"
kind = "ctp_core"
"""
GRID = np.diag([2.0, 3.0, 4.0, 1.0])


def _image(kind=np.uint8):
    return nifti_bytes(np.ones((4, 5, 6), kind), GRID)


def _stored(prefix):
    classic = load_label_map("classic")
    regions = regions_stem(prefix, classic.sha256)
    rows = [{"index": one.index, "name": one.name} for one in classic.table.labels]
    files = {
        f"{prefix}_label-lesion_mask.nii.gz": _image(),
        f"{regions}.nii.gz": _image(),
        f"{regions}.tsv": tsv_text(rows).encode(),
        f"{prefix}{PICTURE_SUFFIX}": b"{}",
        **transform_files(prefix, "MNI152NLin2009aSym", np.eye(4), {}),
    }
    if prefix.endswith("_ctp"):
        files |= map_files(f"{prefix}_cbv", np.ones((4, 5, 6)), GRID, {"Units": "ml/100 g"})
        files[f"{prefix}_label-core_mask.nii.gz"] = _image()
        files[f"{prefix}_label-hypoperfusion_mask.nii.gz"] = _image()
        files[f"{prefix}_space-ncct_label-core_mask.nii.gz"] = _image()
    if prefix.endswith("_dwi"):
        files[f"{prefix}_label-lesion_probseg.nii.gz"] = _image(np.float32)
    return files


def _measure(plan, out):
    """Commit what the steps would, with images of a few voxels."""
    for (participant_id, measurement), case in plan.cases.items():
        key = step_key(case, plan.settings[measurement])
        outputs = write_outputs(out, output_folder(participant_id, key), _stored(case.prefix))
        commit(out, Record(participant_id, key, "ok", None, None, Findings(), outputs))
    return with_records(plan, out)


@pytest.fixture
def study(tmp_path):
    """A cohort of three with every kind of file; (cohort folder, output folder)."""
    folder, out = tmp_path / "cohort", tmp_path / "out"
    folder.mkdir()
    (folder / "cohort.toml").write_text(STUDY)
    (folder / "participants.tsv").write_text("participant_id\n" + "".join(f"{name}\n" for name in PEOPLE))
    rows = ["participant_id\tmodality\tspace\tpath"]
    for name in PEOPLE:
        for number, modality in enumerate(("dwi", "dwi-lesion", "ncct", "ctp")):
            values = np.full((2, 2, 2), number + len(rows), np.int16)
            nib.save(nib.Nifti1Image(values, np.eye(4)), folder / f"{name}_{modality}.nii.gz")
            rows.append(f"{name}\t{modality}\tn/a\t{name}_{modality}.nii.gz")
    (folder / "scans.tsv").write_text("\n".join(rows) + "\n")
    return folder, out


@pytest.fixture
def dataset(study):
    """The data set of that cohort."""
    folder, out = study
    keep_derivatives(_measure(make_plan(folder, out), out), out)
    return out / "derivatives"


def _names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _stamps(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_files_are_named_by_measurement_and_not_by_address(dataset):
    names = _names(dataset)
    assert "sub-01/dwi/sub-01_label-lesion_desc-thresholddwi_mask.nii.gz" in names
    of_dwi = [name for name in names if name.startswith("sub-01/dwi/")]
    assert len([name for name in of_dwi if name.endswith("_mask.nii.gz")]) == 2  # found, and drawn by hand
    assert any(name.endswith("_seg-classic_desc-nativedwilesion_dseg.tsv") for name in of_dwi)
    of_ct = [name for name in names if name.startswith("sub-01/ct/")]
    assert any(name.endswith("_cbv.nii.gz") for name in of_ct)
    assert not [name for name in names if "keyslices" in name or "_ctp_" in name]
    for name in names:
        if name.endswith(".nii.gz"):
            assert f"{name.removesuffix('.nii.gz')}.json" in names
    labels = bids_labels(PEOPLE)
    assert labels["sub-01"] == "sub-01"
    assert len(set(labels.values())) == 3
    table = (dataset / "participants.tsv").read_text().splitlines()
    assert table[0] == "participant_id\tcohort_id"
    assert f"{labels['sub-st_2']}\tsub-st_2" in table


def test_made_again_nothing_is_written_and_what_is_gone_goes(study):
    folder, out = study
    plan = _measure(make_plan(folder, out), out)
    keep_derivatives(plan, out)
    dataset = out / "derivatives"
    mine = dataset / "sub-01" / "dwi" / "mine.txt"
    mine.write_text("a note")
    before = _stamps(dataset)
    keep_derivatives(plan, out)
    assert _stamps(dataset) == before
    fewer = {key: one for key, one in plan.records.items() if key[0] != "sub-01"}
    keep_derivatives(replace(plan, records=fewer), out)
    assert _names(dataset / "sub-01") == ["dwi/mine.txt"]
    mine.unlink()
    (dataset / "participants.tsv").unlink()
    keep_derivatives(plan, out)
    assert _names(dataset) == sorted(set(before) - {"sub-01/dwi/mine.txt"})


def test_a_file_that_somebody_changed_is_theirs_until_its_measurement_changes(study):
    folder, out = study
    plan = _measure(make_plan(folder, out), out)
    keep_derivatives(plan, out)
    mask = next((out / "derivatives" / "sub-01" / "dwi").glob("*_mask.nii.gz"))
    mask.unlink()
    mask.write_bytes(b"drawn better")
    keep_derivatives(replace(plan, records={}), out)
    assert mask.read_bytes() == b"drawn better"
    assert verify_records(out)[2] == []


def test_links_take_no_room_and_old_records_keep_their_files(study):
    folder, out = study
    plan = make_plan(folder, out)
    (case,) = [case for (name, measurement), case in plan.cases.items() if (name, case.files[0].modality)[1] == "dwi"][
        :1
    ]
    measurement = next(name for (who, name), one in plan.cases.items() if one is case)
    key = step_key(case, plan.settings[measurement])
    old = f"derivatives/{case.participant_id}/{key.step}-{key.digest[:20]}"
    outputs = write_outputs(out, old, _stored(case.prefix))
    commit(out, Record(case.participant_id, key, "ok", None, None, Findings(), outputs))
    again = make_plan(folder, out)
    assert (case.participant_id, measurement) in again.records
    keep_derivatives(again, out)
    mask = next((out / "derivatives" / "sub-01" / "dwi").glob("*_mask.nii.gz"))
    assert mask.stat().st_nlink == 2
    (out / "results").mkdir()
    prune(out, 1, Console(quiet=True), is_agreed=True)
    assert mask.is_file()


def validator():
    """The program; None where it is not installed."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    return str(beside) if beside.exists() else shutil.which("bids-validator-deno")


@pytest.mark.processes
def test_the_validator_of_bids_finds_no_error(dataset):
    """Ignored are CT and transforms, which BIDS has no rule for; offline, as everything here."""
    if (program := validator()) is None:
        if os.environ.get("ASPECTS_REQUIRE_BIDS") == "1":
            pytest.fail("ASPECTS_REQUIRE_BIDS=1 but there is no bids-validator-deno. Install the extra dev.")
        pytest.skip("bids-validator-deno is not installed")
    assert _validate(program, dataset) == []
    assert (dataset / ".bidsignore").read_text().splitlines() == list(IGNORED)
    (dataset / ".bidsignore").unlink()
    ignored = _validate(program, dataset)
    assert "NOT_INCLUDED" in {code for code, _ in ignored}
    assert all("/ct/" in place or "_xfm." in place for _, place in ignored)


def _validate(program, folder):
    """(code, place) of every error."""
    done = subprocess.run(
        [program, "--format", "json", str(folder)], capture_output=True, text=True, timeout=300, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [(one["code"], one.get("location", "")) for one in issues if one["severity"] == "error"]
