"""The tissue gate: what disease does to a scan neither moves the pose nor refuses it, and a wrong pose is refused."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.anatomy.register_template import template_target
from models.anatomy.template import load_template
from tasks.quality.gates import MINIMUM_TISSUE_CORRELATION
from tasks.registration.agreement import tissue_agreement
from tasks.registration.solver import moving_levels
from tasks.space.resample import Grid, resample_image
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import head_scan, mean_distance_mm
from tests.tasks.painted_infarct import lesion_share, paint_ct, paint_dwi, paint_late_ct, place, reason_of

CENTRE_MM = np.array([0.0, -18.0, 8.0])
LESIONS = [("left", 20), ("right", 50), ("left", 100), ("right", 165), ("left", 220), ("left", 300), ("right", 300)]
PAINTED = {
    "dwi": [lambda values, share, factor=factor: paint_dwi(values, share, factor) for factor in (1.5, 3.0)],
    "ct": [lambda values, share: paint_ct(values, share, 12.0), paint_late_ct],
}
DWI = {
    "isles 9": "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_dwi.nii.gz",
    "isles 1": "dwi/isles22-case0001/dwi.nii.gz",
    "jhu 2": "dwi/jhu-subject02/Subject02_DWI.nii.gz",
}
CT = {f"sub00{n}": f"ncct-aspects/sub00{n}/im.nii.gz" for n in (1, 2, 3)}


@once_per_run
def _phantom(modality):
    values, affine, _, truth = head_scan(modality, (12, -8, 10), (10, 20, -300), 0.93)
    return values, affine, truth


@lru_cache(maxsize=2)
def _placed(modality):
    values, affine, _ = _phantom(modality)
    return place(values, affine, modality)


@pytest.mark.parametrize(("side", "volume_ml"), LESIONS)
@pytest.mark.parametrize("modality", ["dwi", "ct"])
def test_an_infarct_moves_neither_pose_nor_gate(modality, side, volume_ml):
    values, affine, truth = _phantom(modality)
    share = lesion_share(values.shape, affine, truth, side, volume_ml)
    assert share.sum() * abs(np.linalg.det(affine)) / 1000 == pytest.approx(volume_ml, rel=0.05)
    for paint in PAINTED[modality]:
        _, brain, found = place(paint(values, share), affine, modality)
        assert (brain.reason, reason_of(found, modality)) == ("", "")
        assert mean_distance_mm(found.matrix, truth) < 1.5
        assert found.tissue_correlation > 2 * MINIMUM_TISSUE_CORRELATION


def _in_template(modality, where):
    """Share of each voxel of the phantom in a region given by template coordinates."""
    values, affine, truth = _phantom(modality)
    template = load_template()
    grid = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    brain = template.brain[::2, ::2, ::2]
    world = np.moveaxis(np.indices(brain.shape), 0, -1) @ grid[:3, :3].T + grid[:3, 3]
    region = (brain & where(*np.moveaxis(world, -1, 0))).astype(np.float32)
    return values, affine, truth, resample_image(region, grid, Grid(values.shape, affine), np.linalg.inv(truth))


def _cerebellum(x, y, z):
    return (z < -22) & (y < -35)


def _wide_ventricles(x, y, z):
    return (np.hypot(x / 32, (y + 15) / 48) < 1) & (z > -5) & (z < 28)


def _bleeding(x, y, z):
    return np.sqrt(((x - 28) / 22) ** 2 + ((y + 5) / 32) ** 2 + ((z - 5) / 24) ** 2) < 1


def _both_sides(x, y, z):
    return (np.abs(x) > 25) & (y > -45) & (y < 20) & (z > -5) & (z < 40)


@pytest.mark.parametrize(
    ("modality", "where", "paint"),
    [
        ("ct", _cerebellum, lambda values, share: paint_late_ct(values, share, 3.0)),
        ("dwi", _cerebellum, lambda values, share: values * (1 - 0.9 * share)),
        ("ct", _wide_ventricles, paint_late_ct),
        ("dwi", _wide_ventricles, lambda values, share: values * (1 - 0.65 * share)),
        ("ct", _bleeding, lambda values, share: np.where(values > 0, values + 35 * share, values)),
        ("ct", _both_sides, paint_late_ct),
        ("dwi", _both_sides, lambda values, share: paint_dwi(values, share, 3.0)),
    ],
)
def test_what_disease_darkens_or_brightens_elsewhere_is_no_mismatch(modality, where, paint):
    values, affine, truth, share = _in_template(modality, where)
    assert share.sum() * abs(np.linalg.det(affine)) / 1000 > 50  # ml
    _, _, found = place(paint(values, share).astype(np.float32), affine, modality)
    assert reason_of(found, modality) == ""
    assert mean_distance_mm(found.matrix, truth) < 1.5


@pytest.mark.parametrize("modality", ["dwi", "ct"])
def test_a_slab_is_judged_by_the_parts_that_it_shows(modality):
    values, affine, truth = _phantom(modality)
    low = affine.copy()
    low[:3, 3] += affine[:3, 2] * 11
    _, _, found = place(values[:, :, 11:23], low, modality)
    assert mean_distance_mm(found.matrix, truth) < 3
    assert found.tissue_correlation > 2 * MINIMUM_TISSUE_CORRELATION


@pytest.mark.parametrize("modality", ["dwi", "ct"])
def test_poses_wrong_by_12_mm_are_a_mismatch_and_those_within_6_mm_are_none(modality):
    scan, brain, found = _placed(modality)
    target, generator = template_target(modality), np.random.default_rng(4)
    moving = moving_levels(scan, brain.mask, target)
    wrong_mm, agreement = [], []
    for _ in range(80):
        axis, shift = (one / np.linalg.norm(one) for one in generator.normal(size=(2, 3)))
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(np.radians(generator.uniform(0, 35)) * axis).as_matrix()
        pose[:3, 3] = CENTRE_MM - pose[:3, :3] @ CENTRE_MM + generator.uniform(0, 20) * shift
        wrong_mm.append(mean_distance_mm(found.matrix @ pose, found.matrix))
        agreement.append(tissue_agreement(moving, target, found.matrix @ pose))
    is_refused, apart = np.array(agreement) < MINIMUM_TISSUE_CORRELATION, np.array(wrong_mm)
    assert found.tissue_correlation == tissue_agreement(moving, target, found.matrix)
    assert not is_refused[apart < 6].any()
    assert is_refused[apart >= 12].mean() >= 0.8
    assert is_refused[apart >= 20].mean() >= 0.9


@pytest.mark.parametrize("modality", ["dwi", "ct"])
@pytest.mark.parametrize(
    "turn",
    [
        np.diag([1, 1, -1, 1]),
        np.diag([1, -1, 1, 1]),
        np.diag([1, -1, -1, 1]),
        np.diag([-1, 1, -1, 1]),
        np.diag([-1, -1, 1, 1]),
    ],
    ids=["upside down mirrored", "back to front mirrored", "about x", "about y", "about z"],
)
def test_a_head_that_is_not_as_its_header_says_has_a_reason(modality, turn):
    values, affine, truth = _phantom(modality)
    _, _, found = place(values, turn @ affine, modality)
    assert reason_of(found, modality) or mean_distance_mm(found.matrix, turn @ truth) < 3


def test_no_part_in_view_agrees_with_nothing():
    scan, brain, _ = _placed("ct")
    target = template_target("ct")
    far = np.eye(4)
    far[:3, 3] = 5000
    assert tissue_agreement(moving_levels(scan, brain.mask, target), target, far) == 0


@pytest.mark.real_data
@pytest.mark.parametrize("name", [*DWI, *CT])
def test_real_scans_with_painted_infarcts_keep_their_pose(real_data, name):
    modality, path = ("dwi", DWI[name]) if name in DWI else ("ct", CT[name])
    image = nib.load(real_data / path)
    values = np.asarray(image.dataobj, dtype=np.float32)
    _, _, plain = place(values, image.affine, modality)
    assert reason_of(plain, modality) == ""
    for side, volume_ml in (("left", 50), ("left", 165), ("right", 165), ("left", 300), ("right", 300)):
        share = lesion_share(values.shape, image.affine, plain.matrix, side, volume_ml)
        for paint in PAINTED[modality]:
            _, _, found = place(paint(values, share), image.affine, modality)
            assert reason_of(found, modality) == ""
            assert mean_distance_mm(found.matrix, plain.matrix) < (1.5 if volume_ml < 300 else 3)
