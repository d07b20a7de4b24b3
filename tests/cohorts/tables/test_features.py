"""Rows of the features table from hand-made records."""

from __future__ import annotations

import importlib.metadata

from cohorts.store.records import Record, StepKey
from cohorts.tables.features import features_batch
from cohorts.tables.rows import Measured
from flows.sources.density_ratio import FEATURES, DensityFindings
from flows.sources.perfusion_core import CoreFindings
from tests.cohorts.hand_made import ASPECTS, VASCULAR, hand_made_cohort, rows

RATIO = {"name": "ratio", "kind": "density_ratio"}
CORE = {"name": "core", "kind": "ctp_core"}


def _record(participant_id, step, payload, status="ok"):
    return Record(participant_id, StepKey(step, "code", "a" * 64, "b" * 64), status, None, None, payload)


def _features(records):
    cohort = hand_made_cohort(source=[RATIO, CORE], rule=[])
    maps = {"ratio": ASPECTS, "core": ASPECTS}
    found = rows(features_batch(cohort, Measured(records, maps, VASCULAR)))
    return {(row["participant_id"], row["source"], row["side"], row["region"], row["feature"]): row for row in found}


def test_every_region_has_its_densities_and_a_missing_one_its_reason():
    n_labels = len(ASPECTS.table.labels)
    densities = [
        dict.fromkeys(FEATURES, 1.5 * place)
        | {"index": place, "n_voxels": 1, "n_voxels_used": 3 * place, "coverage": 1.0}
        for place in range(n_labels)
    ]
    densities[3]["difference_hu"] = None
    payload = DensityFindings.model_validate({"densities": {ASPECTS.sha256: densities}})
    found = _features({("sub-1", "ratio-ncct"): _record("sub-1", "ratio-ncct", payload)})
    assert len(found) == n_labels * len(FEATURES)
    label = ASPECTS.table.labels[2]
    row = found["sub-1", "ratio", label.side, label.region, "density_hu"]
    assert (row["value"], row["status"], row["reason"], row["settings_sha256"]) == (3.0, "ok", None, "b" * 64)
    assert row["distribution"] == f"aspects-cohort {importlib.metadata.version('aspects-cohort')}"
    label = ASPECTS.table.labels[3]
    row = found["sub-1", "ratio", label.side, label.region, "difference_hu"]
    assert (row["value"], row["status"], row["reason"]) == (None, "excluded", "not_measurable")


def test_perfusion_gives_the_late_share_of_tissue_where_tmax_was_measured():
    n_labels = len(ASPECTS.table.labels)
    counts = {
        "labels": list(range(n_labels)),
        "n_region": [50] * n_labels,
        "n_lesion": [0] * n_labels,
        "coverage": [1.0] * n_labels,
        "n_hypoperfused": [0, 20] + [5] * (n_labels - 2),
    }
    counts["n_region"][2] = 0  # no tissue: nothing can be said
    volumes = {"hypoperfused_volume_ml": 12.0, "mismatch_ratio": None, "reference_cbf_ml_100g_min": None}
    payload = {"counts": {ASPECTS.sha256: counts}, "perfusion": {"core": volumes}}
    found = _features({("sub-1", "core-ctp"): _record("sub-1", "core-ctp", CoreFindings.model_validate(payload))})
    assert {key[4] for key in found} == {"hypoperfused_share"}
    assert [row["value"] for row in found.values()][:4] == [0.0, 0.4, None, 0.1]
    without = payload | {"perfusion": {"core": volumes | {"hypoperfused_volume_ml": None}}}
    assert _features({("sub-1", "core-ctp"): _record("sub-1", "core-ctp", CoreFindings.model_validate(without))}) == {}


def test_a_refused_record_has_no_features():
    assert (
        _features({("sub-1", "ratio-ncct"): _record("sub-1", "ratio-ncct", DensityFindings(), status="excluded")}) == {}
    )
