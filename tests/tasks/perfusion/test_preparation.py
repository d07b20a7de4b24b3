import numpy as np
import pytest

from tasks.perfusion.frame_times import n_lost_frames, unwrapped
from tasks.perfusion.preparation import SHORTEST_SERIES_FRAMES, baseline_mean, find_bolus, mean_curve, order_frames

TIMES = tuple(1.5 * frame for frame in range(40))


def brain_curve(times=TIMES, start=10.0, rise=6.0, tail=0.4):
    """A gamma-variate over 30 HU, as the brain's mean: its peak ``rise`` comes 6 s after the start, then a plateau."""
    since = np.maximum(np.asarray(times) - start, 0) / 6
    return 30 + rise * since**3 * np.exp(3 * (1 - since)) + tail * (since > 1.5)


def test_frames_in_order_stay_and_others_are_sorted_with_a_note():
    assert order_frames(TIMES, 40).order == tuple(range(40))
    assert order_frames(TIMES, 40).notes == ()
    shuffled = np.random.default_rng(3).permutation(40)
    stored = np.asarray(TIMES)[shuffled]
    result = order_frames(stored.tolist(), 40)
    assert result.notes == ("frames_reordered",)
    assert result.frame_times_s == TIMES
    assert stored[list(result.order)].tolist() == list(TIMES)
    assert result.reason == ""


@pytest.mark.parametrize(
    ("times", "n_frames", "reason", "words"),
    [
        (None, 40, "frame_times_missing", "got 0 for 40 frames"),
        (TIMES[:39], 40, "frame_times_missing", "got 39 for 40 frames"),
        ((*TIMES[:39], float("nan")), 40, "frame_times_missing", "got 39 for 40"),
        ((*TIMES[:39], TIMES[5]), 40, "frame_times_not_increasing", "got 1 repeated"),
        ((0.0,) * 40, 40, "frame_times_not_increasing", "got 39 repeated"),
        (tuple(1000 * t for t in TIMES), 40, "frame_interval_implausible", "got 1500 s"),
        (tuple(t / 60 for t in TIMES), 40, "frame_interval_implausible", "unit of the frame times"),
        (TIMES[: SHORTEST_SERIES_FRAMES - 1], SHORTEST_SERIES_FRAMES - 1, "too_few_frames", "got 9"),
    ],
)
def test_times_that_cannot_be_used_are_refused(times, n_frames, reason, words):
    result = order_frames(times, n_frames)
    assert result.reason == reason
    assert words in result.detail
    assert result.frame_times_s == ()


def test_uneven_intervals_are_taken_as_they_are():
    times = tuple(float(t) for t in (*range(0, 30, 1), *range(30, 60, 3)))
    assert order_frames(times, 40).frame_times_s == times


@pytest.mark.parametrize("wrap", [86400.0, 43200.0, 3600.0, 60.0, 65.536, 131.072, 2**31 / 1000])
@pytest.mark.parametrize("n_before", [1, 7, 20])
def test_a_clock_that_began_again_is_unwrapped_in_the_order_of_recording(wrap, n_before):
    true = np.arange(36) * 1.5 + wrap - 1.5 * n_before + 0.4
    result = order_frames((true % wrap).tolist(), 36)
    assert (result.reason, result.notes, result.order) == ("", ("clock_unwrapped",), tuple(range(36)))
    assert result.frame_times_s == pytest.approx(true - true[0])


@pytest.mark.parametrize("n_before", [1, 6, 20])
def test_frames_before_midnight_that_came_a_day_late_are_put_first(n_before):
    """Sorted by a time of day: those after midnight, then those before it, 24 h less a moment later."""
    stored = np.roll(np.arange(36), -n_before)
    times = np.arange(36)[stored] * 2.0 + np.where(stored < n_before, 86400.0, 0.0)
    result = order_frames((times - times[0]).tolist(), 36)
    assert (result.reason, result.notes) == ("", ("frames_reordered", "clock_unwrapped"))
    assert stored[list(result.order)].tolist() == list(range(36))
    assert result.frame_times_s == pytest.approx(np.arange(36) * 2.0)


def test_a_counter_that_wraps_several_times():
    times = np.arange(40) * 1.5
    found = unwrapped(times % 8.192)
    assert found.wrap_s == 8.192
    assert found.times_s == pytest.approx(times)


@pytest.mark.parametrize("seed", range(8))
def test_no_wrap_is_seen_where_there_is_none(seed):
    rng = np.random.default_rng(seed)
    times = np.concatenate([np.arange(30) * 1.5, 50 + np.arange(10) * 3.0])
    for order in (rng.permutation(40), np.arange(40)[::-1], np.arange(40)):
        assert np.isnan(unwrapped(times[order]).wrap_s)


def test_lost_frames_are_noted_and_a_jump_of_the_clock_is_refused_with_its_numbers():
    lost = tuple(np.delete(np.arange(40) * 1.5, [8, 9, 30]))
    result = order_frames(lost, 37)
    assert (result.reason, result.notes) == ("", ("frames_lost",))
    assert n_lost_frames(np.array(lost)) == 3
    assert n_lost_frames(np.array([*np.arange(30) * 1.0, *(40 + np.arange(8) * 3.0)])) == 0  # a protocol in two parts
    jump = np.arange(40) * 1.5 + np.where(np.arange(40) >= 12, 700.0, 0.0)
    refused = order_frames(jump.tolist(), 40)
    assert refused.reason == "frame_gap"
    assert "got 701.5 s without one after 16.5 s" in refused.detail


def test_a_bolus_that_arrives_while_no_frame_is_taken_is_refused():
    times = np.array([t for t in np.arange(0, 60, 1.5) if not 10 < t < 18])
    found = find_bolus(brain_curve(times), times.tolist())
    assert found.reason == "bolus_undersampled"
    assert "got 9.0 s" in found.detail
    late = np.array([t for t in np.arange(0, 60, 1.5) if not 35 < t < 45])
    assert find_bolus(brain_curve(late), late.tolist()).reason == ""


def test_the_baseline_ends_before_the_arteries_fill():
    found = find_bolus(brain_curve(), TIMES)
    assert found.reason == ""
    assert 10 < found.arrival_s <= 13
    assert found.n_baseline_frames == sum(t <= found.arrival_s - 3 for t in TIMES)
    assert found.peak_s == pytest.approx(16, abs=0.75)
    assert found.rise_hu == pytest.approx(6, rel=0.02)
    assert found.tail_share == pytest.approx(0.4 / 6, abs=0.01)
    assert found.after_peak_s == TIMES[-1] - found.peak_s
    assert found.n_peaks == 1


def test_a_later_bolus_moves_everything_by_as_much():
    early, late = (find_bolus(brain_curve(start=start), TIMES) for start in (10.0, 16.0))
    assert late.arrival_s - early.arrival_s == late.peak_s - early.peak_s == 6
    assert late.n_baseline_frames - early.n_baseline_frames == 4


def test_noise_and_drift_of_the_baseline_do_not_look_like_an_arrival():
    noise = np.random.default_rng(5).normal(0, 0.15, 40)  # as of motion that is left
    found = find_bolus(brain_curve() + noise, TIMES)
    assert 10 < found.arrival_s <= 15
    assert found.n_baseline_frames >= 5


@pytest.mark.parametrize(
    ("curve", "times", "reason", "words"),
    [
        (brain_curve(rise=0.5, tail=0), TIMES, "no_contrast", "got 0.5"),
        (brain_curve(start=0.0), TIMES, "bolus_before_start", "began too late"),
        (brain_curve()[11:], TIMES[:-11], "bolus_before_start", "got 0"),  # begins at the peak
        (brain_curve()[9:], TIMES[:-9], "bolus_before_start", "got 0"),  # begins on the way up
        (brain_curve()[:12], TIMES[:12], "bolus_truncated", "got 0.9"),
        (brain_curve(tuple(range(20))), tuple(range(20)), "bolus_truncated", "too short"),  # twenty frames only
        (brain_curve() + brain_curve(start=35.0) - 30, TIMES, "two_bolus_peaks", "got 2"),
    ],
)
def test_a_bolus_that_cannot_be_used_is_refused(curve, times, reason, words):
    found = find_bolus(np.asarray(curve), times)
    assert found.reason == reason
    assert words in found.detail


def test_recirculation_is_no_second_bolus():
    times = np.asarray(TIMES)
    second = 0.1 * (brain_curve(start=26.0) - 30)
    assert find_bolus(brain_curve() + second, times).reason == ""


def test_mean_curve_and_baseline_by_hand():
    series = np.zeros((2, 2, 2, 3), dtype=np.float32)
    series[0, 0, 0] = [1, 3, 8]
    series[1, 1, 1] = [5, 7, 0]
    mask = np.zeros((2, 2, 2), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert mean_curve(series, mask).tolist() == [3, 5, 4]
    baseline = baseline_mean(series, 2)
    assert (baseline[0, 0, 0], baseline[1, 1, 1], baseline.sum()) == (2, 6, 8)
