"""What the network of plain CT learns, and the plans of its profiles."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.networks.overlap import OVERLAP_PRESETS
from models.training.methods import METHODS, PROFILES_OF, plan_for
from models.training.ncct import LEAST_LOWERING_HU, NCCT_TASK
from models.training.pool import IGNORED
from models.training.trainer import HALF_CYCLE, Plan, _optimiser, rate_at
from tasks.density.channels import CHANNELS, ncct_channels
from tasks.segmentation import INFARCT

SHAPE = (20, 24, 20)
TO_TEMPLATE = np.array([[2.0, 0, 0, -19], [0, 2, 0, -23], [0, 0, 2, -19]])


def patient(lowering_hu=6.0):
    """A block of brain in a head, half of it infarct."""
    head = np.zeros(SHAPE, bool)
    head[2:18, 2:22, 2:18] = True
    classes = np.where(head, 2, 0).astype(np.uint8)
    classes[2:10, 8:16, 6:14] = INFARCT
    ct = np.where(head, 33, 700).astype(np.float16)
    ct[classes == INFARCT] -= np.float16(lowering_hu)
    facts = {"lowering_hu": lowering_hu, "kind": "mask"}
    return SimpleNamespace(ct=ct, head=head, classes=classes, to_template=TO_TEMPLATE, facts=facts)


def test_an_infarct_that_ct_does_not_show_is_nobodys_to_learn():
    shown, hidden = (NCCT_TASK.labels(patient(hu)) for hu in (LEAST_LOWERING_HU, LEAST_LOWERING_HU - 0.01))
    np.testing.assert_array_equal(shown, patient().classes)
    np.testing.assert_array_equal(hidden == IGNORED, shown == INFARCT)
    np.testing.assert_array_equal(hidden[hidden != IGNORED], shown[shown != INFARCT])


def test_judged_it_sees_what_scoring_sees_and_in_training_a_misplaced_template():
    one = patient()
    judged = NCCT_TASK.channels(one, None)
    np.testing.assert_array_equal(judged, ncct_channels(one.ct.astype(np.float32), one.head, TO_TEMPLATE))
    np.testing.assert_array_equal(NCCT_TASK.judged_in(one), one.head)
    seen = [NCCT_TASK.channels(one, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(seen[0], seen[1])
    at = CHANNELS.index("from_midline")
    assert all(np.abs(one[at] - judged[at]).max() > 0.01 for one in seen)
    assert np.abs(seen[0][at] - seen[2][at]).max() > 0.01


def test_the_papers_plan_is_the_papers():
    """SGD, a cyclic rate of 5e-3, three losses, on slices: section 4 of Deep-ASPECTS."""
    plan = plan_for("as-paper", "small", "ncct-overlap", n_steps=7)
    assert (plan.optimiser, plan.schedule, plan.loss) == ("sgd", "cyclic", "paper-2")
    assert (plan.learning_rate, plan.preset, plan.patch, plan.n_steps) == (5e-3, "unet-b0", (96, 112, 8), 7)
    assert isinstance(_optimiser(torch.nn.Linear(1, 1), plan), torch.optim.SGD)
    corrected = plan_for("corrected", "small", "ncct-overlap")
    assert (corrected.optimiser, corrected.schedule, corrected.loss) == ("adamw", "cosine", "tversky")
    assert (corrected.false_positive, corrected.false_negative) == (0.3, 0.7)
    assert (corrected.by_region, plan.by_region) == (1.0, 0.0)
    assert isinstance(_optimiser(torch.nn.Linear(1, 1), corrected), torch.optim.AdamW)


def test_a_cyclic_rate_goes_up_and_down_in_straight_lines():
    plan = Plan(learning_rate=1.0, schedule="cyclic")
    rates = [rate_at(plan, step) for step in (0, HALF_CYCLE // 2, HALF_CYCLE, 3 * HALF_CYCLE // 2, 2 * HALF_CYCLE)]
    assert rates == pytest.approx([0.1, 0.55, 1.0, 0.55, 0.1])


@pytest.mark.parametrize("name", OVERLAP_PRESETS)
def test_every_network_is_chosen_by_its_name_and_profile(name):
    chosen = OVERLAP_PRESETS[name]
    plan = plan_for(chosen.profile, name, "ncct-overlap")
    assert (plan.preset, plan.patch) == (name, chosen.window)
    (other,) = set(PROFILES_OF["ncct-overlap"]) - {chosen.profile}
    with pytest.raises(ValueError, match=rf"--preset must be one of .* with profile {other}, got '{name}'"):
        plan_for(other, name, "ncct-overlap")


def test_networks_belong_to_their_methods():
    with pytest.raises(ValueError, match=r"--preset must be one of small, tiny with profile corrected, got 'linknet'"):
        plan_for("corrected", "linknet", "dwi-unet")
    assert METHODS["ncct-overlap"].is_lesion
