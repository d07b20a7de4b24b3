"""Training: a kill and a resume come to the same weights; schedule and loss by hand; other plans are refused."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.inference import Network
from models.training.checkpoints import read_log
from models.training.dwi import DWI_TASK
from models.training.judging import count_patients, foreground_probabilities
from models.training.pool import (
    NOT_FOREGROUND,
    lesions_by_size,
    patient_of,
    pooled_files,
    read_patient,
    write_patient,
    write_pool,
)
from models.training.trainer import Plan, _batch, _Loss, computes_bfloat16, network_from, rate_at, train
from tests.models.training.tiny_anatomy import SMALL_SHAPE, small_grid, tiny_anatomy, write_lesion

PLAN = Plan(
    preset="tiny", n_steps=6, pool=3, pool_at_start=3, patch=(16, 16, 16), checkpoint_s=0.0, warm_up=2, average=0.9
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        small_grid(patch)
        lesion = write_lesion(folder / "sub-1_mask.nii.gz")
        write_pool(folder / "train", 3, (tiny_anatomy(),), lesions_by_size((lesion,), (3.05,)))
    return folder / "train"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Killed(Exception):  # noqa: N818 - no error of ours
    pass


def test_a_training_that_was_killed_goes_on_to_the_same_weights(pool, tmp_path):
    """Six steps; three, a kill, and a resume to six."""
    whole = train(DWI_TASK, pool, tmp_path / "whole", PLAN)

    def kill(_network, step):
        if step == 3:
            raise Killed
        return {}

    with pytest.raises(Killed):
        train(DWI_TASK, pool, tmp_path / "killed", PLAN, kill, 3)
    assert not (tmp_path / "killed/dwi-unet.safetensors").exists()
    assert torch.load(tmp_path / "killed/checkpoint.pt", weights_only=True)["step"] == 2
    resumed = train(DWI_TASK, pool, tmp_path / "killed", PLAN, lambda *_: {}, 3)
    assert digest(resumed) == digest(whole)
    again = train(DWI_TASK, pool, tmp_path / "killed", PLAN)  # nothing is left to do
    assert digest(again) == digest(whole)
    assert [row["step"] for row in read_log(tmp_path / "killed") if "loss" in row] == [6]


def test_judging_in_between_does_not_change_the_weights(pool, tmp_path):
    seen = []
    judged = train(
        DWI_TASK,
        pool,
        tmp_path / "a",
        PLAN,
        lambda network, step: seen.append((step, network.training)) or {"x": 1.0},
        2,
    )
    assert seen == [(2, False), (4, False), (6, False)]
    assert digest(judged) == digest(train(DWI_TASK, pool, tmp_path / "b", PLAN))
    assert [row["x"] for row in read_log(tmp_path / "a") if "x" in row] == [1.0, 1.0, 1.0]


def test_a_patch_and_its_labels_are_left_right_exchanged_together_in_half_of_the_steps(pool):
    """What is shown is the place from left to right, where the labels say that it is the anatomy's left."""

    def sides(patient, _rng=None):
        middle = patient.classes.shape[0] // 2
        return np.broadcast_to((np.arange(2 * middle) < middle)[:, None, None], patient.classes.shape)

    def channels(patient, rng):
        return sides(patient)[None].astype(np.float32)

    task = replace(DWI_TASK, n_channels=1, channels=channels, labels=lambda one: sides(one).astype(np.uint8))
    task = replace(task, regions=task.labels)
    turned = []
    for step in range(60):
        images, labels, regions = _batch(task, pool, (), replace(PLAN, by_region=1.0), step)
        np.testing.assert_array_equal(images[0, 0].numpy(), labels[0].numpy())
        np.testing.assert_array_equal(regions.numpy(), labels.numpy())
        along = images[0, 0, :, 0, 0].numpy()
        if along[0] != along[-1]:
            turned.append(along[0] < along[-1])
    assert 0.3 < np.mean(turned) < 0.7
    assert len(turned) > 30


def test_another_seed_gives_other_weights_and_another_plan_is_refused(pool, tmp_path):
    first = train(DWI_TASK, pool, tmp_path / "a", replace(PLAN, n_steps=1))
    other = train(DWI_TASK, pool, tmp_path / "b", replace(PLAN, n_steps=1, seed=1))
    assert digest(first) != digest(other)
    with pytest.raises(ValueError, match="must be of the same plan, got another"):
        train(DWI_TASK, pool, tmp_path / "a", PLAN)


def test_shares_of_regions_teach_where_the_plan_weighs_them(pool, tmp_path):
    """With a weight of 0 the regions change nothing; with another they do."""
    task = replace(DWI_TASK, regions=lambda one: one.territory)
    plan = replace(PLAN, n_steps=2)
    without, unweighed, weighed = (
        digest(train(which, pool, tmp_path / name, replace(plan, by_region=weight)))
        for which, name, weight in ((DWI_TASK, "a", 0.0), (task, "b", 0.0), (task, "c", 5.0))
    )
    assert without == unweighed != weighed


def test_a_trained_network_judges_whole_volumes(pool, tmp_path):
    path = train(DWI_TASK, pool, tmp_path, replace(PLAN, n_steps=1))
    network = network_from(path, "tiny", DWI_TASK.n_channels, DWI_TASK.n_classes)
    patient = read_patient(pooled_files(pool)[0])
    (found,) = foreground_probabilities(Network(network, PLAN.patch), DWI_TASK, patient)
    assert found.shape == SMALL_SHAPE
    assert (found[~patient.brain] == 0).all()
    assert 0 < found[patient.brain].min() <= found.max() < 1
    (counted,) = count_patients(Network(network, PLAN.patch), DWI_TASK, pooled_files(pool)[:1])
    assert counted.n_true == (patient.classes == DWI_TASK.foreground[0]).sum()
    assert counted.n_found[0] == (found > np.float32(0.1)).sum()


def test_the_rate_warms_up_and_falls_by_half_a_cosine_to_a_hundredth():
    plan = Plan(n_steps=1100, warm_up=100, learning_rate=1.0)
    found = [rate_at(plan, step) for step in (0, 49, 99, 100, 600, 1100)]
    assert found == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.01 + 0.99 / 2, 0.01])


def test_the_loss_by_hand():
    """Two voxels, two classes, logits 0: cross-entropy ln 2; Tversky 1 - (.5 + 1) / (.5 + .4 x .5 + .6 x .5 + 1)."""
    task = replace(DWI_TASK, n_classes=2, foreground=(1,), weights=(1.0, 1.0))
    logits = torch.zeros(1, 2, 2, 1, 1)
    labels = torch.tensor([0, 1]).reshape(1, 2, 1, 1)
    loss = _Loss(task, Plan(), "cpu")(logits, labels)
    assert float(loss) == pytest.approx(math.log(2) + 1 - 1.5 / 2.0)
    healthy = _Loss(task, Plan(), "cpu")(logits, torch.zeros_like(labels))
    assert float(healthy) == pytest.approx(math.log(2) + 1.0 / (1.0 + 200.0))


def test_the_loss_of_a_voxel_that_is_any_other_class_by_hand():
    """Three classes of weight 1, 2, 3, the last is the lesion; probabilities .2 .3 .5 of a voxel that is no lesion, .1
    .3 .6 of one that is: cross-entropy (1.5 ln(1 / (.2 + .3)) + 3 ln(1 / .6)) / 4.5; Tversky by .5 and .6.
    """
    task = replace(DWI_TASK, n_classes=3, foreground=(2,), weights=(1.0, 2.0, 3.0))
    logits = torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.3, 0.6]]).log().T.reshape(1, 3, 2, 1, 1)
    labels = torch.tensor([NOT_FOREGROUND, 2]).reshape(1, 2, 1, 1)
    loss = _Loss(task, Plan(), "cpu")(logits, labels)
    tversky = 1 - (0.6 + 1) / (0.6 + 0.5 * 0.5 + 0.5 * 0.4 + 1)
    assert float(loss) == pytest.approx((1.5 * math.log(2) + 3 * -math.log(0.6)) / 4.5 + tversky)


def test_which_other_class_a_voxel_is_does_not_matter():
    """Mass moved between two classes that are no lesion changes nothing; the same mass moved to the lesion does."""
    task = replace(DWI_TASK, n_classes=3, foreground=(2,), weights=(1.0, 1.0, 1.0))
    labels = torch.full((1, 1, 1, 1), NOT_FOREGROUND)
    found = [
        float(_Loss(task, Plan(), "cpu")(torch.tensor(given).log().reshape(1, 3, 1, 1, 1), labels))
        for given in ([0.2, 0.3, 0.5], [0.5, 0.0001, 0.4999], [0.2, 0.2, 0.6])
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert found[2] > found[0] + 0.2


def _real(folder, pool):
    """Patients of a cohort: those of the pool with their tissues forgotten."""
    folder.mkdir()
    for number, path in enumerate(pooled_files(pool)):
        one = read_patient(path)
        lesion = one.classes == DWI_TASK.foreground[0]
        adc = None if number == 1 else one.adc.astype(np.float32)
        write_patient(patient_of(one.b_high.astype(np.float32), adc, one.brain, lesion), folder / f"{number}.npz")
    return tuple(sorted(folder.glob("*.npz")))


def test_a_training_on_a_cohort_goes_on_to_the_same_weights_alone_or_mixed(pool, tmp_path):
    cohort = _real(tmp_path / "cohort", pool)
    for name, synthetic, share in (("alone", None, 1.0), ("mixed", pool, 0.5)):
        plan = replace(PLAN, cohort_share=share, n_steps=4)
        whole = train(DWI_TASK, synthetic, tmp_path / name, plan, cohort=cohort)

        def kill(_network, step):
            if step == 2:
                raise Killed
            return {}

        with pytest.raises(Killed):
            train(DWI_TASK, synthetic, tmp_path / f"{name}-killed", plan, kill, 2, cohort=cohort)
        resumed = train(DWI_TASK, synthetic, tmp_path / f"{name}-killed", plan, cohort=cohort)
        assert digest(resumed) == digest(whole)
    assert digest(tmp_path / "alone/dwi-unet.safetensors") != digest(tmp_path / "mixed/dwi-unet.safetensors")


def test_patients_to_train_on_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="patients must be of a pool or of a cohort, got neither"):
        train(DWI_TASK, None, tmp_path, PLAN)


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux")
def test_bfloat16_is_used_where_the_processor_computes_it():
    """Emulated, a step takes four minutes where float32 takes five seconds."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert computes_bfloat16("cpu") == bool(flags & {"avx512_bf16", "amx_tile"})
