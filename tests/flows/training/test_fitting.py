"""The networks of ``ncct-asymmetry``, from prepared patients to weights that score, a card and a page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from flows.training.fitting import FITTED, PREPARED, fit_on
from models.asymmetry import load_asymmetry
from models.networks.da_net import DANET_PRESETS, logits_of
from models.training.asymmetry import keep_pairs
from models.training.cards import Training, classifier_card, write_card
from models.training.methods import plan_for
from models.training.synthetic import Recipe
from models.weights import find_weights
from reports.pages.classifier import ClassifierView, classifier_page
from tasks.density.pairs import PairedPatches
from tests.models.training.test_asymmetry import table_of

METHOD = "ncct-asymmetry"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Files of prepared patients, weights and what is told of them."""
    folder = tmp_path_factory.mktemp("fitting")
    files = {}
    for number, (split, n) in enumerate({"train": 9, "validation": 9, "test": 6}.items()):
        table = table_of(n, seed=number)
        files[split] = tuple(folder / split / f"{one}.npz" for one in range(n))
        for one, path in enumerate(files[split]):
            there = table.is_there[one]
            patches = PairedPatches(table.images[one].astype(np.float32), table.masks[one], there)
            refused = split == "test" and one == 1
            reason = "brain_too_small" if refused else ""
            keep_pairs(path, None if refused else patches, there, 0.5 * table.is_affected[one], reason)
    plan = replace(plan_for("corrected", "da-net-tiny", METHOD, n_steps=20, pool=9), batch=8, warm_up=2)
    plan = replace(plan, learning_rate=2e-2, average=0.5)
    weights = fit_on(METHOD, plan, files, folder / "out")
    return files, plan, weights, json.loads((folder / "out" / FITTED).read_text())


def test_a_prepared_patient_tells_whether_it_shows_an_affected_region(fitted):
    files, *_ = fitted
    told = [PREPARED[METHOD].told(path) for path in files["test"]]
    assert told == [(True, ""), (False, "brain_too_small"), (False, ""), (True, ""), (False, ""), (False, "")]


def test_what_is_told_is_judged_on_patients_that_were_not_fitted(fitted):
    *_, told = fitted
    metrics = {(one["split"], one["stratum"], one["metric"]): one for one in told["metrics"]}
    everyone = metrics["test", "all regions", "auc"]
    assert (everyone["value"], everyone["n"], everyone["n_affected"], everyone["n_regions"]) == (1.0, 5, 20, 100)
    assert metrics["test", "deep", "specificity"]["n_regions"] == 40
    assert told["n_patients"] == {"train": 9, "validation": 9, "test": 5}
    assert told["n_refused"] == {"train": 0, "validation": 0, "test": 1}
    assert set(told["classifier"]["calibration"]) == {"deep", "cortical"}
    assert all(0 < cut < 1 for cut in told["classifier"]["cuts"].values())


def test_the_weights_score_as_they_were_judged_and_have_a_card_and_a_page(fitted):
    files, plan, weights, told = fitted
    about = Training(METHOD, "corrected", 0, 2, plan, Recipe(), told.pop("seconds"), code="0" * 8)
    write_card(weights, classifier_card(weights, about, (), [], told))
    networks = load_asymmetry(find_weights(METHOD, weights.parent))
    with np.load(files["test"][0]) as kept:
        patches = PairedPatches(kept["images"].astype(np.float32), kept["masks"], kept["is_there"])
        affected = kept["shares"] > 0.1
    chances = networks.chances(patches)
    assert chances[affected].min() > chances[~affected].max()
    logits = logits_of(networks.networks["deep"], DANET_PRESETS["da-net-tiny"], patches.images[:4], patches.masks[:4])
    slope, intercept = told["classifier"]["calibration"]["deep"]
    np.testing.assert_allclose(chances[:4], 1 / (1 + np.exp(-(slope * logits + intercept))))
    card = json.loads(weights.with_suffix(".json").read_text())
    assert set(card["made_with"]) == {"aspects-cohort", "scikit-learn", "torch"}
    page = classifier_page(ClassifierView(card, "run", "0"))
    assert "How well it tells affected regions" in page
    assert "two networks that compare both sides" in page
