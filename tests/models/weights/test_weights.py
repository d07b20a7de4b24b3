"""Trained weights: what is missing, changed or untrained never scores."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from models.weights import Weights, WeightsMissingError, find_weights, load_weights
from tasks.segmentation import WINDOW


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "net-1.safetensors"
    save_file({"layer.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3)}, path)
    _write_card(tmp_path)
    return tmp_path


def _write_card(folder, **changes):
    digest = hashlib.sha256((folder / "net-1.safetensors").read_bytes()).hexdigest()
    card = {"sha256": digest, "state": "trained-here", "is_trained": True} | changes
    (folder / "net-1.json").write_text(json.dumps(card))


def test_weights_are_found_with_their_digest_and_state(folder):
    found = find_weights("net-1", folder)
    assert (found.name, found.state) == ("net-1", "trained-here")
    assert found.sha256 == hashlib.sha256((folder / "net-1.safetensors").read_bytes()).hexdigest()


def test_a_network_is_shown_what_its_card_says(folder):
    assert find_weights("net-1", folder).window == WINDOW
    _write_card(folder, plan={"patch": [64, 80, 48]})
    assert find_weights("net-1", folder).window == (64, 80, 48)


@pytest.mark.parametrize("name", ["dwi-unet", "region-net"])
def test_the_networks_that_ship_are_shown_what_they_learned(name):
    assert find_weights(name).window == (80, 96, 80)


def test_weights_are_read_once_per_process(folder):
    found = find_weights("net-1", folder)
    first = load_weights(found)
    assert first["layer.weight"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert load_weights(Weights(**vars(found))) is first


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "net-1.safetensors").unlink(), r"must be in .*, got no net-1\.safetensors"),
        (lambda folder: (folder / "net-1.json").unlink(), r"must be in .*, got no net-1\.json"),
        (lambda folder: (folder / "net-1.json").write_text("{"), "must give sha256, state, is_trained and three sizes"),
        (lambda folder: (folder / "net-1.json").write_text("[]"), "must give sha256, state, is_trained and three"),
        (lambda folder: _write_card(folder, plan=None), "three sizes of a patch, got 'NoneType'"),
        (lambda folder: _write_card(folder, plan={"patch": [64, 80]}), "three sizes of a patch, got not enough values"),
        (lambda folder: _write_card(folder, plan={"patch": [64, 0, 64]}), "got a patch of 64 x 0 x 64"),
        (lambda folder: _write_card(folder, sha256="0" * 64), "must have sha256 000000000000, got "),
        (lambda folder: _write_card(folder, is_trained=False), "must be trained"),
        (lambda folder: _write_card(folder, state="downloaded"), "must be trained, got state 'downloaded'"),
    ],
)
def test_what_cannot_be_used_says_why(folder, spoil, message):
    spoil(folder)
    with pytest.raises(WeightsMissingError, match=message):
        find_weights("net-1", folder)
