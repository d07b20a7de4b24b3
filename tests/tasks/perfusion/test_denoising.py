import numpy as np
import pytest

from tasks.perfusion.denoising import Denoising, choose_sigma_mm, denoise

TIMES = (0.0, 1.0, 2.0, 4.0, 7.0)
SPACING_MM = (1.0, 2.0, 5.0)


def noisy(shape=(40, 30, 3)):
    return np.random.default_rng(1).normal(30, 5, (*shape, len(TIMES))).astype(np.float32)


def test_noise_falls_as_the_gaussian_says():
    series = noisy((80, 60, 3))
    mask = np.ones(series.shape[:3], dtype=bool)
    smooth = denoise(series, TIMES, SPACING_MM, mask, Denoising(in_plane_sigma_mm=3.0))
    middle = smooth[15:-15, 10:-10]
    expected = 5 * np.sqrt(1.0 * 2.0) / (2 * np.sqrt(np.pi) * 3.0)  # sd * sqrt(pixel) / (2 sqrt(pi) sigma)
    assert middle.std() == pytest.approx(expected, rel=0.1)
    assert middle.mean() == pytest.approx(30, abs=0.1)


def test_nothing_outside_the_mask_bleeds_in_and_nothing_outside_changes():
    series = np.full((20, 20, 2, len(TIMES)), 30, dtype=np.float32)
    series[:8] = 1000  # bone
    mask = np.zeros((20, 20, 2), dtype=bool)
    mask[8:, 3:] = True
    smooth = denoise(series, TIMES, SPACING_MM, mask, Denoising(in_plane_sigma_mm=4.0, temporal_sigma_s=2.0))
    np.testing.assert_allclose(smooth[mask], 30, rtol=1e-5)
    np.testing.assert_array_equal(smooth[~mask], series[~mask])


def test_smoothing_over_time_follows_the_frames_own_times():
    series = np.zeros((2, 2, 2, len(TIMES)), dtype=np.float32)
    series[0, 1, 0] = [0, 0, 10, 0, 0]
    smooth = denoise(series, TIMES, SPACING_MM, np.ones((2, 2, 2), dtype=bool), Denoising(0.0, 1.0))
    weights = np.exp(-((np.array(TIMES)[:, None] - TIMES) ** 2) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(smooth[0, 1, 0], 10 * weights[:, 2], rtol=1e-5)
    assert smooth[0, 1, 0, 1] > smooth[0, 1, 0, 3] > smooth[0, 1, 0, 4]  # 1, 2 and 5 s away
    assert smooth[1, 1, 1].max() == 0


def test_nothing_to_do_leaves_the_series():
    series = noisy()
    for mask, settings in (
        (np.ones(series.shape[:3], dtype=bool), Denoising(0.0, 0.0)),
        (np.zeros(series.shape[:3], dtype=bool), Denoising(3.0, 3.0)),
    ):
        np.testing.assert_array_equal(denoise(series, TIMES, SPACING_MM, mask, settings), series)


def test_the_memory_order_of_the_series_does_not_matter():
    series = noisy()
    mask = series[..., 0] > 25
    one, other = (
        denoise(make(series), TIMES, SPACING_MM, mask, Denoising(2.0, 1.0))
        for make in (np.asfortranarray, np.ascontiguousarray)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_every_impossible_width_is_named():
    with pytest.raises(ValueError, match=r"in_plane_sigma_mm must be >= 0 mm, got -1 mm.*temporal_sigma_s must be"):
        Denoising(in_plane_sigma_mm=-1, temporal_sigma_s=-2)


@pytest.mark.parametrize(("noise_hu", "sigma_mm"), [(1.0, 2.0), (3.6, 3.0), (20.0, 4.0)])
def test_the_width_follows_the_noise_that_it_leaves(noise_hu, sigma_mm):
    """A bolus that rises by 6.5 HU: what is left of white noise must lie below 0.65 HU."""
    rng = np.random.default_rng(4)
    curve = 6.5 * np.exp(-(((np.arange(30) - 12) / 4) ** 2))
    series = (30 + curve + rng.normal(0, noise_hu, (60, 70, 3, 30))).astype(np.float32)
    mask = np.ones(series.shape[:3], dtype=bool)
    spacing = (1.7, 1.7, 5.0)
    chosen = choose_sigma_mm(series, spacing, mask, 6.5)
    assert chosen == sigma_mm
    if 2 < chosen < 4:
        left = [noise_hu * 1.7 / (2 * np.sqrt(np.pi) * width) for width in (chosen - 0.5, chosen)]
        assert left[1] < 0.65 < left[0]


def test_a_width_that_is_to_be_chosen_is_not_guessed():
    with pytest.raises(ValueError, match="in_plane_sigma_mm must be a width, got None"):
        denoise(noisy(), TIMES, SPACING_MM, np.ones((40, 30, 3), dtype=bool), Denoising())
