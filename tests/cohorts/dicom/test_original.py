"""Results lie on the pixels that they are of, however a series is stored; a series that is another's gets none."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from cohorts.dicom.codes import INFARCT_CODE
from cohorts.dicom.original import find_original
from cohorts.dicom.results import ScanResults, Segment, Segments
from cohorts.dicom.segmentation import segmentation
from cohorts.images.nifti import ImageProblemError
from tests.cohorts.dicom.made import COLUMNS, ROWS, SPACING, head_hu, uid, write_ct, write_slice
from tests.cohorts.dicom.originals import FRAME_OF_REFERENCE, imported, original_of

#: Orientations as written: axial and its mirrored ways, column cosine negated among them, then sagittal and coronal.
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "column negated": (1, 0, 0, 0, -1, 0),
    "row negated": (-1, 0, 0, 0, 1, 0),
    "both negated": (-1, 0, 0, 0, -1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
}


def _write(folder, orientation, **attributes):
    """Five different slices along the normal; the bright square is in every one."""
    normal = np.cross(orientation[:3], orientation[3:])
    for number in range(5):
        position = np.array([-20.0, -15.0, 40.0]) + 5 * number * normal
        pixels = head_hu(number) + 1024
        own = {"ImageOrientationPatient": list(map(float, orientation)), "FrameOfReferenceUID": FRAME_OF_REFERENCE}
        write_slice(folder, number, pixels, position, **own | attributes)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_every_voxel_comes_back_to_its_own_pixel(tmp_path, orientation):
    _write(tmp_path / "in", orientation)
    original, values, affine = original_of(tmp_path)
    planes = original.planes(values, affine)
    assert planes.shape == (5, ROWS, COLUMNS)
    assert not original.is_resampled
    by_place = {tuple(one.ImagePositionPatient): plane for one, plane in zip(original.slices, planes, strict=True)}
    assert len(by_place) == 5
    for path in (tmp_path / "in").iterdir():  # each slice's own pixels, wherever it stands in the volume
        read = pydicom.dcmread(path)
        expected = np.maximum(read.pixel_array.astype(int) - 1024, -1024)
        np.testing.assert_array_equal(by_place[tuple(read.ImagePositionPatient)], expected)


def test_front_back_left_and_right_are_those_of_the_patient(tmp_path):
    """One voxel each, placed in the volume by its world coordinates, found again at its DICOM coordinates (LPS)."""
    _write(tmp_path / "in", ORIENTATIONS["column negated"])
    original, values, affine = original_of(tmp_path)
    i, j, k = values.shape[0] - 3, values.shape[1] - 4, 1  # to the patient's left would be small i: axes point right
    mask = np.zeros(values.shape, dtype=np.uint8)
    mask[i, j, k] = 1
    world = affine @ [i, j, k, 1]
    place, row, column = np.argwhere(original.planes(mask, affine))[0]
    cosines = np.array(original.slices[place].ImageOrientationPatient, dtype=float)
    point = np.array(original.slices[place].ImagePositionPatient, dtype=float)
    point += column * SPACING[1] * cosines[:3] + row * SPACING[0] * cosines[3:]
    np.testing.assert_allclose(point * [-1, -1, 1], world[:3], atol=1e-4)


def test_a_tilted_series_gets_the_nearest_voxel_on_its_own_slices(tmp_path):
    attributes = {"FrameOfReferenceUID": FRAME_OF_REFERENCE}
    write_ct(tmp_path / "in", tilt_deg=15.0, **attributes)
    original, values, affine = original_of(tmp_path)
    assert original.is_resampled
    assert original.shape == (5, ROWS, COLUMNS)
    bright = original.planes((values > 60).astype(np.uint8), affine)  # the square of 80 HU in every slice
    expected = np.stack([head_hu(number) > 60 for number in range(5)])
    overlap = 2 * (bright & expected).sum() / (bright.sum() + expected.sum())
    assert overlap > 0.8  # half a pixel of six is lost at the border of a linear interpolation
    centre = np.argwhere(bright).mean(axis=0), np.argwhere(expected).mean(axis=0)
    np.testing.assert_allclose(*centre, atol=0.5)


def test_the_frames_of_an_enhanced_series_are_told_apart(tmp_path):
    """All slices are one object: a segment's frame names the frame that it lies on."""
    attributes = {
        "FrameOfReferenceUID": FRAME_OF_REFERENCE, "PatientSex": "F", "StudyID": "1", "StudyTime": "101500",
        "ContentDate": "20240302", "ContentTime": "101500", "ReferringPhysicianName": "", "AcquisitionNumber": 1,
    }  # fmt: skip
    write_ct(tmp_path / "plain", **attributes)
    plain = [pydicom.dcmread(path) for path in sorted((tmp_path / "plain").iterdir())]
    own = {"series_instance_uid": uid("enhanced"), "sop_instance_uid": uid("whole")}
    enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(plain, **own, series_number=4, instance_number=1)
    (tmp_path / "in").mkdir()
    enhanced.save_as(tmp_path / "in" / "whole.dcm")
    original, values, affine = original_of(tmp_path)
    assert (len(original.instances), original.shape) == (1, (5, ROWS, COLUMNS))
    drawn = np.zeros(original.shape, dtype=bool)
    drawn[2, 6:9, 13:15] = True  # on the slice 10 mm above the first
    np.testing.assert_array_equal(original.planes(values, affine)[drawn], 80)
    segments = Segments("drawn", "lesion", (Segment("lesion", INFARCT_CODE, drawn),))
    results = ScanResults("ncct", original, (segments,), (), "0", datetime(2026, 1, 1))
    made = segmentation(results, segments, 0)
    (frame,) = made.PerFrameFunctionalGroupsSequence
    assert float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) == 50
    assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber == 3
    np.testing.assert_array_equal(made.pixel_array.squeeze(), drawn[2])


def test_one_of_several_copies_of_a_slice_is_used(tmp_path):
    attributes = {"FrameOfReferenceUID": FRAME_OF_REFERENCE}
    write_ct(tmp_path / "in", **attributes)
    write_slice(tmp_path / "in", 9, head_hu(2) + 1024, (-20, -15, 50), **attributes)  # another instance, same place
    original, values, affine = original_of(tmp_path)
    assert original.shape == (5, ROWS, COLUMNS)
    np.testing.assert_array_equal(original.planes(values, affine)[2], head_hu(2))


def test_what_is_missing_or_damaged_in_a_header_becomes_empty_and_letters_stay(tmp_path):
    name = "MÜLLER^ŁUKASZ=山田^太郎"
    damaged = {
        "PatientSex": "W",
        "PatientBirthDate": "1947",
        "StudyTime": None,
        "StudyID": None,
        "ReferringPhysicianName": None,
        "AccessionNumber": None,
        "SpecificCharacterSet": "ISO_IR 192",
    }
    _write(tmp_path / "in", ORIENTATIONS["axial"], **damaged, PatientName=name)
    original, *_ = original_of(tmp_path)
    first = original.slices[0]
    assert str(first.PatientName) == name
    for keyword in ("PatientSex", "PatientBirthDate", "StudyTime", "StudyID", "AccessionNumber"):
        assert first[keyword].value in ("", None)
    assert str(first.ReferringPhysicianName) == ""
    assert first.PatientID == "MRN7781234"


def test_another_patients_series_missing_files_and_series_without_a_frame_are_refused_by_name(tmp_path):
    _write(tmp_path / "a" / "in", ORIENTATIONS["axial"])
    (link,), cohort = imported(tmp_path / "a")
    source = Path(link.folder)
    other = dataclasses.replace(link, files=link.files[:-1])

    def refuse(link, folder, reason):
        with pytest.raises(ImageProblemError) as refused:
            find_original(link, folder, cohort / link.path)
        assert refused.value.reason == reason
        assert "QUIXOTE" not in str(refused.value)

    refuse(other, source, "original_differs")
    refuse(link, tmp_path, "original_missing")
    changed = pydicom.dcmread(source / link.files[2])
    pixels = changed.pixel_array.copy()
    pixels[3, 3] += 1
    changed.PixelData = pixels.tobytes()
    changed.save_as(source / link.files[2])
    refuse(link, source, "original_differs")  # one voxel is enough
    _write(tmp_path / "b" / "in", ORIENTATIONS["axial"], FrameOfReferenceUID=None)
    (link,), cohort = imported(tmp_path / "b")
    refuse(link, Path(link.folder), "frame_of_reference_missing")
