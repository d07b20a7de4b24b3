from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tasks.arrays import Mask
from tasks.lesion import measure_lesion
from tasks.phantoms.lesion import (
    NEIGHBOURS_26,
    grow_emboli,
    grow_lacune,
    grow_lesion,
    lesion_domain,
    recede,
    watershed_depth,
)

ONE_MM = (1.0, 1.0, 1.0)


def n_components(mask: Mask) -> int:
    return int(ndimage.label(mask, structure=NEIGHBOURS_26)[1])


@pytest.fixture(scope="module")
def ellipsoid() -> Mask:
    i, j, k = np.ogrid[:61, :71, :55]
    return np.asarray(((i - 30) / 29) ** 2 + ((j - 35) / 34) ** 2 + ((k - 27) / 26) ** 2 <= 1)


@pytest.mark.parametrize("volume_ml", [0.05, 0.7, 6.0, 40.0])
@pytest.mark.parametrize("spacing_mm", [ONE_MM, (1.0, 1.5, 2.0)])
def test_lesion_meets_its_volume_connected_inside_the_domain(
    ellipsoid: Mask, volume_ml: float, spacing_mm: tuple[float, float, float]
) -> None:
    lesion = grow_lesion(
        ellipsoid, seed=(20, 30, 20), volume_ml=volume_ml, spacing_mm=spacing_mm, rng=np.random.default_rng(5)
    )
    assert lesion.sum() * np.prod(spacing_mm) / 1000 == pytest.approx(volume_ml, abs=3 * np.prod(spacing_mm) / 1000)
    assert n_components(lesion) == 1
    assert lesion[20, 30, 20]
    assert not (lesion & ~ellipsoid).any()


def test_without_roughness_it_is_nearly_a_ball() -> None:
    radius_mm = 10.0
    lesion = grow_lesion(
        np.ones((31, 31, 31), dtype=bool),
        seed=(15, 15, 15),
        volume_ml=4 / 3 * np.pi * radius_mm**3 / 1000,
        spacing_mm=ONE_MM,
        rng=np.random.default_rng(1),
        roughness=0,
    )
    i, j, k = np.ogrid[-15:16, -15:16, -15:16]
    ball = i**2 + j**2 + k**2 <= radius_mm**2
    # steps to 26 neighbours turn the ball into a polyhedron
    assert 2 * (ball & lesion).sum() / (ball.sum() + lesion.sum()) > 0.93
    assert lesion.sum() == round(4 / 3 * np.pi * 1000)


def test_roughness_makes_the_border_irregular(ellipsoid: Mask) -> None:
    def surface(roughness: float) -> int:
        lesion = grow_lesion(
            ellipsoid,
            seed=(30, 35, 27),
            volume_ml=15,
            spacing_mm=ONE_MM,
            rng=np.random.default_rng(2),
            roughness=roughness,
        )
        return int((lesion & ~ndimage.binary_erosion(lesion)).sum())

    assert 1.05 < surface(0.6) / surface(0.0) < 2.0  # lobes, but no coral


def test_the_same_generator_gives_the_same_lesion(ellipsoid: Mask) -> None:
    def grow(seed: int) -> Mask:
        rng = np.random.default_rng(seed)
        return grow_lesion(ellipsoid, seed=(20, 30, 20), volume_ml=5, spacing_mm=ONE_MM, rng=rng)

    np.testing.assert_array_equal(grow(7), grow(7))
    assert (grow(7) != grow(8)).sum() > 500


def test_a_lesion_never_jumps_to_tissue_that_does_not_touch() -> None:
    domain = np.ones((40, 20, 20), dtype=bool)
    domain[20] = False  # one empty plane, thinner than a block of the front
    lesion = grow_lesion(
        domain, seed=(18, 10, 10), volume_ml=7.5, spacing_mm=ONE_MM, rng=np.random.default_rng(4)
    )  # of 8 ml on this side
    assert lesion.sum() == 7500
    assert not lesion[20:].any()


def test_growth_says_what_is_wrong(ellipsoid: Mask) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match=r"seed must lie inside the domain, got \(0, 0, 0\)"):
        grow_lesion(ellipsoid, seed=(0, 0, 0), volume_ml=1, spacing_mm=ONE_MM, rng=rng)
    with pytest.raises(ValueError, match="must hold 500000 voxels, got"):
        grow_lesion(ellipsoid, seed=(30, 35, 27), volume_ml=500, spacing_mm=ONE_MM, rng=rng)
    with pytest.raises(ValueError, match=r"at least one voxel, got 0\.0001 ml"):
        grow_lesion(ellipsoid, seed=(30, 35, 27), volume_ml=0.0001, spacing_mm=ONE_MM, rng=rng)
    with pytest.raises(ValueError, match="diameter_mm must be >= "):
        grow_lacune(ellipsoid, seed=(30, 35, 27), diameter_mm=2, spacing_mm=ONE_MM, rng=rng)


def test_a_domain_may_be_filled_to_the_last_voxel() -> None:
    domain = np.zeros((9, 8, 7), dtype=bool)
    domain[2:6, 2:6, 2:5] = True
    lesion = grow_lesion(domain, seed=(3, 3, 3), volume_ml=0.048, spacing_mm=ONE_MM, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(lesion, domain)


def test_emboli_are_separate_and_sum_to_the_volume(ellipsoid: Mask) -> None:
    emboli = grow_emboli(ellipsoid, n_emboli=6, volume_ml=8, spacing_mm=ONE_MM, rng=np.random.default_rng(9))
    assert n_components(emboli) == 6
    assert emboli.sum() == pytest.approx(8000, abs=6)
    assert not (emboli & ~ellipsoid).any()


def test_emboli_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="must have room for"):
        grow_emboli(
            np.ones((5, 5, 5), dtype=bool), n_emboli=3, volume_ml=0.12, spacing_mm=ONE_MM, rng=np.random.default_rng(1)
        )


@pytest.mark.parametrize("seed", range(6))
def test_a_lacune_stays_under_its_diameter(ellipsoid: Mask, seed: int) -> None:
    lacune = grow_lacune(
        ellipsoid, seed=(30, 35, 27), diameter_mm=14.5, spacing_mm=ONE_MM, rng=np.random.default_rng(seed)
    )
    indices = np.flatnonzero(lacune.ravel(order="F"))
    measures = measure_lesion(indices, lacune.shape, np.eye(4))
    assert 0.85 * 14.5 < measures.max_diameter_mm <= 14.5
    assert measures.n_components == 1


def test_domain_keeps_to_its_side_brain_and_tissue() -> None:
    everywhere = np.ones((5, 3, 3), dtype=bool)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[0, 3] = -2  # x = -2, -1, 0, 1, 2
    brain = everywhere.copy()
    brain[:, 0] = False
    spared = np.zeros_like(everywhere)
    spared[0, 2, 2] = True
    left = lesion_domain(everywhere, brain, affine, side="left", spared=spared)
    assert left.any(axis=(1, 2)).tolist() == [True, True, False, False, False]
    assert left.sum() == 2 * 2 * 3 - 1
    right = lesion_domain(everywhere, brain, affine, side="right")
    assert right.any(axis=(1, 2)).tolist() == [False, False, False, True, True]


def test_the_watershed_recedes_only_from_other_tissue() -> None:
    brain = np.zeros((60, 40, 40), dtype=bool)
    brain[5:55, 5:35, 5:35] = True
    domain = brain.copy()
    domain[30:] = False
    depth_mm = watershed_depth(domain, brain, (2.0, 1.0, 1.0))
    assert depth_mm[29, 20, 20] == 2  # one voxel of 2 mm to the other territory
    assert depth_mm[20, 20, 20] == 20
    assert depth_mm[35, 20, 20] == 0
    lost = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        receded = recede(domain, depth_mm, margin_mm=12, spacing_mm=(2.0, 1.0, 1.0), rng=rng)
        assert not (receded & ~domain).any()
        np.testing.assert_array_equal(receded[:24], domain[:24])  # deeper than 12 mm; the surface at 5 does not move
        lost.append(1 - receded[24:30].sum() / domain[24:30].sum())
    # depths of 2, 4, .. 12 mm are lost where 12 u reaches them, u uniform: (10 + 8 + 6 + 4 + 2 + 0) / (6 * 12)
    assert np.mean(lost) == pytest.approx(0.417, abs=0.08)
    unmoved = recede(domain, depth_mm, margin_mm=0, spacing_mm=(2.0, 1.0, 1.0), rng=np.random.default_rng(1))
    np.testing.assert_array_equal(unmoved, domain)


def test_a_domain_that_fills_the_brain_has_no_watershed() -> None:
    brain = np.ones((3, 3, 3), dtype=bool)
    assert np.isinf(watershed_depth(brain, brain, ONE_MM)).all()
