"""A card says what weights learned from and how well, names no place on a disk, and lets them score."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from models.training.cards import Data, Licence, Training, card_of, licences_of, operating_point, write_card
from models.training.items import Item
from models.training.judging import Judged, metrics_of
from models.training.splits import Placed
from models.training.synthetic import Recipe
from models.training.trainer import Plan
from models.weights import WeightsMissingError, find_weights, has_patient_images

TRAINING = Training("dwi-unet", "corrected", 3, 6, Plan(n_steps=4000, seed=7), Recipe(), 5400.0, code="c0de")
PLACED = (
    Placed(Item("anatomy", "head_01", "head_01", "b" * 64, "p1", "m1", 31.23), "train"),
    Placed(Item("anatomy", "head_02", "head_02", "a" * 64, "p2", "m2", 5.0), "test"),
    Placed(Item("lesion", "sub-1", "sub-1", "c" * 64, "p3", "m3", 2.0), "train"),
)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "dwi-unet.safetensors"
    save_file({"w": torch.ones(2)}, path)
    return path


@pytest.fixture
def card(weights, tmp_path):
    heads = tmp_path / "heads"
    heads.mkdir()
    (heads / "LICENSE.txt").write_text("\n  Apache License\n Version 2.0, January 2004\n\nhttp://x\nmore\n")
    data = [
        Data("anatomy", "heads", licences_of(heads)),
        Data("lesion", "masks", licences_of(tmp_path / "masks", "CC0 1.0")),
    ]
    metrics = {
        "test": metrics_of([Judged(5.0, 4.0, 0.8, 0.5), Judged(7.0, 8.0, 0.9, 1.0), Judged(0, 0, float("nan"), 0)])
    }
    return card_of(weights, TRAINING, PLACED, data, metrics, operating_point(0.45, 12))


def test_a_card_tells_what_is_known_of_its_method_besides(weights):
    own, other = (
        card_of(weights, replace(TRAINING, method=method), PLACED, [], {}, operating_point(0.5, 12))["known_limits"]
        for method in ("ncct-overlap", "dwi-unet")
    )
    assert own[: len(other)] == other
    assert "less than 2 HU were not learned" in own[len(other)]
    assert "no weights of ImageNet" in own[-1]


def test_weights_with_their_card_may_score(weights, card):
    with pytest.raises(WeightsMissingError, match=r"got no dwi-unet\.json"):
        find_weights("dwi-unet", weights.parent)
    path = write_card(weights, card)
    assert path.name == "dwi-unet.json"
    found = find_weights("dwi-unet", weights.parent)
    assert (found.state, found.sha256) == ("trained-here", hashlib.sha256(weights.read_bytes()).hexdigest())
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(WeightsMissingError, match="must have sha256"):
        find_weights("dwi-unet", weights.parent)


def test_a_card_tells_data_training_and_metrics(card):
    heads, masks = card["data"]
    assert heads["n"] == {"train": 1, "validation": 0, "test": 1}
    assert heads["anatomies"][0] == {"name": "head_01", "split": "train", "sha256": "b" * 64, "ventricles_ml": 31.2}
    assert heads["sha256_of_digests"] == hashlib.sha256(f"{'a' * 64}\n{'b' * 64}".encode()).hexdigest()
    assert heads["licences"][0]["title"] == "Apache License, Version 2.0, January 2004, http://x"
    assert heads["licences"][0]["file"] == "LICENSE.txt"
    assert (masks["n"]["train"], masks["licences"][0]["title"]) == (1, "CC0 1.0")
    assert "anatomies" not in masks
    assert (card["seconds"], card["hours"], card["seed"], card["n_steps"]) == (5400.0, 1.5, 7, 4000)
    assert card["operating_point"]["threshold"] == 0.45
    assert card["operating_point"]["chosen_on"].startswith("12 synthetic validation patients")
    dice = next(row for row in card["metrics"] if row["metric"] == "dice" and row["stratum"] == "with an infarct")
    assert (dice["split"], dice["n"], dice["median"]) == ("test", 2, pytest.approx(0.85))
    assert dice["lower"] == pytest.approx(0.8)
    assert len(card["known_limits"]) >= 4


def test_a_card_is_plain_json_and_names_no_place_on_a_disk(weights, card):
    text = write_card(weights, card).read_text()
    assert json.loads(text)["name"] == "dwi-unet"
    assert "NaN" not in text
    assert str(weights.parent) not in text
    assert '"/' not in text


def test_a_licence_is_looked_for_in_the_folder_and_then_above_it(tmp_path):
    masks = tmp_path / "set/masks"
    masks.mkdir(parents=True)
    assert licences_of(masks) == ()
    (tmp_path / "set/LICENSE").write_text("BSD 2-Clause License\n")
    (found,) = licences_of(masks)
    assert (found.title, found.file) == ("BSD 2-Clause License", "LICENSE")
    assert found.sha256 == hashlib.sha256(b"BSD 2-Clause License\n").hexdigest()
    (masks / "COPYING").write_text("CC0")
    assert [one.file for one in licences_of(masks)] == ["COPYING"]
    assert [one.title for one in licences_of(masks, "ours")] == ["ours"]


def test_a_card_of_a_cohort_counts_patients_and_names_nobody(weights):
    people = [("sub-secret1", "train", 5.0), ("sub-secret2", "validation", 0.0), ("sub-secret3", "test", 2.0)]
    placed = [
        Placed(Item("patient", name, name, digit * 64, "p", "m", volume_ml), split)
        for digit, (name, split, volume_ml) in zip("fed", people, strict=True)
    ]
    training = replace(TRAINING, recipe=None, start={"name": "dwi-unet", "sha256": "e", "data": [], "metrics": [1]})
    data = [Data("patient", "/archive/study", (Licence("consent of 2021"),))]
    point = operating_point(0.4, 1, is_cohort=True)
    card = card_of(weights, training, placed, data, {}, point)
    (cohort,) = card["data"]
    assert cohort == {
        "kind": "cohort",
        "n": {"train": 1, "validation": 1, "test": 1},
        "n_with_lesion": {"train": 1, "validation": 0, "test": 1},
        "sha256_of_digests": hashlib.sha256(f"{'d' * 64}\n{'e' * 64}\n{'f' * 64}".encode()).hexdigest(),
        "licences": [{"title": "consent of 2021", "file": "", "sha256": ""}],
    }
    assert card["has_patient_images"] is True
    assert card["known_limits"][0].startswith("Patients' images are behind these weights")
    assert card["operating_point"]["chosen_on"] == "1 validation patients of the cohort with a lesion"
    assert card["recipe"] is None
    assert card["started_from"]["name"] == "dwi-unet"
    assert "metrics" not in card["started_from"]
    write_card(weights, card)
    assert has_patient_images("dwi-unet", weights.parent)
    assert not has_patient_images("dwi-unet")
    assert "secret" not in json.dumps(card)
    assert "archive" not in json.dumps(card)


def test_patients_behind_the_start_are_behind_what_follows(weights):
    start = {"name": "ours", "sha256": "e", "has_patient_images": True, "data": [{"kind": "cohort"}]}
    card = card_of(weights, replace(TRAINING, start=start), PLACED, [], {}, operating_point(0.4, 1))
    assert card["has_patient_images"] is True
    assert card["known_limits"][0].startswith("Patients' images")
    assert card["started_from"]["data"] == [{"kind": "cohort"}]


def test_weights_of_an_older_recipe_may_score(weights, card):
    """Their card lists the settings of its own time; newer ones are not asked of it."""
    assert "haemorrhage" in card["recipe"]
    write_card(weights, card | {"recipe": {"hu_white": [24.0, 32.0]}})
    found = find_weights("dwi-unet", weights.parent)
    recipe = json.loads(found.path.with_suffix(".json").read_text("utf-8"))["recipe"]
    assert found.state == "trained-here"
    assert recipe["hu_white"] == [24.0, 32.0]
    assert "haemorrhage" not in recipe
