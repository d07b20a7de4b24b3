"""How a network learns that draws nothing: step after step from its last checkpoint, to the average of its weights.

Every loss is drawn from the seed and the step's number alone, so that a training that was killed goes on to the same
weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from models.training.checkpoints import Learner, keep_checkpoint, log_row, resumed
from models.training.trainer import Plan, rate_at

LOGGED_EVERY = 20  # steps
Network = TypeVar("Network", bound=nn.Module)


def learned(
    build: Callable[[], Network],
    loss_at: Callable[[Network, int], torch.Tensor],
    out: Path,
    plan: Plan,
    rate: Callable[[int], float] | None = None,
    forgets: bool = True,
    judge: Callable[[Network], Mapping[str, float]] | None = None,
) -> Network:
    """Train until the plan's last step, from the last checkpoint in ``out`` if there is one.

    Parameters
    ----------
    build : makes the untrained network
    loss_at : network, step -> loss
    out : folder of the checkpoint and the log
    plan : Plan
    rate : step -> learning rate; default ``rate_at`` the plan's
    forgets : gradients after every step; else they are added up
    judge : network of averaged weights -> metrics, now and then

    Returns
    -------
    The network with the running average of its weights, ready to be asked.
    """
    torch.set_num_threads(plan.n_threads)
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    network = build()
    averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    learner = Learner(network, optimiser, averaged, forgets)
    step, seconds = resumed(out, learner, asdict(plan))
    began = kept = time.monotonic()
    losses: list[float] = []
    network.train()
    while step < plan.n_steps:
        torch.manual_seed(plan.seed + step)  # of what is dropped out
        for group in optimiser.param_groups:
            group["lr"] = rate_at(plan, step) if rate is None else rate(step)
        loss = loss_at(network, step)
        learner.learn(loss)
        step += 1
        learner.average(min(plan.average, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        is_last = step == plan.n_steps
        if step % LOGGED_EVERY == 0 or is_last:
            log_row(out, {"step": step, "loss": float(np.mean(losses)), "seconds": seconds + time.monotonic() - began})
            losses.clear()
        if judge is not None and (step % max(LOGGED_EVERY, plan.n_steps // 12) == 0 or is_last):
            own = {name: value.detach().clone() for name, value in network.state_dict().items()}
            network.load_state_dict(averaged)
            network.eval()
            log_row(out, {"step": step, **judge(network)})
            network.load_state_dict(own)
            network.train()
        if time.monotonic() - kept > plan.checkpoint_s or is_last:
            keep_checkpoint(out, learner, step, seconds + time.monotonic() - began, asdict(plan))
            kept = time.monotonic()
    network.load_state_dict(averaged)
    network.eval()
    return network
