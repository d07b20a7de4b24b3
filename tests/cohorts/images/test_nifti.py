"""What is written is what nibabel reads back, and the same image gives the same bytes."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from cohorts.images.nifti import nifti_bytes

AFFINE = np.array([[-1.5, 0, 0, 40], [0, 2.0, 0, -30], [0, 0, 3.0, -20], [0, 0, 0, 1]])
VALUES = np.random.default_rng(2).normal(0, 50, (7, 8, 9))


@pytest.mark.parametrize("compression", [("zlib", 1), ("zlib", 6), ("isal", 2)])
@pytest.mark.parametrize("kind", ["u1", "i2", "f4"])
def test_an_image_comes_back_in_its_own_type(kind, compression):
    stored = VALUES.clip(0, 200).astype(kind)
    content = nifti_bytes(stored, AFFINE, compression=compression)
    assert content == nifti_bytes(stored, AFFINE, compression=compression)
    assert content[4:8] == bytes(4)  # no time in the gzip header
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    assert image.get_data_dtype() == np.dtype(kind)
    np.testing.assert_array_equal(np.asarray(image.dataobj), stored)
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_header_takes_what_is_asked_of_it():
    series = np.stack([VALUES, VALUES + 1], axis=-1).astype("i2")
    fields = {"descrip": b"one", "intent_code": 1007}
    content = nifti_bytes(series, AFFINE, fields=fields, frame_interval_s=1.5, form_code=4)
    header = nib.Nifti1Image.from_bytes(gzip.decompress(content)).header
    assert bytes(header["descrip"]).rstrip(b"\0") == b"one"
    assert header.get_intent("code")[0] == 1007
    assert header.get_zooms() == (1.5, 2.0, 3.0, 1.5)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 4)
