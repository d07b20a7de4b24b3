"""Perfusion maps: units worked by hand, the mask, and the digital phantom's truth tissue by tissue."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import io

from tasks.perfusion.deconvolution import BlockCirculantSvd, build_deconvolver
from tasks.perfusion.maps import PerfusionSettings, perfusion_maps
from tests.tasks.perfusion.test_deconvolution import TIMES_S, gamma_variate, tissue

#: Tracer and blood are one where curves are made without haematocrit and density.
TRACER_UNITS = PerfusionSettings(haematocrit_large=0.0, haematocrit_small=0.0, density_g_ml=1.0)
HEALTHY_LABELS, CORE_VOXELS = (1, 2), 1497  # the phantom's grey and white matter; shared/data/README.md


def test_kappa_and_density_scale_flow_and_volume_alike():
    curves = np.stack([tissue(TIMES_S, 0.01, 4.0), tissue(TIMES_S, 0.003, 9.0)], axis=1)
    settings = PerfusionSettings()
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, settings.method)
    plain, scaled = (perfusion_maps(curves, deconvolver, s) for s in (TRACER_UNITS, settings))
    factor = (0.55 / 0.75) / 1.04
    np.testing.assert_allclose(scaled.cbf, factor * plain.cbf, rtol=1e-6)
    np.testing.assert_allclose(scaled.cbv, factor * plain.cbv, rtol=1e-6)
    np.testing.assert_allclose(scaled.mtt, plain.mtt, rtol=1e-6)
    np.testing.assert_array_equal(scaled.tmax, plain.tmax)
    np.testing.assert_allclose(plain.cbv[0], 4.0, rtol=0.01)  # 60 ml/100 g/min for 4 s


def test_the_central_volume_theorem_holds_in_every_voxel():
    rng = np.random.default_rng(3)
    curves = np.stack([tissue(TIMES_S, 0.008, 5.0)] * 30, axis=1) + rng.normal(0, 1, (50, 30))
    maps = perfusion_maps(
        curves, build_deconvolver(gamma_variate(TIMES_S), TIMES_S, BlockCirculantSvd()), PerfusionSettings()
    )
    np.testing.assert_allclose(maps.mtt * maps.cbf / 60, maps.cbv, rtol=1e-5)


def test_maps_have_the_shape_of_a_frame_and_are_nan_outside_the_mask():
    curve = tissue(TIMES_S, 0.01, 4.0)
    curves = np.broadcast_to(curve[:, None, None, None], (50, 2, 3, 4)) * np.arange(1, 25).reshape(2, 3, 4)
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[0, 1, 2], mask[1, 2, 3] = True, True
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, BlockCirculantSvd())
    masked, whole = (perfusion_maps(curves, deconvolver, TRACER_UNITS, mask=m) for m in (mask, None))
    for name in ("cbf", "cbv", "mtt", "tmax"):
        assert np.isnan(getattr(masked, name)[~mask]).all()
        np.testing.assert_allclose(getattr(masked, name)[mask], getattr(whole, name)[mask], rtol=1e-6)
    np.testing.assert_allclose(whole.cbf / whole.cbf[0, 0, 0], np.arange(1, 25).reshape(2, 3, 4), rtol=1e-4)


def test_a_voxel_without_flow_has_no_transit_time():
    curves = np.zeros((50, 2))
    curves[:, 1] = np.nan
    maps = perfusion_maps(curves, build_deconvolver(gamma_variate(TIMES_S), TIMES_S, BlockCirculantSvd()), TRACER_UNITS)
    assert maps.cbf[0] == 0
    assert np.isnan(maps.mtt).all()
    assert np.isnan(maps.tmax[1])


def test_a_mask_of_another_shape_is_refused():
    deconvolver = build_deconvolver(gamma_variate(TIMES_S), TIMES_S, BlockCirculantSvd())
    with pytest.raises(ValueError, match=r"mask must have the shape of one frame \(4, 5\), got \(5, 4\)"):
        perfusion_maps(np.zeros((50, 4, 5)), deconvolver, TRACER_UNITS, mask=np.ones((5, 4), dtype=bool))


def test_impossible_constants_are_refused_together():
    with pytest.raises(
        ValueError, match=r"haematocrit_large must be in \[0, 1\), got 45.*density_g_ml must be > 0 g/ml"
    ):
        PerfusionSettings(haematocrit_large=45, density_g_ml=0)


@pytest.mark.real_data
def test_the_digital_phantom_tissue_by_tissue(real_data):
    """Without noise. Flow of healthy tissue reads low and of slow tissue right: the truncation smooths short residues.

    The phantom's own curves hold 19-24 % more area than its healthy CBV says.
    """
    phantom = io.loadmat(real_data / "ctp" / "phantom.mat")
    aif = phantom["aif"].ravel()
    settings = TRACER_UNITS
    deconvolver = build_deconvolver(aif - aif[:8].mean(), TIMES_S, settings.method, n_baseline_frames=8)
    tissue_mask = np.isin(phantom["brain"], (1, 2, 3, 4, 5, 6))
    maps = perfusion_maps(phantom["ctp"], deconvolver, settings, mask=tissue_mask)
    ratio = {
        label: (maps.cbf[phantom["brain"] == label].mean() / phantom["cbf"][phantom["brain"] == label].mean())
        for label in range(1, 7)
    }
    assert 0.70 < ratio[1] < ratio[2] < 0.85
    assert all(1.0 < ratio[label] < 1.15 for label in (3, 4, 5, 6))
    assert np.corrcoef(maps.cbf[tissue_mask], phantom["cbf"][tissue_mask])[0, 1] > 0.99
    assert np.corrcoef(maps.cbv[tissue_mask], phantom["cbv"][tissue_mask])[0, 1] > 0.97
    healthy = np.isin(phantom["brain"], HEALTHY_LABELS)
    truth = tissue_mask & (phantom["cbf"] < 0.3 * phantom["cbf"][healthy].mean())
    core = tissue_mask & (maps.cbf < 0.3 * maps.cbf[healthy].mean())
    assert truth.sum() == CORE_VOXELS
    assert 2 * (core & truth).sum() / (core.sum() + truth.sum()) > 0.95
