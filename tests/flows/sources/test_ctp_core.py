"""The steps of CT perfusion, from file to record: a phantom patient with a core on the right, known in every voxel."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts.phantom.native_scans import scan_bytes
from cohorts.store.records import is_complete
from flows.cases.case import CaseFile, StepSettings
from flows.run.steps import run_case
from flows.sources.cbf_map import CbfMapSource
from flows.sources.ctp_core import CtpCoreSource
from models.anatomy.register_template import template_tissues
from models.anatomy.template import load_label_map
from tasks.phantoms.head import head_pose
from tasks.phantoms.lesion import lesion_domain
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tasks.phantoms.tissue import grow_ischaemia
from tests.flows.scan_phantom import CLASSIC, TERRITORY, VASCULAR, case
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import perfusion_head

TIMES_S = (*(1.5 * frame for frame in range(24)), *(36.0 + 3 * frame for frame in range(1, 9)))  # uneven
PROTOCOL = Protocol(shape=(72, 84, 18), spacing_mm=(2.8, 2.8, 5.0), frame_times_s=TIMES_S, noise_hu=1.0)
POSE = head_pose((4, -3, 7), (6, -150, 400), (0.88, 0.88, 0.88))
CT_POSE = head_pose((-5, 2, -6), (-8, -120, 60), (0.88, 0.88, 0.88))
CORE_ML, HYPOPERFUSED_ML = 45, 110  # of the template; the head is smaller


@once_per_run
def _lesion():
    maps = template_tissues()
    domain = lesion_domain(maps.brain, maps.brain, maps.affine, side="right")
    seed = tuple(int(i) for i in np.rint(np.linalg.inv(maps.affine) @ [42, -8, 16, 1])[:3])
    sizes = {"core_ml": CORE_ML, "hypoperfused_ml": HYPOPERFUSED_ML}
    return grow_ischaemia(domain, seed=seed, spacing_mm=(1, 1, 1), rng=np.random.default_rng(2), **sizes)


def _head():
    return perfusion_head()


@once_per_run
def _phantom():
    return simulate_perfusion(_head(), PROTOCOL, np.random.default_rng(3), lesion=_lesion(), template_to_scan=POSE)


@once_per_run
def _ct():
    """Another scan of the same head in another pose, without contrast agent."""
    still = replace(PROTOCOL, shape=(72, 84, 24), frame_times_s=(0.0, 1.0), centre_mm=(0.0, -18.0, 24.0))
    scan = simulate_perfusion(_head(), still, np.random.default_rng(4), lesion=_lesion(), template_to_scan=CT_POSE)
    return scan.series.mean(axis=3), scan.affine


def _core_ml():
    voxel_ml = abs(np.linalg.det(_phantom().affine[:3, :3])) / 1000
    return float(_phantom().truth.core.sum() * voxel_ml)


def _case(folder, *, series=None, affine=None, sidecar=None, with_ct=False):
    """The phantom's series, or other values; ``sidecar`` None leaves it out."""
    phantom = _phantom()
    values = phantom.series if series is None else series
    contents = {"ctp": scan_bytes(values, phantom.affine if affine is None else affine)}
    if with_ct:
        contents["ncct"] = scan_bytes(*_ct())
    made = case(folder, contents, "core-ctp")
    return made if sidecar is None else _with_sidecar(folder, made, "ctp", sidecar)


def _with_sidecar(folder, made, modality, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = folder / f"sub-1_{modality}.json"
    path.write_bytes(content)
    return replace(
        made, files=(*made.files, CaseFile(f"{modality}.json", str(path), hashlib.sha256(content).hexdigest()))
    )


def _settings(**changes):
    source = CtpCoreSource(name="ctp-core", kind="ctp_core", **changes)
    return StepSettings(source.kind, (CLASSIC, VASCULAR), source.settings)


TIMED = {"VolumeTiming": list(TIMES_S)}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def record(out):
    settings = replace(_settings(), maps=(CLASSIC, TERRITORY, VASCULAR))
    return run_case(_case(out / "cases", sidecar=TIMED, with_ct=True), settings, out)


def _files(record, out):
    assert is_complete(out, record)
    return {Path(output["path"]).name: out / output["path"] for output in record.outputs}


def _image(path):
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def test_the_core_is_found_on_its_side_with_its_volume(record):
    assert (record.status, record.reason) == ("ok", None)
    assert record.payload.lesion.volume_ml == pytest.approx(_core_ml(), rel=0.2)
    assert record.payload.lesion.side == "right"
    assert record.payload.perfusion.affected_side == "right"
    core = record.payload.perfusion.core
    voxel_ml = abs(np.linalg.det(_phantom().affine[:3, :3])) / 1000
    whole_ml = float((_phantom().truth.core | _phantom().truth.penumbra).sum() * voxel_ml)
    assert core.hypoperfused_volume_ml == pytest.approx(whole_ml, rel=0.25)
    assert core.mismatch_ratio == pytest.approx(core.hypoperfused_volume_ml / record.payload.lesion.volume_ml)


def test_without_a_credible_vein_flow_is_told_relative_to_normal_flow_only(record, out, tmp_path):
    """An artery of less than a tenth of its vein: the core stays, the flow in ml/100 g/min and its unit go."""
    body = TIMED | {
        "ArterialInputFunction": (_phantom().aif_hu / 20).tolist(),
        "VenousOutputFunction": _phantom().vof_hu.tolist(),
    }
    found = run_case(_case(tmp_path / "cases", sidecar=body), _settings(threshold="nominal"), tmp_path)
    assert (found.status, found.reason) == ("ok", None)
    assert found.payload.perfusion.series.arterial.vof_reason == "vof_scaling_out_of_range"
    assert found.payload.perfusion.core.reference_cbf_ml_100g_min is None
    assert found.payload.lesion.volume_ml == pytest.approx(record.payload.lesion.volume_ml, rel=0.25)
    files = _files(found, tmp_path)
    units = {name: json.loads(path.read_text()).get("Units") for name, path in files.items() if name.endswith(".json")}
    assert {units[name] for name in units if name.endswith(("_cbf.json", "_cbv.json"))} == {"arbitrary"}
    assert {units[name] for name in units if name.endswith(("_mtt.json", "_tmax.json"))} == {"s"}
    panel = json.loads(next(path for name, path in files.items() if name.endswith("_perfusion.json")).read_text())
    assert [scale["name"] for scale in panel["scales"]] == ["cbf_relative", "cbv_relative", "mtt", "tmax"]
    assert {scale["unit"] for scale in panel["scales"][:2]} == {"times normal"}


def test_regions_are_affected_where_the_true_core_fills_more_than_a_tenth(record):
    labels = load_label_map("classic")
    counts = record.payload.counts[CLASSIC.sha256]
    n_agreed, n_affected = 0, 0
    for label, n_region, n_core in zip(labels.table.labels, counts.n_region, counts.n_lesion, strict=True):
        share = float(_lesion().core[labels.labels == label.index].mean())
        n_agreed += (n_core / n_region > 0.1) == (share > 0.1)
        n_affected += share > 0.1
    assert n_affected >= 4
    assert n_agreed >= 19  # of 20
    assert min(counts.coverage) > 0.95


def test_the_maps_are_kept_with_their_units(record, out):
    files = _files(record, out)
    truth = _phantom().truth
    for name, unit in (("cbf", "ml/100 g/min"), ("cbv", "ml/100 g"), ("mtt", "s"), ("tmax", "s")):
        values, affine = _image(files[f"sub-1_ctp_{name}.nii.gz"])
        np.testing.assert_allclose(affine, _phantom().affine, atol=1e-4)
        assert np.isnan(values[0, 0, 0])
        assert json.loads(files[f"sub-1_ctp_{name}.json"].read_text())["Units"] == unit
    cbf, _ = _image(files["sub-1_ctp_cbf.nii.gz"])
    inside, outside = truth.core, truth.brain & ~truth.core & ~truth.penumbra & (truth.cbf > 15)
    assert np.nanmean(cbf[inside]) < 0.35 * np.nanmean(cbf[outside])
    core, affine = _image(files["sub-1_ctp_label-core_mask.nii.gz"])
    dice = 2 * (core.astype(bool) & inside).sum() / (core.sum() + inside.sum())
    assert dice > 0.75
    centre = np.argwhere(core).mean(axis=0)
    middle = np.linalg.inv(POSE) @ affine @ [*centre, 1]
    assert middle[0] > 20  # mm, the patient's right


def test_the_core_lies_at_the_same_place_of_the_head_on_the_ct(record, out):
    assert record.payload.perfusion.ct.refused_as == ""
    core, affine = _image(_files(record, out)["sub-1_ctp_label-core_mask.nii.gz"])
    on_ct, ct_affine = _image(_files(record, out)["sub-1_ctp_space-ncct_label-core_mask.nii.gz"])
    assert on_ct.shape == _ct()[0].shape
    in_head, in_head_of_ct = (
        (np.linalg.inv(pose) @ one @ [*np.argwhere(mask).mean(axis=0), 1])[:3]
        for mask, one, pose in ((core, affine, POSE), (on_ct, ct_affine, CT_POSE))
    )
    assert np.linalg.norm(in_head - in_head_of_ct) < 1.5  # mm of the template; slices have 5 mm


def test_the_panel_shows_the_core_on_the_right(record, out):
    panel = json.loads(_files(record, out)["sub-1_ctp_perfusion.json"].read_text())
    assert panel["findings"]["core_volume_ml"] == pytest.approx(record.payload.lesion.volume_ml)
    assert panel["findings"]["affected_side"] == "right"
    assert len(panel["curves"]["times_s"]) == len(TIMES_S)
    assert max(panel["curves"]["aif"]) > 5 * max(panel["curves"]["tissue_other"])


def test_slices_are_drawn_with_every_label_map(record, out):
    files = _files(record, out)
    panel = json.loads(files["sub-1_ctp_perfusion.json"].read_text())
    (other,) = (json.loads(path.read_text()) for name, path in files.items() if name.endswith("_keyslices.json"))
    assert (panel["base"]["label_map"], other["label_map"]) == (CLASSIC.sha256, TERRITORY.sha256)
    assert any(plane["lesion"] for plane in other["planes"])


def test_quality_figures_of_frames_and_vessels(record):
    quality = record.payload.quality["ctp"]
    assert quality["n_frames"] == len(TIMES_S)
    assert quality["frame_interval_s"] == 1.5
    assert quality["rejected_frame_share"] == 0
    assert quality["motion_mm"] < 0.3
    assert 0.5 < quality["aif_quality"] <= 1
    assert quality["ganglionic_coverage"] > 0.95


def test_frames_stored_in_another_order_give_the_same_core(record, out):
    order = np.random.default_rng(1).permutation(len(TIMES_S))
    times = {"VolumeTiming": np.array(TIMES_S)[order].tolist()}
    shuffled = _case(out / "shuffled", series=_phantom().series[..., order], sidecar=times)
    found = run_case(shuffled, _settings(), out)
    assert "frames_reordered" in found.payload.scans["ctp"].notes
    assert found.payload.lesion == record.payload.lesion


def test_slices_along_another_axis_give_the_same_core(record, out):
    series, affine = _phantom().series, _phantom().affine
    turned = {"series": series.transpose(2, 0, 1, 3), "affine": affine[:, [2, 0, 1, 3]]}
    found = run_case(_case(out / "turned", **turned, sidecar=TIMED), _settings(), out)
    assert found.payload.lesion.volume_ml == pytest.approx(record.payload.lesion.volume_ml, rel=0.02)
    assert found.payload.lesion.side == "right"


def test_a_vessel_chosen_by_hand_is_used_and_said_so(record, out):
    chosen = record.payload.perfusion.series.arterial.aif_voxels[:3]
    found = run_case(_case(out / "manual", sidecar=TIMED | {"ArterialInputVoxels": chosen}), _settings(), out)
    arterial = found.payload.perfusion.series.arterial
    assert arterial.is_manual
    curve = _phantom().series[tuple(np.array(chosen).T)].mean(axis=0)
    np.testing.assert_allclose(arterial.aif_hu, np.rint(curve) - np.rint(curve[:2]).mean(), atol=1.0)  # stored whole
    assert found.payload.lesion.side == "right"


def test_a_calibrated_threshold_is_recorded_and_finds_no_less(record, out):
    found = run_case(_case(out / "calibrated", sidecar=TIMED), _settings(threshold="calibrated"), out)
    threshold = found.payload.perfusion.threshold
    assert threshold.nominal == 0.3
    assert 0.3 < threshold.on_maps < 0.6
    assert found.payload.lesion.volume_ml > record.payload.lesion.volume_ml


def test_a_thin_slab_marks_the_regions_it_misses(out):
    low = slice(2, 10)  # 40 mm at the ganglionic level
    affine = _phantom().affine.copy()
    affine[:3, 3] += affine[:3, 2] * low.start
    found = run_case(
        _case(out / "thin", series=_phantom().series[:, :, low], affine=affine, sidecar=TIMED), _settings(), out
    )
    assert found.status == "ok"
    names = [label.name for label in load_label_map("classic").table.labels]
    coverage = dict(zip(names, found.payload.counts[CLASSIC.sha256].coverage, strict=True))
    assert max(coverage["left_m5"], coverage["right_m5"]) < 0.3
    assert min(coverage["left_insula"], coverage["right_insula"]) > 0.9


@pytest.mark.parametrize(
    ("sidecar", "frames", "reason"),
    [
        (None, slice(None), "frame_times_missing"),
        ({"VolumeTiming": list(TIMES_S[:5])}, slice(None), "frame_times_missing"),
        ({"VolumeTiming": "soon"}, slice(None), "sidecar_unreadable"),
        (b"{", slice(None), "sidecar_unreadable"),
        ({"VolumeTiming": list(TIMES_S[:20])}, slice(0, 20), "too_few_frames"),
        ({"VolumeTiming": [1000 * time for time in TIMES_S]}, slice(None), "frame_interval_implausible"),
    ],
)
def test_bad_series_end_with_a_reason(out, sidecar, frames, reason):
    folder = out / f"bad{reason}{len(str(sidecar))}"
    found = run_case(_case(folder, series=_phantom().series[..., frames], sidecar=sidecar), _settings(), out)
    assert (found.status, found.reason) == ("excluded", reason)
    assert "sub-1_ctp" in found.detail


def test_a_scan_begun_too_late_keeps_a_panel_that_says_so(out):
    late = slice(9, None)  # the bolus arrives in the sixth to eighth frame
    made = _case(out / "late", series=_phantom().series[..., late], sidecar={"VolumeTiming": list(TIMES_S[late])})
    found = run_case(made, _settings(minimum_frames=20), out)
    assert (found.status, found.reason) == ("excluded", "bolus_before_start")
    panel = json.loads(_files(found, out)["sub-1_ctp_perfusion.json"].read_text())
    assert panel["findings"]["reason"] == "bolus_before_start"
    assert panel["maps"][0]["maps"] == {}
    assert len(panel["curves"]["tissue_affected"]) == len(TIMES_S) - 9


def _map_case(folder, *, unit="ml/100 ml/s", values=None, ct=True, ct_affine=None, content=None):
    """The phantom's true flow as a workstation stores it, with the baseline as its CT."""
    phantom = _phantom()
    flow = np.where(phantom.truth.brain, phantom.truth.cbf, 0) * 1.04 / 60 if values is None else values
    image = nib.Nifti1Image(np.asarray(flow, dtype=np.float32), phantom.affine)
    image.set_sform(phantom.affine, 1)
    image.set_qform(phantom.affine, 1)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plain.nii.gz"
    nib.save(image, path)
    contents = {"cbf": content or path.read_bytes()}
    if ct:
        affine = phantom.affine if ct_affine is None else ct_affine
        contents["ncct"] = scan_bytes(phantom.series[..., :3].mean(axis=3), affine)
    made = case(folder, contents, "core-cbf")
    return made if unit is None else _with_sidecar(folder, made, "cbf", {"Units": unit})


def _map_settings(**changes):
    source = CbfMapSource(name="ctp-core", kind="cbf_map", **changes)
    return StepSettings(source.kind, (CLASSIC, VASCULAR), source.settings)


def test_a_workstations_map_in_its_own_unit_gives_the_core(out):
    found = run_case(_map_case(out / "map"), _map_settings(), out)
    assert (found.status, found.reason) == ("ok", None)
    assert found.payload.perfusion.factor == pytest.approx(60 / 1.04)
    assert found.payload.lesion.volume_ml == pytest.approx(_core_ml(), rel=0.15)
    assert found.payload.lesion.side == "right"
    assert found.payload.perfusion.side_source == "cbf"
    assert found.payload.perfusion.core.hypoperfused_volume_ml is None
    cbf, _ = _image(_files(found, out)["sub-1_cbf_cbf.nii.gz"])
    inside = _phantom().truth.brain & (_phantom().truth.cbf > 10)
    np.testing.assert_allclose(cbf[inside], _phantom().truth.cbf[inside], rtol=2e-3)


def _colours():
    values = np.zeros((20, 20, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nib.Nifti1Image(values, np.diag([8.0, 8, 8, 1])).to_bytes()


def test_maps_that_cannot_be_used_end_with_their_reason(out):
    far = _phantom().affine.copy()
    far[0, 3] += 120
    cases = {
        "cbf_unit_unknown": (_map_case(out / "m1", unit=None), _map_settings()),
        "ct_missing": (_map_case(out / "m2", ct=False), _map_settings()),
        "map_outside_ct": (_map_case(out / "m3", ct_affine=far), _map_settings()),
        "cbf_implausible": (_map_case(out / "m4", unit="ml/100 g/min"), _map_settings()),
        "tmax_missing": (_map_case(out / "m5"), _map_settings(core_tmax_s=6.0)),
    }
    found = {reason: run_case(made, settings, out) for reason, (made, settings) in cases.items()}
    assert {reason: (one.status, one.reason) for reason, one in found.items()} == {
        reason: ("excluded", reason) for reason in cases
    }
    folder = out / "m6"
    folder.mkdir()
    picture = case(folder, {"cbf": b""}, "core-cbf")
    content = _colours()
    path = folder / "sub-1_cbf.nii"
    path.write_bytes(content)
    picture = replace(picture, files=(CaseFile("cbf", str(path), hashlib.sha256(content).hexdigest()),))
    assert run_case(picture, _map_settings(), out).reason == "colour_map"
