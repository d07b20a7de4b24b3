"""Synthetic patients: the infarct lies in tissue and looks like one, sides stay sides, a seed is a patient."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.anatomies import CODE
from models.training.synthetic import Recipe, disease, draw_patient, grid, with_settings
from models.training.synthetic import patient as drawing
from models.training.synthetic.anatomy import filled, places_of
from tasks.segmentation import CLASSES
from tests.models.training.tiny_anatomy import SMALL_SHAPE, small_grid, tiny_anatomy, tiny_lesion

FLUID, GREY, WHITE, INFARCT = (CLASSES.index(name) for name in ("fluid", "grey", "white", "infarct"))
PLAIN = with_settings(
    Recipe(), haemorrhage=0.0, swelling=0.0, cropped=0.0, narrow_sulci=0.0, dwi_stripped=0.0,
    atrophy=0.0, leukoaraiosis=0.0, old_lesion=0.0, no_infarct=0.0, grown=0.0, artefacts=0.0, fade=0.0,
    snr=(60.0, 60.1), thin_slices=1.0, coil=0.05, infarct_s0=(1.2, 1.5), infarct_adc=(0.45, 0.7),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_grid(monkeypatch)


def drawn(seed, recipe=PLAIN, lesion=None, **anatomy):
    return draw_patient(tiny_anatomy(**anatomy), lesion or tiny_lesion(), np.random.default_rng(seed), recipe)


@pytest.mark.parametrize("seed", range(4))
def test_an_infarct_is_brighter_on_b_high_and_has_a_lower_adc_than_normal_tissue(seed):
    patient = drawn(seed)
    infarct = patient.classes == INFARCT
    tissue = np.isin(patient.classes, (GREY, WHITE)) & patient.brain
    assert infarct.sum() > 100
    assert np.median(patient.b_high[infarct]) > 1.15 * np.median(patient.b_high[tissue])
    assert np.median(patient.adc[infarct & patient.brain]) < 0.85 * np.median(patient.adc[tissue])


@pytest.mark.parametrize("seed", range(2))
def test_no_infarct_lies_outside_of_tissue(monkeypatch, seed):
    """A mask as large as the head: in air, bone and fluid, at least three fifths of a voxel, is none of it."""
    shares = []
    classes = drawing.classes_of
    monkeypatch.setattr(drawing, "classes_of", lambda given, *rest: shares.append(given) or classes(given, *rest))
    patient = drawn(seed, lesion=(np.ones_like(tiny_lesion()[0]), tiny_lesion()[1]))
    infarct = patient.classes == INFARCT
    grey, white, fluid = shares[0]
    assert patient.facts["kind"] == "mask"
    assert infarct.sum() > 1000
    assert (grey + white)[infarct].min() > 0.4
    assert fluid[infarct].max() < 0.6
    assert not infarct[(grey + white) == 0].any()


def test_the_volume_of_a_mask_is_kept_by_and_large():
    """A ball of 9 mm has 3.05 ml; the pose scales by at most 1.12 along each axis, and fluid is taken out."""
    volumes = [drawn(seed).facts["volume_ml"] for seed in range(6)]
    assert 1.8 < np.median(volumes) < 4.3


def test_the_regions_of_a_mirrored_patient_change_side():
    """The left ventricle is the wide one. Where it is seen on the right, the head was mirrored, and labels follow."""
    seen = set()
    for seed in range(8):
        patient = drawn(seed, with_settings(PLAIN, no_infarct=1.0))
        middle = np.argwhere(patient.classes > 0)[:, 0].mean()
        fluid = np.argwhere((patient.classes == FLUID) & _inner(patient.classes))[:, 0]
        is_mirrored = bool((fluid > middle).sum() > (fluid < middle).sum())
        seen.add(is_mirrored)
        right, left = (np.argwhere(patient.regions["classic"] == label)[:, 0].mean() for label in (5, 15))
        assert right > middle > left, (seed, is_mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize("seed", range(6))
def test_the_way_to_the_template_tells_the_sides_of_mirror_images_too(seed):
    """Template space is the head's own, whose cortex is labelled 5 right (x > 0) and 15 left, 28 mm wide."""
    patient = drawn(seed, with_settings(PLAIN, no_infarct=1.0))
    for label, is_right in ((5, True), (15, False)):
        at = np.argwhere(patient.regions["classic"] == label)
        x = (np.column_stack([at, np.ones(len(at))]) @ patient.to_template.T)[:, 0]
        assert ((x > 0) == is_right).mean() > 0.93
        assert 8 < abs(x.mean()) < 20


def test_what_has_bled_is_counted_and_never_labelled_as_infarct(monkeypatch):
    seen = []
    classes = drawing.classes_of
    monkeypatch.setattr(drawing, "classes_of", lambda shares, disease, inside: (
        seen.append(disease) or classes(shares, disease, inside)
    ))  # fmt: skip
    kinds = set()
    for seed in range(5):
        changed = {"haemorrhage": 1.0, "ct_stripped": 0.0, "haemorrhage_hu": (70.0, 70.0), "noise_hu": (0.5, 0.5)}
        patient = drawn(seed, with_settings(PLAIN, **changed))
        blood = seen[-1].blood > 0.5
        kinds.add(patient.facts["haemorrhage"])
        assert patient.facts["haemorrhage_ml"] == pytest.approx(blood.sum() * 0.008)
        assert not (patient.classes[blood] == INFARCT).any()
        if (seen[-1].blood > 0.95).sum() > 30:
            tissue = (patient.classes == GREY) | (patient.classes == WHITE)
            difference = np.median(patient.ct[seen[-1].blood > 0.95]) - np.median(patient.ct[tissue & ~blood])
            assert difference > 15
    assert kinds == {"in tissue", "in infarct"}


def test_slices_that_were_missed_hold_nothing():
    patient = drawn(3, with_settings(PLAIN, cropped=1.0, cropped_mm=(12.0, 12.1)))
    whole = drawn(3, with_settings(PLAIN, cropped=0.0))
    missed = np.flatnonzero(whole.head.any(axis=(0, 1)) & ~patient.head.any(axis=(0, 1)))
    assert len(missed) == 6  # 12 mm
    for image in (patient.b_high, patient.adc, patient.ct, patient.cta, patient.brain, patient.classes):
        assert not image[:, :, missed].any()
    kept = np.setdiff1d(np.arange(whole.head.shape[2]), missed)[len(missed) :]
    assert (patient.head[:, :, kept] == whole.head[:, :, kept]).all()


def test_a_setting_of_one_scan_leaves_the_others_as_they_were():
    first, other = drawn(1), drawn(1, with_settings(PLAIN, noise_hu=(5.0, 5.1)))
    assert first.b_high.tobytes() == other.b_high.tobytes()
    assert first.classes.tobytes() == other.classes.tobytes()
    assert first.ct.tobytes() != other.ct.tobytes()


def test_an_infarct_that_swells_pushes_its_surroundings_away():
    ball = np.sqrt(sum((axis - 15.0) ** 2 for axis in np.indices((31, 31, 31)))) < 5
    push = disease.swollen(ball.astype(np.float32), 4.0)
    length = np.sqrt((push**2).sum(axis=0))
    assert length.max() == pytest.approx(2.0, rel=1e-5)  # voxels of 2 mm
    assert push[0, 21, 15, 15] > 1
    assert push[0, 9, 15, 15] < -1
    assert np.abs(push[:, 15, 15, 15]).max() < 1e-6


def test_rows_of_tilted_slices_move_by_their_distance_from_the_middle():
    """At 45 degrees by one voxel per row; 23.5 is the middle row."""
    heights = np.broadcast_to(np.arange(SMALL_SHAPE[2], dtype=np.float32), SMALL_SHAPE)
    assert grid.sheared(heights, 45.0)[5, 27, 10] == pytest.approx(13.5)
    back = grid.sheared(grid.sheared(heights, 12.0), -12.0)
    assert np.abs(back - heights)[:, :, 8:-8].max() < 1e-3


def _inner(classes):
    """The middle of the brain, where the only fluid is that of the ventricles."""
    centre = np.argwhere(classes > 0).mean(axis=0)
    index = np.indices(classes.shape)
    return sum(((axis - at) / 6) ** 2 for axis, at in zip(index, centre, strict=True)) < 1


UPRIGHT = with_settings(Recipe(), rotation_deg=(0, 0), tilt_deg=(0, 0), scale=(1, 1), shift_mm=(0, 0))


def one_sidedness(one_sided, rng):
    """Of a deformation without a pose: what is not the other side's mirror-image over what is, standard deviations."""
    recipe = with_settings(UPRIGHT, one_sided=one_sided)
    still = places_of(tiny_anatomy(), with_settings(recipe, coarse_mm=0.0, fine_mm=0.0), rng, is_flipped=False)
    moved = places_of(tiny_anatomy(), recipe, rng, is_flipped=False) - still
    across = moved[:, ::-1] * np.array([-1, 1, 1]).reshape(3, 1, 1, 1)
    return float((moved - across).std() / (moved + across).std())


def test_a_head_is_deformed_much_alike_on_both_sides():
    """Of equal and independent sides the ratio is 1; of fields weighed 1 and 1 - .4 it is .4 / 1.6."""
    rng = np.random.default_rng(3)
    assert one_sidedness(0.0, rng) < 1e-4
    assert np.median([one_sidedness(0.4, rng) for _ in range(20)]) == pytest.approx(0.25, abs=0.06)
    assert np.median([one_sidedness(1.0, rng) for _ in range(20)]) == pytest.approx(1.0, abs=0.25)


def test_a_mirrored_and_turned_head_is_deformed_alike_on_both_sides_too():
    """Both sides of the anatomy's own middle: a point and its partner stay partners."""
    recipe = with_settings(Recipe(), one_sided=0.0, scale=(0.9, 0.9))
    anatomy = tiny_anatomy()
    for seed in range(3):
        places = places_of(anatomy, recipe, np.random.default_rng(seed), is_flipped=bool(seed % 2))
        still = places_of(
            anatomy, with_settings(recipe, coarse_mm=0.0, fine_mm=0.0), np.random.default_rng(seed), bool(seed % 2)
        )
        by = (places - still).reshape(3, -1).T
        at = still.reshape(3, -1).T
        middle = _middle_of_brain(anatomy)
        near = np.flatnonzero(np.abs(at - middle).max(axis=1) < 12)[::37]
        partner = at[near] * [-1, 1, 1] + [2 * middle[0], 0, 0]
        nearest = np.array([np.argmin(((at - one) ** 2).sum(axis=1)) for one in partner])
        np.testing.assert_allclose(by[nearest], by[near] * [-1, 1, 1], atol=0.6)  # the nearest voxel is not the partner
        assert np.abs(by[near]).max() > 0.7


def _middle_of_brain(anatomy):
    """As ``places_of`` finds it: grey and white matter, by every fourth voxel."""
    codes = [CODE[name] for name in ("grey", "white", "cerebellar_grey")]
    return np.argwhere(np.isin(anatomy.tissues[::4, ::4, ::4], codes)).mean(axis=0) * 4


def test_sulci_are_filled_on_both_sides_alike():
    """Of a head that is its own mirror-image."""
    codes = np.full((64, 64, 64), CODE["csf"], np.uint8)
    codes[16:48, 16:48, 16:48] = CODE["grey"]
    changed = [filled(codes, np.random.default_rng(seed)) for seed in range(6)]
    assert any((one != codes).any() and (one == CODE["csf"]).sum() > 180_000 for one in changed)
    for one in changed:
        assert np.mean(one != one[::-1]) < 0.02


def test_one_seed_is_one_patient():
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first.b_high.tobytes() == again.b_high.tobytes()
    assert first.classes.tobytes() == again.classes.tobytes()
    assert first.facts == again.facts
    assert first.b_high.tobytes() != other.b_high.tobytes()


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match=r"settings must be of .*, got size\."):
        with_settings(Recipe(), size=1)
