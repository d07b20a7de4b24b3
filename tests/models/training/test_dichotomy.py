"""The dichotomy of paper 5: its slices, its truth, its network, and a training that goes on after a kill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.networks.recurrent import DICHOTOMY_PRESETS, build_dichotomy, logits_of
from models.training import checkpoints, learning
from models.training.dichotomy import Slabs, batch_of, train_dichotomy, true_score
from models.training.methods import plan_for
from tasks.anatomy import aspects_label_table
from tasks.diffusion.slab import CAUDAL, CRANIAL, N_SLICES, SIDE, slab_of
from tasks.segmentation import INFARCT


def test_slices_are_those_of_the_middle_of_the_brain_cut_to_it():
    """A brain of 40 x 60 x 50 voxels whose signal grows to e times over its height."""
    brain = np.zeros((60, 80, 70), bool)
    brain[10:50, 5:65, 12:62] = True
    height = (np.arange(70) - 12) / 50
    signal = np.broadcast_to(np.exp(height), brain.shape).astype(np.float32) * brain
    slab = slab_of(signal, brain)
    assert slab.shape == (N_SLICES, SIDE, SIDE)
    levels = CAUDAL + (np.arange(N_SLICES) + 0.5) / N_SLICES * (1 - CRANIAL - CAUDAL)
    median = np.median(height[12:62])
    np.testing.assert_allclose(slab[:, 40, 40], levels - 0.01 - median, atol=1e-4)  # middles of voxels
    assert (slab != 0).mean() == 1.0  # nothing but brain
    assert np.ptp(slab, axis=(1, 2)).max() < 1e-5
    with pytest.raises(ValueError, match="at least one voxel"):
        slab_of(signal, np.zeros_like(brain))


def test_the_true_score_is_that_of_the_rule_wei():
    table = aspects_label_table()
    regions = np.zeros((20, 9, 1), np.uint8)
    classes = np.full(regions.shape, 2, np.uint8)
    for row, label in enumerate(table.labels):
        regions[row] = label.index
    rows = {(label.side, label.region): row for row, label in enumerate(table.labels)}
    assert true_score(classes, regions) == 10
    classes[rows["left", "caudate"], 0] = INFARCT  # any voxel of a deep region
    classes[rows["left", "m1"], :3] = INFARCT  # a third of a cortical one
    classes[rows["left", "m2"], :2] = INFARCT  # less
    classes[rows["right", "insula"], 0] = INFARCT
    assert true_score(classes, regions) == 8


def slabs_of(n, seed=0):
    """Patients with a low score are bright in the left half of all slices."""
    rng = np.random.default_rng(seed)
    slices = rng.normal(0, 0.3, (n, N_SLICES, SIDE, SIDE)).astype(np.float16)
    low = np.arange(n) % 3 == 0
    slices[low, :, :30] += 1
    return Slabs(tuple(map(str, range(n))), slices, np.where(low, 5, 9))


def plan_of(**changes):
    return replace(plan_for("corrected", "tiny", "dwi-dichotomy", pool=9, seed=3), batch=4, **changes)


def test_a_batch_holds_as_many_low_scores_as_others_and_is_the_same_again():
    slabs = slabs_of(9)
    images, truth = batch_of(slabs, plan_of(), 5)
    again, _ = batch_of(slabs, plan_of(), 5)
    other, _ = batch_of(slabs, plan_of(), 6)
    assert truth.tolist() == [1, 1, 0, 0]
    assert images.shape == (4, N_SLICES, SIDE, SIDE)
    assert torch.equal(images, again)
    assert not torch.equal(images, other)


def test_what_is_easy_is_learned_and_a_kill_changes_nothing(tmp_path, monkeypatch):
    slabs = slabs_of(9)
    plan = plan_of(n_steps=8, warm_up=2, learning_rate=1e-2, average=0.5, checkpoint_s=0.0)
    network = train_dichotomy(slabs, tmp_path / "whole", plan)
    unseen = slabs_of(9, seed=1)
    logits = logits_of(network, unseen.slices.astype(np.float32))
    assert logits[unseen.is_low].min() > logits[~unseen.is_low].max()

    monkeypatch.setattr(learning, "keep_checkpoint", _then_killed(3))
    with pytest.raises(KeyboardInterrupt):
        train_dichotomy(slabs, tmp_path / "killed", plan)
    monkeypatch.undo()
    again = train_dichotomy(slabs, tmp_path / "killed", plan)
    for (name, one), other in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def _then_killed(step):
    """Keep checkpoints until one of this step, then end as by a kill."""

    def keep(out, learner, at, seconds, plan):
        checkpoints.keep_checkpoint(out, learner, at, seconds, plan)
        if at == step:
            raise KeyboardInterrupt

    return keep


@pytest.mark.parametrize(
    ("preset", "millions"), [("small", 0.24), ("as-paper-small", 3.12), ("vgg16-lstm", 15.51), ("cnn-3d", 0.29)]
)
def test_networks_by_name_have_so_many_parameters_and_learn(preset, millions):
    network = build_dichotomy(preset)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.05)
    logit = network(torch.zeros(2, 8, 32, 32))
    logit.sum().backward()
    assert logit.shape == (2,)
    assert all(one.grad is not None for one in network.parameters())
    assert preset in DICHOTOMY_PRESETS


def test_inception_has_the_published_layers():
    """27,161,264 parameters as published (torchvision, inception_v3), less 3,326,696 of the auxiliary head and
    2,049,000 of the classes; one channel in place of three takes 2 x 3 x 3 x 32. LSTM and last layer come to it.
    """
    network = build_dichotomy("inception-lstm")
    published = 27_161_264 - 3_326_696 - 2_049_000
    assert sum(one.numel() for one in network.encoder.parameters()) == published - 2 * 3 * 3 * 32
    after = 4 * 256 * (2048 + 256 + 2) + 257
    assert sum(one.numel() for one in network.parameters()) == published - 576 + after
    assert network.encoder(torch.zeros(2, 1, 80, 80)).shape == (2, 2048, 1, 1)
    logit = network(torch.randn(2, 3, 80, 80))
    logit.sum().backward()
    assert logit.shape == (2,)
    assert all(one.grad is not None for one in network.parameters())


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="preset must be one of small, tiny"):
        build_dichotomy("resnet")
