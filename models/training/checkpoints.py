"""What a training keeps on the way: its learning curve, a line a time, and the checkpoint from which it goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINT = "checkpoint.pt"
LARGEST_GRADIENT = 5.0  # norm over all weights


@dataclass(frozen=True, eq=False)
class Learner:
    """What changes while a network learns.

    ``averaged`` is the running average of its weights. One that does not forget goes down the sum of all gradients so
    far, as code without ``zero_grad`` does.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    averaged: dict[str, torch.Tensor]
    forgets: bool = True

    def learn(self, loss: torch.Tensor) -> None:
        """One step down the gradient, which is held to ``LARGEST_GRADIENT``; a sum of gradients is not held."""
        if self.forgets:
            self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.forgets:
            nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()

    def average(self, decay: float) -> None:
        """Move the running average towards the network's weights."""
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.dtype.is_floating_point:
                    self.averaged[name].lerp_(value, 1 - decay)
                else:
                    self.averaged[name].copy_(value)


def log_row(out: Path, row: Mapping[str, float]) -> None:
    """One line of the learning curve."""
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_log(out: Path) -> Iterator[Mapping[str, float]]:
    """The learning curve, a row each; of a step logged twice (after a kill) the later counts."""
    rows: dict[tuple[float, bool], Mapping[str, float]] = {}
    for line in (out / "log.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows[row["step"], "loss" in row] = row
    yield from (rows[key] for key in sorted(rows))


def keep_checkpoint(
    out: Path,
    learner: Learner,
    step: int,
    seconds: float,
    plan: Mapping[str, Any],
) -> None:
    """Write the checkpoint under another name, then rename it."""
    temporary = out / f"checkpoint.{os.getpid()}.tmp"
    state = {
        "network": learner.network.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "averaged": dict(learner.averaged),
        "step": step,
        "seconds": seconds,
        "plan": json.dumps(plan),
    }
    torch.save(state, temporary)
    temporary.replace(out / CHECKPOINT)


def resumed(
    out: Path,
    learner: Learner,
    plan: Mapping[str, Any],
) -> tuple[int, float]:
    """Step and seconds of the last checkpoint, 0 without one.

    Raises
    ------
    ValueError
        It is of another plan.
    """
    path = out / CHECKPOINT
    if not path.is_file():
        return 0, 0.0
    kept = torch.load(path, weights_only=True, map_location="cpu")
    if json.loads(kept["plan"]) != json.loads(json.dumps(plan)):
        raise ValueError(f"{path} must be of the same plan, got another. Give another folder.")
    learner.network.load_state_dict(kept["network"])
    learner.optimiser.load_state_dict(kept["optimiser"])
    learner.averaged.update({name: value.to(learner.averaged[name].device) for name, value in kept["averaged"].items()})
    return int(kept["step"]), float(kept["seconds"])
