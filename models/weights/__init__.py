"""Trained weights: safetensors with a card each; what is missing, changed or untrained never scores.

``NAME.safetensors`` lies beside ``NAME.json``, its card: ``sha256`` of the file, ``state`` (``trained-here`` or
``external``), ``is_trained``, and whatever the reader should know. Nothing is unpickled and nothing is downloaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, Field, ValidationError

from cohorts.store.hashing import file_sha256
from tasks.segmentation import WINDOW, Window

WeightsState = Literal["trained-here", "external"]
FOLDER = Path(__file__).parent
WEIGHTS_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
RENEW = "Copy or train them again."
#: Voxels along an axis of a patch: halved three times at least, and no larger than a head.
_Size = Annotated[int, Field(strict=True, ge=8, le=512, multiple_of=8)]


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


class _Plan(BaseModel):
    """What is read of a training's plan: the patch, voxels."""

    patch: tuple[_Size, _Size, _Size] = WINDOW


class _Card(BaseModel):
    """What a card must give before its weights may score."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    state: str
    is_trained: bool = Field(strict=True)
    method: str = ""
    preset: str = ""
    plan: _Plan = _Plan()


def find_weights(name: str, folder: Path | None = None, method: str = "") -> Weights:
    """Look up weights and check them against their card.

    Parameters
    ----------
    name : of the file, without its ending
    folder : where they lie; default those of the project
    method : that they must be trained for, where their card names one; empty for any

    Raises
    ------
    WeightsMissingError
        The file or its card is missing, the file is not the card's, or the card is of another method or does not call
        it trained.
    """
    if not re.fullmatch(WEIGHTS_NAME, name):
        raise WeightsMissingError(f"weights must be named by letters, digits, . _ and -, got {name[:80]!r}.")
    path = (folder or FOLDER).absolute() / f"{name}.safetensors"
    card_path = path.with_suffix(".json")
    missing = [one.name for one in (path, card_path) if not one.is_file()]
    if missing:
        raise WeightsMissingError(
            f"weights {name} must be in {path.parent}, got no {' and no '.join(missing)}. Copy both files there, or "
            "name others."
        )
    try:
        card = _Card.model_validate_json(card_path.read_bytes())
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors())
        raise WeightsMissingError(
            f"card {card_path.name} must give sha256, state, is_trained and three sizes of a patch, got {found}. "
            "Copy it again."
        ) from None
    if (digest := file_sha256(path)) != card.sha256:
        raise WeightsMissingError(
            f"weights {name} must have sha256 {card.sha256[:12]}, got {digest[:12]}. Copy the file again with its card."
        )
    if not card.is_trained or card.state not in get_args(WeightsState):
        raise WeightsMissingError(f"weights {name} must be trained, got state {card.state!r}. Train them first.")
    if method and card.method not in ("", method):
        raise WeightsMissingError(f"weights {name} must be trained for {method}, got {card.method}. Name others.")
    return Weights(name, path, card.sha256, cast(WeightsState, card.state), card.plan.patch, card.preset)


def has_patient_images(name: str, folder: Path | None = None) -> bool:
    """Whether the card of weights says that images of patients are behind them; False without a card."""
    path = (folder or FOLDER) / f"{name}.json"
    try:
        return bool(json.loads(path.read_bytes()).get("has_patient_images"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


@lru_cache(maxsize=4)
def load_weights(weights: Weights) -> dict[str, Any]:
    """Parameter name -> torch tensor, read once per process; do not change them in place.

    Raises
    ------
    WeightsMissingError
        The file is damaged, or holds what is no number.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded = dict(load_file(weights.path))
    except SafetensorError as error:
        raise WeightsMissingError(f"weights {weights.name} must be safetensors, got: {error}. {RENEW}") from error
    if wrong := [key for key, value in loaded.items() if not bool(value.isfinite().all())]:
        raise WeightsMissingError(f"weights {weights.name} must be finite numbers, got others in {wrong[0]}. {RENEW}")
    return loaded
