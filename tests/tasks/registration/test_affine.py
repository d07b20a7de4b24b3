"""Registration of a phantom whose pose is known, the gates, and real scans from perturbed head positions."""

from __future__ import annotations

import dataclasses
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.anatomy.register_template import template_target
from models.anatomy.template import load_template
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.registration.affine import register
from tasks.registration.as_paper import register_as_paper
from tasks.registration.target import CONTRASTS, prepare_target
from tests.tasks.enhanced_phantom import add_contrast_agent
from tests.tasks.head_phantom import head_scan, mean_distance_mm
from tests.tasks.painted_infarct import reason_of


def _register(values, affine, modality="ct"):
    scan = (ct_working_scan if modality == "ct" else mr_working_scan)(values, affine)
    brain = (extract_ct_brain if modality == "ct" else extract_mr_brain)(scan)
    return register(scan, brain, template_target(modality))


@pytest.mark.parametrize(
    ("modality", "degrees", "shift_mm", "scale"),
    [
        ("ct", (0, 0, 0), (0, 0, 0), 0.88),
        ("ct", (20, -10, 15), (12, -30, 200), 0.95),
        ("ct", (-25, 5, -12), (-40, 20, -600), 0.8),
        ("dwi", (10, 15, -20), (5, 5, 30), 0.88),
    ],
)
def test_a_known_pose_is_found(modality, degrees, shift_mm, scale):
    values, affine, _, truth = head_scan(modality, degrees, shift_mm, scale)
    result = _register(values, affine, modality)
    assert reason_of(result, modality) == ""
    assert mean_distance_mm(result.matrix, truth) < 2.5  # half a slice
    assert result.brain_dice > 0.94
    assert result.scale_min == pytest.approx(scale, abs=0.06)
    np.testing.assert_allclose(result.moving_to_fixed @ result.matrix, np.eye(4), atol=1e-9)


def test_left_stays_left():
    values, affine, _, _ = head_scan(degrees=(5, 0, 10))
    result = _register(values, affine)
    left, right = result.matrix @ [-50, 0, 0, 1], result.matrix @ [50, 0, 0, 1]
    assert left[0] < right[0] - 60


def test_the_same_scan_gives_the_same_bytes():
    values, affine, _, _ = head_scan()
    assert _register(values, affine) == _register(values, affine)


def test_the_order_and_direction_of_axes_do_not_matter():
    values, affine, _, _ = head_scan(degrees=(12, 0, -8))
    plain = _register(values, affine)
    turned = affine @ np.array([[0, 0, -1.0, values.shape[0] - 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    other = _register(values.transpose(2, 1, 0)[:, :, ::-1], turned)
    assert mean_distance_mm(plain.matrix, other.matrix) < 0.5


def test_a_large_infarct_does_not_pull():
    values, affine, truth, _ = head_scan()
    plain = _register(values, affine)
    infarct = truth.copy()
    infarct[: values.shape[0] // 2 + 8] = False
    infarct[:, :50], infarct[:, 85:], infarct[:, :, :12] = False, False, False
    values[infarct] = 14 + 0 * values[infarct]
    assert infarct.sum() * 16.2 / 1000 > 100  # ml
    assert mean_distance_mm(plain.matrix, _register(values, affine).matrix) < 2


def test_half_a_head_in_view_has_a_reason():
    values, affine, _, _ = head_scan()
    low = affine.copy()
    low[:3, 3] += affine[:3, 2] * 22
    reasons = {"brain_too_small", "field_of_view_too_small", "registration_overlap_too_low"}
    assert reason_of(_register(values[:, :, 22:], low), "ct") in reasons
    assert _register(values[:56], affine).reason == "brain_cut_at_side"
    assert _register(values[:, :64], affine).reason == "brain_cut_at_side"


def test_half_a_head_blanked_has_a_reason():
    values, affine, _, _ = head_scan()
    values[:56] = -1000
    result = _register(values, affine)
    assert reason_of(result, "ct") in {
        "brain_too_small",
        "registration_overlap_too_low",
        "registration_scale_out_of_range",
        "registration_tissue_mismatch",
    }


@pytest.mark.parametrize("degrees", [(70, 0, 0), (0, 80, 0), (0, 0, 90), (180, 0, 0)])
def test_an_extreme_tilt_has_a_reason(degrees):
    values, affine, _, _ = head_scan()
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    result = _register(values, turn @ affine)
    assert reason_of(result, "ct") in {
        "head_tilt_too_large",
        "no_brain_found",
        "brain_too_small",
        "registration_overlap_too_low",
        "registration_tissue_mismatch",
        "registration_scale_out_of_range",
        "field_of_view_too_small",
    }


def test_a_wrong_voxel_size_has_a_reason():
    values, affine, _, _ = head_scan(scale=0.85)
    result = _register(values, np.diag([0.72, 0.72, 0.72, 1]) @ affine)
    assert reason_of(result, "ct") in {"brain_too_small", "registration_scale_out_of_range"}


def test_a_refused_brain_is_not_registered():
    result = _register(np.full((40, 40, 20), -1000.0), np.diag([1.8, 1.8, 5.0, 1.0]))
    assert (result.reason, result.fixed_to_moving, result.brain_dice) == ("no_brain_found", None, None)
    assert not result.is_usable
    with pytest.raises(ValueError, match="no_brain_found"):
        _ = result.matrix


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="contrast must be one of ct, cta, dwi, b0, got 'pet'"):
        prepare_target(None, "pet")
    with pytest.raises(ValueError, match="contrast must be one of ct, cta, ctp, dwi, b0, got 'pet'"):
        template_target("pet")


def test_scans_of_one_contrast_share_a_target():
    assert template_target("ctp") is template_target("ct")
    assert template_target("cta") is not template_target("ct")


def test_every_contrast_makes_a_target():
    for modality in CONTRASTS:
        target = template_target(modality)
        assert [len(level.points) > 2000 for level in target.levels] == [True] * 3
        assert target.centre[0] == pytest.approx(0, abs=0.6)  # the template is symmetric


def _assert_contrast_agent_does_not_pull(values, affine, plain, **agent):
    enhanced = ct_working_scan(add_contrast_agent(values, affine, plain.matrix, **agent), affine)
    brain = extract_ct_brain(enhanced, is_enhanced=True)
    result = register(enhanced, brain, template_target("cta"))
    assert reason_of(result, "cta") == ""
    assert mean_distance_mm(result.matrix, plain.matrix) < 1
    return result


@cache
def _without_agent():
    """Values, affine and true pose of a phantom, and where it is found."""
    values, affine, _, truth = head_scan(degrees=(12, -8, 10), shift_mm=(10, 20, -300), scale=0.93)
    return values, affine, truth, _register(values, affine)


@pytest.mark.parametrize("agent", [{}, {"artery_hu": 300, "vein_hu": 200}, {"blocked_side": "left"}])
def test_a_contrast_agent_does_not_pull(agent):
    values, affine, truth, plain = _without_agent()
    result = _assert_contrast_agent_does_not_pull(values, affine, plain, **agent)
    assert mean_distance_mm(result.matrix, truth) < 1


@pytest.mark.extended
@pytest.mark.slow
def test_as_paper_finds_the_pose_and_repeats_itself():
    values, affine, _, truth = head_scan(degrees=(8, 0, -6), shift_mm=(5, 10, -20))
    scan = ct_working_scan(values, affine)
    brain, target, template = extract_ct_brain(scan), template_target("ct"), load_template()
    results = [register_as_paper(scan, brain, target, template.t1, template.affine) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0].profile == "as-paper"
    assert mean_distance_mm(results[0].matrix, truth) < 5
    refused = dataclasses.replace(brain, reason="brain_too_small", detail="small")
    assert register_as_paper(scan, refused, target, template.t1, template.affine).reason == "brain_too_small"


@cache
def _real_ct(real_data, subject):
    """Values and affine of a real CT, and where it is found."""
    image = nib.load(real_data / "ncct-aspects" / subject / "im.nii.gz")
    values = np.asarray(image.dataobj)
    return values, image.affine, _register(values, image.affine)


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_real_ct_is_found_from_turned_and_shifted_heads(real_data, subject):
    values, affine, plain = _real_ct(real_data, subject)
    assert reason_of(plain, "ct") == ""
    assert plain.brain_dice >= 0.93
    scan = ct_working_scan(values, affine)
    brain = extract_ct_brain(scan)
    centre = scan.affine @ [*np.argwhere(brain.mask).mean(axis=0), 1]
    for degrees in ((30, 0, 0), (0, -30, 0), (0, 0, 30), (-17, 17, 17)):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
        pose[:3, 3] = centre[:3] - pose[:3, :3] @ centre[:3] + [40, 0, 0]
        turned = dataclasses.replace(scan, affine=pose @ scan.affine)
        result = register(turned, brain, template_target("ct"))
        assert mean_distance_mm(np.linalg.inv(pose) @ result.matrix, plain.matrix) < 1


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_a_contrast_agent_in_a_real_ct_does_not_pull(real_data, subject):
    values, affine, plain = _real_ct(real_data, subject)
    for side in (None, "right"):
        _assert_contrast_agent_does_not_pull(values, affine, plain, blocked_side=side)


@pytest.mark.real_data
@pytest.mark.parametrize(
    "path",
    [
        "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_dwi.nii.gz",
        "dwi/isles22-case0001/dwi.nii.gz",
        "dwi/jhu-subject02/Subject02_DWI.nii.gz",
    ],
)
def test_real_dwi_overlaps(real_data, path):
    image = nib.load(real_data / path)
    result = _register(np.asarray(image.dataobj), image.affine, "dwi")
    assert reason_of(result, "dwi") == ""
    assert result.brain_dice >= 0.93
