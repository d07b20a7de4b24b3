"""What every step on a scan begins with: the notes, the labels in native space and the files of a registration."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cohorts.images.mask import ImageProblemError
from cohorts.images.scan import read_scan
from cohorts.phantom.native_scans import scan_bytes
from flows.cases import case as case_module
from flows.cases import native_scan
from flows.cases.case import Case, CaseFile, OpenCase, SharedWork
from flows.cases.native_scan import PreparedScan, facts, prepare, prepared, registration_files, shared_quality
from flows.cases.native_scan import refined as refined_scan
from flows.run.steps import examine
from models import regions
from models.anatomy.template import labels_on_grid, load_label_map
from models.inference import Network
from tasks.anatomy import TEMPLATE_SPACE
from tasks.quality.guards import Guards
from tasks.registration.refined_labels import labels_to_scan
from tasks.space.resample import Grid
from tests.flows.scan_phantom import CLASSIC, POSE, TERRITORY, ct, ct_case, ratio_settings
from tests.models.by_place import CENTRE_MM, LENTIFORM, RADIUS_MM, ByPlace

FILE = CaseFile("ncct", "/somewhere/sub-1_ncct.nii.gz", "")


@pytest.fixture(scope="module")
def image():
    return read_scan(scan_bytes(*ct()), FILE.name, "ncct")


@pytest.fixture(scope="module")
def refined(image):
    return refined_scan(prepare(image, "ct"))


@pytest.fixture(scope="module")
def true_labels():
    """The classic map in the phantom's own pose."""
    hu, affine = ct()
    return labels_on_grid(load_label_map("classic"), hu.shape, np.linalg.inv(POSE) @ affine)


def _share_alike(one, other):
    either = (one > 0) | (other > 0)
    return (one == other)[either].mean()


def test_a_file_is_read_as_what_it_is_declared_to_be():
    content = scan_bytes(*ct())
    with pytest.raises(ImageProblemError, match=r"^sub-1_ncct\.nii\.gz must hold signal >= 0, got ") as caught:
        read_scan(content, FILE.name, "dwi")
    assert caught.value.reason == "signal_negative"


def test_quality_figures_are_made_once_for_each_scan_and_map(monkeypatch):
    """Six ways to prepare a scan, each asked for twice: one for all of them would give one the figures of another."""
    made = []

    def figures(scan, reference):
        made.append((*scan.key, reference.location))
        return {"n_slices": len(made)}

    def bare(image, contrast):
        return PreparedScan(contrast, image, None, None, SimpleNamespace(is_usable=False))

    guarded = []
    monkeypatch.setattr(native_scan, "quality_figures", figures)
    monkeypatch.setattr(native_scan, "measure_guards", lambda *_: guarded.append(1) or Guards(chronic_volume_ml=2.5))
    monkeypatch.setattr(native_scan, "prepare", bare)
    monkeypatch.setattr(case_module, "read_scan", lambda *_, **__: None)
    other = CaseFile("ncct", "/somewhere/sub-1_other.nii.gz", "b")
    ways = [
        (FILE, "ncct", "sform", "affine", CLASSIC), (FILE, "ncct", "sform", "affine", TERRITORY),
        (FILE, "ncct", "sform", "refined", CLASSIC), (FILE, "ncct", "qform", "affine", CLASSIC),
        (FILE, "cta", "sform", "affine", CLASSIC), (other, "ncct", "sform", "affine", CLASSIC),
    ]  # fmt: skip
    shared = SharedWork()
    found = []
    for file, kind, forms, registration, reference in ways * 2:
        case = OpenCase(Case("sub-1", "x", (file,)), {"ncct": b""}, (reference,), shared)
        quality = shared_quality(case, prepared(case, file, kind, forms, registration))
        found.append(quality["n_slices"])
        assert quality.get("chronic_volume_ml") == (None if kind == "cta" else 2.5)
    assert found == [1, 2, 3, 4, 5, 6] * 2
    assert len(guarded) == 3  # of each plain CT and way to read it, whatever the map and the registration
    assert made == [(file.sha256, *way, reference.location) for file, *way, reference in ways]


def test_two_measurements_of_one_scan_measure_its_quality_once(tmp_path, monkeypatch):
    calls = []
    measure = native_scan.measure_quality
    monkeypatch.setattr(native_scan, "measure_quality", lambda *given: calls.append(1) or measure(*given))
    case, shared = ct_case(tmp_path), SharedWork()
    first, second = (examine(case, ratio_settings(), shared) for _ in range(2))
    assert len(calls) == 1
    assert first.findings.quality == second.findings.quality
    assert first.findings.quality["ncct"]["n_slices"] == ct()[0].shape[2]
    first.findings.quality["ncct"]["n_slices"] = 0
    assert second.findings.quality["ncct"]["n_slices"] == ct()[0].shape[2]


def test_labels_lie_where_the_pose_puts_them(image, refined, true_labels):
    for scan in (prepare(image, "ct"), refined):
        label_map, on_grid = scan.labels(CLASSIC)
        assert label_map.sha256 == CLASSIC.sha256
        assert _share_alike(on_grid.labels, true_labels.labels) > 0.8  # voxels at the border of 1.8 x 1.8 x 5 mm
        assert on_grid.coverage == dict.fromkeys(range(1, 21), 1.0)
        assert scan.labels(CLASSIC)[1] is on_grid


def test_refined_labels_are_those_of_the_refinement_alone(image, refined):
    label_map = load_label_map("classic")
    grid = Grid(refined.shape, image.affine)
    expected = labels_to_scan(label_map.labels, label_map.affine, grid, refined.refinement)
    assert np.array_equal(refined.labels(CLASSIC)[1].labels, expected)
    affine = prepare(image, "ct")
    assert affine.refinement is None
    assert affine.registration == refined.registration
    assert not np.array_equal(affine.labels(CLASSIC)[1].labels, expected)


def test_a_folded_refinement_is_noted_and_not_used(image, refined):
    folded = replace(refined, refinement=replace(refined.refinement, reason="refinement_folded"))
    assert folded.warp is None
    assert folded.notes == ("refinement_folded",)
    assert np.array_equal(folded.labels(CLASSIC)[1].labels, prepare(image, "ct").labels(CLASSIC)[1].labels)
    assert registration_files("sub-1_ncct", folded) == registration_files("sub-1_ncct", prepare(image, "ct"))
    assert refined.notes == ()


def test_coverage_is_the_share_of_a_region_in_view(image):
    """Slices from 18 on: of each region what the pose puts above the middle of slices 17 and 18."""
    first, label_map = 18, load_label_map("classic")
    hu, affine = ct()
    upper = affine.copy()
    upper[:3, 3] += first * affine[:3, 2]
    scan = prepare(read_scan(scan_bytes(hu[:, :, first:], upper), FILE.name, "ncct"), "ct")
    scan = replace(scan, registration=prepare(image, "ct").registration)  # the part of a head alone is refused
    coverage = scan.labels(CLASSIC)[1].coverage
    to_slice = (np.linalg.inv(affine) @ POSE @ label_map.affine)[2]
    for label in label_map.table.labels:
        heights = np.argwhere(label_map.labels == label.index) @ to_slice[:3] + to_slice[3]
        assert coverage[label.index] == pytest.approx((heights >= first - 0.5).mean(), abs=0.05)
    assert min(coverage.values()) < 0.3 < 0.9 < max(coverage.values())


def test_facts_are_those_of_the_file(image):
    clipped = read_scan(scan_bytes(ct()[0].clip(0), ct()[1]), FILE.name, "ncct")
    assert facts(image).spacing_mm == (1.8, 1.8, 5.0)
    assert facts(image).voxel_volume_mm3 == pytest.approx(16.2)
    assert facts(image).notes == ()
    assert facts(clipped).notes == ("hu_clipped_at_zero",)
    assert facts(clipped, ("other",)).notes == ("other",)


def test_files_are_there_as_far_as_there_is_a_registration(image, refined):
    name = f"sub-1_ncct_from-orig_to-{TEMPLATE_SPACE}_mode-image"
    affine = registration_files("sub-1_ncct", prepare(image, "ct"))
    assert f"{name}_xfm.txt" in affine
    assert len(affine) == 4
    both = registration_files("sub-1_ncct", refined)
    assert {key: both[key] for key in affine} == affine
    assert set(both) - set(affine) == {
        f"sub-1_ncct_from-{one}_mode-image_desc-refinement_xfm{suffix}"
        for one in (f"orig_to-{TEMPLATE_SPACE}", f"{TEMPLATE_SPACE}_to-orig")
        for suffix in (".nii.gz", ".json")
    }
    nothing = replace(refined, registration=replace(refined.registration, fixed_to_moving=None), refinement=None)
    assert registration_files("sub-1_ncct", nothing) == {}


def test_a_network_draws_the_regions_of_its_own_map_and_the_atlas_the_others(refined, monkeypatch):
    """A network that finds a ball of 12 mm on each side, 25 mm from the midline, where the registration puts it."""
    monkeypatch.setattr(native_scan, "region_network", lambda: Network(ByPlace()))
    monkeypatch.setattr(regions, "_atlas_shares", lambda _: np.float32(1))  # the network alone
    drawn = native_scan.by_network(refined)
    labels = drawn.labels(CLASSIC)[1].labels
    assert set(np.unique(labels)) == {0, LENTIFORM, LENTIFORM + 10}
    world = refined.image.affine @ np.append(np.argwhere(labels == LENTIFORM).mean(axis=0), 1)
    middle = (refined.registration.moving_to_fixed @ world)[:3]
    np.testing.assert_allclose(middle, CENTRE_MM, atol=1.0)
    ml = (labels == LENTIFORM).sum() * np.prod(refined.image.spacing_mm) / 1000
    scale = np.linalg.det(refined.registration.moving_to_fixed[:3, :3])
    assert ml * scale == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.08)
    np.testing.assert_array_equal(drawn.labels(TERRITORY)[1].labels, refined.labels(TERRITORY)[1].labels)
    coverage = drawn.labels(CLASSIC)[1].coverage
    assert coverage == refined.labels(CLASSIC)[1].coverage
    placing, atlas = drawn.placing(CLASSIC), refined.placing(CLASSIC)
    assert atlas.atlas_dice is None
    assert len(placing.atlas_dice) == 20
    assert placing.atlas_dice[0] == 0.0  # no caudate was drawn
    assert 0.2 < placing.atlas_dice[LENTIFORM - 1] < 0.9
    assert placing.fluid_share[0] is None
    assert max(share for share in atlas.fluid_share if share is not None) < 0.5


def test_sources_measure_in_the_regions_that_a_network_drew(tmp_path, monkeypatch):
    monkeypatch.setattr(native_scan, "region_network", lambda: Network(ByPlace()))
    outcome = examine(ct_case(tmp_path), ratio_settings(registration="network"))
    rows = {row.index: row for row in outcome.findings.densities[CLASSIC.sha256]}
    assert outcome.status == "ok"
    assert rows[LENTIFORM].n_voxels > 100
    assert rows[1].n_voxels == 0
    assert rows[1].ratio is None
    assert rows[LENTIFORM].atlas_dice > 0.2


def test_a_scan_that_is_not_registered_has_no_drawn_regions(refined, monkeypatch):
    monkeypatch.setattr(native_scan, "region_network", lambda: pytest.fail("asked"))
    refused = replace(refined, registration=replace(refined.registration, reason="registration_diverged"))
    assert native_scan.by_network(refused).network_regions is None


def test_the_trained_network_draws_regions_where_they_are(refined, true_labels):
    """A phantom of the template's own anatomy, on which the atlas has no equal; the network may not spoil it."""
    drawn = native_scan.by_network(refined).labels(CLASSIC)[1].labels
    dices = {
        label: 2
        * ((drawn == label) & (true_labels.labels == label)).sum()
        / ((drawn == label).sum() + (true_labels.labels == label).sum())
        for label in range(1, 21)
    }
    assert np.mean(list(dices.values())) > 0.7
    assert min(dices.values()) > 0.5
