"""How classifiers are fitted: what a known effect gives, what noise gives, what choosing outside of folds claims."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from models.classifier import Column
from models.training import classifiers
from models.training.classifier_judging import area, judge, nested_area
from models.training.classifiers import (
    CLASSIFIERS,
    SPECIFICITY,
    ClassifierRecipe,
    fit,
    outside_area,
    with_operating_points,
)
from models.training.described import RegionTable, read_described
from tasks.anatomy import ASPECTS_REGIONS, aspects_label_table

FOREST = ClassifierRecipe("ncct", "forest", ("absolute", "contralateral_diff"))
SVM = ClassifierRecipe("cta", "svm", ("contralateral_diff",))
REGIONS = ASPECTS_REGIONS * 2
SIDES = ("left",) * 10 + ("right",) * 10


def table_of(n, names, effect, seed=0, share=0.2):
    """Patients whose affected regions lie lower in the first feature, by so many deviations of the difference."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n, 20, len(names)))
    is_affected = np.zeros((n, 20), bool)
    is_affected[:, :10] = rng.random((n, 10)) < share
    own[..., 0] -= effect * np.sqrt(2) * is_affected
    other = np.roll(own, 10, axis=1)
    patients = tuple(map(str, range(n)))
    there = np.ones((n, 20), bool)
    return RegionTable(patients, patients, REGIONS, SIDES, names, own, other, is_affected, there)


@pytest.fixture(scope="module")
def fitted():
    table = table_of(100, ("signal", "noise"), effect=2.0)
    return table, fit(SVM, table, seed=0)


def test_a_known_effect_is_found_as_well_as_can_be(fitted):
    """Differences of affected and other regions are normal and two deviations apart."""
    table, found = fitted
    rows = table.rows(found.classifier.columns)
    difference = table.own[..., 0] - table.other[..., 0]
    best = area(table.is_affected.ravel(), -difference.ravel())
    assert best == pytest.approx(stats.norm.cdf(2 / np.sqrt(2)), abs=0.04)
    assert nested_area(rows, found.nested, 0)["value"] == pytest.approx(best, abs=0.02)
    assert found.chosen[0] == (Column("signal", "contralateral_diff"), 5)


def test_cuts_leave_so_many_unaffected_regions_below(fitted):
    _, found = fitted
    validation = table_of(200, ("signal", "noise"), effect=2.0, seed=1)
    classifier = with_operating_points(found.classifier, validation)
    rows = validation.rows(classifier.columns)
    chance = classifier.probabilities(rows.values, list(rows.regions))
    for region in ("caudate", "m4"):
        without = chance[(rows.regions == region) & ~rows.is_affected]
        assert SPECIFICITY <= (without < classifier.cuts[region]).mean() <= SPECIFICITY + 0.01  # cuts are rounded up
    metrics = {(one["stratum"], one["metric"]): one for one in judge(classifier, validation, 0)}
    everyone = metrics["all regions", "specificity"]
    assert everyone["value"] == pytest.approx(SPECIFICITY, abs=0.01)
    assert everyone["lower"] < everyone["value"] < everyone["upper"]
    assert (everyone["n"], everyone["n_regions"]) == (200, 4000)
    assert everyone["n_affected"] == validation.is_affected.sum()
    mean = chance.mean()  # a calibrated chance is right in the mean
    assert mean == pytest.approx(rows.is_affected.mean(), abs=0.005)


def test_noise_gives_nothing_inside_folds_and_something_outside():
    """The trap of paper 1: with 60 columns of noise, those chosen on everybody tell classes apart on everybody."""
    table = table_of(30, tuple(f"noise {n}" for n in range(60)), effect=0.0, seed=2)
    found = fit(SVM, table, seed=0)
    inside = nested_area(table.rows(()), found.nested, 0)
    assert inside["lower"] < 0.5 < inside["upper"]
    assert outside_area(found, table, 0) > inside["value"] + 0.1


def test_a_forest_chooses_nothing(monkeypatch):
    monkeypatch.setattr(classifiers, "TREES", {**classifiers.TREES, "n_estimators": 10})
    table = table_of(60, ("signal", "noise"), effect=2.5, share=0.4)
    found = fit(FOREST, table, seed=0)
    assert outside_area(found, table, 0) is None
    assert nested_area(table.rows(()), found.nested, 0)["value"] > 0.8


def described(shares, **changes):
    rows = [
        {"index": label.index, "coverage": 1.0, "fluid_share": 0.1, "reason": "", "values": [float(label.index), None]}
        for label in aspects_label_table().labels
    ]
    for at, change in changes.items():
        rows[int(at.removeprefix("row"))] |= change
    return {"reason": "", "rows": rows, "shares": shares, "facts": {"anatomy": "head"}}


def test_what_was_described_is_read_with_its_other_side_and_truth(tmp_path):
    table = aspects_label_table()
    at = {(label.side, label.region): number for number, label in enumerate(table.labels)}
    shares = [0.0] * 20
    shares[at["left", "m1"]], shares[at["left", "m2"]] = 0.1001, 0.10
    gone = {f"row{at['right', 'm3']}": {"coverage": 0.9}, f"row{at['left', 'm4']}": {"fluid_share": 0.6}}
    (tmp_path / "a.json").write_text(json.dumps(described(shares, **gone)))
    (tmp_path / "b.json").write_text(
        json.dumps({"reason": "brain_too_small", "rows": [], "shares": shares, "facts": {}})
    )
    found = read_described(sorted(tmp_path.glob("*.json")), table, ("one", "two"))
    assert (found.patients, found.anatomies, found.n_refused) == (("a",), ("head",), 1)
    place = {pair: number for number, pair in enumerate(zip(found.sides, found.regions, strict=True))}
    number = {key: float(table.labels[index].index) for key, index in at.items()}
    left = place["left", "m1"]
    assert found.own[0, left].tolist()[:1] == [number["left", "m1"]]
    assert found.other[0, left].tolist()[:1] == [number["right", "m1"]]
    assert np.isnan(found.own[0, left, 1])
    assert [pair for pair, at in place.items() if found.is_affected[0, at]] == [("left", "m1")]
    assert {pair for pair, at in place.items() if not found.is_there[0, at]} == {("right", "m3"), ("left", "m4")}
    assert np.isnan(found.other[0, place["left", "m3"]]).all()
    with pytest.raises(ValueError, match="got none of 1"):
        read_described([tmp_path / "b.json"], table, ("one", "two"))


def test_the_recipes_are_those_of_the_papers():
    assert {name: (one.image, one.kind) for name, one in CLASSIFIERS.items()} == {
        "cta-radiomics": ("cta", "svm"),
        "ncct-radiomics": ("ncct", "forest"),
    }
