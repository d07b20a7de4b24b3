"""Trained weights: safetensors with a card each; what is missing, changed or untrained never scores.

``NAME.safetensors`` lies beside ``NAME.json``, its card: ``sha256`` of the file, ``state`` (``trained-here`` or
``external``), ``is_trained``, and whatever the reader should know. Nothing is unpickled and nothing is downloaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from cohorts.store.hashing import file_sha256
from tasks.segmentation import WINDOW, Window

WeightsState = Literal["trained-here", "external"]
FOLDER = Path(__file__).parent


class WeightsMissingError(ValueError):
    """Weights cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Weights:
    """Weights that may score.

    ``window`` is what the network is shown at once: its training's patch; ``preset`` names the network, where its card
    does.
    """

    name: str
    path: Path
    sha256: str
    state: WeightsState
    window: Window = WINDOW
    preset: str = ""


def find_weights(name: str, folder: Path | None = None) -> Weights:
    """Look up weights and check them against their card.

    Parameters
    ----------
    name : of the file, without its ending
    folder : where they lie; default those of the project

    Raises
    ------
    WeightsMissingError
        The file or its card is missing, the file is not the card's, or the card does not call it trained.
    """
    path = (folder or FOLDER) / f"{name}.safetensors"
    card_path = path.with_suffix(".json")
    missing = [one.name for one in (path, card_path) if not one.is_file()]
    if missing:
        raise WeightsMissingError(f"weights {name} must be in {path.parent}, got no {' and no '.join(missing)}.")
    try:
        card = json.loads(card_path.read_bytes())
        wanted, state, is_trained = card["sha256"], card["state"], card["is_trained"]
        x, y, z = (int(one) for one in card.get("plan", {}).get("patch", WINDOW))
        if min(x, y, z) < 1:
            raise ValueError(f"a patch of {x} x {y} x {z}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsMissingError(
            f"card {card_path.name} must give sha256, state, is_trained and three sizes of a patch, got {error}. "
            "Copy it again."
        ) from error
    if (found := file_sha256(path)) != wanted:
        raise WeightsMissingError(
            f"weights {name} must have sha256 {wanted[:12]}, got {found[:12]}. Copy the file again with its card."
        )
    if not is_trained or state not in get_args(WeightsState):
        raise WeightsMissingError(f"weights {name} must be trained, got state {state!r}. Train them first.")
    return Weights(name, path, wanted, cast(WeightsState, state), (x, y, z), str(card.get("preset", "")))


def has_patient_images(name: str, folder: Path | None = None) -> bool:
    """Whether the card of weights says that images of patients are behind them; False without a card."""
    path = (folder or FOLDER) / f"{name}.json"
    try:
        return bool(json.loads(path.read_bytes()).get("has_patient_images"))
    except (OSError, ValueError, AttributeError):
        return False


@lru_cache(maxsize=4)
def load_weights(weights: Weights) -> dict[str, Any]:
    """Parameter name -> torch tensor, read once per process; do not change them in place."""
    from safetensors.torch import load_file

    return dict(load_file(weights.path))
