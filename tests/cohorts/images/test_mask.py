"""Lesion masks: every accepted one as nibabel reads it, every refused one by its reason and its message."""

from __future__ import annotations

import contextlib
import gzip
import pickle
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts.images.mask import ImageProblemError, read_mask

SHAPE = (7, 8, 9)
AFFINE = np.array([[-1.5, 0, 0, 4], [0, 2, 0, -5], [0, 0, 3, 10], [0, 0, 0, 1]])
VOXELS = ((2, 3, 4), (5, 1, 7))
INDICES = [2 + 7 * 3 + 56 * 4, 5 + 7 * 1 + 56 * 7]

#: Byte offsets of NIfTI-1 header fields (nifti1.h) and struct formats.
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SCL, QFORM_CODE, QOFFSET, SROW_X = 40, 70, 76, 108, 112, 252, 268, 280


def _array(dtype=np.uint8, shape=SHAPE, value=1):
    array = np.zeros(shape, dtype)
    for voxel in VOXELS:
        array[voxel] = value
    return array


def _image(array=None, affine=AFFINE, *, image_class=nib.Nifti1Image, qform=1, sform=1, slope=None):
    array = _array() if array is None else array
    image = image_class(array, affine, dtype=array.dtype)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    return image


def _bytes(*args, **kwargs):
    return _image(*args, **kwargs).to_bytes()


def _patched(offset, layout, *values, raw=None):
    content = bytearray(_bytes() if raw is None else raw)
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def _scaled(slope, inter, stored):
    """Write stored values with a scale factor, as no writer of nibabel would by itself."""
    return _patched(SCL, "<2f", slope, inter, raw=_bytes(stored))


def _refusal(content, name="sub-1.nii"):
    with pytest.raises(ImageProblemError) as caught:
        read_mask(content, name)
    return caught.value


def _oracle(content, image_class=nib.Nifti1Image):
    """The flat indices and affine by nibabel's own reading."""
    image = image_class.from_bytes(content)
    data = image.get_fdata()
    data = data.reshape(data.shape[:3])
    return np.flatnonzero(np.abs(data.ravel(order="F") - 1) < 0.01), image.affine


# what is accepted


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "i8", "f4", "f8", ">i2", ">f4", ">f8"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_every_stored_type_reads_as_nibabel_reads_it(dtype, image_class):
    header = image_class.header_class(endianness=np.dtype(dtype).newbyteorder("=").byteorder.replace("=", "<"))
    if dtype.startswith(">"):
        header = image_class.header_class(endianness=">")
    image = image_class(_array(np.dtype(dtype)), AFFINE, header, dtype=np.dtype(dtype))
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    content = image.to_bytes()
    assert int.from_bytes(content[:4], "big" if dtype.startswith(">") else "little") in (348, 540)
    mask = read_mask(content, "sub-1.nii")
    expected, affine = _oracle(content, image_class)
    assert mask.indices.tolist() == expected.tolist() == INDICES
    np.testing.assert_array_equal(mask.affine, affine)
    assert mask.shape == SHAPE
    assert read_mask(gzip.compress(content), "sub-1.nii.gz").indices.tolist() == INDICES


@pytest.mark.parametrize(
    "content",
    [
        _scaled(1 / 255, 0, _array(value=255)),
        _scaled(2, -1, np.where(_array(), 1, 0.5).astype("f4")),
        _scaled(-1, 1, np.where(_array(), 0, 1).astype("u1")),  # stored upside down
        _scaled(0, 7, _array()),  # slope 0 means: not scaled, intercept included (nifti1.h)
        _scaled(np.nan, 0, _array()),
        _bytes(np.where(_array(), 0.9999999997, 0.0)),
        _bytes(np.where(_array(), 1.0005, -0.0005).astype("f4")),
        _bytes(_array(shape=(7, 8, 9, 1))),  # one frame
        _bytes(_array(shape=(7, 8, 9, 1, 1))),
    ],
    ids=["1/255", "intercept", "inverted", "slope 0", "slope NaN", "0.9999999997", "near", "4-D", "5-D"],
)
def test_scaled_and_nearly_binary_masks_read_as_nibabel_reads_them(content):
    mask = read_mask(content, "sub-1.nii")
    expected, _ = _oracle(content)
    assert mask.indices.tolist() == expected.tolist() == INDICES
    assert mask.shape == SHAPE


@settings(max_examples=60, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=24, max_size=24).filter(any),
    dtype=st.sampled_from(["u1", "i2", "f4", "f8"]),
    one_over=st.sampled_from([1, 2, 100, 255]),
    angle=st.floats(-90, 90),
    is_big_endian=st.booleans(),
    packed=st.booleans(),
)
def test_every_small_mask_reads_as_nibabel_reads_it(mask, dtype, one_over, angle, is_big_endian, packed):
    turn = np.deg2rad(angle)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] = affine[:3, :3] @ np.diag((1.0, 0.8, 5.0))
    affine[:3, 3] = (-90, -126.5, 3)
    stored = np.reshape(mask, (2, 3, 4)).astype(int) * min(one_over, 100 if dtype == "i1" else 255)
    order = ">" if is_big_endian else "<"
    image = nib.Nifti1Image(stored.astype(order + dtype), affine, nib.Nifti1Header(endianness=order), dtype=dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    content = _patched(SCL, order + "2f", 1 / one_over, 0, raw=image.to_bytes())
    found = read_mask(gzip.compress(content), "a.nii.gz") if packed else read_mask(content, "a.nii")
    expected, expected_affine = _oracle(content)
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_array_equal(found.affine, expected_affine)
    np.testing.assert_array_equal(found.indices, np.flatnonzero(np.reshape(mask, (2, 3, 4)).ravel(order="F")))


def test_geometry():
    mask = read_mask(_bytes(), "sub-1.nii")
    assert mask.spacing_mm == (1.5, 2.0, 3.0)
    assert mask.voxel_volume_mm3 == pytest.approx(9, rel=1e-12)
    assert mask.orientation == "LAS"


@pytest.mark.parametrize(("codes", "shift"), [((0, 1), 50), ((1, 0), 0), ((4, 2), 0)])
def test_the_sform_is_taken_before_the_qform_and_either_is_enough(codes, shift):
    qform_code, sform_code = codes
    raw = _bytes(qform=qform_code, sform=sform_code)
    if shift:  # a qform without a code says nothing, whatever it holds
        raw = _patched(QOFFSET, "<f", 4 + shift, raw=raw)
    np.testing.assert_allclose(read_mask(raw, "a.nii").affine, AFFINE, atol=1e-5)


def test_a_qform_rounded_by_its_writer_is_no_conflict():
    raw = _patched(QOFFSET, "<f", 4.4, raw=_bytes())
    np.testing.assert_array_equal(read_mask(raw, "a.nii").affine, AFFINE)


def test_a_mask_that_fills_its_grid():
    assert read_mask(_bytes(np.ones(SHAPE, "u1")), "a.nii").indices.tolist() == list(range(504))


def test_gzip_members_are_read_to_the_last():
    raw = _bytes()
    for parts in ((raw[:100], raw[100:]), (raw[:400], raw[400:]), (raw, b"")):
        content = b"".join(map(gzip.compress, parts))
        assert read_mask(content, "a.nii.gz").indices.tolist() == INDICES


def test_the_suffix_may_be_in_capitals():
    assert read_mask(gzip.compress(_bytes()), "SUB-1.NII.GZ").indices.tolist() == INDICES


def test_padding_with_zeros_after_the_stream_is_harmless():
    assert read_mask(gzip.compress(_bytes()) + bytes(512), "a.nii.gz").indices.tolist() == INDICES


# what is refused: the file


@pytest.mark.parametrize("length", [1, 2, 5, 10, 17, 18, 30, -20, -9, -8, -4, -1])
def test_a_gzip_stream_cut_short_anywhere(length):
    content = gzip.compress(_bytes())[:length]
    problem = _refusal(content, "sub-1.nii.gz")
    assert problem.reason == "truncated_file"
    assert str(problem).startswith(f"sub-1.nii.gz must be a whole gzip file, got {len(content)} bytes: ")
    assert str(problem).endswith("Export or copy it again.")


def test_a_second_member_cut_short():
    raw = _bytes()
    content = gzip.compress(raw[:400]) + gzip.compress(raw[400:])[:-3]
    assert _refusal(content, "a.nii.gz").reason == "truncated_file"


@pytest.mark.parametrize("place", [-8, -5, -4, -1])
def test_a_wrong_checksum_or_length(place):
    content = bytearray(gzip.compress(_bytes()))
    content[place] ^= 1
    problem = _refusal(bytes(content), "a.nii.gz")
    assert problem.reason == "unreadable_file"
    assert "must be a whole gzip file" in str(problem)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(_bytes()) + b"<html>404 Not Found</html>", b"no image", b"n"],
    ids=["appended", "text", "letter"],
)
def test_bytes_that_are_no_gzip_stream(content):
    assert _refusal(content, "a.nii.gz").reason == "unreadable_file"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_an_empty_file(name):
    problem = _refusal(b"", name)
    assert problem.reason == "truncated_file"
    assert str(problem) == f"{name} must hold an image, got 0 bytes. Export or copy it again."


@pytest.mark.parametrize(
    ("content", "name", "reason", "rule"),
    [
        (_bytes(), "a.nii.gz", "unreadable_file", "must be a whole gzip file, got 856 bytes: Not a gzipped file"),
        pytest.param(
            gzip.compress(_bytes()), "a.nii", "unreadable_file", r"must be a NIfTI image, got b'\x1f\x8b", id="packed"
        ),
        (b"<html>404</html>" * 30, "a.nii", "unreadable_file", "must be a NIfTI image, got b'<htm'"),
        (_bytes()[:200], "a.nii", "truncated_file", "must hold a header of 348 bytes, got 200"),
        (_bytes()[:348], "a.nii", "truncated_file", "must hold 504 voxels, got 0"),
        (_bytes()[:-1], "a.nii", "truncated_file", "must hold 504 voxels, got 503"),
        (_bytes(_array("f8"))[:-1], "a.nii", "truncated_file", "must hold 504 voxels, got 503"),
        (_patched(DATATYPE, "<2h", 77, 8), "a.nii", "unreadable_file", "data code 77 not recognized"),
        (_patched(DATATYPE, "<2h", 0, 0), "a.nii", "unreadable_file", "data code 0 not supported"),
        (_patched(VOX_OFFSET, "<f", np.nan), "a.nii", "unreadable_file", "must have a valid NIfTI header"),
        (_patched(VOX_OFFSET, "<f", np.inf), "a.nii", "unreadable_file", "must have a valid NIfTI header"),
        (_patched(VOX_OFFSET, "<f", -400.0), "a.nii", "unreadable_file", "vox offset -400 too low"),
        (_patched(SCL, "<2f", 1, np.nan), "a.nii", "unreadable_file", "invalid intercept nan"),
    ],
)
def test_files_that_are_not_what_they_say(content, name, reason, rule):
    problem = _refusal(content, name)
    assert problem.reason == reason
    assert rule in str(problem)


def test_a_bad_header_prints_nothing(capfd):
    _refusal(_patched(DATATYPE, "<2h", 77, 8))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content",
    [
        _patched(DIM + 2, "<3h", 32767, 32767, 32767),
        _patched(16, "<4q", 3, 2**32, 2**32, 2, raw=_bytes(image_class=nib.Nifti2Image)),  # wraps to 0 in 64 bits
        _patched(16, "<4q", 3, 2**62, 2, 2, raw=_bytes(image_class=nib.Nifti2Image)),
    ],
    ids=["NIfTI-1", "NIfTI-2, 2**65 voxels", "NIfTI-2, 2**64 voxels"],
)
def test_a_header_that_claims_a_huge_grid_allocates_nothing(content):
    tracemalloc.start()
    problem = _refusal(content)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem.reason == "truncated_file"
    assert "voxels, got 504" in str(problem)
    assert peak_bytes < 1e6


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # nibabel's own, on nonsense
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 351), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3))
def test_any_damage_to_the_header_ends_as_a_mask_on_its_grid_or_a_refusal(damage):
    content = bytearray(_bytes())
    for offset, noise in damage:
        content[offset : offset + len(noise)] = noise
    with contextlib.suppress(ImageProblemError):  # any other exception fails the test
        mask = read_mask(bytes(content), "a.nii")
        assert 0 <= mask.indices[0] <= mask.indices[-1] < np.prod(mask.shape)
        assert np.isfinite(mask.affine).all()


# what is refused: the grid


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (_bytes(np.stack([_array(), _array()], axis=-1)), "7x8x9x2"),
        (_bytes(np.ones((7, 8), "u1")), "7x8"),
        (_bytes(np.ones((7, 8, 1), "u1")), "7x8x1"),
        (_patched(DIM + 2, "<h", -5), "-5x8x9"),
        (_patched(DIM + 2, "<h", 0), "0x8x9"),
    ],
)
def test_wrong_dimensions(content, shown):
    problem = _refusal(content)
    assert problem.reason == "wrong_dimensions"
    assert f"must be a 3-D image of at least two slices, got {shown}. Give the 3-D mask." in str(problem)


def _sheared():
    affine = AFFINE.copy()
    affine[0, 1] = 0.5
    return _patched(SROW_X, "<12f", *affine[:3].ravel(), raw=_bytes(qform=0))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (_bytes(qform=0, sform=0), "must say where it lies in space, got sform_code 0 and qform_code 0"),
        (_patched(QOFFSET, "<f", 44.0), "a qform and an sform that agree within 0.5 mm, got corners 40.0 mm apart"),
        (_patched(QOFFSET, "<f", np.nan), "a qform and an sform that agree within 0.5 mm"),
        (_sheared(), "must have perpendicular axes, got a shear of 0.243"),  # .5 * -1.5 / (1.5 * sqrt(4.25))
        (_bytes(affine=np.diag([1.0, 1.0, 0.05, 1]), qform=0), "must have voxels of 0.1 to 20 mm, got 1 x 1 x 0.05"),
        (_bytes(affine=np.diag([1.0, 30.0, 1.0, 1]), qform=0), "must have voxels of 0.1 to 20 mm, got 1 x 30 x 1"),
        (_patched(SROW_X, "<4f", 0, 0, 0, 4, raw=_bytes(qform=0)), "must have voxels of 0.1 to 20 mm, got 0 x 2 x 3"),
        (_patched(SROW_X, "<f", np.nan, raw=_bytes(qform=0)), "must have a finite affine, got a row [nan, "),
    ],
    ids=["no code", "conflict", "conflict with NaN", "shear", "tiny", "huge", "zero", "NaN"],
)
def test_wrong_affine(content, rule):
    problem = _refusal(content)
    assert problem.reason == "wrong_affine"
    assert rule in str(problem)


def test_a_zero_voxel_size_with_only_a_qform():
    problem = _refusal(_patched(PIXDIM + 4, "<3f", 0, 2, 3, raw=_bytes(sform=0)))
    assert problem.reason == "wrong_affine"
    assert "must have voxels of 0.1 to 20 mm, got 0 x 2 x 3 mm" in str(problem)


# what is refused: the values


@pytest.mark.parametrize(
    ("array", "reason", "rule"),
    [
        (np.zeros(SHAPE, "u1"), "empty_mask", "must mark at least one voxel, got none. If the patient has no lesion"),
        (_array(value=2), "mask_values_not_binary", "must hold only 0 and 1, got 2 in 2 voxels"),
        (_array("i2", value=-1), "mask_values_not_binary", "got -1 in 2 voxels"),
        (_array("f4", value=0.5), "mask_values_not_binary", "got 0.5 in 2 voxels"),
        (_array("f8", value=1.002), "mask_values_not_binary", "got 1.002 in 2 voxels"),
        (_array("f4", value=np.nan), "mask_not_finite", "got 2 voxels that are not numbers. Set them to 0."),
        (_array("f4", value=np.inf), "mask_not_finite", "got 2 voxels that are not numbers"),
        (_array("c8"), "mask_values_not_binary", "must hold plain numbers, got complex64"),
    ],
)
def test_values_that_are_no_mask(array, reason, rule):
    problem = _refusal(_bytes(array))
    assert problem.reason == reason
    assert rule in str(problem)


def test_many_values_are_cut_to_five():
    array = np.arange(504, dtype="i2").reshape(SHAPE)
    assert "got 2, 3, 4, 5, 6, ... in 502 voxels" in str(_refusal(_bytes(array)))


def test_colours_are_no_mask():
    raw = _patched(DATATYPE, "<2h", 128, 24, raw=_bytes(np.zeros((7, 8, 27), "u1")))
    assert _refusal(_patched(DIM + 2, "<3h", 7, 8, 9, raw=raw)).reason == "mask_values_not_binary"


def test_an_intercept_makes_every_background_voxel_count():
    problem = _refusal(_scaled(1, 0.5, _array()))
    assert problem.reason == "mask_values_not_binary"
    assert "got 0.5, 1.5 in 504 voxels" in str(problem)


def test_a_refusal_crosses_processes_with_its_reason():
    problem = pickle.loads(pickle.dumps(ImageProblemError("empty_mask", "a must b, got c. Do d.")))
    assert (problem.reason, str(problem)) == ("empty_mask", "a must b, got c. Do d.")


def test_a_mask_without_a_voxel_is_read_where_that_says_no_lesion():
    assert read_mask(_bytes(np.zeros(SHAPE, "u1")), "a.nii", may_be_empty=True).indices.tolist() == []
