"""From stored densities to regions and scores: cuts, coverage and the affected side, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cohorts.store.records import Record, StepKey
from cohorts.tables.regions_and_scores import _add_regions, regions_and_scores
from cohorts.tables.rows import MapUse, Measured, Rows
from cohorts.tables.schemas import REGIONS
from flows.sources.density_ratio import DensityFindings, DensityRatioSource
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, Label, LabelTable
from tasks.density.rule import BUILT_IN_DENSITY_RULES
from tasks.scoring import affected_side
from tests.cohorts.hand_made import ASPECTS, VASCULAR, hand_made_cohort, rows, stands

COMMON = {"participant_id": "sub-1", "source": "ratio", "rule": "ncct-ratio", "weights_state": "none"}
NOTHING = {"n_voxels": 0, "n_voxels_used": 0} | dict.fromkeys(
    ("density_hu", "spread_hu", "low_density_share", "high_density_share")
)
SOURCE = {"name": "ratio", "kind": "density_ratio", "laterality": "lesion_side"}


def _densities(table=ASPECTS.table, **changed):
    """Every region as dense as on the other side, but those named: ``left_m2=0.9`` or a whole row."""
    found = []
    for label in table.labels:
        row = NOTHING | {"index": label.index, "ratio": 1.0, "relative_difference": 0.0, "coverage": 1.0}
        change = changed.get(label.name, {})
        row |= change if isinstance(change, dict) else {"ratio": change, "relative_difference": change - 1}
        found.append(row)
    return found


#: Half as dense as the other side.
HALF = {"ratio": 0.5, "relative_difference": -0.5}


def _record(densities, map_name="aspects"):
    key = StepKey("ratio-ncct", "ratio/1", "a" * 64, "b" * 64)
    return Record("sub-1", key, "ok", None, None, DensityFindings(densities={map_name: densities}))


def _added(densities, use=ASPECTS, rule="ncct-ratio"):
    regions = Rows(REGIONS)
    source = DensityRatioSource.model_validate(SOURCE)
    found = _record(densities, use.sha256).payload
    affected, _ = _add_regions(regions, source, found, use, BUILT_IN_DENSITY_RULES[rule], COMMON | {"rule": rule})
    return {f"{row['side']}_{row['region']}": row for row in rows(regions.columns)}, affected


def test_a_region_is_affected_below_the_cut_and_not_at_it():
    table, affected = _added(_densities(left_m2=0.9399, left_m3=0.94, right_caudate=0.5))
    assert {key for key, flag in affected.items() if flag} == {("left", "m2"), ("right", "caudate")}
    assert len(affected) == 20
    assert table["left_m2"]["affected"] is True
    assert table["left_m3"]["affected"] is False
    assert table["left_m2"]["relative_difference"] == pytest.approx(-0.0601)
    assert table["left_m2"]["fraction"] is None
    assert {row["status"] for row in table.values()} == {"ok"}


def test_the_cuts_are_those_of_the_rule():
    """Published cuts of CT angiography: insula 0.871, M4 0.957."""
    _, affected = _added(_densities(left_insula=0.9, left_m4=0.95), rule="cta-ratio")
    assert [key for key, flag in affected.items() if flag] == [("left", "m4")]
    _, affected = _added(_densities(left_insula=0.9, left_m4=0.95))
    assert [key for key, flag in affected.items() if flag] == [("left", "insula")]


@pytest.mark.parametrize(
    "change",
    [{"ratio": None, "relative_difference": None}, {"coverage": 0.949} | HALF],
)
def test_a_region_out_of_view_or_without_a_density_is_not_called(change):
    table, affected = _added(_densities(left_m2=change))
    assert ("left", "m2") not in affected
    assert len(affected) == 19
    row = table["left_m2"]
    assert (row["status"], row["reason"]) == ("excluded", "region_not_covered")
    assert row["affected"] is row["relative_difference"] is None
    assert _added(_densities(left_m2={"coverage": 0.95} | HALF))[1]["left", "m2"] is True


def test_a_region_of_fluid_is_not_called_unless_a_study_allows_it():
    table, affected = _added(_densities(left_caudate={"fluid_share": 0.51} | HALF, left_m2={"fluid_share": 0.5} | HALF))
    row = table["left_caudate"]
    assert (row["status"], row["reason"], row["fluid_share"]) == ("excluded", "region_not_tissue", 0.51)
    assert row["affected"] is row["relative_difference"] is None
    assert ("left", "caudate") not in affected
    assert affected["left", "m2"] is True  # half tissue is enough
    lost = {"fluid_share": 0.51, "ratio": None, "relative_difference": None}  # too few blocks without fluid are left
    other = {"ratio": None, "relative_difference": None}  # with which its other side cannot be compared
    table, _ = _added(_densities(left_caudate=lost, right_caudate=other, right_m2=other))
    reasons = {name: table[name]["reason"] for name in ("left_caudate", "right_caudate", "right_m2")}
    assert list(reasons.values()) == ["region_not_tissue", "region_not_tissue", "region_not_covered"]
    score = _scores(_densities(left_caudate={"fluid_share": 0.51} | HALF))
    assert (score["score"], score["status"], score["reason"]) == (None, "excluded", "region_not_tissue")
    assert _scores(_densities(left_caudate={"fluid_share": 0.51} | HALF), most_fluid=0.9)["score"] == 9


def test_a_region_that_the_network_did_not_find_says_so_and_so_does_its_other_side():
    none = {"ratio": None, "relative_difference": None}
    table, affected = _added(
        _densities(
            left_caudate=none | {"atlas_dice": 0.0},
            right_caudate=none | {"atlas_dice": 0.7},  # found, but there is nothing to compare it with
            left_m1=none | {"atlas_dice": 0.4},
            left_m2=none | {"atlas_dice": 0.0, "coverage": 0.5},
            left_m3={"atlas_dice": 0.0} | HALF,
        )
    )
    reasons = {name: row["reason"] for name, row in table.items() if row["status"] != "ok"}
    assert reasons == {
        "left_caudate": "region_not_found",
        "right_caudate": "region_not_found",
        "left_m1": "region_not_covered",
        "left_m2": "region_not_covered",
    }
    assert affected["left", "m3"] is True
    score = _scores(_densities(left_caudate=none | {"atlas_dice": 0.0}, right_caudate=none))
    assert (score["score"], score["status"], score["reason"]) == (None, "excluded", "region_not_found")


def test_labels_that_are_no_aspects_region_have_a_number_and_no_call():
    use = MapUse("own", LabelTable((Label(1, "midline", "midline", "pons", "other"), *ASPECTS.table.labels[1:3])))
    table, affected = _added(_densities(use.table, midline=0.5), use)
    assert table["midline_pons"]["affected"] is None
    assert table["midline_pons"]["status"] == "ok"
    assert len(affected) == 2


def test_the_side_is_the_one_with_more_affected_regions():
    none = {(side, region): False for side in HEMISPHERES for region in ASPECTS_REGIONS}
    assert affected_side(none) == "none"
    assert affected_side(none | {("left", "m1"): True}) == "left"
    assert affected_side(none | {("left", "m1"): True, ("right", "m2"): True}) == "both"
    two = {("right", "m2"): True, ("right", "m3"): True}
    assert affected_side(none | two | {("left", "m1"): True}) == "right"


def _scores(densities, **source):
    cohort = hand_made_cohort(source=[SOURCE | source], rule=[])
    known = Measured({("sub-1", "ratio-ncct"): _record(densities)}, {"ratio": ASPECTS}, VASCULAR)
    ((_, scores),) = regions_and_scores(cohort, known, stands(cohort))
    return next(row for row in rows(scores) if row["participant_id"] == "sub-1")


def test_the_score_of_densities_is_ten_less_the_regions_of_the_affected_side():
    row = _scores(_densities(right_m1=0.9, right_m2=0.9, left_insula=0.9))
    assert (row["score_left"], row["score_right"], row["score"], row["scored_side"]) == (9, 8, 8, "right")
    assert (row["rule"], row["laterality"], row["status"]) == ("ncct-ratio", "lesion_side", "ok")
    row = _scores(_densities(right_m1=0.9, left_insula=0.9), laterality="worst")
    assert (row["score"], row["status"]) == (9, "ok")


def test_without_one_region_there_is_no_score():
    row = _scores(_densities(right_m1={"coverage": 0.5}))
    assert (row["score"], row["status"], row["reason"]) == (None, "excluded", "region_not_covered")


def test_a_refused_scan_keeps_its_reason_in_every_region():
    cohort = hand_made_cohort(source=[SOURCE], rule=[])
    refused = replace(_record([]), status="excluded", reason="brain_cut_at_side", payload=DensityFindings())
    known = Measured({("sub-1", "ratio-ncct"): refused}, {"ratio": ASPECTS}, VASCULAR)
    ((regions, scores),) = regions_and_scores(cohort, known, stands(cohort))
    found = rows(regions)
    assert len(found) == 20
    assert {(row["status"], row["reason"], row["affected"]) for row in found} == {
        ("excluded", "brain_cut_at_side", None)
    }
    assert next(row for row in rows(scores) if row["participant_id"] == "sub-1")["reason"] == "brain_cut_at_side"
