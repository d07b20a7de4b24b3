"""Deconvolution against a slow per-voxel loop, known residues, shifted curves and the published reference curves."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tasks.perfusion.deconvolution import (
    BlockCirculantSvd,
    OscillationIndexSvd,
    StandardSvd,
    build_deconvolver,
    deconvolve,
)

TIMES_S = np.arange(50.0)
METHODS = [OscillationIndexSvd(), BlockCirculantSvd(), StandardSvd()]


def gamma_variate(times_s, start_s=8.0, peak=300.0):
    """A bolus that peaks 4.5 s after its start."""
    since = np.clip(times_s - start_s, 0, None) / 4.5
    return peak * (since * np.exp(1 - since)) ** 3


def tissue(times_s, flow_per_s, mtt_s, delay_s=0.0, start_s=8.0, dispersion_s=0.0):
    """An exponential residue convolved with the bolus on a 0.02 s grid, read at the frames."""
    fine = np.arange(0, times_s[-1] + 0.02, 0.02)
    arterial = gamma_variate(fine, start_s + delay_s)
    if dispersion_s:
        arterial = np.convolve(arterial, np.exp(-fine / dispersion_s) / dispersion_s)[: len(fine)] * 0.02
    curve = np.convolve(arterial, np.exp(-fine / mtt_s))[: len(fine)] * 0.02 * flow_per_s
    return np.interp(times_s, fine, curve)


def noisy_curves(n=40, noise_hu=1.0):
    rng = np.random.default_rng(7)
    clean = [tissue(TIMES_S, f, m, d) for f, m, d in rng.uniform((0.001, 3, 0), (0.012, 14, 6), (n, 3))]
    return np.stack(clean, axis=1) + rng.normal(0, noise_hu, (len(TIMES_S), n))


def slow_block_circulant(curve, aif, threshold):
    """One voxel by Fourier transform: frequencies below the threshold left out."""
    n = len(aif)
    padded = np.pad(aif, (0, n))
    spectrum = np.fft.fft((np.roll(padded, 1) + 4 * padded + np.roll(padded, -1)) / 6)
    kept = np.abs(spectrum) >= threshold * np.abs(spectrum).max()
    quotient = np.zeros_like(spectrum)
    quotient[kept] = np.fft.fft(np.pad(curve, (0, n)))[kept] / spectrum[kept]
    return np.fft.ifft(quotient).real


def slow_oscillation_index(curve, aif, method):
    for threshold in method.thresholds:
        residue = slow_block_circulant(curve, aif, threshold)
        index = np.abs(residue[2:] - 2 * residue[1:-1] + residue[:-2]).sum() / len(residue) / residue.max()
        if index < method.limit:
            break
    return residue


@pytest.mark.parametrize("method", [OscillationIndexSvd(), BlockCirculantSvd(threshold=0.2)], ids=lambda m: m.name)
def test_all_voxels_at_once_equal_one_by_one_in_the_fourier_domain(method):
    curves, aif = noisy_curves(), gamma_variate(TIMES_S)
    residues = deconvolve(curves, build_deconvolver(aif, TIMES_S, method))
    for voxel, curve in enumerate(curves.T):
        if isinstance(method, OscillationIndexSvd):
            slow = slow_oscillation_index(curve, aif, method)
        else:
            slow = slow_block_circulant(curve, aif, method.threshold)
        lag = int(slow.argmax())
        assert residues.peak_per_s[voxel] == pytest.approx(slow.max(), rel=1e-4)
        assert residues.peak_time_s[voxel] == (lag if lag < len(aif) else lag - 2 * len(aif))


def test_standard_svd_equals_the_truncated_pseudo_inverse_of_the_causal_matrix():
    curves, aif = noisy_curves(), gamma_variate(TIMES_S)
    residues = deconvolve(curves, build_deconvolver(aif, TIMES_S, StandardSvd(0.2)))
    n = len(aif)
    matrix = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            k = i - j
            before, after = (aif[k - 1] if k else 0.0), (aif[k + 1] if k + 1 < n else 0.0)
            matrix[i, j] = (before + 4 * aif[k] + after) / 6
    expected = np.linalg.pinv(matrix, rcond=0.2) @ curves
    np.testing.assert_allclose(residues.peak_per_s, expected.max(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(residues.peak_time_s, expected.argmax(axis=0))


def test_a_residue_on_the_grid_is_recovered_exactly():
    aif = gamma_variate(TIMES_S)
    residue = np.array([0.004, 0.010, 0.008, 0.005, 0.002])  # 1/s, its peak after 1 s
    padded = np.pad(aif, (0, 50))
    response = (np.roll(padded, 1) + 4 * padded + np.roll(padded, -1))[:50] / 6
    curve = np.convolve(response, residue)[:50]
    found = deconvolve(curve[:, None], build_deconvolver(aif, TIMES_S, BlockCirculantSvd(threshold=1e-6)))
    assert found.peak_per_s[0] == pytest.approx(0.010, rel=2e-3)
    assert found.peak_time_s[0] == 1


@pytest.mark.parametrize("frame_interval_s", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("dispersion_s", [0.0, 1.5])
def test_tmax_follows_a_delay_second_by_second_and_flow_does_not_change(frame_interval_s, dispersion_s):
    times = np.arange(0, 60, frame_interval_s)
    deconvolver = build_deconvolver(gamma_variate(times), times, OscillationIndexSvd())
    curves = [tissue(times, 0.010, 4.0, delay, dispersion_s=dispersion_s) for delay in range(7)]
    found = deconvolve(np.stack(curves, axis=1), deconvolver)
    np.testing.assert_array_equal(found.peak_time_s - found.peak_time_s[0], range(7))
    assert np.abs(found.peak_per_s / found.peak_per_s[0] - 1).max() < 0.03
    np.testing.assert_allclose(found.area_ratio, 0.04, rtol=0.02)


def test_tissue_that_leads_the_artery_has_the_same_flow_and_a_negative_time():
    curve = tissue(TIMES_S, 0.010, 4.0)
    late, now = (
        deconvolve(curve[:, None], build_deconvolver(gamma_variate(TIMES_S, start), TIMES_S, BlockCirculantSvd()))
        for start in (13.0, 8.0)
    )
    assert late.peak_per_s[0] == pytest.approx(now.peak_per_s[0], rel=1e-3)
    assert late.peak_time_s[0] == now.peak_time_s[0] - 5 < 0


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_frames_dropped_from_a_straight_line_change_nothing(method):
    """Linear resampling gives back frames that lay on the line between their neighbours."""
    curves, aif = noisy_curves(noise_hu=0.0), gamma_variate(TIMES_S)
    kept = np.r_[0:30, 30:50:3, 49]
    straight = np.stack([np.interp(TIMES_S, TIMES_S[kept], c[kept]) for c in (*curves.T, aif)], axis=1)
    full = deconvolve(straight[:, :-1], build_deconvolver(straight[:, -1], TIMES_S, method))
    sparse = deconvolve(straight[kept][:, :-1], build_deconvolver(straight[kept, -1], TIMES_S[kept], method))
    np.testing.assert_allclose(sparse.peak_per_s, full.peak_per_s, rtol=1e-4)
    np.testing.assert_array_equal(sparse.peak_time_s, full.peak_time_s)
    np.testing.assert_allclose(sparse.area_ratio, full.area_ratio, rtol=1e-5)


def test_stored_integers_with_their_baseline_equal_enhancement():
    aif = gamma_variate(TIMES_S)
    stored = (noisy_curves() + 35).round().astype(np.int16)
    enhancement = stored - stored[:6].mean(axis=0)
    raw = deconvolve(stored, build_deconvolver(aif, TIMES_S, OscillationIndexSvd(), n_baseline_frames=6))
    ready = deconvolve(enhancement, build_deconvolver(aif, TIMES_S, OscillationIndexSvd()))
    np.testing.assert_allclose(raw.peak_per_s, ready.peak_per_s, rtol=1e-3)
    np.testing.assert_allclose(raw.area_ratio, ready.area_ratio, atol=1e-6)


def test_chunks_threads_and_chosen_voxels_give_the_same_numbers():
    curves = np.tile(noisy_curves(), 120).reshape(len(TIMES_S), 8, 20, 30)
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, OscillationIndexSvd())
    all_voxels = deconvolve(curves, deconvolver)
    voxels = np.arange(5, 4800, 7)
    some = deconvolve(curves, deconvolver, voxels=voxels, n_threads=2)
    np.testing.assert_allclose(some.peak_per_s, all_voxels.peak_per_s[voxels], rtol=1e-5)
    np.testing.assert_array_equal(some.rank, all_voxels.rank[voxels])


def test_a_voxel_that_is_not_finite_stays_alone():
    curves = noisy_curves(5)
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, OscillationIndexSvd())
    clean = deconvolve(curves, deconvolver)
    curves[3, 2] = np.nan
    found = deconvolve(curves, deconvolver)
    assert np.isnan(found.peak_per_s[2])
    np.testing.assert_allclose(np.delete(found.peak_per_s, 2), np.delete(clean.peak_per_s, 2), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_torch_gives_the_same_numbers(method):
    pytest.importorskip("torch")
    curves = noisy_curves()
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, method)
    by_numpy, by_torch = deconvolve(curves, deconvolver), deconvolve(curves, deconvolver, device="cpu")
    np.testing.assert_allclose(by_torch.peak_per_s, by_numpy.peak_per_s, rtol=1e-4)
    np.testing.assert_array_equal(by_torch.peak_time_s, by_numpy.peak_time_s)
    np.testing.assert_array_equal(by_torch.rank, by_numpy.rank)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_times_s": TIMES_S[::-1]}, "frame_times_s must be two or more finite, increasing times"),
        ({"frame_times_s": TIMES_S * 1000}, "grid_interval_s must give 2 to 1000 points, got 1 s over 49000 s"),
        ({"aif": np.ones(49)}, r"aif must have one value per frame \(50\), got shape \(49,\)"),
        ({"aif": np.zeros(50)}, "aif must have a finite area > 0"),
        ({"n_baseline_frames": 50}, r"n_baseline_frames must be in \[0, 50\), got 50"),
    ],
)
def test_what_cannot_be_inverted_is_refused(change, message):
    arguments = {"aif": gamma_variate(TIMES_S), "frame_times_s": TIMES_S, "method": StandardSvd(), **change}
    with pytest.raises(ValueError, match=message):
        build_deconvolver(**arguments)


def test_curves_with_time_elsewhere_are_refused():
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, StandardSvd())
    with pytest.raises(ValueError, match=r"curves must have 50 frames first, got shape \(9, 50\). Put time first."):
        deconvolve(np.zeros((9, 50)), deconvolver)


#: Upstream's own tolerance (OSIPI DCE-DSC-MRI_CodeCollection, test of DSC deconvolution).
OSIPI_CBF, OSIPI_CBV = {"rtol": 0.1, "atol": 15.0}, {"rtol": 0.1, "atol": 1.0}


@pytest.mark.real_data
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_fourteen_osipi_curves_are_inside_the_published_tolerance(real_data, method):
    with (real_data / "ctp" / "osipi_dsc_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = np.stack([np.array(row["C_tis"].split(), dtype=float) for row in rows], axis=1)
    aif = np.array(rows[0]["C_aif"].split(), dtype=float)
    times = float(rows[0]["tr"]) * np.arange(len(aif))
    cbf, cbv = (np.array([float(row[name]) for row in rows]) for name in ("cbf", "cbv"))
    found = deconvolve(curves, build_deconvolver(aif, times, method))
    assert len(rows) == 14
    np.testing.assert_allclose(6000 * found.peak_per_s, cbf, **OSIPI_CBF)
    np.testing.assert_allclose(100 * found.area_ratio, cbv, **OSIPI_CBV)
    assert np.corrcoef(found.peak_per_s, cbf)[0, 1] > 0.99
