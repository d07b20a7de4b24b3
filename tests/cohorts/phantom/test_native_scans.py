"""Native scans of phantom patients: the rows, the bytes, and the infarct where the mask says it is."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pandas as pd
import pytest

from cohorts.images.scan import read_scan
from cohorts.phantom.faults import mask_bytes
from cohorts.phantom.native_scans import small_lesions, write_phantom_scans
from models.anatomy.register_template import template_target, template_tissues
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.phantoms.scans import lowering_hu
from tasks.registration.affine import register
from tasks.space.resample import Grid, resample_labels

IDS = ("sub-phantom001", "sub-phantom002", "sub-phantom003", "sub-phantom004")


def _lesion():
    label_map = load_label_map("classic")
    left = [
        one.index for one in label_map.table.labels if one.side == "left" and one.region in ("m2", "m5", "lentiform")
    ]
    return np.isin(label_map.labels, left), np.asarray(label_map.affine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four patients with a left infarct, the third without a time of onset; scans for the first, second and fourth."""
    made = tmp_path_factory.mktemp("cohort")
    content = mask_bytes(*_lesion())
    for participant_id in IDS:
        (made / f"{participant_id}.nii.gz").write_bytes(content)
    hours = {"participant_id": IDS, "onset_to_scan_h": ["9.0", "4.5", "n/a", "2.0"]}
    pd.DataFrame(hours).to_csv(made / "participants.tsv", sep="\t", index=False)
    _list_masks(made)
    write_phantom_scans(made, template_tissues(), without=[IDS[3]], n_patients=3)
    return made


def _list_masks(folder):
    paths = [f"{participant_id}.nii.gz" for participant_id in IDS]
    table = {"participant_id": IDS, "modality": "lesion", "space": "MNI152NLin2009aSym", "path": paths}
    pd.DataFrame(table).to_csv(folder / "scans.tsv", sep="\t", index=False)


def _scan(folder, participant_id, modality):
    path = folder / "scans" / f"{participant_id}_space-orig_desc-synthetic_{modality}.nii.gz"
    return read_scan(path.read_bytes(), path.name, modality)


def test_every_scan_has_its_row_beside_the_masks(folder):
    table = pd.read_csv(folder / "scans.tsv", sep="\t")
    assert table["modality"].tolist() == ["lesion"] * 4 + ["ncct", "dwi", "adc", "cta"] * 2
    assert table["participant_id"].tolist()[4:] == [IDS[0]] * 4 + [IDS[1]] * 4
    assert set(table["space"][4:]) == {"orig"}
    assert all((folder / path).is_file() for path in table["path"])


def test_the_same_seed_gives_the_same_bytes_whoever_else_is_scanned(folder, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(folder, again, ignore=shutil.ignore_patterns("scans"))
    _list_masks(again)
    rows = write_phantom_scans(again, template_tissues(), n_patients=3)
    assert [row.modality for row in rows] == ["ncct", "dwi", "adc", "cta"] * 3
    for path in (folder / "scans").iterdir():
        assert (again / "scans" / path.name).read_bytes() == path.read_bytes()


def test_scans_read_as_what_they_are_and_say_that_they_are_synthetic(folder):
    clipped, plain = (_scan(folder, one, "ncct") for one in IDS[:2])
    assert clipped.notes == ("hu_clipped_at_zero",)
    assert plain.notes == ()
    assert clipped.spacing_mm[2] == 5
    assert _scan(folder, IDS[0], "adc").notes == ("adc_unit_changed",)
    for path in (folder / "scans").iterdir():
        assert b"SYNTHETIC" in gzip.decompress(path.read_bytes())[:348]


@pytest.mark.parametrize(("participant_id", "hours"), [(IDS[0], 9.0), (IDS[1], 4.5)])
def test_the_infarct_lies_where_the_mask_says(folder, participant_id, hours):
    maps = template_tissues()
    mask, _ = _lesion()
    tissue = float((maps.grey + maps.white)[mask].mean())  # the rest is fluid, which does not change
    inside, mirrored = _both_sides(_scan(folder, participant_id, "ncct"), _scan(folder, participant_id, "ncct"), "ct")
    assert inside.mean() - mirrored.mean() == pytest.approx(-lowering_hu(hours) * tissue, rel=0.1)
    dwi, adc = (_scan(folder, participant_id, modality) for modality in ("dwi", "adc"))
    inside, mirrored = _both_sides(dwi, adc, "dwi")
    assert np.median(inside) / np.median(mirrored) == pytest.approx(0.64, abs=0.08)  # 1 - 0.13 ln(10) / 0.84
    inside, mirrored = _both_sides(dwi, dwi, "dwi")
    assert np.median(inside) / np.median(mirrored) == pytest.approx(1.74, abs=0.2)  # Eastwood et al. 2003


def _both_sides(scan, image, modality):
    """Values of an image inside the lesion and its mirror image, by the registration of a scan on the same grid."""
    mask, affine = _lesion()
    working = (ct_working_scan if modality == "ct" else mr_working_scan)(np.asarray(scan.values), scan.affine)
    brain = (extract_ct_brain if modality == "ct" else extract_mr_brain)(working)
    found = register(working, brain, template_target(modality))
    assert found.reason == ""
    values = np.asarray(image.values)
    grid = Grid(values.shape, scan.affine)
    return tuple(values[resample_labels(one, affine, grid, found.moving_to_fixed)] for one in (mask, mask[::-1]))


def test_small_lesions_are_passed_over_until_enough_are_found(folder):
    voxels = float(_lesion()[0].sum())  # 1 mm3 each
    assert small_lesions(folder, minimum_ml=voxels / 1000, n_patients=2) == set()
    found = small_lesions(folder, minimum_ml=(voxels + 1) / 1000, n_patients=2, without=IDS[:1])
    assert IDS[1] in found
    assert IDS[0] not in found
