"""What the source ``radiomics`` says of a region: its own values, held against the other side, or why none."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from cohorts.folder.source import MapUse
from cohorts.store.records import Record, StepKey
from cohorts.tables.features import features_batch
from cohorts.tables.regions_and_scores import regions_and_scores
from cohorts.tables.rows import Measured
from cohorts.tables.schemas import FEATURES
from cohorts.tables.storage import write_table
from flows.cases.case import StepSettings
from flows.run.steps import run_case
from flows.sources.describing import RadiomicsFindings
from flows.sources.radiomics import RadiomicsSource
from models.anatomy.template import load_label_map
from tasks.radiomics.feature_lists import FEATURE_LISTS
from tests.cohorts.hand_made import ASPECTS, VASCULAR, hand_made_cohort, rows, stands
from tests.flows.scan_phantom import CLASSIC, REGIONS, ct_case

NAMES = FEATURE_LISTS["tao2024_3"]
MEAN = NAMES[0]


def _source(**changes):
    return RadiomicsSource.model_validate({"name": "ct", "kind": "radiomics", "feature_list": "tao2024_3"} | changes)


def _found(**changes):
    """Every region has 20, 40 and 0 on the left and 30, 50 and 0 on the right; some are changed."""
    described = []
    for label in ASPECTS.table.labels:
        more = 10.0 * (label.side == "right")
        own = {"index": label.index, "coverage": 1.0, "fluid_share": 0.1, "values": [20 + more, 40 + more, 0.0]}
        described.append(own | changes.get(label.name, {}))
    return RadiomicsFindings.model_validate({"names": NAMES, "described": {ASPECTS.sha256: described}})


def _features(source, found):
    return {(one.side, one.region, one.name): one for one in source.features(found, ASPECTS)}


def test_a_mode_holds_every_feature_against_the_other_side():
    found = _found()
    own = _features(_source(), found)
    assert len(own) == 20 * 3
    one = own["right", "m1", MEAN]
    assert (one.value, one.mode, one.feature_class) == (30, "absolute", "firstorder")
    difference = _features(_source(feature_mode="contralateral_diff"), found)
    assert [difference[side, "m1", MEAN].value for side in ("left", "right")] == [-10, 10]
    ratio = _features(_source(feature_mode="ratio"), found)
    assert [ratio[side, "m1", NAMES[1]].value for side in ("left", "right")] == [0.8, 1.25]
    undefined = ratio["left", "m1", NAMES[2]]
    assert (undefined.value, undefined.reason) == (None, "other_side_is_zero")


def test_modes_share_one_measurement():
    sources = [_source(feature_mode=mode) for mode in ("absolute", "ratio")]
    assert sources[0].settings == sources[1].settings
    assert _source(bin_width_hu=10).settings != sources[0].settings


def test_regions_without_features_say_why_and_the_others_are_kept():
    gone = {"values": [], "reason": "region_uniform", "detail": "Values must ..."}
    found = _found(
        left_m1=gone, right_m2={"coverage": 0.9}, left_caudate={"fluid_share": 0.6}, left_m4={"values": [20, None, 0]}
    )
    own = _features(_source(), found)
    reasons = {key: one.reason for key, one in own.items() if one.value is None}
    assert reasons == {
        **{("left", "m1", name): "region_uniform" for name in NAMES},
        **{("right", "m2", name): "region_not_covered" for name in NAMES},
        **{("left", "caudate", name): "region_not_tissue" for name in NAMES},
        ("left", "m4", NAMES[1]): "feature_not_finite",
    }
    across = _features(_source(feature_mode="contralateral_diff"), found)
    assert across["right", "m1", MEAN].reason == "other_side_not_described"
    assert across["left", "m1", MEAN].reason == "region_uniform"
    assert across["right", "m4", NAMES[1]].reason == "feature_not_finite"
    assert sum(one.value is None for one in across.values()) == 6 * 3 + 2
    assert _features(_source(most_fluid=0.7), found)["left", "caudate", MEAN].value == 20


def test_its_rows_have_scan_class_mode_and_distribution_and_there_is_no_score(tmp_path):
    declared = _source(feature_mode="ratio").model_dump(exclude_unset=True)
    cohort = hand_made_cohort(source=[declared], rule=[])
    (measurement,) = cohort.config.measurements
    record = Record("sub-1", StepKey(measurement, "code", "a" * 64, "b" * 64), "ok", None, None, _found())
    known = Measured({("sub-1", measurement): record}, {"ct": ASPECTS}, VASCULAR)
    batch = features_batch(cohort, known)
    write_table(FEATURES, [batch], tmp_path)
    row = next(one for one in rows(batch) if one["region"] == "m1" and one["side"] == "left")
    assert (row["modality"], row["feature_class"], row["feature"]) == ("ncct", "firstorder", MEAN)
    assert (row["mode"], row["value"], row["status"], row["reason"]) == ("ratio", pytest.approx(2 / 3), "ok", None)
    assert row["distribution"].startswith("pyradiomics-cuda 1.")
    assert {one["reason"] for one in rows(batch) if one["status"] != "ok"} == {"other_side_is_zero"}
    for regions, scores in regions_and_scores(cohort, known, stands(cohort)):
        assert rows(regions) == rows(scores) == []


def test_an_infarct_lowers_the_mean_of_its_regions(tmp_path):
    """The phantom's infarct is 6 HU in grey and white matter; a region also holds fluid, and borders of others."""
    source = _source(feature_mode="contralateral_diff")
    record = run_case(ct_case(tmp_path), StepSettings("radiomics", (CLASSIC,), source.settings), tmp_path / "out")
    assert record.status == "ok"
    use = MapUse(CLASSIC.sha256, load_label_map("classic").table)
    found = {(one.side, one.region): one.value for one in source.features(record.payload, use) if one.name == MEAN}
    infarcted = [found["right", region] for region in REGIONS]
    others = [value for (side, region), value in found.items() if side == "right" and region not in REGIONS]
    assert max(infarcted) < -2.5
    assert np.mean(infarcted) == pytest.approx(-5, abs=1.5)
    assert np.max(np.abs(others)) < 2.5


@pytest.mark.parametrize(
    ("key", "value"), [("window_hu", (80, 0)), ("window_hu", (0, 4)), ("bin_width_hu", 0.1), ("feature_mode", "both")]
)
def test_a_declaration_that_makes_no_grey_levels_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        _source(**{key: value})
