"""CT perfusion series of phantom patients: rows, sidecars, bytes, and the core where the mask says it is."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from cohorts.images.perfusion_sidecar import frame_times
from cohorts.images.scan import read_scan
from cohorts.phantom.faults import mask_bytes
from cohorts.phantom.perfusion import FRAME_TIMES_S, SHAPE, write_phantom_perfusion
from models.anatomy.register_template import template_target, template_tissues
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan
from tasks.perfusion.masks import extract_slab_brain
from tasks.registration.affine import register
from tasks.space.resample import Grid, resample_labels

IDS = ("sub-phantom001", "sub-phantom002", "sub-phantom003")


def _core():
    """Left M2 and M5, whole."""
    label_map = load_label_map("classic")
    left = [one.index for one in label_map.table.labels if one.side == "left" and one.region in ("m2", "m5")]
    return np.isin(label_map.labels, left), np.asarray(label_map.affine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cohort")
    _write_masks(made)
    write_phantom_perfusion(made, template_tissues(), without=IDS[1:2], n_patients=2)
    return made


def _write_masks(folder):
    for participant_id in IDS:
        (folder / f"{participant_id}.nii.gz").write_bytes(mask_bytes(*_core()))
    paths = [f"{participant_id}.nii.gz" for participant_id in IDS]
    table = {"participant_id": IDS, "modality": "lesion", "space": "MNI152NLin2009aSym", "path": paths}
    pd.DataFrame(table).to_csv(folder / "scans.tsv", sep="\t", index=False)


def _path(folder, participant_id):
    return folder / "scans" / f"{participant_id}_space-orig_desc-synthetic_ctp.nii.gz"


def test_every_series_has_its_row_and_a_sidecar_with_its_times(folder):
    table = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str)
    assert table["modality"].tolist() == ["lesion"] * 3 + ["ctp"] * 2
    assert table["participant_id"].tolist()[3:] == [IDS[0], IDS[2]]
    path = _path(folder, IDS[0])
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert frame_times(sidecar, path.read_bytes(), path.name) == (list(FRAME_TIMES_S), "VolumeTiming")
    assert len({*np.diff(FRAME_TIMES_S)}) == 2  # uneven
    assert b"SYNTHETIC" in gzip.decompress(path.read_bytes())[:348]
    assert "SYNTHETIC" in sidecar["Description"]


def test_the_core_enhances_less_than_the_other_side_and_late(folder):
    scan = read_scan(_path(folder, IDS[0]).read_bytes(), "ctp.nii.gz", "ctp")
    series = np.asarray(scan.values)
    assert series.shape == (*SHAPE, len(FRAME_TIMES_S))
    baseline = series[..., :4].mean(axis=3)
    working = ct_working_scan(baseline, scan.affine)
    found = register(working, extract_slab_brain(baseline, scan.affine), template_target("ctp"))
    core, affine = _core()
    grid = Grid(SHAPE, scan.affine)
    inside, mirrored = (resample_labels(one, affine, grid, found.moving_to_fixed) for one in (core, core[::-1]))
    curves = [series[mask].mean(axis=0) - baseline[mask].mean() for mask in (inside, mirrored)]
    times = np.array(FRAME_TIMES_S)
    areas = [np.trapezoid(curve, times) for curve in curves]
    assert areas[0] < 0.45 * areas[1]  # core has about a fifth of the blood volume; slices mix it with its rim
    assert times[curves[0].argmax()] > times[curves[1].argmax()] + 3


def test_the_same_seed_gives_the_same_bytes_whoever_else_is_scanned(folder, tmp_path):
    _write_masks(tmp_path)
    write_phantom_perfusion(tmp_path, template_tissues(), n_patients=1)
    assert _path(tmp_path, IDS[0]).read_bytes() == _path(folder, IDS[0]).read_bytes()
