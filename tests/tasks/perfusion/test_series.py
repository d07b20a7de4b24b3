"""The chain from frames to core on small phantoms of known truth, and every series that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from models.anatomy.register_template import template_tissues
from tasks.perfusion.core import CoreSettings, find_core
from tasks.perfusion.denoising import Denoising
from tasks.perfusion.normal_flow import CoreAnatomy
from tasks.perfusion.series import ManualInput, SeriesSettings, measure_series
from tasks.perfusion.vendor_maps import convert_cbf
from tasks.perfusion.vessels import vof_scaling
from tasks.phantoms.curves import Bolus
from tasks.phantoms.lesion import lesion_domain
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tasks.phantoms.tissue import grow_ischaemia
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import perfusion_head

TIMES_S = tuple(2.0 * n for n in range(26))
PROTOCOL = Protocol(
    shape=(72, 88, 8), spacing_mm=(2.6, 2.6, 5.0), frame_times_s=TIMES_S, noise_hu=2.0, centre_mm=(0, -18, 5)
)
AT_REST = SeriesSettings(corrects_motion=False)


def head():
    return perfusion_head("ct")


@once_per_run
def lesion():
    maps = template_tissues("ct")
    domain = lesion_domain(maps.brain > 0.5, maps.brain > 0.5, maps.affine, side="right")
    seed = tuple(int(i) for i in np.rint(np.linalg.inv(maps.affine) @ [44, -16, 10, 1])[:3])
    rng = np.random.default_rng(3)
    return grow_ischaemia(domain, seed=seed, core_ml=60, hypoperfused_ml=100, spacing_mm=(1, 1, 1), rng=rng)


@once_per_run
def phantom(is_moving=False, bolus=None):
    motion = np.zeros((len(TIMES_S), 6))
    motion[8:13] = [1.5, 0.5, -2.0, 1.0, 2.0, 1.0]  # while contrast passes
    protocol = PROTOCOL if bolus is None else replace(PROTOCOL, bolus=bolus)
    return simulate_perfusion(
        head(), protocol, np.random.default_rng(6), lesion=lesion(), motion=motion if is_moving else None
    )


@lru_cache(maxsize=2)
def measured(is_moving=False):
    found = phantom(is_moving)
    return measure_series(found.series, found.affine, TIMES_S, SeriesSettings())


def core_of(found, affine):
    """Core, the mid-plane at x = 0 as the phantom's head has it."""
    x_mm = affine[0, 0] * np.arange(found.tissue.shape[0]) + affine[0, 3]
    hemisphere = np.broadcast_to(np.sign(x_mm).astype(np.int8)[:, None, None], found.tissue.shape)
    voxel_ml = float(np.prod(PROTOCOL.spacing_mm)) / 1000
    return find_core(found.maps.cbf, found.maps.tmax, CoreAnatomy(found.tissue, hemisphere, voxel_ml), CoreSettings())


def test_a_series_at_rest_is_measured_to_the_end():
    found = measured()
    assert (found.reason, found.detail, found.notes) == ("", "", ())
    assert found.trace.displacement_mm.max() < 0.3
    assert not found.is_resampled
    assert found.is_covered.all()
    np.testing.assert_array_equal(found.frame_times_s, TIMES_S)
    np.testing.assert_array_equal(found.series, phantom().series)
    assert found.noise_hu == pytest.approx(2.0, rel=0.1)
    assert found.bolus.n_baseline_frames >= 4
    assert found.baseline[phantom().truth.white > 0.98].mean() == pytest.approx(28, abs=1)
    assert found.denoising == Denoising(2.5, 0.0)  # leaves 2 HU * 2.6 / (2 sqrt(pi) 2.5) = 0.59 HU of a rise of 6


def test_artery_and_vein_are_vessels_and_the_artery_is_scaled_to_pure_blood():
    found, truth = measured().arterial, phantom().truth
    assert truth.artery.T.reshape(-1)[found.aif_voxels].min() > 0.2
    assert truth.vein.T.reshape(-1)[found.vof_voxels].min() > 0.5
    assert found.scaled_aif.max() == pytest.approx(phantom().aif_hu.max(), rel=0.15)
    assert np.trapezoid(found.scaled_aif) == pytest.approx(np.trapezoid(phantom().aif_hu), rel=0.15)


def test_maps_follow_the_truth():
    found, truth = measured(), phantom().truth
    normal = found.tissue & ~truth.core & ~truth.penumbra
    white = normal & (truth.white > 0.95)
    assert found.maps.cbv[white].mean() == pytest.approx(truth.cbv[white].mean(), rel=0.25)
    assert 0.5 < found.maps.cbf[white].mean() / truth.cbf[white].mean() < 1  # truncation lowers short transit times
    assert np.corrcoef(found.maps.cbf[found.tissue], truth.cbf[found.tissue])[0, 1] > 0.85
    assert np.corrcoef(found.maps.cbv[found.tissue], truth.cbv[found.tissue])[0, 1] > 0.65  # ranges from 1 to 3 only
    late = np.median(found.maps.tmax[found.tissue & truth.penumbra]) - np.median(found.maps.tmax[white])
    assert late == pytest.approx(7, abs=1.5)  # delays of 8 and 1 s
    assert np.isnan(found.maps.cbf[~found.brain_mask]).all()


@pytest.mark.parametrize(("is_moving", "least_share"), [(False, 0.9), (True, 0.75)])
def test_the_core_has_its_side_and_size(is_moving, least_share):
    found, truth = measured(is_moving), phantom(is_moving).truth
    core = core_of(found, phantom().affine)
    assert (core.affected_side, core.side_source) == ("right", "tmax")
    true_ml = (truth.core & found.tissue).sum() * np.prod(PROTOCOL.spacing_mm) / 1000
    assert true_ml > 15
    assert least_share * true_ml < core.core_ml < 1.1 * true_ml
    assert 2 * (core.core & truth.core).sum() / (core.core.sum() + (truth.core & found.tissue).sum()) > 0.8
    assert core.other_side_hypoperfused_ml < 1


def test_a_moving_head_is_corrected_and_only_steady_tissue_counts():
    found = measured(is_moving=True)
    assert found.reason == ""
    assert found.is_resampled
    assert found.trace.displacement_mm.max() > 2
    assert found.tissue.sum() < measured().tissue.sum()
    assert not found.tissue[:, :, [0, -1]].any()
    uncorrected = measure_series(phantom(True).series, phantom().affine, TIMES_S, AT_REST)
    truth = phantom().truth
    inside = found.tissue & uncorrected.tissue

    def error(one):
        relative = one.maps.cbf[inside] / one.maps.cbf[inside].mean()
        return np.abs(relative - truth.cbf[inside] / truth.cbf[inside].mean()).mean()

    assert error(found) < 0.9 * error(uncorrected)


def test_frames_out_of_order_are_sorted_with_a_note():
    shuffled = np.random.default_rng(0).permutation(len(TIMES_S))
    series = phantom().series[..., shuffled]
    found = measure_series(series, phantom().affine, [TIMES_S[frame] for frame in shuffled], AT_REST)
    assert (found.reason, found.notes) == ("", ("frames_reordered",))
    assert tuple(shuffled[list(found.frame_order.order)]) == tuple(range(len(TIMES_S)))
    straight = measure_series(phantom().series, phantom().affine, TIMES_S, AT_REST)
    np.testing.assert_array_equal(found.maps.cbf, straight.maps.cbf)


def test_a_frame_blurred_by_motion_is_left_out():
    series = phantom().series.copy(order="F")
    series[..., 20] = (series[..., 20] + np.roll(series[..., 20], 5, axis=1)) / 2
    found = measure_series(series, phantom().affine, TIMES_S, SeriesSettings())
    assert found.notes == ("frames_rejected",)
    assert found.trace.reasons[20] == "motion_within_frame"
    assert found.series.shape[3] == len(found.frame_times_s) == 25
    assert TIMES_S[20] not in found.frame_times_s
    assert core_of(found, phantom().affine).affected_side == "right"
    few = measure_series(series, phantom().affine, TIMES_S, SeriesSettings(minimum_frames=26))
    assert few.reason == "too_few_frames"
    assert few.trace is not None


def test_given_curves_take_the_place_of_those_found():
    given = ManualInput(phantom().aif_hu / 2, phantom().vof_hu)
    found = measure_series(phantom().series, phantom().affine, TIMES_S, AT_REST, manual=given)
    assert found.arterial.is_manual
    assert found.arterial.scaling == pytest.approx(2, rel=0.03)
    assert found.reason == ""
    assert np.corrcoef(found.maps.cbf[found.tissue], measured().maps.cbf[found.tissue])[0, 1] > 0.98
    late = ManualInput(phantom().aif_hu[::-1].cumsum())
    refused = measure_series(phantom().series, phantom().affine, TIMES_S, AT_REST, manual=late)
    assert refused.reason == "bolus_truncated"


def test_beyond_the_credible_ratio_of_vein_and_artery_only_absolute_values_are_lost():
    """An artery of 9.9 and of 10.1 times less area than its vein: the same MTT, Tmax and flow over normal flow."""
    found = []
    as_it_is = vof_scaling(phantom().aif_hu, 3 * phantom().vof_hu, np.array(TIMES_S))[0] / 3
    for ratio in (9.9, 10.1):
        given = ManualInput(phantom().aif_hu, phantom().vof_hu * ratio / as_it_is)
        found.append(measure_series(phantom().series, phantom().affine, TIMES_S, AT_REST, manual=given))
    assert [one.relative_reason for one in found] == ["", "vof_scaling_out_of_range"]
    assert [one.reason for one in found] == ["", ""]
    assert found[1].notes == ("vof_scaling_out_of_range",)
    assert found[0].arterial.scaling == pytest.approx(found[1].arterial.scaling, rel=0.03)
    assert np.mean(found[0].tissue != found[1].tissue) < 1e-3
    both = found[0].tissue & found[1].tissue
    flows = [one.maps.cbf[both] / one.maps.cbf[both].mean() for one in found]
    np.testing.assert_allclose(flows[0], flows[1], rtol=1e-3, atol=1e-4)
    for name in ("mtt", "tmax"):
        np.testing.assert_allclose(*(getattr(one.maps, name)[both] for one in found), rtol=1e-3, atol=1e-3)


def test_smoothing_is_a_setting():
    settings = replace(AT_REST, denoising=Denoising(in_plane_sigma_mm=0))
    found = measure_series(phantom().series, phantom().affine, TIMES_S, settings)
    np.testing.assert_array_equal(found.curves, found.series)
    white = phantom().truth.white > 0.98
    assert np.nanstd(found.maps.cbv[white]) > 1.2 * np.nanstd(measured().maps.cbv[white])


def refused_series(case):
    """A series that cannot be used, its times and the last thing that is known of it."""
    series = phantom().series
    if case == "too_few_frames":
        return series[..., :20], TIMES_S[:20]
    if case == "bolus_before_start":
        return series[..., 8:], tuple(2.0 * n for n in range(18))
    if case == "two_bolus_peaks":
        return phantom(bolus=Bolus(arrival_s=6)).series + np.roll(series - series[..., :1], 12, axis=3) * (
            np.arange(26) >= 12
        ), TIMES_S
    if case == "no_contrast":
        return np.repeat(series[..., :1], 26, axis=3), TIMES_S
    if case == "bolus_truncated":
        return series[..., :10], TIMES_S[:10]
    if case == "frame_times_missing":
        return series, None
    if case == "frame_times_not_increasing":
        return series, (0.0, *TIMES_S[:-1])
    if case == "frame_interval_implausible":
        return series, tuple(1000 * one for one in TIMES_S)
    if case == "no_brain_found":
        return np.full_like(series, -1000), TIMES_S
    raise ValueError(case)


@pytest.mark.parametrize(
    ("case", "known"),
    [
        ("too_few_frames", "series"),
        ("bolus_before_start", "brain_mask"),
        ("two_bolus_peaks", "baseline"),
        ("bolus_truncated", "baseline"),
        ("no_contrast", "brain_mask"),
        ("frame_times_missing", "frame_order"),
        ("frame_times_not_increasing", "frame_order"),
        ("frame_interval_implausible", "frame_order"),
        ("no_brain_found", "brain"),
    ],
)
def test_bad_series_are_refused_by_name_and_keep_what_there_is(case, known):
    series, times = refused_series(case)
    settings = replace(AT_REST, minimum_frames=25 if case == "too_few_frames" else 10)
    found = measure_series(series, phantom().affine, times, settings)
    assert found.reason == case
    assert "must" in found.detail
    assert "got" in found.detail
    assert getattr(found, known) is not None
    assert found.maps is None
    assert found.arterial is None


def test_a_slab_without_an_artery_is_refused_and_keeps_its_masks():
    """Only tissue enhances: vessels are painted over with their neighbours' tissue."""
    series, truth = phantom().series.copy(order="F"), phantom().truth
    is_vessel = truth.artery + truth.vein > 0.005
    tissue = truth.white > 0.95
    series[is_vessel] = series[tissue & ~truth.core & ~truth.penumbra][: is_vessel.sum()]
    found = measure_series(series, phantom().affine, TIMES_S, AT_REST)
    assert found.reason == "no_arterial_input"
    assert "Check that the slab holds an artery" in found.detail
    assert found.masks is not None
    assert found.maps is None


def test_a_vendor_map_of_colours_is_refused():
    colours = np.zeros((8, 8, 4, 3), dtype=np.uint8)
    assert convert_cbf(colours, "ml/100g/min").reason == "colour_map"


def test_arrays_that_are_no_series_are_errors():
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    with pytest.raises(ValueError, match=r"series must be \(X, Y, Z, T\) .* got shape \(4, 4, 4\)"):
        measure_series(np.zeros((4, 4, 4)), affine, (0.0, 1.0), SeriesSettings())
    sagittal = affine[[2, 0, 1, 3]]
    with pytest.raises(ValueError, match=r"slices along the third axis.*aif must have one value .* \(30,\), got shape"):
        measure_series(np.zeros((4, 4, 4, 30)), sagittal, None, SeriesSettings(), manual=ManualInput(np.zeros(9)))
