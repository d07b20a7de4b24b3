from typing import get_args

import numpy as np
import pytest
from scipy import integrate, ndimage

from models.anatomy.register_template import template_tissues
from tasks.phantoms.curves import STEP_S, Bolus, arterial_curve, tissue_curves, tissue_factor, venous_curve
from tasks.phantoms.lesion import lesion_domain
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tasks.phantoms.perfusion_head import VesselName
from tasks.phantoms.tissue import grow_ischaemia
from tasks.space.rigid_motion import grid_centre, head_motion, matrix_pose, pose_matrix
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import perfusion_head

LONG_S = np.arange(0, 240, 0.5)
SMALL = Protocol(shape=(44, 52, 4), spacing_mm=(4.0, 4.0, 5.0), frame_times_s=tuple(LONG_S[::4]), noise_hu=0.0)


def head():
    return perfusion_head("ct")


@once_per_run
def lesion():
    maps = template_tissues("ct")
    domain = lesion_domain(maps.brain, maps.brain, maps.affine, side="left")
    seed = tuple(int(i) for i in np.rint(np.linalg.inv(maps.affine) @ [-40, -10, 18, 1])[:3])
    rng = np.random.default_rng(3)
    return grow_ischaemia(domain, seed=seed, core_ml=30, hypoperfused_ml=90, spacing_mm=(1, 1, 1), rng=rng)


@once_per_run
def phantom(has_lesion=False):
    return simulate_perfusion(head(), SMALL, np.random.default_rng(5), lesion=lesion() if has_lesion else None)


def test_the_bolus_peaks_where_and_as_high_as_stated():
    curve = arterial_curve(LONG_S, Bolus(arrival_s=10, peak_hu=250, alpha=3, beta_s=1.5))
    assert LONG_S[curve.argmax()] == 14.5  # arrival + alpha * beta
    assert curve.max() == pytest.approx(250, rel=1e-3)
    assert curve[LONG_S <= 10].max() < 1e-9


def test_vein_and_artery_have_the_same_area():
    bolus = Bolus()
    areas = [np.trapezoid(curve(LONG_S, bolus), LONG_S) for curve in (arterial_curve, venous_curve)]
    assert areas[1] == pytest.approx(areas[0], rel=1e-3)


@pytest.mark.parametrize("residue", ["exponential", "gamma", "box"])
def test_tissue_area_is_arterial_area_times_transit_time(residue):
    curves = tissue_curves(LONG_S, Bolus(), residue)
    columns, mtt_s, _ = curves.nearest(np.array([2.0, 4.0, 12.0]), np.array([0.0, 3.0, 7.5]))
    area = np.trapezoid(arterial_curve(LONG_S, Bolus()), LONG_S)
    assert np.trapezoid(curves.bank[:, columns], LONG_S, axis=0) == pytest.approx(area * mtt_s, rel=3e-3)


def test_exponential_and_box_equal_their_integrals():
    bolus, times = Bolus(), np.array([9.3, 12.0, 17.77, 25.0])
    fine = np.arange(0, 30, 0.002)
    arterial = arterial_curve(fine, bolus)
    for residue, kept in (
        ("exponential", lambda age, mtt: np.exp(-age / mtt)),
        ("box", lambda age, mtt: (age < mtt).astype(float)),
    ):
        curves = tissue_curves(times, bolus, residue)
        column, mtt_s, delay_s = curves.nearest(np.array([4.0]), np.array([2.0]))
        for time, value in zip(times, curves.bank[:, column[0]], strict=True):
            past = fine <= time - delay_s[0]
            weight = kept(time - delay_s[0] - fine[past], mtt_s[0])
            assert value == pytest.approx(integrate.trapezoid(arterial[past] * weight, fine[past]), rel=5e-3, abs=0.05)


def test_a_delay_moves_the_curve_and_changes_nothing_else():
    times = STEP_S * np.arange(400)
    curves = tissue_curves(times, Bolus(), "exponential")
    columns, _, delay_s = curves.nearest(np.full(2, 4.0), np.array([0.0, 5.0]))
    assert delay_s.tolist() == [0.0, 5.0]
    early, late = curves.bank[:, columns].T
    np.testing.assert_allclose(late[50:], early[:-50], atol=1e-3)


def test_vessels_have_their_cross_section_and_lie_on_their_side():
    assert tuple(head().vessels) == get_args(VesselName)
    x = head().affine[0, 0] * np.arange(head().grey.shape[0]) + head().affine[0, 3]
    left, right = (head().vessels[name].sum(axis=(1, 2)) for name in ("left_mca", "right_mca"))
    assert left[x > 0].sum() == right[x < 0].sum() == 0
    sinus = head().vessels["vein"]
    k = int(np.rint(np.linalg.inv(head().affine)[2] @ [0, 0, 20, 1]))
    slices = sinus[:, : sinus.shape[1] // 2, k - 1 : k + 2].sum(axis=(0, 1)).mean() * 4
    assert slices == pytest.approx(np.pi * 16, rel=0.35)  # 4 mm radius, cut obliquely


def test_a_voxel_of_grey_matter_follows_the_formula():
    truth = phantom().truth
    place = np.unravel_index(np.where(truth.grey > 0.9, truth.grey, 0).argmax(), truth.grey.shape)
    curve = phantom().series[place] - phantom().series[place][0]
    areas = [np.trapezoid(one, phantom().frame_times_s) for one in (curve, phantom().aif_hu)]
    assert 100 * areas[0] / areas[1] * 0.55 / 0.75 / 1.04 == pytest.approx(truth.cbv[place], rel=0.02)
    scale = tissue_factor(np.float64(truth.cbf[place]))
    curves = tissue_curves(phantom().frame_times_s, Bolus(), "exponential")
    column, _, _ = curves.nearest(np.array([truth.mtt_s[place]]), np.array([truth.delay_s[place]]))
    np.testing.assert_allclose(curve, scale * curves.bank[:, column[0]], atol=0.3)  # neighbours mix in a little


def test_normal_tissue_has_the_stated_values():
    truth = phantom().truth
    grey, white = truth.grey > 0.85, truth.white > 0.95
    assert (truth.cbf[grey] / truth.grey[grey]).mean() == pytest.approx(53, rel=0.06)
    assert truth.cbf[white].mean() == pytest.approx(25, rel=0.06)
    assert truth.mtt_s[white].mean() == pytest.approx(60 * 1.9 / 25, rel=0.06)
    assert np.isnan(truth.mtt_s[~truth.brain]).mean() > 0.95


def test_core_lies_below_the_threshold_and_penumbra_above_it():
    healthy, ill = phantom().truth, phantom(has_lesion=True).truth
    relative = ill.cbf / np.maximum(healthy.cbf, 1)
    assert ill.core.sum() > 50
    assert ill.penumbra.sum() > 100
    assert np.median(relative[ill.core]) == pytest.approx(0.1, abs=0.03)
    assert np.median(relative[ill.penumbra]) == pytest.approx(0.45, abs=0.05)
    assert np.nanmedian(ill.delay_s[ill.penumbra]) > 6
    x = phantom().affine[0, 0] * np.arange(SMALL.shape[0]) + phantom().affine[0, 3]
    assert x[np.argwhere(ill.core)[:, 0]].max() < 0  # left is left
    outside = ~ndimage.binary_dilation(ill.core | ill.penumbra, iterations=2)
    np.testing.assert_allclose(ill.cbf[outside], healthy.cbf[outside], rtol=1e-4, atol=1e-2)


def test_motion_moves_the_image_by_exactly_its_pose():
    times = (0.0, 1.0, 2.0)
    protocol = Protocol(shape=(44, 52, 4), spacing_mm=(4.0, 4.0, 5.0), frame_times_s=times, noise_hu=0.0)
    motion = np.zeros((3, 6))
    motion[1, 3], motion[2, 5] = 4.0, 5.0  # one voxel to the right, one slice up
    series = simulate_perfusion(head(), protocol, np.random.default_rng(1), motion=motion).series
    np.testing.assert_allclose(series[:-1, :, :, 1], series[1:, :, :, 0], atol=1e-2)  # x of the array runs to the left
    np.testing.assert_allclose(series[:, :, 1:, 2], series[:, :, :-1, 0], atol=1e-2)


def test_the_same_seed_gives_the_same_series_and_the_noise_is_as_stated():
    protocol = Protocol(shape=(40, 40, 3), spacing_mm=(5.0, 5.0, 5.0), frame_times_s=(0.0, 0.7, 2.0), noise_hu=6.0)
    one, same, other = (simulate_perfusion(head(), protocol, np.random.default_rng(n)).series for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.99
    assert (one[..., 1] - one[..., 0]).std() == pytest.approx(6 * np.sqrt(2), rel=0.03)


def test_poses_and_matrices_are_each_others_inverse():
    centre = np.array([3.0, -20.0, 15.0])
    pose = np.array([4.0, -7.0, 11.0, 1.0, 2.0, -3.0])
    np.testing.assert_allclose(matrix_pose(pose_matrix(pose, centre), centre), pose, atol=1e-9)
    np.testing.assert_allclose((pose_matrix(pose, centre) @ [*centre, 1])[:3], centre + pose[3:])
    assert grid_centre((5, 7, 9), np.diag([-2.0, -2.0, 3.0, 1.0])).tolist() == [-4, -6, 12]


def test_a_restless_head_starts_at_rest_and_stays_within_its_amplitude():
    poses = head_motion(np.arange(40.0), np.random.default_rng(2), drift_mm=3)
    assert poses[0].tolist() == [0] * 6
    assert 2 < np.abs(poses).max() <= 3.0001
    assert np.abs(np.diff(poses, axis=0)).max() < 1.0
    jumped = head_motion(np.arange(40.0), np.random.default_rng(2), drift_mm=0, jump_mm=8)
    assert np.abs(np.diff(jumped, axis=0)).max() == pytest.approx(8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_times_s": (0.0, 2.0, 2.0)}, "increasing"),
        ({"noise_hu": -1.0}, "noise_hu must be >= 0 HU, got -1.0 HU"),
        ({"residue": "triangle"}, "residue must be one of exponential, gamma, box"),
        ({"shape": (1, 8, 8), "spacing_mm": (0.0, 1.0, 1.0)}, "shape .* spacing_mm"),
    ],
)
def test_protocols_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**change)


def test_motion_and_lesion_that_do_not_fit():
    with pytest.raises(ValueError, match="one pose of six numbers per frame"):
        simulate_perfusion(head(), SMALL, np.random.default_rng(1), motion=np.zeros((2, 6)))
    domain = np.ones((8, 8, 8), dtype=bool)
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="core_ml must be > 0 and < hypoperfused_ml"):
        grow_ischaemia(domain, seed=(4, 4, 4), core_ml=9, hypoperfused_ml=4, spacing_mm=(1, 1, 1), rng=rng)
