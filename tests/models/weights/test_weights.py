"""Trained weights: what is missing, changed or untrained never scores."""

from __future__ import annotations

import hashlib
import json
import math
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from models.inference import loaded
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
        (lambda folder: (folder / "net-1.json").write_text("[" * 200_000), "must give sha256, state, is_trained and"),
        (lambda folder: (folder / "net-1.json").write_bytes(b"\xff\xfe"), "must give sha256, state, is_trained and"),
        *(
            (partial(_write_card, plan={"patch": patch}), "three sizes of a patch, got plan.patch")
            for patch in ([64, 80], [64, 0, 64], [81, 96, 80], [10**6] * 3, "888", [64.5, 64, 64])
        ),
        (partial(_write_card, plan={"patch": [math.inf, 64, 64]}), "must give sha256, state, is_trained and three"),
        (partial(_write_card, plan=None), "got plan: "),
        *((partial(_write_card, sha256=one), "got sha256: ") for one in (None, 7, "", "0" * 63, "G" * 64)),
        *((partial(_write_card, is_trained=one), "got is_trained: ") for one in ("false", "true", 1, None)),
        (partial(_write_card, preset=["small"]), "got preset: "),
        (lambda folder: _write_card(folder, sha256="0" * 64), "must have sha256 000000000000, got "),
        (lambda folder: _write_card(folder, is_trained=False), "must be trained"),
        (lambda folder: _write_card(folder, state="downloaded"), "must be trained, got state 'downloaded'"),
    ],
)
def test_what_cannot_be_used_says_why(folder, spoil, message):
    spoil(folder)
    with pytest.raises(WeightsMissingError, match=message):
        find_weights("net-1", folder)


@pytest.mark.parametrize("name", ["", "../weights/net-1", "/etc/passwd", ".net-1", "net 1", "n" * 300, "net\\n1"])
def test_weights_are_looked_for_in_their_folder_alone(folder, name):
    with pytest.raises(WeightsMissingError, match="must be named by letters, digits"):
        find_weights(name, folder)


def test_weights_of_another_method_do_not_score(folder):
    _write_card(folder, method="region-net")
    assert find_weights("net-1", folder, "region-net").name == "net-1"
    with pytest.raises(WeightsMissingError, match="must be trained for dwi-unet, got region-net"):
        find_weights("net-1", folder, "dwi-unet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be safetensors, got"),
        ((2**62).to_bytes(8, "little") + b"{}", "must be safetensors, got"),
        (math.nan, "must be finite numbers, got others in layer.weight"),
        (-math.inf, "must be finite numbers, got others in layer.weight"),
    ],
    ids=str,
)
def test_a_damaged_file_whose_card_fits_is_named(folder, content, message):
    path = folder / "net-1.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file({"layer.weight": torch.tensor([1.0, content])}, path)
    _write_card(folder)
    with pytest.raises(WeightsMissingError, match=message):
        load_weights(find_weights("net-1", folder))


def test_weights_of_another_network_are_named_and_not_the_scan(folder):
    with pytest.raises(WeightsMissingError, match="weights net-1 must be of a network small of 3 channels and 6 class"):
        loaded(find_weights("net-1", folder), "small", 3, 6)
    with pytest.raises(WeightsMissingError, match="must be of a network none of 3 channels"):
        loaded(find_weights("net-1", folder), "none", 3, 6)
