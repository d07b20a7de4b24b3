from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from tasks.perfusion.masks import (
    brain_on_series,
    ctp_masks,
    enhancement_area,
    extract_slab_brain,
    steady_voxels,
    vein_search,
)
from tasks.perfusion.motion import correct_motion, trace_motion
from tasks.perfusion.preparation import baseline_mean, find_bolus, mean_curve
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tests.tasks.head_phantom import perfusion_head

TIMES = tuple(2.0 * n for n in range(26))
PROTOCOL = Protocol(shape=(128, 128, 8), spacing_mm=(1.7, 1.7, 5.0), frame_times_s=TIMES, noise_hu=3.0)


def head():
    return perfusion_head("ct")


@lru_cache(maxsize=1)
def prepared():
    """Phantom, its brain, baseline, bolus and area."""
    phantom = simulate_perfusion(head(), PROTOCOL, np.random.default_rng(2))
    brain = brain_on_series(
        extract_slab_brain(phantom.series[..., 0], phantom.affine), phantom.series[..., 0], phantom.affine
    )
    bolus = find_bolus(mean_curve(phantom.series, brain), TIMES)
    baseline = baseline_mean(phantom.series, bolus.n_baseline_frames)
    return phantom, brain, baseline, bolus, enhancement_area(phantom.series, TIMES, bolus.n_baseline_frames)


@lru_cache(maxsize=1)
def masks():
    phantom, brain, baseline, _, area = prepared()
    blood = float(np.trapezoid(phantom.vof_hu, TIMES))
    return ctp_masks(baseline, area, brain, PROTOCOL.spacing_mm, blood_area_hu_s=blood)


def test_a_slab_of_four_centimetres_is_a_brain():
    phantom, brain, _, _, _ = prepared()
    found = extract_slab_brain(phantom.series[..., 0], phantom.affine)
    assert found.reason == ""
    assert found.open_share > 0.9
    truth = phantom.truth.brain
    assert 2 * (brain & truth).sum() / (brain.sum() + truth.sum()) > 0.98


def test_two_slices_are_still_a_slab_and_no_head_is_none():
    phantom = prepared()[0]
    thin = phantom.series[:, :, 3:5, 0]
    found = extract_slab_brain(thin, phantom.affine)
    assert found.volume_ml < 200
    assert found.reason == ""
    assert (
        extract_slab_brain(np.full((64, 64, 6), -1000.0, dtype=np.float32), phantom.affine).reason == "no_brain_found"
    )
    small = np.diag([0.3, 0.3, 1.0, 1.0]) @ phantom.affine  # a wrong pixel size: no brain is 4 cm wide
    assert extract_slab_brain(phantom.series[..., 0], small).reason == "brain_too_small"


def test_the_bolus_of_the_phantom_leaves_a_baseline_without_contrast_agent():
    phantom, _, _, bolus, _ = prepared()
    assert bolus.reason == ""
    assert phantom.aif_hu[: bolus.n_baseline_frames].max() < 0.01 * phantom.aif_hu.max()
    assert bolus.n_baseline_frames >= 4


def test_the_area_is_the_integral_of_each_curve():
    phantom, _, baseline, _, area = prepared()
    place = np.unravel_index(phantom.truth.vein.argmax(), area.shape)
    curve = phantom.series[place] - baseline[place]
    assert area[place] == pytest.approx(np.trapezoid(curve, TIMES), rel=1e-3)
    uneven = (0.0, 1.0, 3.0)
    series = np.array([2.0, 2.0, 8.0], dtype=np.float32).reshape(1, 1, 1, 3)
    assert enhancement_area(series, uneven, 1).item() == pytest.approx(6.0)  # half of 2 s times 6 HU


def test_vessels_fluid_and_tissue_are_told_apart():
    truth, found = prepared()[0].truth, masks()
    blood = truth.artery + truth.vein
    large = (blood > 0.5) & found.brain
    assert large.sum() > 20
    assert found.vessel[large].mean() > 0.95
    pure = (truth.grey + truth.white > 0.98) & found.brain
    assert found.vessel[pure].mean() < 0.02
    ventricle = truth.brain & (truth.grey + truth.white + blood < 0.1)
    assert ventricle.sum() > 150
    assert found.fluid[ventricle & found.brain].mean() > 0.9
    assert found.fluid[pure].mean() < 0.005
    assert not (found.tissue & (found.vessel | found.fluid | found.skull)).any()
    assert found.skull.sum() * np.prod(PROTOCOL.spacing_mm) / 1000 > 100


def test_without_a_vein_the_largest_vessels_give_the_blood():
    _, brain, baseline, _, area = prepared()
    found = ctp_masks(baseline, area, brain, PROTOCOL.spacing_mm)
    assert masks().vessel.sum() <= found.vessel.sum() < 0.03 * brain.sum()
    nothing = ctp_masks(baseline, area, np.zeros_like(brain), PROTOCOL.spacing_mm)
    assert not nothing.vessel.any()


def test_the_sinus_is_searched_beside_the_brain():
    truth, found = prepared()[0].truth, masks()
    sinus = truth.vein > 0.8
    search = vein_search(found, PROTOCOL.spacing_mm)
    assert search[sinus].mean() > 0.85  # the rest shares its slice with bone
    assert search[sinus].mean() > 1.3 * found.brain[sinus].mean()
    assert not (search & found.skull).any()


def test_steady_voxels_keep_away_from_bone_and_nothing_else():
    baseline = np.full((20, 20, 5), 35.0, dtype=np.float32)
    baseline[:, :, 2] += np.arange(20) % 2 * 25  # tissue beside fluid is no edge
    baseline[10, 10, 2] = 900
    steady = steady_voxels(baseline, (1.7, 1.7, 5.0))
    expected = np.ones_like(steady)
    expected[9:12, 9:12, 1:4] = False
    expected[:, :, [0, -1]] = False  # what lies beyond is not known
    np.testing.assert_array_equal(steady, expected)
    assert (~steady_voxels(baseline, (0.85, 0.85, 5.0))[:, :, 1:-1]).sum() == 5 * 5 * 3  # as many mm


def test_a_corrected_series_can_be_trusted_in_steady_voxels():
    motion = np.zeros((len(TIMES), 6))
    motion[16:] = [1.0, 0.5, -1.5, 1.0, 2.0, 1.5]
    still, moved = (
        simulate_perfusion(head(), replace(PROTOCOL, noise_hu=0.0), np.random.default_rng(2), motion=poses)
        for poses in (None, motion)
    )
    trace = trace_motion(moved.series, moved.affine)
    assert trace.reference_frame < 16
    corrected = correct_motion(moved.series, moved.affine, trace)
    found = masks()
    inside = corrected.is_covered & vein_search(found, PROTOCOL.spacing_mm)
    ends = inside.copy()
    ends[:, :, 1:-1] = False
    inside &= ~ends
    steady = steady_voxels(still.series[..., 0], PROTOCOL.spacing_mm)
    error = np.abs(corrected.series[..., 16:] - still.series[..., 16:]).max(axis=3)
    assert np.percentile(error[inside & steady], 99) < 15
    assert np.percentile(error[inside & ~steady], 90) > 60
    assert np.percentile(error[ends], 99) > 60  # bone comes in from beyond the slab
