"""Arterial and venous curves: bolus shapes worked by hand, a small slab with known vessels, and the real pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import io

from tasks.perfusion.bolus import bolus_problem, bolus_shape, frames_problem
from tasks.perfusion.vessels import MAXIMUM_SCALING, MINIMUM_RATIO, arterial_input_of, find_arterial_input, vof_scaling
from tests.tasks.perfusion.test_deconvolution import gamma_variate, tissue

TIMES_S = np.arange(60.0)
AIF, VOF = gamma_variate(TIMES_S, 8.0), gamma_variate(TIMES_S, 14.0, peak=450.0)
SHAPE = (2, 20, 20)
ARTERY, LATE_ARTERY, SINUS = (0, slice(3, 7), slice(4, 8)), (1, slice(3, 7), slice(12, 16)), (0, slice(16, 20), 8)


def slab(noise_hu=2.0, times_s=TIMES_S, aif=AIF, vof=VOF):
    """Tissue of 60 ml/100 g/min; an artery half its voxels, its collateral 5 s later, and a sinus that fills them."""
    curve = tissue(times_s, 0.01, 4.0)
    series = np.broadcast_to(curve[:, None, None, None], (len(times_s), *SHAPE)) + 35.0
    series[:, *ARTERY] = (40 + aif / 2)[:, None, None]
    series[:, *LATE_ARTERY] = (40 + np.interp(times_s - 5, times_s, aif) / 2)[:, None, None]
    series[:, *SINUS] = (40 + vof)[:, None]
    return series + np.random.default_rng(11).normal(0, noise_hu, series.shape)


def find(series, times_s=TIMES_S, mask=None, **options):
    mask = np.ones(SHAPE, dtype=bool) if mask is None else mask
    return find_arterial_input(series, times_s, mask, n_baseline_frames=6, **options)


def members(place):
    inside = np.zeros(SHAPE, dtype=bool)
    inside[place] = True
    return set(np.flatnonzero(inside))


def test_peak_and_half_peak_crossings_of_a_triangle():
    curve = np.interp(TIMES_S, [10, 14, 22], [0, 100, 0])  # half of it at 12 and 18 s
    shape = bolus_shape(curve[:, None], TIMES_S)
    assert (shape.peak_hu[0], shape.peak_s[0]) == (100, 14)
    assert (shape.rise_s[0], shape.fall_s[0], shape.width_s[0]) == (12, 18, 6)
    assert shape.noise_hu[0] == 0


def test_crossings_fall_between_uneven_frames():
    times = np.array([0.0, 1, 2, 5, 9, 15, 30])
    shape = bolus_shape(np.array([[0.0, 0, 0, 30, 100, 20, 0]]).T, times)
    assert shape.rise_s[0] == pytest.approx(5 + 4 * 20 / 70)
    assert shape.fall_s[0] == pytest.approx(9 + 6 * 50 / 80)


def test_noise_is_that_of_the_second_differences():
    noise = np.random.default_rng(0).normal(0, 3.0, (2000, 4))
    np.testing.assert_allclose(bolus_shape(noise, np.arange(2000.0)).noise_hu, 3.0, rtol=0.08)


@pytest.mark.parametrize(
    ("curve", "reason", "value"),
    [
        (AIF, "", ""),
        (AIF[11:], "bolus_before_start", "% of its range at the first frames"),
        (AIF[20:] - AIF[20:23].mean(), "bolus_before_start", "got 8"),  # baseline taken within the bolus
        (AIF[:14], "bolus_truncated", "of the peak at 13 s"),
        (AIF + gamma_variate(TIMES_S, 30.0, peak=200.0), "two_bolus_peaks", "peaks at 13 s and 35 s"),
        (AIF + gamma_variate(TIMES_S, 24.0, peak=60.0), "", ""),  # recirculation
        (np.random.default_rng(1).normal(0, 1, 60), "no_bolus", "times the noise"),
    ],
)
def test_what_is_one_whole_bolus(curve, reason, value):
    found, detail = bolus_problem(curve, TIMES_S[: len(curve)])
    assert found == reason
    assert value in detail


def test_frames_out_of_order_and_too_few():
    assert frames_problem(TIMES_S) == ("", "")
    assert frames_problem(TIMES_S[:20])[0] == "too_few_frames"
    assert frames_problem(TIMES_S[:20], minimum_frames=19) == ("", "")
    reason, detail = frames_problem(np.r_[TIMES_S[:30], 12.0, TIMES_S[30:]])
    assert reason == "frames_out_of_order"
    assert "got 12 s after 29 s (frame 30)" in detail


def test_the_early_artery_and_the_sinus_are_found_and_the_artery_scaled_to_its_whole():
    found = find(slab())
    assert found.reason == found.vof_reason == ""
    assert set(found.aif_voxels) <= members(ARTERY)
    assert set(found.vof_voxels) == members(SINUS)
    assert found.scaling == pytest.approx(2 * 1.5, rel=0.03)  # half a voxel; the vein's area is 1.5 times the artery's
    assert np.corrcoef(found.aif, AIF)[0, 1] > 0.999
    np.testing.assert_allclose(found.scaled_aif, found.aif * found.scaling)
    assert 0.8 < found.quality < 1
    assert not found.is_manual


def test_a_curve_that_jumps_is_no_vein():
    """What motion leaves beside bone: a larger area than the sinus, no bolus."""
    series = slab()
    bone = (0, slice(8, 15), slice(9, 13))
    series[26:, *bone] += np.linspace(150, 90, 34)[:, None, None]
    found = find(series)
    assert set(found.vof_voxels) == members(SINUS)
    assert found.scaling == pytest.approx(2 * 1.5, rel=0.03)


def test_noise_lowers_the_quality():
    assert find(slab(8.0)).quality < find(slab(2.0)).quality


def test_places_outside_the_masks_are_left_alone():
    mask, veins = np.ones(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    mask[ARTERY] = mask[SINUS] = False
    veins[SINUS] = True
    found = find(slab(), mask=mask, vein_mask=veins)
    assert found.reason == "no_arterial_input"  # the other artery is as late as tissue
    mask[ARTERY] = True
    assert set(find(slab(), mask=mask, vein_mask=veins).vof_voxels) == members(SINUS)
    assert find(slab(), mask=mask).vof is None or not set(find(slab(), mask=mask).vof_voxels) & members(SINUS)


@pytest.mark.parametrize(
    ("series", "times_s", "reason"),
    [
        (slab()[:20], TIMES_S[:20], "too_few_frames"),
        (slab()[::-1], TIMES_S[::-1], "frames_out_of_order"),
        (slab()[20:], TIMES_S[20:], "bolus_before_start"),
        (slab(aif=AIF + gamma_variate(TIMES_S, 30.0)), TIMES_S, "two_bolus_peaks"),
        (slab(aif=0 * AIF, vof=0 * VOF), TIMES_S, "no_arterial_input"),
        (slab(aif=np.maximum.accumulate(AIF)), TIMES_S, "bolus_truncated"),
    ],
)
def test_a_series_without_a_credible_artery_is_refused_with_its_reason(series, times_s, reason):
    found = find(series, times_s)
    assert found.reason == reason
    assert found.detail
    assert found.aif is None
    assert found.quality == 0
    with pytest.raises(ValueError, match=rf"must have a curve, got none \({reason}\)"):
        _ = found.scaled_aif


def test_given_curves_obey_the_same_rules():
    found = arterial_input_of(AIF / 2, VOF, TIMES_S)
    assert found.is_manual
    assert found.scaling == pytest.approx(3.0, rel=1e-3)
    assert arterial_input_of(AIF[:14], None, TIMES_S[:14], minimum_frames=10).reason == "bolus_truncated"


@pytest.mark.parametrize(
    ("vof", "factor", "reason"),
    [
        (VOF, 1.5, ""),
        (gamma_variate(TIMES_S, 14.0, peak=200.0), 1.0, ""),  # a sinus below its artery never lowers it
        (None, 1.0, "no_venous_output"),
        (np.maximum.accumulate(VOF), 9.446, "vof_bolus_truncated"),
        (gamma_variate(TIMES_S, 4.0), 1.0, "vof_before_aif"),
        (12 * VOF, MAXIMUM_SCALING, "vof_scaling_out_of_range"),
        (0.2 * VOF, 1.0, "vof_scaling_out_of_range"),
    ],
)
def test_scaling_by_the_vein(vof, factor, reason):
    found, why, detail = vof_scaling(AIF, vof, TIMES_S)
    assert found == pytest.approx(factor, rel=1e-3)
    assert why == reason
    assert bool(detail) == bool(reason)
    assert not reason or detail.endswith("CBF and CBV are known relative to normal tissue only.")


def test_the_scaling_never_jumps_whatever_the_ratio():
    """From half the artery's area to thirty times: the ratio itself between 1 and 10, the nearer limit outside."""
    ratios = np.arange(0.3, 30, 0.02)
    found = [vof_scaling(AIF, VOF * ratio / 1.5, TIMES_S) for ratio in ratios]
    factors = np.array([one[0] for one in found])
    np.testing.assert_allclose(factors, np.clip(ratios, 1, MAXIMUM_SCALING), rtol=1e-3)
    assert np.diff(factors).max() < 0.021
    reasons = np.array([one[1] for one in found])
    is_absolute = (ratios > MINIMUM_RATIO * 1.001) & (ratios < MAXIMUM_SCALING * 0.999)
    assert (reasons[is_absolute] == "").all()
    is_relative = (ratios < MINIMUM_RATIO * 0.999) | (ratios > MAXIMUM_SCALING * 1.001)
    assert (reasons[is_relative] == "vof_scaling_out_of_range").all()


def test_the_scaling_never_jumps_where_the_scan_ends_before_the_vein_has_fallen():
    """A vein at 49 % of its peak in the last frame is named, one at 51 % is not; both scale alike."""
    found = [vof_scaling(AIF[:n], VOF[:n], TIMES_S[:n]) for n in range(len(TIMES_S), 20, -1)]
    assert {one[1] for one in found} == {"", "vof_bolus_truncated"}
    assert np.abs(np.diff([one[0] for one in found])).max() < 0.1
    np.testing.assert_allclose([one[0] for one in found], 1.5, atol=0.2)


def test_the_scaling_never_jumps_as_the_vein_moves_from_late_to_early():
    lags = np.arange(6.0, -3.0, -0.05)
    found = [vof_scaling(AIF, 3 * np.interp(TIMES_S - lag, TIMES_S, AIF), TIMES_S) for lag in lags]
    assert {one[1] for one in found} == {"", "vof_before_aif"}
    np.testing.assert_allclose([one[0] for one in found], 3, rtol=0.02)


def test_a_vein_cut_short_scales_over_the_part_both_show():
    times = TIMES_S[:27]  # the vein is at an eighth of its peak
    aif = AIF[:27]
    assert VOF[26] > 0.1 * VOF.max()
    assert vof_scaling(aif, VOF[:27], times)[0] == pytest.approx(1.5, rel=0.02)


@pytest.mark.real_data
def test_real_pairs_are_each_accepted_or_named(real_data):
    """47 pairs; three veins are still at half their peak when the scan ends, one artery is next to nothing."""
    folders = sorted((real_data / "ctp" / "isles2018-aif").iterdir())
    assert len(folders) == 47
    reasons = {}
    for folder in folders:
        aif, vof = np.load(folder / "aif_isles.npy"), np.load(folder / "vof_isles.npy")
        found = arterial_input_of(aif, vof, np.arange(len(aif), dtype=float))
        assert found.reason == ""
        assert 0.3 < found.quality < 1
        assert 1 <= found.scaling <= MAXIMUM_SCALING
        if found.vof_reason:
            reasons[folder.name] = found.vof_reason
    truncated = dict.fromkeys(("case_8", "case_20", "case_68"), "vof_bolus_truncated")
    assert reasons == {**truncated, "case_28": "vof_scaling_out_of_range"}


@pytest.mark.real_data
def test_the_digital_phantoms_artery_is_found(real_data):
    phantom = io.loadmat(real_data / "ctp" / "phantom.mat")
    found = find_arterial_input(phantom["ctp"], np.arange(50.0), phantom["brain"] > 0, n_baseline_frames=8)
    assert found.reason == ""
    assert found.vof_reason == "no_venous_output"  # it has none
    assert set(phantom["brain"].ravel()[found.aif_voxels]) == {7}
    aif = phantom["aif"].ravel()
    np.testing.assert_allclose(found.aif, aif - aif[:8].mean(), atol=1e-4)
