"""Every kind of bad image ends with its reason and a message that says what to do, or is used and known as odd."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import warnings

import numpy as np
import pytest

import cohorts.images.nifti
from cohorts.images.mask import ImageProblemError, read_mask
from cohorts.images.scan import read_scan
from tests.flows.bad_images import (
    CT_SHAPE,
    DIM,
    EXCLUDED,
    KINDS,
    OK,
    SCL_SLOPE,
    _ct,
    _gz,
    _nifti,
    _patched,
    good_images,
    outcome,
    write_bad_images,
)

SECONDS = 20.0  # for one image; it takes a fraction of a second, but other work may share the machine


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return {image.name: image for image in write_bad_images(tmp_path_factory.mktemp("bad"))}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_its_outcome(images, name):
    image = images[name]
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no arithmetic on nonsense
        found = outcome(image.path, image.modality)
    assert time.perf_counter() - started < SECONDS
    assert (found.status, found.reason) == (image.expected_status, image.expected_reason)
    if found.status == OK:
        assert found.notes == image.expected_notes
    else:
        assert image.path.name in found.message  # the file
        assert " must " in found.message  # the rule
        assert ", got " in found.message  # the value
        remedy = found.message.rsplit(". ", 1)[-1] if ". " in found.message else ""
        assert remedy.split()[0] in {
            "Check",
            "Convert",
            "Decide",
            "Export",
            "Give",
            "Import",
            "It",
            "Take",
            "Use",
            "Set",
        }, found.message


def test_there_are_enough_kinds_of_both_outcomes(images):
    assert len(images) >= 25
    reasons = [image.expected_reason for image in images.values() if image.expected_status == EXCLUDED]
    assert len(reasons) >= 40
    assert len(set(reasons)) >= 15
    assert len({image.path for image in images.values()}) == len(images)


@pytest.mark.parametrize("name", ["gzip_bomb", "dimensions_32767", "dimensions_overflow", "voxels_far_away"])
def test_a_lying_header_takes_no_memory(images, name):
    content = images[name].path.read_bytes()
    tracemalloc.start()
    with pytest.raises(ImageProblemError) as caught:
        read_scan(content, name + ".nii.gz", "ncct")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.reason == images[name].expected_reason
    assert peak_bytes < 10e6  # the good image has 1.1 MB
    with pytest.raises(ImageProblemError) as caught:
        read_mask(content, name + ".nii.gz")
    assert caught.value.reason == images[name].expected_reason


def test_an_image_that_is_really_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(cohorts.images.nifti, "MOST_BYTES", 1_000_000)
    raw = _ct(good_images())
    for content, name in ((raw, "a.nii"), (_gz(raw), "a.nii.gz")):
        with pytest.raises(ImageProblemError, match=r"must hold at most 1000000 bytes, got .* asks for 1077472"):
            read_scan(content, name, "ncct")


def test_a_few_bytes_behind_the_voxels_are_harmless():
    raw = _ct(good_images())
    plain = read_scan(raw, "a.nii", "ncct")
    assert np.array_equal(read_scan(_gz(raw + bytes(1000)), "a.nii.gz", "ncct").values, plain.values)


@pytest.mark.parametrize("name", ["big_endian", "slope_zero", "slope_not_a_number", "extension_of_2_gb"])
def test_odd_files_are_read_to_the_same_values(images, name):
    good = good_images()
    scan = read_scan(images[name].path.read_bytes(), images[name].path.name, "ncct")
    assert np.array_equal(np.asarray(scan.values), np.rint(good.hu))
    np.testing.assert_allclose(scan.affine, good.affine, atol=1e-4)


def test_slices_along_x_are_the_same_head(images):
    good = good_images()
    scan = read_scan(images["slices_along_x"].path.read_bytes(), "a.nii.gz", "ncct")
    assert np.array_equal(np.asarray(scan.values).transpose(2, 1, 0), np.rint(good.hu))
    np.testing.assert_allclose(scan.affine @ [3, 5, 7, 1], good.affine @ [7, 5, 3, 1], atol=1e-4)


@pytest.mark.parametrize("offset", [1000, 1024])
@pytest.mark.parametrize("noise_hu", [0, 10, 20])
@pytest.mark.parametrize("is_clipped", [True, False])
def test_an_offset_is_found_in_any_noise(offset, noise_hu, is_clipped):
    """Air of an unsigned export stands at 24, where brain would stand: it must not be taken for brain."""
    good = good_images()
    hu = good.hu + np.random.default_rng(3).normal(0, noise_hu, CT_SHAPE)
    stored = (hu.clip(0 if is_clipped else -2000) + offset).clip(0)
    scan = read_scan(_nifti(stored, good.affine, np.uint16), "a.nii", "ncct")
    assert scan.notes == ("hu_offset_removed",)
    assert scan.numbers["offset_hu"] == offset


@pytest.mark.parametrize("noise_hu", [0, 10, 20])
def test_bone_is_not_taken_for_an_offset(noise_hu):
    good = good_images()
    bone = good.hu + np.where(good.hu > 500, np.random.default_rng(2).normal(100, 250, CT_SHAPE), 0)
    hu = bone + np.random.default_rng(3).normal(0, noise_hu, CT_SHAPE)
    assert read_scan(_nifti(hu.clip(0), good.affine), "a.nii", "ncct").notes == ("hu_clipped_at_zero",)


def test_noise_a_little_below_zero_is_signal():
    good = good_images()
    values = good.dwi - 12.0  # a noise floor taken away
    assert (values < 0).mean() > 0.2
    assert read_scan(_nifti(values, good.dwi_affine), "a.nii", "dwi").values.min() < 0


def test_an_adc_of_a_mask_is_a_label_image():
    good = good_images()
    with pytest.raises(ImageProblemError, match="2 different values") as caught:
        read_scan(_nifti(good.brain, good.affine, np.uint8), "a.nii", "adc")
    assert caught.value.reason == "label_image"


def test_a_bad_header_is_refused_before_its_voxels_are_unpacked():
    """A gzip stream that is broken behind a wrong number of dimensions: the first fault is named."""
    raw = _patched(_ct(good_images()), DIM, "<h", 2)
    with pytest.raises(ImageProblemError) as caught:
        read_scan(_gz(raw)[:100_000], "a.nii.gz", "ncct")
    assert caught.value.reason == "wrong_dimensions"


def test_a_slope_is_applied_once():
    good = good_images()
    raw = _patched(_nifti(good.hu * 2, good.affine), SCL_SLOPE, "<2f", 0.5, 0)
    scan = read_scan(gzip.compress(raw, 1), "a.nii.gz", "ncct")
    assert np.abs(np.asarray(scan.values) - good.hu).max() <= 0.25 + 1e-3
