"""Regions drawn by a network that knows only places: balls of 12 mm, 25 mm from the midline, on both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.inference import Network
from models.regions import network_regions
from tasks.anatomy import ASPECTS_REGIONS
from tests.models.by_place import CENTRE_MM, LENTIFORM, RADIUS_MM, ByPlace

SHAPE, SPACING_MM = (70, 80, 26), (2.2, 2.2, 5.0)
#: The head lies 8 mm to the right, 4 mm to the front and 6 mm high of the template, turned by 10 degrees in the slice.
TURN = np.deg2rad(10.0)
TO_TEMPLATE = np.array(
    [
        [np.cos(TURN), -np.sin(TURN), 0, -8.0],
        [np.sin(TURN), np.cos(TURN), 0, -4.0],
        [0, 0, 1, -6.0],
        [0, 0, 0, 1],
    ]
)


def undecided(grid):
    """An atlas that knows sides alone: every other voxel is of the one region, so that the network decides."""
    x = template_places(grid.affine, grid.shape)[0]
    is_region = np.indices(grid.shape).sum(axis=0) % 2 == 0
    return np.where(is_region, np.where(x > 0, LENTIFORM, LENTIFORM + len(ASPECTS_REGIONS)), 0).astype(np.int16)


def scan_affine():
    """World of the scan around 0."""
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -(np.asarray(SHAPE) - 1) / 2 * SPACING_MM
    return affine


def template_places(affine, shape):
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    return (TO_TEMPLATE[:3, :3] @ world + TO_TEMPLATE[:3, 3:]).reshape(3, *shape)


def expected(affine, shape, midline_mm=0.0):
    """Both balls: 12 mm around x = 25 right and x = -25 left of the midline."""
    x, y, z = template_places(affine, shape)
    x = x - midline_mm
    ball = np.sqrt((abs(x) - CENTRE_MM[0]) ** 2 + (y - CENTRE_MM[1]) ** 2 + (z - CENTRE_MM[2]) ** 2) < RADIUS_MM
    return np.where(ball, np.where(x > 0, LENTIFORM, LENTIFORM + len(ASPECTS_REGIONS)), 0)


def brain(affine, shape):
    x, y, z = template_places(affine, shape)
    return (x / 65) ** 2 + (y / 80) ** 2 + (z / 55) ** 2 < 1


@pytest.mark.parametrize("contrast", ["ct", "cta", "dwi"])
@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), ()), ((0, 1, 2), (0,)), ((1, 0, 2), (1, 2)), ((2, 0, 1), (0, 1)), ((2, 1, 0), ())],
)
def test_both_sides_are_found_where_they_are_however_the_scan_is_stored(contrast, order, flips):
    affine = scan_affine()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
        affine[:3, axis] *= -1
    affine = affine[:, [*order, 3]]
    shape = tuple(SHAPE[axis] for axis in order)
    inside = brain(affine, shape)
    image = np.where(inside, 30.0, -1000.0).astype(np.float32) if contrast != "dwi" else inside.astype(np.float32)
    found = network_regions(Network(ByPlace()), image, affine, inside, TO_TEMPLATE, contrast, undecided)
    truth = expected(affine, shape)
    for label in (LENTIFORM, LENTIFORM + len(ASPECTS_REGIONS)):
        one, other = found == label, truth == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.97
    assert set(np.unique(found)) == {0, LENTIFORM, LENTIFORM + len(ASPECTS_REGIONS)}


def test_a_contrast_that_it_has_not_learned_is_refused():
    affine = scan_affine()
    inside = brain(affine, SHAPE)
    with pytest.raises(ValueError, match="contrast must be one of ct, cta, dwi, got 'ctp'"):
        network_regions(Network(ByPlace()), inside.astype(np.float32), affine, inside, TO_TEMPLATE, "ctp", undecided)


class Unsure(torch.nn.Module):
    """All classes alike."""

    def forward(self, channels):
        return torch.zeros(len(channels), 1 + len(ASPECTS_REGIONS), *channels.shape[2:])


@pytest.mark.parametrize("midline_mm", [0.0, 8.0, -22.0])
def test_where_the_network_is_unsure_the_atlas_decides_and_of_the_side_always(midline_mm):
    affine = scan_affine()
    inside = brain(affine, SHAPE)
    image = np.where(inside, 30.0, -1000.0).astype(np.float32)
    atlas = lambda grid: expected(grid.affine, grid.shape, midline_mm)  # noqa: E731
    found = network_regions(Network(Unsure()), image, affine, inside, TO_TEMPLATE, "ct", atlas)
    truth = expected(affine, SHAPE, midline_mm)
    for label in (LENTIFORM, LENTIFORM + len(ASPECTS_REGIONS)):
        one, other = found == label, truth == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.93
    x = template_places(affine, SHAPE)[0]
    is_pushed = (truth > 0) & ((x > 0) != (truth <= len(ASPECTS_REGIONS)))  # across the template's own midline
    assert (is_pushed.sum() > 50) == (midline_mm == -22.0)
    other_side = np.where(truth > len(ASPECTS_REGIONS), truth - len(ASPECTS_REGIONS), truth + len(ASPECTS_REGIONS))
    assert not ((found == other_side) & (truth > 0)).any()


def test_without_a_region_in_view_nothing_is_drawn():
    affine = scan_affine()
    inside = brain(affine, SHAPE)
    nowhere = lambda grid: np.zeros(grid.shape, np.int16)  # noqa: E731
    assert not network_regions(
        Network(ByPlace()), inside.astype(np.float32), affine, inside, TO_TEMPLATE, "dwi", nowhere
    ).any()
