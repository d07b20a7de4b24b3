"""``ncct_overlap``: what its settings mean, what it is without weights, and one scan from end to end.

The network of the end to end is made by hand, since no training is as short as a test: one convolution takes for
infarct what the smoothed difference from the other side puts 3 HU and more below. It is asked, stored, laid over the
regions and drawn as a trained one.
"""

from __future__ import annotations

import json

import monai.networks.nets  # noqa: F401  # binds a socket as it is first imported, which no unmarked test may do
import nibabel as nib
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

import models.inference
import models.weights
from cohorts.folder.source import MapUse
from cohorts.store.findings import RegionCounts, ScanFacts
from cohorts.store.hashing import file_sha256
from flows.cases.case import StepSettings
from flows.run.plan import _weights
from flows.run.steps import run_case
from flows.sources.ncct_overlap import NcctOverlapSource, OverlaidRegion, OverlapFindings
from flows.sources.registry import STUDY
from models.anatomy.template import load_label_map
from tasks.density.channels import CHANNELS
from tasks.overlay import OVERLAY_THRESHOLDS, STORED_STEPS
from tasks.segmentation import CLASSES, INFARCT
from tests.flows.scan_phantom import CLASSIC, REGIONS, VASCULAR, ct_case, infarct_ml


def declared(**changes):
    return NcctOverlapSource.model_validate({"name": "overlap", "kind": "ncct_overlap"} | changes)


def found():
    """One region of 100 voxels, of which 4, 2 and 1 reach .3, .5 and .7; all others are empty."""
    table = load_label_map("classic").table
    n_above = tuple(4 if one <= 0.3 else 2 if one <= 0.5 else 1 if one <= 0.7 else 0 for one in OVERLAY_THRESHOLDS)
    nothing = OverlaidRegion(n_above=(0,) * 19, mean_probability=0.0)
    rest = len(table.labels) - 1
    counts = RegionCounts(
        labels=tuple(one.index for one in table.labels),
        n_region=(100,) * (rest + 1),
        n_lesion=(2, *[0] * rest),
        coverage=(1.0,) * (rest + 1),
    )
    facts = ScanFacts(shape=(2, 2, 2), spacing_mm=(2.0, 2.0, 2.0), orientation="RAS", voxel_volume_mm3=8.0)
    overlaid = (OverlaidRegion(n_above=n_above, mean_probability=0.0185), *[nothing] * rest)
    return (
        OverlapFindings(scans={"ncct": facts}, counts={"map": counts}, overlaid={"map": overlaid}),
        MapUse("map", table),
    )


@pytest.mark.parametrize(("threshold", "n"), [(None, 2), (0.3, 4), (0.5, 2), (0.7, 1), (0.75, 0)])
def test_another_threshold_of_the_overlay_is_applied_to_what_is_stored(threshold, n):
    findings, use = found()
    first, *others = declared(overlay_threshold=threshold).evidence(findings, use)
    assert (first.value, first.n_lesion_voxels, first.lesion_volume_ml) == (n / 100, n, n * 0.008)
    assert not any(one.value for one in others)


def test_the_mean_probability_is_a_feature():
    findings, use = found()
    first, *others = declared().features(findings, use)
    assert (first.name, first.value, len(others)) == ("mean_probability", 0.0185, 19)


def test_only_what_is_drawn_is_measured_again():
    plain, drawn, overlaid = (declared(**one) for one in ({}, {"threshold": 0.3}, {"overlay_threshold": 0.3}))
    digest = [StepSettings(one.kind, (), one.settings).sha256 for one in (plain, drawn, overlaid)]
    assert digest[0] == digest[2] != digest[1]
    assert plain.rule_name == "any"  # paper 2
    assert declared(rule="danet").rule_name == "danet"
    assert "over regions" not in plain.phrase
    assert overlaid.phrase.endswith("voxels of probability 0.9 and more, over regions 0.3 and more")


@pytest.mark.parametrize("value", [0.0, 0.51, 0.975, 1.0])
def test_a_threshold_that_was_not_counted_is_refused(value):
    with pytest.raises(ValidationError, match=r"overlay_threshold must be \.05 to \.95 in steps of \.05, got"):
        declared(overlay_threshold=value)


def test_without_trained_weights_it_is_absent_with_its_reason(tmp_path, monkeypatch):
    sources = [{"name": "a", "kind": "ncct_overlap", "network": "ours"}, {"name": "b", "kind": "density_ratio"}]
    config = STUDY.model_validate({"study": {"name": "a"}, "source": sources})
    monkeypatch.setattr(models.weights, "FOLDER", tmp_path)
    used, absent = _weights(config)
    assert used == {}
    rule = f"weights ours must be in {tmp_path}, got no ours.safetensors and no ours.json"
    assert absent == {"a": f"{rule}. Copy both files there, or name others."}
    (tmp_path / "ours.safetensors").write_bytes(b"x")
    card = {"sha256": file_sha256(tmp_path / "ours.safetensors"), "state": "trained-here", "is_trained": False}
    (tmp_path / "ours.json").write_text(json.dumps(card))
    assert _weights(config)[1] == {"a": "weights ours must be trained, got state 'trained-here'. Train them first."}


def by_hand():
    """Infarct where the difference is below -1, 3 HU, by a steep logit; any other class elsewhere."""
    network = torch.nn.Conv3d(len(CHANNELS), len(CLASSES), 1)
    with torch.no_grad():
        for one in network.parameters():
            one.zero_()
        network.weight[INFARCT, CHANNELS.index("difference")] = -20
        network.bias[INFARCT] = -20
    return network


def test_one_scan_from_end_to_end(tmp_path, monkeypatch):
    """The phantom's infarct of 6 HU is drawn on its side, laid over its regions, and kept as it was drawn."""
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = folder / "by-hand.safetensors"
    save_file(by_hand().state_dict(), weights)
    card = {"sha256": file_sha256(weights), "state": "trained-here", "is_trained": True, "preset": "by-hand"}
    weights.with_suffix(".json").write_text(json.dumps(card))
    monkeypatch.setattr(models.weights, "FOLDER", folder)
    asked = []
    monkeypatch.setattr(models.inference, "build_network", lambda *named: asked.append(named) or by_hand())
    source = declared(network="by-hand", registration="affine", flip=False, threshold=0.5)
    settings = StepSettings(source.kind, (CLASSIC, VASCULAR), source.settings)
    record = run_case(ct_case(tmp_path / "scan"), settings, tmp_path / "out")
    assert (record.status, record.detail) == ("ok", None)
    assert asked == [("by-hand", len(CHANNELS), len(CLASSES))]
    lesion = record.payload.lesion
    assert lesion.side == "right"
    assert 0.5 * infarct_ml() < lesion.volume_ml < 1.5 * infarct_ml()  # of a map smoothed by 4 mm
    (stored,) = (tmp_path / "out").rglob("*_label-lesion_probseg.nii.gz")
    probability = np.asarray(nib.load(stored).dataobj)
    assert int((np.rint(probability * STORED_STEPS) >= 0.5 * STORED_STEPS).sum()) == lesion.n_voxels
    assert record.payload.largest_probability == pytest.approx(probability.max(), abs=1 / STORED_STEPS)
    use = MapUse(CLASSIC.sha256, load_label_map("classic").table)
    evidence = list(source.evidence(record.payload, use))
    at = OVERLAY_THRESHOLDS.index(0.5)
    assert [one.n_lesion_voxels for one in evidence] == [one.n_above[at] for one in record.payload.overlaid[use.sha256]]
    shares = {(one.side, one.region): one.value for one in evidence}
    assert min(shares["right", region] for region in REGIONS) > 0.3
    assert max(value for (side, _), value in shares.items() if side == "left") < 0.1
