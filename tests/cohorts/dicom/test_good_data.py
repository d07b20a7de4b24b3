"""Good data that other readers or headers make look bad: scalings, long tables, compressions, mosaics, multi-frame."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless

from cohorts.dicom.declared import with_declarations
from cohorts.dicom.geometry import StackRefusedError
from cohorts.dicom.headers import find_files, read_headers
from cohorts.dicom.import_settings import DeclareRule, ImportSettings
from cohorts.dicom.pixels import convert_with_dcm2niix
from cohorts.dicom.stacks import group_stacks
from cohorts.dicom.volume import build_volume
from tests.cohorts.dicom.enhanced import write_enhanced, write_mosaic
from tests.cohorts.dicom.jpeg_lossless import lossless_jpeg
from tests.cohorts.dicom.made import COLUMNS, ROWS, head_hu, write_slice

DIFFUSION = {"Modality": "MR", "SeriesDescription": "DWI", "DiffusionBValue": 1000.0}


def _stacks(folder):
    headers, unread = read_headers(find_files(folder))
    assert unread == []
    return group_stacks(headers)


def _volume(folder):
    (stack,) = _stacks(folder)
    assert stack.recognition.refusal is None
    return build_volume(stack)


def _slices(volume):
    """(slices, rows, columns) as the axial slices were written."""
    return np.moveaxis(volume.values[::-1, ::-1], 2, 0).swapaxes(1, 2)


def _noise(n, seed=0):
    return np.random.default_rng(seed).integers(1, 2000, (n, ROWS, COLUMNS))


def test_the_scale_of_a_philips_header_and_not_its_private_one(tmp_path):
    pixels = _noise(3)
    for place, image in enumerate(pixels):
        write_slice(
            tmp_path, place, image, (0, 0, 5.0 * place), **DIFFUSION, Manufacturer="Philips Medical Systems",
            RescaleSlope=0.862271, RescaleIntercept=0, RescaleType="normalized",
        )  # fmt: skip
        path = tmp_path / f"QUIXOTE_a_{place:03d}.dcm"
        dataset = pydicom.dcmread(path)
        dataset.add_new((0x2005, 0x0010), "LO", "Philips MR Imaging DD 001")
        dataset.add_new((0x2005, 0x100D), "FL", 0.0)
        dataset.add_new((0x2005, 0x100E), "FL", 0.0541967)
        dataset.save_as(path)
    volume = _volume(tmp_path)
    assert (volume.converter, volume.notes) == ("dcm2niix", ())
    assert _slices(volume) == pytest.approx(0.862271 * pixels, rel=1e-5)


def test_a_stack_far_down_the_table(tmp_path):
    """Single precision: at -160,000 mm a step of 0.6 mm is up to 0.016 mm off, which 40 slices add up."""
    for place in range(40):
        write_slice(tmp_path, place, head_hu(place % 5) + 1024, (-20, -15, -160000 + 0.6 * place), SliceThickness=0.8)
    volume = _volume(tmp_path)
    assert volume.converter == "dcm2niix"
    assert volume.affine[2, 2:] == pytest.approx([0.6, -160000.0], abs=1e-9)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless])
def test_lossless_compression_without_a_rescale_slope(tmp_path, syntax):
    pixels = _noise(3)
    for place, image in enumerate(pixels):
        write_slice(tmp_path, place, image, (0, 0, 5.0 * place), **DIFFUSION)
        path = tmp_path / f"QUIXOTE_a_{place:03d}.dcm"
        dataset = pydicom.dcmread(path)
        if syntax == JPEGLSLossless:
            dataset.compress(syntax)
        else:
            dataset.PixelData = encapsulate([lossless_jpeg(image)])
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    assert np.array_equal(_slices(_volume(tmp_path)), pixels)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_mosaic_is_the_volume_that_dcm2niix_makes_of_it(tmp_path, is_reversed):
    pixels = _noise(5)
    write_mosaic(tmp_path, 0, pixels, is_reversed=is_reversed)
    volume = _volume(tmp_path)
    assert volume.values.shape == (COLUMNS, ROWS, 5)
    assert np.array_equal(_slices(volume), pixels[::-1] if is_reversed else pixels)
    assert volume.affine[:3, 3] == pytest.approx([20 - 2.0 * (COLUMNS - 1), 15 - 1.5 * (ROWS - 1), 30])
    theirs, affine = convert_with_dcm2niix(find_files(tmp_path))
    assert np.array_equal(theirs, volume.values)
    assert affine == pytest.approx(volume.affine, abs=1e-3)


def test_mosaics_of_diffusion_by_their_b_values(tmp_path):
    for number, (value, b_value) in enumerate(((400, 0), (100, 1000), (900, 1000))):
        pixels = np.full((5, ROWS, COLUMNS), value)
        pixels[:, 0, 0] += 50
        write_mosaic(tmp_path, number, pixels, AcquisitionTime=f"10150{number}", DiffusionBValue=float(b_value))
    found = {stack.recognition.kind: build_volume(stack) for stack in _stacks(tmp_path)}
    assert found["dwi-b0"].values[5, 5, 2] == 400
    assert found["dwi"].values[5, 5, 2] == pytest.approx(300)  # geometric mean of two directions


def test_a_mosaic_without_its_private_header_has_no_place(tmp_path):
    write_mosaic(tmp_path, 0, _noise(5), csa=False)
    (stack,) = _stacks(tmp_path)
    assert stack.recognition.refusal == "mosaic_undescribed"


def test_an_enhanced_diffusion_series(tmp_path):
    pixels = _noise(6)
    kinds = [(0.0, "NONE"), (1000.0, "ISOTROPIC")]
    frames = [
        (pixels[3 * number + place], 5.0 * place, {"StackID": "1", "InStackPositionNumber": place + 1},
         {"DiffusionBValue": b_value, "DiffusionDirectionality": kind})
        for number, (b_value, kind) in enumerate(kinds)
        for place in range(3)
    ]  # fmt: skip
    write_enhanced(tmp_path, frames, "MR", ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"])
    found = {stack.recognition.kind: build_volume(stack) for stack in _stacks(tmp_path)}
    assert np.array_equal(_slices(found["dwi-b0"]), pixels[:3])
    assert np.array_equal(_slices(found["dwi"]), pixels[3:])


@pytest.mark.parametrize("clock", ["FrameAcquisitionDateTime", "TemporalPositionTimeOffset"])
def test_an_enhanced_perfusion_series_with_temporal_positions(tmp_path, clock):
    frames = []
    for phase in range(10):
        for place in range(2):
            pixels = head_hu(place) + 1024
            pixels[6:9, 13:15] += 10 * phase
            content = {"TemporalPositionIndex": phase + 1, "StackID": "1", "InStackPositionNumber": place + 1}
            if clock == "FrameAcquisitionDateTime":
                content[clock] = f"202403021015{1.5 * phase:06.3f}"
            else:
                content[clock] = 1.5 * phase
            frames.append((pixels, 5.0 * place, content, None))
    order = np.random.default_rng(1).permutation(len(frames))
    write_enhanced(tmp_path, [frames[at] for at in order], "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    volume = _volume(tmp_path)
    assert (volume.kind, volume.values.shape) == ("ctp", (COLUMNS, ROWS, 2, 10))
    assert volume.frame_times_s == pytest.approx(np.arange(10) * 1.5)
    assert volume.values.max(axis=(0, 1, 2)).tolist() == [80 + 10 * phase for phase in range(10)]


def _declared(folder, **rule):
    settings = ImportSettings(declare=(DeclareRule(description="*", **rule),))
    return with_declarations(_stacks(folder), settings)


def _stripped(folder, values):
    """A diffusion series without any b-value: one volume after the other at the same places."""
    for number, value in enumerate(values):
        for place in range(3):
            pixels = np.zeros((ROWS, COLUMNS))
            pixels[4:20, 4:16] = value
            write_slice(folder, number * 3 + place, pixels, (0, 0, 5.0 * place), Modality="MR", SeriesDescription="DWI")


def test_b_values_that_were_stripped_are_declared(tmp_path):
    _stripped(tmp_path, (400, 100, 900 / 4))
    assert _stacks(tmp_path)[0].recognition.refusal == "b_value_unknown"
    stacks = _declared(tmp_path, b_values_s_per_mm2=(0, 1000, 1000))
    found = {stack.recognition.kind: build_volume(stack) for stack in stacks}
    assert found["dwi-b0"].values.max() == 400
    assert found["dwi"].values.max() == pytest.approx(150, rel=1e-3)
    assert [stack.n_files for stack in stacks] == [3, 6]
    assert stacks[1].recognition.evidence == "declared in import.toml"
    (high,) = _declared(tmp_path, b_values_s_per_mm2=(1000,))
    assert (high.recognition.kind, high.recognition.b_value) == ("dwi", 1000)


def test_declared_b_values_that_cannot_be_are_refused(tmp_path):
    _stripped(tmp_path, (100, 400))
    assert [one.recognition.refusal for one in _declared(tmp_path, b_values_s_per_mm2=(0, 1000))] == [
        "b_values_contradicted"
    ] * 2
    (one,) = _declared(tmp_path, b_values_s_per_mm2=(0, 1000, 1000))
    assert one.recognition.refusal == "b_values_do_not_fit"


def test_a_declared_interval_counts_where_no_clock_does(tmp_path):
    for phase in range(10):
        for place in range(2):
            own = {"AcquisitionTime": None, "AcquisitionDate": None, "TemporalPositionIdentifier": phase + 1}
            pixels = head_hu(place) + 1024 + phase
            write_slice(tmp_path, phase * 2 + place, pixels, (0, 0, 5.0 * place), **own)
    with pytest.raises(StackRefusedError, match="later time"):
        build_volume(_stacks(tmp_path)[0])
    (stack,) = _declared(tmp_path, frame_interval_s=1.8)
    volume = build_volume(stack)
    assert volume.frame_times_s == pytest.approx(np.arange(10) * 1.8)
    assert volume.notes[0] == "times_from_offset"
