"""Synthetic series to volumes: place, value, unit and time of voxels, and the named reasons."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cohorts.dicom.geometry import StackRefusedError
from cohorts.dicom.headers import find_files, read_headers
from cohorts.dicom.pixels import _decode_with_dcm2niix, read_slices
from cohorts.dicom.stacks import group_stacks
from cohorts.dicom.volume import DEFAULT_ACTIONS, build_volume
from cohorts.images.mask import ImageProblemError
from tasks.perfusion.blood import BRAIN_DENSITY_G_PER_ML
from tests.cohorts.dicom.made import COLUMNS, ROWS, head_hu, write_ct, write_slice

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def _stacks(folder):
    headers, unread = read_headers(find_files(folder))
    assert unread == []
    return group_stacks(headers)


def _volume(folder, **actions):
    (stack,) = _stacks(folder)
    assert stack.recognition.refusal is None
    return build_volume(stack, {**DEFAULT_ACTIONS, **actions})


def _reason(folder, **actions):
    with pytest.raises(ImageProblemError) as caught:
        _volume(folder, **actions)
    return caught.value.reason


def _at(volume, point):
    """Value at a world point, RAS mm, interpolated to the nearest voxel."""
    index = np.linalg.inv(volume.affine) @ [*point, 1]
    return volume.values[tuple(np.round(index[:3]).astype(int))]


def test_a_regular_stack_is_converted_by_dcm2niix_and_left_is_left(tmp_path):
    write_ct(tmp_path)
    volume = _volume(tmp_path)
    assert (volume.converter, volume.unit, volume.faults) == ("dcm2niix", "HU", ())
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    assert np.allclose(np.diag(volume.affine), [2.0, 1.5, 5.0, 1])
    # the bright square: column 13, row 7 of the slice at offset 10 lies at LPS (-20 + 26, -15 + 10.5, 50): the left
    assert _at(volume, (-6, 4.5, 50)) == 80
    assert _at(volume, (6, 4.5, 50)) != 80
    assert [_at(volume, (0, -3, 40 + offset)) for offset in (0, 5, 20)] == [30, 31, 34]
    assert volume.values.shape == (COLUMNS, ROWS, 5)


def test_slices_are_sorted_by_position_where_instance_numbers_are_not(tmp_path):
    write_ct(tmp_path, offsets=(20, 0, 10, 5, 15))
    volume = _volume(tmp_path)
    assert [_at(volume, (0, -3, 40 + offset)) for offset in (0, 5, 10, 15, 20)] == [31, 33, 32, 34, 30]
    assert volume.values.shape == (COLUMNS, ROWS, 5)
    assert (volume.converter, volume.notes[:1]) == ("aspects", ("dcm2niix_lost_slices",))


@pytest.mark.parametrize("tag", [None, 15])
def test_a_tilted_stack_becomes_perpendicular_with_every_voxel_in_its_place(tmp_path, tag):
    tilt = 15.0
    offsets = tuple(5.0 * number for number in range(8))
    write_ct(tmp_path, offsets, tilt_deg=tilt, GantryDetectorTilt=tag)
    volume = _volume(tmp_path)
    assert [fault.reason for fault in volume.faults] == ["gantry_tilt"]
    assert volume.faults[0].numbers["tilt_deg"] == pytest.approx(tilt, abs=1e-3)
    axes = volume.affine[:3, :3] / np.sqrt((volume.affine[:3, :3] ** 2).sum(axis=0))
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert np.linalg.norm(volume.affine[:3, 2]) == pytest.approx(5 * np.cos(np.radians(tilt)), rel=1e-4)
    angle = np.radians(tilt)
    for number, offset in enumerate(offsets):
        # row 12, column 10 of every slice, followed by hand from position and cosines
        lps = np.array([-20.0, -15.0, 40 + offset]) + 10 * 2.0 * np.array([1, 0, 0])
        lps = lps + 12 * 1.5 * np.array([0, np.cos(angle), -np.sin(angle)])
        assert _at(volume, (-lps[0], -lps[1], lps[2])) == pytest.approx(30 + number, abs=0.51)
    assert _reason(tmp_path, gantry_tilt="reject") == "gantry_tilt"


def test_uneven_steps_are_interpolated_at_even_ones(tmp_path):
    write_ct(tmp_path, (0, 5, 10, 17, 24), SliceThickness=(5, 5, 5, 7, 7))
    volume = _volume(tmp_path)
    assert [fault.reason for fault in volume.faults] == ["two_thicknesses", "uneven_steps"]
    assert volume.values.shape[2] == 6
    assert volume.affine[2, 2] == pytest.approx(24 / 5)
    for height, value in ((40, 30), (64, 34)):
        assert _at(volume, (0, -3, height)) == pytest.approx(value)
    # the plane at offset 14.4 lies 4.4 of 7 mm from the slice of 32 HU to that of 33
    assert _at(volume, (0, -3, 54.4)) == pytest.approx(32 + 4.4 / 7, abs=1e-3)
    assert _reason(tmp_path, uneven_steps="reject") == "uneven_steps"


def test_a_missing_slice_is_rejected_or_filled_by_setting(tmp_path):
    write_ct(tmp_path, (0, 5, 10, 20))
    assert _reason(tmp_path) == "missing_slices"
    volume = _volume(tmp_path, missing_slices="resample")
    assert volume.values.shape[2] == 5
    assert _at(volume, (0, -3, 55)) == pytest.approx(32.5)


def test_every_fault_of_a_rejected_stack_is_named(tmp_path):
    write_ct(tmp_path, (0, 5, 10, 20), tilt_deg=15)
    (stack,) = _stacks(tmp_path)
    with pytest.raises(StackRefusedError) as caught:
        build_volume(stack)
    assert [fault.reason for fault in caught.value.faults] == ["missing_slices", "gantry_tilt"]


def test_copies_of_slices_are_dropped_and_different_slices_at_one_place_refused(tmp_path):
    write_ct(tmp_path / "one", (0, 5, 10))
    write_slice(tmp_path / "one", 7, head_hu(1) + 1024, (-20, -15, 45))
    volume = _volume(tmp_path / "one")
    assert [fault.reason for fault in volume.faults] == ["duplicate_slices"]
    assert volume.values.shape[2] == 3
    write_ct(tmp_path / "two", (0, 5, 10))
    write_slice(tmp_path / "two", 7, head_hu(9) + 1024, (-20, -15, 45))
    assert _reason(tmp_path / "two") == "conflicting_slices"


def test_a_file_exported_twice_counts_once(tmp_path):
    write_ct(tmp_path / "a")
    write_ct(tmp_path / "b")
    (stack,) = _stacks(tmp_path)
    assert (stack.n_files, stack.n_copies) == (5, 5)
    assert build_volume(stack).faults == ()


def test_padding_becomes_air(tmp_path):
    pixels = head_hu(0) + 1024
    pixels[:2] = 63000
    for number in range(3):
        write_slice(tmp_path, number, pixels, (0, 0, 5.0 * number), PixelPaddingValue=63000)
    volume = _volume(tmp_path)
    assert volume.numbers["n_padding_voxels"] == 3 * 2 * COLUMNS
    assert (volume.values[:, -2:] == -1024).all()
    assert volume.values.max() == 80


@pytest.mark.parametrize("padding", [-2000, -1024, 0, 80, 3071])
def test_padding_of_a_value_that_is_real_inside_the_head_ends_at_its_border(tmp_path, padding):
    """Signed CT whose stored values are HU: a ventricle of 0 HU, a bleeding of 80 and a clip of 3071 stay."""
    for number in range(4):
        pixels = head_hu(number)
        pixels[9:12, 8:11], pixels[12, 12] = 0, 3071
        pixels[:2] = pixels[:, :3] = padding
        attributes = {"PixelRepresentation": 1, "RescaleIntercept": 0, "PixelPaddingValue": padding}
        write_slice(tmp_path, number, pixels, (0, 0, 5.0 * number), **attributes)
    volume = _volume(tmp_path)
    ventricle = np.moveaxis(volume.values[:, ::-1], 1, 0)[9:12, :]
    assert (ventricle == 0).sum() == 4 * 9
    assert (volume.values == 3071).sum() == 4
    assert (volume.values == 80).sum() == 4 * 6
    assert volume.numbers["n_padding_voxels"] == 4 * (2 * COLUMNS + 3 * (ROWS - 2))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"RescaleSlope": None, "RescaleIntercept": None}, "rescale_missing"),
        ({"RescaleType": "US"}, "not_hounsfield"),
        ({"GantryDetectorTilt": 12}, "tilt_tag_only"),
        ({"RescaleIntercept": 4000}, "hounsfield_unknown"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.1, 1, 0]}, "orientation_invalid"),
    ],
)
def test_ct_that_cannot_be_trusted(tmp_path, attributes, reason):
    write_ct(tmp_path, **attributes)
    assert _reason(tmp_path) == reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "scout"),
        ({"SOPClassUID": SECONDARY}, "secondary_capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "secondary_capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}, "dose_page"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection_image"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_annotation"),
        ({"Modality": "US"}, "unsupported_modality"),
        ({"ImagePositionPatient": None}, "no_position"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, attributes, reason):
    write_slice(tmp_path, 0, head_hu(0) + 1024, (0, 0, 0), **attributes)
    (stack,) = _stacks(tmp_path)
    assert stack.recognition.refusal == reason


def test_a_scout_inside_a_series_is_taken_out(tmp_path):
    write_ct(tmp_path)
    write_slice(tmp_path, 9, head_hu(0) + 1024, (0, -50, 90), ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    sizes = sorted(len(stack.places) for stack in _stacks(tmp_path))
    assert sizes == [1, 5]


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"ContrastBolusAgent": "ULTRAVIST 370"}, "cta"),
        ({"ContrastBolusAgent": "NONE"}, "ncct"),
        ({"SeriesDescription": "CTA_Head 0.75"}, "cta"),
        ({"SeriesDescription": "Head w/o contrast"}, "ncct"),
        ({}, "ncct"),
    ],
)
def test_contrast_from_attributes(tmp_path, attributes, kind):
    write_ct(tmp_path, **attributes)
    assert _volume(tmp_path).kind == kind


@pytest.mark.parametrize(("vessel_hu", "kind"), [(250, "cta"), (45, "ncct")])
def test_contrast_from_voxels_where_attributes_are_silent(tmp_path, vessel_hu, kind):
    rows, columns = np.indices((96, 96))
    radius = np.hypot(rows - 48, columns - 48)
    values = np.where(radius < 44, 33.0, -1000.0)
    values[(radius >= 38) & (radius < 44)] = 1100
    for row, column in ((40, 40), (40, 56), (60, 48), (50, 36)):
        values[np.hypot(rows - row, columns - column) < 2.5] = vessel_hu
    for number in range(6):
        write_slice(tmp_path, number, values + 1024, (0, 0, 5.0 * number), PixelSpacing=[1.8, 1.8])
    volume = _volume(tmp_path)
    assert volume.kind == kind
    assert (volume.numbers["vessel_share"] > 0.01) == (kind == "cta")


def test_ct_perfusion_is_4d_with_the_times_of_its_frames(tmp_path):
    n_frames, times = 10, [1.5 * frame + (6 if frame > 7 else 0) for frame in range(10)]
    for frame, seconds in enumerate(times):
        for place in range(3):
            pixels = head_hu(place) + 1024
            pixels[6:9, 13:15] += 10 * frame
            time = f"1015{seconds + 0.25 * place:09.6f}"
            number = (n_frames - frame) * 3 + place  # instance numbers run against time
            write_slice(tmp_path, number, pixels, (0, 0, 5.0 * place), AcquisitionTime=time)
    volume = _volume(tmp_path)
    assert (volume.kind, volume.values.shape) == ("ctp", (COLUMNS, ROWS, 3, 10))
    assert volume.frame_times_s == pytest.approx(times)
    assert volume.numbers["largest_spread_within_frame_s"] == pytest.approx(0.5)
    curve = (
        volume.values[13, ROWS - 1 - 7, 1] if volume.affine[0, 0] < 0 else volume.values[COLUMNS - 1 - 13, ROWS - 8, 1]
    )
    assert curve.tolist() == [80 + 10 * frame for frame in range(10)]


def test_ct_perfusion_without_times_or_with_lost_frames(tmp_path):
    for frame in range(9):
        for place in range(2):
            own = {"AcquisitionTime": None, "AcquisitionDate": None, "AcquisitionNumber": frame}
            write_slice(tmp_path / "a", frame * 2 + place, head_hu(0) + 1024, (0, 0, 5.0 * place), **own)
            if (frame, place) != (4, 1):
                time = {"AcquisitionTime": f"1015{frame:02d}"}
                write_slice(tmp_path / "b", frame * 2 + place, head_hu(0) + 1024, (0, 0, 5.0 * place), **time)
    write_slice(tmp_path / "b", 99, head_hu(0) + 1024, (0, 0, 0.0), AcquisitionTime="101530")
    assert _reason(tmp_path / "a") == "frame_times_missing"
    assert _reason(tmp_path / "b") == "incomplete_frames"


def test_two_phases_in_one_series_become_two_volumes(tmp_path):
    for phase in range(2):
        for place in range(3):
            own = {"AcquisitionTime": f"1015{30 * phase:02d}", "AcquisitionNumber": phase + 1}
            write_slice(tmp_path, phase * 3 + place, head_hu(10 * phase) + 1024, (0, 0, 5.0 * place), **own)
    volumes = [build_volume(stack) for stack in _stacks(tmp_path)]
    assert [float(np.median(volume.values[volume.values > 0])) for volume in volumes] == [30, 40]


def _write_mr(folder, number, place, value, **attributes):
    pixels = np.zeros((ROWS, COLUMNS))
    pixels[4:20, 4:16] = value
    pixels[4, 4] = value + 1
    usual = {"Modality": "MR", "SequenceName": "ep_b", "SeriesDescription": "DWI trace"}
    write_slice(folder, number, pixels, (0, 0, 5.0 * place), **{**usual, **attributes})


def test_diffusion_is_split_into_b0_high_b_and_adc(tmp_path):
    for place in range(3):
        _write_mr(tmp_path, place, place, 400, DiffusionBValue=0.0)
        _write_mr(tmp_path, 10 + place, place, 100, DiffusionBValue=1000.0)
        _write_mr(tmp_path, 20 + place, place, 900, DiffusionBValue=1000.0)
        adc = {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "series": "b"}
        _write_mr(tmp_path, 30 + place, place, 800, **adc)
        _write_mr(tmp_path, 40 + place, place, 200, DiffusionBValue=500.0)
    stacks = {stack.recognition.kind + (stack.recognition.refusal or ""): stack for stack in _stacks(tmp_path)}
    assert set(stacks) == {"dwi-b0", "dwi", "adc", "dwib_value_too_low"}
    dwi, adc = build_volume(stacks["dwi"]), build_volume(stacks["adc"])
    assert dwi.values[8, 8, 1] == pytest.approx(300, rel=1e-5)  # geometric mean of two directions
    assert dwi.numbers["n_directions"] == 2
    assert adc.values[8, 8, 1] == pytest.approx(0.8)
    assert (adc.unit, adc.notes) == ("10^-3 mm2/s", ("adc_unit_changed",))
    assert build_volume(stacks["dwi-b0"]).values[8, 8, 1] == 400


def test_several_volumes_without_diffusion_weighting_are_averaged(tmp_path):
    for number, value in enumerate((100, 400)):
        for place in range(3):
            _write_mr(tmp_path, 10 * number + place, place, value, DiffusionBValue=0.0)
    volume = _volume(tmp_path)
    assert volume.values[8, 8, 1] == pytest.approx(200, rel=1e-5)
    assert volume.numbers["n_averaged"] == 2


@pytest.mark.parametrize(("name", "b_value"), [("*ep_b1000t", 1000), ("ep_b800#1", 800)])
def test_b_value_from_the_name_of_the_sequence(tmp_path, name, b_value):
    for place in range(2):
        _write_mr(tmp_path, place, place, 100, SequenceName=name)
    (stack,) = _stacks(tmp_path)
    assert (stack.recognition.kind, stack.recognition.b_value) == ("dwi", b_value)


def _write_map(folder, unit, palette_start=1024, values=(1000, 1024, 1034, 1074)):
    units = Dataset()
    units.CodeValue = unit
    mapping = Dataset()
    mapping.LUTLabel = "RCBF"
    mapping.MeasurementUnitsCodeSequence = Sequence([units])
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 1.0, -1024.0
    pixels = np.repeat(values, ROWS * COLUMNS // len(values)).reshape(ROWS, COLUMNS)
    for place in range(2):
        write_slice(
            folder,
            place,
            pixels,
            (0, 0, 10.0 * place),
            ImageType=["DERIVED", "PRIMARY", "PERFUSION", "RCBF"],
            PixelPresentation="COLOR",
            RedPaletteColorLookupTableDescriptor=[100, palette_start, 16],
            RealWorldValueMappingSequence=Sequence([mapping]),
        )


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("ml/100ml/s", 60 / BRAIN_DENSITY_G_PER_ML),
        ("ml/min/100g", 1),
        ("mL/(100.g.min)", 1),
        ("ml/100ml/min", 1 / 1.04),
    ],
)
def test_a_flow_map_in_its_unit_without_its_anatomy(tmp_path, unit, factor):
    _write_map(tmp_path, unit)
    volume = _volume(tmp_path)
    assert (volume.kind, volume.unit) == ("cbf", "ml/100 g/min")
    found = np.unique(volume.values[np.isfinite(volume.values)])
    assert found == pytest.approx([0, 10 * factor, 50 * factor])
    assert volume.numbers["n_anatomy_voxels"] == np.isnan(volume.values).sum() == 2 * ROWS * COLUMNS / 4
    assert ("values_implausible" in volume.notes) == (factor > 50)


def test_the_palette_says_where_flow_begins(tmp_path):
    _write_map(tmp_path, "ml/100g/min", palette_start=1030)
    assert np.nanmin(_volume(tmp_path).values) == 10


def test_a_map_without_a_known_unit_is_refused(tmp_path):
    _write_map(tmp_path, "furlong")
    assert _reason(tmp_path) == "unit_unknown"


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.dcm").touch()
    write_ct(tmp_path / "x")
    whole = next((tmp_path / "x").iterdir())
    (tmp_path / "cut.dcm").write_bytes(whole.read_bytes()[:300])
    headers, unread = read_headers(find_files(tmp_path))
    assert len(headers) == 5
    reasons = {"notes.txt": "not_dicom", "empty.dcm": "empty_file", "cut.dcm": "unreadable_dicom"}
    assert {item.path.name: item.reason for item in unread} == reasons


def test_pixels_cut_short_end_with_their_reason(tmp_path):
    write_ct(tmp_path)
    victim = sorted(tmp_path.iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:-200])
    assert _reason(tmp_path) == "pixels_unreadable"


def test_the_way_through_dcm2niix_reads_the_same_stored_values(tmp_path):
    write_ct(tmp_path, tilt_deg=15)
    headers, _ = read_headers(find_files(tmp_path))
    for header in headers:
        frame = header.frames[0]
        assert np.array_equal(_decode_with_dcm2niix(frame), read_slices([frame]).stored[0])


@pytest.mark.real_data
def test_a_compression_that_pydicom_cannot_undo_is_read(real_data):
    headers, _ = read_headers([real_data / "dicom" / "bad_sequence.dcm"])
    slices = read_slices(headers[0].frames)
    assert slices.values.shape == (1, 512, 512)
    assert (slices.values.min(), slices.values.max()) == (-1011, 1243)


@pytest.mark.real_data
def test_contrast_evidence_of_a_plain_scan(real_data):
    (stack,) = _stacks(real_data / "dicom" / "ge-headct-tilt")
    volume = build_volume(stack)
    assert volume.kind == "ncct"
    assert 0 <= volume.numbers["vessel_share"] < 0.001
