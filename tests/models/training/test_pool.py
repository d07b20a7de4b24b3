"""The pool: a patient's bytes do not depend on who writes it, sizes are drawn alike, another recipe is refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.training.dwi import CONTRAST, DWI_TASK
from models.training.pool import (
    NOT_FOREGROUND,
    awaited,
    draw_pooled,
    lesions_by_size,
    patient_of,
    pooled_files,
    read_patient,
    write_patient,
    write_pool,
)
from models.training.synthetic import Recipe, with_settings
from tasks.segmentation import CLASSES, INFARCT, dwi_channels
from tests.models.training.tiny_anatomy import SMALL_SHAPE, small_grid, tiny_anatomy, write_lesion


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_grid(monkeypatch)


@pytest.fixture
def lesions(tmp_path):
    paths = [write_lesion(tmp_path / f"sub-{n}_mask.nii.gz", radius_mm=radius) for n, radius in enumerate((5, 9, 16))]
    return lesions_by_size(paths, (0.5, 3.05, 17.2))


ANATOMIES = (tiny_anatomy("head_01"), tiny_anatomy("head_02", 1))


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pooled_files(folder)}


def test_a_patient_is_the_same_bytes_whoever_writes_it(tmp_path, lesions):
    write_pool(tmp_path / "whole", 5, ANATOMIES, lesions, seed=3)
    write_pool(tmp_path / "parts", 2, ANATOMIES, lesions, seed=3, first=3)
    write_pool(tmp_path / "parts", 3, ANATOMIES, lesions, seed=3)
    assert len(digests(tmp_path / "whole")) == 5
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    assert (tmp_path / "parts/pool.json").read_bytes() == (tmp_path / "whole/pool.json").read_bytes()


def test_an_interrupted_pool_goes_on(tmp_path, lesions):
    write_pool(tmp_path, 3, ANATOMIES, lesions)
    before = digests(tmp_path)
    kept = tmp_path / "000001.npz"
    kept.unlink()
    stamp = (tmp_path / "000002.npz").stat().st_mtime_ns
    write_pool(tmp_path, 3, ANATOMIES, lesions)
    assert digests(tmp_path) == before
    assert (tmp_path / "000002.npz").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.glob(".tmp-*")] == []


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"recipe": with_settings(Recipe(), fade=0.1)}, {"anatomies": ANATOMIES[:1]}]
)
def test_a_pool_of_another_recipe_is_refused(tmp_path, lesions, changed):
    write_pool(tmp_path, 1, ANATOMIES, lesions)
    anatomies = changed.pop("anatomies", ANATOMIES)
    with pytest.raises(ValueError, match="must hold a pool of the same recipe, got another"):
        write_pool(tmp_path, 1, anatomies, lesions, **changed)


def test_what_is_read_is_what_was_drawn(tmp_path, lesions):
    write_pool(tmp_path, 1, ANATOMIES, lesions, seed=5)
    patient, drawn = read_patient(tmp_path / "000000.npz"), draw_pooled(0, ANATOMIES, lesions, Recipe(), 5)
    assert patient.classes.shape == SMALL_SHAPE
    assert (patient.classes == drawn.classes).all()
    assert (patient.brain == drawn.brain).all()
    assert (patient.head == drawn.head).all()
    assert np.abs(patient.cta - drawn.cta).max() < 2  # half precision, of 3000 HU
    assert np.abs(patient.adc - drawn.adc).max() < 2e-3  # half precision
    assert np.median(patient.b_high[patient.brain]) == pytest.approx(1000, rel=1e-3)
    assert patient.facts == json.loads(json.dumps(drawn.facts))
    assert patient.facts["volume_ml"] == pytest.approx((drawn.classes == CLASSES.index("infarct")).sum() * 0.008)


def test_a_patient_of_an_older_version_is_named(tmp_path, lesions):
    write_pool(tmp_path, 1, ANATOMIES, lesions)
    path = tmp_path / "000000.npz"
    with np.load(path) as kept:
        older = {name: kept[name] for name in kept.files if name not in ("cta", "head")}
    np.savez(path, **older)
    with pytest.raises(
        ValueError, match=r"000000\.npz must hold every scan, got no cta, head\. Delete it and run again"
    ):
        read_patient(path)


def test_lesions_are_binned_by_size_and_empty_ones_left_out():
    paths = [Path(f"sub-{number}") for number in range(7)]
    bins = lesions_by_size(paths, (0.0, 0.1, 3.0, 3.1, 16.0, 66.0, 66.1))
    assert [[path.name[4:] for path in one] for one in bins] == [["1", "2"], ["3", "4"], ["5"], ["6"]]


def test_bins_are_drawn_alike_however_full_they_are(monkeypatch, tmp_path):
    """One large mask among a hundred small ones is drawn as often as all of these together."""
    names: list[str] = []
    monkeypatch.setattr("models.training.pool.read_lesion", lambda path: names.append(path.name) or (None, None))
    monkeypatch.setattr("models.training.pool.draw_patient", lambda *_: _Stopped.stop())
    small, large = [Path(f"small-{number}") for number in range(100)], [Path("large")]
    for number in range(300):
        with pytest.raises(_Stopped):
            draw_pooled(number, ANATOMIES, (small, (), (), large), Recipe(), 0)
    share = Counter(name.split("-")[0] for name in names)["large"] / 300
    assert share == pytest.approx(0.5, abs=0.1)


class _Stopped(Exception):  # noqa: N818 - no error
    @classmethod
    def stop(cls):
        raise cls


def test_a_patient_that_never_comes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("models.training.pool.WAIT_S", 0.1)
    with pytest.raises(FileNotFoundError, match=r"must hold patient 3, got none in 0\.1 s"):
        awaited(tmp_path, 3)


def test_of_a_patient_of_a_cohort_the_lesion_is_known_and_the_tissues_are_not(tmp_path):
    """Outside, brain, lesion in it, lesion outside of it: that is the reader's, and counts."""
    rng = np.random.default_rng(3)
    signal, adc = rng.uniform(20, 90, (4, 3, 2)).astype(np.float32), rng.uniform(0.5, 1, (4, 3, 2)).astype(np.float32)
    brain, lesion = np.zeros((4, 3, 2), bool), np.zeros((4, 3, 2), bool)
    brain[1:3] = True
    lesion[2, 0, 0] = lesion[3, 0, 0] = True
    write_patient(patient_of(signal, adc, brain, lesion), tmp_path / "a.npz")
    found = read_patient(tmp_path / "a.npz")
    assert found.is_real
    assert [found.classes[at, 0, 0] for at in range(4)] == [0, NOT_FOREGROUND, INFARCT, INFARCT]
    np.testing.assert_array_equal(DWI_TASK.labels(found), found.classes)
    np.testing.assert_allclose(DWI_TASK.channels(found, None), dwi_channels(signal, adc, brain), atol=2e-3)
    alone = patient_of(signal, None, brain, lesion)
    shown, plain = DWI_TASK.channels(alone, rng), dwi_channels(signal, None, brain)
    stretch = shown[0][brain].std() / plain[0][brain].std()
    assert CONTRAST[0] <= stretch <= CONTRAST[1]
    np.testing.assert_allclose(shown, plain * np.array([stretch, 1, 1])[:, None, None, None], atol=2e-3)
