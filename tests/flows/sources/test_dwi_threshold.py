"""The steps on scans in native space, from file to record: a phantom patient with an infarct on the right.

The scans' head is turned, shifted and smaller than the template by a known pose.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from cohorts.store.records import is_complete
from flows.cases import native_scan as prepare_scan
from flows.cases.case import step_key
from flows.run.steps import examine, run_case
from models.anatomy.template import load_label_map
from tasks.anatomy import TEMPLATE_SPACE
from tasks.density.rule import BUILT_IN_DENSITY_RULES
from tasks.quality.gates import GATES, judge_quality
from tests.flows.scan_phantom import (
    CLASSIC,
    POSE,
    REGIONS,
    TERRITORY,
    VASCULAR,
    ct,
    ct_case,
    diffusion,
    dwi_case,
    infarct_ml,
    ratio_settings,
    threshold_settings,
)

#: Left insula, right insula, above both ventricles: where a transform is checked, template world, RAS mm.
POINTS_MM = np.array([(-38.0, 4, 2), (38, 4, 2), (0, -20, 40), (30, -60, 20)])
REGISTRATION_MM = 2.0  # of these phantoms within; their voxels have 1.8 x 1.8 x 5 mm
VOLUME_TOLERANCE = 0.2  # of the infarct's grey and white matter: slices of 5 mm hide part of its border


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def ct_record(out):
    return run_case(ct_case(out / "cases"), ratio_settings(), out)


@pytest.fixture(scope="module", params=["adc", "dwi-b0"])
def dwi_record(request, out):
    return run_case(dwi_case(out / request.param, request.param), threshold_settings(), out), request.param


def _files(record, out):
    assert is_complete(out, record)
    return {Path(output["path"]).name: out / output["path"] for output in record.outputs}


def _is_affected(record):
    rule = BUILT_IN_DENSITY_RULES["ncct-ratio"]
    labels = load_label_map("classic").table.labels
    densities = record.payload.densities[CLASSIC.sha256]
    return {
        label.name
        for label, density in zip(labels, densities, strict=True)
        if rule.is_affected(label.region, density.ratio)
    }


def _to_scan_mm(files, prefix, points_ras):
    """Template points taken to the scan by the written files, as any ITK program does it."""
    name = f"{prefix}_from-orig_to-{TEMPLATE_SPACE}_mode-image"
    transform = sitk.CompositeTransform(3)
    transform.AddTransform(sitk.ReadTransform(str(files[f"{name}_xfm.txt"])))
    if (field := files.get(f"{name}_desc-refinement_xfm.nii.gz")) is not None:
        image = sitk.ReadImage(str(field), sitk.sitkVectorFloat64)
        transform.AddTransform(sitk.DisplacementFieldTransform(image))
    flip = np.array([-1, -1, 1])
    return np.array([transform.TransformPoint(point.tolist()) for point in points_ras * flip]) * flip


def test_a_ct_is_measured_and_the_right_regions_are_found_on_the_right(ct_record):
    assert (ct_record.status, ct_record.reason, ct_record.detail) == ("ok", None, None)
    assert _is_affected(ct_record) == {f"right_{region}" for region in REGIONS}
    rows = ct_record.payload.densities[CLASSIC.sha256]
    assert [row.index for row in rows] == [label.index for label in load_label_map("classic").table.labels]
    assert all(row.coverage == 1 for row in rows)
    facts = ct_record.payload.scans["ncct"]
    assert (facts.shape, facts.orientation, facts.notes) == ((112, 128, 34), "LPS", ())
    assert ct_record.payload.quality["ncct"]["registration_dice"] > 0.95
    assert ct_record.payload.quality["ncct"]["noise_hu"] == pytest.approx(3, abs=0.3)


def test_the_lesion_of_diffusion_is_found_on_the_right_with_its_volume(dwi_record):
    record, second = dwi_record
    assert record.status == "ok"
    lesion = record.payload.lesion
    assert lesion.side == "right"
    assert lesion.volume_ml == pytest.approx(infarct_ml(), rel=VOLUME_TOLERANCE)
    assert lesion.volume_left_ml < 0.01 * lesion.volume_right_ml
    assert record.payload.diffusion.adc_source == ("stored" if second == "adc" else "computed")
    assert set(record.payload.scans) == {"dwi", second}
    counts = record.payload.counts[CLASSIC.sha256]
    names = [label.name for label in load_label_map("classic").table.labels]
    filled = {
        name: n_lesion / n_region
        for name, n_region, n_lesion in zip(names, counts.n_region, counts.n_lesion, strict=True)
    }
    assert {name for name, share in filled.items() if share > 0.5} == {f"right_{region}" for region in REGIONS}
    assert sum(record.payload.counts[VASCULAR.sha256].n_lesion) > 0.9 * lesion.n_voxels


def test_the_mask_file_lies_in_the_right_hemisphere_of_the_scan(dwi_record, out):
    record, _ = dwi_record
    image = nib.load(_files(record, out)["sub-1_dwi_label-lesion_mask.nii.gz"])
    mask = np.asarray(image.dataobj) > 0
    assert mask.sum() == record.payload.lesion.n_voxels
    np.testing.assert_allclose(image.affine, diffusion()[1], atol=1e-4)
    to_template = np.linalg.inv(POSE) @ image.affine
    x_mm = np.argwhere(mask) @ to_template[0, :3] + to_template[0, 3]
    assert np.percentile(x_mm, 1) > 5  # RAS: the patient's right


def test_written_transforms_take_points_of_the_template_to_the_scan(ct_record, dwi_record, out):
    for record, prefix in ((ct_record, "sub-1_ncct"), (dwi_record[0], "sub-1_dwi")):
        files = _files(record, out)
        moved = _to_scan_mm(files, prefix, POINTS_MM)
        truth = POINTS_MM @ POSE[:3, :3].T + POSE[:3, 3]
        assert np.linalg.norm(moved - truth, axis=1).max() < REGISTRATION_MM
        assert sum(name.endswith("desc-refinement_xfm.nii.gz") for name in files) == 2
        sidecar = json.loads(files[f"{prefix}_from-orig_to-{TEMPLATE_SPACE}_mode-image_xfm.json"].read_text())
        assert sidecar["BrainDice"] > 0.95
        assert sidecar["Refused"] is None


def test_the_picture_shows_the_regions_and_the_lesion(ct_record, dwi_record, out):
    picture = json.loads(_files(ct_record, out)["sub-1_ncct_keyslices.json"].read_text())
    assert {plane["level"] for plane in picture["planes"]} == {"ganglionic", "supraganglionic"}
    assert all(plane["regions"] and not plane["lesion"] for plane in picture["planes"])
    picture = json.loads(_files(dwi_record[0], out)["sub-1_dwi_keyslices.json"].read_text())
    assert any(plane["lesion"] for plane in picture["planes"])


def test_the_lesion_of_diffusion_is_rendered_from_its_side_and_ct_without_a_lesion_is_not(ct_record, dwi_record, out):
    assert not [name for name in _files(ct_record, out) if name.endswith("_rendering.json")]
    record, _ = dwi_record
    path = _files(record, out)["sub-1_dwi_rendering.json"]
    assert path.stat().st_size < 40_000
    found = json.loads(path.read_text())
    assert [view["seen_from"] for view in found["views"]] == ["right", "front", "above"]
    assert (found["side"], found["volume_ml"]) == ("right", pytest.approx(record.payload.lesion.volume_ml, abs=1e-3))


def test_slices_are_drawn_with_every_label_map_but_that_of_the_territories(dwi_record, out):
    files = {name: path for name, path in _files(dwi_record[0], out).items() if name.endswith("_keyslices.json")}
    assert set(files) == {"sub-1_dwi_keyslices.json", f"sub-1_dwi_map-{TERRITORY.sha256[:8]}_keyslices.json"}
    classic, territory = (json.loads(files[name].read_text()) for name in sorted(files))
    assert (classic["label_map"], territory["label_map"]) == (CLASSIC.sha256, TERRITORY.sha256)
    areas = [
        sum(one["area_mm2"] for plane in one["planes"] for one in plane["regions"]) for one in (classic, territory)
    ]
    assert areas[1] > 1.1 * areas[0]  # territory fills what classic leaves between the levels


def test_the_regions_that_were_counted_are_kept_as_label_images(ct_record, dwi_record, out):
    for record, reference in ((ct_record, CLASSIC), (dwi_record[0], CLASSIC), (dwi_record[0], TERRITORY)):
        (name,) = (one for one in _files(record, out) if one.endswith(f"_seg-{reference.sha256[:8]}_dseg.nii.gz"))
        labels = np.asarray(nib.load(_files(record, out)[name]).dataobj)
        table = load_label_map(reference.location).table
        if record is not ct_record:  # densities are counted on the working grid
            counts = record.payload.counts[reference.sha256].n_region
            assert [int((labels == one.index).sum()) for one in table.labels] == list(counts)
        rows = _files(record, out)[name.replace(".nii.gz", ".tsv")].read_text().splitlines()[1:]
        assert rows == [f"{one.index}\t{one.name}" for one in table.labels]


def test_the_same_scan_gives_the_same_record_and_files(ct_record, out, tmp_path):
    again = run_case(ct_case(out / "cases"), ratio_settings(), tmp_path)
    assert again.payload == ct_record.payload
    assert again.outputs == ct_record.outputs


def test_without_refinement_another_step_is_run_and_nothing_is_displaced(ct_record, out):
    case = ct_case(out / "cases")
    affine = ratio_settings(registration="affine")
    assert step_key(case, affine).causes_against(step_key(case, ratio_settings())) == ("settings",)
    record = run_case(case, affine, out)
    assert _is_affected(record) == {f"right_{region}" for region in REGIONS}
    assert not [name for name in _files(record, out) if "refinement" in name]
    assert record.payload.quality == ct_record.payload.quality  # figures are those of the affine transform


@pytest.mark.usefixtures("ct_record")
def test_a_refinement_that_folds_falls_back_to_the_affine_transform_with_a_note(out, tmp_path, monkeypatch):
    whole = prepare_scan.refine

    def folded(*arguments):
        return replace(whole(*arguments), reason="refinement_folded", smallest_volume_ratio=-0.1)

    monkeypatch.setattr(prepare_scan, "refine", folded)
    record = run_case(ct_case(out / "cases"), ratio_settings(), tmp_path)
    affine = run_case(ct_case(out / "cases"), ratio_settings(registration="affine"), tmp_path)
    assert record.status == "ok"
    assert record.payload.scans["ncct"].notes == ("refinement_folded",)
    assert record.payload.densities == affine.payload.densities
    assert [Path(one["path"]).name for one in record.outputs] == [Path(one["path"]).name for one in affine.outputs]


def test_a_scan_without_a_side_of_the_head_is_refused_with_a_picture(out, tmp_path):
    hu, _ = ct()
    case = ct_case(tmp_path / "cases", hu[:56])
    record = run_case(case, ratio_settings(), out)
    assert (record.status, record.reason) == ("excluded", "brain_cut_at_side")
    assert record.detail.startswith("sub-1_ncct.nii.gz: ")
    assert " must " in record.detail
    assert record.payload.densities == {}
    assert record.payload.scans["ncct"].shape == (56, 128, 34)
    assert record.payload.quality["ncct"]["brain_volume_ml"] > 300
    files = _files(record, out)
    assert list(files) == ["sub-1_ncct_keyslices.json"]  # nothing was registered, so there is no transform
    planes = json.loads(files["sub-1_ncct_keyslices.json"].read_text())["planes"]
    assert planes
    assert all(plane["grey"] and not plane["regions"] for plane in planes)


def test_a_registration_that_a_gate_refuses_keeps_its_transform_and_its_numbers(out, tmp_path):
    """Two thirds of a head blanked: a study that widens every limit gets what was measured."""
    hu, _ = ct()
    blanked = hu.copy()
    blanked[:56] = -1000
    record = run_case(ct_case(tmp_path / "cases", blanked), ratio_settings(), out)
    assert record.status == "ok"
    findings = judge_quality(record.payload.quality["ncct"], GATES["ct"])
    assert {"registration_scale_out_of_range", "registration_overlap_too_low"} <= {one.reason for one in findings}
    sidecar = json.loads(
        _files(record, out)[f"sub-1_ncct_from-orig_to-{TEMPLATE_SPACE}_mode-image_xfm.json"].read_text()
    )
    assert sidecar["Refused"] is None
    assert sidecar["BrainDice"] == record.payload.quality["ncct"]["registration_dice"] < 0.9


def test_labels_are_made_once_per_map(out, monkeypatch):
    calls = []
    made = prepare_scan.labels_to_scan
    monkeypatch.setattr(prepare_scan, "labels_to_scan", lambda *arguments: calls.append(1) or made(*arguments))
    outcome = examine(dwi_case(out / "adc", "adc"), threshold_settings())
    assert outcome.status == "ok"
    assert len(calls) == len(threshold_settings().maps) == 3
