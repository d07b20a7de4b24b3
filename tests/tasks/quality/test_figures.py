"""Quality figures of phantoms whose noise, streaks, contrast agent and field of view are known; of real scans."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map
from tasks.anatomy import aspects_label_table
from tasks.brain import ct_working_scan, extract_ct_brain, extract_mr_brain, mr_working_scan
from tasks.quality.figures import CONTRAST_HU, GANGLIONIC_REGIONS, SUPRAGANGLIONIC_REGIONS, measure_quality
from tasks.quality.gates import GATES, TISSUE_CONTRAST_HU, judge_quality
from tasks.registration.affine import Registration, refusal, register
from tests.tasks.head_phantom import head_scan


def _image(values, affine):
    return SimpleNamespace(values=values, affine=affine)


def _measured(values, affine, modality="ct", atlas="classic"):
    kind = "dwi" if modality == "dwi" else "ct"
    scan = (mr_working_scan if kind == "dwi" else ct_working_scan)(values, affine)
    brain = (extract_mr_brain if kind == "dwi" else extract_ct_brain)(scan)
    registration = register(scan, brain, template_target(kind))
    assert registration.reason == ""
    return measure_quality(modality, _image(values, affine), scan, brain, registration, load_label_map(atlas))


def _template_points(values, affine, truth):
    """Template coordinates of every voxel."""
    to_template = np.linalg.inv(truth) @ affine
    return np.moveaxis(np.indices(values.shape), 0, -1) @ to_template[:3, :3].T + to_template[:3, 3]


def _streaks(shape, spacing_mm, metal, ceiling):
    """What filtered back-projection makes of rays through metal that are measured no higher than a ceiling, HU."""
    size = 2 * max(shape)
    square = np.zeros((size, size))
    square[: shape[0], : shape[1]] = metal * spacing_mm
    ramp = np.abs(np.fft.fftfreq(size))
    angles = np.arange(0, 180, 1.5)
    total = np.zeros_like(square)
    for angle in angles:
        path = ndimage.rotate(square, angle, reshape=False, order=1).sum(axis=0) * 0.5  # attenuation 0.5 per mm
        error = np.minimum(path, ceiling) - path
        row = np.real(np.fft.ifft(np.fft.fft(error) * ramp)) / spacing_mm
        total += ndimage.rotate(np.tile(row, (size, 1)), -angle, reshape=False, order=1)
    return total[: shape[0], : shape[1]] * np.pi / len(angles) / 0.02 * 1000  # water: 0.02 per mm


def test_figures_of_a_plain_ct():
    values, affine, mask, _ = head_scan()
    quality = _measured(values, affine)
    assert quality.slice_step_mm == pytest.approx(5)
    assert quality.n_slices == 34
    assert quality.noise_hu == pytest.approx(4, rel=0.1)
    assert quality.streak_hu < 3
    assert quality.brain_volume_ml == pytest.approx(mask.sum() * 16.2 / 1000, rel=0.05)
    assert (quality.ganglionic_coverage, quality.supraganglionic_coverage) == (1, 1)
    assert quality.contrast_hu < 30
    assert quality.has_contrast is False
    assert abs(quality.asymmetry_hu) < 0.3
    assert quality.saturated_share == 0
    assert (quality.noise_share, quality.asymmetry_share, quality.signal_to_noise) == (None, None, None)
    assert judge_quality(dataclasses.asdict(quality), GATES["ct"]) == ()


def test_a_noisy_scan_is_noisy_but_not_streaky():
    values, affine, _, _ = head_scan()
    values += np.random.default_rng(3).normal(0, np.sqrt(15**2 - 4**2), values.shape).astype(np.float32)
    quality = _measured(values, affine)
    assert quality.noise_hu == pytest.approx(15, rel=0.1)
    assert quality.streak_hu < 6
    assert [one.reason for one in judge_quality(dataclasses.asdict(quality), GATES["ct"])] == ["noise_too_high"]


@pytest.mark.parametrize(("ceiling", "is_streaky"), [(2.5, True), (3.5, True), (100.0, False)])
def test_streaks_from_metal_are_found(ceiling, is_streaky):
    # Two coils of 5 mm. A low ceiling makes a star of narrow streaks; a high one a single dark band between bright
    # edges, so wide that the brain mask loses it; none leaves metal without an artefact.
    values, affine, mask, _ = head_scan()
    metal = np.zeros(values.shape[:2], dtype=bool)
    row, column = (int(one) for one in np.argwhere(mask[:, :, 15]).mean(axis=0))
    for i, j in ((row - 12, column - 10), (row - 4, column - 2)):
        metal[i - 1 : i + 2, j - 1 : j + 2] = True
    plain = _measured(values, affine)
    for level in (15, 16):
        values[:, :, level] += _streaks(metal.shape, 1.8, metal, ceiling)
        values[metal, level] = 3071
    quality = _measured(values, affine)
    assert (quality.streak_hu > max(2 * TISSUE_CONTRAST_HU, 5 * plain.streak_hu)) == is_streaky
    assert is_streaky or quality.streak_hu == pytest.approx(plain.streak_hu, abs=0.5)
    assert quality.noise_hu == pytest.approx(plain.noise_hu, rel=0.05)
    assert quality.saturated_share >= 2 * 18 / values.size
    reasons = [one.reason for one in judge_quality(dataclasses.asdict(quality), GATES["ct"])]
    assert reasons[:1] == (["streak_artefact"] if is_streaky else [])


def test_contrast_agent_is_seen():
    values, affine, _, truth = head_scan()
    points = _template_points(values, affine, truth)
    lines = [([0, -38, 8], [0, -70, 4]), ([0, 35, 5], [0, 20, 30]), ([0, 20, 30], [0, -20, 45])]
    for side in (-1, 1):  # insular and opercular arteries, internal cerebral veins
        lines += [([40 * side, 10 - 20 * one, 2], [44 * side, 8 - 20 * one, 24]) for one in range(3)]
        lines += [([3 * side, 0, 12], [3 * side, -30, 8])]
    for start, end in (np.array(line, dtype=float) for line in lines):
        along = np.clip((points - start) @ (end - start) / ((end - start) ** 2).sum(), 0, 1)
        values[np.linalg.norm(points - start - along[..., None] * (end - start), axis=-1) < 2] = 250
    quality = _measured(values, affine, "cta")
    assert quality.contrast_hu > CONTRAST_HU + 30
    assert quality.has_contrast is True
    figures = dataclasses.asdict(quality)
    assert judge_quality(figures, GATES["cta"]) == ()
    assert [one.reason for one in judge_quality(figures, GATES["ct"])] == ["contrast_present"]


def test_blood_and_chalk_are_no_contrast_agent():
    values, affine, _, truth = head_scan()
    points = _template_points(values, affine, truth)
    blood = (((points - [-28, -5, 10]) / [20, 28, 24]) ** 2).sum(axis=-1) < 1
    assert blood.sum() * 16.2 / 1000 > 30  # ml
    values[blood] = 75
    for centre in ([0, -28, 3], [25, -38, 10], [-25, -38, 10]):  # pineal gland and plexus
        values[((points - centre) ** 2).sum(axis=-1) < 3.5**2] = 250
    quality = _measured(values, affine)
    assert 30 < quality.contrast_hu < CONTRAST_HU
    assert quality.has_contrast is False


def test_a_darker_left_hemisphere_is_negative():
    values, affine, mask, truth = head_scan(degrees=(0, 0, 6))
    values[mask & (_template_points(values, affine, truth)[..., 0] < 0)] -= 3
    assert _measured(values, affine).asymmetry_hu == pytest.approx(-3, abs=0.4)


def test_values_at_the_smallest():
    values, affine, _, _ = head_scan()
    clipped = np.maximum(values, 0)
    assert _measured(clipped, affine).clipped_share == (values <= 0).mean()
    assert _measured(values, affine).clipped_share == 1 / values.size


def _block_atlas():
    """Twenty regions of 2 x 40 x 10 voxels of 1 mm: ganglionic ones at z = 0..9, the others at z = 20..29."""
    labels = np.zeros((40, 40, 40), dtype=np.int16)
    table = aspects_label_table()
    for position, label in enumerate(table.labels):
        low = 20 if label.region in SUPRAGANGLIONIC_REGIONS else 0
        labels[2 * position : 2 * position + 2, :, low : low + 10] = label.index
    return SimpleNamespace(labels=labels, affine=np.eye(4), table=table)


def _seen(values, affine):
    """Coverage of the block atlas by a scan that lies exactly on it."""
    rows = tuple(tuple(float(one) for one in row) for row in np.eye(4))
    registration = Registration("gauss-newton", rows, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1, "", "")
    scan = ct_working_scan(values, affine)
    quality = measure_quality("ct", _image(values, affine), scan, extract_ct_brain(scan), registration, _block_atlas())
    return quality.ganglionic_coverage, quality.supraganglionic_coverage


def test_coverage_by_hand():
    assert len(GANGLIONIC_REGIONS) == 7
    values = np.random.default_rng(1).normal(30, 4, (20, 20, 20)).astype(np.float32)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    assert _seen(values, affine) == (1, 1)
    assert _seen(values[:, :, :12], affine) == (1, pytest.approx(0.4))  # up to z = 23: 4 mm of 10
    assert _seen(values[:, :10], affine) == (0.5, 0.5)
    blank = values.copy()
    blank[:, :, 2:4] = 0  # z = 3..7, of which the even millimetres 4 and 6 are sampled
    assert _seen(blank, affine) == (pytest.approx(0.6), 1)


def test_a_scan_without_its_top_is_not_covered():
    values, affine, _, _ = head_scan()
    whole = _measured(values, affine)
    low = _measured(values[:, :, :23], affine)
    assert (low.ganglionic_coverage, whole.supraganglionic_coverage) == (1, 1)
    assert 0.6 < low.supraganglionic_coverage < 0.85
    reasons = [one.reason for one in judge_quality(dataclasses.asdict(low), GATES["ct"])]
    assert reasons == ["supraganglionic_level_not_covered"]


def test_other_label_maps_have_no_levels():
    values, affine, _, _ = head_scan()
    quality = _measured(values, affine, atlas="vascular")
    assert (quality.ganglionic_coverage, quality.supraganglionic_coverage) == (None, None)


def test_a_refused_scan_keeps_what_could_be_measured():
    values = np.full((40, 40, 20), -1000, dtype=np.float32)
    affine = np.diag([1.8, 1.8, 5.0, 1.0])
    scan = ct_working_scan(values, affine)
    brain = extract_ct_brain(scan)
    none = refusal("gauss-newton", brain.reason, brain.detail)
    quality = measure_quality("ct", _image(values, affine), scan, brain, none, load_label_map("classic"))
    figures = dataclasses.asdict(quality)
    assert {key for key, value in figures.items() if value is not None} == {
        "slice_step_mm",
        "n_slices",
        "brain_volume_ml",
        "brain_open_share",
        "brain_side_share",
        "clipped_share",
        "saturated_share",
    }
    assert quality.clipped_share == 1


def test_signal_and_noise_of_diffusion():
    values, affine, _, _ = head_scan("dwi")
    rng = np.random.default_rng(5)
    values = np.hypot(values + rng.normal(0, 6, values.shape), rng.normal(0, 6, values.shape)).astype(np.float32)
    quality = _measured(values, affine, "dwi")
    median = np.median(values[values > 50])
    assert quality.noise_share * median == pytest.approx(np.hypot(4, 6), rel=0.1)
    # In air the phantom's own half-normal noise of 4 lies under the Rayleigh noise of 6: its median, by simulation.
    air = np.median(np.hypot(np.abs(rng.normal(0, 4, 10**6)) + rng.normal(0, 6, 10**6), rng.normal(0, 6, 10**6)))
    assert quality.signal_to_noise == pytest.approx(median / (air / np.sqrt(2 * np.log(2))), rel=0.05)
    assert (quality.noise_hu, quality.streak_hu, quality.contrast_hu, quality.has_contrast) == (None,) * 4
    assert quality.saturated_share is None
    assert abs(quality.asymmetry_share) < 0.02
    assert judge_quality(dataclasses.asdict(quality), GATES["dwi"]) == ()
    values[values < 30] = 0
    assert _measured(values, affine, "dwi").signal_to_noise is None


def test_wrong_arguments_are_named():
    values, affine, _, _ = head_scan()
    scan = ct_working_scan(values, affine)
    brain, none = extract_ct_brain(scan), refusal("gauss-newton", "brain_too_small", "")
    with pytest.raises(ValueError, match="contrast must be one of ct, cta, ctp, dwi, b0, got 'mr'"):
        measure_quality("mr", _image(values, affine), scan, brain, none, load_label_map("classic"))
    with pytest.raises(ValueError, match=r"image must be of shape \(112, 128, 34\), got \(112, 128, 30\)"):
        measure_quality("ct", _image(values[:, :, :30], affine), scan, brain, none, load_label_map("classic"))


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["sub001", "sub002", "sub003"])
def test_real_ct_is_plain_and_complete(real_data, subject):
    image = nib.load(real_data / "ncct-aspects" / subject / "im.nii.gz")
    quality = _measured(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    assert quality.slice_step_mm == pytest.approx(5, abs=0.01)
    assert quality.has_contrast is False
    assert quality.clipped_share > 0.5  # HU below 0 were cut off
    assert (quality.ganglionic_coverage, quality.supraganglionic_coverage) == (1, 1)
    assert judge_quality(dataclasses.asdict(quality), GATES["ct"]) == ()
    assert [one.reason for one in judge_quality(dataclasses.asdict(quality), GATES["cta"])] == ["contrast_missing"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    "path",
    [
        "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_dwi.nii.gz",
        "dwi/isles22-case0001/dwi.nii.gz",
        "dwi/jhu-subject02/Subject02_DWI.nii.gz",
    ],
)
def test_real_diffusion_breaks_no_gate(real_data, path):
    image = nib.load(real_data / path)
    quality = _measured(np.asarray(image.dataobj, dtype=np.float32), image.affine, "dwi")
    assert 0.005 < quality.noise_share < 0.1
    assert judge_quality(dataclasses.asdict(quality), GATES["dwi"]) == ()
