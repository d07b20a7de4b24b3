"""``dwi_dichotomy``: a chance of a low score and nothing else, from one scan, and from its mirror image the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

import models.weights
from cohorts.store.hashing import file_sha256
from flows.cases.case import StepSettings
from flows.run.plan import _weights
from flows.run.steps import run_case
from flows.sources.dwi_dichotomy import DichotomyFindings, DwiDichotomySource, _loaded
from flows.sources.registry import STUDY
from models.networks.recurrent import build_dichotomy
from models.weights import find_weights
from tests.flows.scan_phantom import CLASSIC, dwi_case

CALIBRATION = (2.0, -0.5)


def declared(**changes):
    return DwiDichotomySource.model_validate({"name": "low", "kind": "dwi_dichotomy"} | changes)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An untrained network whose last layer says 0.75 whatever it sees."""
    monkeypatch.setattr(models.weights, "FOLDER", tmp_path)
    network = build_dichotomy("tiny")
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.constant_(network.last.bias, 0.75)
    path = tmp_path / "dwi-dichotomy.safetensors"
    save_file(network.state_dict(), path)
    facts = {"kind": "rrcnn", "preset": "tiny", "calibration": CALIBRATION}
    card = {"sha256": file_sha256(path), "state": "trained-here", "is_trained": True, "classifier": facts}
    path.with_suffix(".json").write_text(json.dumps(card))
    return tmp_path


def test_the_chance_is_the_calibrated_mean_of_a_scan_and_its_mirror_image(weights, tmp_path):
    source = declared()
    record = run_case(
        dwi_case(tmp_path, "adc"), StepSettings("dwi_dichotomy", (CLASSIC,), source.settings), tmp_path / "out"
    )
    assert record.status == "ok"
    chance = source.low_score_probability(record.payload)
    assert chance == pytest.approx(1 / (1 + np.exp(-(2.0 * 0.75 - 0.5))))
    assert list(source.evidence(record.payload, None)) == []


def test_a_network_is_loaded_with_its_curve(weights):
    network, curve = _loaded(find_weights("dwi-dichotomy"))
    assert curve == CALIBRATION
    assert not network.training


def test_it_gives_the_chance_alone():
    source = declared()
    assert source.gives == {"low_score_probability"}
    assert source.low_score_probability(DichotomyFindings()) is None
    assert "a score of 6 or less by a recurrent network (dwi-dichotomy, trained on synthetic patients)" in source.phrase
    with pytest.raises(ValidationError, match="threshold"):
        declared(threshold=0.5)


def test_without_weights_it_is_absent_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(models.weights, "FOLDER", tmp_path)
    study = {"study": {"name": "x"}, "source": [{"name": "low", "kind": "dwi_dichotomy"}]}
    _, absent = _weights(STUDY.model_validate(study))
    assert absent["low"].startswith("weights dwi-dichotomy must be in ")
