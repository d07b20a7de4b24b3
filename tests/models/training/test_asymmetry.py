"""DA-Net's training: its batches, its losses, a kill that changes nothing, and the code that forgets no gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.networks.da_net import DANET_PRESETS, Compared, build_danet, logits_of
from models.training import checkpoints, learning
from models.training.asymmetry import Drawn, PairTable, keep_pairs, logits_of_all, read_pairs, train_group
from models.training.checkpoints import Learner
from models.training.losses import CodeLoss
from models.training.methods import plan_for
from tasks.anatomy import ASPECTS_REGIONS
from tasks.density.pairs import PairedPatches

TINY = DANET_PRESETS["da-net-tiny"]


def table_of(n, seed=0, **changes):
    """Every third patient has one affected side in each region, whose mask is dark."""
    rng = np.random.default_rng(seed)
    shape = (n, len(ASPECTS_REGIONS), 2, *TINY.patches.shape)
    images = rng.normal(0, 0.1, shape).astype(np.float32)
    masks = np.zeros(shape, bool)
    masks[..., 1:4, 2:6, 2:6] = True
    affected = np.zeros(shape[:3], bool)
    for one in range(0, n, 3):
        affected[one, np.arange(10), rng.integers(2, size=10)] = True
    images[affected] -= 0.6 * masks[affected]
    made = PairTable(tuple(map(str, range(n))), images.astype(np.float16), masks, np.ones(shape[:3], bool), affected)
    return replace(made, **changes)


def plan_of(**changes):
    return replace(plan_for("corrected", "da-net-tiny", "ncct-asymmetry", pool=9, seed=3), batch=8, **changes)


def test_what_is_easy_is_learned_and_a_kill_changes_nothing(tmp_path, monkeypatch):
    table, unseen = table_of(9), table_of(6, seed=1)
    plan = plan_of(n_steps=20, warm_up=2, learning_rate=2e-2, average=0.5, checkpoint_s=0.0)
    networks = {group: train_group(table, group, tmp_path / group, plan, unseen) for group in ("deep", "cortical")}
    logits = logits_of_all(networks, TINY, unseen)
    assert logits[unseen.is_affected].min() > logits[~unseen.is_affected].max()
    assert '"auc": 1.0' in (tmp_path / "deep" / "log.jsonl").read_text()

    monkeypatch.setattr(learning, "keep_checkpoint", _then_killed(9))
    with pytest.raises(KeyboardInterrupt):
        train_group(table, "deep", tmp_path / "killed", plan)
    monkeypatch.undo()
    again = train_group(table, "deep", tmp_path / "killed", plan)
    for (name, one), other in zip(networks["deep"].state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def _then_killed(step):
    """Keep checkpoints until one of this step, then end as by a kill."""

    def keep(out, learner, at, seconds, plan):
        checkpoints.keep_checkpoint(out, learner, at, seconds, plan)
        if at == step:
            raise KeyboardInterrupt

    return keep


def test_a_batch_holds_as_many_pairs_with_an_affected_side_as_others_of_its_group():
    there = np.ones((9, 10, 2), bool)
    there[0, 0, 0] = False  # the other side alone is no pair
    table = table_of(9, is_there=there)
    drawn = Drawn(table, "deep", plan_of())
    assert drawn.n_pairs == 9 * 4 - 1
    assert drawn.share == 0.25  # one side of every second pair
    images, masks, affected = drawn.batch(5)
    assert images.shape == masks.shape == (8, 2, *TINY.patches.shape)
    assert affected.any(axis=1).tolist() == [True] * 4 + [False] * 4
    assert np.array_equal(drawn.batch(5)[0], images)
    assert not np.array_equal(drawn.batch(6)[0], images)
    with pytest.raises(ValueError, match="must have affected and unaffected cortical regions, got 0 of 54 affected"):
        Drawn(table_of(9, is_affected=np.zeros((9, 10, 2), bool)), "cortical", plan_of())


@pytest.mark.parametrize(("profile", "n_channels"), [("as-paper", 1), ("as-code", 2)])
def test_a_paper_and_its_code_draw_all_pairs_alike_at_a_rate_that_falls(profile, n_channels, tmp_path, monkeypatch):
    """Six epochs of 36 pairs are 27 steps of eight."""
    plan = plan_of(n_steps=28, learning_rate=1e-3)
    own = replace(TINY, profile=profile, n_channels=n_channels, pools_in="patch")
    monkeypatch.setitem(DANET_PRESETS, "da-net-tiny", own)
    rates = []
    learn = Learner.learn

    def noted(self, loss):
        rates.append((self.optimiser.param_groups[0]["lr"], self.forgets))
        learn(self, loss)

    monkeypatch.setattr(Learner, "learn", noted)
    network = train_group(table_of(9), "deep", tmp_path, plan)
    assert [rate for rate, _ in rates] == pytest.approx([1e-3] * 27 + [7e-4])
    assert {forgets for _, forgets in rates} == {profile == "as-paper"}
    assert Drawn(table_of(9), "deep", plan).share == pytest.approx(1 / 6)
    assert np.isfinite(logits_of(network, own, *(getattr(table_of(1), name)[0] for name in ("images", "masks")))).all()


def test_without_zero_grad_every_step_goes_down_all_gradients_so_far():
    """A weight of slope 1 a step and SGD at 1: 1, then 1 + 2, then 1 + 2 + 3 down in all."""
    places = {}
    for forgets in (True, False):
        network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(network.weight)
        learner = Learner(network, torch.optim.SGD(network.parameters(), 1.0), {}, forgets)
        for _ in range(3):
            learner.learn(network.weight.sum())
        places[forgets] = network.weight.item()
    assert places == {True: -3.0, False: -6.0}


def test_the_loss_of_the_code_by_hand():
    """Chances of a half. Cross-entropy ln 2 of either weighting, no side called; both sides' product .25, by .5; rank:
    one affected side .5 short of its margin, .25; nobody is affected in the other pair: .3 above .2 on both sides, .09
    each, over 1.5. The attention lies in the region's mask alone: nothing is off it."""
    masks = torch.zeros(2, 2, 1, 5, 5)
    masks[..., 1:4, 1:4] = 1
    found = Compared(torch.zeros(2, 2), 10 * masks)
    loss = float(CodeLoss()(found, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), masks))
    assert loss == pytest.approx(2 * math.log(2) + 0.5 * 0.25 + 0.25 + 0.18 / 1.5, rel=1e-3)
    elsewhere = float(CodeLoss()(Compared(torch.zeros(2, 2), 10 * (1 - masks)), torch.zeros(2, 2), masks))
    nowhere = float(CodeLoss()(found, torch.zeros(2, 2), masks))
    assert elsewhere - nowhere == pytest.approx(2 / 121, rel=1e-3)  # a voxel off: 20 of 21 dilations reach it, 2 sides


def test_prepared_patients_are_read_with_their_truth(tmp_path):
    table = table_of(2)
    shares = np.zeros((10, 2))
    shares[2, 1], shares[3, 0] = 0.1001, 0.10
    usable = np.ones((10, 2), bool)
    usable[4, 1] = False
    patches = PairedPatches(table.images[0].astype(np.float32), table.masks[0], np.ones((10, 2), bool))
    keep_pairs(tmp_path / "a.npz", patches, usable, shares, "")
    keep_pairs(tmp_path / "b.npz", None, usable, shares, "brain_too_small")
    found = read_pairs(sorted(tmp_path.glob("*.npz")))
    assert (found.patients, found.n_refused) == (("a",), 1)
    assert np.argwhere(found.is_affected[0]).tolist() == [[2, 1]]
    assert np.argwhere(~found.is_there[0]).tolist() == [[4, 1]]
    np.testing.assert_array_equal(found.images[0], table.images[0])
    rows, place = found.rows()
    assert len(rows.regions) == 18
    assert rows.regions[rows.is_affected].tolist() == ["internal_capsule"]
    assert place[2][rows.is_affected].tolist() == [1]
    with pytest.raises(ValueError, match="got none of 1"):
        read_pairs([tmp_path / "b.npz"])


def test_a_network_pools_over_the_region_and_not_beside_it():
    """What lies outside of the mask moves a logit through the convolutions alone: the farthest corner does not."""
    torch.manual_seed(0)
    network = build_danet("da-net-tiny").eval()
    table = table_of(1)
    images, masks = table.images[0, :1], np.zeros_like(table.masks[0, :1])
    masks[..., :2, :2, :2] = True
    moved = images.copy()
    moved[..., -1, -1, -1] += 1
    np.testing.assert_allclose(
        logits_of(network, TINY, moved, masks), logits_of(network, TINY, images, masks), atol=1e-6
    )
