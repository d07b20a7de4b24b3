"""The mid-plane of phantoms whose pose is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.anatomy.register_template import template_target
from tasks.brain import ct_working_scan, extract_ct_brain
from tasks.registration.affine import Registration, refusal, register
from tasks.registration.midplane import aligned_grid, find_midplane
from tasks.space.resample import resample_image
from tests.tasks.head_phantom import head_scan

COMMISSURE = [0.0, 0.0, 0.0, 1.0]


def _registered(matrix):
    """A registration that found this transform."""
    rows = tuple(tuple(float(one) for one in row) for row in matrix)
    return Registration("gauss-newton", rows, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1, "", "")


def _found(values, affine):
    scan = ct_working_scan(values, affine)
    return register(scan, extract_ct_brain(scan), template_target("ct"))


def test_a_turn_in_the_slice_by_hand():
    # The head is turned by 10 degrees about the vertical axis and lies 7 mm to the right.
    turn = np.radians(10)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:3, :3] *= 0.9
    matrix[:3, 3] = [7, -20, 300]
    plane = find_midplane(_registered(matrix))
    np.testing.assert_allclose(plane.normal, [np.cos(turn), np.sin(turn), 0], atol=1e-12)
    assert plane.angle_deg == pytest.approx(10)
    assert plane.offset_mm == pytest.approx(7)
    np.testing.assert_allclose(plane.matrix @ [7, -20, 300, 1], [0, -20, 300, 1], atol=1e-9)
    # A point 50 mm in front of the commissure comes to lie straight in front, and one on the right stays on the right.
    np.testing.assert_allclose((plane.matrix @ matrix @ [0, 50, 0, 1])[:3], [0, 25, 300], atol=1e-9)
    assert (plane.matrix @ matrix @ [50, 0, 0, 1])[0] == pytest.approx(45)


def test_the_plane_of_a_sheared_affine_comes_to_x_0():
    matrix = np.array([[0.9, 0.1, -0.2, 5], [0.05, 0.8, 0.1, -3], [0.1, -0.15, 0.95, 40], [0, 0, 0, 1.0]])
    plane = find_midplane(_registered(matrix))
    rotation = plane.matrix[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    points = np.array([[0, 30, 10, 1], [0, -70, 40, 1], [0, 5, -50, 1.0]]).T
    np.testing.assert_allclose((plane.matrix @ matrix @ points)[0], 0, atol=1e-9)


def test_a_straight_head_is_left_as_it_is():
    plane = find_midplane(_registered(np.eye(4)))
    np.testing.assert_allclose(plane.matrix, np.eye(4), atol=1e-12)
    assert (plane.angle_deg, plane.offset_mm) == (0, 0)


def test_without_a_registration_there_is_no_plane():
    with pytest.raises(ValueError, match="brain_too_small"):
        find_midplane(refusal("gauss-newton", "brain_too_small", ""))


@pytest.mark.parametrize("has_lesion", [False, True])
@pytest.mark.parametrize(("degrees", "shift_mm"), [((5, -8, 12), (12, -30, 200)), ((-10, 6, -15), (-9, 20, -60))])
def test_a_known_pose_is_found(degrees, shift_mm, has_lesion):
    values, affine, brain, truth = head_scan(degrees=degrees, shift_mm=shift_mm)
    if has_lesion:
        values[_left_lesion(values.shape, affine, truth) & brain] = 14
    found, true = find_midplane(_found(values, affine)), find_midplane(_registered(truth))
    assert np.degrees(np.arccos(np.dot(found.normal, true.normal))) < 0.6  # 1 mm at the edge of the brain
    assert found.angle_deg == pytest.approx(true.angle_deg, abs=0.6)
    assert found.offset_mm == pytest.approx(shift_mm[0], abs=0.6)


def test_the_aligned_scan_is_its_own_mirror_image_and_left_is_left():
    values, affine, brain, truth = head_scan(degrees=(5, -8, 12), shift_mm=(12, -30, 200))
    values[_left_lesion(values.shape, affine, truth) & brain] = 14
    plane = find_midplane(_found(values, affine))
    grid = aligned_grid(values.shape, affine, plane)
    np.testing.assert_allclose(np.abs(grid.affine[:3, :3]), np.diag([1.8, 1.8, 5.0]), atol=1e-12)
    assert grid.affine[0, 0] * (values.shape[0] - 1) / 2 + grid.affine[0, 3] == pytest.approx(0)
    aligned = resample_image(values.clip(0, 80), affine, grid, np.linalg.inv(plane.matrix))
    level = int(np.rint((np.linalg.inv(grid.affine) @ plane.matrix @ truth @ [-45, -10, 15, 1])[2]))
    tissue = np.abs(aligned[:, :, level] - aligned[::-1, :, level])
    before = values.clip(0, 80)[:, :, values.shape[2] // 2]
    assert np.median(tissue[aligned[:, :, level] > 5]) < 0.7 * np.median(np.abs(before - before[::-1])[before > 5])
    x = grid.affine[0, 0] * np.arange(values.shape[0]) + grid.affine[0, 3]
    assert np.median(aligned[x < -20, 60:75, level]) < 16 < 25 < np.median(aligned[(x > 20) & (x < 50), 60:75, level])


def test_an_oblique_scan_keeps_its_pitch():
    pitch = np.radians(20)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(pitch), -np.sin(pitch)], [np.sin(pitch), np.cos(pitch)]]
    grid = aligned_grid((11, 12, 13), affine, find_midplane(_registered(np.eye(4))))
    np.testing.assert_allclose(grid.affine[:3, :3], affine[:3, :3], atol=1e-12)


def _left_lesion(shape, affine, truth):
    """An ellipsoid in the left middle cerebral artery's territory."""
    to_template = np.linalg.inv(truth) @ affine
    points = np.moveaxis(np.indices(shape), 0, -1) @ to_template[:3, :3].T + to_template[:3, 3]
    return (((points - [-45, -10, 15]) / [25, 45, 35]) ** 2).sum(axis=-1) < 1
