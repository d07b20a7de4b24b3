"""Trained weights to start from: those that ship, by their name, or a file with its card beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run.request import PreflightError
from flows.training.request import TrainRequest
from models.training.trainer import Plan
from models.weights import WeightsMissingError, find_weights

ENDING = ".safetensors"


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to start from, and what their card says."""

    path: Path
    sha256: str
    card: Mapping[str, Any]


def start_of(request: TrainRequest, plan: Plan) -> Start | None:
    """Look up the weights to start from; None to start from nothing.

    Raises
    ------
    PreflightError
        They are missing, damaged, or of another network.
    """
    if not request.start:
        return None
    path = Path(request.start)
    is_file = path.name.endswith(ENDING) or len(path.parts) > 1
    try:
        name = path.name.removesuffix(ENDING)
        found = find_weights(name, path.parent) if is_file else find_weights(name)
    except WeightsMissingError as error:
        raise PreflightError(f"--start: {error}") from error
    card = json.loads(found.path.with_suffix(".json").read_bytes())
    wanted = {"method": request.method, "preset": plan.preset}
    if other := [f"{key} {card.get(key)}" for key, value in wanted.items() if card.get(key) != value]:
        rule = " and ".join(f"{key} {value}" for key, value in wanted.items())
        raise PreflightError(f"--start must be weights of {rule}, got {', '.join(other)}. Give others, or --preset.")
    return Start(found.path, found.sha256, card)
