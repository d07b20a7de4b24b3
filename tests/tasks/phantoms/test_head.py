"""The head phantom: values worked by hand from its constants, and poses that the registration must find."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.phantoms.head import Acquisition, head_pose, sample_head, scan_grid
from tasks.phantoms.scans import (
    TISSUE_HU,
    Infarct,
    lowering_hu,
    simulate_cta,
    simulate_diffusion,
    simulate_ncct,
)
from tasks.phantoms.vessels import vessel_share
from tasks.registration.affine import register
from tasks.space.resample import Grid, resample_image
from tests.tasks.head_phantom import head, head_scan, mean_distance_mm

SHAPE, SPACING_MM = (128, 128, 32), (1.7, 1.7, 5.0)


def _head():
    return head(60)


def _acquisition(degrees=(0, 0, 0), shift_mm=(0, 0, 0), scale=0.88, seed=1):
    pose = head_pose(degrees, shift_mm, scale)
    return Acquisition(scan_grid(pose, SHAPE, SPACING_MM), pose, seed)


def _share(tissue, acquisition):
    return sample_head(_head().shares[tissue], _head(), acquisition, 0)


@lru_cache(maxsize=1)
def _left_insula():
    label_map = load_label_map("classic")
    index = next(one.index for one in label_map.table.labels if (one.side, one.region) == ("left", "lentiform"))
    return np.asarray(label_map.labels == index), np.asarray(label_map.affine)


def _infarct(**arguments):
    return Infarct(*_left_insula(), **{"lowering_hu": 5.0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "mean", "sd", "n_brain"),
    [  # of the phantom as it was before it could do more
        ({}, -674.5091, 551.4907, 80036),
        ({"modality": "dwi", "degrees": (10, 15, -20), "shift_mm": (5, 5, 30)}, 18.1108, 33.4053, 79393),
    ],
)
def test_the_plain_phantom_keeps_its_numbers(arguments, mean, sd, n_brain):
    values, _, mask, _ = head_scan(**arguments)
    assert values.mean(dtype=float) == pytest.approx(mean, abs=1e-3)
    assert values.std(dtype=float) == pytest.approx(sd, abs=1e-3)
    assert mask.sum() == n_brain


def test_shares_of_tissue_and_air_fill_every_voxel():
    total = sum(_head().shares.values())
    assert total.max() < 1 + 1e-5
    assert total[_head().brain].min() > 1 - 1e-5
    assert total[0, 0, -1] == 0


def test_ct_has_the_values_of_its_tissues_and_the_noise_asked_for():
    acquisition = _acquisition()
    clean = simulate_ncct(_head(), acquisition, noise_hu=0, cupping_hu=0)
    for tissue in ("white", "grey", "bone"):
        pure = _share(tissue, acquisition) > 0.99
        assert pure.sum() > 10
        assert clean[pure].mean() == pytest.approx(TISSUE_HU[tissue], rel=0.01)
    values = simulate_ncct(_head(), acquisition, noise_hu=4, cupping_hu=0)
    air = values[:12, :12]
    assert air.mean() == pytest.approx(-1000, abs=0.2)
    assert air.std() == pytest.approx(4, rel=0.03)


def test_the_cup_brightens_brain_next_to_bone_only():
    acquisition = _acquisition()
    change = simulate_ncct(_head(), acquisition, cupping_hu=3) - simulate_ncct(_head(), acquisition, cupping_hu=0)
    brain = sample_head(_head().brain.astype(np.float32), _head(), acquisition, 0)
    assert np.abs(change[brain == 0]).max() < 1e-3
    assert 2.4 < change[brain == 1].max() < 3
    assert change[brain == 1].min() < 0.3  # 35 mm deep: 3 exp(-35/15) = 0.29


def test_a_thick_slice_is_the_mean_over_its_thickness():
    head, acquisition = _head(), _acquisition()
    fine = Grid((*SHAPE[:2], 64), acquisition.grid.affine @ np.diag([1, 1, 0.5, 1.0]))
    fine.affine[2, 3] -= 1.25
    image = head.image(TISSUE_HU, -1000)
    thin = resample_image(image, head.affine, fine, np.linalg.inv(acquisition.pose), outside=-1000)
    thick = sample_head(image, head, acquisition, -1000)
    np.testing.assert_allclose(thick, (thin[..., ::2] + thin[..., 1::2]) / 2, atol=1e-3)


@pytest.mark.parametrize(("hours", "expected"), [(0, 0), (4.5, 3.795), (7, 5.9033), (24, 6.6)])
def test_an_infarct_darkens_with_its_age(hours, expected):
    assert lowering_hu(hours) == pytest.approx(expected, abs=1e-3)


def test_an_infarct_darkens_its_own_side_by_its_hu():
    acquisition = _acquisition(degrees=(6, 0, 8))
    change = simulate_ncct(_head(), acquisition, _infarct()) - simulate_ncct(_head(), acquisition)
    mask, affine = _left_insula()
    share = resample_image(mask, affine, acquisition.grid, np.linalg.inv(acquisition.pose))
    tissue = _share("grey", acquisition) + _share("white", acquisition)
    core = (share == 1) & (change < -4)
    assert core.sum() > 20
    assert np.median(change[core] / tissue[core]) == pytest.approx(-5, abs=0.05)
    changed = np.argwhere(change < -1) @ acquisition.grid.affine[:3, :3].T + acquisition.grid.affine[:3, 3]
    in_template = changed @ np.linalg.inv(acquisition.pose)[:3, :3].T
    assert in_template[:, 0].max() < 0  # left of the mid-plane
    assert np.abs(change[share == 0]).max() < 3  # slices mix it with its neighbours


def test_diffusion_follows_the_signal_equation():
    acquisition = _acquisition()
    scan = simulate_diffusion(_head(), acquisition, noise=0, bias=0)
    white = _share("white", acquisition) > 0.999
    assert white.sum() > 50
    assert scan.b0[white].mean() == pytest.approx(700 * np.exp(-80 / 72), rel=2e-3)  # 230.4
    assert scan.b1000[white].mean() == pytest.approx(700 * np.exp(-80 / 72) * np.exp(-0.76), rel=2e-3)  # 107.8
    assert scan.adc[white].mean() == pytest.approx(0.76, abs=0.003)
    infarcted = simulate_diffusion(_head(), acquisition, _infarct(), noise=0, bias=0)
    change = infarcted.adc - scan.adc
    # Eastwood et al. 2003: 10^0.11 by T2 and 10^0.13 by ADC, which falls by 0.356 of 0.76 (white) to 0.86 (grey matter)
    excess = infarcted.b0 / np.maximum(scan.b0, 50)
    assert excess.max() == pytest.approx(10**0.11, abs=0.003)
    full = excess > 10**0.11 - 0.01
    assert -0.307 < np.median(change[full]) < -0.270
    assert np.median(infarcted.b0 / np.maximum(scan.b0, 1)) <= 1
    assert (infarcted.b1000 >= scan.b1000).all()


def test_diffusion_noise_is_rician_and_the_coil_does_not_change_the_adc():
    acquisition = _acquisition()
    noisy = simulate_diffusion(_head(), acquisition, noise=9, bias=0.2)
    air = noisy.b1000[:12, :12]
    assert air.mean() == pytest.approx(9 * np.sqrt(np.pi / 2), rel=0.02)  # Rayleigh: Gudbjartsson and Patz, eq. 3
    assert noisy.adc[:12, :12].max() == 0
    plain, biased = (simulate_diffusion(_head(), acquisition, noise=0, bias=bias) for bias in (0, 0.2))
    ratio = biased.b0[plain.b0 > 50] / plain.b0[plain.b0 > 50]
    assert 0.8 <= ratio.min() < 0.97
    assert 1.03 < ratio.max() <= 1.2
    np.testing.assert_allclose(biased.adc[plain.b0 > 50], plain.adc[plain.b0 > 50], atol=1e-4)


def test_vessels_are_round_tubes_on_both_sides():
    grid = Grid((145, 181, 140), np.array([[1.0, 0, 0, -72], [0, 1, 0, -110], [0, 0, 1, -72], [0, 0, 0, 1]]))
    share = vessel_share(grid)
    np.testing.assert_array_equal(share, share[::-1])
    basilar = share[69:76, 80:95, 24:34]  # z -48 to -38: 10 mm high, 6 mm long on 16, so 10.7 mm of it
    assert basilar.sum() == pytest.approx(np.pi * 1.7**2 * 10.7, rel=0.1)


def test_angiography_fills_vessels_and_not_the_infarct():
    acquisition = _acquisition()
    filled = simulate_cta(_head(), acquisition, noise_hu=0)
    plain = simulate_ncct(_head(), acquisition, noise_hu=0, cupping_hu=0)
    change = filled - plain
    white = _share("white", acquisition) > 0.9999
    assert np.median(change[white]) == pytest.approx(6, abs=0.01)  # 2 % of 300 HU
    vessel = sample_head(vessel_share(_head().grid), _head(), acquisition, 0)
    assert vessel.max() > 0.8
    assert filled[vessel > 0.8].min() > 200
    closed = simulate_cta(_head(), acquisition, _infarct(), noise_hu=0) - filled
    assert closed.min() < -5 - 0.02 * 300 + 1


def test_the_same_seed_gives_the_same_scan():
    one, two, other = (simulate_ncct(_head(), _acquisition(seed=seed), _infarct()) for seed in (5, 5, 6))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    one, two = (simulate_diffusion(_head(), _acquisition(seed=5), _infarct()) for _ in range(2))
    assert np.array_equal(one.adc, two.adc)


@pytest.mark.parametrize("kind", ["ncct", "cta", "dwi", "b0"])
def test_every_kind_of_scan_is_registered_from_a_known_pose(kind):
    acquisition = _acquisition((10, -6, 8), (-15, 10, 300), (0.86, 0.9, 0.84))
    if kind in ("ncct", "cta"):
        values = (simulate_ncct if kind == "ncct" else simulate_cta)(_head(), acquisition, _infarct())
        scan = ct_working_scan(values, acquisition.grid.affine)
        result = register(scan, extract_ct_brain(scan), template_target("ct"))
    else:
        series = simulate_diffusion(_head(), acquisition, _infarct())
        scan = mr_working_scan(series.b1000 if kind == "dwi" else series.b0, acquisition.grid.affine)
        result = register(scan, extract_mr_brain(scan), template_target(kind))
    assert result.reason == ""
    assert mean_distance_mm(result.matrix, acquisition.pose) < 2.5  # half a slice
