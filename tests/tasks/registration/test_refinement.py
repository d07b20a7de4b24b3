"""Refinement of heads that a known displacement has warped, and its use in both directions."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map
from tasks.brain import ct_working_scan, extract_ct_brain
from tasks.registration.affine import refusal, register
from tasks.registration.refined_labels import labels_to_scan
from tasks.registration.refinement import Refinement, labels_to_template, refine
from tasks.space.resample import Grid, resample_labels
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import _images, head, head_scan, overlap


@once_per_run
def _warped_head(displacement_mm):
    """A scan of the phantom whose anatomy is displaced, its affine, brain mask and anatomy's template position."""
    inside, hu, affine = head().brain, _images()["ct"], head().affine
    generator = np.random.default_rng(3)
    noise = generator.normal(size=(3, *hu.shape))
    field = np.stack([ndimage.gaussian_filter(one, 10) for one in noise], axis=-1)  # sigma of 20 mm
    field *= displacement_mm / np.sqrt((field[inside] ** 2).sum(axis=-1).mean())
    _, grid, _, truth = head_scan(scale=0.9)
    shape = (112, 128, 34)
    places = np.moveaxis(np.indices(shape), 0, -1) @ (np.linalg.inv(truth) @ grid)[:3, :3].T
    places = places + (np.linalg.inv(truth) @ grid)[:3, 3]
    anatomy = places + _at(field, affine, places)
    voxels = _voxels(affine, anatomy)
    values = ndimage.map_coordinates(hu, voxels, order=1, cval=-1000) + generator.normal(0, 4, shape)
    mask = ndimage.map_coordinates(inside.astype(np.uint8), voxels, order=0) > 0
    infarct = (np.linalg.norm(anatomy - [45, -10, 15], axis=-1) < 28) & mask
    return np.where(infarct, values - 8, values).astype(np.float32), grid, mask, anatomy


@lru_cache(maxsize=2)
def _refined(displacement_mm):
    values, affine, _, _ = _warped_head(displacement_mm)
    scan = ct_working_scan(values, affine)
    brain = extract_ct_brain(scan)
    plain = register(scan, brain, template_target("ct"))
    return plain, refine(scan, brain, template_target("ct"), plain)


def _voxels(affine, places):
    to_voxel = np.linalg.inv(affine)
    return np.moveaxis(places @ to_voxel[:3, :3].T + to_voxel[:3, 3], -1, 0)


def _at(field, affine, places):
    voxels = _voxels(affine, places)
    return np.stack([ndimage.map_coordinates(field[..., k], voxels, order=1, mode="nearest") for k in range(3)], -1)


def _mean_dice(one, other, labels):
    return np.mean([overlap(one == label, other == label) for label in labels])


def _errors_mm(displacement_mm):
    """Mean distance inside the brain from the anatomy's true template position: affine, refined."""
    _, affine, mask, anatomy = _warped_head(displacement_mm)
    plain, refinement = _refined(displacement_mm)
    to_template = plain.moving_to_fixed @ affine
    places = np.argwhere(mask) @ to_template[:3, :3].T + to_template[:3, 3]
    refined = places + _at(refinement.inverse, refinement.affine, places)
    return tuple(np.linalg.norm(one - anatomy[mask], axis=1).mean() for one in (places, refined))


def test_a_known_displacement_is_found():
    affine_mm, refined_mm = _errors_mm(3)
    assert affine_mm > 2
    assert refined_mm < 0.55 * affine_mm
    _, refinement = _refined(3)
    assert refinement.reason == ""
    assert 1 < refinement.mean_mm < 3
    assert refinement.smallest_volume_ratio > 0.5


def test_a_head_without_displacement_stays():
    affine_mm, refined_mm = _errors_mm(0.001)
    assert affine_mm < 0.6
    assert refined_mm < 0.8  # noise and an infarct of 90 ml move it by less than a voxel


def test_the_inverse_takes_points_back():
    _, refinement = _refined(3)
    inner = np.argwhere(np.ones(refinement.inverse.shape[:3]))[::7]
    inner = inner[(inner > 5).all(axis=1) & (inner < np.array(refinement.inverse.shape[:3]) - 6).all(axis=1)]
    places = inner @ refinement.affine[:3, :3].T + refinement.affine[:3, 3]
    back = places + _at(refinement.inverse, refinement.affine, places)
    there = back + _at(refinement.displacement, refinement.affine, back)
    assert np.linalg.norm(there - places, axis=1).max() < 0.05


def test_the_same_scan_gives_the_same_bytes():
    values, affine, _, _ = _warped_head(3)
    scan = ct_working_scan(values, affine)
    plain, first = _refined(3)
    again = refine(scan, extract_ct_brain(scan), template_target("ct"), plain)
    assert again.displacement.tobytes() == first.displacement.tobytes()
    assert again.inverse.tobytes() == first.inverse.tobytes()


def test_labels_follow_the_anatomy_both_ways():
    values, affine, mask, anatomy = _warped_head(3)
    plain, refinement = _refined(3)
    label_map = load_label_map("classic")
    grid = Grid(values.shape, affine)
    truth = ndimage.map_coordinates(label_map.labels, _voxels(label_map.affine, anatomy), order=0)

    on_scan = labels_to_scan(label_map.labels, label_map.affine, grid, refinement)
    by_affine = resample_labels(label_map.labels, label_map.affine, grid, plain.moving_to_fixed)
    assert _mean_dice(on_scan, truth, range(1, 21)) > 0.9
    assert _mean_dice(on_scan, truth, range(1, 21)) > _mean_dice(by_affine, truth, range(1, 21)) + 0.05
    template = Grid(label_map.labels.shape, label_map.affine)
    back = labels_to_template(on_scan, affine, template, refinement)
    both = (back > 0) & (label_map.labels > 0)
    assert (back[both] == label_map.labels[both]).mean() > 0.95
    there = labels_to_template(mask, affine, template, refinement)
    assert there[label_map.labels > 0].mean() > 0.97


def test_without_a_displacement_both_ways_equal_the_affine():
    values, affine, mask, _ = head_scan(degrees=(10, 5, 0))
    scan = ct_working_scan(values, affine)
    plain = register(scan, extract_ct_brain(scan), template_target("ct"))
    target = template_target("ct")
    still = np.zeros((5, 6, 7, 3), dtype=np.float32)
    none = Refinement(plain.matrix, still, still, target.affine, 0.0, 0.0, 1.0, "", "")
    grid, template = Grid(values.shape, affine), Grid(target.brain.shape, target.affine)
    moved = labels_to_scan(target.brain, target.affine, grid, none)
    assert (moved != resample_labels(target.brain, target.affine, grid, plain.moving_to_fixed)).mean() < 1e-4
    there = labels_to_template(mask, affine, template, none)
    assert (there != resample_labels(mask, affine, template, plain.matrix)).mean() < 1e-4


def test_what_was_not_registered_is_not_refined():
    values, affine, _, _ = head_scan()
    scan = ct_working_scan(values, affine)
    refused = refusal("gauss-newton", "brain_too_small", "small")
    with pytest.raises(ValueError, match="brain_too_small"):
        refine(scan, extract_ct_brain(scan), template_target("ct"), refused)
    with pytest.raises(TypeError, match="labels must be integers"):
        labels_to_scan(np.zeros((4, 4, 4)), np.eye(4), Grid(values.shape, affine), _refined(3)[1])


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_regions_of_a_real_ct_fit_better(real_data, subject):
    folder = real_data / "ncct-aspects" / subject
    image = nib.load(folder / "im_aligned.nii.gz")
    given = nib.load(folder / "im_aligned_stripped_seg.nii.gz")
    truth = np.asarray(given.dataobj).astype(np.int16)
    scan = ct_working_scan(np.asarray(image.dataobj), image.affine)
    brain = extract_ct_brain(scan)
    plain = register(scan, brain, template_target("ct"))
    refinement = refine(scan, brain, template_target("ct"), plain)
    assert refinement.reason == ""
    label_map, grid = load_label_map("classic"), Grid(truth.shape, given.affine)

    by_affine = resample_labels(label_map.labels, label_map.affine, grid, plain.moving_to_fixed)
    refined = labels_to_scan(label_map.labels, label_map.affine, grid, refinement)
    cortical = (*range(5, 11), *range(15, 21))
    assert _mean_dice(refined, truth, cortical) > _mean_dice(by_affine, truth, cortical) + 0.005


def test_labels_follow_the_displacement_itself_voxel_by_voxel():
    """A displacement known everywhere: labels at the voxels that it names, but for some at borders."""
    axes = np.meshgrid(*(np.arange(size, dtype=np.float32) * 4 for size in (20, 20, 16)), indexing="ij")
    inverse = np.stack([3 * np.sin(axes[1] / 20), 2 * np.cos(axes[0] / 25), np.sin(axes[2] / 18)], axis=-1)
    lattice = np.diag([4.0, 4.0, 4.0, 1.0])
    matrix = np.array([[0.9, 0.1, 0, 5], [-0.1, 0.95, 0.05, -3], [0, 0, 0.9, 2], [0, 0, 0, 1.0]])
    refinement = Refinement(matrix, -inverse, inverse, lattice, 2.0, 4.0, 1.0, "", "")
    labels = np.random.default_rng(1).integers(1, 9, (20, 20, 15)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    grid = Grid((60, 50, 14), np.array([[1.1, 0, 0, 8], [0, 1.2, 0, 6], [0, 0, 4.0, 4], [0, 0, 0, 1]]))
    moved = labels_to_scan(labels.astype(np.int16), np.eye(4), grid, refinement)
    voxels = np.indices(grid.shape).reshape(3, -1)
    plain = (np.linalg.inv(matrix) @ grid.affine @ np.vstack([voxels, np.ones(voxels.shape[1])]))[:3]
    shift = [ndimage.map_coordinates(inverse[..., axis], plain / 4, order=1) for axis in range(3)]
    expected = ndimage.map_coordinates(labels, plain + shift, order=0, mode="constant").reshape(grid.shape)
    inside = expected > 0
    assert inside.mean() > 0.8
    assert (moved[inside] == expected[inside]).mean() > 0.99
