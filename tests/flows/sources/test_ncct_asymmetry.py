"""``ncct_asymmetry``: what the networks say of both sides is stored; cuts come afterwards; one CT from end to end."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

import models.weights
from cohorts.folder.source import MapUse
from flows.cases.case import StepSettings
from flows.run.plan import _weights
from flows.run.steps import run_case
from flows.sources.ncct_asymmetry import AsymmetryFindings, NcctAsymmetrySource
from flows.sources.registry import STUDY
from models.anatomy.template import load_label_map
from models.asymmetry import NETWORKS, load_asymmetry
from models.classifier import OWN_CUTS
from models.weights import find_weights
from tasks.anatomy import ASPECTS_REGIONS
from tasks.density.pairs import PairedPatches
from tests.cohorts.hand_made import ASPECTS
from tests.flows.scan_phantom import CLASSIC, REGIONS, ct_case
from tests.flows.sources.made_weights import CALIBRATION, write_asymmetry


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Networks made by hand, one of a slope of .3 a HU for deep regions and one of .6 for cortical ones."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(models.weights, "FOLDER", folder)
    write_asymmetry(folder, 0.3, 0.6)
    return folder


def declared(**changes):
    return NcctAsymmetrySource.model_validate({"name": "compared", "kind": "ncct_asymmetry"} | changes)


def found(**changes):
    """The left side at .7, the right one at .1."""
    compared = []
    for label in ASPECTS.table.labels:
        chance = 0.7 if label.side == "left" else 0.1
        own = {"coverage": 1.0, "fluid_share": 0.1, "probability": chance}
        compared.append(own | changes.get(label.name, {}))
    return AsymmetryFindings.model_validate({"compared": {ASPECTS.sha256: compared}})


def test_each_group_of_regions_is_asked_of_its_own_network_and_calibrated(weights):
    """Left 3 HU darker than right: logits of .9 and -.9 for deep regions, of 1.8 and -1.8 for cortical ones."""
    networks = load_asymmetry(find_weights("ncct-asymmetry"))
    shape = (10, 2, *networks.preset.patches.shape)
    images = np.zeros(shape, np.float32)
    images[:, 0] = -3 / 25
    there = np.ones((10, 2), bool)
    there[5, 1] = False
    chances = networks.chances(PairedPatches(images, np.ones(shape, bool), there))
    for at, region in enumerate(ASPECTS_REGIONS):
        group = "deep" if region in NETWORKS["deep"] else "cortical"
        (slope, intercept), logit = CALIBRATION[group], 0.9 if group == "deep" else 1.8
        expected = 1 / (1 + np.exp(-(slope * np.array([logit, -logit]) + intercept)))
        if region == "m2":
            assert np.isnan(chances[at]).all()
        else:
            np.testing.assert_allclose(chances[at], expected, rtol=1e-4)


def test_a_region_whose_other_side_cannot_be_seen_has_no_chance():
    findings = found(right_m2={"coverage": 0.9}, left_m3={"fluid_share": 0.6}, left_m4={"probability": None})
    rows = {(one.side, one.region): one for one in declared().evidence(findings, ASPECTS)}
    assert len(rows) == 20
    nothing = {key for key, one in rows.items() if one.value is None}
    assert nothing == {("left", "m2"), ("right", "m2"), ("left", "m3"), ("right", "m3"), ("left", "m4")}
    assert (rows["left", "m1"].column, rows["left", "m1"].value) == ("probability", 0.7)


def test_the_cuts_of_the_weights_are_applied_to_what_is_stored(weights):
    source = declared()
    evidence, rules = list(source.evidence(found(), ASPECTS)), source.rule_choices({})
    judged = {name: {(one.side, one.region): rule.judge(one) for one in evidence} for name, rule in rules.items()}
    assert judged[OWN_CUTS]["left", "m1"] is True
    assert judged[OWN_CUTS]["left", "m2"] is False  # the cut is .8
    assert judged["probability-50"]["left", "m2"] is True
    assert not any(value for (side, _), value in judged[OWN_CUTS].items() if side == "right")
    assert source.rule_name == OWN_CUTS


def test_an_infarct_raises_the_chance_of_its_regions_and_lowers_that_of_the_other_side(weights, tmp_path):
    source = declared()
    record = run_case(ct_case(tmp_path), StepSettings("ncct_asymmetry", (CLASSIC,), source.settings), tmp_path / "out")
    assert record.status == "ok"
    use = MapUse(CLASSIC.sha256, load_label_map("classic").table)
    chances = {(one.side, one.region): one.value for one in source.evidence(record.payload, use)}
    affected = [chances["right", region] for region in REGIONS]
    across = [chances["left", region] for region in REGIONS]
    others = np.median([value for (_, region), value in chances.items() if region not in REGIONS])
    assert min(affected) > others > max(across)


def test_without_weights_it_is_absent_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(models.weights, "FOLDER", tmp_path)
    study = {"study": {"name": "x"}, "source": [{"name": "compared", "kind": "ncct_asymmetry"}]}
    _, absent = _weights(STUDY.model_validate(study))
    assert absent["compared"].startswith("weights ncct-asymmetry must be in ")
    assert declared().rule_choices({})[OWN_CUTS].cuts == {}


def test_what_it_says_of_itself():
    assert "(ncct-asymmetry, trained on synthetic patients) that compare each region on ncct" in declared().phrase
    assert declared(rule="probability-50").settings == declared().settings
    assert declared(network="other").settings != declared().settings
    for key, value in (("regions", "territory"), ("threshold", 0.5)):
        with pytest.raises(ValidationError, match=key):
            declared(**{key: value})
