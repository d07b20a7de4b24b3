from functools import lru_cache

import numpy as np
import pytest

from tasks.perfusion.motion import LARGEST_DISPLACEMENT_MM, MOVED_MM, MotionTrace, correct_motion, trace_motion
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tasks.registration.rigid import (
    BONE_LIMITS_HU,
    BRAIN_LIMITS_HU,
    align,
    displacement_mm,
    limited_scan,
    limits_of,
    prepare_reference,
)
from tasks.space.resample import Grid, resample_image
from tasks.space.rigid_motion import grid_centre, pose_matrix
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import perfusion_head

N_FRAMES = 12
PROTOCOL = Protocol(
    shape=(96, 112, 12), spacing_mm=(1.9, 1.9, 5.0), frame_times_s=tuple(4.0 * n for n in range(N_FRAMES)), noise_hu=6.0
)


def head():
    return perfusion_head("ct")


@once_per_run
def moving():
    """Contrast passes from frame 3 on while the head moves by up to 4 mm and 4 degrees; frames 0 to 4 are at rest."""
    motion = np.zeros((N_FRAMES, 6))
    motion[5:] = np.random.default_rng(11).uniform(-4, 4, (N_FRAMES - 5, 6))
    return simulate_perfusion(head(), PROTOCOL, np.random.default_rng(1), motion=motion)


@lru_cache(maxsize=1)
def traced():
    return trace_motion(moving().series, moving().affine)


def slab_points(affine):
    centre = grid_centre(PROTOCOL.shape, affine)
    return centre + np.random.default_rng(0).uniform([-65, -75, -28], [65, 75, 28], (400, 3))


def true_matrices():
    """World of the traced reference frame to world of each frame."""
    centre = grid_centre(PROTOCOL.shape, moving().affine)
    poses = [pose_matrix(pose, centre) for pose in moving().motion]
    back = np.linalg.inv(poses[traced().reference_frame])
    return [pose @ back for pose in poses]


def test_known_motion_is_found_while_contrast_passes():
    points = slab_points(moving().affine)
    moved = [displacement_mm(points, one, np.eye(4)) for one in true_matrices()]
    errors = [displacement_mm(points, one, true) for one, true in zip(traced().matrices, true_matrices(), strict=True)]
    assert traced().reference_frame <= 4
    assert min(moved[5:]) > 2
    assert np.mean(errors[5:]) < 0.25
    assert max(errors) < 0.45
    assert max(errors[:5]) < 0.05  # a bolus alone moves nothing
    np.testing.assert_allclose(traced().displacement_mm, moved, rtol=0.35, atol=0.05)  # the skull lies farther out


def test_every_whole_frame_is_usable_and_those_at_rest_stay_as_they_are():
    assert traced().reasons == ("",) * N_FRAMES
    corrected = correct_motion(moving().series, moving().affine, traced())
    assert corrected.is_resampled.tolist() == [False] * 5 + [True] * (N_FRAMES - 5)
    np.testing.assert_array_equal(corrected.series[..., :5], moving().series[..., :5])


def test_correction_brings_back_what_the_head_at_rest_would_show():
    rest = simulate_perfusion(head(), PROTOCOL, np.random.default_rng(2)).series
    corrected = correct_motion(moving().series, moving().affine, traced())
    inside = simulate_perfusion(head(), PROTOCOL, np.random.default_rng(2)).truth.brain & corrected.is_covered
    before = np.abs(moving().series[..., 5:] - rest[..., 5:])[inside].mean()
    after = np.abs(corrected.series[..., 5:] - rest[..., 5:])[inside].mean()
    noise = 6 * np.sqrt(2) * np.sqrt(2 / np.pi)  # mean absolute difference of two frames of noise alone
    assert before > 1.2 * noise
    assert after < noise
    assert 0.5 < corrected.is_covered.mean() < 1


def test_the_trace_is_the_same_every_time_and_does_not_depend_on_memory_order():
    again = trace_motion(np.ascontiguousarray(moving().series), moving().affine)
    np.testing.assert_array_equal(again.matrices, traced().matrices)
    np.testing.assert_array_equal(again.misfit, traced().misfit)


def test_a_frame_in_which_the_head_moved_is_rejected():
    motion = np.zeros((N_FRAMES, 6))
    motion[[6, 9]] = [[3, 0, 2, 0, 2, 0], [0, 4, -4, 4, 3, 2]]
    still = simulate_perfusion(head(), PROTOCOL, np.random.default_rng(1))
    moved = simulate_perfusion(head(), PROTOCOL, np.random.default_rng(1), motion=motion).series
    series = still.series.copy(order="F")
    series[:, :, ::2, 6] = moved[:, :, ::2, 6]  # slices acquired before and after a jump
    series[..., 9] = (series[..., 9] + moved[..., 9]) / 2  # a jump in the middle of a rotation
    trace = trace_motion(series, still.affine)
    rejected = {frame: reason for frame, reason in enumerate(trace.reasons) if reason}
    assert rejected == {6: "motion_within_frame", 9: "motion_within_frame"}
    corrected = correct_motion(series, still.affine, trace)
    np.testing.assert_array_equal(corrected.series[..., 6], series[..., 6])
    assert corrected.is_covered.all()


def test_a_head_that_left_is_rejected_and_the_next_frames_are_found_again():
    motion = np.zeros((N_FRAMES, 6))
    motion[7] = [0, 0, 0, 5, 28, 0]
    phantom = simulate_perfusion(head(), PROTOCOL, np.random.default_rng(1), motion=motion)
    trace = trace_motion(phantom.series, phantom.affine)
    assert trace.displacement_mm[7] > LARGEST_DISPLACEMENT_MM
    assert [frame for frame, reason in enumerate(trace.reasons) if reason] == [7]
    assert trace.reasons[7] == "moved_too_far"
    assert trace.displacement_mm[8:].max() < MOVED_MM
    assert trace.step_mm[[7, 8]].min() > 20


def test_a_series_without_skull_is_aligned_by_its_brain():
    phantom = moving()
    series, still = phantom.series.copy(order="F"), phantom.truth.brain
    centre = grid_centre(PROTOCOL.shape, phantom.affine)
    for frame, pose in enumerate(phantom.motion):
        grid = Grid(PROTOCOL.shape, phantom.affine)
        to_rest = np.linalg.inv(pose_matrix(pose, centre))
        brain = resample_image(still.astype(np.float32), phantom.affine, grid, to_rest) > 0.5
        series[..., frame] = np.where(brain, np.maximum(series[..., frame], 1), 0)
    assert limits_of(series[..., 0], phantom.affine) == BRAIN_LIMITS_HU
    trace = trace_motion(series, phantom.affine)
    points = slab_points(phantom.affine)
    errors = [displacement_mm(points, one, true) for one, true in zip(trace.matrices, true_matrices(), strict=True)]
    assert np.mean(errors) < 1.0


def test_another_grid_of_the_same_head_is_aligned_in_world_coordinates():
    """As the mean of a perfusion series to the plain CT of the same patient."""
    fine = Protocol(shape=(128, 150, 30), spacing_mm=(1.4, 1.4, 4.0), frame_times_s=(0.0, 1.0), noise_hu=3.0)
    pose = np.array([[0, 0, 0, 0, 0, 0], [4, -3, 6, 6, -4, 5]])
    plain = simulate_perfusion(head(), fine, np.random.default_rng(4), motion=pose)
    reference = prepare_reference(limited_scan(plain.series[..., 1], plain.affine, BONE_LIMITS_HU), BONE_LIMITS_HU)
    slab = moving()
    fit = align(reference, limited_scan(slab.series[..., 0], slab.affine, BONE_LIMITS_HU))
    true = np.linalg.inv(pose_matrix(pose[1], grid_centre(fine.shape, plain.affine)))
    assert displacement_mm(slab_points(slab.affine), fit.matrix, true) < 0.5
    assert fit.inside_share > 0.3


def test_what_is_no_series_is_refused():
    with pytest.raises(ValueError, match=r"series must be \(X, Y, Z, T\) with two or more frames, got \(4, 4, 4\)"):
        trace_motion(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(ValueError, match="no edge of bone or brain"):
        trace_motion(np.zeros((20, 20, 4, 3), dtype=np.float32), np.eye(4))


def test_usable_frames_are_those_without_a_reason():
    nothing = np.zeros(3)
    trace = MotionTrace(0, np.tile(np.eye(4), (3, 1, 1)), np.zeros((3, 6)), nothing, nothing, nothing, ("", "x", ""))
    assert trace.is_usable.tolist() == [True, False, True]


def test_the_air_around_the_head_is_not_resampled():
    corrected = correct_motion(moving().series, moving().affine, traced())
    reference = moving().series[..., traced().reference_frame]
    is_head = np.argwhere(reference > -300)
    low, high = is_head.min(axis=0), is_head.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    beyond = np.ones(reference.shape, dtype=bool)
    beyond[box] = False
    assert beyond.sum() > 1000
    np.testing.assert_array_equal(corrected.series[..., 7][beyond], reference[beyond])
    whole = resample_image(moving().series[..., 7], moving().affine, Grid(reference.shape, moving().affine),
                           traced().matrices[7], outside=np.nan)  # fmt: skip
    shown = ~beyond & np.isfinite(whole)
    np.testing.assert_allclose(corrected.series[..., 7][shown], whole[shown], atol=1e-2)
