"""Classifiers of regions as they are stored and applied: equal to scikit-learn's own answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from cohorts.store.hashing import file_sha256
from models.classifier import (
    Column,
    RegionClassifier,
    Scaling,
    SupportVectors,
    arrays_of,
    classifier_from,
    columns_of,
    facts_of,
    load_classifier,
)
from models.training.classifiers import TREES, _fit_forests
from models.training.described import Rows
from models.weights import find_weights
from tasks.anatomy import ASPECTS_REGIONS

COLUMNS = tuple(Column(name, "absolute") for name in "abc")
PLAIN = Scaling(np.array([0.5, 0, 0]), np.zeros(3), np.ones(3))


def rows_of(n, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3))
    regions = np.array(ASPECTS_REGIONS)[np.arange(n) % 10]
    return Rows(
        COLUMNS, values, regions, values[:, 0] + rng.normal(size=n) > 0.5, np.arange(n) // 10, np.arange(n) % 10
    )


def kept_as(classifier, folder):
    """Stored with a card, found and read."""
    path = folder / "tiny.safetensors"
    save_file(arrays_of(classifier), path)
    card = {
        "sha256": file_sha256(path),
        "state": "trained-here",
        "is_trained": True,
        "classifier": facts_of(classifier),
    }
    path.with_suffix(".json").write_text(json.dumps(card))
    return load_classifier(find_weights("tiny", folder))


def test_support_vectors_decide_as_scikit_learn(tmp_path):
    rows = rows_of(200)
    machine = SVC(C=3.0, gamma=0.3).fit(rows.values, rows.is_affected)
    model = SupportVectors(machine.support_vectors_, machine.dual_coef_[0], float(machine.intercept_[0]), 0.3)
    cuts = dict.fromkeys(ASPECTS_REGIONS, 0.4)
    found = kept_as(RegionClassifier(COLUMNS, PLAIN, model, (2.0, -0.5), cuts), tmp_path)
    decided = machine.decision_function(rows.values)
    chance = found.probabilities(rows.values, list(rows.regions))
    np.testing.assert_allclose(chance, 1 / (1 + np.exp(-(2 * decided - 0.5))), rtol=0, atol=1e-12)
    assert (found.columns, dict(found.cuts)) == (COLUMNS, cuts)


def test_forests_say_what_scikit_learn_says_of_the_region(tmp_path):
    rows = rows_of(600)
    classifier, _ = _fit_forests(rows, seed=3)
    found = kept_as(classifier, tmp_path)
    decided = found.model.decided(rows.values, list(rows.regions))
    for region in ("caudate", "m6"):
        own = rows.regions == region
        forest = RandomForestClassifier(**TREES, class_weight="balanced", random_state=3)
        forest.fit(rows.values[own], rows.is_affected[own])
        np.testing.assert_allclose(decided[own] + 0.5, forest.predict_proba(rows.values[own])[:, 1], rtol=0, atol=1e-12)


def test_a_column_that_could_not_be_taken_becomes_the_median_of_the_training():
    scaled = Scaling(np.array([0.5, 0, 0]), np.array([1.0, 0, 0]), np.array([2.0, 1, 1])).scaled(
        np.array([[np.nan, 3.0, np.inf]])
    )
    assert scaled.tolist() == [[-0.25, 3.0, 0.0]]


def test_a_ratio_to_nothing_is_no_number():
    found = columns_of(np.array([[3.0], [3.0]]), np.array([[0.0], [np.nan]]), ("a",), (Column("a", "ratio"),))
    assert np.isnan(found).all()


def test_a_card_without_its_classifier_is_refused(tmp_path):
    with pytest.raises(KeyError):
        classifier_from({}, {"kind": "svm"})
