"""What a training keeps on the way: its learning curve, a line a time, and the checkpoint from which it goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cohorts.store.records import atomic_writer, remove_leftovers
from models.training.kept import broken

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
A_CHECKPOINT, ANEW = "the checkpoint of a training", "Delete it and run again: the training begins anew."
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
    """One line of the learning curve, after what a kill left of another."""
    with (out / LOG).open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(f"{json.dumps(row)}\n".encode())


def read_log(out: Path) -> Iterator[Mapping[str, float]]:
    """The learning curve, a row each; of a step logged twice (after a kill) the later counts.

    A line that cannot be read, which a kill left, is passed over.
    """
    rows: dict[tuple[float, bool], Mapping[str, float]] = {}
    for line in (out / LOG).read_bytes().splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            rows[float(row["step"]), "loss" in row] = row
    yield from (rows[key] for key in sorted(rows))


def keep_checkpoint(
    out: Path,
    learner: Learner,
    step: int,
    seconds: float,
    plan: Mapping[str, Any],
) -> None:
    """Write the checkpoint, whole or not at all."""
    state = {
        "network": learner.network.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "averaged": dict(learner.averaged),
        "step": step,
        "seconds": seconds,
        "plan": json.dumps(plan),
    }
    with atomic_writer(out / CHECKPOINT) as temporary:
        torch.save(state, temporary)


def resumed(
    out: Path,
    learner: Learner,
    plan: Mapping[str, Any],
) -> tuple[int, float]:
    """Step and seconds of the last checkpoint, 0 without one; what killed writers left is removed.

    Raises
    ------
    ValueError
        It is of another plan.
    BrokenFileError
        It cannot be read.
    """
    remove_leftovers(out)
    path = out / CHECKPOINT
    if not path.is_file():
        return 0, 0.0
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        own_plan = json.loads(kept["plan"])
        step, seconds = int(kept["step"]), float(kept["seconds"])
        network, optimiser, averaged = kept["network"], kept["optimiser"], kept["averaged"]
    except OSError:
        raise  # of the folder
    except Exception as error:  # of PyTorch's reader there is no end of kinds
        raise broken(path, A_CHECKPOINT, error, ANEW) from error
    if own_plan != json.loads(json.dumps(plan)):
        raise ValueError(f"{path} must be of the same plan, got another. Give another folder.")
    try:
        learner.network.load_state_dict(network)
        learner.optimiser.load_state_dict(optimiser)
        learner.averaged.update({name: averaged[name].to(value.device) for name, value in learner.averaged.items()})
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken(path, A_CHECKPOINT, error, ANEW) from error
    return step, seconds
