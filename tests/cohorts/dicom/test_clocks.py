"""The time axis of dynamic CT: every clock of a header, alone and against another one."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cohorts.dicom.clocks import FrameTimes, frame_times
from cohorts.dicom.dynamic import _at_frame_times
from cohorts.dicom.geometry import Fault, StackRefusedError
from cohorts.dicom.headers import Frame, find_files, read_headers
from cohorts.dicom.stacks import group_stacks
from cohorts.dicom.volume import DEFAULT_ACTIONS, build_volume
from tests.cohorts.dicom.made import head_hu, write_slice

START = datetime(2024, 3, 2, 10, 15)
N_FRAMES = 20


def _frame(number, acquired=None, trigger_s=None, content=None, offset_s=None, temporal=None):
    moment, written = (None if at is None else START + timedelta(seconds=float(at)) for at in (acquired, content))
    return Frame(
        Path("x"), 0, (0, 0, 0), (1, 0, 0, 0, 1, 0), (1, 1), 5, (2, 2), 1, 0, "HU", None, moment, written, trigger_s,
        offset_s, None, temporal, number, ("ORIGINAL",),
    )  # fmt: skip


def _times(order=None, **clocks):
    """Times found of a series of one place, its frames written in some order."""
    frames = [
        _frame(number, **{name: values[number] for name, values in clocks.items()})
        for number in range(len(next(iter(clocks.values()))))
    ]
    return frame_times([[frames[at] for at in (order if order is not None else range(len(frames)))]])


def _seconds(found):
    assert isinstance(found, FrameTimes), found
    return found.seconds[0].tolist()


TRUE = np.arange(N_FRAMES) * 2.0


def test_two_clocks_that_both_advance_are_not_added():
    found = _times(acquired=TRUE, trigger_s=TRUE)
    assert _seconds(found) == pytest.approx(TRUE)
    assert (found.notes, found.faults) == ((), ())


def test_the_trigger_counts_where_the_acquisition_stands_still():
    found = _times(acquired=TRUE * 0, trigger_s=TRUE + 3)
    assert _seconds(found) == pytest.approx(TRUE)
    assert found.notes == ("times_from_trigger",)
    assert _seconds(_times(trigger_s=TRUE)) == pytest.approx(TRUE)


def test_clocks_that_disagree_are_refused_with_their_numbers():
    found = _times(acquired=TRUE, trigger_s=1.5 * TRUE)
    assert isinstance(found, Fault)
    assert found.reason == "clocks_disagree"
    assert found.numbers == {"acquisition_span_s": 38, "trigger_span_s": 57, "largest_difference_s": 19}


def test_a_trigger_that_only_says_where_in_the_pass_a_slice_was_does_not_count():
    assert _seconds(_times(acquired=TRUE, trigger_s=TRUE % 4)) == pytest.approx(TRUE)


def test_the_finer_of_two_clocks_that_agree():
    true = np.arange(N_FRAMES) * 1.5
    found = _times(acquired=np.floor(true), trigger_s=true)
    assert _seconds(found) == pytest.approx(true)


def test_an_acquisition_in_blocks_with_a_trigger_that_goes_on_or_begins_again():
    true = np.concatenate([np.arange(12) * 1.0, 20 + np.arange(8) * 3.0])
    blocks = np.where(true < 20, 0.0, 20.0)
    assert _seconds(_times(acquired=blocks, trigger_s=true)) == pytest.approx(true)
    again = _times(acquired=blocks, trigger_s=true - blocks)
    assert _seconds(again) == pytest.approx(true)
    assert again.notes == ("times_from_acquisition_and_trigger",)
    wrong = _times(acquired=blocks * 3, trigger_s=true)
    assert isinstance(wrong, Fault)
    assert wrong.numbers["largest_difference_s"] == 40


def test_other_clocks_and_none():
    assert _times(acquired=TRUE * 0, content=TRUE).notes == ("times_from_content",)
    assert _times(acquired=TRUE * 0, offset_s=TRUE, content=TRUE * 3).notes == ("times_from_offset",)
    for written in (TRUE / 100, TRUE * 60):  # times of writing, not of scanning
        missing = _times(acquired=TRUE * 0, content=written)
        assert isinstance(missing, Fault)
        assert missing.reason == "frame_times_missing"


@pytest.mark.parametrize(
    "order", [range(N_FRAMES), range(N_FRAMES)[::-1], np.random.default_rng(2).permutation(N_FRAMES)]
)
@pytest.mark.parametrize("wrap", [86400.0, 43200.0])
def test_a_clock_that_wrapped_is_unwrapped_and_said_to_be(order, wrap):
    since_midnight = 10.25 * 3600
    time_of_day = (wrap - 13.0 + TRUE) % wrap
    found = _times(order, acquired=time_of_day - since_midnight)
    assert _seconds(found) == pytest.approx(TRUE)
    assert [(fault.reason, dict(fault.numbers)) for fault in found.faults] == [("clock_wrapped", {"wrap_s": wrap})]
    assert np.array(order)[found.order[0]].tolist() == list(range(N_FRAMES))


def test_frames_counted_from_the_middle_are_no_clock_that_began_again():
    """Thirty frames of 2 s fill a minute, as a clock of seconds would; but they lie in two minutes."""
    true = np.arange(30) * 2.0 + 7
    found = _times(acquired=np.roll(true, 11))
    assert _seconds(found) == pytest.approx(true - 7)
    assert found.faults == ()
    cut = _times(acquired=(true + 20) % 60)
    assert _seconds(cut) == pytest.approx(true - 7)
    assert cut.faults[0].numbers["wrap_s"] == 60


def test_a_trigger_of_sixteen_bits():
    found = _times(acquired=TRUE * 0, trigger_s=(TRUE * 2 + 40) % 65.536)
    assert _seconds(found) == pytest.approx(TRUE * 2)
    assert found.faults[0].numbers["wrap_s"] == 65.536


# Whole series ------------------------------------------------------------------------------------------------------


def _series(folder, times, values=None, **attributes):
    """Two places, a bright square that tells the frame; ``times`` (frame, place) in seconds after 10:15."""
    for frame, row in enumerate(np.asarray(times, dtype=float)):
        for place, seconds in enumerate(np.broadcast_to(row, 2)):
            pixels = head_hu(place) + 1024
            pixels[6:9, 13:15] += 10 * frame if values is None else values[frame][place]
            moment = START + timedelta(seconds=float(seconds))
            own = {"AcquisitionTime": moment.strftime("%H%M%S.%f"), "AcquisitionNumber": frame + 1, **attributes}
            write_slice(folder, frame * 2 + place, pixels, (0, 0, 5.0 * place), **own)


def _built(folder, **actions):
    headers, _ = read_headers(find_files(folder))
    (stack,) = group_stacks(headers)
    return build_volume(stack, {**DEFAULT_ACTIONS, **actions})


def _curve(volume, place):
    return volume.values[:, :, place].max(axis=(0, 1)).tolist()


def test_slices_of_a_shuttle_are_read_at_the_time_of_their_frame(tmp_path):
    """The square rises by 10 HU a second from -20 on: at any time its value is 80 + 10 t, wherever the table stood."""
    times = np.arange(12)[:, None] * 3.0 + np.array([0.0, 1.5])
    _series(tmp_path, times, values=10 * times)
    volume = _built(tmp_path)
    assert [(fault.reason, dict(fault.numbers)) for fault in volume.faults] == [
        ("slice_times_differ", {"smallest_spread_s": 1.5, "largest_spread_s": 1.5})
    ]
    assert volume.frame_times_s == pytest.approx(np.arange(12) * 3.0)
    moments = times.mean(axis=1)
    for place in (0, 1):
        assert _curve(volume, place)[1:-1] == pytest.approx(80 + 10 * moments[1:-1], abs=1e-3)
    with pytest.raises(StackRefusedError, match="at one time"):
        _built(tmp_path, slice_times_differ="reject")


def test_a_shuttle_that_ends_at_one_half(tmp_path):
    """The upper half has eleven frames, the lower half twelve; and a slice that was lost in the middle."""
    times = np.arange(12)[:, None] * 3.0 + np.array([0.0, 1.5])
    _series(tmp_path / "a", times, values=10 * times)
    _series(tmp_path / "b", np.arange(12) * 2.0)
    (tmp_path / "a" / "QUIXOTE_a_023.dcm").unlink()
    (tmp_path / "b" / "QUIXOTE_a_007.dcm").unlink()
    shuttle = _built(tmp_path / "a")
    uneven = ("frames_uneven", {"n_frames": 11, "n_longer": 1, "n_places": 2})
    assert next((fault.reason, dict(fault.numbers)) for fault in shuttle.faults) == uneven
    assert shuttle.frame_times_s == pytest.approx(np.arange(11) * 3.0)
    assert _curve(shuttle, 1)[1:-1] == pytest.approx(80 + 10 * (0.75 + 3.0 * np.arange(1, 10)), abs=1e-3)
    with pytest.raises(StackRefusedError, match="same number of frames"):
        _built(tmp_path / "a", frames_uneven="reject")
    with pytest.raises(StackRefusedError, match="at some places other frames are missing"):
        _built(tmp_path / "b")


def test_a_shuttle_that_goes_back_and_forth():
    moments = np.arange(10) * 2.0 + 1
    seconds = np.stack([np.arange(10) * 2.0 + np.arange(10) % 2 * 2, np.arange(10) * 2.0 + 1])
    frames = np.moveaxis(seconds, 0, 1)[..., None, None].astype(np.float32) * 7
    found = _at_frame_times(frames, seconds + 1e-9 * np.arange(10), moments)
    assert found[1:-1, :, 0, 0] == pytest.approx(7 * moments[1:-1, None].repeat(2, axis=1), abs=1e-3)


def test_frames_that_came_twice_are_taken_once(tmp_path):
    _series(tmp_path, np.arange(10) * 2.0)
    for place in (0, 1):
        pixels = head_hu(place) + 1024
        pixels[6:9, 13:15] += 50
        write_slice(tmp_path, 90 + place, pixels, (0, 0, 5.0 * place), AcquisitionTime="101510", AcquisitionNumber=6)
    volume = _built(tmp_path)
    assert [(fault.reason, dict(fault.numbers)) for fault in volume.faults] == [("duplicate_frames", {"n_repeated": 1})]
    assert _curve(volume, 0) == [80 + 10 * frame for frame in range(10)]
    write_slice(tmp_path, 91, head_hu(1) + 1030, (0, 0, 5.0), AcquisitionTime="101510", AcquisitionNumber=6)
    with pytest.raises(StackRefusedError, match="copies of each other"):
        _built(tmp_path)


def test_other_frames_lost_at_each_place_are_not_paired(tmp_path):
    _series(tmp_path, np.arange(12) * 2.0)
    for number in (2 * 3, 2 * 8 + 1):  # frame 3 at the first place, frame 8 at the second
        (tmp_path / f"QUIXOTE_a_{number:03d}.dcm").unlink()
    with pytest.raises(StackRefusedError) as caught:
        _built(tmp_path)
    assert [(fault.reason, dict(fault.numbers)) for fault in caught.value.faults] == [
        ("frames_misaligned", {"largest_spread_within_frame_s": 2.0, "n_frames": 11})
    ]


@pytest.mark.parametrize(
    ("times", "reason", "number"),
    [
        (np.arange(12) * 0.05, "frame_interval_implausible", 0.05),
        (np.arange(12) * 30.0, "frame_interval_implausible", 30.0),
        (np.arange(12) * 2.0 + 700 * (np.arange(12) > 5), "frame_gap", 702.0),
    ],
)
def test_times_on_which_no_bolus_can_be_followed(tmp_path, times, reason, number):
    _series(tmp_path, times)
    with pytest.raises(StackRefusedError) as caught:
        _built(tmp_path)
    assert caught.value.reason == reason
    assert pytest.approx(number) in list(caught.value.faults[0].numbers.values())


def test_lost_frames_are_said_with_their_number(tmp_path):
    _series(tmp_path, np.delete(np.arange(14) * 2.0, [5, 6]))
    volume = _built(tmp_path)
    assert volume.notes[:1] == ("frames_lost",)
    assert (volume.numbers["n_lost_frames"], volume.numbers["largest_frame_interval_s"]) == (2, 6.0)


def test_a_series_over_midnight_whose_date_stood_still(tmp_path):
    _series(tmp_path, np.concatenate([49484 + np.arange(8) * 2.0, -36900 + np.arange(6) * 2.0]))
    volume = _built(tmp_path)
    assert volume.faults[0].numbers == {"wrap_s": 86400.0}
    assert volume.frame_times_s == pytest.approx(np.arange(14) * 2.0)
    assert _curve(volume, 1) == [80 + 10 * frame for frame in range(14)]
