"""The mesh of a region: equal to pyradiomics' own loops over cubes and pairs of vertices."""

from __future__ import annotations

import numpy as np
import pytest
from radiomics import cShape

from tasks.radiomics.shape import measure_mesh

SPACING_MM = (5.0, 0.7, 1.3)


def _expected(mask, spacing):
    return cShape.calculate_coefficients(np.pad(mask, 1), np.array(spacing))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("shape", [(7, 9, 8), (1, 6, 11), (12, 2, 3)])
def test_scattered_voxels_with_cubes_of_every_kind(share, shape):
    mask = np.random.default_rng(8).random(shape) < share
    mask[0, 1, 2] = True
    area, volume, diameters = _expected(mask, SPACING_MM)
    mesh = measure_mesh(mask, SPACING_MM)
    assert mesh.area_mm2 == pytest.approx(area, rel=1e-12)
    assert mesh.volume_mm3 == pytest.approx(volume, rel=1e-12)
    assert mesh.diameters_mm == pytest.approx(diameters, rel=1e-12)


def test_one_voxel_is_an_octahedron():
    mesh = measure_mesh(np.ones((1, 1, 1), bool), (2.0, 2.0, 2.0))
    assert mesh.volume_mm3 == pytest.approx(4 / 3)  # of half axes of 1 mm
    assert mesh.area_mm2 == pytest.approx(4 * np.sqrt(3))  # eight equilateral triangles with edges of sqrt(2)
    assert mesh.diameters_mm == pytest.approx((2, 2, 2, 2))
