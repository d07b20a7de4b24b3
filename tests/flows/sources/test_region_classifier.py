"""``ncct_radiomics`` and ``cta_radiomics``: the chance of each region from its features, and one CT from end to end.

The classifier is made by hand: one support vector, so that a chance can be worked out.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

import models.weights
from cohorts.folder.source import MapUse
from cohorts.store.hashing import file_sha256
from flows.cases.case import StepSettings
from flows.run.plan import _weights
from flows.run.steps import run_case
from flows.sources.describing import RadiomicsFindings
from flows.sources.region_classifier import OWN_CUTS, CtaRadiomicsSource, NcctRadiomicsSource
from flows.sources.registry import STUDY
from models.anatomy.template import load_label_map
from models.classifier import Column, RegionClassifier, Scaling, SupportVectors, arrays_of, facts_of
from tasks.anatomy import ASPECTS_REGIONS
from tasks.radiomics.features import LEARNED
from tests.cohorts.hand_made import ASPECTS
from tests.flows.scan_phantom import CLASSIC, REGIONS, ct_case

MEAN = "original_firstorder_Mean"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Decision: how near the difference of the means lies to -5 HU; the chance at -5 HU is e / (1 + e)."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(models.weights, "FOLDER", folder)
    zero = np.zeros(1)
    model = SupportVectors(np.array([[-5.0]]), np.ones(1), 0.0, 0.1)
    cuts = dict.fromkeys(ASPECTS_REGIONS, 0.6) | {"m2": 0.8}
    classifier = RegionClassifier(
        (Column(MEAN, "contralateral_diff"),), Scaling(zero, zero, np.ones(1)), model, (1.0, 0.0), cuts
    )
    for name in ("ncct-radiomics", "cta-radiomics"):
        path = folder / f"{name}.safetensors"
        save_file(arrays_of(classifier), path)
        card = {"sha256": file_sha256(path), "state": "trained-here", "is_trained": True}
        path.with_suffix(".json").write_text(json.dumps(card | {"classifier": facts_of(classifier)}))
    return folder


def declared(**changes):
    return NcctRadiomicsSource.model_validate({"name": "forests", "kind": "ncct_radiomics"} | changes)


def found(**changes):
    """The left side lies 5 HU below the right one everywhere; some regions are changed."""
    described = []
    for label in ASPECTS.table.labels:
        own = {
            "index": label.index,
            "coverage": 1.0,
            "fluid_share": 0.1,
            "values": [30.0 - 5.0 * (label.side == "left")],
        }
        described.append(own | changes.get(label.name, {}))
    return RadiomicsFindings.model_validate({"names": [MEAN], "described": {ASPECTS.sha256: described}})


def chance(difference):
    return 1 / (1 + math.exp(-math.exp(-0.1 * (difference + 5) ** 2)))


def test_the_chance_is_that_of_the_difference_from_the_other_side(weights):
    evidence = {(one.side, one.region): one for one in declared().evidence(found(), ASPECTS)}
    assert len(evidence) == 20
    left, right = evidence["left", "m1"], evidence["right", "m1"]
    assert (left.column, left.coverage, left.fluid_share) == ("probability", 1.0, 0.1)
    assert left.value == pytest.approx(chance(-5)) == pytest.approx(math.e / (1 + math.e))
    assert right.value == pytest.approx(chance(5))


def test_a_region_without_numbers_has_no_chance_and_neither_has_its_other_side(weights):
    gone = {"values": [], "reason": "region_uniform"}
    findings = found(left_m1=gone, right_m2={"coverage": 0.9}, left_m3={"fluid_share": 0.6})
    nothing = {(one.side, one.region) for one in declared().evidence(findings, ASPECTS) if one.value is None}
    assert nothing == {(side, region) for side in ("left", "right") for region in ("m1", "m2", "m3")}


def test_the_cuts_of_the_weights_decide_or_one_half(weights):
    source = declared()
    rule = source.rule_choices({})[OWN_CUTS]
    judged = {(one.side, one.region): rule.judge(one) for one in source.evidence(found(), ASPECTS)}
    assert judged["left", "m1"] is True  # .73, the cut is .6
    assert judged["left", "m2"] is False  # the cut is .8
    assert judged["right", "m1"] is False  # .50002
    half = declared(rule="probability-50")
    judged = {
        (one.side, one.region): half.rule_choices({})[half.rule_name].judge(one)
        for one in half.evidence(found(), ASPECTS)
    }
    assert judged["left", "m2"] is True
    assert judged["right", "m1"] is True


def test_without_weights_it_is_absent_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(models.weights, "FOLDER", tmp_path)
    study = {"study": {"name": "x"}, "source": [{"name": "angio", "kind": "cta_radiomics"}]}
    _, absent = _weights(STUDY.model_validate(study))
    assert absent["angio"].startswith("weights cta-radiomics must be in ")


def test_what_it_describes_is_fixed_and_shared_by_classifiers(weights):
    assert declared().described_by == (LEARNED, "cubes")
    assert declared(classifier="other").settings == declared().settings
    assert declared().settings != CtaRadiomicsSource.model_validate({"name": "a", "kind": "cta_radiomics"}).settings
    for key, value in (("regions", "territory"), ("bin_width_hu", 10), ("image", "cta")):
        with pytest.raises(ValidationError, match=key):
            declared(**{key: value})
    assert "a random forest for each region (ncct-radiomics, trained on synthetic patients) of 105" in declared().phrase


def test_an_infarct_raises_the_chance_of_its_regions(weights, tmp_path):
    """The phantom's infarct lowers its regions by 5 HU or so, where this classifier is surest."""
    source = declared()
    record = run_case(ct_case(tmp_path), StepSettings("ncct_radiomics", (CLASSIC,), source.settings), tmp_path / "out")
    assert record.status == "ok"
    use = MapUse(CLASSIC.sha256, load_label_map("classic").table)
    judged = {(one.side, one.region): one.value for one in source.evidence(record.payload, use)}
    infarcted = [judged["right", region] for region in REGIONS]
    others = [value for (side, region), value in judged.items() if region not in REGIONS]
    assert min(infarcted) > 0.6 > max(others)
    assert len(record.payload.names) == 105
