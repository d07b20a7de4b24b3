"""Scans with the habits of exporters."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from cohorts.images.mask import ImageProblemError
from cohorts.images.scan import read_scan

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.0, 0, -40], [0, 0, 5.0, -10], [0, 0, 0, 1]])


def _head(seed=0):
    """HU of a head: noisy air, a fifth brain, some bone."""
    rng = np.random.default_rng(seed)
    values = rng.normal(-1000, 8, (17, 18, 19))
    values[4:13, 4:13, 3:16] = rng.normal(33, 5, (9, 9, 13))
    values[4:5, 4:13, 3:16] = rng.normal(1040, 200, (1, 9, 13))
    return values


def _bytes(values, affine=AFFINE, kind=np.int16, **forms):
    image = nib.Nifti1Image(np.asarray(values).astype(kind), affine)
    image.set_qform(forms.get("qform", affine), code=forms.get("qform_code", 1))
    image.set_sform(affine, code=forms.get("sform_code", 1))
    return gzip.compress(image.to_bytes())


def _reason(content, modality="ncct", name="a.nii.gz", **arguments):
    with pytest.raises(ImageProblemError) as caught:
        read_scan(content, name, modality, **arguments)
    assert name in str(caught.value)
    return caught.value.reason


def test_plain_hounsfield_units_stay():
    scan = read_scan(_bytes(_head()), "a.nii.gz", "ncct")
    assert scan.notes == ()
    assert scan.values.dtype == np.float32
    assert np.abs(scan.values - _head()).max() < 1
    assert scan.orientation == "LAS"
    assert scan.spacing_mm == (2, 2, 5)


@pytest.mark.parametrize("offset", [1000, 1024])
def test_an_offset_is_found_and_removed(offset):
    scan = read_scan(_bytes((_head() + offset).clip(0), kind=np.uint16), "a.nii.gz", "ncct")
    assert scan.notes == ("hu_offset_removed",)
    assert scan.numbers["offset_hu"] == offset
    assert np.median(scan.values[6:12, 5:12, 4:15]) == pytest.approx(33, abs=1)


def test_a_scan_clipped_at_zero_is_kept_with_a_note():
    scan = read_scan(_bytes(_head().clip(0)), "a.nii.gz", "ncct")
    assert scan.notes == ("hu_clipped_at_zero",)
    assert scan.numbers["clipped_share"] > 0.5
    assert scan.values.min() == 0


def test_hounsfield_units_without_tissue_are_noted():
    scan = read_scan(_bytes(_head() - 200), "a.nii.gz", "ncct")
    assert scan.notes == ("no_soft_tissue",)


def test_values_without_brain_are_refused():
    assert _reason(_bytes(_head().clip(0) * 10, kind=np.float32)) == "hounsfield_unknown"


@pytest.mark.parametrize(("stored", "scale"), [(1.0, 1.0), (1e3, 1e-3), (1e-3, 1e3)])
def test_adc_in_three_units(stored, scale):
    truth = np.random.default_rng(1).normal(0.8, 0.1, (7, 8, 9)).clip(0.1)
    scan = read_scan(_bytes(truth * stored, kind=np.float32), "a.nii.gz", "adc")
    assert np.allclose(scan.values, truth, rtol=1e-5)
    assert scan.numbers["adc_scale"] == scale
    assert ("adc_unit_changed" in scan.notes) == (scale != 1)


def test_adc_in_no_known_unit():
    assert _reason(_bytes(np.full((7, 8, 9), 0.8) * 30 + np.arange(9), kind=np.float32), "adc") == "adc_unit_unknown"


def test_forms_that_disagree_are_refused_or_decided():
    other = AFFINE.copy()
    other[0, 3] += 12
    content = _bytes(_head(), qform=other)
    assert _reason(content) == "forms_disagree"
    by_sform = read_scan(content, "a.nii.gz", "ncct", forms="sform")
    by_qform = read_scan(content, "a.nii.gz", "ncct", forms="qform")
    assert by_sform.affine[0, 3] == 30
    assert by_qform.affine[0, 3] == pytest.approx(42)
    assert by_qform.numbers["forms_distance_mm"] == pytest.approx(12, abs=1e-3)


def test_a_missing_qform_is_no_disagreement():
    assert read_scan(_bytes(_head(), qform_code=0), "a.nii.gz", "ncct").affine[0, 0] == -2


def test_broken_images_end_with_their_reason():
    head = _head()
    sheared = AFFINE.copy()
    sheared[1, 2] = 1.5
    assert _reason(b"") == "truncated_file"
    assert _reason(_bytes(head)[:200]) == "truncated_file"
    assert _reason(b"no image at all" * 40, name="a.nii") == "unreadable_file"
    assert _reason(_bytes(np.zeros((7, 8, 9)))) == "constant_image"
    assert _reason(_bytes(np.where(head > 30, np.nan, head), kind=np.float32)) == "scan_not_finite"
    assert _reason(_bytes(np.stack([head] * 3, axis=-1))) == "wrong_dimensions"
    assert _reason(_bytes(head), "ctp") == "wrong_dimensions"
    assert _reason(_bytes(head[:, :, :1])) == "wrong_dimensions"
    assert _reason(_bytes(head, qform_code=0, sform_code=0)) == "wrong_affine"
    assert _reason(_bytes(head, AFFINE @ np.diag([100, 100, 100, 1]))) == "wrong_affine"
    assert _reason(_bytes(head, sheared, qform_code=0)) == "wrong_affine"


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_public_ncct_is_recognised_as_clipped(real_data, subject):
    path = next((real_data / "ncct-aspects" / subject).rglob("im.nii.gz"))
    scan = read_scan(path.read_bytes(), path.name, "ncct")
    assert scan.notes == ("hu_clipped_at_zero",)
    assert 30 <= scan.numbers["tissue_peak_hu"] <= 45


@pytest.mark.real_data
def test_public_adc_comes_in_two_units(real_data):
    folder = real_data / "dwi"
    scans = {path.name: read_scan(path.read_bytes(), path.name, "adc") for path in folder.rglob("*[aA][dD][cC].nii*")}
    assert scans["Subject02_ADC.nii.gz"].numbers["adc_scale"] == 1000
    assert scans["sub-strokecase0009_ses-0001_adc.nii.gz"].numbers["adc_scale"] == 1
    assert all(0.5 < scan.numbers["adc_median_1e-3_mm2_per_s"] < 1.3 for scan in scans.values())
