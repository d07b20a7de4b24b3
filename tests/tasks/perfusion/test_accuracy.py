"""What was measured of CT perfusion on reference curves, the digital slice, late arteries and real vessels.

The values are those of ``tests.benchmarks.accuracy_perfusion``, with a little room; a change that makes one worse must
say so.
"""

from __future__ import annotations

import csv
from functools import lru_cache

import numpy as np
import pytest
from scipy import io

from tasks.perfusion.core_threshold import calibrate_threshold, sample_tissue
from tasks.perfusion.deconvolution import (
    BlockCirculantSvd,
    OscillationIndexSvd,
    StandardSvd,
    build_deconvolver,
    deconvolve,
)
from tasks.perfusion.maps import perfusion_maps
from tasks.perfusion.vessels import arterial_input_of, find_arterial_input
from tests.tasks.perfusion.test_deconvolution import OSIPI_CBF, OSIPI_CBV, gamma_variate, tissue
from tests.tasks.perfusion.test_maps import CORE_VOXELS, HEALTHY_LABELS, TRACER_UNITS

TIMES_S = np.arange(50.0)
N_BASELINE = 8
LABELS = range(1, 7)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("method", "cbf_margin", "correlation"),
    [(OscillationIndexSvd(), 6.4, 0.992), (BlockCirculantSvd(), 0.2, 0.991), (StandardSvd(), 11.3, 0.998)],
    ids=["oscillation_index", "block_circulant", "standard"],
)
def test_the_reference_curves_have_their_margins(real_data, method, cbf_margin, correlation):
    with (real_data / "ctp" / "osipi_dsc_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = np.stack([np.array(row["C_tis"].split(), dtype=float) for row in rows], axis=1)
    aif = np.array(rows[0]["C_aif"].split(), dtype=float)
    found = deconvolve(curves, build_deconvolver(aif, float(rows[0]["tr"]) * np.arange(len(aif)), method))
    cbf, cbv = (np.array([float(row[name]) for row in rows]) for name in ("cbf", "cbv"))
    margins = [
        limits["atol"] + limits["rtol"] * true - np.abs(got - true)
        for got, true, limits in (
            (6000 * found.peak_per_s, cbf, OSIPI_CBF),
            (100 * found.area_ratio, cbv, OSIPI_CBV),
        )
    ]
    assert margins[0].shape == (14,)
    assert margins[0].min() > cbf_margin
    assert margins[1].min() > 0.64
    assert np.corrcoef(found.peak_per_s, cbf)[0, 1] > correlation


@lru_cache(maxsize=1)
def digital_slice(path):
    return io.loadmat(path)


@pytest.mark.real_data
@pytest.mark.parametrize("is_automatic", [False, True])
def test_the_digital_slice_label_by_label(real_data, is_automatic):
    """Bias of CBF is that of the truncation; of healthy CBV that of the slice's own curves; MTT follows from both."""
    phantom = digital_slice(real_data / "ctp" / "phantom.mat")
    labels, aif = phantom["brain"], phantom["aif"].ravel() - phantom["aif"].ravel()[:N_BASELINE].mean()
    if is_automatic:
        aif = find_arterial_input(phantom["ctp"], TIMES_S, labels > 0, n_baseline_frames=N_BASELINE).scaled_aif
    mask = np.isin(labels, LABELS)
    deconvolver = build_deconvolver(aif, TIMES_S, TRACER_UNITS.method, n_baseline_frames=N_BASELINE)
    maps = perfusion_maps(phantom["ctp"], deconvolver, TRACER_UNITS, mask=mask)
    expected = {  # relative bias of the label's mean, its slope within the label
        "cbf": ([-0.264, -0.176, 0.096, 0.094, 0.037, 0.118], [0.41, 0.68, 1.17, 1.00, 1.01, 1.12]),
        "cbv": ([0.241, 0.187, -0.001, 0.060, -0.032, 0.017], [1.85, 1.29, 1.05, 1.18, 0.98, 1.05]),
        "mtt": ([0.668, 0.420, -0.087, -0.033, -0.069, -0.091], [0.22, 0.29, 1.06, 0.59, 0.44, 0.79]),
    }
    for name, (biases, slopes) in expected.items():
        for label, bias, slope in zip(LABELS, biases, slopes, strict=True):
            inside = (labels == label) & (phantom[name] > 0)
            got, true = getattr(maps, name)[inside], phantom[name][inside].astype(float)
            assert got.mean() / true.mean() - 1 == pytest.approx(bias, abs=0.01), (name, label)
            assert np.polyfit(true, got, 1)[0] == pytest.approx(slope, abs=0.02), (name, label)
            assert np.corrcoef(true, got)[0, 1] > (0.87 if (name, label) == ("mtt", 5) else 0.98), (name, label)
    healthy = np.isin(labels, HEALTHY_LABELS)
    truth = mask & (phantom["cbf"] < 0.3 * phantom["cbf"][healthy].mean())
    assert truth.sum() == CORE_VOXELS
    sample = sample_tissue(maps, phantom["ctp"], healthy, mask, 0.3)
    calibrated = calibrate_threshold(aif, TIMES_S, sample, TRACER_UNITS).on_maps
    assert calibrated == pytest.approx(0.425, abs=0.005)
    for threshold, n_voxels, dice in ((0.3, 1389, 0.96), (calibrated, 1571, 0.97)):
        core = mask & (maps.cbf < threshold * maps.cbf[healthy].mean())
        assert core.sum() == pytest.approx(n_voxels, abs=10)
        assert 2 * (core & truth).sum() / (core.sum() + truth.sum()) > dice


@pytest.mark.parametrize("frame_interval_s", [1.0, 1.5, 2.0])
def test_delay_costs_no_flow_and_dispersion_does(frame_interval_s):
    times = np.arange(0, 60, frame_interval_s)
    deconvolver = build_deconvolver(gamma_variate(times), times, OscillationIndexSvd())
    flow = {}
    for dispersion_s in (0.0, 1.5, 3.0):
        curves = [tissue(times, 0.010, 4.0, delay, dispersion_s=dispersion_s) for delay in range(7)]
        found = deconvolve(np.stack(curves, axis=1), deconvolver)
        np.testing.assert_array_equal(np.diff(found.peak_time_s), 1)
        assert np.abs(found.peak_per_s / found.peak_per_s[0] - 1).max() < 0.016
        flow[dispersion_s] = found.peak_per_s[0]
    assert flow[1.5] / flow[0] - 1 == pytest.approx(-0.165, abs=0.01)
    assert flow[3.0] / flow[0] - 1 == pytest.approx(-0.36, abs=0.02)


@pytest.mark.real_data
def test_the_scaling_of_real_pairs_is_in_range(real_data):
    scalings, reasons = [], []
    for folder in sorted((real_data / "ctp" / "isles2018-aif").iterdir()):
        aif, vof = np.load(folder / "aif_isles.npy"), np.load(folder / "vof_isles.npy")
        found = arterial_input_of(aif, vof, np.arange(len(aif), dtype=float))
        assert found.reason == ""
        if found.vof_reason:
            reasons.append(found.vof_reason)
            assert found.detail
        else:
            scalings.append(found.scaling)
    assert len(scalings) == 43
    assert sorted(reasons) == ["vof_bolus_truncated"] * 3 + ["vof_scaling_out_of_range"]
    assert min(scalings) == pytest.approx(1.12, abs=0.01)
    assert np.median(scalings) == pytest.approx(3.30, abs=0.02)
    assert max(scalings) == pytest.approx(9.22, abs=0.02)
